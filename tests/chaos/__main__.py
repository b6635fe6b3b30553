"""`python -m tests.chaos`: kill workers until the count is reached; status 0 only if the tables are right."""

import argparse
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from signal import SIGSTOP, SIGTERM

from tests.chaos.scenario import run_scenarios
from tests.chaos.time_limit import OutOfTime, time_limit
from tests.chaos.workers import REQUIRED, Tally

report = partial(print, flush=True)  # a program for a terminal


def main() -> int:
    """Run, print what happened to which worker, and end with the line of counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=212, help="how many SIGKILLs (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="for the feed and the kills; random and printed if not given")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(100_000)
    report(f"chaos: seed={seed}")
    signal.signal(SIGTERM, lambda *_: sys.exit(143))  # the server and its folder go as well
    began, tally, comparison = time.monotonic(), Tally(), None
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        try:
            with time_limit():
                comparison = run_scenarios(tally, kills=options.kills, seed=seed, folder=folder, report=report)
        except OutOfTime:
            tally.failures.append(f"the time was over after {tally.kills} of {options.kills} kills")
        error_log = folder / "errors.log"
        if tally.failures and error_log.exists():
            report(error_log.read_text(errors="replace")[-4000:])
    report_counts(tally)
    seconds = time.monotonic() - began
    report(f"  workers_unharmed={tally.ended} workers_interrupted={tally.interrupted} seconds={seconds:.0f}")
    for sentence in (*tally.failures, *(comparison.examples if comparison else ())):
        report(f"  {sentence}"[:400])
    if comparison is None:
        report(f"chaos: kills={tally.kills} and no comparison")
        return 1
    report(f"  sets={comparison.sets} changes={comparison.changes}")
    report(f"chaos: kills={tally.kills} redelivered={comparison.redelivered} {comparison}")
    return 0 if comparison.is_clean and not tally.failures and not tally.missing else 1


def report_counts(tally: Tally) -> None:
    """Print how often each kind of signal hit a worker, and which required kind never did."""
    for kind, count in sorted(tally.counts.items(), key=str):
        report(f"  {kind!s:<36}{count:>5}")
    for kind in tally.missing:
        report(f"  {kind!s:<36} never")
    with_open_set, during_load = (
        sum(tally.counts[kind] for kind in REQUIRED if kind.signal_sent == sent) for sent in (SIGTERM, SIGSTOP)
    )
    report(f"  sigterms={tally.signals(SIGTERM)} with_an_open_set={with_open_set}")
    report(f"  server_crashes={tally.crashes} during_a_load={during_load}")
    report(f"  points={len(REQUIRED) - len(tally.missing)} of {len(REQUIRED)}")


if __name__ == "__main__":
    sys.exit(main())
