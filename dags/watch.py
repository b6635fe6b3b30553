"""The watchdog: every ten minutes it looks at the ledger and tells a person what is not as it must be."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

_DOC = """
Looks at ledger and archive every ten minutes and tells **once** when something is not as it must be, and once more
when it is over: a channel without an answer for an hour, a lag, notifications about to be lost, Deletes over their
limit, rejected changes, sets that are not confirmed, a silent feed, channels that vanish or appear, a nightly replay
that changed rows, another consumer. What each alert means and what to do: `docs/operations.md`.

* **Who is told**: the Airflow notifier in `ASSET_CHANGES_NOTIFIER`; without one, this log. Thresholds are settings,
  `ASSET_CHANGES_WATCH_...`, see `docs/settings.md`.
* **A green run** could look and tell, whatever it saw: its log tells each open alert in a sentence with the next step.
* **A red run** could not look, or could not tell: the last line of its log says why. The next run tries again. That it
  cannot look is told once too.
* **What it writes**: `alerts`, and the Variable `asset_changes_watch_blind` while it cannot look. It calls Getty never.
"""


@dag(
    dag_id="asset_changes_watch",
    dag_display_name="Watchdog",
    description="Tells when the copy is not right, late, or about to lose something",
    doc_md=_DOC,
    schedule="*/10 * * * *",
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    # It looks at the present: a backfill would tell the same thing over and over.
    allowed_run_types=["scheduled", "manual"],  # type: ignore[list-item]  # their enum is private
    dagrun_timeout=timedelta(minutes=9),
    tags=[TAG, "upkeep"],
    params={
        "gone_channel_id": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            title="Channel that is gone for good",
            description="A channel that Getty no longer lists, once you know what becomes of its assets: this ends its "
            "alert. Empty: watch as always.",
        )
    },
    # The next run is the next try.
    default_args={**DEFAULT_ARGS, "retries": 0, "execution_timeout": timedelta(minutes=5)},
)
def watchdog() -> None:
    @task(multiple_outputs=False)
    def watch(**context: Any) -> dict[str, int]:
        """Look at all channels, tell what is new and what is over."""
        from getty_images.tasks import watch

        return watch.watch(context)

    watch()


watchdog()
