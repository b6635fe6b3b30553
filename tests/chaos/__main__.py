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

from tests.chaos.crew import MUST, Tally
from tests.chaos.limit import OutOfTime, time_limit
from tests.chaos.story import play_stories

tell = partial(print, flush=True)  # a program for a terminal


def main() -> int:
    """Play, print what befell whom, and close with the counted line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=212, help="how many SIGKILLs (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the feed and the fates; drawn and printed if not given")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(100_000)
    tell(f"chaos: seed={seed}")
    signal.signal(SIGTERM, lambda *_: sys.exit(143))  # the server and its folder go as well
    began, tally, verdict = time.monotonic(), Tally(), None
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        try:
            with time_limit():
                verdict = play_stories(tally, kills=options.kills, seed=seed, folder=folder, tell=tell)
        except OutOfTime:
            tally.failures.append(f"the time was over after {tally.kills} of {options.kills} kills")
        complaints = folder / "complaints.log"
        if tally.failures and complaints.exists():
            tell(complaints.read_text(errors="replace")[-4000:])
    tell_what_befell(tally)
    seconds = time.monotonic() - began
    tell(f"  workers_unharmed={tally.ended} workers_interrupted={tally.interrupted} seconds={seconds:.0f}")
    for sentence in (*tally.failures, *(verdict.examples if verdict else ())):
        tell(f"  {sentence}"[:400])
    if verdict is None:
        tell(f"chaos: kills={tally.kills} and no verdict")
        return 1
    tell(f"  sets={verdict.sets} changes={verdict.changes}")
    tell(f"chaos: kills={tally.kills} redelivered={verdict.redelivered} {verdict}")
    return 0 if verdict.is_clean and not tally.failures and not tally.missing else 1


def tell_what_befell(tally: Tally) -> None:
    """Print how often each thing came about, and which never did although it must."""
    for kind, count in sorted(tally.befell.items(), key=str):
        tell(f"  {kind!s:<36}{count:>5}")
    for kind in tally.missing:
        tell(f"  {kind!s:<36} never")
    received, amid = (sum(tally.befell[kind] for kind in MUST if kind.comes == sent) for sent in (SIGTERM, SIGSTOP))
    tell(f"  sigterms={tally.signals(SIGTERM)} with_a_set_in_hand={received}")
    tell(f"  server_crashes={tally.crashes} in_mid_load={amid}")
    tell(f"  points={len(MUST) - len(tally.missing)} of {len(MUST)}")


if __name__ == "__main__":
    sys.exit(main())
