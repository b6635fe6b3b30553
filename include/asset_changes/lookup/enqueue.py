"""Enqueue: what was loaded since the last time, what a person asks for, and once a day what is missing.

Each step is a transaction of its own that leaves queue and cursor as they belong together. So it may stop
anywhere, run twice, or find the database restored to an older state: the next time continues from there.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection, Engine

from asset_changes.clock import Clock, system_clock
from asset_changes.warehouse import daily, lookup_connections, lookup_queue, rechecks, reconciliations
from asset_changes.warehouse.daily import DAILY_SLICE, NEW_HELD, SWEEP
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)

SETS_PER_TRANSACTION = 20
SLICE, OLDEST_SLICE = 50_000, 2_000


@dataclass(frozen=True, kw_only=True)
class Enqueued:
    """How many assets were enqueued, for what they are or for a reconciliation, and how many wait now.

    `unknown` are those that were asked for by hand and are neither live nor held, or are music.
    """

    queued: int
    waiting: int
    unknown: int
    rechecks: int = 0


@dataclass(frozen=True, kw_only=True)
class Scope:
    """About which assets Getty is asked, and why.

    `connections` says which channels' assets are asked with each. Not `of_all`: of live assets only those that the
    company holds. `reconcile_days`: within how many days everything is asked again; 0 for never.
    """

    connections: Mapping[str, frozenset[int]]
    metadata: bool = True
    of_all: bool = True
    language: str = "en-US"
    reconcile_days: float = 30
    clock: Clock = system_clock


def enqueue(
    warehouse: Engine,
    scope: Scope,
    *,
    asset_ids: Collection[str] = (),
    not_asked_since: datetime | None = None,
    sets_per_transaction: int = SETS_PER_TRANSACTION,
    slice_size: int = SLICE,
) -> Enqueued:
    """Bring the queue up to what was loaded; `asset_ids` come first, whatever is known of them.

    After an import of holdings also what is new in them. Once a day what was never asked about, or in another language,
    and a slice of all for the reconciliation; with `not_asked_since` at once all that was last asked before then.
    """
    with transaction(warehouse) as connection:
        check_version(connection)
    asked = sorted(set(asset_ids))
    of_asked = sum(
        in_transaction(warehouse, partial(lookup_queue.enqueue_asked, asset_ids=asked[start : start + slice_size]))
        for start in range(0, len(asked), slice_size)
    )
    queued = of_asked
    if scope.metadata:
        queued += _follow(warehouse, scope, sets_per_transaction) + _sweep(warehouse, scope, slice_size)
    rechecks = _reconcile(warehouse, scope, not_asked_since, slice_size)
    if scope.reconcile_days:
        queued += _enqueue_new_held(warehouse, slice_size)
    in_transaction(warehouse, lookup_connections.remove_old_calls)
    with transaction(warehouse) as connection:
        waiting = lookup_queue.count_waiting(connection)
    done = Enqueued(queued=queued, waiting=waiting, unknown=len(asked) - of_asked, rechecks=rechecks)
    log.log(
        logging.WARNING if done.unknown else logging.INFO,
        "Enqueued assets: queued=%d rechecks=%d waiting=%d asked=%d unknown=%d%s",
        done.queued,
        done.rechecks,
        done.waiting,
        len(asked),
        done.unknown,
        " (of the assets asked for, these are neither live nor held, or they are music)" if done.unknown else "",
    )
    return done


def _follow(warehouse: Engine, scope: Scope, set_count: int) -> int:
    """Enqueue what the sets past the cursors changed."""
    in_transaction(warehouse, lookup_queue.start_reading)
    with transaction(warehouse) as connection:
        channel_ids = lookup_queue.channels_behind(connection)
    queued = 0
    for channel_id in channel_ids:
        is_behind = True
        while is_behind:
            work = partial(
                lookup_queue.enqueue_changed, channel_id=channel_id, set_count=set_count, of_all=scope.of_all
            )
            row_count, is_behind = in_transaction(warehouse, work)
            queued += row_count
    return queued


def _sweep(warehouse: Engine, scope: Scope, slice_size: int) -> int:
    """Once a day, enqueue every live asset whose metadata is missing, older than its change or in another language.

    The cursors do not show all of them: an asset that a correction revived, one whose log was dropped, those of
    an upgraded warehouse, one that Getty did not find and finds again, those of a queue that was emptied.
    """
    with transaction(warehouse) as connection:
        if not daily.is_due(connection, SWEEP):
            return 0
    enqueue_missing = partial(
        lookup_queue.enqueue_missing, slice_size=slice_size, language=scope.language, of_all=scope.of_all
    )
    queued = _walk(warehouse, enqueue_missing)
    in_transaction(warehouse, partial(daily.mark_done, name=SWEEP))
    return queued


def _walk(warehouse: Engine, enqueue_slice: Callable[..., tuple[int, str | None]]) -> int:
    """Go through all ids, a slice per transaction; return how many rows were enqueued."""
    queued, last_id = 0, ""
    while True:
        row_count, found = in_transaction(warehouse, partial(enqueue_slice, after=last_id))
        queued += row_count
        if found is None:
            return queued
        last_id = found


def _reconcile(warehouse: Engine, scope: Scope, not_asked_since: datetime | None, slice_size: int) -> int:
    """Enqueue what is to be asked again, then open a round for each connection that has some; return how many."""
    with transaction(warehouse) as connection:
        is_due = scope.reconcile_days > 0 and daily.is_due(connection, DAILY_SLICE)
    if not is_due and not_asked_since is None:
        return 0
    _walk(warehouse, partial(rechecks.add_known, slice_size=slice_size, of_all=scope.of_all))
    # What is live and was never asked has a row in the queue already, where metadata is stored.
    unchecked = partial(
        rechecks.enqueue_unchecked,
        slice_size=slice_size,
        not_asked_since=not_asked_since,
        with_live=not_asked_since is not None or not scope.metadata,
        of_all=scope.of_all,
    )
    queued = _walk(warehouse, unchecked)
    if is_due:
        second_looks = partial(rechecks.enqueue_second_looks, of_all=scope.of_all)
        queued += in_transaction(warehouse, second_looks) + _enqueue_oldest(warehouse, scope)
    in_transaction(warehouse, partial(_open_rounds, scope=scope, not_asked_since=not_asked_since, is_slice=is_due))
    return queued


def _enqueue_new_held(warehouse: Engine, slice_size: int) -> int:
    """Enqueue what lists have brought since the last time, unless it waits for the reconciliation already."""
    with transaction(warehouse) as connection:
        begun_at = rechecks.new_held_at(connection)
    if begun_at is None:
        return 0
    queued = _walk(warehouse, partial(rechecks.enqueue_new_held, slice_size=slice_size))
    in_transaction(warehouse, partial(daily.mark_done, name=NEW_HELD, at=begun_at))
    return queued


def _enqueue_oldest(warehouse: Engine, scope: Scope) -> int:
    """Enqueue the day's share of everything, what was asked longest ago first; nothing twice within a day."""
    with transaction(warehouse) as connection:
        left = rechecks.count_per_day(connection, days=scope.reconcile_days)
    asked_before, queued = scope.clock() - timedelta(days=1), 0
    place: rechecks.Place | None = rechecks.Place(as_of=datetime.min.replace(tzinfo=UTC), asset_id="")
    while left > 0 and place is not None:
        size = min(left, OLDEST_SLICE)
        work = partial(
            rechecks.enqueue_oldest,
            after=place,
            asked_before=asked_before,
            slice_size=size,
            of_all=scope.of_all,
        )
        row_count, place = in_transaction(warehouse, work)
        queued, left = queued + row_count, left - size
    return queued


def _open_rounds(connection: Connection, *, scope: Scope, not_asked_since: datetime | None, is_slice: bool) -> None:
    """Open rounds only now: one that is open already may have ended while its assets were enqueued."""
    reconciliations.void_other_rounds(connection, [*scope.connections])
    for conn_id, channel_ids in scope.connections.items():
        if not_asked_since is not None or lookup_queue.has_rechecks(connection, channel_ids):
            reconciliations.open_round(connection, conn_id, channel_ids=channel_ids, not_asked_since=not_asked_since)
    if is_slice:
        daily.mark_done(connection, DAILY_SLICE)
