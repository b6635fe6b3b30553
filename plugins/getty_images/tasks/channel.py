"""What the tasks of a channel's DAG do: fetch, transform, load, confirm, catch up."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import ConfigurationError, UnknownChannel
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.prepared_files import read_prepared, remove_prepared, write_prepared
from asset_changes.settings import Settings
from asset_changes.settings import batch_size as checked_batch_size
from asset_changes.warehouse import ledger
from asset_changes.warehouse.changes import last_channel_seq
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.ledger import RunRef

from getty_images import assets, metrics
from getty_images.hook import GettyImagesHook
from getty_images.resources import archive_of, warehouse_of
from getty_images.tasks.sigterm import stop_on_sigterm
from getty_images.xcom import (
    FetchedPayload,
    PreparedPayload,
    TaskPayload,
    payload_of,
    prepared_of,
    prepared_payload,
    ref_of,
)

Payload = TypeVar("Payload")


def fetch(entry: ChannelEntry, context: Mapping[str, Any]) -> FetchedPayload | None:
    """Fetch the channel's next change set; None when it is caught up."""
    from asset_changes.pipeline.fetch import fetch as fetch_next

    size = _batch_size(entry, context)
    with _channel_context(entry, context) as channel_context:
        ref = fetch_next(channel_context, batch_size=size)
    return payload_of(ref) if ref else None


def transform(entry: ChannelEntry, payload: FetchedPayload | None) -> PreparedPayload:
    """Prepare the archived set and leave its rows in the archive; needs neither Getty nor the warehouse."""
    from asset_changes.pipeline.transform import log_transformed, transform_archived

    payload = _required(payload)
    ref = ref_of(payload)
    archive = archive_of(Settings.from_environment())
    prepared = transform_archived(archive, channel=entry.channel, ref=ref)
    log_transformed(ref, prepared)
    uri = write_prepared(archive, ref, prepared)
    return prepared_payload(payload, prepared, prepared_uri=uri)


def load(entry: ChannelEntry, context: Mapping[str, Any], payload: PreparedPayload | None) -> TaskPayload:
    """Load the prepared set; where its files are gone, its rows are made again."""
    from asset_changes.pipeline.load import load as load_set

    payload = _required(payload)
    ref = ref_of(payload)
    with _channel_context(entry, context) as channel_context:
        prepared = read_prepared(channel_context.archive, payload["prepared_uri"], prepared_of(payload))
        row = load_set(channel_context, ref, prepared)
    changes, channel_seq = row.counts.changes, row.channel_seq or 0
    assets.add_table_lineage(channel_context.warehouse.url)
    assets.announce_loaded(
        context,
        ref.channel_id,
        {"change_set_id": ref.change_set_id, "changes": changes, "channel_seq": channel_seq},
    )
    metrics.send_loaded(ref.channel_id, sets=1, counts=row.counts, channel_seq=channel_seq)
    return TaskPayload(**payload, changes=changes, channel_seq=channel_seq)


def confirm(entry: ChannelEntry, context: Mapping[str, Any], payload: TaskPayload | None) -> dict[str, Any]:
    """Confirm the loaded set and remove its prepared files."""
    from asset_changes.pipeline.confirm import confirm as confirm_set

    payload = _required(payload)
    with _channel_context(entry, context) as channel_context:
        is_confirmed = confirm_set(channel_context, ref_of(payload))
        remove_prepared(channel_context.archive, payload["prepared_uri"])
    return {
        "change_set_id": payload["change_set_id"],
        "is_confirmed": is_confirmed,
        "channel_seq": payload.get("channel_seq", 0),
    }


def catch_up(entry: ChannelEntry, context: Mapping[str, Any], payload: dict[str, Any] | None) -> dict[str, Any]:
    """Repeat the steps until the channel is caught up; a SIGTERM lets the fetched set finish."""
    from asset_changes.pipeline.catch_up import catch_up as catch_up_channel

    size = _batch_size(entry, context)
    with _channel_context(entry, context) as channel_context, stop_on_sigterm() as signals:
        done = catch_up_channel(
            channel_context,
            batch_size=size,
            minutes=Settings.from_environment().catch_up_minutes,
            stops=lambda: bool(signals),
        )
        channel_seq = done.channel_seq
        if channel_seq is None:  # an earlier try of this task may have loaded sets and died
            with transaction(channel_context.warehouse) as connection:
                channel_seq = last_channel_seq(connection, entry.channel.channel_id)
    changes = done.counts.changes
    assets.add_table_lineage(channel_context.warehouse.url)
    if channel_seq > (payload or {}).get("channel_seq", 0):
        extra = {"sets": done.sets, "changes": changes, "channel_seq": channel_seq}
        assets.announce_caught_up(context, entry.channel.channel_id, extra)
    metrics.send_loaded(entry.channel.channel_id, sets=done.sets, counts=done.counts, channel_seq=channel_seq)
    return {"sets": done.sets, "changes": changes, "is_caught_up": done.is_caught_up}


def _required(payload: Payload | None) -> Payload:
    """Return what the task before has left; one that was marked as success by hand has left nothing."""
    if payload is None:
        raise ConfigurationError(
            "The task before this one was marked as success and has handed nothing on: nothing was loaded or "
            "confirmed. Trigger the DAG, and its run does the channel's next work."
        )
    return payload


@contextmanager
def _channel_context(entry: ChannelEntry, context: Mapping[str, Any]) -> Iterator[ChannelContext]:
    if entry.retired_at:
        raise ConfigurationError(
            f"Channel {entry.channel.channel_id} is retired: Getty has not listed it since "
            f"{entry.missing_since or entry.retired_at}, so it is not called. If Getty lists it again, run "
            "asset_changes_discovery."
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
                gap=timedelta(minutes=settings.gap_minutes),
            )
        except UnknownChannel:
            # Discovery retires the channel if Getty's list lacks it as well.
            in_transaction(engine, lambda connection: ledger.mark_refused(connection, entry.channel))
            raise
        finally:
            hook.close()


def _batch_size(entry: ChannelEntry, context: Mapping[str, Any]) -> int:
    """Return the run's own batch size, else the channel's, else the installation's."""
    chosen = context["params"].get("batch_size")
    if chosen is not None:
        return checked_batch_size(chosen, where="the run's parameter batch_size")
    return entry.batch_size or Settings.from_environment().batch_size
