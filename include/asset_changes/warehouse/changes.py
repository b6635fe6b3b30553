"""What the tables hold of change sets: for consumers that read on past a cursor, and of one set.

The cursor is `channel_seq`. Every commit that changes what the tables hold of a set gives the set the
channel's next number, under the channel's lock, so a reader past a number misses nothing. There are
gaps. A set may come again with more, or otherwise read: a consumer replaces what it has of the set, and
takes what is live from `assets`, never from the order of arrival. A cursor on `loaded_at` would lose
rows of transactions that commit late.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text

from asset_changes.models import ChangeSetRef
from asset_changes.warehouse.schema import asset_changes, change_sets


@dataclass(frozen=True, kw_only=True)
class LoadedChange:
    """One change of the log, with the number of its set."""

    channel_seq: int
    change_set_id: str
    position: int
    asset_id: str
    asset_lifecycle: str
    asset_type: str | None
    changed_at: datetime


def last_channel_seq(connection: Connection, channel_id: int) -> int:
    """Return the number of the last loaded set of a channel, 0 if there is none."""
    query = select(func.max(change_sets.c.channel_seq)).where(change_sets.c.channel_id == channel_id)
    return connection.scalar(query) or 0


def changes_after(connection: Connection, channel_id: int, channel_seq: int) -> Iterator[LoadedChange]:
    """Yield the changes of a channel's sets numbered above `channel_seq`, in the order of their load.

    Superseded changes are among them: of several changes of an asset the newest counts.
    """
    log, sets = asset_changes.c, change_sets.c
    query = (
        select(
            sets.channel_seq,
            sets.change_set_id,
            log.position,
            log.asset_id,
            log.asset_lifecycle,
            log.asset_type,
            log.changed_at,
        )
        .join_from(
            change_sets,
            asset_changes,
            # The time is part of the log's key, and picks the partition.
            (log.fetched_at == sets.fetched_at)
            & (log.channel_id == sets.channel_id)
            & (log.change_set_id == sets.change_set_id),
        )
        .where((sets.channel_id == channel_id) & (sets.channel_seq > channel_seq))
        .order_by(sets.channel_seq, log.position)
    )
    for row in connection.execution_options(yield_per=5000).execute(query):
        yield LoadedChange(**row._mapping)


_LOGGED = text("""
    SELECT position, asset_id, asset_lifecycle, asset_type,
           CASE WHEN NOT is_time_inferred THEN changed_at END AS changed_at, uri, NULL AS raw
    FROM asset_changes
    WHERE fetched_at = :fetched_at AND channel_id = :channel_id AND change_set_id = :change_set_id
    UNION ALL
    SELECT position, asset_id, asset_lifecycle, NULL, NULL, NULL, raw
    FROM rejected_changes WHERE channel_id = :channel_id AND change_set_id = :change_set_id
    ORDER BY position""")


@dataclass(frozen=True, kw_only=True)
class LoggedMessage:
    """One message of a set as the tables hold it; `changed_at` is None where its time was inferred.

    `raw` is the message itself where it was rejected.
    """

    position: int
    asset_id: str | None
    asset_lifecycle: str | None
    asset_type: str | None
    changed_at: datetime | None
    uri: str | None
    raw: str | None

    def as_item(self) -> Any:
        """Return the message as an item of a body."""
        if self.raw is not None:
            return json.loads(self.raw)
        return {
            "id": self.asset_id,
            "asset_lifecycle": self.asset_lifecycle,
            "asset_type": self.asset_type,
            "asset_changed_utc_datetime": self.changed_at.isoformat() if self.changed_at else None,
            "uri": self.uri,
        }


def logged_messages(connection: Connection, ref: ChangeSetRef) -> list[LoggedMessage]:
    """Return the messages of one set, valid and rejected ones, in the order of their positions."""
    key = {"fetched_at": ref.fetched_at, "channel_id": ref.channel_id, "change_set_id": ref.change_set_id}
    return [LoggedMessage(**row._mapping) for row in connection.execute(_LOGGED, key)]
