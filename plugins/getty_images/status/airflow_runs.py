"""What Airflow itself knows of the channels' DAGs: the outcome of the newest run, and whether one is paused.

The warehouse learns of a failure only by its silence; Airflow knows at once which run is red.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.sdk.execution_time.xcom import XCom
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from asset_changes.errors import AssetChangesError, error_named
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from getty_images.defaults import FAILURE
from getty_images.status.filters import path_part
from getty_images.status.problems import Link, Problem

log = logging.getLogger(__name__)


def problems_of(dag_ids: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """Return by DAG what is wrong with it: a red newest run, a paused or a missing DAG."""
    with create_session() as session:
        dags = _dags(session, dag_ids)
        found: dict[str, tuple[Problem, ...]] = {}
        for dag_id in dag_ids:
            dag = dags.get(dag_id)
            problems = [_missing(dag_id)] if _is_missing(dag) else []
            if dag is not None and dag.is_paused:
                problems.append(_paused(dag_id))
            red = _newest_failure(session, dag_id)
            found[dag_id] = (*([red] if red else []), *problems)
    return found


@dataclass(frozen=True, kw_only=True)
class DagStatus:
    """Whether Airflow runs a DAG, and why its newest run is red."""

    is_missing: bool = False
    is_paused: bool = False
    failure: Problem | None = None


def status_of(dag_id: str) -> DagStatus:
    """Return the status of one DAG."""
    with create_session() as session:
        dag = _dags(session, [dag_id]).get(dag_id)
        failure = _newest_failure(session, dag_id)
    return DagStatus(is_missing=_is_missing(dag), is_paused=dag is not None and bool(dag.is_paused), failure=failure)


def runs_since(dag_ids: Collection[str], since: datetime) -> int:
    """Return how many runs of these DAGs began since then."""
    with create_session() as session:
        begun = DagRun.dag_id.in_(dag_ids), DagRun.start_date >= since
        return session.scalar(select(func.count()).select_from(DagRun).where(*begun)) or 0


def without_dag(dag_ids: Collection[str]) -> set[str]:
    """Return those of the DAGs that are paused, missing or broken, so that nobody reads their channels."""
    with create_session() as session:
        dags = _dags(session, dag_ids)
    return {dag_id for dag_id in dag_ids if _is_missing(dags.get(dag_id)) or dags[dag_id].is_paused}


def _dags(session: Session, dag_ids: Collection[str]) -> dict[str, Any]:
    columns = (DagModel.dag_id, DagModel.is_paused, DagModel.is_stale, DagModel.has_import_errors)
    return {row.dag_id: row for row in session.execute(select(*columns).where(DagModel.dag_id.in_(dag_ids)))}


def _is_missing(dag: Any) -> bool:
    return bool(dag is None or dag.is_stale or dag.has_import_errors)


def _newest_failure(session: Session, dag_id: str) -> Problem | None:
    newest = session.execute(
        select(DagRun.run_id, DagRun.state)
        .where(DagRun.dag_id == dag_id, DagRun.state.in_((DagRunState.SUCCESS, DagRunState.FAILED)))
        .order_by(DagRun.run_after.desc())
        .limit(1)
    ).one_or_none()
    if newest is None or newest.state != DagRunState.FAILED:
        return None
    since = _red_since(session, dag_id)
    run = f"dags/{path_part(dag_id)}/runs/{path_part(newest.run_id)}"
    task_id = session.scalar(
        select(TaskInstance.task_id)
        .where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id == newest.run_id,
            TaskInstance.state == TaskInstanceState.FAILED,
        )
        .limit(1)
    )
    if task_id is None:
        step = AssetChangesError.next_step
        return Problem(
            reason="Its newest run has failed.", next_step=step, since=since, link=Link(path=run, name="The run")
        )
    kind, sentence = _failure_of(session, dag_id, newest.run_id, task_id)
    return Problem(
        title=f"Its newest run has failed in the task {task_id}{':' if sentence else '.'}",
        reason=sentence,
        next_step=kind.next_step,
        since=since,
        link=Link(path=f"{run}/tasks/{path_part(task_id)}", name="The task"),
        entry=None if kind is AssetChangesError else kind.__name__,
    )


def _red_since(session: Session, dag_id: str) -> datetime | None:
    """Return when the first run failed after the last good one."""
    last_good = (
        select(func.max(DagRun.run_after))
        .where(DagRun.dag_id == dag_id, DagRun.state == DagRunState.SUCCESS)
        .scalar_subquery()
    )
    return session.scalar(
        select(func.min(DagRun.end_date)).where(
            DagRun.dag_id == dag_id,
            DagRun.state == DagRunState.FAILED,
            or_(last_good.is_(None), DagRun.run_after > last_good),
        )
    )


def _failure_of(session: Session, dag_id: str, run_id: str, task_id: str) -> tuple[type[AssetChangesError], str]:
    """Return what a red task left of its error: its class and its sentence, which is empty where it left none."""
    row = session.execute(
        select(XComModel.value)
        .where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == run_id,
            XComModel.task_id == task_id,
            XComModel.key == FAILURE,
        )
        .limit(1)  # of a mapped task, any one
    ).one_or_none()
    try:
        # By Airflow's backend: the row may contain no more than the address of an object.
        failure = XCom.deserialize_value(row) if row else None
    except Exception:  # whatever the store raises: the page can do without the sentence
        log.warning("The XCom %s of the task %s of %s cannot be read", FAILURE, task_id, run_id, exc_info=True)
        failure = None
    if not isinstance(failure, dict):
        return AssetChangesError, ""
    return error_named(failure.get("error")), str(failure.get("says") or "")


def _paused(dag_id: str) -> Problem:
    return Problem(
        reason="Its DAG is paused, so nobody reads this channel.",
        next_step="Switch the DAG on; it continues where it stopped.",
        link=Link(path=f"dags/{path_part(dag_id)}", name="The DAG"),
    )


def _missing(dag_id: str) -> Problem:
    return Problem(
        reason=f"Airflow has no DAG {dag_id} at present.",
        next_step="Check the import errors on Airflow's home page; else run asset_changes_discovery.",
        link=Link(path="dags?search=asset_changes", name="The DAGs"),
    )
