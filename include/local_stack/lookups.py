"""From channels that are caught up to assets that are looked up: one run of the lookups, followed to its end."""

import time

from local_stack.airflow_api import ACTIVE, LOOKUP
from local_stack.screen import Screen
from local_stack.stack import Stack
from local_stack.sync import POLL_SECONDS, StallTimeout


def look_up(stack: Stack, screen: Screen) -> None:
    """Look up what is live now that all channels are caught up, and wait for the end of it.

    A run that fails ends nothing: the feed is in step, and the next run continues where this one stopped.
    """
    for run_id in stack.airflow.active_runs(LOOKUP):  # may have filled its queue before the channels were caught up
        _follow(stack, run_id, screen)
    _follow(stack, stack.airflow.trigger(LOOKUP), screen)
    screen.show_lookups(stack.warehouse.lookups(), is_last=True)


def _follow(stack: Stack, run_id: str, screen: Screen) -> None:
    """Wait for the end of a run, and say why it failed if it did."""
    stall_timeout = StallTimeout()
    while (state := stack.airflow.run_state(LOOKUP, run_id)) in ACTIVE:
        stack.services.check()
        lookups = stack.warehouse.lookups()
        screen.show_lookups(lookups)
        if stall_timeout.is_over(lookups):
            screen.say("The lookups have made no progress in five minutes; they continue in the background.")
            return
        time.sleep(POLL_SECONDS)
    if state == "failed":
        screen.say(f"The lookups failed; the feed is not affected. {stack.failures.reason(run_id)}")
