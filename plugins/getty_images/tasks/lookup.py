"""What the tasks of the lookup DAG do: queue the assets that are new or changed, then ask Getty about them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from asset_changes import channel_registry
from asset_changes.channel_registry import DEFAULT_CONN_ID, ChannelEntry
from asset_changes.lookup import enqueue as queue
from asset_changes.lookup import look_up as loop
from asset_changes.settings import Settings
from asset_changes.warehouse.archived import described_channels
from asset_changes.warehouse.engine import transaction
from sqlalchemy import Engine

from getty_images import assets, metrics
from getty_images.hook import GettyImagesHook
from getty_images.resources import channel_variable, warehouse_of
from getty_images.tasks.sigterm import stop_on_sigterm


def enqueue(context: Mapping[str, Any]) -> dict[str, int]:
    """Queue the live assets that are new or changed, or those that the run names."""
    settings = Settings.from_environment()
    if not settings.metadata:
        raise AirflowSkipException("Metadata is switched off (ASSET_CHANGES_METADATA): no asset is looked up.")
    with warehouse_of(settings, application_name="asset_changes lookup") as engine:
        return asdict(queue.enqueue(engine, asset_ids=context["params"].get("asset_ids") or ()))


def look_up(context: Mapping[str, Any]) -> dict[str, int]:
    """Ask Getty about the queued assets until there is none, the time is over, or a SIGTERM comes."""
    settings = Settings.from_environment()
    with warehouse_of(settings, application_name="asset_changes lookup") as engine, stop_on_sigterm() as signals:
        ...
