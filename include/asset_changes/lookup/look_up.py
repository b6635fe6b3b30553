"""Look up: ask Getty about what is in the queue, a hundred assets per call, and keep what it says.

Per connection, in `connection_loop.py`: take its lease, read what comes next, count the call, make it, write the
answer in one short transaction.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from asset_changes.lookup.answers import AnswerCounts
from asset_changes.lookup.connection_loop import ConnectionLoop, never
from asset_changes.lookup.context import LookupContext
from asset_changes.warehouse import lookup_queue
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)


class LeaseHeld(Exception):
    """Another run asks already, with every connection: it is named, and until when it may."""


@dataclass(frozen=True, kw_only=True)
class LookedUp(AnswerCounts):
    """What the loop did, of all connections together; `waiting` is what is left, due or not."""

    waiting: int = 0
    calls: int = 0
    is_daily_limit_reached: bool = False


def look_up(context: LookupContext, *, minutes: float, stops: Callable[[], bool] = never) -> LookedUp:
    """Ask about what is due until nothing is, the time is over or `stops` says so; a call that was made is finished.

    The connections are asked at the same time, and none waits for another. Raises LeaseHeld where another run asks
    with all of them, else the first error once all have ended.
    """
    with transaction(context.warehouse) as connection:
        check_version(connection)
    loops = [ConnectionLoop(context, conn_id, minutes=minutes, stops=stops) for conn_id in context.connections]
    if not loops:
        return LookedUp()
    with ThreadPoolExecutor(len(loops), thread_name_prefix="lookup") as pool:
        ended = [pool.submit(loop.run) for loop in loops]
    holders = [future.result() for future in ended if not future.exception()]
    for loop, future in zip(loops, ended, strict=True):
        if error := future.exception():
            log.error("Lookups with connection %s ended: %s", loop.conn_id, error)
    for future in ended:
        future.result()
    if all(holders):
        raise LeaseHeld("; ".join(map(str, holders)))
    _warn_of_unasked_channels(context)
    counts = sum((loop.counts for loop in loops), AnswerCounts())
    return LookedUp(
        **vars(counts),
        waiting=sum(loop.waiting for loop in loops),
        calls=sum(loop.calls for loop in loops),
        is_daily_limit_reached=any(loop.is_daily_limit_reached for loop in loops),
    )


def _warn_of_unasked_channels(context: LookupContext) -> None:
    asked = frozenset().union(*context.connections.values())
    with transaction(context.warehouse) as connection:
        channel_ids = lookup_queue.other_channels(connection, asked)
    if channel_ids:
        log.warning("Assets of channels %s wait, and no connection asks about them.", ", ".join(map(str, channel_ids)))
