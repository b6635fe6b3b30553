"""The history of one asset, found in a log of millions of rows."""

import random
import time

import psycopg

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID
from benchmarks.results import Budget

_ASSETS = 200
_QUERY = "SELECT * FROM getty_images.asset_history WHERE asset_id = %s"


def measure(bench: Bench) -> None:
    """Ask for assets drawn at random, the first of them on a cold connection."""
    rows = 1_000_000 if bench.is_quick else 10_000_000
    database = bench.warehouse_with(rows)
    draw = random.Random(1)
    milliseconds = []
    with psycopg.connect(bench.server.libpq(database), autocommit=True) as connection:
        for _ in range(_ASSETS):
            asset_id = str(FIRST_ID + draw.randrange(rows))
            started = time.perf_counter()
            found = connection.execute(_QUERY, [asset_id]).fetchall()
            milliseconds.append((time.perf_counter() - started) * 1000)
            assert found
    budget = Budget(at_most=50)
    bench.results.add(f"history of one asset, {rows:,} log rows", milliseconds, "ms", budget)
    bench.results.add(
        f"history of one asset, {rows:,} log rows, slowest of {_ASSETS}", [max(milliseconds)], "ms", budget
    )
