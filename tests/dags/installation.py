"""An Airflow of the tests' own: a home, a metadata database, and processes that die after one job.

Airflow is imported once, by a fork server with a clean environment; each job is a fork of it. So no
test sees what another left in memory, and none waits for Airflow's imports.
"""

import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from getty_sandbox import Sandbox
from sqlalchemy import URL

from tests.dags import inside

PROJECT = Path(__file__).parents[2]
GETTY = "AIRFLOW_CONN_GETTY_IMAGES_DEFAULT"
WAREHOUSE = "AIRFLOW_CONN_WAREHOUSE_DEFAULT"
VARIABLE = "AIRFLOW_VAR_ASSET_CHANGES_CHANNELS"
_PATIENCE = 600


class JobFailed(Exception):
    """The job raised; the text is its traceback."""


@dataclass
class Job:
    """A job in a process of its own."""

    process: Any
    answer: Connection
    log_file: Path

    @property
    def pid(self) -> int:
        """The process that does it."""
        return int(self.process.pid)

    @property
    def log(self) -> str:
        """What it printed and logged so far."""
        return self.log_file.read_text()

    def result(self) -> Any:
        """What it returned, when it is done."""
        if not self.answer.poll(_PATIENCE):
            self.process.kill()
            raise JobFailed(f"no end after {_PATIENCE} s:\n{self.log}")
        try:
            returned, result = self.answer.recv()
        except EOFError:
            raise JobFailed(f"died:\n{self.log}") from None
        finally:
            self.process.join()
        if not returned:
            raise JobFailed(result)
        return result


@dataclass
class Installation:
    """Airflow with the DAGs and plugins of this checkout; `environment` is that of its next jobs."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    jobs: int = 0

    @property
    def database(self) -> Path:
        """The metadata database."""
        return self.home / "airflow.db"

    def start(self, work: Callable[..., Any], *arguments: Any, **environment: str) -> Job:
        """Begin a job: `work(*arguments)` in a process where Airflow is imported."""
        self.jobs += 1
        log_file = self.home / f"job-{self.jobs}.log"
        log_file.touch()
        context = multiprocessing.get_context("forkserver")
        receives, sends = context.Pipe(duplex=False)
        process = context.Process(
            target=inside.do,
            args=(sends, str(log_file), base_environment(self.home) | self.environment | environment, work, arguments),
        )
        process.start()
        sends.close()
        return Job(process, receives, log_file)

    def run(self, work: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
        """Do a job and return what it returned."""
        return self.start(work, *arguments, **environment).result()

    def run_afresh(self, work: str, *arguments: Any, **environment: str) -> Any:
        """Do a job of `inside` in an interpreter of its own, which imports only what the job needs."""
        self.jobs += 1
        answer = self.home / f"job-{self.jobs}.json"
        done = subprocess.run(
            [sys.executable, "-m", "tests.dags.inside", work, json.dumps(arguments), str(answer)],
            env=base_environment(self.home) | self.environment | environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise JobFailed(done.stdout + done.stderr)
        return json.loads(answer.read_text())

    def test_dag(self, dag_id: str, conf: Mapping[str, Any] | None = None, **environment: str) -> "Run":
        """Run a DAG as `dag.test()` does."""
        return self._ended(self.start(inside.test_dag, dag_id, dict(conf or {}), **environment))

    def test_dag_with_answer(self, dag_id: str, answer: str, *, name: str, **environment: str) -> tuple["Run", str]:
        """Run a DAG that asks a person, and answer; return the run and what was asked."""
        job = self.start(inside.test_dag, dag_id, {}, **environment)
        question = self.run(inside.answer_question, answer, name)
        return self._ended(job), question

    def _ended(self, job: Job) -> "Run":
        state, run_id = job.result()
        return Run(state=state, run_id=run_id, log=job.log, tasks=self._tasks(run_id), xcoms=self._xcoms(run_id))

    def set_channels(self, text: str) -> None:
        """Set the Variable in the metadata database."""
        self.run(inside.set_channels, text)

    def channels(self) -> Any:
        """Return the Variable of the metadata database, read as JSON."""
        return json.loads(self.run(inside.get_channels))

    def rows(self, query: str, *arguments: str) -> list[tuple[Any, ...]]:
        """Return what the metadata database answers."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query, arguments).fetchall()

    def _tasks(self, run_id: str) -> dict[str, tuple[str, int]]:
        query = "SELECT task_id, state, try_number FROM task_instance WHERE run_id = ?"
        return {task_id: (state, tries) for task_id, state, tries in self.rows(query, run_id)}

    def _xcoms(self, run_id: str) -> dict[str, str]:
        return dict(self.rows("SELECT task_id, value FROM xcom WHERE run_id = ?", run_id))


@dataclass(frozen=True)
class Run:
    """A run of a DAG that is over."""

    state: str
    run_id: str
    log: str
    tasks: dict[str, tuple[str, int]]
    xcoms: dict[str, str]

    def states(self) -> dict[str, str]:
        """Return the state of each task."""
        return {task_id: state for task_id, (state, _) in self.tasks.items()}

    def lines(self, words: str) -> list[str]:
        """Return the lines of the log that hold these words."""
        return [line for line in self.log.splitlines() if words in line]


def base_environment(home: Path) -> dict[str, str]:
    """Return the environment of an Airflow that lives in `home`; nothing of the caller's own settings."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "ASSET_CHANGES"))}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "for these tests alone " * 4,
        "NO_COLOR": "1",
        "PYTHONHASHSEED": "1",
        "PYTHONPATH": str(PROJECT),
        "ASSET_CHANGES_ARCHIVE_URI": f"file://{home}/archive",
    }


@cache
def install(home: Path) -> Installation:
    """Start the fork server and make the metadata database; once per session."""
    home.mkdir()
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(base_environment(home))
        forkserver.set_forkserver_preload(["tests.dags.inside", "tests.dags.preload"])
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    installation = Installation(home)
    installation.run(inside.make_database)
    # SQLite keeps the newest pages in another file: a plain copy would lack them.
    with closing(sqlite3.connect(installation.database)) as made, closing(sqlite3.connect(home / "template.db")) as to:
        made.backup(to)
    return installation


def renew(installation: Installation) -> Installation:
    """Return the installation as if it were new: an empty metadata database, an environment without connections."""
    shutil.rmtree(installation.home / "archive", ignore_errors=True)
    for file in installation.home.glob("airflow.db*"):
        file.unlink()
    shutil.copy(installation.home / "template.db", installation.database)
    installation.environment = {}
    return installation


def getty_connection(sandbox: Sandbox, **changes: Any) -> str:
    """Return the connection to a sandbox as JSON."""
    connection = {
        "conn_type": "getty_images",
        "host": sandbox.url,
        "login": sandbox.client_id,
        "password": sandbox.client_secret,
        "extra": {"token_url": sandbox.token_url},
    }
    return json.dumps(connection | changes)


def warehouse_connection(url: URL) -> str:
    """Return the connection to a warehouse as JSON."""
    return json.dumps(
        {"conn_type": "postgres", "host": url.query["host"], "login": url.username, "schema": url.database}
    )
