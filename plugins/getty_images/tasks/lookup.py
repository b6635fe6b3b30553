"""What the tasks of the lookup DAG do: queue assets, ask Getty about them, and judge what that means for holdings."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from asset_changes import channel_registry
from asset_changes.channel_registry import DEFAULT_CONN_ID, ChannelEntry
from asset_changes.errors import ConfigurationError
from asset_changes.getty_api.lookup import LookupClient
from asset_changes.lookup import judge as judging
from asset_changes.lookup.context import LookupContext
from asset_changes.lookup.enqueue import Scope
from asset_changes.lookup.enqueue import enqueue as enqueue_assets
from asset_changes.lookup.look_up import LeaseHeld
from asset_changes.lookup.look_up import look_up as look_up_assets
from asset_changes.settings import Settings
from asset_changes.warehouse import rechecks, reconciliations, removals
from asset_changes.warehouse.archived import described_channels
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.reconciliations import Round
from sqlalchemy import Connection, Engine

from getty_images import assets, metrics
from getty_images.hook import GettyImagesHook
from getty_images.resources import channel_variable, warehouse_of
from getty_images.tasks.sigterm import stop_on_sigterm

log = logging.getLogger(__name__)

_APPLICATION = "asset_changes lookup"  # as pg_stat_activity shows the tasks
_TABLES = ("asset_metadata", "availability", "availability_checks", "lookup_queue", "reconciliations")
_JUDGED_TABLES = ("availability", "holding_counts", "reconciliations")


def enqueue(context: Mapping[str, Any]) -> dict[str, int]:
    """Queue the assets that are new or changed, what is to be asked again, and first those that the run names."""
    settings, params = Settings.from_environment(), context["params"]
    not_asked_since = _not_asked_since(params.get("not_asked_since"))
    if not (settings.metadata or settings.reconcile_days or not_asked_since):
        raise AirflowSkipException(
            "Metadata and reconciliation are switched off (ASSET_CHANGES_METADATA, ASSET_CHANGES_RECONCILE_DAYS): "
            "nothing is looked up."
        )
    with warehouse_of(settings, application_name=_APPLICATION) as engine:
        scope = Scope(
            connections=_connections(engine, settings),
            metadata=settings.metadata,
            of_all=settings.lookup_scope == "all",
            language=settings.language,
            reconcile_days=settings.reconcile_days,
            clock=WarehouseClock(engine),
        )
        asked = params.get("asset_ids") or ()
        return asdict(enqueue_assets(engine, scope, asset_ids=asked, not_asked_since=not_asked_since))


def _not_asked_since(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ConfigurationError(
            f"`not_asked_since` is {value!r:.60}: give a time with its zone, for example 2026-11-28T12:00:00Z."
        )
    return found


def look_up(context: Mapping[str, Any]) -> dict[str, int]:
    """Ask Getty about the queued assets; a SIGTERM lets the call that was made be kept."""
    settings = Settings.from_environment()
    with warehouse_of(settings, application_name=_APPLICATION) as engine, stop_on_sigterm() as signals:
        clock = WarehouseClock(engine)

        def client(conn_id: str, /, **callbacks: Callable[[], None]) -> LookupClient:
            return GettyImagesHook(conn_id, clock=clock).lookup_client(**callbacks)

        try:
            done = look_up_assets(
                LookupContext(
                    warehouse=engine,
                    client=client,
                    connections=_connections(engine, settings),
                    holder=f"{context['dag'].dag_id} {context['run_id']}",
                    metadata=settings.metadata,
                    reconciles=settings.reconcile_days > 0,
                    language=settings.language,
                    calls_per_second=settings.lookups_per_second,
                    calls_per_day=settings.lookups_per_day,
                    clock=clock,
                ),
                minutes=settings.lookup_minutes,
                stops=lambda: bool(signals),
            )
        except LeaseHeld as error:
            raise AirflowSkipException(f"{error}. It works off the same queue.") from error
        assets.add_table_lineage(engine.url, tables=_TABLES)
    counts = asdict(done)
    metrics.send_looked_up(counts)
    if done.changed:
        assets.announce_metadata(context, {name: counts[name] for name in ("changed", "found", "waiting")})
    return counts


def judge(context: Mapping[str, Any]) -> str | None:
    """Let the verdicts of what was asked to its end count; return the question about those that need approval.

    Where the task of another run still waits for an answer, this one asks nothing, not about other reconciliations
    either: a second run that waits would be the last one that the DAG may have, and nothing would be looked up.
    """
    with warehouse_of(Settings.from_environment(), application_name=_APPLICATION) as engine:
        waiting = judging.judge(engine, clock=WarehouseClock(engine)).waiting
        if not waiting or any(_is_asked_elsewhere(context, each) for each in waiting):
            return None

        def ask(connection: Connection) -> None:
            for each in waiting:
                reconciliations.ask_in(
                    connection, each.reconciliation_id, dag_id=context["dag"].dag_id, run_id=context["run_id"]
                )

        in_transaction(engine, ask)
    listed = "\n".join(f"* {judging.explain(each)}" for each in waiting)
    return (
        f"{listed}\n\nCompare with what Getty and your account say before you answer: a token of another agreement "
        "looks like this. **Approve**: the verdicts count, and what was said twice, a day apart, must be removed. "
        "**Reject**: they are void. The assets are in `availability_checks`, and counted on the page *Asset Changes*. "
        "Nothing is deleted by this answer."
    )


def _is_asked_elsewhere(context: Mapping[str, Any], each: Round) -> bool:
    if each.run_id is None or each.run_id == context["run_id"]:
        return False
    task_id = context["task"].task_id
    states = context["ti"].get_task_states(dag_id=context["dag"].dag_id, task_ids=[task_id], run_ids=[each.run_id])
    state = (states.get(each.run_id) or {}).get(task_id)
    is_asked = state in ("awaiting_input", "running", "deferred")
    if is_asked:
        log.warning("Reconciliation %d waits for approval in the run %s.", each.reconciliation_id, each.run_id)
    return is_asked


def decide(context: Mapping[str, Any], *, is_approved: bool, name: str) -> dict[str, int]:
    """Let the verdicts that this run asked about count, or never; return how many assets must be removed."""
    with warehouse_of(Settings.from_environment(), application_name=_APPLICATION) as engine:
        clock, mine = WarehouseClock(engine), _asked_here(engine, context)
        if not is_approved:
            judging.refuse(engine, mine, name=name)
        elif judging.approve(engine, mine, name=name, clock=clock) < max(len(mine), 1):
            raise AirflowFailException(
                f"The approval by {name} came too late, or the checks were no longer those that were shown: these "
                "verdicts do not count. The next reconciliation asks again. The log above and the table "
                "`reconciliations` say more."
            )
        return _count_removals(engine, context)


def expire(context: Mapping[str, Any]) -> None:
    """Let the verdicts that this run asked about never count: nobody answered."""
    with warehouse_of(Settings.from_environment(), application_name=_APPLICATION) as engine:
        judging.expire(engine, _asked_here(engine, context))


def _asked_here(engine: Engine, context: Mapping[str, Any]) -> list[Round]:
    with transaction(engine) as connection:
        waiting = [each for each in reconciliations.undecided(connection) if each.outcome == "waiting"]
    return [each for each in waiting if each.run_id == context["run_id"]]


def count_removals(context: Mapping[str, Any]) -> dict[str, int]:
    """Count the held assets that must be removed, by reason; wake who waits for that where the numbers changed."""
    with warehouse_of(Settings.from_environment(), application_name=_APPLICATION) as engine:
        return _count_removals(engine, context)


def _count_removals(engine: Engine, context: Mapping[str, Any]) -> dict[str, int]:
    sources = in_transaction(engine, removals.count_holdings)
    assets.add_table_lineage(engine.url, tables=_JUDGED_TABLES)
    counts = dict.fromkeys(removals.REASONS, 0)
    for due in (each for source in sources for each in source.due):
        counts[due.reason] += due.count
    before = context["ti"].xcom_pull(task_ids=context["task"].task_id, include_prior_dates=True)
    if counts != (before or dict.fromkeys(removals.REASONS, 0)):
        assets.announce_removals(context, counts)
    log.info("Must be removed: %s", " ".join(f"{reason}={count}" for reason, count in counts.items()))
    return counts


def _connections(engine: Engine, settings: Settings) -> dict[str, frozenset[int]]:
    """Return which channels' assets are asked about with which connection; retired channels have live assets too.

    Where there is no channel yet, what is held is asked about all the same.
    """
    with transaction(engine) as connection:
        channel_ids = set(described_channels(connection))
        is_any_held = rechecks.is_any_held(connection)
    if settings.lookup_conn_id:
        return {settings.lookup_conn_id: frozenset(channel_ids)}
    entries = channel_registry.read(channel_variable() or "[]")
    chosen = {entry.channel.channel_id: entry.conn_id for entry in entries if isinstance(entry, ChannelEntry)}
    by_connection: dict[str, set[int]] = {}
    for channel_id in channel_ids:
        by_connection.setdefault(chosen.get(channel_id, DEFAULT_CONN_ID), set()).add(channel_id)
    if is_any_held and not by_connection:
        by_connection[DEFAULT_CONN_ID] = set()
    return {conn_id: frozenset(ids) for conn_id, ids in by_connection.items()}
