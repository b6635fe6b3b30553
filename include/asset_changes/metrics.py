"""The names of the metrics: the one place that sender, docs, board and alert rules go by."""

from dataclasses import dataclass


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
        """The name under which Prometheus has it, through statsd-exporter or an OpenTelemetry collector."""
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
    meaning="Age of the oldest change that is not confirmed, at most; 0 while the last empty answer is fresh",
)
UNCHECKED_SECONDS = Metric(
    name="asset_changes.unchecked_seconds",
    kind="gauge",
    tags=("channel_id",),
    sent_by="watch",
    meaning="Time since the channel last gave an answer, or since its discovery",
)
ALERT = Metric(
    name="asset_changes.alert",
    kind="gauge",
    tags=("channel_id", "condition"),
    sent_by="watch",
    meaning="1 while the condition holds for the channel, else 0; channel 0 is that of lookups and purge",
)
ALERTS_OPEN = Metric(
    name="asset_changes.alerts_open",
    kind="gauge",
    tags=(),
    sent_by="watch",
    meaning="How many alerts are open in all",
)
LOOKUP_CALLS = Metric(
    name="asset_changes.lookup_calls",
    kind="counter",
    tags=(),
    sent_by="look_up",
    meaning="HTTP calls of lookups, those for tokens and further tries included",
)
ASSETS_LOOKED_UP = Metric(
    name="asset_changes.assets_looked_up",
    kind="counter",
    tags=("outcome",),
    sent_by="look_up",
    meaning="Assets that Getty was asked about, by outcome: found, not_found or unanswered",
)
LOOKUPS_WAITING = Metric(
    name="asset_changes.lookups_waiting",
    kind="gauge",
    tags=(),
    sent_by="look_up",
    meaning="Assets that still waited when the run ended",
)
HELD_ASSETS = Metric(
    name="asset_changes.held_assets",
    kind="gauge",
    tags=("source",),
    sent_by="watch",
    meaning="Assets that the source holds",
)
HELD_ASSETS_CHECKED = Metric(
    name="asset_changes.held_assets_checked",
    kind="gauge",
    tags=("source",),
    sent_by="watch",
    meaning="Those of them about which Getty was asked within 30 days",
)
REMOVALS_DUE = Metric(
    name="asset_changes.removals_due",
    kind="gauge",
    tags=("source", "reason"),
    sent_by="watch",
    meaning="Assets that the source must remove, by reason: deleted, not_in_catalogue or not_licensed",
)
PURGES_DUE = Metric(
    name="asset_changes.purges_due",
    kind="gauge",
    tags=("store",),
    sent_by="watch",
    meaning="Assets that must go from the store and are not held back",
)
PURGES_HELD_BACK = Metric(
    name="asset_changes.purges_held_back",
    kind="gauge",
    tags=("store",),
    sent_by="watch",
    meaning="Assets that must go from the store and are held back",
)
PURGE_RECEIPTS = Metric(
    name="asset_changes.purge_receipts",
    kind="counter",
    tags=("outcome",),
    sent_by="purge",
    meaning="Receipts by outcome: files that were deleted or failed, once per try, and assets that are gone",
)
METRICS = (
    CHANGE_SETS_LOADED,
    CHANGES_LOADED,
    CHANNEL_SEQ,
    LAG_SECONDS,
    UNCHECKED_SECONDS,
    ALERT,
    ALERTS_OPEN,
    LOOKUP_CALLS,
    ASSETS_LOOKED_UP,
    LOOKUPS_WAITING,
    HELD_ASSETS,
    HELD_ASSETS_CHECKED,
    REMOVALS_DUE,
    PURGES_DUE,
    PURGES_HELD_BACK,
    PURGE_RECEIPTS,
)
