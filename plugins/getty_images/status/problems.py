"""What the page says of a channel: its state, and what a person should check, with the next step."""

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.channel_health import SILENT_KEPT, UNREAD_KEPT, ChannelHealth, Lag
from asset_changes.warehouse.status import Alert, ChannelStatus

_CONDITIONS = {condition.name: condition for condition in CONDITIONS}
# The watchdog's conditions that are checked here as well, at each view and not every ten minutes.
_CHECKED_HERE = ("unchecked", "unread", "unconfirmed", "vanished")
# Those that stop a channel; the others ask for attention while the copy is kept up.
_BREAKING = (*_CHECKED_HERE, "dormant", "delete_overdue", "blocked", "unreadable")


class State(enum.StrEnum):
    """How a channel is."""

    UP_TO_DATE = "up to date"
    BEHIND = "behind"
    BROKEN = "broken"
    VANISHED = "vanished"
    """Getty no longer lists it, and nobody has taken note."""
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a next step starts, by name: a path below Airflow's root, or `#...` on the page itself."""

    path: str
    name: str


# The conditions whose next step does not start at the runs of the channel's DAG; None is outside of Airflow.
_WATCHDOG = Link(path="dags/asset_changes_watch", name="The watchdog")
_REPLAY = Link(path="dags/asset_changes_replay", name="The replay")
_REPLAY_RUNS = Link(path="dags/asset_changes_replay/runs", name="The runs of the replay")
_STARTS: dict[str, Link | None] = {
    "rejected": Link(path="#rejected-{channel_id}", name="The rejected changes"),
    "blocked": None,
    "silent": None,
    "vanished": _WATCHDOG,
    "gap": _WATCHDOG,
    "unreadable": _WATCHDOG,
    "archive_damaged": _WATCHDOG,
    "not_in_ledger": _REPLAY,
    "replay_overdue": _REPLAY_RUNS,
    "replay_changed": _REPLAY_RUNS,
    "other_consumer": None,
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that a person should check; `link` is where the next step starts.

    `title` is what it is about, `reason` the sentence. `entry` is the heading of docs/operations.md that says more.
    `is_breaking` says that the copy is not kept up until somebody does.
    """

    reason: str
    next_step: str
    title: str = ""
    since: datetime | None = None
    link: Link | None = None
    entry: str | None = None
    is_breaking: bool = True


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is to be said of a channel now."""

    state: State
    since: datetime | None
    problems: tuple[Problem, ...]
    lag: Lag | None
    unread_left: timedelta | None
    silent_left: timedelta | None


def summarize(
    status: ChannelStatus,
    *,
    now: datetime,
    limits: WatchSettings,
    confirms: bool = True,
    others: tuple[Problem, ...] = (),
) -> Summary:
    """Judge a channel by what the warehouse knows; `others` are problems found elsewhere, shown first."""
    health = status.health
    if health.retired_at:
        return _summary_of_retired(status, health.retired_at)
    # An alert stays open until the next watch; what is over by now is not shown.
    alerts = _of_alerts(status, except_for=("behind",) if health.is_caught_up else ())
    problems = (*others, *_checked_now(health, now, limits, confirms=confirms), *alerts)
    state = State.UP_TO_DATE if health.is_caught_up else State.BEHIND
    if any(problem.is_breaking for problem in problems):
        state = State.BROKEN
    return Summary(
        state=state,
        since=health.caught_up_at,
        problems=problems,
        lag=health.lag(now),
        unread_left=None if health.unread_since is None else UNREAD_KEPT - (now - health.unread_since),
        silent_left=None if health.unchecked_since is None else SILENT_KEPT - (now - health.unchecked_since),
    )


def _summary_of_retired(status: ChannelStatus, since: datetime) -> Summary:
    """Judge a channel that Getty no longer lists: nothing arrives any more, so nothing of it is in time or late."""
    vanished = Problem(
        reason="Getty no longer lists this channel, so it sends no Deletes of its assets any more.",
        next_step=_CONDITIONS["vanished"].next_step,
        since=since,
        link=_WATCHDOG,
        entry="vanished",
    )
    is_vanished = status.health.is_vanished
    return Summary(
        state=State.VANISHED if is_vanished else State.RETIRED,
        since=since,
        problems=(*([vanished] if is_vanished else []), *_of_alerts(status)),
        lag=None,
        unread_left=None,
        silent_left=None,
    )


def _of_alerts(status: ChannelStatus, *, except_for: tuple[str, ...] = ()) -> list[Problem]:
    """Return what the watchdog found last, without what is checked at each view."""
    hidden = (*_CHECKED_HERE, *except_for)
    return [_of_alert(status, alert) for alert in status.alerts if alert.condition not in hidden]


def _of_alert(status: ChannelStatus, alert: Alert) -> Problem:
    start = _STARTS.get(alert.condition, _runs(status.health))
    return problem_of_alert(
        alert, start=start and replace(start, path=start.path.format(channel_id=status.channel.channel_id))
    )


def problem_of_alert(alert: Alert, *, start: Link | None) -> Problem:
    """Return what an alert says, with its next step, which begins at `start`."""
    condition = _CONDITIONS.get(alert.condition)
    title = condition.title if condition else alert.condition
    return Problem(
        title=f"{title}:" if alert.says else f"{title}.",
        reason=f"it {alert.says}." if alert.says else "",
        next_step=condition.next_step if condition else "Read the log of asset_changes_watch.",
        since=alert.since,
        link=start,
        entry=condition.name if condition else None,
        is_breaking=alert.condition in _BREAKING,
    )


def _checked_now(health: ChannelHealth, now: datetime, limits: WatchSettings, *, confirms: bool) -> list[Problem]:
    """Return what the ledger says now against a channel that Getty lists."""
    unchecked, waits = timedelta(minutes=limits.unchecked_minutes), timedelta(minutes=limits.unconfirmed_minutes)
    found = []
    if health.unchecked_since and now - health.unchecked_since > unchecked:
        never = "has never answered" if health.last_checked_at is None else "has given no answer"
        found.append(
            Problem(
                reason=f"Getty {never} on this channel for more than {limits.unchecked_minutes:g} minutes.",
                next_step="Open the newest run: the last line of its red task says what to do. No run? Switch the DAG "
                "on.",
                since=health.unchecked_since,
                entry="unchecked",
            )
        )
    if health.not_loaded_since and now - health.not_loaded_since > waits:
        found.append(
            Problem(
                reason="A change set is archived but not loaded, so nothing newer arrives.",
                next_step="Open the newest run and read its red task; once its cause is gone, trigger the DAG.",
                since=health.not_loaded_since,
                entry="delete_overdue",
            )
        )
    if confirms and health.not_confirmed_since and now - health.not_confirmed_since > waits:
        found.append(
            Problem(
                reason="A change set is loaded but not confirmed, so Getty hands out the same one again.",
                next_step="Open the newest run and read its task confirm; once its cause is gone, trigger the DAG.",
                since=health.not_confirmed_since,
                entry="unconfirmed",
            )
        )
    if confirms and health.unread_since and now - health.unread_since > timedelta(days=limits.unread_days):
        days = (now - health.unread_since).days
        found.append(
            Problem(
                reason=f"Changes may be unread for {days} days; Getty drops them after {UNREAD_KEPT.days}.",
                next_step="Let the channel catch up today: trigger its DAG and watch the task catch_up.",
                since=health.unread_since,
                entry="unread",
            )
        )
    return [replace(problem, link=_runs(health)) for problem in found]


def _runs(health: ChannelHealth) -> Link:
    return Link(path=f"dags/{health.dag_id}/runs", name="The runs of its DAG")
