"""The metrics of the project, through Airflow's own backend (StatsD, Datadog or OpenTelemetry)."""

from collections.abc import Mapping
from dataclasses import dataclass

from airflow.sdk.observability import stats
from asset_changes.model import Counts
from asset_changes.watch import Watched
from asset_changes.watch_conditions import CONDITIONS


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric; Airflow puts its own prefix before the name, `airflow` by default."""

    name: str
    kind: str
    tags: tuple[str, ...]
    sent_by: str
    meaning: str

    @property
    def prometheus_name(self) -> str:
        """The name under which Prometheus holds it, through statsd-exporter or an OpenTelemetry collector."""
        return f"airflow_{self.name.replace('.', '_')}"


CHANGE_SETS_LOADED = Metric(
    name="asset_changes.change_sets_loaded",
    kind="counter",
    tags=("channel_id",),
    sent_by="load, catch_up",
    meaning="Change sets that were loaded",
)
CHANGES_LOADED = Metric(
    name="asset_changes.changes_loaded",
    kind="counter",
    tags=("channel_id", "outcome"),
    sent_by="load, catch_up",
    meaning="Changes of these sets, by outcome: new, update, delete, superseded or rejected",
)
CHANNEL_SEQ = Metric(
    name="asset_changes.channel_seq",
    kind="gauge",
    tags=("channel_id",),
    sent_by="load, catch_up",
    meaning="The channel's last channel_seq: how far a consumer can read",
)
LAG_SECONDS = Metric(
    name="asset_changes.lag_seconds",
    kind="gauge",
    tags=("channel_id",),
    sent_by="watch",
    meaning="Age of the channel's newest change in the warehouse; 0 when caught up",
)
UNCHECKED_SECONDS = Metric(
    name="asset_changes.unchecked_seconds",
    kind="gauge",
    tags=("channel_id",),
    sent_by="watch",
    meaning="Time since the channel last gave an answer",
)
ALERT = Metric(
    name="asset_changes.alert",
    kind="gauge",
    tags=("channel_id", "condition"),
    sent_by="watch",
    meaning="1 while the condition holds for the channel, else 0",
)
ALERTS_OPEN = Metric(
    name="asset_changes.alerts_open",
    kind="gauge",
    tags=(),
    sent_by="watch",
    meaning="How many alerts are open in all",
)
METRICS = (CHANGE_SETS_LOADED, CHANGES_LOADED, CHANNEL_SEQ, LAG_SECONDS, UNCHECKED_SECONDS, ALERT, ALERTS_OPEN)


def send_loaded(channel_id: int, *, sets: int, counts: Counts, channel_seq: int) -> None:
    """Send what a task loaded of a channel."""
    _count(CHANGE_SETS_LOADED, sets, channel_id=channel_id)
    for outcome in ("new", "update", "delete", "superseded", "rejected"):
        _count(CHANGES_LOADED, getattr(counts, outcome), channel_id=channel_id, outcome=outcome)
    _gauge(CHANNEL_SEQ, channel_seq, channel_id=channel_id)


def send_watched(watched: Watched) -> None:
    """Send how the channels stand and which alerts are open, the closed ones as 0."""
    for reading in watched.readings:
        _gauge(LAG_SECONDS, reading.lag_seconds, channel_id=reading.channel_id)
        _gauge(UNCHECKED_SECONDS, reading.unchecked_seconds, channel_id=reading.channel_id)
        for condition in CONDITIONS:
            is_open = (reading.channel_id, condition.name) in watched.open
            _gauge(ALERT, int(is_open), channel_id=reading.channel_id, condition=condition.name)
    _gauge(ALERTS_OPEN, len(watched.open))


def _count(metric: Metric, number: int, **tags: object) -> None:
    stats.incr(metric.name, number, tags=_tags(metric, tags))


def _gauge(metric: Metric, value: float, **tags: object) -> None:
    stats.gauge(metric.name, value, tags=_tags(metric, tags))


def _tags(metric: Metric, tags: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}
