"""One DAG per channel of the Variable `asset_changes_channels`: fetch, transform, load, confirm, catch up."""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, Variable, get_parsing_context, task
from airflow.sdk.exceptions import AirflowSkipException, AirflowTimetableInvalid
from asset_changes.channel_registry import VARIABLE, BadEntry, ChannelEntry, read
from asset_changes.errors import ConfigurationError
from asset_changes.models import MAX_BATCH_SIZE
from getty_images.assets import caught_up_alias, channel_asset
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

SCHEDULE = os.environ.get("ASSET_CHANGES_SCHEDULE") or "*/5 * * * *"

_DOC = """
Keeps the warehouse in step with channel **{channel_id}** ({family} {kind}) of Getty's Asset Changes API.

`fetch` asks for the next change set and archives it, `transform` prepares its rows, `load` writes them in one
transaction, `confirm` confirms it to Getty. `catch_up` repeats these four until Getty has nothing more.

* **A skipped run** is a good one: the channel was caught up.
* **When a task is red**, the last line of its log says what happened and what to do. Nothing is lost: Getty hands
  out the same set until it is confirmed, and it is confirmed only after its load is committed.
* **Clearing a run** does the channel's next work. To load a past day again, backfill `asset_changes_replay`: Getty's
  feed has no past, the archive has.
* **What it writes**: `asset_states`, `asset_changes`, `deletions`, `deletion_corrections`, `rejected_changes`,
  `change_sets`, `channels`, `feed_gaps`.
* **Who can wake on it**: `load` and `catch_up` update the asset `asset_changes_{channel_id}`; its events say how far
  `channel_seq` has come. `asset_changes_example_downstream` shows a DAG that reads on from there.
"""


def channel_dag(entry: ChannelEntry) -> DAG:
    """Return the DAG of one channel."""
    channel = entry.channel

    with DAG(
        dag_id=entry.dag_id,
        auto_register=False,  # or one with a schedule that is refused would fail the whole file
        dag_display_name=f"{channel.asset_family} {channel.asset_type} ({channel.channel_id})",
        description=f"Getty Images asset changes of channel {channel.channel_id}",
        doc_md=_DOC.format(channel_id=channel.channel_id, family=channel.asset_family, kind=channel.asset_type),
        schedule=None if entry.retired_at else entry.schedule or SCHEDULE,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        # A backfill would fetch today's changes under yesterday's date.
        allowed_run_types=["scheduled", "manual"],  # type: ignore[list-item]  # their enum is private
        dagrun_timeout=timedelta(hours=25),
        tags=[TAG, "retired" if entry.retired_at else "channel", channel.asset_family, channel.asset_type],
        default_args=DEFAULT_ARGS,
        params={
            "batch_size": Param(
                entry.batch_size,
                type=["integer", "null"],
                minimum=1,
                maximum=MAX_BATCH_SIZE,
                title="Batch size",
                description="Most changes per change set, 1 to 2200. Empty: the installation's setting.",
            )
        },
    ) as built:
        add_tasks(entry)
    return built


def add_tasks(entry: ChannelEntry) -> None:
    """Add the tasks of a channel to the DAG that is being built."""
    channel_id = entry.channel.channel_id

    # Else Airflow keeps each key of a returned dict as an XCom of its own, with a call for each.
    @task(multiple_outputs=False)
    def fetch(**context: Any) -> Any:
        """Fetch the next change set into archive and ledger."""
        from getty_images.tasks import channel

        ref = channel.fetch(entry, context)
        if ref is None:
            raise AirflowSkipException("Caught up: Getty has no change to hand out.")
        return ref

    @task(multiple_outputs=False)
    def transform(fetched: Any) -> Any:
        """Prepare the rows of the archived set."""
        from getty_images.tasks import channel

        return channel.transform(entry, fetched)

    @task(multiple_outputs=False, outlets=[channel_asset(channel_id)])
    def load(prepared: Any, **context: Any) -> Any:
        """Write the rows in one transaction."""
        from getty_images.tasks import channel

        return channel.load(entry, context, prepared)

    @task(multiple_outputs=False)
    def confirm(loaded: Any, **context: Any) -> dict[str, Any]:
        """Confirm to Getty that the set is received for good."""
        from getty_images.tasks import channel

        return channel.confirm(entry, context, loaded)

    @task(multiple_outputs=False, execution_timeout=None, outlets=[caught_up_alias(channel_id)])
    def catch_up(confirmed: Any, **context: Any) -> dict[str, Any]:
        """Repeat the steps until the channel is caught up; ends by ASSET_CHANGES_CATCH_UP_MINUTES."""
        from getty_images.tasks import channel

        return channel.catch_up(entry, context, confirmed)

    catch_up(confirm(load(transform(fetch()))))


def stub_dag(bad: BadEntry) -> DAG:
    """Return a DAG that says in the UI what is wrong with an entry; the other channels run on."""
    with DAG(
        dag_id=bad.dag_id,
        description=bad.reason,
        doc_md=f"**This channel does not run.** {bad.reason}",
        schedule=None,
        start_date=START_DATE,
        tags=[TAG, "config-error"],
        default_args={**DEFAULT_ARGS, "retries": 0},
    ) as stub:

        @task
        def say_what_is_wrong() -> None:
            raise ConfigurationError(bad.reason)

        say_what_is_wrong()
    return stub


def build_dag(entry: ChannelEntry | BadEntry) -> DAG:
    """Return the DAG of an entry, or the stub that says why it cannot have one."""
    if isinstance(entry, BadEntry):
        return stub_dag(entry)
    try:
        built = channel_dag(entry)
        built.validate()  # type: ignore[no-untyped-call]
    except (AirflowTimetableInvalid, ValueError) as error:
        source = f"The entry of channel {entry.channel.channel_id} in the Variable {VARIABLE}"
        if not entry.schedule and isinstance(error, AirflowTimetableInvalid):
            source = f"ASSET_CHANGES_SCHEDULE, which is {SCHEDULE!r:.60},"
        reason = f"{source} cannot be used: {error}"
        return stub_dag(BadEntry(dag_id=entry.dag_id, reason=reason))
    return built


def channel_variable() -> str:
    """Return the Variable as it is; without a default, which would empty the installation in silence."""
    try:
        return str(Variable.get(VARIABLE))
    except Exception as error:
        raise ConfigurationError(
            f"The Variable {VARIABLE} cannot be read ({error}). Run asset_changes_discovery, which writes it; if it is "
            "there, check the secrets backend and the API server."
        ) from error


wanted = get_parsing_context().dag_id  # a worker builds only the DAG of its task
for each in read(channel_variable()):
    if wanted in (None, each.dag_id):
        globals()[each.dag_id] = build_dag(each)
