"""Import what the company says it holds: one mapped task per list."""

import os
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

_SCHEDULE = os.environ.get("ASSET_CHANGES_HOLDINGS_SCHEDULE") or "0 2 * * *"
_DOC = """
Brings the lists of **what you hold** (ASSET_CHANGES_HOLDINGS: a DAM export, an S3 Inventory, file names) into the table
`held_assets`, one task per list. Only differences are written. What the newest list lacks gets `held_until`; no row is
ever deleted. From then on each Delete says in `deletions.was_in_holdings` whether you held the asset.

* **A single list**: trigger the DAG with `source` and `uri`. It needs no entry in ASSET_CHANGES_HOLDINGS.
* **A skipped run** is a good one: no list is configured, or another import of the source has not ended.
* **When a task is red**, the last line of its log says what is wrong with the list; nothing was changed. A list that
  is empty, or that would end more than 5 % of its source, is refused with the number that `accept_shrink` would need.
  If so many are really gone, trigger the DAG with `source` and that number.
* **Unreadable lines** are reported by number; all others are imported.
* **What it writes**: `held_assets`, `holding_imports`, `holding_counts`.
"""


@dag(
    dag_id="asset_changes_holdings",
    dag_display_name="Import holdings",
    description="Imports the lists of what the company holds",
    doc_md=_DOC,
    schedule=_SCHEDULE,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    allowed_run_types=["scheduled", "manual"],  # type: ignore[list-item]  # their enum is private
    tags=[TAG, "removal"],
    params={
        "source": Param(
            None,
            type=["string", "null"],
            title="Source",
            description="Import the list of this source alone. Empty: all of ASSET_CHANGES_HOLDINGS.",
        ),
        "uri": Param(
            None,
            type=["string", "null"],
            title="Address of a single list",
            description="For example s3://bucket/dam_export.csv.gz. Empty: the one that is configured for the source.",
        ),
        "column": Param(
            None,
            type=["string", "null"],
            title="Column",
            description="Name or number of the column with ids or file names; only together with an address.",
        ),
        "accept_shrink": Param(
            None,
            type=["integer", "null"],
            minimum=0,
            title="Accept that the list ends so many assets",
            description="Exactly the number in the message of the refused import; only together with a source.",
        ),
    },
    default_args=DEFAULT_ARGS,
)
def holdings() -> None:
    @task(multiple_outputs=False)
    def find_lists(**context: Any) -> list[dict[str, Any]]:
        """Name the lists: those of ASSET_CHANGES_HOLDINGS, or the one that the run names."""
        from getty_images.tasks import holdings

        return holdings.find_lists(context)

    @task(multiple_outputs=False, execution_timeout=None, map_index_template="{{ source }}")
    def import_list(named: dict[str, Any], **context: Any) -> dict[str, Any]:
        """Make a source hold what its list says."""
        from getty_images.tasks import holdings

        get_current_context()["source"] = named["source"]  # type: ignore[typeddict-unknown-key]  # what the template shows
        return holdings.import_list(named, context)

    import_list.expand(named=find_lists())


holdings()
