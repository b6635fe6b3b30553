"""What the tests' jobs do inside a process of Airflow; what they return is plain data."""

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def do(
    answer: Connection, log_file: str, environment: dict[str, str], work: Callable[..., Any], arguments: Any
) -> None:
    """Do a job under this environment, with all its output in a file, and answer what it returned."""
    with Path(log_file).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    try:
        result = (True, work(*arguments))
    except BaseException:  # noqa: BLE001 - returned to the test
        result = (False, traceback.format_exc())
    sys.stdout.flush()
    sys.stderr.flush()
    answer.send(result)


def make_database() -> None:
    """Make the metadata database."""
    from airflow.utils.db import initdb

    initdb()


def set_channels(text: str) -> None:
    """Set the Variable."""
    from airflow.models import Variable

    Variable.set("asset_changes_channels", text)


def get_channels() -> str:
    """Return the Variable."""
    from airflow.models import Variable

    return str(Variable.get("asset_changes_channels"))


def bag(*files: str) -> Any:
    """Return the DAGs of the folder, or of these files of it."""
    from airflow.dag_processing.dagbag import DagBag

    # Where Variables are read from the metadata database, as the DAG processor's parent does for its children.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
    bag = DagBag(dag_folder=folder, collect_dags=not files)
    for file in files:
        bag.process_file(f"{folder}/{file}", only_if_updated=False)
    return bag


def test_dag(dag_id: str, conf: dict[str, Any]) -> tuple[str, str]:
    """Run a DAG; return the state and the id of the run."""
    names = ("discovery", "example_cdn", "hold", "holdings", "lookup", "purge", "replay")
    files = {f"asset_changes_{name}": f"{name}.py" for name in names}
    run = bag(files.get(dag_id, "channels.py")).dags[dag_id].test(run_conf=conf)
    return str(run.state), run.run_id


def answer_question(choice: str, name: str) -> str:
    """Wait until a task of a run asks a person, and answer as the user of this name would; return what it asked."""
    import time

    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import TriggerEvent
    from airflow.utils import timezone
    from airflow.utils.session import create_session
    from sqlalchemy import select

    for _ in range(600):
        time.sleep(0.1)
        with create_session() as session:
            asked = session.scalar(select(TaskInstance).where(TaskInstance.state == "awaiting_input"))
            if asked is None:
                continue
            detail = session.get(HITLDetail, asked.id)
            detail.responded_by = {"id": name, "name": name}
            detail.responded_at = timezone.utcnow()
            detail.chosen_options = [choice]
            detail.params_input = {}
            session.add(detail)
            # What Airflow's API does with an answer.
            handle_event_submit(TriggerEvent(detail.as_resume_event_payload()), task_instance=asked, session=session)
            return str(detail.body)
    raise TimeoutError("no task asked anything")


def parse(*files: str) -> dict[str, Any]:
    """Return what parsing came to: the import errors, and of each DAG what Airflow keeps of it."""
    parsed = bag(*files)
    return {
        "errors": {Path(file).name: error for file, error in parsed.import_errors.items()},
        "dags": {dag_id: _said_of(dag) for dag_id, dag in parsed.dags.items()},
    }


def _said_of(dag: Any) -> dict[str, Any]:
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    return {
        "file": Path(dag.fileloc).name,
        "hash": SerializedDagModel.hash(DagSerialization.to_dict(dag)),
        "display_name": dag.dag_display_name,
        "description": dag.description,
        "doc_md": dag.doc_md,
        "tags": sorted(dag.tags),
        "owner": dag.owner,
        "start_date": dag.start_date,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "allowed_run_types": sorted(str(each.value) for each in dag.allowed_run_types or ()),
        "timetable": type(dag.timetable).__name__,
        "schedule": dag.timetable.summary if hasattr(dag.timetable, "summary") else str(dag.schedule),
        "params": {
            name: {**param.schema, "default": param.value, "description": param.description}
            for name, param in ((name, dag.params.get_param(name)) for name in dag.params)
        },
        "tasks": {task.task_id: _said_of_task(task) for task in dag.tasks},
    }


def _said_of_task(task: Any) -> dict[str, Any]:
    return {
        "downstream": sorted(task.downstream_task_ids),
        "multiple_outputs": getattr(task, "multiple_outputs", None),
        "trigger_rule": str(task.trigger_rule.value),
        "retries": task.retries,
        "retry_delay": task.retry_delay.total_seconds(),
        "is_mapped": task.is_mapped,
        "doc_md": task.doc_md,
        "owner": task.owner,
    }


def variables_read(file: str) -> list[str]:
    """Return the names of the Variables that parsing a file reads, in order, each time it does."""
    from airflow.sdk import Variable

    names: list[str] = []
    read = Variable.get
    Variable.get = lambda key, *more, **options: names.append(key) or read(key, *more, **options)
    errors = bag(file).import_errors
    assert not errors, errors
    return names


def calls_while_parsing(*files: str) -> list[str]:
    """Return what parsing does that it may not: open sockets, start programs, open databases."""
    forbidden = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "sqlite3.connect", "os.system")
    calls: list[str] = []
    sys.addaudithook(lambda name, args: calls.append(f"{name} {args!r:.200}") if name in forbidden else None)
    errors = bag(*files).import_errors
    assert not errors, errors
    return calls


def imports_of_parsing(file: str) -> list[str]:
    """Return which heavy libraries are there after parsing a file."""
    errors = bag(file).import_errors
    assert not errors, errors
    return sorted({"pandas", "numpy", "requests", "psycopg", "alembic"} & set(sys.modules))


