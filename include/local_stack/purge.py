"""The purge of the example's files: one asset is held back, then Airflow may list what must go."""

from local_stack.airflow_api import HOLD, PURGE
from local_stack.example_list import SOURCE
from local_stack.screen import Screen
from local_stack.stack import Stack
from local_stack.sync import wait_for_run

OWNER = "legal"


def start_purge(stack: Stack, screen: Screen) -> None:
    """Hold one asset back, once for each state folder, and switch the purge on: by default it only lists.

    Not switched on where the hold fails, for then the purge may delete what the example says is kept.
    """
    if asset_id := stack.warehouse.asset_to_hold(SOURCE):
        form = {"asset_ids": [asset_id], "action": "hold", "reason": "An example: a case in court", "owner": OWNER}
        run_id = stack.airflow.trigger(HOLD, form)
        state = wait_for_run(stack, HOLD, run_id)
        if state != "success":
            screen.say(f"The example's hold is {state}, so the purge stays paused. {stack.failures.reason(run_id)}")
            return
    stack.airflow.unpause(PURGE)
    screen.say(f"Files of some of them: {stack.state.example_files}; {PURGE} lists what must go")
