"""Load archived change sets again: after a restore, into an empty warehouse, or to prove that nothing changes.

The archive is the source, not the ledger; Getty is never called. Loaded sets go through one check
per group of sets, which writes only what is missing or older; sets that the ledger does not hold as
loaded go through the same load as a live one.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain, islice

from sqlalchemy import Connection, Engine

from asset_changes.archive import Archive, ArchivedSet
from asset_changes.errors import ArchiveDamaged, UnreadableChangeSet
from asset_changes.getty_api.content import is_read_by_newer_parser
from asset_changes.getty_api.parsing import parse_archived
from asset_changes.models import ChangeSetRef, Channel, Delivery, PreparedSet
from asset_changes.pipeline.context import already_archived
from asset_changes.pipeline.missing import missing_sets
from asset_changes.pipeline.transform import transform
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.ledger import LedgerRow
from asset_changes.warehouse.loader import KnownSet, is_in_log, load_again, load_first, reread
from asset_changes.warehouse.migrate import add_partitions, check_version

log = logging.getLogger(__name__)

SETS_PER_TRANSACTION = 20
"""Bounds memory (about 5 MB of rows in hand) and how long a live load of the channel waits."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay found and did; `changed` counts the rows that it wrote or rewrote.

    `waited` of them are of sets that the ledger knew as waiting for their load.
    """

    sets: int = 0
    changes: int = 0
    changed: int = 0
    rebuilt: int = 0
    waited: int = 0

    def __add__(self, other: "Replayed") -> "Replayed":
        return Replayed(
            sets=self.sets + other.sets,
            changes=self.changes + other.changes,
            changed=self.changed + other.changed,
            rebuilt=self.rebuilt + other.rebuilt,
            waited=self.waited + other.waited,
        )

    def __str__(self) -> str:
        return f"sets={self.sets} changes={self.changes} changed={self.changed} rebuilt={self.rebuilt}"


Ready = tuple[ChangeSetRef, PreparedSet]
"""One archived set with its rows."""


def replay(
    channel: Channel,
    *,
    archive: Archive,
    warehouse: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    only_missing: bool = False,
    note: Callable[[Connection, Replayed], None] | None = None,
) -> Replayed:
    """Load the sets of a channel with `since <= fetched_at < until` again; safe beside live runs.

    With `only_missing`, those alone of which the warehouse lacks something: what a restored one needs.
    `note` is told in each transaction what it did.
    """
    with transaction(warehouse) as connection:
        check_version(connection)
        last = archive.last(channel.channel_id)
        sets = archive.sets(channel.channel_id, since=since, until=until)
        if only_missing:
            sets = _reported(missing_sets(connection, channel.channel_id, archive=archive, since=since, until=until))
        if (first := next(sets, None)) and last:
            add_partitions(connection, since=first.fetched_at, until=min(until or last.fetched_at, last.fetched_at))
    gc.freeze()  # as in a catch-up
    started, total = time.monotonic(), Replayed()
    groups = _grouped(chain(filter(None, [first]), sets), SETS_PER_TRANSACTION)
    unread: list[str] = []
    for ready in _prepared_ahead(groups, channel=channel, archive=archive, warehouse=warehouse, unread=unread):
        load = partial(_load, channel=channel, archive=archive, group=ready, last=last, note=note)
        total += in_transaction(warehouse, load)
    seconds = time.monotonic() - started
    if not total.sets:
        what = "no archived set that the warehouse lacks" if only_missing else "no archived set"
        span = f"from {since or 'the beginning'} to {until or 'now'}"
        log.info("Nothing to replay: channel=%d has %s %s", channel.channel_id, what, span)
    log.log(
        logging.WARNING if total.changed else logging.INFO,
        "Replayed channel=%d: %s seconds=%.1f changes_per_second=%.0f",
        channel.channel_id,
        total,
        seconds,
        total.changes / seconds if seconds else 0,
    )
    if unread:
        raise ArchiveDamaged(f"{unread[0]} In all {len(unread)} archived sets cannot be read; the rest is loaded.")
    return total


def _reported(missing: Iterator[ArchivedSet]) -> Iterator[ArchivedSet]:
    """Return the sets that the warehouse lacks, told one by one."""
    found = list(missing)  # before the replay makes them fewer
    for each in found:
        log.warning(
            "Missing: channel=%d change set %s, fetched at %s, is in the archive and not loaded: %s",
            each.channel_id,
            each.change_set_id,
            each.fetched_at,
            each.uri,
        )
    return iter(found)


def _prepared_ahead(
    groups: Iterable[Sequence[ArchivedSet]],
    *,
    channel: Channel,
    archive: Archive,
    warehouse: Engine,
    unread: list[str],
) -> Iterator[list[Ready]]:
    """Yield the sets with their rows, while the next ones are read and transformed beside the load.

    Loaded sets come together: one statement writes what they lack. The others come one by one, for
    several in one transaction would lock their assets in no order, and deadlock with another channel.
    What cannot be read is told, added to `unread`, and holds nothing up.
    """

    def prepare(group: Sequence[ArchivedSet]) -> list[list[Ready]]:
        with transaction(warehouse) as connection:
            rows = ledger.lookup_many(connection, channel.channel_id, [each.change_set_id for each in group])
        loaded: list[Ready] = []
        others: list[list[Ready]] = []
        for each in group:
            row = rows.get(each.change_set_id)
            try:
                ready = _ready(each, row, channel=channel, archive=archive)
            except (ArchiveDamaged, UnreadableChangeSet) as error:
                log.error("Not replayed: channel=%d change set %s. %s", each.channel_id, each.change_set_id, error)
                unread.append(str(error))
                continue
            if row is not None and row.loaded_at is not None:
                loaded.append(ready)
            else:
                others.append([ready])
        return [*others, *filter(None, [loaded])]

    with ThreadPoolExecutor(1) as ahead:
        coming = None
        for group in groups:
            following = ahead.submit(prepare, group)
            if coming is not None:
                yield from coming.result()
            coming = following
        if coming is not None:
            yield from coming.result()


def _ready(archived: ArchivedSet, row: LedgerRow | None, *, channel: Channel, archive: Archive) -> Ready:
    fetched = ChangeSetRef(
        channel_id=archived.channel_id,
        change_set_id=archived.change_set_id,
        # The ledger's time is the log's key, should a worker that died have left another object.
        fetched_at=row.ref.fetched_at if row else archived.fetched_at,
        archive_uri=archived.uri,
    )
    return _with_rows(fetched, archive.read(archived.uri, later=archived.later), channel)


def _with_rows(fetched: ChangeSetRef, bodies: Sequence[Delivery], channel: Channel) -> Ready:
    deliveries = parse_archived(bodies, change_set_id=fetched.change_set_id)
    return fetched, transform(deliveries, channel=channel, ref=fetched)


def _load(
    connection: Connection,
    *,
    channel: Channel,
    archive: Archive,
    group: Sequence[Ready],
    last: ArchivedSet | None,
    note: Callable[[Connection, Replayed], None] | None,
) -> Replayed:
    """Load one group in the caller's transaction."""
    ledger.lock_channel(connection, channel)
    rows = ledger.lookup_many(connection, channel.channel_id, [fetched.change_set_id for fetched, _ in group])
    known: list[KnownSet] = []
    rebuilt = changed = waited = 0
    for ready in group:
        ref, prepared = _as_the_ledger_has_it(ready, rows.get(ready[0].change_set_id), archive, channel)
        row = rows.get(ref.change_set_id)
        if row is not None and row.loaded_at is not None:
            if not is_read_by_newer_parser(row.content_hash):
                is_rebuild = row.content_hash == prepared.content_hash or not is_in_log(connection, ref)
                known.append(KnownSet(ref=ref, prepared=prepared, is_rebuild=is_rebuild))
            continue
        if row is None:
            row = ledger.insert_fetched(connection, ref, content_hash=prepared.content_hash, run=ledger.RunRef())
            rebuilt += 1
            known.append(KnownSet(ref=ref, prepared=prepared, is_rebuild=True))
            ledger.mark_loaded(connection, ref, prepared)
            # Getty hands out a set only after it confirmed the one before.
            is_confirmed = last is not None and _came_before(ref, last)
            ledger.mark_rebuilt(connection, ref.channel_id, ref.change_set_id, is_confirmed=is_confirmed)
            continue
        if is_in_log(connection, ref):
            known.append(KnownSet(ref=ref, prepared=prepared))
        else:
            load_first(connection, ref, prepared, wait=already_archived)
            changed += prepared.counts.changes
            waited += prepared.counts.changes
        ledger.mark_loaded(connection, ref, prepared)
    done = load_again(connection, known, wait=already_archived)
    changed += done.rows
    for each in known:
        row = rows.get(each.ref.change_set_id)
        is_differing = each.ref.change_set_id in done.differing
        if is_differing:
            changed += reread(connection, each.ref, each.prepared, wait=already_archived)
        if row is None or row.loaded_at is None:
            continue
        if is_differing or row.content_hash != each.prepared.content_hash or row.counts != each.prepared.counts:
            ledger.recount(connection, each.ref, each.prepared)
        if is_differing or each.ref.change_set_id in done.change_set_ids:
            ledger.renumber(connection, each.ref)
    total = Replayed(
        sets=len(group),
        changes=sum(prepared.counts.changes for _, prepared in group),
        changed=changed,
        rebuilt=rebuilt,
        waited=waited,
    )
    if note is not None:
        note(connection, total)
    return total


def _as_the_ledger_has_it(ready: Ready, row: LedgerRow | None, archive: Archive, channel: Channel) -> Ready:
    """Return a set under the ledger's key, and with all that was archived of it before its row was locked."""
    fetched, prepared = ready
    if row is None:
        return ready
    # Rebuilt a moment ago from another object, made longer by a live worker since it was read, or read otherwise now:
    # under the lock the archive has all that is known of the set.
    is_outdated = row.content_hash != prepared.content_hash
    if row.ref.fetched_at != fetched.fetched_at or is_outdated:
        fetched = replace(fetched, fetched_at=row.ref.fetched_at)
        return _with_rows(fetched, archive.read(fetched.archive_uri), channel)
    return ready


def _came_before(fetched: ChangeSetRef, last: ArchivedSet) -> bool:
    return fetched.change_set_id != last.change_set_id and fetched.fetched_at < last.fetched_at


def _grouped(sets: Iterator[ArchivedSet], size: int) -> Iterator[list[ArchivedSet]]:
    while group := list(islice(sets, size)):
        yield group
