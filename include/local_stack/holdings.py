"""The import of the example list: started when the channels are known, and followed to its end."""

import time

from local_stack.airflow_api import ACTIVE, HOLDINGS
from local_stack.discovery import wait_for_dags
from local_stack.errors import StackError
from local_stack.screen import Screen
from local_stack.stack import Stack
from local_stack.sync import POLL_SECONDS, StallTimeout


def start_import(stack: Stack) -> str | None:
    """Import the example list while the channels catch up, so that Deletes know what was held; return the run's id."""
    if not stack.imports_example:
        return None
    wait_for_dags(stack, lambda: {HOLDINGS})
    return stack.airflow.trigger(HOLDINGS)


def follow_import(stack: Stack, run_id: str, screen: Screen) -> None:
    """Say how many assets are held once the import has succeeded; one that fails ends a stack that ends anyway."""
    stall_timeout = StallTimeout()
    while (state := stack.airflow.run_state(HOLDINGS, run_id)) in ACTIVE:
        stack.services.check()
        if stall_timeout.is_over(state):
            break
        time.sleep(POLL_SECONDS)
    if state == "success":
        screen.say(f"Held, by the example list {stack.state.example_list}: {stack.warehouse.held_assets():,} assets")
        return
    failure = f"The import of the example list is {state}. {stack.failures.reason(run_id)}"
    if stack.options.until_caught_up:
        raise StackError(failure)
    screen.say(f"{failure} The feed is not affected.")
