"""The ways to kill a part of the stack, each with what must follow at once."""

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psutil
from local_stack.postgres import EmbeddedPostgres

from tests.chaos.stack.observer import NotObserved, StackObserver, Task, is_alive, kill, wait_for
from tests.chaos.workers import crash


@dataclass(kw_only=True)
class Kill:
    """One kill: when, what was seen at once, and the tasks that it hit."""

    name: str
    at: datetime
    observed: str
    hit: list[Task] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Kills:
    """Kills parts of a stack that reads its feed; a kill that does not hit is an error."""

    observer: StackObserver
    warehouse: EmbeddedPostgres
    rng: random.Random

    def scheduler(self) -> Kill:
        """The scheduler with all its workers and tasks, as when its container dies."""
        tasks = self._tasks()
        scheduler = self.observer.service("scheduler")
        below = scheduler.children(recursive=True)
        at = datetime.now(UTC)
        kill(scheduler)
        for process in filter(is_alive, below):
            kill(process)
        self.observer.start_again("scheduler")
        return Kill(name="scheduler", at=at, observed=f"with its workers and {len(tasks)} tasks", hit=tasks)

    def scheduler_alone(self) -> Kill:
        """The scheduler's process; its workers and their tasks live on as orphans."""
        tasks = self._tasks()
        at = datetime.now(UTC)
        kill(self.observer.service("scheduler"))
        alive = [task for task in tasks if is_alive(task.process)]
        if not alive:
            raise NotObserved("no task has outlived the scheduler")
        self.observer.start_again("scheduler")
        return Kill(name="scheduler", at=at, observed=f"alone; {len(alive)} tasks lived on", hit=tasks)

    def api_server(self) -> Kill:
        """The API server, which every task needs to begin and to end."""
        at = self._restarted("api-server")
        wait_for(self.observer.stack.airflow.is_up, 120, "the API server did not answer")
        return Kill(name="api_server", at=at, observed=f"answered again after {_seconds(at)} s")

    def dag_processor(self) -> Kill:
        """The process that reads the DAG files."""
        return Kill(name="dag_processor", at=self._restarted("dag-processor"), observed="started again")

    def worker(self) -> Kill:
        """A worker of the executor together with its task."""
        task, supervisor = self._victim(self._tasks())
        at = datetime.now(UTC)
        kill(supervisor)
        kill(task.process)
        return Kill(name="worker", at=at, observed=f"with {_name(task)}", hit=[task])

    def supervisor(self) -> Kill:
        """A task's supervisor during a load; the task commits what it loads, and continues."""
        with self.observer.loads_paused() as tasks:
            task, supervisor = self._victim([each for each in tasks if each.task_id == "catch_up"] or tasks)
            before, at = self.observer.sets_loaded(task.channel_id), datetime.now(UTC)
            kill(supervisor)
            if not is_alive(task.process):
                raise NotObserved(f"{_name(task)} did not outlive its supervisor")

        def loaded() -> int:
            return self.observer.sets_loaded(task.channel_id) - before

        wait_for(loaded, 30, f"{_name(task)} loaded nothing without its supervisor")
        time.sleep(5)  # less than Airflow takes to miss its heartbeat
        observed = f"of {_name(task)}, which loaded {loaded()} sets without it"
        return Kill(name="supervisor", at=at, observed=observed, hit=[task])

    def task(self) -> Kill:
        """A task in the middle of a load's transaction."""
        with self.observer.loads_paused() as tasks:
            task = self.rng.choice(tasks)
            at = datetime.now(UTC)
            kill(task.process)
        return Kill(name="task", at=at, observed=f"{_name(task)} during a load", hit=[task])

    def crash_of_the_warehouse(self) -> Kill:
        """The warehouse's PostgreSQL, also during loads."""
        with self.observer.loads_paused() as tasks:
            at = datetime.now(UTC)
            crash(self.warehouse)
        self.warehouse.start()
        return Kill(name="warehouse", at=at, observed=f"under {len(tasks)} loads; up again after {_seconds(at)} s")

    def _restarted(self, service: str) -> datetime:
        at = datetime.now(UTC)
        kill(self.observer.service(service))
        self.observer.start_again(service)
        return at

    def _tasks(self) -> list[Task]:
        """The tasks under supervision; there must be some, or nothing would be interrupted."""

        def supervised() -> list[Task]:
            return [task for task in self.observer.tasks() if task.supervisor]

        return wait_for(supervised, 150, "no task was running")

    def _victim(self, tasks: list[Task]) -> tuple[Task, psutil.Process]:
        chosen = [(task, task.supervisor) for task in tasks if task.supervisor]
        if not chosen:
            raise NotObserved("no task had a supervisor")
        return self.rng.choice(chosen)


def _name(task: Task) -> str:
    return f"{task.task_id} of {task.channel_id}"


def _seconds(since: datetime) -> str:
    return f"{(datetime.now(UTC) - since).total_seconds():.0f}"
