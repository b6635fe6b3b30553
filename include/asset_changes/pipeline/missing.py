"""Archived change sets of which the warehouse lacks something, as after a restore of the warehouse."""

import logging
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from asset_changes.archive import Archive, ArchivedSet
from asset_changes.errors import ArchiveDamaged, UnreadableChangeSet
from asset_changes.getty_api.content import unseen
from asset_changes.getty_api.parsing import parse_archived
from asset_changes.warehouse import ledger
from asset_changes.warehouse.ledger import LedgerRow

log = logging.getLogger(__name__)

_IDS_PER_QUERY = 500


def missing_sets(
    connection: Connection,
    channel_id: int,
    *,
    archive: Archive,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[ArchivedSet]:
    """Yield the sets of a channel with `since <= fetched_at < until` that a replay would load, oldest first.

    The ledger has no row of such a set, or one that does not say loaded, or one from before a longer
    delivery of it.
    """
    archived = archive.sets(channel_id, since=since, until=until)
    while some := list(islice(archived, _IDS_PER_QUERY)):
        held = ledger.lookup_many(connection, channel_id, [each.change_set_id for each in some])
        yield from (each for each in some if _is_missing(each, held.get(each.change_set_id), archive))


def _is_missing(archived: ArchivedSet, row: LedgerRow | None, archive: Archive) -> bool:
    if row is None or row.loaded_at is None:
        return True
    if not archived.later:
        return False
    try:
        bodies = archive.read(archived.uri, later=archived.later)
        deliveries = parse_archived(bodies, change_set_id=archived.change_set_id)
        return sum(map(sum, unseen(deliveries))) > row.counts.changes
    except (ArchiveDamaged, UnreadableChangeSet) as error:
        log.warning("Whether change set %s is loaded as a whole, cannot be told: %s", archived.change_set_id, error)
        return False
