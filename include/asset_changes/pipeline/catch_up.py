"""Repeat the steps in one process until the channel has nothing more to hand out.

One HTTP session, one token, one warehouse connection. The load of a set, the ledger's row of its
delivery and the stamp that a confirmation is about to be sent share one transaction; the archive is
written beside it, and the commit waits for it.
"""

import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from asset_changes.errors import ApiUnavailable
from asset_changes.models import Counts, FetchedSet
from asset_changes.pipeline.fetch import ChannelContext, ReceivedSet, deliver, record
from asset_changes.pipeline.steps import call_confirm, load_in, log_loaded, settle
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.ledger import LedgerRow
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CaughtUp:
    """What a catch-up did."""

    sets: int
    counts: Counts
    is_caught_up: bool


class Stamp(NamedTuple):
    """A confirmation that Getty took and the ledger does not know of yet: it rides in the next transaction."""

    change_set_id: str
    is_ours: bool


class Progress:
    """What a catch-up has done so far, and how it tells a person who reads the log."""

    def __init__(self, steps: ChannelContext, *, every_seconds: float) -> None:
        self.sets, self.counts = 0, Counts()
        self._channel_id, self._clock, self._every = steps.channel.channel_id, steps.clock, every_seconds
        self._started = self._told = time.monotonic()
        self._newest_change_at: datetime | None = None

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._started

    def add(self, row: LedgerRow) -> None:
        """Count a set, and tell how far it is if nothing was told for a while."""
        self.sets, self.counts = self.sets + 1, self.counts + row.counts
        self._newest_change_at = row.newest_change_at or self._newest_change_at
        if time.monotonic() - self._told >= self._every:
            self.tell("So far")
            self._told = time.monotonic()

    def tell(self, what: str) -> None:
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
    steps: ChannelContext,
    *,
    batch_size: int,
    minutes: float,
    stops: Callable[[], bool] = lambda: False,
    tell_every_seconds: float = 30,
) -> CaughtUp:
    """Fetch, load and confirm until the first empty answer, the time limit, or `stops` says so.

    A set that is in hand is always finished.
    """
    if not steps.confirms:
        log.info("Nothing to catch up with: ASSET_CHANGES_CONFIRM=off, Getty would hand the same set out again")
        return CaughtUp(sets=0, counts=Counts(), is_caught_up=False)
    with transaction(steps.warehouse) as connection:
        check_version(connection)
    gc.freeze()  # what is imported stays: the collector need not look through it again at every set
    progress = Progress(steps, every_seconds=tell_every_seconds)
    asked_at = _read_on(
        steps, progress, batch_size=batch_size, goes_on=lambda: not stops() and progress.seconds < minutes * 60
    )
    if asked_at:
        in_transaction(steps.warehouse, partial(record, steps=steps, received=None))
        settle(steps, None, asked_at=asked_at)
    progress.tell("Caught up" if asked_at else "Stopped before the end")
    return CaughtUp(sets=progress.sets, counts=progress.counts, is_caught_up=asked_at is not None)


def _read_on(
    steps: ChannelContext, progress: Progress, *, batch_size: int, goes_on: Callable[[], bool]
) -> datetime | None:
    """Read set by set; return when Getty was asked and had nothing more, None where it was left before."""
    unstamped: Stamp | None = None
    repeats = empty = 0
    beside = ThreadPoolExecutor(1, thread_name_prefix="archive")
    try:
        while goes_on():
            asked_at, is_first = steps.clock(), progress.sets == 0
            received = deliver(steps, batch_size=batch_size, is_first=is_first, beside=beside)
            if received is None:
                return asked_at
            repeats = repeats + 1 if unstamped and unstamped.change_set_id == received.fetched.change_set_id else 0
            if repeats > 1:
                raise ApiUnavailable(_comes_again(received.fetched))
            if is_first:  # later on, the set before was confirmed by this loop
                settle(steps, received, asked_at=asked_at)
            row = in_transaction(steps.warehouse, partial(_load, steps=steps, received=received, unstamped=unstamped))
            unstamped = None
            log_loaded(row, now=steps.clock())
            beside.submit(_forget, received)  # thousands of small objects: freed there, while Getty answers
            del received
            change_set_id = row.fetched.change_set_id
            is_ours = call_confirm(steps, change_set_id, was_tried=row.confirm_tried_at is not None)
            unstamped = Stamp(change_set_id, is_ours)
            progress.add(row)
            empty = 0 if row.counts.changes else empty + 1
            if empty > 1:  # a new id with nothing in it, and again: this is how Getty says that there is nothing
                return asked_at
    finally:
        beside.shutdown()
        if unstamped:
            in_transaction(steps.warehouse, partial(_stamp, steps=steps, unstamped=unstamped))
    return None


def _forget(received: ReceivedSet) -> None:
    """Hold a set that is loaded for the last time."""


def _comes_again(fetched: FetchedSet) -> str:
    return (
        f"Getty hands out change set {fetched.change_set_id} of channel {fetched.channel_id} again and again although "
        "it took its confirmation, and so nothing newer. If this lasts, report it to Getty; a proxy that answers in "
        "its place would look the same."
    )


def _load(
    connection: Connection, *, steps: ChannelContext, received: ReceivedSet, unstamped: Stamp | None
) -> LedgerRow:
    recorded = record(connection, steps, received) or received  # takes the channel's row first, as everybody does
    if unstamped and unstamped.change_set_id != recorded.fetched.change_set_id:  # what comes again is not confirmed
        _stamp(connection, steps=steps, unstamped=unstamped)
    new = recorded.row if recorded.is_new else None
    row = load_in(connection, steps, recorded.fetched, recorded.prepared, new=new)
    ledger.mark_confirm_tried(connection, row.fetched.channel_id, row.fetched.change_set_id)
    recorded.wait_until_archived()
    return row


def _stamp(connection: Connection, *, steps: ChannelContext, unstamped: Stamp) -> None:
    ledger.mark_confirmed(connection, steps.channel.channel_id, unstamped.change_set_id, is_ours=unstamped.is_ours)
