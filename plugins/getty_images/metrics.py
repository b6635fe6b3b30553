"""Sends the project's metrics through Airflow's own backend (StatsD, Datadog or OpenTelemetry)."""

from collections.abc import Iterable, Mapping

from airflow.sdk.observability import stats
from asset_changes.metrics import (
    ALERT,
    ALERTS_OPEN,
    ASSETS_LOOKED_UP,
    CHANGE_SETS_LOADED,
    CHANGES_LOADED,
    CHANNEL_SEQ,
    HELD_ASSETS,
    HELD_ASSETS_CHECKED,
    LAG_SECONDS,
    LOOKUP_CALLS,
    LOOKUPS_WAITING,
    PURGE_RECEIPTS,
    PURGES_DUE,
    PURGES_HELD_BACK,
    REMOVALS_DUE,
    UNCHECKED_SECONDS,
    Metric,
)
from asset_changes.models import Counts
from asset_changes.monitoring.condition import NO_CHANNEL
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.monitor import MonitorResult
from asset_changes.warehouse.purge_counts import PurgeCount
from asset_changes.warehouse.removals import HoldingCount


def send_loaded(channel_id: int, *, sets: int, counts: Counts, channel_seq: int) -> None:
    """Send what a task loaded of a channel."""
    _count(CHANGE_SETS_LOADED, sets, channel_id=channel_id)
    for outcome in ("new", "update", "delete", "superseded", "rejected"):
        _count(CHANGES_LOADED, getattr(counts, outcome), channel_id=channel_id, outcome=outcome)
    _gauge(CHANNEL_SEQ, channel_seq, channel_id=channel_id)


def send_looked_up(counts: Mapping[str, int]) -> None:
    """Send what a run asked Getty about assets, and how many still wait; the counts are those of `look_up`."""
    _count(LOOKUP_CALLS, counts["calls"])
    for outcome in ("found", "not_found", "unanswered"):
        _count(ASSETS_LOOKED_UP, counts[outcome], outcome=outcome)
    _gauge(LOOKUPS_WAITING, counts["waiting"])


def send_watched(watched: MonitorResult) -> None:
    """Send the state of the channels and which alerts are open, the closed ones as 0."""
    for reading in watched.readings:
        for metric, value in ((LAG_SECONDS, reading.lag_seconds), (UNCHECKED_SECONDS, reading.unchecked_seconds)):
            if value is not None:
                _gauge(metric, value, channel_id=reading.channel_id)
    # Of retired channels too, and of those that never answered: an alert may be all that is known of them.
    for channel_id in sorted({NO_CHANNEL, *watched.channels, *(channel_id for channel_id, _ in watched.open)}):
        for condition in CONDITIONS:
            if condition.has_channel == (channel_id == NO_CHANNEL):
                continue
            is_open = (channel_id, condition.name) in watched.open
            _gauge(ALERT, int(is_open), channel_id=channel_id, condition=condition.name)
    _gauge(ALERTS_OPEN, len(watched.open))


def send_holdings(counts: Iterable[HoldingCount]) -> None:
    """Send what each source holds, how much of it was checked, and what must be removed."""
    for each in counts:
        _gauge(HELD_ASSETS, each.held_count, source=each.source)
        _gauge(HELD_ASSETS_CHECKED, each.checked_count, source=each.source)
        for due in each.due:
            _gauge(REMOVALS_DUE, due.count, source=each.source, reason=due.reason)


def send_purge_counts(counts: Iterable[PurgeCount]) -> None:
    """Send what must go from each store, and what is held back."""
    for each in counts:
        _gauge(PURGES_DUE, each.open_count, store=each.store)
        _gauge(PURGES_HELD_BACK, each.held_back_count, store=each.store)


def send_purged(counts: Mapping[str, int]) -> None:
    """Send what a run deleted; the counts are those of its plan's receipts."""
    for outcome in ("deleted", "failed", "gone"):
        _count(PURGE_RECEIPTS, counts[outcome], outcome=outcome)


def _count(metric: Metric, number: int, **tags: object) -> None:
    stats.incr(metric.name, number, tags={name: str(tags[name]) for name in metric.tags})


def _gauge(metric: Metric, value: float, **tags: object) -> None:
    stats.gauge(metric.name, value, tags={name: str(tags[name]) for name in metric.tags})
