"""What Airflow itself knows of the channels' DAGs: the outcome of the newest run, and whether one is paused.

The warehouse learns of a failure only by its silence; Airflow knows at once which run is red.
"""

from collections.abc import Collection

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from asset_changes.health import Problem
from sqlalchemy import select

from getty_images.defaults import FAILURE
from getty_images.status.words import path_part

_READ_THE_LOG = "Open the task's log: its last line says what happened and what to do. Then trigger the DAG again."


def problems_of(dag_ids: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """Return by DAG what stands in its way: a red newest run, a paused or a missing DAG."""
    with create_session() as session:
        dags = {
            row.dag_id: row
            for row in session.execute(
                select(DagModel.dag_id, DagModel.is_paused, DagModel.is_stale, DagModel.has_import_errors).where(
                    DagModel.dag_id.in_(dag_ids)
                )
            )
        }
        found: dict[str, tuple[Problem, ...]] = {}
        for dag_id in dag_ids:
            dag = dags.get(dag_id)
            told = [_missing(dag_id)] if dag is None or dag.is_stale or dag.has_import_errors else []
            if dag is not None and dag.is_paused:
                told.append(_paused(dag_id))
            red = _newest_failure(session, dag_id)
            found[dag_id] = (*([red] if red else []), *told)
    return found


def _newest_failure(session, dag_id: str) -> Problem | None:  # type: ignore[no-untyped-def]  # Airflow's session
    newest = session.execute(
        select(DagRun.run_id, DagRun.state, DagRun.end_date)
        .where(DagRun.dag_id == dag_id, DagRun.state.in_((DagRunState.SUCCESS, DagRunState.FAILED)))
        .order_by(DagRun.run_after.desc())
        .limit(1)
    ).one_or_none()
    if newest is None or newest.state != DagRunState.FAILED:
        return None
    task_id = session.scalar(
        select(TaskInstance.task_id)
        .where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id == newest.run_id,
            TaskInstance.state == TaskInstanceState.FAILED,
        )
        .limit(1)
    )
    run = f"dags/{path_part(dag_id)}/runs/{path_part(newest.run_id)}"
    if task_id is None:
        return Problem(reason="Its newest run has failed.", next_step=_READ_THE_LOG, since=newest.end_date, link=run)
    said = session.scalar(
        select(XComModel.value).where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == newest.run_id,
            XComModel.task_id == task_id,
            XComModel.key == FAILURE,
        )
    )
    return Problem(
        reason=f"Its newest run has failed in the task {task_id}{f': {said}' if said else '.'}",
        next_step="Do what this says, then trigger the DAG again." if said else _READ_THE_LOG,
        since=newest.end_date,
        link=f"{run}/tasks/{path_part(task_id)}",
    )


def _paused(dag_id: str) -> Problem:
    return Problem(
        reason="Its DAG is paused, so nobody reads this channel.",
        next_step="Switch the DAG on; it goes on where it stopped.",
        link=f"dags/{path_part(dag_id)}",
    )


def _missing(dag_id: str) -> Problem:
    return Problem(
        reason=f"Airflow has no DAG {dag_id} at present.",
        next_step="Look at the import errors on Airflow's home page; else run asset_changes_discovery.",
        link="dags?search=asset_changes",
    )