def parse_for_task(file: str, dag_id: str) -> list[str]:
    """Return the DAGs of a file as a worker parses it for a task of this one."""
    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
    os.environ["_AIRFLOW_PARSING_CONTEXT_TASK_ID"] = "fetch"
    return sorted(bag(file).dags)


def hashes(*files: str) -> dict[str, str]:
    """Return the hash by which Airflow distinguishes the versions of a DAG."""
    return {dag_id: said["hash"] for dag_id, said in parse(*files)["dags"].items()}


def unstable(file: str) -> str:
    """Return what Airflow's own checker says against the file: values that change at each parse."""
    from airflow.utils.dag_version_inflation_checker import check_dag_file_stability

    os.environ["AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL"] = "error"
    return str(
        check_dag_file_stability(f"{os.environ['AIRFLOW__CORE__DAGS_FOLDER']}/{file}").get_error_format_dict(file, None)
        or ""
    )


def retry_decisions(file: str, dag_id: str) -> dict[str, dict[str, str]]:
    """Return what each task does on each of our errors, and on one that nobody foresaw."""
    from asset_changes import errors

    tree = [error for error in vars(errors).values() if isinstance(error, type)]
    return {
        task.task_id: {
            error.__name__: task.retry_policy.evaluate(error("said"), 1, 2).action.value
            for error in [*tree, RuntimeError]
        }
        for task in bag(file).dags[dag_id].tasks
    }


def backfill_refusal(dag_id: str) -> str:
    """Return what Airflow says to a backfill of a DAG."""
    from datetime import UTC, datetime

    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.models.backfill import _create_backfill

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag("channels.py"), "dags-folder", None)
    try:
        _create_backfill(
            dag_id=dag_id,
            from_date=datetime(2026, 2, 1, tzinfo=UTC),
            to_date=datetime(2026, 2, 2, tzinfo=UTC),
            max_active_runs=1,
            reverse=False,
            dag_run_conf={},
            triggering_user_name=None,
        )
    except Exception as error:  # noqa: BLE001 - returned to the test
        return f"{type(error).__name__}: {error}"
    return ""


def problems_of(dag_id: str) -> list[str]:
    """Return what the status page says of a DAG's runs."""
    from getty_images.status.airflow_runs import problems_of

    return [f"{problem.title} {problem.reason}".strip() for problem in problems_of([dag_id])[dag_id]]


def stored_xcoms() -> list[str]:
    """Return the XComs as the metadata database holds them."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [str(each) for each in session.scalars(select(XComModel.value))]


def days_of_backfill(*arguments: str) -> list[str]:
    """Return the days for which a documented command would make runs of replay, by its dry run."""
    import contextlib
    import io
    import re

    from airflow.cli.cli_parser import get_parser
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag("replay.py"), "dags-folder", None)
    args = get_parser().parse_args([*arguments, "--dry-run"])
    with contextlib.redirect_stdout(io.StringIO()) as output:
        args.func(args)
    runs = output.getvalue().partition("Runs to be attempted:")[2]
    return re.findall(r"(\d{4}-\d\d-\d\d) 00:00:00\+00:00", runs)


def _context(dag: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
    from collections import defaultdict
    from unittest.mock import MagicMock

    return {
        "dag": dag,
        "run_id": "manual__test",
        "params": {"batch_size": None} | (params or {}),
        "outlet_events": defaultdict(MagicMock),
    }


def _body(dag_id: str, task_id: str) -> tuple[Any, Callable[..., Any]]:
    dag = bag("channels.py").dags[dag_id]
    return dag, dag.task_dict[task_id].python_callable


def do_task(dag_id: str, task_id: str, *passed: Any) -> Any:
    """Do what a task does, given what the one before it passed on."""
    from airflow.sdk.bases.decorator import determine_kwargs

    dag, body = _body(dag_id, task_id)
    return body(*passed, **determine_kwargs(body, passed, _context(dag)))


def failure_of_task(dag_id: str, task_id: str, params: dict[str, Any]) -> str:
    """Return the error of a task, with its name; nothing where there is none."""
    dag, body = _body(dag_id, task_id)
    try:
        body(**_context(dag, params))
    except Exception as error:  # noqa: BLE001 - returned to the test
        return f"{type(error).__name__}: {error}"
    return ""


def refusal_of_conf(dag_id: str, conf: dict[str, Any]) -> str:
    """Return what Airflow says to a run with these params, as its API and UI check them."""
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(bag("channels.py").dags[dag_id]))
    try:
        dag.params.deep_merge(conf).validate()
    except Exception as error:  # noqa: BLE001 - returned to the test
        return f"{type(error).__name__}: {error}"
    return ""


def imports_of_load_and_confirm(dag_id: str, prepared: Any) -> list[str]:
    """Load and confirm a prepared set; return which of the heavy libraries that took."""
    loaded = do_task(dag_id, "load", prepared)
    do_task(dag_id, "confirm", loaded)
    return [name for name in ("pandas", "numpy") if name in sys.modules]


def imports_of_catch_up(dag_id: str) -> list[str]:
    """Catch up; return which of the heavy libraries that took."""
    do_task(dag_id, "catch_up", None)
    return [name for name in ("pandas", "numpy") if name in sys.modules]


if __name__ == "__main__":
    import json

    Path(sys.argv[3]).write_text(json.dumps(globals()[sys.argv[1]](*json.loads(sys.argv[2])), default=str))
