"""What the tasks of the purge DAG do: plan, have it approved where that is needed, delete, and say what is left."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from asset_changes.errors import ConfigurationError, PurgeIncomplete, PurgeRefused
from asset_changes.removal.plan import make_plan
from asset_changes.removal.policy import PurgeContext, PurgeRun, StoreEntry, hash_of
from asset_changes.removal.purge import PurgeRunning
from asset_changes.removal.purge import purge as purge_files
from asset_changes.removal.stores.store import FileStore
from asset_changes.settings import Settings
from asset_changes.warehouse import purge_plans
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.purge_counts import count_duties
from asset_changes.warehouse.purge_plans import Plan
from sqlalchemy import Connection, Engine

from getty_images import assets, metrics
from getty_images.resources import status_page, warehouse_of
from getty_images.stores import stores_of
from getty_images.tasks.sigterm import stop_on_sigterm

log = logging.getLogger(__name__)

_APPLICATION = "asset_changes purge"  # as pg_stat_activity shows the tasks
_TABLES = ("purge_plans", "purge_plan_files", "purges")
_SHOWN_PROBLEMS = 5


def plan(context: Mapping[str, Any]) -> dict[str, Any]:
    """List what is to be deleted, or would be; return the plan's number and counts."""
    settings = Settings.from_environment()
    if not settings.file_stores:
        raise AirflowSkipException("No store of files is configured (ASSET_CHANGES_FILE_STORES): nothing is purged.")
    is_dry_run = settings.purge != "on" or bool(context["params"].get("dry_run"))
    with _warehouse() as engine, stores_of(settings) as stores:
        made = make_plan(_purge_context(engine, settings, stores, context), is_dry_run=is_dry_run)
        assets.add_table_lineage(engine.url, tables=_TABLES)
    errors = [f"{name}: {each['error']}" for name, each in made.stores.items() if each["error"]]
    errors += [
        f"{name}: {each['unlisted']} assets cannot be listed: {each['unlisted_assets']}"
        for name, each in made.stores.items()
        if each.get("unlisted")
    ]
    unsafe = sum(int(each["unsafe"]) for each in made.stores.values())
    if unsafe:
        errors.append(f"{unsafe} ids of which no file can be looked for")
    return {
        "plan_id": made.plan_id,
        "mode": made.mode,
        "assets": made.asset_count,
        "files": made.file_count,
        "problems": [each[:150] for each in errors[:_SHOWN_PROBLEMS]],
    }


def question(context: Mapping[str, Any]) -> str | None:
    """Return what a person must decide of the run's plan, or None where no limit is exceeded."""
    with _warehouse() as engine:
        made = _plan_of_run(engine, context)
    if made.outcome != "waiting" or made.is_expired:
        log.info("Plan %d asks nobody: %s", made.plan_id, made.outcome)
        return None
    rows = "\n".join(
        f"| {name} | {each['assets']} | {each['files']} | {each['bytes']:,} | {each['held_back']} |"
        for name, each in made.stores.items()
    )
    page = status_page()
    where = f"[the plan]({page}/plans/{made.plan_id})" if page else f"page Asset changes, All plans, {made.plan_id}"
    return (
        f"{made.brake}\n\n| store | assets | files | bytes | held back |\n| --- | --- | --- | --- | --- |\n{rows}\n\n"
        f"Plan {made.plan_id}, list {str(made.list_hash)[:12]}, valid until {made.expires_at:%Y-%m-%d %H:%M} UTC. Its "
        f"files: {where}. **Approve**: exactly these versions are deleted, for good, unless "
        "their asset is live again or held back by then. **Reject**: nothing is deleted; the next run plans anew."
    )


def decide(context: Mapping[str, Any], *, is_approved: bool, name: str) -> None:
    """Keep the answer to the plan that was shown."""
    with _warehouse() as engine:
        made = _plan_of_run(engine, context)

        def keep(connection: Connection) -> bool:
            return purge_plans.decide(
                connection, made.plan_id, list_hash=str(made.list_hash), is_approved=is_approved, name=name
            )

        if not in_transaction(engine, keep):
            raise PurgeRefused(f"Plan {made.plan_id} no longer waits for an answer: nothing is deleted.")


def expire(context: Mapping[str, Any]) -> None:
    """End the plans whose time is over: nobody answered."""
    with _warehouse() as engine:
        in_transaction(engine, purge_plans.expire_plans)


