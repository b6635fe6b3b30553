"""dlt's merge into the same Postgres, one pipeline run per change set.

Runs in an environment of its own (`requirements-dlt.txt`). The set is confirmed after its run, as
an at-least-once reader must. The strategy is delete-insert, dlt's default: its `upsert` fails on
sets that name an asset twice.
"""

import os
from collections.abc import Iterator
from typing import Any

os.environ.update(
    {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
    }
)

import dlt  # in an environment of its own

from benchmarks.programs.bare_loop import session_of
from benchmarks.programs.rounds import DoSets, serve

_COLUMNS = {
    "id": {"data_type": "text", "nullable": False},
    "asset_type": {"data_type": "text"},
    "asset_lifecycle": {"data_type": "text"},
    "asset_changed_utc_datetime": {"data_type": "timestamp", "dedup_sort": "desc"},
    "uri": {"data_type": "text"},
    "deleted": {"data_type": "bool", "hard_delete": True},
}


def setup(settings: dict[str, Any]) -> DoSets:
    """Return a loop of pipeline runs."""
    session = session_of(settings)
    url, channel_id = settings["change_sets_url"], settings["channel_id"]
    pipeline = dlt.pipeline(
        settings["name"],
        pipelines_dir=settings["folder"] + "/dlt",
        destination=dlt.destinations.postgres(settings["libpq_uri"]),
        dataset_name="dlt_assets",
    )

    def run(sets: int) -> int:
        changes = 0
        for _ in range(sets):
            change_set = session.put(url, params={"channel_id": channel_id, "batch_size": 2200}, timeout=30).json()
            assets = change_set["changed_assets"]
            pipeline.run(
                dlt.resource(
                    _rows(assets),
                    name="assets",
                    columns=_COLUMNS,
                    primary_key="id",
                    write_disposition="merge",
                ),
                loader_file_format="csv",  # COPY, a little faster than its default, INSERT statements
            )
            session.delete(f"{url}/{change_set['change_set_id']}", timeout=30).raise_for_status()
            changes += len(assets)
        return changes

    return run


def _rows(assets: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for asset in assets:
        asset["deleted"] = asset["asset_lifecycle"] == "Delete"
    yield assets


if __name__ == "__main__":
    serve(setup)
