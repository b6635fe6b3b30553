"""What the task of the hold DAG does: write the exception that a person makes."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from asset_changes.removal.holds import Decision, carry_out
from asset_changes.settings import Settings

from getty_images import assets
from getty_images.resources import warehouse_of

_APPLICATION = "asset_changes hold"  # as pg_stat_activity shows the task
_TABLES = ("purge_holds", "purge_waivers")


def decide(context: Mapping[str, Any]) -> dict[str, int]:
    """Hold back, release or waive what the run names; return how many assets that changed."""
    settings, params = Settings.from_environment(), context["params"]
    by = getattr(context["dag_run"], "triggering_user_name", None) or "unknown"
    with warehouse_of(settings, application_name=_APPLICATION) as engine:
        made = carry_out(
            engine,
            Decision(
                action=params["action"],
                asset_ids=params["asset_ids"] or (),
                reason=params["reason"] or "",
                by=by,
                owner=params["owner"] or by,
                until=_time(params["until"]),
                source=params["source"] or None,
            ),
        )
        assets.add_table_lineage(engine.url, tables=_TABLES)
    return asdict(made)


def _time(value: str | None) -> datetime | None:
    if not value:
        return None
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