def purge(context: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out the run's plan; a SIGTERM lets the chunk in work get its receipts."""
    settings, planned = Settings.from_environment(), _planned(context)
    problems = [*planned["problems"]]
    if planned["mode"] == "dry_run" or settings.purge != "on":
        if planned["mode"] == "dry_run":
            log.info("Plan %s was only listed: nothing is deleted", planned["plan_id"])
        else:
            log.warning("ASSET_CHANGES_PURGE is no longer on: no more of plan %s is deleted", planned["plan_id"])
        return {"plan_id": planned["plan_id"], "deleted": 0, "failed": 0, "problems": problems}
    with _warehouse() as engine, stores_of(settings) as stores, stop_on_sigterm() as signals:
        try:
            done = purge_files(
                _purge_context(engine, settings, stores, context),
                int(planned["plan_id"]),
                minutes=settings.purge_minutes,
                stops=lambda: bool(signals),
            )
        except PurgeRunning as error:
            raise AirflowSkipException(f"{error}. The next run does what it leaves.") from error
        assets.add_table_lineage(engine.url, tables=_TABLES)
    counts = asdict(done)
    metrics.send_purged(counts)
    if done.deleted:
        assets.announce_purged(context, {name: counts[name] for name in ("plan_id", "gone", "deleted", "failed")})
    with _warehouse() as engine:
        names = [each.name for each in settings.file_stores]
        in_transaction(engine, partial(count_duties, stores=names, reasons=settings.purge_reasons))
    counts["problems"] = [each[:150] for each in (*problems, *done.problems)[:_SHOWN_PROBLEMS]]
    counts["unfinished"] = sorted(done.unfinished)[:_SHOWN_PROBLEMS]
    counts["expires_at"] = f"{done.expires_at:%Y-%m-%d %H:%M} UTC" if done.expires_at else None
    return counts


def check(context: Mapping[str, Any]) -> None:
    """Raise PurgeIncomplete where something that must go is still there."""
    done = context["ti"].xcom_pull(task_ids="purge") or {}
    wrong = [*done.get("problems", ())]
    if done.get("failed"):
        wrong.append(f"{done['failed']} files could not be deleted: see the errors in their receipts")
    if wrong and done.get("unfinished"):
        wrong.append(
            f"{done['unfinished_assets']} assets are left in {', '.join(done['unfinished'])}: the next run continues "
            f"the plan once they can be listed, and so does `purge` if it is cleared, until {done['expires_at']}"
        )
    if wrong:
        raise PurgeIncomplete(f"Plan {done.get('plan_id')}: {'; '.join(wrong)}.")
    log.info("Plan %s: deleted=%s failed=%s", done.get("plan_id"), done.get("deleted"), done.get("failed"))


def _warehouse() -> AbstractContextManager[Engine]:
    return warehouse_of(Settings.from_environment(), application_name=_APPLICATION)


def _planned(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `plan` of this run returned."""
    planned = context["ti"].xcom_pull(task_ids="plan")
    if not planned:
        raise PurgeRefused("This run has no plan: clear its task `plan`, or trigger the DAG again.")
    return dict(planned)


def _plan_of_run(engine: Engine, context: Mapping[str, Any]) -> Plan:
    with transaction(engine) as connection:
        return purge_plans.plan_of(connection, int(_planned(context)["plan_id"]))


def _purge_context(
    engine: Engine, settings: Settings, opened: Sequence[FileStore], context: Mapping[str, Any]
) -> PurgeContext:
    stores = {each.name: each for each in settings.file_stores}
    only_store = context["params"].get("only_store") or None
    if only_store is not None and only_store not in stores:
        names = ", ".join(stores)
        raise ConfigurationError(f"The run names the store {only_store!r:.80}; ASSET_CHANGES_FILE_STORES has: {names}.")
    return PurgeContext(
        warehouse=engine,
        stores={name: StoreEntry(uri=each.uri, store_hash=hash_of(asdict(each))) for name, each in stores.items()},
        open_store={each.name: each for each in opened}.__getitem__,
        reasons=settings.purge_reasons,
        max_files=settings.purge_max_files,
        only_store=only_store,
        run=PurgeRun(
            dag_id=context["dag"].dag_id,
            run_id=context["run_id"],
            triggered_by=getattr(context["dag_run"], "triggering_user_name", None),
            code_version=version("getty-asset-changes"),
        ),
    )
