"""The watchdog: every ten minutes it checks ledger and archive and notifies a person of what is not as it must be."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

_DOC = """
Checks ledger and archive every ten minutes and notifies **once** when something is wrong, and once more
when it is over: a channel without an answer for an hour, a lag, notifications about to be lost, Deletes over their
limit, a load that waits for a lock, rejected changes, bodies that could not be read, sets that are not confirmed, a
silent feed, channels that vanish or appear, a damaged archive, a nightly replay that is overdue or changed rows,
another consumer, lookups that are refused or late, an approval that waits, files that are not deleted. What each alert
means and what to do: `docs/operations.md`.

* **Who is notified**: the Airflow notifier in `ASSET_CHANGES_NOTIFIER`; without one, this log. Thresholds are settings,
  `ASSET_CHANGES_WATCH_...`, see `docs/settings.md`.
* **A green run** could check and notify, whatever it found: its log has each open alert in a sentence with the next
  step. It also counts what of your holdings must be removed.
* **A red run** could not check, notify or count: the last line of its log says why. The next run tries again. That
  it cannot check is an alert too.
* **What it writes**: `alerts`, `archive_findings`, `holding_counts`, and the Variable `asset_changes_watch_blind` while
  it cannot check. It never calls Getty.
"""


@dag(
    dag_id="asset_changes_watch",
    dag_display_name="Watchdog",
    description="Notifies when the copy is not right, late, or about to lose something",
    doc_md=_DOC,
    schedule="*/10 * * * *",
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    # It checks the present: a backfill would find the same things over and over.
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
        ),
        "dismiss": Param(
            None,
            type=["string", "null"],
            maxLength=1000,
            title="Finding to dismiss",
            description="What you have looked into and found to be nothing: the address of an archived object, as the "
            "alert names it; a rejected change as channel/change set/position (3001/4711/12), or all of a set as "
            "channel/change set; after a gap of more than 14 days, once the copy was compared with Getty's catalogue, "
            "`gap 3001`. Your name is kept with it. Empty: watch as always.",
        ),
    },
    # The next run is the next try.
    default_args={**DEFAULT_ARGS, "retries": 0, "execution_timeout": timedelta(minutes=5)},
)
def watchdog() -> None:
    @task(multiple_outputs=False)
    def watch(**context: Any) -> dict[str, int]:
        """Check all channels, notify of what is new and what is over."""
        from getty_images.tasks import watch

        return watch.watch(context)

    watch()


watchdog()
