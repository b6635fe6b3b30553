"""`python -m tests.chaos`: kill workers until the count is reached; status 0 only if the tables are right."""

import argparse
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server and its folder go as well
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        tally, verdict = play_stories(kills=options.kills, seed=seed, folder=folder, tell=tell)
        complaints = folder / "complaints.log"
        if tally.failures and complaints.exists():
            tell(complaints.read_text(errors="replace")[-4000:])
    for point, count in sorted(tally.kills.items()):
        tell(f"  {point:<28}{count:>5}")
    tell(
        f"  sets={verdict.sets} changes={verdict.changes} workers_unharmed={tally.ended} sigterms={tally.terms}"
        f" server_crashes={tally.crashes} workers_interrupted={tally.interrupted}"
        f" seconds={time.monotonic() - began:.0f}"
    )
    for sentence in (*tally.failures, *verdict.examples):
        tell(f"  {sentence}"[:400])
    tell(f"chaos: kills={tally.kills.total()} redelivered={verdict.redelivered} {verdict}")
    return 0 if verdict.is_clean and not tally.failures else 1


if __name__ == "__main__":
    sys.exit(main())
