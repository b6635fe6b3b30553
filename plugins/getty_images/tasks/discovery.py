"""What the tasks of the discovery DAG do: migrate the warehouse, ask Getty for the channels."""

import logging
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowNotFoundException
from asset_changes import channel_registry
from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import AssetChangesError, ConfigurationError
from asset_changes.models import Channel
from asset_changes.settings import Settings
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import in_transaction

from getty_images.hook import GettyImagesHook
from getty_images.resources import channel_variable, migrate, warehouse_of

log = logging.getLogger(__name__)

__all__ = ["discover", "migrate"]


def discover() -> dict[str, Any]:
    """Ask Getty for the channels, keep them in the warehouse and in the Variable."""
    text = channel_variable()
    found: list[Channel] = []
    asked = []
    for conn_id, must_answer in channel_registry.conn_ids(text).items():
        try:
            listed = _listed(conn_id)
        except (AssetChangesError, AirflowNotFoundException) as error:
            if must_answer:
                raise
            log.warning("Not asked: %s, of which all channels are retired. %s", conn_id, error)
            continue
        asked.append(conn_id)
        found += [channel for channel in listed if channel.channel_id not in {each.channel_id for each in found}]
    merged = channel_registry.merge(text, found=found, asked=asked)
    entries = [entry for entry in channel_registry.read(merged) if isinstance(entry, ChannelEntry)]
    retired = [entry.channel.channel_id for entry in entries if entry.retired_at]
    with warehouse_of(Settings.from_environment()) as engine:
        in_transaction(engine, lambda connection: ledger.upsert_channels(connection, found))
        in_transaction(engine, lambda connection: ledger.retire_channels(connection, retired))
    if merged != text:
        Variable.set(
            channel_registry.VARIABLE,
            merged,
            description="Channels of the Asset Changes API; schedule, batch_size and conn_id are yours to set",
        )
    ids = [channel.channel_id for channel in found]
    log.info("Discovered: channels=%s retired=%s connections=%s", ids, retired, ", ".join(asked))
    return {"found": ids, "retired": retired}


def _listed(conn_id: str) -> list[Channel]:
    hook = GettyImagesHook(conn_id)
    listed = hook.get_channels()
    hook.close()
    if not listed:
        raise ConfigurationError(
            f"Getty lists no channel for connection {conn_id!r}: nothing was changed. Ask Getty's sales team to "
            "set up Asset Changes for this account."
        )
    return listed
