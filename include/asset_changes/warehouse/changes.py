"""What consumers of the warehouse read: the changes of a channel past a cursor.

The cursor is `channel_seq`, dense per channel and given under the channel's lock: whatever is
numbered later commits later. A cursor on `loaded_at` would lose rows of transactions that commit late.
A set to which Getty adds after its load keeps its number: its `redelivered_count` says that it came again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from asset_changes.warehouse.schema import asset_changes, change_sets


@dataclass(frozen=True, kw_only=True)
class LoadedChange:
    """One change of the log, with the number of its set."""

    channel_seq: int
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
        select(sets.channel_seq, log.position, log.asset_id, log.asset_lifecycle, log.asset_type, log.changed_at)
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
