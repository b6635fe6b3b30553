"""From a stack that is up to one that is caught up: discovery, the channels' runs, and the wait."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from local_stack.airflow_api import DISCOVERY, failure_sentence
from local_stack.airflow_settings import PREFERENCES
from local_stack.errors import StackError
from local_stack.screen import Screen
from local_stack.services import wait_until
from local_stack.stack import Stack, start_triggerer
from local_stack.standing import Channel

STALL_SECONDS = 300.0
DAG_SECONDS = 120.0
POLL_SECONDS = 1.0
RETRIGGER_SECONDS = 15.0
SETTLE_SECONDS = 60.0


@dataclass
class Patience:
    """Five minutes without progress are the end."""

    seconds: float = STALL_SECONDS
    clock: Callable[[], float] = time.monotonic
    _seen: object = None
    _since: float = field(default=0.0)

    def is_over(self, progress: object) -> bool:
        """Whether `progress` has been the same for too long."""
        if progress != self._seen or not self._since:
            self._seen, self._since = progress, self.clock()
        return self.clock() - self._since > self.seconds


def discover(stack: Stack, screen: Screen) -> None:
    """Run discovery, which makes the warehouse's tables and finds the channels; then read their DAGs."""
    screen.say("Reading the DAGs ...")
    _wait_for_dags(stack, lambda: {DISCOVERY})
    stack.airflow.unpause_all()
    screen.say("Discovering the channels ...")
    run_id = stack.airflow.trigger(DISCOVERY)
    start_triggerer(stack)
    patience = Patience()
    while (state := stack.airflow.run_state(DISCOVERY, run_id)) != "success":
        stack.services.check()
        if state == "failed":
            raise StackError(f"Discovery failed. {_why(stack)}")
        if patience.is_over(state):
            raise StackError(f"Discovery is {state} since five minutes. {_why(stack)}")
        time.sleep(0.3)
    _touch_channels_file(stack)
    _wait_for_dags(stack, lambda: {channel.dag_id for channel in stack.warehouse.channels()})
    stack.airflow.unpause_all()


def catch_up(stack: Stack, screen: Screen) -> list[Channel]:
    """Keep the channels running until all are caught up; their standing then."""
    triggered_at: dict[str, float] = {}
    patience = Patience()
    try:
        while True:
            stack.services.check()
            channels = _channels(stack)
            screen.show(channels, stack.started_at)
            behind = [channel for channel in channels if not _is_done(stack, channel)]
            if channels and not behind:
                return channels
            if patience.is_over([_without_total(channel) for channel in channels]):
                names = ", ".join(channel.name for channel in behind) or "no channel was discovered"
                raise StackError(f"Five minutes without progress ({names}). {_why(stack)}")
            _keep_running(stack, behind, triggered_at)
            time.sleep(POLL_SECONDS)
    finally:
        screen.end_bars()


def settle(stack: Stack, seconds: float = SETTLE_SECONDS) -> list[Channel]:
    """Let the runs in hand end while the sandbox is silent, so that what is fetched is confirmed; the standing then."""
    if stack.sandbox is not None:
        stack.sandbox.silence()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stack.services.check()
        if not any(stack.airflow.has_active_run(channel.dag_id) for channel in stack.warehouse.channels()):
            break
        time.sleep(0.3)
    return stack.warehouse.channels()


def stay_up(stack: Stack) -> None:
    """Until Ctrl-C, or a service dies."""
    while True:
        stack.services.check()
        time.sleep(POLL_SECONDS)


def _keep_running(stack: Stack, behind: Sequence[Channel], triggered_at: dict[str, float]) -> None:
    """Start the first run of a channel at once, and another when one has ended with work left."""
    for channel in behind:
        if time.monotonic() - triggered_at.get(channel.dag_id, -RETRIGGER_SECONDS) < RETRIGGER_SECONDS:
            continue
        triggered_at[channel.dag_id] = time.monotonic()
        if not stack.airflow.has_active_run(channel.dag_id):
            stack.airflow.trigger(channel.dag_id)


def _is_done(stack: Stack, channel: Channel) -> bool:
    return (channel.is_caught_up if stack.confirms else channel.is_looked_at)(stack.started_at)


def _channels(stack: Stack) -> list[Channel]:
    """The channels' standing, with the totals that the sandbox knows."""
    totals = stack.sandbox.totals() if stack.sandbox is not None else {}
    return [replace(channel, expected=totals.get(channel.channel_id)) for channel in stack.warehouse.channels()]


def _without_total(channel: Channel) -> Channel:
    """The sandbox's trickle is no progress of ours, nor is an answer that brings nothing."""
    return replace(channel, expected=None, last_checked_at=None)


def _touch_channels_file(stack: Stack) -> None:
    """Make the DAG processor read the channels' DAG file now: a changed time is what it looks for."""
    folder = next(setting for setting in PREFERENCES if setting.key == "dags_folder")
    file = Path(stack.services.environment[folder.variable]) / "channels.py"
    if os.access(file, os.W_OK):  # else it is read at the next turn, seconds later
        file.touch()


def _wait_for_dags(stack: Stack, wanted: Callable[[], set[str]]) -> None:
    """Wait until Airflow has read these DAGs; if it does not, say which file is at fault."""
    try:
        wait_until(
            lambda: wanted() <= stack.airflow.dag_ids(),
            seconds=DAG_SECONDS,
            services=stack.services,
            otherwise="Airflow has not read all DAGs in two minutes.",
        )
    except StackError as error:
        complaints = [f"{file}: {complaint}" for file, complaint in stack.airflow.import_errors().items()]
        raise StackError("\n".join([str(error), *complaints])) from error


def _why(stack: Stack) -> str:
    """The reason of the newest failed task, in its own words."""
    failures = stack.airflow.newest_failures()
    if not failures:
        return f"No task has failed; see the logs in {stack.state.logs}."
    return failure_sentence(stack.state.airflow_home / "logs", failures[0])
