"""Archived change sets, read and prepared in groups that are loaded in one transaction each."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from sqlalchemy import Engine

from asset_changes.archive import Archive
from asset_changes.archived_sets import ArchivedSet, archived_set, first_uri
from asset_changes.errors import UnreadableChangeSet
from asset_changes.getty_api.parsing import parse_archived
from asset_changes.models import ChangeSetRef, Channel, PreparedSet
from asset_changes.pipeline.archived_bodies import Problems, ReadSet, read_set, understood
from asset_changes.pipeline.transform import transform
from asset_changes.warehouse import ledger
from asset_changes.warehouse.archived import in_log
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.ledger import LedgerRow

SETS_PER_TRANSACTION = 20
"""Bounds memory (about 5 MB of rows at a time) and how long a live load of the channel waits."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """One archived set with its rows, under the key that ledger and log have for it."""

    archived: ArchivedSet
    ref: ChangeSetRef
    prepared: PreparedSet


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sets that are loaded in one transaction.

    With `is_rebuild` the tables have lost what they once held of them, or never held it: nobody can
    know which, nor what was live when their Deletes were first applied.
    """

    sets: list[Ready] = field(default_factory=list)
    is_rebuild: bool = False


@dataclass(frozen=True, kw_only=True)
class Preparing:
    """Reads and transforms archived sets; what cannot be read goes into `problems` and delays nothing."""

    channel: Channel
    archive: Archive
    warehouse: Engine
    problems: Problems

    def groups(self, sets: Sequence[ArchivedSet]) -> list[Group]:
        """Return sets ready to load.

        Loaded sets come together: one statement writes what they lack. The others come one by one, for
        several in one transaction would lock their assets in no order, and deadlock with another channel.
        """
        with transaction(self.warehouse) as connection:
            rows = ledger.lookup_many(connection, self.channel.channel_id, [each.change_set_id for each in sets])
            logged = in_log(connection, self.channel.channel_id, [*_keys(sets, rows)])
        loaded, forgotten, single = Group(), Group(is_rebuild=True), []
        for each in sets:
            row = rows.get(each.change_set_id)
            times = sorted(at for change_set_id, at in logged if change_set_id == each.change_set_id)
            is_loaded = row is not None and row.loaded_at is not None
            # A set of rejected changes alone has no row in the log.
            is_kept = is_loaded and (bool(times) or row is None or row.counts.rejected == row.counts.changes)
            first_at = row.ref.fetched_at if row else next(iter(times), None)
            ready = self.ready(self._with_own(each, row), first_at=first_at, needs_all=is_kept)
            if ready is None:
                continue
            if is_loaded:
                (loaded if is_kept else forgotten).sets.append(ready)
            else:
                single.append(Group(sets=[ready], is_rebuild=row is None))
        return [*single, *(group for group in (loaded, forgotten) if group.sets)]

    def ready(self, archived: ArchivedSet, *, first_at: datetime | None, needs_all: bool) -> Ready | None:
        """Return a set with its rows; `first_at` is the key that ledger or log have for it.

        None where nothing of it can be read, or where an object cannot be read and it `needs_all`: what
        is loaded as a whole is not replaced by a part. A set that is not loaded is loaded in part, for
        that removes what its other objects delete.
        """
        read = read_set(self.archive, archived, first_at=first_at)
        prepared = None
        ref = ChangeSetRef(
            channel_id=archived.channel_id,
            change_set_id=archived.change_set_id,
            fetched_at=first_at or archived.in_order()[0].first_at,
            archive_uri=first_uri(archived.in_order(first_at)[0]),
        )
        if _is_usable(read, needs_all=needs_all):
            try:
                prepared = self._transformed(ref, read)
            except UnreadableChangeSet:
                read = understood(archived, read)
                if _is_usable(read, needs_all=needs_all):
                    prepared = self._transformed(ref, read)
        self.problems.take(read)
        if prepared is None:
            return None
        return Ready(archived=archived, ref=ref, prepared=prepared)

    def as_the_ledger_has_it(self, ready: Ready, row: LedgerRow | None) -> Ready | None:
        """Return a set under the ledger's key, and with all that was archived of it before its row was locked."""
        if row is None:
            return ready
        # Rebuilt just now from another object, made longer by a live worker since it was read, or read otherwise now:
        # under the lock the archive has all that is known of the set.
        is_outdated = row.content_hash != ready.prepared.content_hash
        if row.ref.fetched_at == ready.ref.fetched_at and not is_outdated:
            return ready
        archived = self.archive.find(row.ref.channel_id, row.ref.change_set_id, before=ready.ref.fetched_at)
        return self.ready(archived or ready.archived, first_at=row.ref.fetched_at, needs_all=row.loaded_at is not None)

    def _with_own(self, archived: ArchivedSet, row: LedgerRow | None) -> ArchivedSet:
        """Return a set with the ledger's own object, should that be out of reach of the others."""
        if row is None or any(each.first_at == row.ref.fetched_at for each in archived.objects):
            return archived
        own = self.archive.find(archived.channel_id, archived.change_set_id, before=row.ref.fetched_at)
        objects = {*archived.objects, *(own.objects if own else ())}
        return archived_set(archived.channel_id, archived.change_set_id, list(objects))

    def _transformed(self, ref: ChangeSetRef, read: ReadSet) -> PreparedSet:
        deliveries = parse_archived(read.deliveries, change_set_id=ref.change_set_id)
        return transform(deliveries, channel=self.channel, ref=ref)


def prepared_ahead(preparing: Preparing, sets: Iterator[ArchivedSet]) -> Iterator[Group]:
    """Yield the sets in groups, while the next ones are read and transformed during the load."""
    with ThreadPoolExecutor(1) as ahead:
        coming = None
        while some := list(islice(sets, SETS_PER_TRANSACTION)):
            following = ahead.submit(preparing.groups, some)
            if coming is not None:
                yield from coming.result()
            coming = following
        if coming is not None:
            yield from coming.result()


def _is_usable(read: ReadSet, *, needs_all: bool) -> bool:
    if read.unavailable is not None or not read.deliveries:  # another try may read the whole
        return False
    return read.is_whole or not needs_all


def _keys(sets: Sequence[ArchivedSet], rows: dict[str, LedgerRow]) -> Iterator[tuple[str, datetime]]:
    """Yield under which keys the log may have the sets: the ledger's, else those of their first deliveries."""
    for each in sets:
        if row := rows.get(each.change_set_id):
            yield each.change_set_id, row.ref.fetched_at
        else:
            for at in {found.first_at for found in each.objects}:
                yield each.change_set_id, at
