"""From a stack that is up to one that knows the channels: one run of discovery, followed to its end."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from local_stack.airflow_api import DISCOVERY
from local_stack.airflow_settings import PREFERENCES
from local_stack.connections import GETTY, Connection
from local_stack.errors import StackError
from local_stack.preflight import CORRECT_GETTY, silent_addresses
from local_stack.screen import Screen
from local_stack.services import wait_until
from local_stack.stack import Stack, start_triggerer
from local_stack.sync import POLL_SECONDS, StallTimeout, switch_on

DAG_SECONDS = 120.0
DUE_SECONDS = 15.0


def discover(stack: Stack, screen: Screen) -> None:
    """Run discovery, which makes the warehouse's tables and finds the channels; then read their DAGs."""
    screen.say("Reading the DAGs ...")
    _wait_for_dags(stack, lambda: {DISCOVERY})
    stack.airflow.unpause(DISCOVERY)  # alone: the runs of the others need the tables that it makes
    screen.say("Discovering the channels ...")
    run_id = run_to_follow(stack)
    start_triggerer(stack)
    follow(stack, run_id, screen)
    _touch_channels_file(stack)
    _wait_for_dags(stack, lambda: {channel.dag_id for channel in stack.warehouse.channels()})
    switch_on(stack)


def run_to_follow(stack: Stack, *, due_seconds: float = DUE_SECONDS) -> str:
    """The run that Airflow starts of its own accord, as it does in a new stack; else one that is triggered now.

    One run waits for the other. So a run that a killed stack left unfinished is ended first.
    """
    deadline = time.monotonic() + due_seconds
    for run_id, started_at in stack.airflow.active_runs(DISCOVERY).items():
        if started_at is not None and started_at < stack.started_at:
            stack.failures.ignore(run_id)
            stack.airflow.end_run(DISCOVERY, run_id)
    while stack.airflow.is_due(DISCOVERY) and time.monotonic() < deadline:
        stack.services.check()
        time.sleep(0.3)
    return next(iter(stack.airflow.active_runs(DISCOVERY)), None) or stack.airflow.trigger(DISCOVERY)


def follow(stack: Stack, run_id: str, screen: Screen) -> None:
    """Wait for the run's success, and show each try that fails on the way; its failure is the end."""
    stall_timeout = StallTimeout()
    tries = 0
    while (state := stack.airflow.run_state(DISCOVERY, run_id)) != "success":
        stack.services.check()
        if state == "failed":
            raise StackError(f"Discovery failed. {stack.failures.reason(run_id)}{_silent_getty(stack)}")
        messages = stack.failures.new_failures(finals=False)  # the last one is part of the error at the end
        screen.say_all(messages)
        tries += len(messages)
        if stall_timeout.is_over((state, tries)):
            raise StackError(f"Discovery is {state}, and nothing happened in five minutes. {stack.failures.reason()}")
        time.sleep(POLL_SECONDS)


def _silent_getty(stack: Stack) -> str:
    """Where Getty does not answer, if that is so: the error of a task may not name a token's address."""
    silent = silent_addresses(Connection.read(GETTY, stack.services.environment[GETTY]))
    return f"\nGetty does not answer at {silent}: {CORRECT_GETTY}." if silent else ""


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
        errors = [f"{file}: {message}" for file, message in stack.airflow.import_errors().items()]
        raise StackError("\n".join([str(error), *errors])) from error
