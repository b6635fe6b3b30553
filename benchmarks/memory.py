"""Memory and rate over few and many sets, and four channels at once."""

from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID, FULL
from benchmarks.getty import serving
from benchmarks.measuring import MeasuredProgram, Round
from benchmarks.results import Budget

_CHANNELS = 4
_IDS_PER_CHANNEL = 100_000_000


def measure(bench: Bench) -> None:
    """Catch up with more and more sets, each time in a fresh process and an empty warehouse."""
    lengths = (10, 50) if bench.is_quick else (10, 100, 500)
    peaks = []
    for sets in lengths:
        (one,) = _caught_up(bench, sets, channels=1)
        peaks.append(one.peak_mb_above_imports)
        bench.results.add(f"memory above imports, {sets} sets", [peaks[-1]], "MB", Budget(at_most=80))
        bench.results.add(f"catch-up of {sets} sets, one channel", [one.changes / one.seconds], "changes/s")
    grown = peaks[-1] - peaks[0]
    bench.results.add(f"memory, growth from {lengths[0]} to {lengths[-1]} sets", [grown], "MB", Budget(at_most=8))
    sets = 25 if bench.is_quick else 100
    together = _caught_up(bench, sets, channels=_CHANNELS)
    rate = sum(one.changes for one in together) / max(one.seconds for one in together)
    bench.results.add(f"catch-up of {sets} sets each, {_CHANNELS} channels at once", [rate], "changes/s")


def _caught_up(bench: Bench, sets: int, *, channels: int) -> list[Round]:
    """Let so many channels catch up at the same time, each with assets of its own."""
    database = "growth"
    bench.server.drop(database)
    bench.server.make_warehouse(database, stored=0)
    with ExitStack() as ending:
        programs = []
        for number in range(channels):
            feed = serving(sets, stored=FULL, seed=number, first=FIRST_ID + number * _IDS_PER_CHANNEL)
            settings = bench.ours(database, ending.enter_context(feed), channel_id=5001 + number)
            programs.append(ending.enter_context(MeasuredProgram("ours", settings)))
        for program in programs:
            program.start(sets)
        return [program.answer() for program in programs]
