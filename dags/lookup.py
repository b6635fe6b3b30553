"""Ask Getty what each live asset is and whether what is held may be: the queue, the loop over it, the verdicts."""

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Param, dag, task
from getty_images.assets import metadata_alias, removals_alias
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG
from getty_images.tasks.judge import SUBJECT, JudgeTask

_DOC = """
Keeps title, caption, keywords, restrictions and more of **every live asset** in the table `asset_metadata`; read it
through the view `assets_with_metadata`. The feed itself names only ids.

Asks about **everything that is held or live** again, a share every day, so that all of it is asked once within
ASSET_CHANGES_RECONCILE_DAYS (30): a Delete that was missed is found. What Getty does not offer any more, and has said
so twice, a day apart, is in `assets_to_remove`, if you hold it.

`enqueue` reads on in the feed's log, as any consumer does, and puts each asset that is new or changed into
`lookup_queue`, and what an import added to your holdings. `look_up` asks Getty for 100 of them per call and writes each
answer in a short transaction. It ends when the queue is empty, after ASSET_CHANGES_LOOKUP_MINUTES, or, when it is
stopped, with the answer that it waits for. The next run continues there. `judge` lets the verdicts of a finished
reconciliation count, also where `look_up` is red because another connection is refused; `everything_asked` is red then
too, and with it the run.

* **What it costs**: one call for 100 assets, at most ASSET_CHANGES_LOOKUPS_PER_SECOND (1) and never more than
  ASSET_CHANGES_LOOKUPS_PER_DAY (10,000). A million assets are 10,000 calls once; after that, what changes. The calls
  count against the key's limit: ask Getty for it, or for a second key (ASSET_CHANGES_LOOKUP_CONN_ID).
* **Paused in a new installation.** Ask Getty whether metadata may be stored before you switch it on. Paused later, it
  makes no call, and what is new or changed waits.
* **After a gap** of more than 14 days in the feed, trigger it with `not_asked_since`, the end of the gap: everything
  that was last asked before is asked at once. Verdicts then need a second run, a day later.
* **When `judge` waits**, more than 2 % of a reconciliation are gone: a person must approve it or reject it, under
  *Required Actions*, within 72 hours. Other runs go on meanwhile, and nothing is deleted by the answer.
* **A skipped run** is a good one: metadata and reconciliation are switched off (ASSET_CHANGES_METADATA,
  ASSET_CHANGES_RECONCILE_DAYS), or another run asks already.
* **Only some assets?** Trigger it with their ids, one per line. An id that is neither live nor held, or is music, is
  counted in the log of `enqueue` as `unknown`.
* **When a task is red**, the last line of its log says what to fix. The queue stays as it is, and the feed is not
  delayed.
* **What is forgotten**: a Delete removes the asset's metadata in the same transaction.
* **What it writes**: `lookup_queue`, `lookup_calls`, `lookup_connections`, `consumers`, `asset_metadata`,
  `availability`, `availability_checks`, `reconciliations`, `holding_counts`.
* **Who can wake on it**: the asset `asset_changes_metadata_updated`, when metadata changed, and the asset
  `asset_changes_removals_due`, when other numbers of held assets must be removed.
"""


@dag(
    dag_id="asset_changes_lookup",
    dag_display_name="Look up assets",
    description="Asks Getty what each live asset is, and keeps it",
    doc_md=_DOC,
    schedule="*/10 * * * *",
    start_date=START_DATE,
    catchup=False,
    max_active_runs=2,  # one may wait for a person while the others go on; of two that ask, the second is skipped
    is_paused_upon_creation=True,  # it costs calls: a person decides
    allowed_run_types=["scheduled", "manual"],  # type: ignore[list-item]  # their enum is private
    tags=[TAG, "lookup"],
    params={
        "asset_ids": Param(
            None,
            type=["array", "null"],
            items={"type": "string", "minLength": 1, "maxLength": 255},
            maxItems=10_000,
            title="Assets to look up",
            description="Ids of live or held assets to ask about again, one per line. They come first, before what is "
            "new or changed. Empty: what is new or changed alone.",
        ),
        "not_asked_since": Param(
            None,
            type=["string", "null"],
            format="date-time",
            title="Ask again what was last asked before",
            description="Everything held or live that was last asked about before this time is asked at once: after a "
            "gap in the feed, its end. Empty: the share of a day.",
        ),
    },
    default_args=DEFAULT_ARGS,
)
def lookup() -> None:
    @task(multiple_outputs=False)
    def enqueue(**context: Any) -> dict[str, int]:
        """Queue the live assets that are new or changed since the last run."""
        from getty_images.tasks import lookup

        return lookup.enqueue(context)

    @task(multiple_outputs=False, execution_timeout=None, outlets=[metadata_alias()])
    def look_up(_queued: Any, **context: Any) -> dict[str, int]:
        """Ask Getty about the queued assets, 100 per call; ends by ASSET_CHANGES_LOOKUP_MINUTES."""
        from getty_images.tasks import lookup

        return lookup.look_up(context)

    # A connection that is refused makes `look_up` red; what the others were asked to the end is judged all the same.
    judge = JudgeTask(
        task_id="judge",
        subject=SUBJECT,
        trigger_rule="none_skipped",
        outlets=[removals_alias()],
        doc_md="Count the answers of a reconciliation; ask a person first where they exceed a limit.",
    )
    # The state of a run is that of its last tasks: without this one a red `look_up` would leave it green.
    everything_asked = EmptyOperator(
        task_id="everything_asked",
        doc_md="Does nothing. It is red where `look_up` is, and with it the run, although `judge` came afterwards.",
    )
    look_up(enqueue()) >> [judge, everything_asked]


lookup()
