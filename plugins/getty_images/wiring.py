"""The one place where Airflow's connections, paths and run context meet the core."""

import logging
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from airflow.sdk import BaseHook, ObjectStoragePath, Variable
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError, ErrorType
from asset_changes import channel_list, handoff, steps
from asset_changes.archive import Archive
from asset_changes.catch_up import catch_up as catch_up_channel
from asset_changes.channel_list import ChannelEntry
from asset_changes.downstream import last_channel_seq
from asset_changes.errors import AssetChangesError, ConfigurationError
from asset_changes.model import Channel
from asset_changes.settings import Settings
from asset_changes.settings import batch_size as checked_batch_size
from asset_changes.steps import Steps
from asset_changes.warehouse import ledger
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.connection import connect, in_transaction, transaction
from asset_changes.warehouse.ledger import RunRef
from asset_changes.warehouse.migrate import migrate as migrate_schema
from sqlalchemy import URL, Engine
from upath import UPath

from getty_images import assets, metrics
from getty_images.hook import GettyImagesHook

log = logging.getLogger(__name__)

WAREHOUSE_CONN_ID = "warehouse_default"
_FOLDERS = ("file:", "local:")

Passed = dict[str, Any]
"""What a task returns and the next one takes: ids, counts and URIs, under 1 KB."""


def fetch(entry: ChannelEntry, context: Mapping[str, Any]) -> Passed | None:
    """Fetch the channel's next change set; None when it is caught up."""
    size = _batch_size(entry, context)
    with _steps_of(entry, context) as channel_steps:
        fetched = steps.fetch(channel_steps, batch_size=size)
    return handoff.fetched_to_json(fetched) if fetched else None


def transform(entry: ChannelEntry, context: Mapping[str, Any], passed: Passed | None) -> Passed:
    """Prepare the archived set and leave its rows beside the archive."""
    passed = _handed_on(passed)
    fetched = handoff.fetched_from_json(passed)
    with _steps_of(entry, context) as channel_steps:
        prepared = steps.transform_archived(channel_steps, fetched)
        steps.log_transformed(fetched, prepared)
        return {**passed, **handoff.write_prepared(channel_steps.archive, fetched, prepared)}


def load(entry: ChannelEntry, context: Mapping[str, Any], passed: Passed | None) -> Passed:
    """Load the prepared set; where its file is gone, its rows are made again."""
    passed = _handed_on(passed)
    fetched = handoff.fetched_from_json(passed)
    with _steps_of(entry, context) as channel_steps:
        row = steps.load(channel_steps, fetched, handoff.read_prepared(channel_steps.archive, passed))
        seq = _last_seq(channel_steps)
    told = {"change_set_id": fetched.change_set_id, "changes": row.counts.changes, "channel_seq": seq}
    assets.tell_tables(channel_steps.warehouse.url)
    assets.tell_loaded(context, fetched.channel_id, told)
    metrics.send_loaded(fetched.channel_id, sets=1, counts=row.counts, channel_seq=seq)
    return {**passed, "changes": row.counts.changes, "channel_seq": seq}


def confirm(entry: ChannelEntry, context: Mapping[str, Any], passed: Passed | None) -> Passed:
    """Confirm the loaded set and remove its prepared file."""
    passed = _handed_on(passed)
    with _steps_of(entry, context) as channel_steps:
        is_confirmed = steps.confirm(channel_steps, handoff.fetched_from_json(passed))
        handoff.remove_prepared(channel_steps.archive, passed)
    return {
        "change_set_id": passed["change_set_id"],
        "is_confirmed": is_confirmed,
        "channel_seq": passed.get("channel_seq", 0),
    }


def catch_up(entry: ChannelEntry, context: Mapping[str, Any], passed: Passed | None) -> Passed:
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


def migrate() -> None:
    """Bring the warehouse's schema to the version of this code."""
    settings = Settings.from_environment()
    with warehouse_of(settings) as engine:
        migrate_schema(engine, schema=settings.schema)


def discover() -> Passed:
    """Ask Getty for the channels, keep them in the warehouse and in the Variable."""
    text = channel_variable()
    found: list[Channel] = []
    asked = []
    for conn_id, must_answer in channel_list.conn_ids(text).items():
        try:
            listed = _listed(conn_id)
        except (AssetChangesError, AirflowNotFoundException) as error:
            if must_answer:
                raise
            log.warning("Not asked: %s, of which all channels are retired. %s", conn_id, error)
            continue
        asked.append(conn_id)
        found += [channel for channel in listed if channel.channel_id not in {each.channel_id for each in found}]
    merged = channel_list.merge(text, found=found, asked=asked)
    entries = [entry for entry in channel_list.read(merged) if isinstance(entry, ChannelEntry)]
    retired = [entry.channel.channel_id for entry in entries if entry.retired_at]
    with warehouse_of(Settings.from_environment()) as engine:
        in_transaction(engine, lambda connection: ledger.upsert_channels(connection, found))
        in_transaction(engine, lambda connection: ledger.retire_channels(connection, retired))
    if merged != text:
        Variable.set(
            channel_list.VARIABLE,
            merged,
            description="Channels of the Asset Changes API; schedule, batch_size and conn_id are yours to set",
        )
    ids = [channel.channel_id for channel in found]
    log.info("Discovered: channels=%s retired=%s connections=%s", ids, retired, ", ".join(asked))
    return {"found": ids, "retired": retired}


