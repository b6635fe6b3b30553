"""Lookups without a limit; the write of a chunk into a large warehouse; what the feed's load pays for metadata."""

from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID
from benchmarks.getty import serving
from benchmarks.measuring import MeasuredProgram, interleaved
from benchmarks.results import Budget
from benchmarks.sandbox import serving_lookups

_CHUNKS = 50
_SETS = 5
_LOADED = 100_000
# What the first hundred assets are, said of all.
_METADATA_OF_ALL = """
INSERT INTO getty_images.asset_metadata
SELECT (jsonb_populate_record(known, jsonb_build_object('asset_id', s.asset_id))).*
FROM getty_images.asset_states AS s
JOIN (SELECT *, row_number() OVER () AS number FROM getty_images.asset_metadata) AS numbered
    ON number = 1 + s.upsert_position % 100
JOIN getty_images.asset_metadata AS known ON known.asset_id = numbered.asset_id
ON CONFLICT DO NOTHING
"""


def measure(bench: Bench) -> None:
    """Measure all three."""
    _measure_rate(bench)
    _measure_writes(bench)
    _measure_loads(bench)


def _measure_rate(bench: Bench) -> None:
    """Over HTTP, against the sandbox, which needs some of the two cores itself."""
    rounds, stored = 3 if bench.is_quick else 9, 1_000_000
    database = bench.warehouse_copy(stored, "lookups")
    with serving_lookups((rounds + 1) * _CHUNKS * 100) as api:
        settings = bench.ours(database, api, channel_id=0)
        with MeasuredProgram("lookups", settings) as program:
            done = interleaved([program], bench.server, sets=_CHUNKS, rounds=rounds)["lookups"]
    rates = [one.changes / one.seconds for one in done]
    bench.results.add("lookups without a limit", rates, "assets/s", Budget(at_least=5000))
    bench.results.add("lookups, CPU per chunk: the process", [1000 * r.cpu_seconds / r.sets for r in done], "ms")
    bench.results.add("lookups, CPU per chunk: Postgres", [1000 * r.server_cpu_seconds / r.sets for r in done], "ms")
    bench.results.add("lookups, WAL per asset", [one.wal_bytes / one.changes for one in done], "bytes")
    bench.server.drop(database)


def _measure_writes(bench: Bench) -> None:
    """The transaction that writes an answer about a hundred assets, of the newest ones."""
    rounds, stored = (3, 1_000_000) if bench.is_quick else (9, 10_000_000)
    database = bench.warehouse_copy(stored, "lookup_writes")
    settings = {**bench.ours(database, {}, channel_id=0), "after": str(FIRST_ID + stored * 9 // 10)}
    with MeasuredProgram("lookups", {**settings, "writes_only": True}) as program:
        done = interleaved([program], bench.server, sets=_CHUNKS, rounds=rounds)["lookups"]
    what = f"write of an answer about 100 assets, {stored:,} stored"
    bench.results.add(what, [one.ms_per_set for one in done], "ms", Budget(at_most=20))
    bench.server.drop(database)


def _measure_loads(bench: Bench) -> None:
    """The same load without metadata, and with metadata of every asset, which it has to forget."""
    rounds = 5 if bench.is_quick else 15
    without = bench.warehouse_copy(_LOADED, "load_without")
    with_metadata = bench.warehouse_copy(_LOADED, "load_with")
    with MeasuredProgram("lookups", {**bench.ours(with_metadata, {}, channel_id=0), "writes_only": True}) as program:
        program.round(1, bench.server)
    bench.server.execute(with_metadata, _METADATA_OF_ALL)
    bench.server.finish_maintenance(with_metadata)
    with ExitStack() as ending:
        programs = {}
        for database in (without, with_metadata):
            feed = serving((rounds + 2) * _SETS, stored=_LOADED, spread="uniform")
            settings = bench.ours(database, ending.enter_context(feed), channel_id=4001)
            programs[database] = ending.enter_context(MeasuredProgram("load_alone", settings, name=database))
        bench.server.execute("postgres", "CHECKPOINT")
        done = interleaved([*programs.values()], bench.server, sets=_SETS, rounds=rounds)
    pairs = zip(done[without], done[with_metadata], strict=True)
    paid = [one.ms_per_set - other.ms_per_set for other, one in pairs]
    bench.results.add("load, no metadata", [one.ms_per_set for one in done[without]], "ms/set")
    bench.results.add("load, metadata of every asset", [one.ms_per_set for one in done[with_metadata]], "ms/set")
    bench.results.add("what a load pays for metadata, per set", paid, "ms", Budget(at_most=1))
    for database in programs:
        bench.server.drop(database)
