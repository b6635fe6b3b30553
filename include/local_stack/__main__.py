"""`python -m local_stack`: what `make run` runs, once the environment is installed."""

import signal
import sys
from types import FrameType

from local_stack import commands
from local_stack.discovery import discover
from local_stack.errors import StackError
from local_stack.holdings import follow_import
from local_stack.lookups import look_up
from local_stack.options import Options
from local_stack.purge import start_purge
from local_stack.screen import Screen
from local_stack.stack import Stack, running_stack
from local_stack.sync import catch_up, finish_runs, stay_up

INTERRUPTED = 130  # what a shell calls the end by Ctrl-C


def main() -> int:
    """Run the stack; the exit status."""
    # SIGINT too: a shell starts what runs in the background with Ctrl-C ignored.
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, _interrupt)
    screen = Screen()
    is_caught_up = False
    try:
        options = Options.read()
        with running_stack(options, screen) as stack:
            discover(stack, screen)
            channels = catch_up(stack, screen)
            is_caught_up = True
            if options.until_caught_up:
                channels = finish_runs(stack)
            if stack.looks_up:
                look_up(stack, screen)
            if stack.imports_example:
                follow_import(stack, screen)
            if stack.has_example_files and not options.until_caught_up:
                start_purge(stack, screen)
            findings = stack.warehouse.findings(confirms=stack.confirms)
            screen.summary(channels, stack.warehouse.live_assets(), findings)
            _print_addresses(stack, screen)
            if not options.until_caught_up:
                stay_up(stack)
    except StackError as error:
        screen.say(f"Stopped. {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("Stopped; no process is left.")
        return 0 if is_caught_up else INTERRUPTED
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Treat every request to end as a Ctrl-C."""
    raise KeyboardInterrupt


def _print_addresses(stack: Stack, screen: Screen) -> None:
    """Print where to look now."""
    login = f" (user admin, password {stack.secrets.admin_password})" if stack.options.login else ""
    screen.say(f"Airflow:   {stack.address}{login}")
    screen.say(f"Commands:  {stack.state.commands}: {commands.names(stack.state)}; each for this stack")
    screen.say(f"Logs:      {stack.state.logs}")
    if not stack.options.until_caught_up:
        screen.say("It stays up, and in step, until Ctrl-C.")


if __name__ == "__main__":
    sys.exit(main())
