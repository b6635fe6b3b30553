"""What a person should look at of a channel: why, since when, what to do next, and where."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.status import Alert, ChannelStatus

UNREAD_KEPT = timedelta(days=14)
"""How long Getty keeps notifications that nobody reads (its Asset Changes guide)."""

_CONDITIONS = {condition.name: condition for condition in CONDITIONS}
# The watchdog's conditions that are looked for here as well, at each look and not every ten minutes.
_LOOKED_FOR = ("unchecked", "unread", "unconfirmed", "vanished")
# Those that stop a channel; the others ask for a look while the copy goes on.
_BREAKING = (*_LOOKED_FOR, "dormant", "delete_overdue")


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a next step starts, by name: a path below Airflow's root, or `#...` on the page itself."""

    path: str
    name: str


# The conditions whose next step does not start at the runs of the channel's DAG; None is outside of Airflow.
_STARTS: dict[str, Link | None] = {
    "rejected": Link(path="#rejected-{channel_id}", name="The rejected changes"),
    "silent": None,
    "vanished": Link(path="dags/asset_changes_watch", name="The watchdog"),
    "not_in_ledger": Link(path="dags/asset_changes_replay", name="The replay"),
    "replay_changed": Link(path="dags/asset_changes_replay/runs", name="The runs of the replay"),
    "other_consumer": None,
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that a person should look at; `link` is where the next step starts.

    `entry` is the heading of docs/operations.md that says more. `is_breaking` says that the copy does not go on
    until somebody does.
    """

    reason: str
    next_step: str
    since: datetime | None = None
    link: Link | None = None
    entry: str | None = None
    is_breaking: bool = True


def looked_for(status: ChannelStatus, *, now: datetime, limits: WatchSettings, confirms: bool) -> list[Problem]:
    """Return what the ledger says at this moment against a channel that Getty lists."""
    runs = _runs(status)
    found = [
        _not_checked(status, now, limits, runs),
        _not_loaded(status, now, limits, runs),
        _not_confirmed(status, now, limits, runs) if confirms else None,
        _unread(status, now, limits, runs) if confirms else None,
    ]
    return [problem for problem in found if problem is not None]


def alerted(status: ChannelStatus, *, but: tuple[str, ...] = ()) -> list[Problem]:
    """Return what the watchdog's last look said, without what is looked for at each look and `but` some."""
    return [_of_alert(status, alert) for alert in status.alerts if alert.condition not in (*_LOOKED_FOR, *but)]


def vanished(since: datetime) -> Problem:
    """Return what is said of a channel that Getty no longer lists, until somebody takes note."""
    return Problem(
        reason="Getty no longer lists this channel: nothing tells of the Deletes of its assets.",
        next_step=_CONDITIONS["vanished"].next_step,
        since=since,
        link=_STARTS["vanished"],
        entry="vanished",
    )


def unread_since(status: ChannelStatus) -> datetime | None:
    """Return a moment before which nothing is unread at Getty."""
    known = [status.open.oldest_change_at] if status.open.sets else [status.caught_up_at, status.last_change_at]
    read_until = [moment for moment in known if moment is not None]
    return max(read_until) if read_until else status.discovered_at


def _runs(status: ChannelStatus) -> Link:
    return Link(path=f"dags/{status.dag_id}/runs", name="The runs of its DAG")


def _of_alert(status: ChannelStatus, alert: Alert) -> Problem:
    condition = _CONDITIONS.get(alert.condition)
    title = condition.title if condition else alert.condition
    start = _STARTS.get(alert.condition, _runs(status))
    return Problem(
        reason=f"{title}: it {alert.says}." if alert.says else f"{title}.",
        next_step=condition.next_step if condition else "Read the log of asset_changes_watch.",
        since=alert.since,
        link=start and replace(start, path=start.path.format(channel_id=status.channel.channel_id)),
        entry=condition.name if condition else None,
        is_breaking=alert.condition in _BREAKING,
    )


def _not_checked(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: Link) -> Problem | None:
    since = status.last_checked_at or status.discovered_at
    if since is None or now - since <= timedelta(minutes=limits.unchecked_minutes):
        return None
    never = "has never answered" if status.last_checked_at is None else "has given no answer"
    return Problem(
        reason=f"Getty {never} on this channel for more than {limits.unchecked_minutes:g} minutes.",
        next_step="Open the newest run: the last line of its red task says what to do. No run? Switch the DAG on.",
        since=since,
        link=runs,
        entry="unchecked",
    )


def _not_loaded(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: Link) -> Problem | None:
    since = status.open.not_loaded_since
    if since is None or now - since <= timedelta(minutes=limits.unconfirmed_minutes):
        return None
    return Problem(
        reason="A change set is archived but not loaded, so nothing newer arrives.",
        next_step="Open the newest run and read its red task; once that is mended, trigger the DAG.",
        since=since,
        link=runs,
        entry="delete_overdue",
    )


def _not_confirmed(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: Link) -> Problem | None:
    since = status.open.not_confirmed_since
    if since is None or now - since <= timedelta(minutes=limits.unconfirmed_minutes):
        return None
    return Problem(
        reason="A change set is loaded but not confirmed, so Getty hands out the same one again.",
        next_step="Open the newest run and read its task confirm; once that is mended, trigger the DAG.",
        since=since,
        link=runs,
        entry="unconfirmed",
    )


def _unread(status: ChannelStatus, now: datetime, limits: WatchSettings, runs: Link) -> Problem | None:
    since = unread_since(status)
    if since is None or now - since <= timedelta(days=limits.unread_days):
        return None
    return Problem(
        reason=f"Changes may be unread for {(now - since).days} days; Getty drops them after {UNREAD_KEPT.days}.",
        next_step="Let the channel catch up today: trigger its DAG and watch the task catch_up.",
        since=since,
        link=runs,
        entry="unread",
    )
