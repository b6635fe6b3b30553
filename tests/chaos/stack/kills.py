"""The ways in which a part of the stack dies, each with what must follow at once."""

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psutil
from local_stack.postgres import EmbeddedPostgres

from tests.chaos.crew import crash
from tests.chaos.stack.at_work import AtWork, NotSeen, Task, is_alive, kill, wait_for


@dataclass(kw_only=True)
class Kill:
    """One kill: when, what was seen at once, and the tasks that it hit."""

    name: str
    at: datetime
    seen: str
    hit: list[Task] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Kills:
    """Kills parts of a stack that reads its feed; a kill that does not hit is an error."""

    at_work: AtWork
    warehouse: EmbeddedPostgres
    rng: random.Random

    def scheduler(self) -> Kill:
        """The scheduler with all its workers and tasks, as when its container dies."""
        tasks = self._tasks()
        scheduler = self.at_work.service("scheduler")
        below = scheduler.children(recursive=True)
        at = datetime.now(UTC)
        kill(scheduler)
        for process in filter(is_alive, below):
            kill(process)
        self.at_work.start_again("scheduler")
        return Kill(name="scheduler", at=at, seen=f"with its workers and {len(tasks)} tasks", hit=tasks)

    def scheduler_alone(self) -> Kill:
        """The scheduler's process; its workers and their tasks live on as orphans."""
        tasks = self._tasks()
        at = datetime.now(UTC)
        kill(self.at_work.service("scheduler"))
        alive = [task for task in tasks if is_alive(task.process)]
        if not alive:
            raise NotSeen("no task has outlived the scheduler")
        self.at_work.start_again("scheduler")
        return Kill(name="scheduler", at=at, seen=f"alone; {len(alive)} tasks lived on", hit=tasks)

    def api_server(self) -> Kill:
        """The API server, which every task needs to begin and to end."""
        at = self._restarted("api-server")
        wait_for(self.at_work.stack.airflow.is_up, 120, "the API server did not answer")
        return Kill(name="api_server", at=at, seen=f"answered again after {_seconds(at)} s")

    def dag_processor(self) -> Kill:
        """The process that reads the DAG files."""
        return Kill(name="dag_processor", at=self._restarted("dag-processor"), seen="started again")

    def worker(self) -> Kill:
        """A worker of the executor together with its task."""
        task, supervisor = self._victim(self._tasks())
        at = datetime.now(UTC)
        kill(supervisor)
        kill(task.process)
        return Kill(name="worker", at=at, seen=f"with {_name(task)}", hit=[task])

    def supervisor(self) -> Kill:
        """A task's supervisor in mid-load; the task commits what it loads, and reads on."""
        with self.at_work.loads_held() as tasks:
            task, supervisor = self._victim([each for each in tasks if each.task_id == "catch_up"] or tasks)
            before, at = self.at_work.sets_loaded(task.channel_id), datetime.now(UTC)
            kill(supervisor)
            if not is_alive(task.process):
                raise NotSeen(f"{_name(task)} did not outlive its supervisor")

        def loaded() -> int:
            return self.at_work.sets_loaded(task.channel_id) - before

        wait_for(loaded, 30, f"{_name(task)} loaded nothing without its supervisor")
        time.sleep(5)  # less than Airflow takes to miss its heartbeat
        seen = f"of {_name(task)}, which loaded {loaded()} sets without it"
        return Kill(name="supervisor", at=at, seen=seen, hit=[task])

    def task(self) -> Kill:
        """A task in the middle of a load's transaction."""
        with self.at_work.loads_held() as tasks:
            task = self.rng.choice(tasks)
            at = datetime.now(UTC)
            kill(task.process)
        return Kill(name="task", at=at, seen=f"{_name(task)} in mid-load", hit=[task])

    def crash_of_the_warehouse(self) -> Kill:
        """The warehouse's PostgreSQL, in mid-load too."""
        with self.at_work.loads_held() as tasks:
            at = datetime.now(UTC)
            crash(self.warehouse)
        self.warehouse.start()
        return Kill(name="warehouse", at=at, seen=f"under {len(tasks)} loads; up again after {_seconds(at)} s")

    def _restarted(self, service: str) -> datetime:
        at = datetime.now(UTC)
        kill(self.at_work.service(service))
        self.at_work.start_again(service)
        return at

    def _tasks(self) -> list[Task]:
        """The tasks under supervision; there must be some, or nothing would be at stake."""

        def supervised() -> list[Task]:
            return [task for task in self.at_work.tasks() if task.supervisor]

        return wait_for(supervised, 150, "no task was running")

    def _victim(self, tasks: list[Task]) -> tuple[Task, psutil.Process]:
        chosen = [(task, task.supervisor) for task in tasks if task.supervisor]
        if not chosen:
            raise NotSeen("no task had a supervisor")
        return self.rng.choice(chosen)


def _name(task: Task) -> str:
    return f"{task.task_id} of {task.channel_id}"


def _seconds(since: datetime) -> str:
    return f"{(datetime.now(UTC) - since).total_seconds():.0f}"
