"""Where the watchdog's DAG meets the core: connections, clock, notifier and metrics."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from airflow.sdk import Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException
from asset_changes.alert import Alert
from asset_changes.errors import ConfigurationError, NotTold
from asset_changes.settings import Settings
from asset_changes.warehouse import alerts
from asset_changes.warehouse.connection import in_transaction, transaction
from asset_changes.watch import watch as watch_feed
from asset_changes.watch_settings import WatchSettings
from sqlalchemy import Connection, inspect

from getty_images import metrics
from getty_images.notifier import VARIABLE, FeedAlert, NotifierChoice
from getty_images.status import PREFIX
from getty_images.wiring import archive_of, warehouse_of

log = logging.getLogger(__name__)


def watch(context: Mapping[str, Any]) -> dict[str, int]:
    """Look at all channels, tell what is new and what is over, and send the metrics."""
    gone_channel_id = context["params"].get("gone_channel_id")
    settings, choice = Settings.from_environment(), NotifierChoice.from_environment()
    if choice is None:
        log.info("No notifier is named in %s: alerts stand in this log, the table and the metrics alone.", VARIABLE)
    with warehouse_of(settings) as engine:
        with transaction(engine) as connection:
            if not inspect(connection).has_table("schema_version"):
                raise AirflowSkipException("The warehouse has no tables yet: asset_changes_discovery makes them.")
        if gone_channel_id is not None:
            in_transaction(engine, lambda connection: _take_note(connection, gone_channel_id))
        watched = watch_feed(
            engine,
            archive=archive_of(settings),
            settings=WatchSettings.from_environment(),
            now=datetime.now(UTC),
            tell=_teller(choice, context) if choice else None,
            confirms=settings.confirm,
            page=_page(),
        )
    metrics.send_watched(watched)
    if watched.failures:
        raise NotTold(" ".join(watched.failures))
    return {"channels": len(watched.channels), "open": len(watched.open), "told": watched.told}


def _page() -> str | None:
    """Return the address of the status page, where Airflow has been told its own."""
    root = conf.get("api", "base_url", fallback="")
    return f"{root.rstrip('/')}{PREFIX}" if root else None


def _take_note(connection: Connection, channel_id: int) -> None:
    if not alerts.note_retirement(connection, channel_id):
        raise ConfigurationError(f"Channel {channel_id} is no channel that vanished: give the id of one, or none.")


def _teller(choice: NotifierChoice, context: Mapping[str, Any]) -> Callable[[Alert], None]:
    def tell(alert: Alert) -> None:
        FeedAlert(alert, choice)(cast(Context, dict(context)))

    return tell
