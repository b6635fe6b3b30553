"""Migrate the warehouse, ask Getty which channels the account has, and keep them."""

from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from getty_images.defaults import DEFAULT_ARGS, TAG

_DOC = """
Prepares everything that the channel DAGs need: `migrate` brings the warehouse's schema to the version of the code and
makes the partitions of the coming months; `discover` asks Getty for the account's channels and keeps them in the
table `channels` and in the Variable `asset_changes_channels`, from which each channel gets its DAG within a minute.

Runs when it is first switched on and every day. **Trigger it** after an upgrade, after Getty changed your
channels, or when a channel DAG says that Getty does not know its channel.

The Variable never shrinks: what you set there (`schedule`, `batch_size`, `conn_id`) stays, and so does every channel.
A channel that one list of Getty's lacks is marked `missing_since` and **is still read**. It is retired (`retired_at`)
and no longer called when a list at least a day later lacks it too, or when Getty has answered the channel's own DAG
that it does not know the channel. A retired channel keeps its DAG and history. One that is listed again is read again.

A Variable that is shadowed, by `AIRFLOW_VAR_ASSET_CHANGES_CHANNELS` or in a secrets backend, cannot be written: the
error names what wins, and the list to keep there.

**What it writes**: the warehouse's tables and partitions, `channels`, and the Variable. **When it is red**, the last
line of the log says what to fix. No channel is touched by a failed run.
"""


@dag(
    dag_id="asset_changes_discovery",
    dag_display_name="Discovery",
    description="Migrates the warehouse and finds the account's channels",
    doc_md=_DOC,
    # Without a start date, so that `run_immediately` holds: a new installation discovers at once.
    schedule=CronTriggerTimetable("17 3 * * *", timezone="UTC", run_immediately=True),
    catchup=False,
    max_active_runs=1,
    tags=[TAG, "upkeep"],
    default_args=DEFAULT_ARGS,
)
def discovery() -> None:
    @task
    def migrate() -> None:
        """Bring the warehouse's schema to the version of this code."""
        from getty_images.tasks import discovery

        discovery.migrate()

    @task(multiple_outputs=False)
    def discover() -> dict[str, Any]:
        """Keep what Getty says of the account's channels."""
        from getty_images.tasks import discovery

        return discovery.discover()

    migrate() >> discover()


discovery()
