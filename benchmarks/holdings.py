"""Import of a list of held assets: time, and memory of a short and a long one."""

import gzip
import random

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID
from benchmarks.measuring import MeasuredProgram
from benchmarks.results import Budget


def measure(bench: Bench) -> None:
    """Import each list twice: the first time all is new, the second time nothing is."""
    lengths = (10_000, 100_000) if bench.is_quick else (100_000, 1_000_000)
    peaks = []
    for count in lengths:
        database, file = "holdings", bench.folder / "holdings.csv.gz"
        ids = random.Random(1).sample(range(FIRST_ID, FIRST_ID + 10 * count), count)
        lines = "".join(f"{each},s3://company/images/GettyImages-{each}.jpg\n" for each in ids)
        file.write_bytes(gzip.compress(f"asset_id,location\n{lines}".encode(), 1))
        bench.server.drop(database)
        bench.server.make_warehouse(database, stored=0)
        for what in ("new", "the same again"):
            log = f"{bench.folder}/holdings.log"
            settings = {"folder": str(bench.folder), "log": log, "warehouse": bench.server.warehouse(database)}
            with MeasuredProgram("import_holdings", {**settings, "list": str(file)}) as program:
                program.start(1)
                done = program.answer()
            bench.results.add(f"import of {count:,} held ids, {what}", [done.seconds], "s", Budget(at_most=60))
            if what == "new":
                peaks.append(done.peak_mb_above_imports)
    grown = peaks[-1] - peaks[0]
    names = f"from {lengths[0]:,} to {lengths[-1]:,} held ids"
    bench.results.add(f"memory of an import, growth {names}", [grown], "MB", Budget(at_most=8))