def _listed(conn_id: str) -> list[Channel]:
    hook = GettyImagesHook(conn_id)
    listed = hook.get_channels()
    hook.close()
    if not listed:
        raise ConfigurationError(
            f"Getty lists no channel for connection {conn_id!r}: nothing was changed. Ask Getty's sales team to "
            "set up Asset Changes for this account."
        )
    return listed


def _handed_on(passed: Passed | None) -> Passed:
    """Return what the task before has left; one that was marked as success by hand has left nothing."""
    if passed is None:
        raise ConfigurationError(
            "The task before this one was marked as success and has handed nothing on: nothing was loaded or "
            "confirmed. Trigger the DAG, and its run does the channel's next work."
        )
    return passed


def _last_seq(channel_steps: Steps) -> int:
    with transaction(channel_steps.warehouse) as connection:
        return last_channel_seq(connection, channel_steps.channel.channel_id)


@contextmanager
def _steps_of(entry: ChannelEntry, context: Mapping[str, Any]) -> Iterator[Steps]:
    if entry.retired_at:
        raise ConfigurationError(
            f"Channel {entry.channel.channel_id} is retired: Getty has not listed it since {entry.retired_at}, so "
            "it is not called. If Getty lists it again, run asset_changes_discovery."
        )
    settings = Settings.from_environment()
    with warehouse_of(settings) as engine:
        clock = WarehouseClock(engine)
        hook = GettyImagesHook(entry.conn_id, clock=clock)
        try:
            yield Steps(
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


def archive_of(settings: Settings) -> Archive:
    """Return the archive that the settings name; a folder that other workers would not find is refused."""
    executors = str(conf.get("core", "executor"))
    if settings.archive_uri.startswith(_FOLDERS) and not settings.archive_is_shared and _may_be_remote(executors):
        raise ConfigurationError(
            f"The archive {settings.archive_uri} is a folder of one machine, but [core] executor = {executors} may run "
            "the next task on another. Set ASSET_CHANGES_ARCHIVE_URI to an object store such as s3://bucket/prefix; "
            "or, if every machine sees the same folder there, set ASSET_CHANGES_ARCHIVE_IS_SHARED=on."
        )
    return Archive(cast(UPath, ObjectStoragePath(settings.archive_uri)))


def _may_be_remote(executors: str) -> bool:
    """Whether one of the executors may use other machines: `CeleryExecutor`, `team=alias:module.Executor;...`."""
    names = {re.split(r"[=:.]", each)[-1].strip() for each in re.split(r"[,;]", executors)}
    return not names <= {"LocalExecutor", ""}


@contextmanager
def warehouse_of(settings: Settings) -> Iterator[Engine]:
    """Give an engine on the warehouse that the connection names."""
    connection = BaseHook.get_connection(WAREHOUSE_CONN_ID)
    options = {key: str(value) for key, value in connection.extra_dejson.items() if key.startswith("ssl")}
    url = URL.create(
        "postgresql+psycopg",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
        query=options,
    )
    engine = connect(url, schema=settings.schema)
    try:
        yield engine
    finally:
        engine.dispose()


def _batch_size(entry: ChannelEntry, context: Mapping[str, Any]) -> int:
    """Return the run's own batch size, else the channel's, else the installation's."""
    chosen = context["params"].get("batch_size")
    if chosen is not None:
        return checked_batch_size(chosen, where="the run's parameter batch_size")
    return entry.batch_size or Settings.from_environment().batch_size


def channel_variable() -> str | None:
    """Return the list of channels as it stands, or None where discovery has not written it yet."""
    return variable(channel_list.VARIABLE)


def variable(name: str) -> str | None:
    """Return a Variable, or None where there is none; one that cannot be read is an error, not none."""
    try:
        return str(Variable.get(name))
    except AirflowRuntimeError as error:
        if error.error.error == ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise


@contextmanager
def _stop_on_sigterm() -> Iterator[list[int]]:
    """Collect SIGTERMs instead of dying of them; TaskFlow tasks do nothing on their own."""
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGTERM, before)
