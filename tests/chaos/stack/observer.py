"""The processes of a running stack: its services, and the tasks with the processes that supervise them.

Airflow 3.3 names its processes on Linux. While a worker of the LocalExecutor supervises a task it is called
`airflow worker -- LocalExecutor: <id>`; the task, its child in a process group of its own, `airflow worker -- <id>`.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from signal import SIGKILL
from typing import TypeVar

import psutil
from local_stack.commands import AIRFLOW
from local_stack.postgres import EmbeddedPostgres
from local_stack.services import marked_processes
from local_stack.stack import Stack
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

Found = TypeVar("Found")

COMMANDS = {
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "api-server": ("api-server",),
    "dag-processor": ("dag-processor",),
}
_TITLES = {"api-server": "airflow api_server --"}
_TASK = re.compile(r"airflow worker -- ([0-9a-f-]{20,36})$")
_SUPERVISOR = "airflow worker -- LocalExecutor: "
_LOADING = ("load", "catch_up")
_TRIES = (
    "SELECT id, dag_id, run_id, task_id, start_date FROM task_instance UNION ALL"
    " SELECT task_instance_id, dag_id, run_id, task_id, start_date FROM task_instance_history"
)


class NotObserved(Exception):
    """What a kill needs, or what must follow it, was not observed in time."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A channel's task whose process runs; its supervisor may be gone."""

    dag_id: str
    run_id: str
    task_id: str
    process: psutil.Process
    supervisor: psutil.Process | None

    @property
    def channel_id(self) -> int:
        return int(self.dag_id.rpartition("_")[2])

    @property
    def is_loading(self) -> bool:
        return self.task_id in _LOADING


