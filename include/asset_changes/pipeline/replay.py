"""Load archived change sets again: after a restore, into an empty warehouse, or to prove that nothing changes.

The archive is the source, not the ledger; Getty is never called. Loaded sets go through one check
per group of sets, which writes only what is missing or older; sets that the ledger does not have as
loaded go through the same load as a live one. What cannot be read is named, and delays nothing.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain

from sqlalchemy import Connection, Engine, func, select

from asset_changes.archive import Archive
from asset_changes.archived_sets import ArchivedSet, is_within
from asset_changes.errors import ArchiveDamaged, ArchiveUnavailable, UnreadableChangeSet
from asset_changes.getty_api.content import is_read_by_newer_parser, is_read_by_this_parser
from asset_changes.models import Channel
from asset_changes.pipeline.archive_check import BEING_LOADED, compare_archive, lacking
from asset_changes.pipeline.archived_bodies import Problems
from asset_changes.pipeline.context import already_archived
from asset_changes.pipeline.prepared_groups import Group, Preparing, Ready, prepared_ahead
from asset_changes.pipeline.redelivery import restore_lost
from asset_changes.pipeline.unreadable import ReadAgain, mark_read, read_unreadable
from asset_changes.warehouse import findings, ledger
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.findings import ArchiveFinding, FindingKind, Resolution
from asset_changes.warehouse.ledger import LedgerRow
from asset_changes.warehouse.loader import KnownSet, is_in_log, load_again, load_first, reread
from asset_changes.warehouse.migrate import add_partitions, check_version

log = logging.getLogger(__name__)

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay found and did; `changed` counts the rows that it wrote or rewrote.

    `waited` of them are of sets that were known to wait for their load.
    """

    sets: int = 0
    changes: int = 0
    changed: int = 0
    rebuilt: int = 0
    waited: int = 0

    def __add__(self, other: "Replayed") -> "Replayed":
        return Replayed(**{name: count + getattr(other, name) for name, count in vars(self).items()})

    def __str__(self) -> str:
        return f"sets={self.sets} changes={self.changes} changed={self.changed} rebuilt={self.rebuilt}"


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
    """Load the sets of a channel that came in `since <= received_at < until` again; safe while live runs load.

    With `only_missing`, those alone of which the warehouse lacks something: what a restored one needs.
    `note` is called in each transaction with what it did. Raises, after all else is loaded, where an
    object could not be read and nobody has dismissed it.
    """
    channel_id = channel.channel_id
    with transaction(warehouse) as connection:
        check_version(connection)
        problems = Problems(findings.open_findings(connection, channel_id))
    again = read_unreadable(warehouse, archive, channel_id, problems=problems, since=since, until=until)
    last = archive.last(channel_id)
    sets = archive.sets(channel_id, since=since, until=until)
    if only_missing:
        sets = _reported(lacking(sets, warehouse=warehouse, archive=archive))
    sets = chain(again.sets.values(), (each for each in sets if each.change_set_id not in again.sets))
    if (first := next(sets, None)) and last:
        newest = min(until or last.fetched_at, last.fetched_at)
        with transaction(warehouse) as connection:
            add_partitions(connection, since=first.fetched_at, until=max(newest, first.fetched_at))
    gc.freeze()  # as in a catch-up
    started, total = time.monotonic(), Replayed()
    preparing = Preparing(channel=channel, archive=archive, warehouse=warehouse, problems=problems)
    for group in prepared_ahead(preparing, chain(filter(None, [first]), sets)):
        load = partial(_load, preparing=preparing, group=group, last=last, expected=again.sets, note=note)
        done, differing = in_transaction(warehouse, load)
        total += done
        for ready in differing:
            total += in_transaction(warehouse, partial(_reread, preparing=preparing, ready=ready, note=note))
    if not total.sets:
        what = "no archived set that the warehouse lacks" if only_missing else "no archived set"
        span = f"from {since or 'the beginning'} to {until or 'now'}"
        log.info("Nothing to replay: channel=%d has %s %s", channel_id, what, span)
    _log_replayed(channel_id, total, seconds=time.monotonic() - started)
    conclude = partial(_conclude, preparing=preparing, again=again, since=since, until=until)
    _raise_unread(in_transaction(warehouse, conclude), problems, since=since, until=until, only_missing=only_missing)
    return total


def _log_replayed(channel_id: int, total: Replayed, *, seconds: float) -> None:
    """Write what a replay did in one line."""
    log.log(
        logging.WARNING if total.changed else logging.INFO,
        "Replayed channel=%d: %s seconds=%.1f changes_per_second=%.0f",
        channel_id,
        total,
        seconds,
        total.changes / seconds if seconds else 0,
    )


