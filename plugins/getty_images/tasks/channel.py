"""What the tasks of a channel's DAG do: fetch, transform, load, confirm, catch up."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import ConfigurationError
from asset_changes.pipeline import prepared_files, steps
from asset_changes.pipeline.catch_up import catch_up as catch_up_channel
from asset_changes.pipeline.steps import ChannelContext
from asset_changes.settings import Settings
from asset_changes.settings import batch_size as checked_batch_size
from asset_changes.warehouse.changes import last_channel_seq
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.ledger import RunRef

from getty_images import assets, metrics
from getty_images.hook import GettyImagesHook
from getty_images.resources import archive_of, warehouse_of

TaskPayload = dict[str, Any]
"""What a task returns and the next one takes: ids, counts and URIs, under 1 KB."""


def fetch(entry: ChannelEntry, context: Mapping[str, Any]) -> TaskPayload | None:
    """Fetch the channel's next change set; None when it is caught up."""
    size = _batch_size(entry, context)
    with _steps_of(entry, context) as channel_steps:
        fetched = steps.fetch(channel_steps, batch_size=size)
    return prepared_files.fetched_to_json(fetched) if fetched else None


def transform(entry: ChannelEntry, context: Mapping[str, Any], passed: TaskPayload | None) -> TaskPayload:
    """Prepare the archived set and leave its rows beside the archive."""
    passed = _handed_on(passed)
    fetched = prepared_files.fetched_from_json(passed)
    with _steps_of(entry, context) as channel_steps:
        prepared = steps.transform_archived(channel_steps, fetched)
        steps.log_transformed(fetched, prepared)
        return {**passed, **prepared_files.write_prepared(channel_steps.archive, fetched, prepared)}


def load(entry: ChannelEntry, context: Mapping[str, Any], passed: TaskPayload | None) -> TaskPayload:
    """Load the prepared set; where its file is gone, its rows are made again."""
    passed = _handed_on(passed)
    fetched = prepared_files.fetched_from_json(passed)
    with _steps_of(entry, context) as channel_steps:
        row = steps.load(channel_steps, fetched, prepared_files.read_prepared(channel_steps.archive, passed))
        seq = _last_seq(channel_steps)
    told = {"change_set_id": fetched.change_set_id, "changes": row.counts.changes, "channel_seq": seq}
    assets.tell_tables(channel_steps.warehouse.url)
    assets.tell_loaded(context, fetched.channel_id, told)
    metrics.send_loaded(fetched.channel_id, sets=1, counts=row.counts, channel_seq=seq)
    return {**passed, "changes": row.counts.changes, "channel_seq": seq}


def confirm(entry: ChannelEntry, context: Mapping[str, Any], passed: TaskPayload | None) -> TaskPayload:
    """Confirm the loaded set and remove its prepared file."""
    passed = _handed_on(passed)
    with _steps_of(entry, context) as channel_steps:
        is_confirmed = steps.confirm(channel_steps, prepared_files.fetched_from_json(passed))
        prepared_files.remove_prepared(channel_steps.archive, passed)
    return {
        "change_set_id": passed["change_set_id"],
        "is_confirmed": is_confirmed,
        "channel_seq": passed.get("channel_seq", 0),
    }


def catch_up(entry: ChannelEntry, context: Mapping[str, Any], passed: TaskPayload | None) -> TaskPayload:
    """Repeat the steps until the channel is caught up; a SIGTERM lets the set in hand finish."""
    size = _batch_size(entry, context)
    with _steps_of(entry, context) as channel_steps, _stop_on_sigterm() as stops:
        done = catch_up_channel(
            channel_steps,
            batch_size=size,
            minutes=Settings.from_environment().catch_up_minutes,
            stops=lambda: bool(stops),
        )
        seq = _last_seq(channel_steps)
    told = {"sets": done.sets, "changes": done.counts.changes, "channel_seq": seq}
    assets.tell_tables(channel_steps.warehouse.url)
    # Compared with what `load` told: an earlier try of this task may have loaded sets and died.
    if seq > (passed or {}).get("channel_seq", 0):
        assets.tell_caught_up(context, entry.channel.channel_id, told)
    metrics.send_loaded(entry.channel.channel_id, sets=done.sets, counts=done.counts, channel_seq=seq)
    return {"sets": done.sets, "changes": done.counts.changes, "is_caught_up": done.is_caught_up}


def _handed_on(passed: TaskPayload | None) -> TaskPayload:
    """Return what the task before has left; one that was marked as success by hand has left nothing."""
    if passed is None:
        raise ConfigurationError(
            "The task before this one was marked as success and has handed nothing on: nothing was loaded or "
            "confirmed. Trigger the DAG, and its run does the channel's next work."
        )
    return passed


def _last_seq(channel_steps: ChannelContext) -> int:
    with transaction(channel_steps.warehouse) as connection:
        return last_channel_seq(connection, channel_steps.channel.channel_id)


@contextmanager
def _steps_of(entry: ChannelEntry, context: Mapping[str, Any]) -> Iterator[ChannelContext]:
    if entry.retired_at:
        raise ConfigurationError(
            f"Channel {entry.channel.channel_id} is retired: Getty has not listed it since {entry.retired_at}, so "
            "it is not called. If Getty lists it again, run asset_changes_discovery."
        )
    settings = Settings.from_environment()
    name = f"asset_changes channel={entry.channel.channel_id}"  # as pg_stat_activity shows the task
    with warehouse_of(settings, application_name=name) as engine:
        clock = WarehouseClock(engine)
        hook = GettyImagesHook(entry.conn_id, clock=clock)
        try:
            yield ChannelContext(
                channel=entry.channel,
                source=hook,
                archive=archive_of(settings),
                warehouse=engine,
                confirms=settings.confirm,
                run=RunRef(dag_id=context["dag"].dag_id, run_id=context["run_id"]),
                clock=clock,
            )
        finally:
            hook.close()


def _batch_size(entry: ChannelEntry, context: Mapping[str, Any]) -> int:
    """Return the run's own batch size, else the channel's, else the installation's."""
    chosen = context["params"].get("batch_size")
    if chosen is not None:
        return checked_batch_size(chosen, where="the run's parameter batch_size")
    return entry.batch_size or Settings.from_environment().batch_size


@contextmanager
def _stop_on_sigterm() -> Iterator[list[int]]:
    """Collect SIGTERMs instead of dying of them; TaskFlow tasks do nothing on their own."""
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGTERM, before)
