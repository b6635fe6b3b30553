"""Load time and WAL per set by the number of stored assets, newest 2 % or any of them changing."""

from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.feed import SPREADS
from benchmarks.getty import serving
from benchmarks.measuring import MeasuredProgram, interleaved, ratios
from benchmarks.results import Budget

_SETS = 5


def measure(bench: Bench) -> None:
    """Measure 100 k, 1 M and 10 M (in full) in turns."""
    sizes = (100_000, 1_000_000) if bench.is_quick else (100_000, 1_000_000, 10_000_000)
    rounds = 3 if bench.is_quick else 8
    with ExitStack() as ending:
        programs = []
        for stored in sizes:
            database = bench.warehouse_copy(stored, f"load_{stored}")
            for number, spread in enumerate(SPREADS):
                feed = serving((rounds + 2) * _SETS, stored=stored, spread=spread, seed=number)
                settings = bench.ours(database, ending.enter_context(feed), channel_id=4001 + number)
                programs.append(
                    ending.enter_context(
                        MeasuredProgram("load_alone", settings, name=f"{stored:,} assets, {spread} ids")
                    )
                )
        bench.server.execute("postgres", "CHECKPOINT")
        done = interleaved(programs, bench.server, sets=_SETS, rounds=rounds)
    for name, measured in done.items():
        bench.results.add(f"load, {name}", [one.ms_per_set for one in measured], "ms/set")
    for name, measured in done.items():
        wal = [one.wal_bytes / one.changes for one in measured]
        bench.results.add(f"WAL per change, {name}", wal, "bytes")
    few, many = (f"{stored:,} assets, newest ids" for stored in (sizes[0], sizes[-1]))
    budget = None if bench.is_quick else Budget(at_most=1.5)
    bench.results.add(
        f"load, newest ids: {sizes[-1]:,} assets / {sizes[0]:,}", ratios(done[many], done[few]), "x", budget
    )
    for stored in sizes:
        bench.server.drop(f"load_{stored}")