def _reported(missing: Iterator[ArchivedSet]) -> Iterator[ArchivedSet]:
    """Yield the sets that the warehouse lacks, each of them named in the log."""
    for each in missing:
        log.warning(
            "Missing: channel=%d change set %s, fetched at %s, is in the archive and not loaded: %s",
            each.channel_id,
            each.change_set_id,
            each.fetched_at,
            each.uri,
        )
        yield each


def _load(
    connection: Connection,
    *,
    preparing: Preparing,
    group: Group,
    last: ArchivedSet | None,
    expected: dict[str, ArchivedSet],
    note: Callable[[Connection, Replayed], None] | None,
) -> tuple[Replayed, list[Ready]]:
    """Load one group in the caller's transaction; return what it did, and the sets that are read otherwise now.

    These are left alone here: each takes locks on its old and its new assets, in a transaction of its own.
    """
    ledger.lock_channel(connection, preparing.channel)
    rows = ledger.lookup_many(connection, preparing.channel.channel_id, [each.ref.change_set_id for each in group.sets])
    compared: dict[str, Ready] = {}
    sets: list[KnownSet] = []
    total = Replayed()
    for each in group.sets:
        change_set_id = each.ref.change_set_id
        row = rows.get(change_set_id)
        ready = _under_lock(connection, preparing, each, row)
        if ready is None:
            continue
        changes = ready.prepared.counts.changes
        total += Replayed(sets=1, changes=changes, rebuilt=int(row is None))
        if not _is_loaded(row) and _load_due(connection, ready, row, last=last):
            is_due = row is not None or change_set_id in expected
            total += Replayed(changed=changes, waited=changes if is_due else 0)
        else:
            compared[change_set_id] = ready
            sets.append(_known_set(ready, row, is_rebuild=group.is_rebuild))
    done = load_again(connection, sets, wait=already_archived)
    is_due = any(each.ref.change_set_id in expected for each in sets)
    total += Replayed(changed=done.rows, waited=done.rows if is_due else 0)
    loaded = {change_set_id for change_set_id in compared if _is_loaded(rows.get(change_set_id))}
    for change_set_id in sorted(done.differing & compared.keys() - loaded):
        # It is marked as loaded, so it is read anew here: nobody may take an old reading for a whole load.
        ready, before = compared[change_set_id], _loaded_count(rows.get(change_set_id))
        rows_written = reread(connection, ready.ref, ready.prepared, wait=already_archived, loaded_count=before)
        total += Replayed(changed=rows_written, waited=rows_written)
    for change_set_id in sorted(loaded - done.differing):
        is_changed = change_set_id in done.change_set_ids
        _update_ledger(connection, rows[change_set_id], compared[change_set_id], is_changed=is_changed)
    if note is not None:
        note(connection, total)
    return total, [compared[change_set_id] for change_set_id in sorted(done.differing & loaded)]


def _is_loaded(row: LedgerRow | None) -> bool:
    return row is not None and row.loaded_at is not None


def _loaded_count(row: LedgerRow | None) -> int:
    return row.counts.changes if row else 0


def _known_set(ready: Ready, row: LedgerRow | None, *, is_rebuild: bool) -> KnownSet:
    """Return a set as it is compared with the tables."""
    if row is None:
        is_rebuild = True
    elif row.loaded_at is None:
        is_rebuild = False
    else:
        # Read as before, it can only lack rows that were lost; a rebuild may have had a part of it.
        is_rebuild = is_rebuild or row.is_rebuilt or row.content_hash == ready.prepared.content_hash
    return KnownSet(ref=ready.ref, prepared=ready.prepared, is_rebuild=is_rebuild, loaded_count=_loaded_count(row))


def _update_ledger(connection: Connection, row: LedgerRow, ready: Ready, *, is_changed: bool) -> None:
    """Make the ledger's row of a loaded set what the tables have of it now."""
    if row.content_hash != ready.prepared.content_hash or row.counts != ready.prepared.counts:
        ledger.recount(connection, ready.ref, ready.prepared)
    if is_changed:
        ledger.renumber(connection, ready.ref)


def _under_lock(connection: Connection, preparing: Preparing, ready: Ready, row: LedgerRow | None) -> Ready | None:
    """Return a set as archive and ledger have it now that its row is locked; None where it must be left alone."""
    current = preparing.as_the_ledger_has_it(ready, row)
    if current is None or row is None:
        return current
    if is_read_by_newer_parser(row.content_hash):
        return None
    is_counted = row.loaded_at is not None and is_read_by_this_parser(row.content_hash)
    if not is_counted or current.prepared.counts.changes >= row.counts.changes:
        return current
    # The archive has fewer messages of the set than this parser once counted in it.
    if restore_lost(connection, preparing.archive, row):
        return preparing.as_the_ledger_has_it(current, row) or current
    log.error("Not replayed: archive and tables lack messages of change set %s", current.ref.change_set_id)
    return None


