"""Lookups without a limit; the write of a chunk into a large warehouse; what the feed's load pays for metadata."""

from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID
from benchmarks.getty import serving
from benchmarks.measuring import MeasuredProgram, Round, interleaved
from benchmarks.results import Budget
from benchmarks.sandbox import serving_lookups

_CHUNKS = 50
_SETS = 5
_STORED = 1_000_000
_NEWEST = 50_000
# What the first hundred assets are, said of all that are live and new enough to change.
_METADATA_OF_NEWEST = """
INSERT INTO getty_images.asset_metadata
SELECT (jsonb_populate_record(known, jsonb_build_object('asset_id', s.asset_id))).*
FROM getty_images.assets AS s
JOIN (SELECT asset_id, row_number() OVER (ORDER BY asset_id) AS number
      FROM getty_images.asset_metadata ORDER BY asset_id LIMIT 100) AS numbered
    ON number = 1 + s.asset_id::bigint % 100
JOIN getty_images.asset_metadata AS known ON known.asset_id = numbered.asset_id
WHERE s.asset_id > '{after}'
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
    """The same load without metadata, and with metadata of every asset that it ends."""
    rounds = 5 if bench.is_quick else 15
    done: dict[str, list[Round]] = {"load_without": [], "load_with": []}
    with ExitStack() as ending:
        programs = {}
        for database in done:
            bench.warehouse_copy(_STORED, database)
            feed = serving((rounds + 1) * _SETS, stored=_STORED, first=FIRST_ID)
            settings = bench.ours(database, ending.enter_context(feed), channel_id=4001)
            programs[database] = ending.enter_context(MeasuredProgram("load_alone", settings))
        writes = {**bench.ours("load_with", {}, channel_id=0), "writes_only": True}
        ending.enter_context(MeasuredProgram("lookups", writes)).round(1, bench.server)
        for number in range(rounds + 1):
            bench.server.execute("load_with", _METADATA_OF_NEWEST.format(after=FIRST_ID + _STORED - _NEWEST))
            for database, program in programs.items():
                one = program.round(_SETS, bench.server)
                if number:  # the first pays for connections and plans
                    done[database].append(one)
    without, with_metadata = ([one.ms_per_set for one in rounds_of] for rounds_of in done.values())
    bench.results.add("load, metadata of no asset", without, "ms/set")
    bench.results.add("load, metadata of every asset that it ends", with_metadata, "ms/set")
    paid = [one - other for one, other in zip(with_metadata, without, strict=True)]
    bench.results.add("what the feed's load pays for metadata", paid, "ms/set", Budget(at_most=1))
    for database in done:
        bench.server.drop(database)
