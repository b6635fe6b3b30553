"""The import of the example list, which Airflow starts of its own accord in a new stack, followed to its end."""

from local_stack.airflow_api import HOLDINGS
from local_stack.errors import StackError
from local_stack.example_list import SOURCE
from local_stack.screen import Screen
from local_stack.stack import Stack
from local_stack.sync import wait_for_run


def follow_import(stack: Stack, screen: Screen) -> None:
    """Say how many assets are held, once the example list is imported; a failure ends only a stack that ends anyway."""
    for run_id in stack.airflow.active_runs(HOLDINGS):
        wait_for_run(stack, HOLDINGS, run_id)
    if held_count := stack.warehouse.held_assets(SOURCE):
        screen.say(_sentence(stack, held_count))
        return
    run_id = stack.airflow.trigger(HOLDINGS)  # no run yet, as with a schedule of one's own, or one that failed
    state = wait_for_run(stack, HOLDINGS, run_id)
    if state == "success":
        screen.say(_sentence(stack, stack.warehouse.held_assets(SOURCE)))
        return
    failure = f"The import of the example list is {state}. {stack.failures.reason(run_id)}"
    if stack.options.until_caught_up:
        raise StackError(failure)
    screen.say(f"{failure} The feed is not affected.")


def _sentence(stack: Stack, held_count: int) -> str:
    return f"Held, by the example list {stack.state.example_list}: {held_count:,} assets"
