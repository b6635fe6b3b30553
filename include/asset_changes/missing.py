"""Archived change sets that the ledger does not hold as loaded, as after a restore of the warehouse."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from asset_changes.archive import Archive, ArchivedSet
from asset_changes.warehouse import ledger

_IDS_PER_QUERY = 500


def missing_sets(
    connection: Connection, channel_id: int, *, archive: Archive, since: datetime, until: datetime
) -> Iterator[ArchivedSet]:
    """Yield the sets of a channel with `since <= fetched_at < until` that a replay would load, oldest first."""
    archived = archive.sets(channel_id, since=since, until=until)
    while some := list(islice(archived, _IDS_PER_QUERY)):
        held = ledger.lookup_many(connection, channel_id, [each.change_set_id for each in some])
        yield from (each for each in some if (row := held.get(each.change_set_id)) is None or row.loaded_at is None)