class StackObserver:
    """Observes a running stack from outside: its processes, its ledger and Airflow's tries."""

    def __init__(self, stack: Stack, warehouse: EmbeddedPostgres) -> None:
        self.stack = stack
        # No pool: a connection may not outlive a server that crashes.
        path = {"options": "-c search_path=getty_images"}
        self.warehouse = create_engine(warehouse.url("warehouse"), poolclass=NullPool, connect_args=path)
        self._airflow = create_engine(EmbeddedPostgres(stack.state.postgres).url("airflow"), poolclass=NullPool)
        self._end_idle_transactions()

    def _end_idle_transactions(self) -> None:
        """Let the server end transactions in which nothing happens any more.

        The workers of the LocalExecutor inherit the scheduler's connection. Where they outlive it, its open
        transaction does too, and its locks on the runs keep every later scheduler from them, for ever.
        """
        with self._airflow.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ALTER SYSTEM SET idle_in_transaction_session_timeout = '15s'"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def service(self, name: str) -> psutil.Process:
        """The living process of a service, one that the stack has started."""
        title = _TITLES.get(name, f"airflow {name}")
        for child in psutil.Process().children():
            if is_alive(child) and title in " ".join(child.cmdline()):
                return child
        raise NotObserved(f"no {name} is running")

    def start_again(self, name: str) -> None:
        """What a service manager does when a service has died; the old log is kept under another name."""
        log = self.stack.state.logs / f"{name}.log"
        log.rename(log.with_name(f"{name}.{time.time_ns()}.log"))
        self.stack.services.start(name, [*AIRFLOW, *COMMANDS[name]])

    def tasks(self) -> list[Task]:
        """The channels' tasks whose processes run."""
        found = []
        for process in marked_processes(self.stack.state.path):
            if (task_id := _named_by(process)) is None:
                continue
            row = self._try_of(task_id)
            if row and re.search(r"_\d+$", row["dag_id"]):
                found.append(Task(**row, process=process, supervisor=_supervisor_of(process)))
        return found

    def next_try(self, task: Task, since: datetime) -> datetime | None:
        """When Airflow has started the task again."""
        query = f"SELECT min(start_date) FROM ({_TRIES}) AS tries WHERE start_date > :since AND dag_id = :dag_id"
        where = {"since": since, "dag_id": task.dag_id, "run_id": task.run_id, "task_id": task.task_id}
        with self._airflow.connect() as connection:
            found: datetime | None = connection.scalar(
                text(f"{query} AND run_id = :run_id AND task_id = :task_id"), where
            )
            return found

    def tries_begun(self, since: datetime) -> int:
        """How many tries of tasks Airflow has begun since then."""
        with self._airflow.connect() as connection:
            query = f"SELECT count(*) FROM ({_TRIES}) AS tries WHERE start_date > :since"
            return connection.scalar(text(query), {"since": since}) or 0

    def active_runs(self) -> int:
        """How many runs of the channels' DAGs are queued or running."""
        query = (
            "SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running') AND dag_id ~ '^asset_changes_.*_[0-9]+$'"
        )
        with self._airflow.connect() as connection:
            return connection.scalar(text(query)) or 0

    def sets_loaded(self, channel_id: int | None = None) -> int:
        """How many change sets are loaded, of one channel or of all."""
        query = "SELECT count(loaded_at) FROM change_sets WHERE channel_id = coalesce(:id, channel_id)"
        with self.warehouse.connect() as connection:
            return connection.scalar(text(query), {"id": channel_id}) or 0

    def is_caught_up(self, since: datetime) -> bool:
        """Whether every channel has had an empty answer since then, and every loaded set is confirmed."""
        query = (
            "SELECT (SELECT min(caught_up_at) FROM channels) > :since"
            " AND NOT EXISTS (SELECT FROM change_sets WHERE confirmed_at IS NULL)"
        )
        with self.warehouse.connect() as connection:
            return bool(connection.scalar(text(query), {"since": since}))

    @contextmanager
    def loads_paused(self) -> Iterator[list[Task]]:
        """The tasks that load, each paused within its transaction until the block ends."""
        wait_for(lambda: [task for task in self.tasks() if task.is_loading], 150, "no task was loading")
        with self.warehouse.connect() as holding:
            holding.execute(text("LOCK TABLE asset_states IN SHARE MODE"))
            yield wait_for(self._all_loading, 60, "the loads did not begin")
            with suppress(DBAPIError):  # the server may have crashed meanwhile
                holding.rollback()

    def _all_loading(self) -> list[Task]:
        tasks = [task for task in self.tasks() if task.is_loading]
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with self.warehouse.connect() as connection:
            return tasks if 0 < len(tasks) <= (connection.scalar(text(query)) or 0) else []

    def _try_of(self, task_id: str) -> dict[str, str] | None:
        query = f"SELECT dag_id, run_id, task_id FROM ({_TRIES}) AS tries WHERE id::text LIKE :id"
        with self._airflow.connect() as connection:
            row = connection.execute(text(query), {"id": f"{task_id}%"}).mappings().first()
            return dict(row) if row else None


def wait_for(condition: Callable[[], Found], seconds: float, otherwise: str) -> Found:
    """What `look` finds once it finds something; NotSeen after so many seconds."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > ends:
            raise NotObserved(f"{otherwise} within {seconds:.0f} s")
        time.sleep(0.3)
    return found


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    """SIGKILL, and see that it hits: alive before, dead after."""
    if not is_alive(process):
        raise NotObserved(f"process {process.pid} was dead before it was killed")
    process.send_signal(SIGKILL)
    wait_for(lambda: not is_alive(process), 10, f"process {process.pid} did not die")


def _named_by(process: psutil.Process) -> str | None:
    try:
        found = _TASK.match(" ".join(process.cmdline()).strip())
    except psutil.Error:
        return None
    return found[1] if found else None


def _supervisor_of(process: psutil.Process) -> psutil.Process | None:
    try:
        parent = process.parent()
        return parent if parent and " ".join(parent.cmdline()).startswith(_SUPERVISOR) else None
    except psutil.Error:
        return None
