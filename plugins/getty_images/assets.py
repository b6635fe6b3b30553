"""The Airflow Assets that consumers wake on: one per channel, one of metadata, one of what must be removed.

Imported while DAGs are parsed: keep it light.
"""

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseHook

if TYPE_CHECKING:
    from airflow.sdk.lineage import HookLineageCollector
    from sqlalchemy import URL


def channel_asset(channel_id: int) -> Asset:
    """Return the asset that means what the warehouse has of a channel."""
    return Asset(name=f"asset_changes_{channel_id}", uri=f"x-getty-images://asset-changes/channels/{channel_id}")


def caught_up_alias(channel_id: int) -> AssetAlias:
    """Return the alias through which `catch_up` updates the asset: only if it loaded something.

    A plain outlet would wake every consumer at each run, also when there was nothing more to load.
    """
    return AssetAlias(name=f"asset_changes_{channel_id}_catch_up")


METADATA_ASSET = Asset(name="asset_changes_metadata_updated", uri="x-getty-images://asset-changes/metadata")
"""The asset that means what the warehouse knows of each live asset."""


def metadata_alias() -> AssetAlias:
    """Return the alias through which `look_up` updates that asset: only if metadata changed."""
    return AssetAlias(name="asset_changes_metadata")


def announce_metadata(context: Mapping[str, Any], extra: dict[str, Any]) -> None:
    """Give the metadata asset an event when `look_up` succeeds; counts only, never ids."""
    context["outlet_events"][metadata_alias()].add(METADATA_ASSET, extra=extra)


PURGED_ASSET = Asset(name="asset_changes_files_purged", uri="x-getty-images://asset-changes/purges")
"""The asset that means which files are gone: what caches, a DAM or a search index can follow."""


def purged_alias() -> AssetAlias:
    """Return the alias through which `purge` updates that asset: only if files were deleted."""
    return AssetAlias(name="asset_changes_purges")


def announce_purged(context: Mapping[str, Any], extra: dict[str, Any]) -> None:
    """Give the asset of purged files an event when `purge` succeeds; counts and the plan's number, never ids."""
    context["outlet_events"][purged_alias()].add(PURGED_ASSET, extra=extra)


REMOVALS_ASSET = Asset(name="asset_changes_removals_due", uri="x-getty-images://asset-changes/removals")
"""The asset that means what the company holds and must remove."""


def removals_alias() -> AssetAlias:
    """Return the alias through which `judge` updates that asset: only if other numbers must be removed."""
    return AssetAlias(name="asset_changes_removals")


def announce_removals(context: Mapping[str, Any], extra: dict[str, Any]) -> None:
    """Give the removals asset an event when `judge` succeeds; counts only, never ids."""
    context["outlet_events"][removals_alias()].add(REMOVALS_ASSET, extra=extra)


def announce_loaded(context: Mapping[str, Any], channel_id: int, extra: dict[str, Any]) -> None:
    """Put counts and cursor into the event that the asset gets when `load` succeeds."""
    context["outlet_events"][channel_asset(channel_id)].extra = {"channel_id": channel_id, **extra}
    if collector := _lineage():
        add_archive(collector, channel_id)


def announce_caught_up(context: Mapping[str, Any], channel_id: int, extra: dict[str, Any]) -> None:
    """Give the asset an event when `catch_up` succeeds."""
    events = context["outlet_events"][caught_up_alias(channel_id)]
    events.add(channel_asset(channel_id), extra={"channel_id": channel_id, **extra})
    if collector := _lineage():
        add_archive(collector, channel_id)


LOADED_TABLES = ("asset_states", "asset_changes", "deletions", "rejected_changes")
"""What a load writes."""


def add_table_lineage(url: "URL", *, tables: Collection[str] = LOADED_TABLES) -> None:
    """Name the tables that a task writes, for OpenLineage."""
    if collector := _lineage():
        add_tables(collector, url, tables=tables)


def add_tables(collector: "HookLineageCollector", url: "URL", *, tables: Collection[str] = LOADED_TABLES) -> None:
    """Add tables of the warehouse as outputs."""
    from asset_changes.settings import Settings

    hook, schema = BaseHook(), Settings.from_environment().schema
    # A socket's folder is no host in the eyes of Airflow, which would leave the table out without a word.
    host = "localhost" if not url.host or "/" in url.host else url.host
    for table in tables:
        place = {"host": host, "port": url.port or 5432, "database": url.database, "schema": schema, "table": table}
        collector.add_output_asset(hook, scheme="postgres", asset_kwargs=place)


def add_archive(collector: "HookLineageCollector", channel_id: int) -> None:
    """Add the channel's archive as input: the folder, for one object is read only once."""
    from asset_changes.settings import Settings

    root = Settings.from_environment().archive_uri.rstrip("/")
    collector.add_input_asset(BaseHook(), uri=f"{root}/channel_id={channel_id}")


def _lineage() -> "HookLineageCollector | None":
    """Return Airflow's collector of datasets where OpenLineage is there to read it."""
    if find_spec("airflow.providers.openlineage") is None:
        return None  # Airflow would look through all providers, for half a second, to find that nobody listens
    from airflow.sdk.lineage import get_hook_lineage_collector

    return get_hook_lineage_collector()
