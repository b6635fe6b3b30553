"""Enqueue: what was loaded since the last time, what a person asks for, and once a day what is missing.

Each step is a transaction of its own that leaves queue and cursor as they belong together. So it may stop
anywhere, run twice, or find the database restored to an older state: the next time continues from there.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from asset_changes.warehouse import lookup_connections, lookup_queue
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)

SETS_PER_TRANSACTION = 20
SLICE = 50_000


@dataclass(frozen=True, kw_only=True)
class Enqueued:
    """How many assets were enqueued, how many wait now, and how many that were asked for by hand are not live."""

    queued: int
    waiting: int
    unknown: int


def enqueue(
    warehouse: Engine,
    *,
    asset_ids: Collection[str] = (),
    language: str = "en-US",
    sets_per_transaction: int = SETS_PER_TRANSACTION,
    slice_size: int = SLICE,
) -> Enqueued:
    """Bring the queue up to what was loaded; `asset_ids` come first, whatever is known of them.

    Once a day what is known in another `language` is asked again, too.
    """
    with transaction(warehouse) as connection:
        check_version(connection)
    asked = sorted(set(asset_ids))
    of_asked = sum(
        in_transaction(warehouse, partial(lookup_queue.enqueue_asked, asset_ids=asked[start : start + slice_size]))
        for start in range(0, len(asked), slice_size)
    )
    queued = of_asked + _follow(warehouse, sets_per_transaction) + _sweep(warehouse, slice_size, language)
    in_transaction(warehouse, lookup_connections.remove_old_calls)
    with transaction(warehouse) as connection:
        waiting = lookup_queue.count_waiting(connection)
    done = Enqueued(queued=queued, waiting=waiting, unknown=len(asked) - of_asked)
    log.log(
        logging.WARNING if done.unknown else logging.INFO,
        "Enqueued assets: queued=%d waiting=%d asked=%d unknown=%d%s",
        done.queued,
        done.waiting,
        len(asked),
        done.unknown,
        " (of the assets asked for, these are not live)" if done.unknown else "",
    )
    return done


def _follow(warehouse: Engine, set_count: int) -> int:
    """Enqueue what the sets past the cursors changed."""
    in_transaction(warehouse, lookup_queue.start_reading)
    with transaction(warehouse) as connection:
        channel_ids = lookup_queue.channels_behind(connection)
    queued = 0
    for channel_id in channel_ids:
        is_behind = True
        while is_behind:
            work = partial(lookup_queue.enqueue_changed, channel_id=channel_id, set_count=set_count)
            row_count, is_behind = in_transaction(warehouse, work)
            queued += row_count
    return queued


def _sweep(warehouse: Engine, slice_size: int, language: str) -> int:
    """Once a day, enqueue every live asset whose metadata is missing, older than its change or in another language.

    The cursors do not show all of them: an asset that a correction revived, one whose log was dropped, those of
    an upgraded warehouse, one that Getty did not find and finds again, those of a queue that was emptied.
    """
    with transaction(warehouse) as connection:
        if not lookup_queue.is_sweep_due(connection):
            return 0
    queued, last_id = 0, ""
    while True:
        work = partial(lookup_queue.enqueue_missing, after=last_id, slice_size=slice_size, language=language)
        row_count, found = in_transaction(warehouse, work)
        queued += row_count
        if found is None:
            break
        last_id = found
    in_transaction(warehouse, lookup_queue.mark_swept)
    return queued
