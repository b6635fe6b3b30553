"""Delete the files of what Getty deleted: plan, approve where that is needed, purge, check."""

from typing import Any

from airflow.sdk import Param, dag, task
from getty_images.assets import purged_alias
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG
from getty_images.tasks.approve_purge import SUBJECT, ApprovePurgeTask

_DOC = """
Deletes the **files** of what Getty deleted from the stores of ASSET_CHANGES_FILE_STORES, and keeps a receipt of each.
`plan` lists exactly which versions of which files; `approve` asks a person where a limit is exceeded; `purge` deletes
what was listed, and nothing else; `check` is red if something that must go is still there.

* **Nothing is deleted by default.** ASSET_CHANGES_PURGE=dry_run only lists: read the plans for a week, in
  `purge_plans` and `purge_plan_files`. ASSET_CHANGES_PURGE=on is refused until a dry run under the same stores and
  reasons ended within 7 days; the first plan of each store waits for approval.
* **What waits for approval**: more than 2 % of what a source holds (more than 100 assets where no list says how many it
  holds), more than ASSET_CHANGES_PURGE_MAX_FILES (10,000) files, and the first plan of a store. Approve or reject it
  within 72 hours, under *Required Actions*.
* **What stays**: an asset that is live again, one under a hold (*Hold or release*), a file that was stored again after
  the plan, and a Delete without a time of its own where a New or Update was received after it. A Delete waits until its
  channel was read to the end after it, and while a replay makes sets of its channel anew.
* **A skipped run** is a good one: no store is configured, another run deletes already, or a person rejected the plan.
* **When a task is red**, the last line of its log says what to fix. A file that could not be deleted has a receipt with
  the error, holds nothing else up, and is tried again by the next run.
* **Only one store, or only a list?** Trigger it with `only_store` or `dry_run`.
* **What it writes**: `file_stores`, `purge_plans`, `purge_plan_files`, `purges`.
* **Who can wake on it**: the asset `asset_changes_files_purged`, when files were deleted.
"""


@dag(
    dag_id="asset_changes_purge",
    dag_display_name="Purge files",
    description="Deletes the files of what Getty deleted, with receipts",
    doc_md=_DOC,
    schedule="42 * * * *",
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,  # it deletes files: a person decides
    allowed_run_types=["scheduled", "manual"],  # type: ignore[list-item]  # their enum is private
    tags=[TAG, "removal"],
    params={
        "only_store": Param(
            None,
            type=["string", "null"],
            title="Store",
            description="Work on this store of ASSET_CHANGES_FILE_STORES alone. Empty: on all.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="List only",
            description="Delete nothing in this run, whatever ASSET_CHANGES_PURGE says.",
        ),
    },
    default_args=DEFAULT_ARGS,
)
def purge() -> None:
    @task(multiple_outputs=False, execution_timeout=None)
    def plan(**context: Any) -> dict[str, Any]:
        """List the files that are to be deleted, or would be."""
        from getty_images.tasks import purge

        return purge.plan(context)

    @task(task_id="purge", multiple_outputs=False, execution_timeout=None, outlets=[purged_alias()])
    def delete_files(**context: Any) -> dict[str, Any]:
        """Delete what the plan lists, with a receipt for each file; ends by ASSET_CHANGES_PURGE_MINUTES."""
        from getty_images.tasks import purge

        return purge.purge(context)

    @task
    def check(**context: Any) -> None:
        """Be red if something that must go is still there."""
        from getty_images.tasks import purge

        purge.check(context)

    approve = ApprovePurgeTask(
        task_id="approve", subject=SUBJECT, doc_md="Ask a person where the plan exceeds a limit, or is the first."
    )
    plan() >> approve >> delete_files() >> check()


purge()
