"""What the watchdog's task does: a person's decision first, then one watch, then the metrics and counts."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout
from asset_changes import channel_registry
from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import ConfigurationError, NotificationFailed, SchemaMismatch
from asset_changes.monitoring import decisions
from asset_changes.monitoring.alerts import Alert
from asset_changes.monitoring.monitor import MonitorResult
from asset_changes.monitoring.monitor import watch as watch_feed
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.pipeline.archive_check import compare_all_channels
from asset_changes.settings import Settings
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.purge_counts import count_duties
from asset_changes.warehouse.removals import count_holdings
from sqlalchemy import Engine, inspect

from getty_images import metrics, watchdog_health
from getty_images.notifier import VARIABLE, FeedAlert, NotifierChoice
from getty_images.resources import archive_of, channel_variable, status_page, warehouse_of

log = logging.getLogger(__name__)


def watch(context: Mapping[str, Any]) -> dict[str, int]:
    """Check all channels, notify of what is new and what is over, and send the metrics."""
    choice = NotifierChoice.from_environment()
    page = status_page()
    if choice is None:
        log.info("No notifier is named in %s: alerts are in this log, the table and the metrics alone.", VARIABLE)
    notify = _sender(choice, context) if choice else None
    _decide(context)
    try:
        watched = _watch_once(notify, page)
    except (Exception, AirflowTaskTimeout) as error:  # whatever it is that keeps it from checking
        watchdog_health.begin(error, notify=notify, page=page)
        raise
    if watched is None:
        raise AirflowSkipException("The warehouse has no tables yet: asset_changes_discovery makes them.")
    metrics.send_watched(watched)
    failures = list(watched.failures)
    try:
        watchdog_health.end(notify=notify, page=page)
    except NotificationFailed as error:
        failures.append(str(error))
    _count_removals()
    if failures:
        raise NotificationFailed(" ".join(failures))
    return {"channels": len(watched.channels), "open": len(watched.open), "notified": watched.notified}


def _watch_once(notify: Callable[[Alert], None] | None, page: str | None) -> MonitorResult | None:
    """Watch once; None where there is nothing to watch yet."""
    settings = Settings.from_environment()
    with warehouse_of(settings) as engine:
        if _is_new(engine):
            return None
        limits, now = WatchSettings.from_environment(), WarehouseClock(engine)()
        return watch_feed(
            engine,
            compare_archive=partial(
                compare_all_channels, archive=archive_of(settings), now=now, days=limits.archive_days
            ),
            settings=limits,
            now=now,
            notify=notify,
            confirms=settings.confirm,
            lookups_per_day=settings.lookups_per_day if settings.metadata or settings.reconcile_days else None,
            keeps_metadata=settings.metadata,
            page=page,
        )


def _count_removals() -> None:
    """Count again what must be removed, and what must go from the stores: the feed deleted more since the last time."""
    settings = Settings.from_environment()
    stores = [each.name for each in settings.file_stores]
    with warehouse_of(settings) as engine:
        metrics.send_holdings(in_transaction(engine, count_holdings))
        count = partial(count_duties, stores=stores, reasons=settings.purge_reasons)
        metrics.send_purge_counts(in_transaction(engine, count))


def _is_new(engine: Engine) -> bool:
    """Whether discovery has not been here; channels without tables are a warehouse that was lost."""
    try:
        with transaction(engine) as connection:
            has_tables = inspect(connection).has_table("schema_version")
    except SchemaMismatch:  # there is no schema
        has_tables = False
    return not has_tables and not channel_registry.read(channel_variable() or "[]")


def _decide(context: Mapping[str, Any]) -> None:
    """Keep what a person has decided: a channel that is gone for good, a finding that is dismissed."""
    gone_channel_id, dismissed = (context["params"].get(name) for name in ("gone_channel_id", "dismiss"))
    if gone_channel_id is not None:
        _note_retirement(gone_channel_id)
    if dismissed:
        by = getattr(context["dag_run"], "triggering_user_name", None) or "somebody whom Airflow does not name"
        with warehouse_of(Settings.from_environment()) as engine:
            log.info("%s", in_transaction(engine, lambda connection: decisions.dismiss(connection, dismissed, by=by)))


def _note_retirement(channel_id: int) -> None:
    entries = channel_registry.read(channel_variable() or "[]")
    read = {entry.channel.channel_id for entry in entries if isinstance(entry, ChannelEntry) and not entry.retired_at}
    if channel_id in read:
        raise ConfigurationError(f"Channel {channel_id} is read: Getty lists it. Give the id of one that vanished.")
    with warehouse_of(Settings.from_environment()) as engine:
        if not in_transaction(engine, lambda connection: decisions.note_retirement(connection, channel_id)):
            raise ConfigurationError(f"Channel {channel_id} is not a retired channel: give the id of one, or none.")


def _sender(choice: NotifierChoice, context: Mapping[str, Any]) -> Callable[[Alert], None]:
    is_over = False

    def notify(alert: Alert) -> None:
        nonlocal is_over
        if is_over:
            raise TimeoutError("The time of this watch is over.")
        try:
            FeedAlert(alert, choice)(cast(Context, dict(context)))
        except AirflowTaskTimeout as error:  # raised once: the next one to hang would hang for good
            is_over = True
            raise TimeoutError("The notifier took longer than a watch may last.") from error

    return notify
