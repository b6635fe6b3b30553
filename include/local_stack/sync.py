"""From channels that are discovered to ones that are caught up: their runs, and the wait."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from local_stack.airflow_api import ACTIVE, LOOKUP, PURGE
from local_stack.errors import StackError
from local_stack.progress import Channel
from local_stack.screen import Screen
from local_stack.stack import Stack

STALL_SECONDS = 300.0
POLL_SECONDS = 1.0
RETRIGGER_SECONDS = 15.0
FINISH_SECONDS = 60.0
NEW_DAG_SECONDS = 10.0


@dataclass
class StallTimeout:
    """Says when nothing has changed for five minutes."""

    seconds: float = STALL_SECONDS
    clock: Callable[[], float] = time.monotonic
    _seen: object = None
    _since: float = field(default=0.0)

    def is_over(self, progress: object) -> bool:
        """Whether `progress` has been the same for too long."""
        if progress != self._seen or not self._since:
            self._seen, self._since = progress, self.clock()
        return self.clock() - self._since > self.seconds


def switch_on(stack: Stack) -> None:
    """Unpause the DAGs, each once: what a person pauses afterwards stays paused while this stack runs.

    Not those that cost calls or delete files: where Getty is the sandbox, they begin later.
    """
    for dag_id in sorted(stack.airflow.dag_ids() - stack.switched_on - {LOOKUP, PURGE}):
        stack.airflow.unpause(dag_id)
        stack.switched_on.add(dag_id)


def catch_up(stack: Stack, screen: Screen) -> list[Channel]:
    """Keep the channels running until all are caught up; returns their progress."""
    triggered_at: dict[str, float] = {}
    stall_timeout = StallTimeout()
    try:
        while True:
            stack.services.check()
            switch_on(stack)  # a DAG that Airflow has read only now
            channels = _channels(stack)
            screen.show(channels, stack.started_at)
            screen.say_all(stack.failures.new_failures())
            behind = [channel for channel in channels if not _is_done(stack, channel)]
            if channels and not behind:
                return channels
            if stall_timeout.is_over([_without_total(channel) for channel in channels]):
                names = ", ".join(channel.name for channel in behind) or "no channel was discovered"
                raise StackError(f"Five minutes without progress ({names}). {stack.failures.reason()}")
            _keep_running(stack, behind, triggered_at)
            time.sleep(POLL_SECONDS)
    finally:
        screen.end_bars()


def finish_runs(stack: Stack, seconds: float = FINISH_SECONDS) -> list[Channel]:
    """Let active runs end while the sandbox is silent, so that what is fetched is confirmed; returns the progress."""
    if stack.sandbox is not None:
        stack.sandbox.silence()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stack.services.check()
        if not any(stack.airflow.active_runs(channel.dag_id) for channel in stack.warehouse.channels()):
            break
        time.sleep(0.3)
    return stack.warehouse.channels()


def wait_for_run(stack: Stack, dag_id: str, run_id: str) -> str:
    """Wait for the end of a run, or until nothing has happened in five minutes; return its state."""
    stall_timeout = StallTimeout()
    while (state := stack.airflow.run_state(dag_id, run_id)) in ACTIVE and not stall_timeout.is_over(state):
        stack.services.check()
        time.sleep(POLL_SECONDS)
    return state


def stay_up(stack: Stack) -> None:
    """Wait until Ctrl-C, or until a service dies; switch on the DAG of a channel that is found meanwhile."""
    looked_at = time.monotonic()
    while True:
        stack.services.check()
        if time.monotonic() - looked_at > NEW_DAG_SECONDS:
            with suppress(StackError):  # a database that is away for a minute ends nothing
                switch_on(stack)
            looked_at = time.monotonic()
        time.sleep(POLL_SECONDS)


def _keep_running(stack: Stack, behind: Sequence[Channel], triggered_at: dict[str, float]) -> None:
    """Start the first run of a channel at once, and another when one has ended with work left."""
    for channel in behind:
        if time.monotonic() - triggered_at.get(channel.dag_id, -RETRIGGER_SECONDS) < RETRIGGER_SECONDS:
            continue
        triggered_at[channel.dag_id] = time.monotonic()
        if not stack.airflow.active_runs(channel.dag_id):
            stack.airflow.trigger(channel.dag_id)


def _is_done(stack: Stack, channel: Channel) -> bool:
    return (channel.is_caught_up if stack.confirms else channel.is_looked_at)(stack.started_at)


def _channels(stack: Stack) -> list[Channel]:
    """The channels' progress, with the totals that the sandbox knows."""
    totals = stack.sandbox.totals() if stack.sandbox is not None else {}
    return [replace(channel, expected=totals.get(channel.channel_id)) for channel in stack.warehouse.channels()]


def _without_total(channel: Channel) -> Channel:
    """A larger total is no progress, nor is an empty answer."""
    return replace(channel, expected=None, last_checked_at=None)