def _load_due(connection: Connection, ready: Ready, row: LedgerRow | None, *, last: ArchivedSet | None) -> bool:
    """Load a set that the ledger does not have as loaded; False where the log has it and must be compared yet."""
    ref, prepared = ready.ref, ready.prepared
    if row is None:
        ledger.insert_fetched(connection, ref, content_hash=prepared.content_hash, run=ledger.RunRef())
    is_first = not is_in_log(connection, ref)
    if is_first:
        # Whether a set without a row was never loaded or is forgotten, nobody can know.
        load_first(connection, ref, prepared, wait=already_archived, is_rebuild=row is None)
    ledger.mark_loaded(connection, ref, prepared)
    if row is None:
        # Getty hands out a set only after it confirmed the one before.
        is_other = last is not None and ref.change_set_id != last.change_set_id
        is_confirmed = last is not None and is_other and ref.fetched_at < last.objects[-1].first_at
        ledger.mark_rebuilt(connection, ref, is_confirmed=is_confirmed)
    return is_first


def _reread(
    connection: Connection,
    *,
    preparing: Preparing,
    ready: Ready,
    note: Callable[[Connection, Replayed], None] | None,
) -> Replayed:
    """Replace what the tables have of one loaded set by what today's parser reads in the archive."""
    ledger.lock_channel(connection, preparing.channel)
    row = ledger.lookup(connection, ready.ref.channel_id, ready.ref.change_set_id, lock=True)
    current = preparing.as_the_ledger_has_it(ready, row)
    if row is None or row.loaded_at is None or current is None or is_read_by_newer_parser(row.content_hash):
        return Replayed()  # somebody else has it in work
    rows_written = reread(
        connection,
        current.ref,
        current.prepared,
        wait=already_archived,
        is_rebuild=row.is_rebuilt,
        loaded_count=row.counts.changes,
    )
    done = Replayed(changed=rows_written)
    ledger.recount(connection, current.ref, current.prepared)
    ledger.renumber(connection, current.ref)
    log.warning(
        "Read otherwise: channel=%d change set %s: its rows are replaced by what the archive holds",
        current.ref.channel_id,
        current.ref.change_set_id,
    )
    if note is not None:
        note(connection, done)
    return done


def _conclude(
    connection: Connection,
    *,
    preparing: Preparing,
    again: ReadAgain,
    since: datetime | None,
    until: datetime | None,
) -> list[ArchiveFinding]:
    """Keep what could not be read, and what can be again; return what no person has dismissed of it."""
    problems, channel_id = preparing.problems, preparing.channel.channel_id
    unread = findings.note(connection, problems.findings.values())
    for key, finding in problems.over.items():
        if key not in problems.findings:
            how = Resolution.READ if finding.kind == FindingKind.UNREADABLE else Resolution.RESTORED
            findings.resolve(connection, [finding], how=how)
    mark_read(connection, again)
    if not problems.unavailable:
        ledger.end_rebuild(connection, channel_id)
    lately = connection.execute(select(func.now())).scalar_one() - BEING_LOADED
    found = compare_archive(
        connection, preparing.archive, channel_id, since=since, until=lately if until is None else min(until, lately)
    )
    known = {each.key for each in unread}
    return [*unread, *(each for each in found if each.kind == FindingKind.MISSING and each.key not in known)]


def _raise_unread(
    unread: Sequence[ArchiveFinding],
    problems: Problems,
    *,
    since: datetime | None,
    until: datetime | None,
    only_missing: bool,
) -> None:
    """Raise where objects of the span could not be read that no person has dismissed.

    With `only_missing` an object that is gone is none of them, unless its set was due: what is loaded
    lacks nothing.
    """
    counted = []
    for each in unread:
        if is_within(each.received_at, since, until) and (each.key in problems.findings or not only_missing):
            counted.append(each)
        else:
            log.warning("Still open, but not of this replay: %s", each.detail)
    if problems.unavailable:
        many = len(problems.unavailable)
        raise ArchiveUnavailable(
            f"{problems.unavailable[0]} In all {many} of the archive's objects; the rest is loaded."
        )
    if counted:
        kind = UnreadableChangeSet if counted[0].kind == FindingKind.UNREADABLE else ArchiveDamaged
        others = "".join(f" Also: {each.archive_uri}" for each in counted[1:_NAMED])
        raise kind(
            f"{counted[0].detail} In all {len(counted)} archived objects cannot be read; the rest is loaded.{others}"
        )
