"""Catch up: fetch, transform, load and confirm in a loop until the channel has nothing more to hand out.

The same functions as those of the tasks, in one process: one HTTP session, one token, one warehouse
connection. A set takes one transaction here, not three, and its archive object is written while its
rows are prepared: what each of these saves is in docs/performance.md.
"""

import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from asset_changes.errors import ApiUnavailable
from asset_changes.models import ChangeSetRef, Counts, PreparedSet
from asset_changes.pipeline.confirm import send_confirmation
from asset_changes.pipeline.context import ChannelContext, DeliveryKind, ReceivedSet
from asset_changes.pipeline.fetch import reconcile_confirmations, record_in_ledger, request_and_archive
from asset_changes.pipeline.load import load_in_transaction, log_loaded
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.ledger import LedgerRow
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CaughtUp:
    """What a catch-up did; `channel_seq` is the number of the last set, None where it loaded none."""

    sets: int
    counts: Counts
    is_caught_up: bool
    channel_seq: int | None


@dataclass(frozen=True, kw_only=True)
class PendingConfirmation:
    """A confirmation that Getty took and the ledger does not know of yet: it rides in the next transaction."""

    ref: ChangeSetRef
    is_ours: bool
    committed_at: datetime


class Progress:
    """What a catch-up has done so far, and how it is reported to a person who reads the log."""

    def __init__(self, context: ChannelContext, *, every_seconds: float) -> None:
        self.sets, self.counts = 0, Counts()
        self.channel_seq: int | None = None
        self._channel_id, self._clock, self._every = context.channel.channel_id, context.clock, every_seconds
        self._started = self._reported = time.monotonic()
        self._newest_change_at: datetime | None = None

    @property
    def seconds(self) -> float:
        """How long the catch-up has taken so far."""
        return time.monotonic() - self._started

    def add(self, row: LedgerRow) -> None:
        """Count a set, and report if nothing was reported for a while."""
        self.sets, self.counts = self.sets + 1, self.counts + row.counts
        self.channel_seq = row.channel_seq
        self._newest_change_at = row.newest_change_at or self._newest_change_at
        if time.monotonic() - self._reported >= self._every:
            self.report("So far")
            self._reported = time.monotonic()

    def report(self, what: str) -> None:
        """Write one line."""
        lag = (self._clock() - self._newest_change_at).total_seconds() if self._newest_change_at else None
        log.info(
            "%s: channel=%d sets=%d %s seconds=%.1f changes_per_second=%.0f lag_seconds=%s",
            what,
            self._channel_id,
            self.sets,
            self.counts,
            self.seconds,
            self.counts.changes / self.seconds,
            "none" if lag is None else f"{lag:.0f}",
        )


def catch_up(
    context: ChannelContext,
    *,
    batch_size: int,
    minutes: float,
    stops: Callable[[], bool] = lambda: False,
    report_every_seconds: float = 30,
) -> CaughtUp:
    """Fetch, load and confirm until the first empty answer, the time limit, or `stops` says so.

    A set that was fetched is always finished.
    """
    if not context.confirms:
        log.info("Nothing to catch up with: ASSET_CHANGES_CONFIRM=off, Getty would hand the same set out again")
        return CaughtUp(sets=0, counts=Counts(), is_caught_up=False, channel_seq=None)
    with transaction(context.warehouse) as connection:
        check_version(connection)
    progress = Progress(context, every_seconds=report_every_seconds)
    asked_at = _read_sets(
        context, progress, batch_size=batch_size, is_over=lambda: stops() or progress.seconds >= minutes * 60
    )
    if asked_at:
        in_transaction(context.warehouse, partial(record_in_ledger, context=context, received=None))
        reconcile_confirmations(context, None, asked_at=asked_at)
    progress.report("Caught up" if asked_at else "Stopped before the end")
    return CaughtUp(
        sets=progress.sets,
        counts=progress.counts,
        is_caught_up=asked_at is not None,
        channel_seq=progress.channel_seq,
    )


def _read_sets(
    context: ChannelContext, progress: Progress, *, batch_size: int, is_over: Callable[[], bool]
) -> datetime | None:
    """Read set by set; return when Getty was asked and had nothing more, None where it stopped before."""
    pending: PendingConfirmation | None = None
    repeats = empty_sets = 0
    archive_executor = ThreadPoolExecutor(1, thread_name_prefix="archive")
    try:
        while not is_over():
            asked_at, is_first = context.clock(), progress.sets == 0
            received = request_and_archive(
                context, batch_size=batch_size, is_first_request=is_first, archive_executor=archive_executor
            )
            if received is None:
                return asked_at
            repeats = repeats + 1 if pending and pending.ref.change_set_id == received.ref.change_set_id else 0
            if repeats > 1:
                raise ApiUnavailable(
                    f"Getty hands out change set {received.ref.change_set_id} of channel {received.ref.channel_id} "
                    "again and again although it took its confirmation, and so nothing newer. If this lasts, report "
                    "it to Getty; a proxy that answers in its place would look the same."
                )
            if is_first:  # later on, this loop itself has confirmed the set before
                reconcile_confirmations(context, received, asked_at=asked_at)
            prepared = None if received.is_loaded else _prepared(context, received)
            load = partial(_load, context=context, received=received, prepared=prepared, pending=pending)
            row = in_transaction(context.warehouse, load)
            committed_at, pending = context.clock(), None
            del received, prepared, load  # what the next set is read into is then still in the processor's cache
            log_loaded(row, now=committed_at)
            is_ours = send_confirmation(context, row)
            pending = PendingConfirmation(ref=row.ref, is_ours=is_ours, committed_at=committed_at)
            progress.add(row)
            if is_first:
                gc.freeze()  # what is imported by now stays: the collector need not look through it at every set
            empty_sets = 0 if row.counts.changes else empty_sets + 1
            if empty_sets > 1:  # a new id with nothing in it, and again: this is how Getty says that there is nothing
                return asked_at
    finally:
        archive_executor.shutdown()
        if pending:
            in_transaction(context.warehouse, partial(_mark_confirmed, pending=pending))
    return None


def _prepared(context: ChannelContext, received: ReceivedSet) -> PreparedSet:
    from asset_changes.pipeline.transform import transform  # late: pandas takes a second, and most runs find no new set

    return transform(received.deliveries, channel=context.channel, ref=received.ref)


def _load(
    connection: Connection,
    *,
    context: ChannelContext,
    received: ReceivedSet,
    prepared: PreparedSet | None,
    pending: PendingConfirmation | None,
) -> LedgerRow:
    """Record a delivery, load its set, and write the confirmation of the set before, in one transaction."""
    recorded = record_in_ledger(connection, context=context, received=received)  # locks the channel's row first
    assert recorded is not None  # noqa: S101 - a set was received
    if pending and pending.ref.change_set_id != recorded.ref.change_set_id:  # what comes again is not confirmed
        _mark_confirmed(connection, pending)
    row = load_in_transaction(
        connection,
        context=context,
        ref=received.ref,  # for which it was prepared
        prepared=prepared,
        new_row=recorded.row if recorded.kind is DeliveryKind.NEW else None,
        wait_until_archived=recorded.wait_until_archived,
    )
    ledger.mark_confirm_tried(connection, row.ref)
    recorded.wait_until_archived()
    return row


def _mark_confirmed(connection: Connection, pending: PendingConfirmation) -> None:
    ledger.mark_confirmed(connection, pending.ref, is_ours=pending.is_ours, committed_at=pending.committed_at)
