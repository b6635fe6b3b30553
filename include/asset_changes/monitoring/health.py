"""Whether a channel is right, and if not: since when, why, and what to do next."""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from asset_changes.monitoring.lag import Lag, lag_of
from asset_changes.monitoring.problems import UNREAD_KEPT, Problem, alerted, looked_for, unread_since, vanished
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.status import ChannelStatus

SILENT_KEPT = timedelta(days=120)
"""After how long without a request Getty has removed channels (an older edition of the same guide)."""


class State(enum.StrEnum):
    """How a channel stands."""

    UP_TO_DATE = "up to date"
    BEHIND = "behind"
    BROKEN = "broken"
    VANISHED = "vanished"
    """Getty no longer lists it, and nobody has taken note."""
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Health:
    """What is to be said of a channel at a moment."""

    state: State
    since: datetime | None
    problems: tuple[Problem, ...]
    lag: Lag | None
    unread_left: timedelta | None
    silent_left: timedelta | None


def health_of(
    status: ChannelStatus,
    *,
    now: datetime,
    limits: WatchSettings,
    confirms: bool = True,
    others: tuple[Problem, ...] = (),
) -> Health:
    """Judge a channel by what the warehouse knows; `others` are problems seen elsewhere, told first."""
    is_caught_up = _is_caught_up(status)
    if status.retired_at:
        return _of_retired(status, status.retired_at)
    # An alert stands until the next watch; what is over by now is not told any more.
    told = alerted(status, but=("behind",) if is_caught_up else ())
    problems = (*others, *looked_for(status, now=now, limits=limits, confirms=confirms), *told)
    unread = unread_since(status)
    checked_at = status.last_checked_at or status.discovered_at
    return Health(
        state=_state(problems, is_caught_up=is_caught_up),
        since=status.caught_up_at,
        problems=problems,
        lag=lag_of(
            now=now,
            is_caught_up=is_caught_up,
            oldest_open_at=status.open.oldest_change_at,
            caught_up_at=status.caught_up_at,
            last_change_at=status.last_change_at,
        ),
        unread_left=None if unread is None else UNREAD_KEPT - (now - unread),
        silent_left=None if checked_at is None else SILENT_KEPT - (now - checked_at),
    )


def _of_retired(status: ChannelStatus, since: datetime) -> Health:
    """Judge a channel that Getty no longer lists: nothing arrives any more, so nothing of it is in time or late."""
    is_known = status.retirement_known_at is not None and status.retirement_known_at >= since
    return Health(
        state=State.RETIRED if is_known else State.VANISHED,
        since=since,
        problems=(*(() if is_known else (vanished(since),)), *alerted(status)),
        lag=None,
        unread_left=None,
        silent_left=None,
    )


def _state(problems: tuple[Problem, ...], *, is_caught_up: bool) -> State:
    if any(problem.is_breaking for problem in problems):
        return State.BROKEN
    return State.UP_TO_DATE if is_caught_up else State.BEHIND


def _is_caught_up(status: ChannelStatus) -> bool:
    """Whether the last answer was an empty one and everything that came before it is confirmed."""
    if status.caught_up_at is None or status.last_checked_at is None:
        return False
    return status.caught_up_at >= status.last_checked_at and status.open.sets == 0
