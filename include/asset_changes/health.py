"""Whether a channel is right, and if not: since when, why, and what to do next."""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from asset_changes.lag import Lag, lag_of
from asset_changes.warehouse.status import Alert, ChannelStatus
from asset_changes.watch_conditions import CONDITIONS
from asset_changes.watch_settings import WatchSettings

UNREAD_KEPT = timedelta(days=14)
"""How long Getty keeps notifications that nobody reads (its Asset Changes guide)."""
SILENT_KEPT = timedelta(days=120)
"""After how long without a request Getty has removed channels (an older edition of the same guide)."""

_CONDITIONS = {condition.name: condition for condition in CONDITIONS}
# The watchdog's conditions that are looked for here as well, at each look and not every ten minutes.
_LOOKED_FOR = ("unchecked", "unread", "unconfirmed", "vanished")
# Those that stop a channel; the others ask for a look while the copy goes on.
_BREAKING = (*_LOOKED_FOR, "dormant", "delete_overdue")


class State(enum.StrEnum):
    """How a channel stands."""

    UP_TO_DATE = "up to date"
    BEHIND = "behind"
    BROKEN = "broken"
    VANISHED = "vanished"
    """Getty no longer lists it, and nobody has taken note."""
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that a person should look at; `link` is the page of Airflow where the next step starts.

    `entry` is the heading of docs/operations.md that says more. `is_breaking` says that the copy does not go on
    until somebody does.
    """

    reason: str
    next_step: str
    since: datetime | None = None
    link: str | None = None
    entry: str | None = None
    is_breaking: bool = True


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
    problems = (*others, *_problems(status, now, limits, confirms, is_caught_up))
    unread_since = _unread_since(status)
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
        unread_left=None if unread_since is None else UNREAD_KEPT - (now - unread_since),
        silent_left=None if checked_at is None else SILENT_KEPT - (now - checked_at),
    )


def _of_retired(status: ChannelStatus, since: datetime) -> Health:
    """Judge a channel that Getty no longer lists: nothing arrives any more, so nothing of it is in time or late."""
    is_known = status.retirement_known_at is not None and status.retirement_known_at >= since
    vanished = Problem(
        reason="Getty no longer lists this channel: nothing tells of the Deletes of its assets.",
        next_step=_CONDITIONS["vanished"].next_step,
        since=since,
        link="dags/asset_changes_watch",
        entry="vanished",
    )
    return Health(
        state=State.RETIRED if is_known else State.VANISHED,
        since=since,
        problems=(*(() if is_known else (vanished,)), *_alerted(status, but=_LOOKED_FOR)),
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


def _unread_since(status: ChannelStatus) -> datetime | None:
    """Return a moment before which nothing is unread at Getty."""
    known = [status.open.oldest_change_at] if status.open.sets else [status.caught_up_at, status.last_change_at]
    read_until = [moment for moment in known if moment is not None]
    return max(read_until) if read_until else status.discovered_at


def _problems(
    status: ChannelStatus, now: datetime, limits: WatchSettings, confirms: bool, is_caught_up: bool
) -> list[Problem]:
    runs = f"dags/{status.dag_id}/runs"
    found = [
        _not_checked(status, now, limits, runs),
        _not_loaded(status, now, limits, runs),
        _not_confirmed(status, now, limits, runs) if confirms else None,
        _unread(status, now, limits, runs) if confirms else None,
    ]
    # An alert stands until the next watch; what is over by now is not told any more.
    over = (*_LOOKED_FOR, "behind") if is_caught_up else _LOOKED_FOR
    return [problem for problem in found if problem is not None] + _alerted(status, but=over)


def _alerted(status: ChannelStatus, *, but: tuple[str, ...]) -> list[Problem]:
    return [_problem_of(alert, f"dags/{status.dag_id}/runs") for alert in status.alerts if alert.condition not in but]


def _problem_of(alert: Alert, runs: str) -> Problem:
    condition = _CONDITIONS.get(alert.condition)
    return Problem(
        reason=f"{condition.title if condition else alert.condition}.",
        next_step=condition.next_step if condition else "Read the log of asset_changes_watch.",
        since=alert.since,
        link=runs,
        is_breaking=alert.condition in _BREAKING,
    )


def _not_checked(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: str) -> Problem | None:
    since = status.last_checked_at or status.discovered_at
    if since is None or now - since <= timedelta(minutes=limits.unchecked_minutes):
        return None
    never = "has never answered" if status.last_checked_at is None else "has given no answer"
    return Problem(
        reason=f"Getty {never} on this channel for more than {limits.unchecked_minutes:g} minutes.",
        next_step="Open the newest run: the last line of its red task says what to do. No run? Switch the DAG on.",
        since=since,
        link=runs,
    )


def _not_loaded(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: str) -> Problem | None:
    since = status.open.not_loaded_since
    if since is None or now - since <= timedelta(minutes=limits.unconfirmed_minutes):
        return None
    return Problem(
        reason="A change set is archived but not loaded, so nothing newer arrives.",
        next_step="Open the newest run and read its red task; once that is mended, trigger the DAG.",
        since=since,
        link=runs,
    )


def _not_confirmed(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: str) -> Problem | None:
    since = status.open.not_confirmed_since
    if since is None or now - since <= timedelta(minutes=limits.unconfirmed_minutes):
        return None
    return Problem(
        reason="A change set is loaded but not confirmed, so Getty hands out the same one again.",
        next_step="Open the newest run and read its task confirm; once that is mended, trigger the DAG.",
        since=since,
        link=runs,
    )


def _unread(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: str) -> Problem | None:
    since = _unread_since(status)
    if since is None or now - since <= timedelta(days=limits.unread_days):
        return None
    return Problem(
        reason=f"Changes may be unread since {(now - since).days} days; Getty drops them after {UNREAD_KEPT.days}.",
        next_step="Let the channel catch up today: trigger its DAG and watch the task catch_up.",
        since=since,
        link=runs,
    )
