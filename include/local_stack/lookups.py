"""From channels that are caught up to assets that are looked up: runs of the lookups, followed to their end."""

import time

from local_stack.airflow_api import ACTIVE, LOOKUP
from local_stack.discovery import DUE_SECONDS
from local_stack.screen import Screen
from local_stack.stack import Stack
from local_stack.sync import POLL_SECONDS, StallTimeout

AGAIN_SECONDS = 15.0
"""How long to wait before the next run, while assets wait that Getty has not answered yet."""


def look_up(stack: Stack, screen: Screen) -> None:
    """Look up what is live now that all channels are caught up; before an end, until no asset waits any more.

    Not earlier: the sandbox would describe an asset by the changes that it has handed out so far, as if they were all.
    A run that fails ends nothing: the feed is in step, and the next run continues where this one stopped.
    """
    stall_timeout = StallTimeout()
    stack.airflow.unpause(LOOKUP)
    deadline = time.monotonic() + DUE_SECONDS
    while stack.airflow.is_due(LOOKUP) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for run_id in stack.airflow.active_runs(LOOKUP):  # may have filled its queue before the channels were caught up
        _follow(stack, run_id, stall_timeout, screen)
    while _follow(stack, stack.airflow.trigger(LOOKUP), stall_timeout, screen):
        if not (stack.options.until_caught_up and stack.warehouse.lookups().waiting):
            break
        time.sleep(AGAIN_SECONDS)
    screen.show_lookups(stack.warehouse.lookups(), is_last=True)


def _follow(stack: Stack, run_id: str, stall_timeout: StallTimeout, screen: Screen) -> bool:
    """Wait for the end of a run; return whether another one may get further."""
    while (state := stack.airflow.run_state(LOOKUP, run_id)) in ACTIVE:
        stack.services.check()
        lookups = stack.warehouse.lookups()
        screen.show_lookups(lookups)
        if stall_timeout.is_over(lookups):
            screen.say("The lookups have made no progress in five minutes; they continue in the background.")
            return False
        time.sleep(POLL_SECONDS)
    if state == "failed":
        screen.say(f"The lookups failed; the feed is not affected. {stack.failures.reason(run_id)}")
    return state == "success"
