"""Import of a list of held assets: time, and memory of a short and a long one; the next slice to ask about again."""

import gzip
import random
import time
from datetime import UTC, datetime
from functools import partial

from asset_changes.lookup.enqueue import OLDEST_SLICE
from asset_changes.warehouse import rechecks
from asset_changes.warehouse.engine import connect, in_transaction, transaction
from sqlalchemy import text

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID
from benchmarks.measuring import MeasuredProgram
from benchmarks.results import Budget

_HOLD_AND_CHECK = (
    """INSERT INTO held_assets (source, asset_id, held_since)
    SELECT 'dam', CAST(n AS text), now() FROM generate_series(1, :count) AS n""",
    """INSERT INTO availability (asset_id, verdict, conn_id, as_of)
    SELECT CAST(n AS text), 'available', 'getty', now() - interval '2 days' - n % 40000 * interval '1 minute'
    FROM generate_series(1, :count) AS n""",
    "ANALYZE held_assets, availability",
)


def measure(bench: Bench) -> None:
    """Measure both."""
    _measure_imports(bench)
    _measure_slices(bench)


def _measure_slices(bench: Bench) -> None:
    """Enqueue what was asked longest ago, a slice per transaction, where everything is held and was asked."""
    count, database = 1_000_000 if bench.is_quick else 10_000_000, "slices"
    bench.server.make_warehouse(database, stored=0)
    engine = connect(bench.server.warehouse(database), schema="getty_images")
    for statement in _HOLD_AND_CHECK:
        with transaction(engine) as connection:
            connection.execute(text(statement), {"count": count} if ":count" in statement else {})
    seconds, now = [], datetime.now(UTC)
    place: rechecks.Place | None = rechecks.Place(as_of=datetime(1, 1, 1, tzinfo=UTC), asset_id="")
    for _ in range(20):
        assert place is not None
        work = partial(rechecks.enqueue_oldest, after=place, asked_before=now, slice_size=OLDEST_SLICE, of_all=True)
        started = time.perf_counter()
        _, place = in_transaction(engine, work)
        seconds.append(time.perf_counter() - started)
    engine.dispose()
    bench.server.drop(database)
    what = f"next slice of a reconciliation, {OLDEST_SLICE:,} of {count:,} held assets"
    bench.results.add(what, [1000 * each for each in seconds], "ms", Budget(at_most=100))


def _measure_imports(bench: Bench) -> None:
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
