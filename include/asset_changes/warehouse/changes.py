"""What the tables have of change sets: for consumers that read on past a cursor, and of one set.

The cursor is `channel_seq`. Every commit that changes what the tables have of a set gives the set the
channel's next number, under the channel's lock, so a reader past a number misses nothing. There are
gaps. A set may come again with more, or otherwise read: a consumer replaces what it has of the set, and
takes what is live from `assets`, never from the order of arrival. A cursor on `loaded_at` would lose
rows of transactions that commit late.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, func, select, text

from asset_changes.models import ChangeSetRef
from asset_changes.warehouse.schema import change_sets


@dataclass(frozen=True, kw_only=True)
class LoadedChange:
    """One change of the log."""

    position: int
    asset_id: str
    asset_lifecycle: str
    asset_type: str | None
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class ChangedSet:
    """A change set past a cursor, with all that the log has of it now; perhaps nothing any more.

    Superseded changes are among them: of several changes of an asset the newest counts.
    """

    channel_seq: int
    change_set_id: str
    changes: tuple[LoadedChange, ...]


def last_channel_seq(connection: Connection, channel_id: int) -> int:
    """Return the number of the last loaded set of a channel, 0 if there is none."""
    query = select(func.max(change_sets.c.channel_seq)).where(change_sets.c.channel_id == channel_id)
    return connection.scalar(query) or 0


def changed_sets_after(connection: Connection, channel_id: int, channel_seq: int) -> Iterator[ChangedSet]:
    """Yield the change sets of a channel numbered above `channel_seq`, in the order of their numbers."""
    rows = connection.execution_options(yield_per=5000).execute(
        _CHANGED_AFTER, {"channel_id": channel_id, "channel_seq": channel_seq}
    )
    for (number, change_set_id), found in groupby(rows, key=lambda row: (row.channel_seq, row.change_set_id)):
        changes = (row._mapping for row in found if row.position is not None)
        yield ChangedSet(
            channel_seq=number,
            change_set_id=change_set_id,
            changes=tuple(LoadedChange(**{name: each[name] for name in _OF_A_CHANGE}) for each in changes),
        )


_OF_A_CHANGE = tuple(field.name for field in fields(LoadedChange))
# The time is part of the log's key, and picks the partition. In one statement a set is seen as one commit left it.
_CHANGED_AFTER = text(f"""
    SELECT s.channel_seq, s.change_set_id, c.{", c.".join(_OF_A_CHANGE)}
    FROM change_sets AS s
    LEFT JOIN asset_changes AS c
        ON c.fetched_at = s.fetched_at AND c.channel_id = s.channel_id AND c.change_set_id = s.change_set_id
    WHERE s.channel_id = :channel_id AND s.channel_seq > :channel_seq
    ORDER BY s.channel_seq, c.position""")

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
    """One message of a set as the tables have it; `changed_at` is None where its time was inferred.

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


_DELIVERY_TIMES = text("""
    SELECT DISTINCT received_at FROM deletions
    WHERE channel_id = :channel_id AND change_set_id = :change_set_id AND received_at > :fetched_at ORDER BY 1""")


def delivery_times(connection: Connection, ref: ChangeSetRef) -> list[datetime]:
    """Return when later deliveries of a set came, as far as their Deletes say."""
    key = {"fetched_at": ref.fetched_at, "channel_id": ref.channel_id, "change_set_id": ref.change_set_id}
    return [*connection.scalars(_DELIVERY_TIMES, key)]
