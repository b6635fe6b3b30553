"""`python -m tests.chaos.stack`: kill parts of the whole stack; status 0 only if all hit and the tables are right."""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from local_stack.connections import WAREHOUSE, postgres_connection
from local_stack.discovery import discover
from local_stack.options import Options
from local_stack.postgres import EmbeddedPostgres
from local_stack.screen import Screen
from local_stack.services import marked_processes
from local_stack.stack import free_port, running_stack

from tests.chaos.comparison import Comparison
from tests.chaos.stack.scenario import WAYS, StackScenario
from tests.chaos.time_limit import OutOfTime, time_limit

report = partial(print, flush=True)  # a program for a terminal

# Airflow waits five minutes for each; a test cannot.
_CLOCKS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
}
# Small sets and a slow Getty, so that the feed lasts; only cron starts runs.
_FEED = {"ASSET_CHANGES_BATCH_SIZE": "25", "ASSET_CHANGES_SCHEDULE": "* * * * *"}
_SANDBOX = "--changes-per-channel {changes} --span-days 3 --trickle-per-minute 0 --latency-ms 150 --fault-rate 0.07"


def main() -> int:
    """Run, and end with the line of counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.stack", description=__doc__)
    parser.add_argument("--kills", type=int, default=8, help="how many, of each kind in turn (default: %(default)s)")
    parser.add_argument("--only", choices=WAYS, nargs="+", default=WAYS, help="the kinds (default: all)")
    parser.add_argument("--changes", type=int, default=20000, help="of each channel (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="for the feed and the kills; random and printed if not given")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(100_000)
    report(f"chaos on the stack: seed={seed}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stack and its folder go as well
    began, rng = time.monotonic(), random.Random(f"stack {seed}")
    ways = list(islice(cycle(rng.sample(options.only, len(options.only))), options.kills))
    sandbox_options = (*_SANDBOX.format(changes=options.changes).split(), "--seed", str(seed))
    try:
        with tempfile.TemporaryDirectory(prefix="chaos-stack-") as folder, time_limit():
            scenario, comparison = _run(Path(folder), sandbox_options, rng, ways)
    except OutOfTime:
        report("chaos: the time was over before the first kill")
        return 1
    for sentence in (*scenario.failures, *(comparison.examples if comparison else ())):
        report(f"  {sentence}"[:400])
    if comparison is None:
        report(f"chaos: {scenario.counted()} and no comparison")
        return 1
    report(f"  sets={comparison.sets} changes={comparison.changes} seconds={time.monotonic() - began:.0f}")
    report(f"chaos: {scenario.counted()} redelivered={comparison.redelivered} {comparison}")
    return 0 if comparison.is_clean and not scenario.failures else 1


def _run(
    folder: Path, sandbox_options: tuple[str, ...], rng: random.Random, ways: list[str]
) -> tuple[StackScenario, Comparison | None]:
    """Start a stack with a warehouse of its own, run the scenario, and leave no process behind."""
    state_dir, warehouse = folder / "state", EmbeddedPostgres(folder / "warehouse")
    try:
        warehouse.start()
        for name in [name for name in os.environ if name.startswith(("AIRFLOW", "ASSET_CHANGES_"))]:
            del os.environ[name]  # somebody's own Getty and warehouse are not for killing
        os.environ.update(_CLOCKS | _FEED | {WAREHOUSE: postgres_connection(warehouse.create_database("warehouse"))})
        options = Options(state_dir=state_dir, port=free_port(), sandbox_options=sandbox_options)
        screen = Screen()
        with running_stack(options, screen) as stack:
            discover(stack, screen)
            scenario = StackScenario(stack=stack, warehouse=warehouse, rng=rng, report=report)
            comparison = scenario.run(ways)
        if left := marked_processes(state_dir):
            scenario.failures.append(f"{len(left)} processes outlived the stack")
        return scenario, comparison
    finally:
        warehouse.remove()
        EmbeddedPostgres(state_dir / "postgres").remove()


if __name__ == "__main__":
    sys.exit(main())
