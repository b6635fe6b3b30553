"""What the tasks of the holdings DAG do: find the lists, then bring each of them into the warehouse."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, cast

from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowSkipException
from asset_changes.errors import ConfigurationError
from asset_changes.removal.holdings import HoldingsList
from asset_changes.removal.import_list import ImportRunning
from asset_changes.removal.import_list import import_list as import_held
from asset_changes.settings import HoldingsSource, Settings, holdings_source
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.ledger import RunRef
from asset_changes.warehouse.migrate import check_version
from upath import UPath

from getty_images import assets
from getty_images.resources import warehouse_of

log = logging.getLogger(__name__)

_APPLICATION = "asset_changes holdings"  # as pg_stat_activity shows the tasks
_TABLES = ("held_assets", "holding_imports")
_COUNTS = ("new_held_count", "changed_count", "ended_count", "unchanged_count", "unreadable_count", "held_count")


def find_lists(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lists to import: those of the settings, or the one that the run names."""
    configured = Settings.from_environment().holdings
    chosen = _chosen(configured, context["params"])
    if not chosen:
        raise AirflowSkipException("No list of holdings is configured (ASSET_CHANGES_HOLDINGS): nothing is imported.")
    log.info("Lists to import: %s", ", ".join(each.source for each in chosen))
    return [asdict(each) for each in chosen]


def _chosen(configured: tuple[HoldingsSource, ...], params: Mapping[str, Any]) -> tuple[HoldingsSource, ...]:
    source, uri, column = (params.get(name) or None for name in ("source", "uri", "column"))
    if source is None:
        if uri or column or params.get("accept_shrink") is not None:
            raise ConfigurationError("The run has a `uri`, `column` or `accept_shrink` without a `source`: name it.")
        return configured
    known = next((each for each in configured if each.source == source), None)
    if uri is None:
        if known is None:
            names = ", ".join(each.source for each in configured) or "none"
            raise ConfigurationError(
                f"The run names the source {source!r:.80} without a `uri`; ASSET_CHANGES_HOLDINGS has only: {names}."
            )
        return (known if column is None else replace(known, column=column),)
    entry = {"source": source, "uri": uri, "column": column, "conn_id": known.conn_id if known else None}
    return (holdings_source(entry, where="run's form"),)


def import_list(named: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Import one list; return its counts."""
    settings, source = Settings.from_environment(), HoldingsSource(**named)

    def new_list() -> HoldingsList:
        path = ObjectStoragePath(source.uri, conn_id=source.conn_id)
        return HoldingsList(cast(UPath, path), column=source.column)

    with warehouse_of(settings, application_name=_APPLICATION) as engine:
        with transaction(engine) as connection:
            check_version(connection)
        try:
            done = import_held(
                engine,
                new_list,
                source=source.source,
                now=WarehouseClock(engine)(),
                accept_shrink=context["params"].get("accept_shrink"),
                run=RunRef(dag_id=context["dag"].dag_id, run_id=context["run_id"]),
                triggered_by=getattr(context["dag_run"], "triggering_user_name", None),
            )
        except ImportRunning as error:
            raise AirflowSkipException(f"{error}: the next run imports the list again.") from error
        assets.add_table_lineage(engine.url, tables=_TABLES)
    return {"source": done.source, **{name: getattr(done, name) for name in _COUNTS}}
