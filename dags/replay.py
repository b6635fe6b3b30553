"""Load archived change sets again: the standing proof that nothing changes, and the DAG that is backfilled."""

from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

_DOC = """
Loads the change sets that were **fetched** in the run's interval again, from the archive. Getty is never called.

* **Every night** it replays yesterday and must report `changed=0`: a daily proof that the warehouse holds what
  was delivered. Any other number is a warning: the tables had been changed, or newer code reads a set differently. The
  replay has repaired them.
* **A backfill** of this DAG (the *Trigger* dialog's *Backfill*, or `airflow backfill create --dag-id
  asset_changes_replay --from-date 2026-11-01T00:00:00Z --to-date 2026-11-07T00:00:00Z`) brings a past span back, after
  a restore or into an empty warehouse. The days are those of UTC: without the `Z` they would be days of Airflow's own
  time zone, and one is left out. Days that were replayed before need `--reprocess-behavior completed`.
* **By hand**: trigger it with `replay_from` and `replay_to`, both of them; the end is not included.
* **After a restore** of the warehouse: trigger it with `only_missing`. It goes through the whole archive for sets that
  the warehouse lacks, names them in the log, and loads these alone.

It takes every channel that has a folder in the archive, retired ones and those that the Variable has lost included.
A replay is safe at any time, also during live runs: it writes only what is missing, older, or read differently by newer
code. A span without archived sets is green and says so.

**What it writes**: what is missing of `asset_states`, `asset_changes`, `rejected_changes`, `deletions` and
`change_sets`; in `deletion_corrections`, Deletes that newer code reads differently; in `archive_findings`, what is
wrong with the archive; in `channels`, what the nightly run changed; in the archive, bodies that were not understood
when they came and are now, and messages that it had lost and the tables hold.

**When it is red**, an object of the archive could not be read: all others are loaded, and the last line of the log says
which one it is and what to do. What a person has dismissed makes no replay red.
"""


@dag(
    dag_id="asset_changes_replay",
    dag_display_name="Replay",
    description="Loads archived change sets again: nightly check, backfill, rebuild",
    doc_md=_DOC,
    # Whole days as intervals: a backfill's dates are the days on which sets were fetched.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=2,
    tags=[TAG, "upkeep"],
    default_args={**DEFAULT_ARGS, "execution_timeout": None},  # a rebuild takes as long as it takes
    params={
        "channel_ids": Param(
            None,
            type=["array", "null"],
            # Numbers from a command, text from the form: with a type of its own it would be an editor of JSON, which
            # writes itself anew at every key.
            items={"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+$"}]},
            title="Channels",
            description="The ids of the channels to replay, one per line. Empty: all that are in the archive.",
        ),
        "replay_from": Param(
            None,
            type=["string", "null"],
            format="date-time",
            title="From",
            description="Replay sets fetched from this time on. Empty: the run's interval.",
        ),
        "replay_to": Param(
            None,
            type=["string", "null"],
            format="date-time",
            title="To",
            description="Replay sets fetched before this time. Needed where From is given.",
        ),
        "only_missing": Param(
            False,
            type="boolean",
            title="Only what is missing",
            description="Load only what the warehouse lacks, as after a restore; without From and To, of all days.",
        ),
    },
)
def replay_archive() -> None:
    @task
    def channels(**context: Any) -> list[dict[str, Any]]:
        """List the channels to replay."""
        from getty_images.tasks import replay

        return replay.channels(context)

    @task(multiple_outputs=False, map_index_template="{{ channel_name }}")
    def replay(channel: dict[str, Any], **context: Any) -> dict[str, Any]:
        """Load the channel's archived sets of the span again."""
        from getty_images.tasks import replay

        get_current_context()["channel_name"] = channel["name"]  # type: ignore[typeddict-unknown-key]  # the keywords are a copy
        return replay.replay_channel(context, channel)

    replay.expand(channel=channels())


replay_archive()
