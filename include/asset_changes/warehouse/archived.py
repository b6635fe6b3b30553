"""What the warehouse knows of the sets and channels that an archive contains."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select, text, update

from asset_changes.warehouse.schema import asset_states, change_sets, channels

_IN_LOG = text("""
    SELECT asked.change_set_id, asked.fetched_at
    FROM unnest(CAST(:ids AS text[]), CAST(:times AS timestamptz[])) AS asked (change_set_id, fetched_at)
    WHERE EXISTS (
        SELECT FROM asset_changes AS kept
        WHERE kept.fetched_at = asked.fetched_at AND kept.channel_id = :channel_id
          AND kept.change_set_id = asked.change_set_id)""")
_ROWS_AT_ONCE = 1000

UNKNOWN = "Unknown"
"""Family and type of a channel of which the archive alone is left."""


class KnownObject(NamedTuple):
    """Where the ledger says that a change set is archived."""

    change_set_id: str
    fetched_at: datetime
    archive_uri: str


def in_log(
    connection: Connection, channel_id: int, sets: Collection[tuple[str, datetime]]
) -> set[tuple[str, datetime]]:
    """Return those of the sets, each with the time of its first delivery, of which the log has changes."""
    asked = {"channel_id": channel_id, "ids": [each[0] for each in sets], "times": [each[1] for each in sets]}
    return {(row.change_set_id, row.fetched_at) for row in connection.execute(_IN_LOG, asked)}


def known_objects(
    connection: Connection, channel_id: int, *, since: datetime | None, until: datetime | None
) -> Iterator[KnownObject]:
    """Yield where the ledger says that the sets fetched in `since <= fetched_at < until` are archived."""
    c = change_sets.c
    query = select(c.change_set_id, c.fetched_at, c.archive_uri).where(c.channel_id == channel_id)
    if since is not None:
        query = query.where(c.fetched_at >= since)
    if until is not None:
        query = query.where(c.fetched_at < until)
    for row in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
        yield KnownObject(*row)


def described_channels(connection: Connection) -> dict[int, tuple[str, str]]:
    """Return family and type of each channel that the warehouse knows."""
    c = channels.c
    return {
        row.channel_id: (row.asset_family, row.asset_type)
        for row in connection.execute(select(channels).order_by(c.channel_id))
    }


def described_by_assets(connection: Connection, channel_id: int) -> tuple[str, str] | None:
    """Return family and type of a channel by one of its assets, if there is one; reads the whole table."""
    c = asset_states.c
    is_known = (c.channel_id == channel_id) & (c.asset_family != UNKNOWN) & (c.asset_type != UNKNOWN)
    query = select(c.asset_family, c.asset_type).where(is_known)
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else (row.asset_family, row.asset_type)


def describe(connection: Connection, channel_id: int, asset_family: str, asset_type: str) -> None:
    """Write family and type of a channel of which they were unknown."""
    is_unknown = (channels.c.channel_id == channel_id) & (channels.c.asset_family == UNKNOWN)
    connection.execute(update(channels).where(is_unknown).values(asset_family=asset_family, asset_type=asset_type))
