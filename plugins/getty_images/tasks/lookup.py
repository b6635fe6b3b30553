"""What the tasks of the lookup DAG do: queue the assets that are new or changed, then ask Getty about them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from asset_changes import channel_registry
from asset_changes.channel_registry import DEFAULT_CONN_ID, ChannelEntry
from asset_changes.getty_api.lookup import LookupClient
from asset_changes.lookup.context import LookupContext
from asset_changes.lookup.enqueue import enqueue as enqueue_assets
from asset_changes.lookup.look_up import LeaseHeld
from asset_changes.lookup.look_up import look_up as look_up_assets
from asset_changes.settings import Settings
from asset_changes.warehouse.archived import described_channels
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import transaction
from sqlalchemy import Engine

from getty_images import assets, metrics
from getty_images.hook import GettyImagesHook
from getty_images.resources import channel_variable, warehouse_of
from getty_images.tasks.sigterm import stop_on_sigterm

_APPLICATION = "asset_changes lookup"  # as pg_stat_activity shows the tasks
_TABLES = ("asset_metadata", "lookup_queue")


def enqueue(context: Mapping[str, Any]) -> dict[str, int]:
    """Queue the live assets that are new or changed, and first those that the run names."""
    settings = Settings.from_environment()
    if not settings.metadata:
        raise AirflowSkipException("Metadata is switched off (ASSET_CHANGES_METADATA): nothing is looked up.")
    with warehouse_of(settings, application_name=_APPLICATION) as engine:
        asked = context["params"].get("asset_ids") or ()
        return asdict(enqueue_assets(engine, asset_ids=asked, language=settings.language))


def look_up(context: Mapping[str, Any]) -> dict[str, int]:
    """Ask Getty about the queued assets; a SIGTERM lets the call that was made be kept."""
    settings = Settings.from_environment()
    with warehouse_of(settings, application_name=_APPLICATION) as engine, stop_on_sigterm() as signals:
        clock = WarehouseClock(engine)

        def client(conn_id: str, /, **callbacks: Callable[[], None]) -> LookupClient:
            return GettyImagesHook(conn_id, clock=clock).lookup_client(**callbacks)

        try:
            done = look_up_assets(
                LookupContext(
                    warehouse=engine,
                    client=client,
                    connections=_connections(engine, settings),
                    holder=f"{context['dag'].dag_id} {context['run_id']}",
                    language=settings.language,
                    calls_per_second=settings.lookups_per_second,
                    calls_per_day=settings.lookups_per_day,
                    clock=clock,
                ),
                minutes=settings.lookup_minutes,
                stops=lambda: bool(signals),
            )
        except LeaseHeld as error:
            raise AirflowSkipException(f"{error}. It works off the same queue.") from error
        assets.add_table_lineage(engine.url, tables=_TABLES)
    counts = asdict(done)
    metrics.send_looked_up(counts)
    if done.changed:
        assets.announce_metadata(context, {name: counts[name] for name in ("changed", "found", "waiting")})
    return counts


def _connections(engine: Engine, settings: Settings) -> dict[str, frozenset[int]]:
    """Return which channels' assets are asked about with which connection; retired channels have live assets too."""
    with transaction(engine) as connection:
        channel_ids = set(described_channels(connection))
    if settings.lookup_conn_id:
        return {settings.lookup_conn_id: frozenset(channel_ids)}
    entries = channel_registry.read(channel_variable() or "[]")
    chosen = {entry.channel.channel_id: entry.conn_id for entry in entries if isinstance(entry, ChannelEntry)}
    by_connection: dict[str, set[int]] = {}
    for channel_id in channel_ids:
        by_connection.setdefault(chosen.get(channel_id, DEFAULT_CONN_ID), set()).add(channel_id)
    return {conn_id: frozenset(ids) for conn_id, ids in by_connection.items()}
