"""What the tasks of the discovery DAG do: migrate the warehouse, ask Getty for the channels."""

import logging
from contextlib import closing
from typing import Any

from airflow.sdk.exceptions import AirflowNotFoundException
from asset_changes import channel_registry
from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import AssetChangesError, ConfigurationError
from asset_changes.models import Channel
from asset_changes.settings import Settings
from asset_changes.warehouse import ledger
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import in_transaction

from getty_images.hook import GettyImagesHook
from getty_images.resources import channel_variable, migrate, warehouse_of, write_channel_variable

log = logging.getLogger(__name__)

__all__ = ["discover", "migrate"]


def discover() -> dict[str, Any]:
    """Ask Getty for the channels, keep them in the warehouse and in the Variable."""
    text = channel_variable()
    found, asked = _ask(text)
    with warehouse_of(Settings.from_environment()) as engine:
        refused = in_transaction(engine, ledger.refused_channels)
        merged = channel_registry.merge(text, found=found, asked=asked, refused=refused, now=WarehouseClock(engine)())
        entries = [entry for entry in channel_registry.read(merged) if isinstance(entry, ChannelEntry)]
        retired = [entry.channel.channel_id for entry in entries if entry.retired_at]
        missing = [entry.channel.channel_id for entry in entries if entry.missing_since and not entry.retired_at]
        in_transaction(engine, lambda connection: ledger.upsert_channels(connection, found))
        in_transaction(engine, lambda connection: ledger.mark_missing(connection, missing))
        in_transaction(engine, lambda connection: ledger.retire_channels(connection, retired))
    if merged != text:
        write_channel_variable(merged)
    ids = [channel.channel_id for channel in found]
    log.info("Discovered: channels=%s retired=%s missing=%s connections=%s", ids, retired, missing, ", ".join(asked))
    if missing:
        log.warning(
            "Getty's list lacks channels %s. They are still read, and retired only when a list at least a day later "
            "lacks them too, or when Getty answers their own DAG that it does not know them. Ask Getty's sales team.",
            missing,
        )
    return {"found": ids, "retired": retired, "missing": missing}


def _ask(text: str | None) -> tuple[list[Channel], list[str]]:
    """Return the channels that Getty lists, and the connections that were asked."""
    found: dict[int, Channel] = {}
    asked = []
    for conn_id, must_answer in channel_registry.conn_ids(text).items():
        try:
            with closing(GettyImagesHook(conn_id)) as hook:
                listed = hook.get_channels()
        except (AssetChangesError, AirflowNotFoundException) as error:
            if must_answer:
                raise
            log.warning("Not asked: %s, of which all channels are retired. %s", conn_id, error)
            continue
        asked.append(conn_id)
        if not listed:
            log.warning("Getty lists no channel for connection %r.", conn_id)
        for channel in listed:
            found.setdefault(channel.channel_id, channel)
    if not found and not channel_registry.read(text or "[]"):
        raise ConfigurationError(
            f"Getty lists no channel for connection {asked[0]!r}: nothing was changed. Ask Getty's sales team to "
            "set up Asset Changes for this account."
        )
    return list(found.values()), asked
