"""A scenario of the whole stack: parts of it are killed while it reads a feed, then the tables are compared."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
from local_stack.postgres import EmbeddedPostgres
from local_stack.stack import Stack

from tests.chaos.comparison import Comparison, compare
from tests.chaos.stack.kills import Kill, Kills
from tests.chaos.stack.observer import NotObserved, StackObserver, wait_for
from tests.chaos.time_limit import OutOfTime

WAYS = (
    "scheduler", "supervisor", "scheduler_alone", "api_server", "task", "worker", "dag_processor",
    "crash_of_the_warehouse",
)  # fmt: skip
_WORKS_ON = 180.0  # seconds after a kill in which some change set must be loaded
_CATCHES_UP = 240.0


@dataclass(kw_only=True)
class StackScenario:
    """One feed, read by a stack of which parts die."""

    stack: Stack
    warehouse: EmbeddedPostgres
    rng: random.Random
    report: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    kills: list[Kill] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def run(self, ways: Sequence[str]) -> Comparison | None:
        """Kill in these ways, let the stack read the rest, and compare; None if it did not end."""
        try:
            return self._run(ways)
        except OutOfTime:
            self.failures.append(f"the time was over after {len(self.kills)} of {len(ways)} kills")
            return None

    def _run(self, ways: Sequence[str]) -> Comparison | None:
        self.observer = StackObserver(self.stack, self.warehouse)
        means = Kills(observer=self.observer, warehouse=self.warehouse, rng=self.rng)
        try:
            wait_for(lambda: self.observer.sets_loaded() > 20, _CATCHES_UP, "20 sets were not loaded")
            for way in ways:
                self._kill(getattr(means, way))
                time.sleep(self.rng.uniform(3.0, 9.0))  # a random time
        except NotObserved as error:
            self.failures.append(f"{error} (after {len(self.kills)} kills)")
        try:
            self._end()
        except NotObserved as error:
            self.failures.append(str(error))
            return None
        self._report_next_tries()
        with self.observer.warehouse.begin() as connection:
            return compare(connection, self._request("truth"))

    def counted(self) -> str:
        """The kills, by what was killed."""
        counts = Counter(kill.name for kill in self.kills)
        return " ".join([f"stack_kills={counts.total()}", *(f"{name}={n}" for name, n in sorted(counts.items()))])

    def _kill(self, way: Callable[[], Kill]) -> None:
        """Kill, and wait until the stack makes progress."""
        if not all(each["pending"] for each in self._request("progress")["channels"]):
            raise NotObserved("the feed did not last for all kills: give more --changes")
        killed = way()
        self.kills.append(killed)
        before, what = self.observer.sets_loaded(), f"after {way.__name__}"
        wait_for(lambda: self.observer.sets_loaded() > before, _WORKS_ON, f"no set was loaded {what}")
        if killed.name == "scheduler":
            wait_for(lambda: self.observer.tries_begun(killed.at), _WORKS_ON, f"no task was begun {what}")
        works_on = (datetime.now(UTC) - killed.at).total_seconds()
        self.report(f"  {self._clock()}  {killed.name:<14}{killed.observed}; progress after {works_on:.0f} s")

    def _end(self) -> None:
        """Silence the sandbox; wait until all is confirmed and no run and no task is left, not even an orphan."""
        requests.post(f"{self._getty}/silence", json={}, timeout=60).raise_for_status()
        silent_since = datetime.now(UTC)
        self.report(f"  {self._clock()}  the sandbox is silent")
        wait_for(lambda: self.observer.is_caught_up(silent_since), _CATCHES_UP, "the stack did not catch up")
        wait_for(
            lambda: not self.observer.active_runs() and not self.observer.tasks(), _CATCHES_UP, "the runs did not end"
        )
        self.report(f"  {self._clock()}  caught up, and every run has ended")

    def _report_next_tries(self) -> None:
        """Report how long Airflow took to start the tasks again that were hit."""
        for killed in self.kills:
            tries = [self.observer.next_try(task, killed.at) for task in killed.hit]
            waited = [f"{(each - killed.at).total_seconds():.0f} s" for each in tries if each]
            if killed.hit:
                after = f" after {', '.join(waited)}" if waited else ""  # with no try left, the next run continues
                self.report(f"  {killed.name}: {len(waited)} of {len(killed.hit)} tasks tried again{after}")

    def _clock(self) -> str:
        return f"{time.monotonic() - self.began:4.0f} s"

    @property
    def _getty(self) -> str:
        assert self.stack.sandbox is not None
        return f"{self.stack.sandbox.address}/_sandbox"

    def _request(self, page: str) -> Any:
        answer = requests.get(f"{self._getty}/{page}", timeout=60)
        answer.raise_for_status()
        return answer.json()
