"""Repeat the steps in one process until the channel has nothing more to hand out.

One HTTP session, one token, one warehouse connection. The load of a set, the ledger's row of its
delivery and the stamp that a confirmation is about to be sent share one transaction.
"""

import logging
import time
from collections.abc import Callable

from sqlalchemy import Connection

from asset_changes.model import Counts
from asset_changes.steps import (
    CaughtUp,
    InHand,
    Steps,
    call_confirm,
    deliver,
    load_in,
    log_loaded,
    record,
    settle,
)
from asset_changes.warehouse import ledger
from asset_changes.warehouse.connection import in_transaction, transaction
from asset_changes.warehouse.ledger import LedgerRow
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)


def catch_up(steps: Steps, *, batch_size: int, minutes: float, stops: Callable[[], bool] = lambda: False) -> CaughtUp:
    """Fetch, load and confirm until the first empty answer, the time limit, or `stops` says so.

    A set that is in hand is always finished.
    """
    if not steps.confirms:
        log.info("Nothing to catch up with: ASSET_CHANGES_CONFIRM=off, Getty would hand the same set out again")
        return CaughtUp(sets=0, counts=Counts(), is_caught_up=False)
    with transaction(steps.warehouse) as connection:
        check_version(connection)
    started = time.monotonic()
    sets, total, is_caught_up = 0, Counts(), False
    while not stops() and time.monotonic() - started < minutes * 60:
        in_hand = deliver(steps, batch_size=batch_size, is_first=sets == 0)
        settle(steps, in_hand)
        if in_hand is None:
            in_transaction(steps.warehouse, lambda connection: record(connection, steps, None))
            is_caught_up = True
            break
        total += _finish(steps, in_hand)
        sets += 1
    _log_summary(steps, sets, total, time.monotonic() - started, is_caught_up=is_caught_up)
    return CaughtUp(sets=sets, counts=total, is_caught_up=is_caught_up)


def _finish(steps: Steps, in_hand: InHand) -> Counts:
    channel_id, change_set_id = steps.channel.channel_id, in_hand.fetched.change_set_id

    def work(connection: Connection) -> LedgerRow:
        recorded = record(connection, steps, in_hand) or in_hand
        row = load_in(connection, steps, recorded.fetched, recorded.prepared)
        ledger.mark_confirm_tried(connection, channel_id, change_set_id)
        return row

    row = in_transaction(steps.warehouse, work)
    log_loaded(row)
    is_ours = call_confirm(steps, change_set_id, was_tried=row.confirm_tried_at is not None)
    with transaction(steps.warehouse) as connection:
        ledger.mark_confirmed(connection, channel_id, change_set_id, is_ours=is_ours)
    return row.counts


def _log_summary(steps: Steps, sets: int, total: Counts, seconds: float, *, is_caught_up: bool) -> None:
    rate = total.changes / seconds if seconds else 0.0
    log.info(
        "%s: channel=%d sets=%d %s seconds=%.1f changes_per_second=%.0f",
        "Caught up" if is_caught_up else "Stopped before the end",
        steps.channel.channel_id,
        sets,
        total,
        seconds,
        rate,
    )
