"""Catch-up per full set against a bare loop, two scripts and dlt; what it costs in CPU."""

from contextlib import ExitStack
from typing import Any

from benchmarks.bench import Bench
from benchmarks.dlt_environment import python_with_dlt
from benchmarks.feed import FIRST_ID
from benchmarks.getty import serving
from benchmarks.measuring import MeasuredProgram, Round, interleaved, ratios
from benchmarks.results import Budget

STORED_ASSETS = 1_000_000
LABELS = {
    "bare_loop": "bare loop (PUT and DELETE alone)",
    "bare_script": "bare script (requests, COPY, one guarded upsert)",
    "equal_work_script": "equal-work script (the same tables and archive, no recovery)",
    "ours": "ours",
    "dlt": "dlt merge",
    "dlt_indexed": "dlt merge, with an index on its key added by hand",
}
_BUDGETS_AT_ZERO = {"equal": Budget(at_most=1.25), "dlt": Budget(at_least=6), "indexed": Budget(at_least=5)}
# dlt makes no index on a primary key: without one, each run reads the whole table.
_DLT_STORED_ASSETS = """
INSERT INTO dlt_assets.assets (id, asset_type, asset_lifecycle, asset_changed_utc_datetime, uri, deleted,
    _dlt_load_id, _dlt_id)
SELECT ({first} + n)::text, 'Image', 'New', now() - interval '60 days' + n * interval '1 millisecond',
    'https://api.gettyimages.com/v3/images/' || ({first} + n), false, '0', md5(n::text)::varchar(14) || n
FROM generate_series(0, {count} - 1) AS n
WHERE NOT EXISTS (SELECT FROM dlt_assets.assets WHERE id = ({first} + n)::text)
"""
_DLT_INDEX = "CREATE INDEX ON dlt_assets.assets (id)"


def measure(bench: Bench) -> None:
    """Measure at API latency 0 and 100 ms."""
    bench.warehouse_copy(STORED_ASSETS, "catch_up")
    bench.warehouse_copy(STORED_ASSETS, "equal_work")
    bench.server.make_bare("bare", stored=STORED_ASSETS)
    python = python_with_dlt()
    for latency_ms, rounds, sets in ((0, 5 if bench.is_quick else 15, 5), (100, 3 if bench.is_quick else 9, 3)):
        with ExitStack() as ending:
            enough = (rounds + 2) * sets
            api = ending.enter_context(
                serving(enough, stored=STORED_ASSETS, latency=latency_ms / 1000, seed=latency_ms, first=FIRST_ID)
            )
            programs = _programs(bench, api, ending, python, latency_ms)
            bench.server.execute("postgres", "CHECKPOINT")
            _report(bench, interleaved(programs, bench.server, sets=sets, rounds=rounds), latency_ms)
    if python is None:
        budget = Budget(at_least=6)
        bench.results.add_missing("catch-up, latency 0: times faster than dlt merge", "dlt is not installed", budget)


def _programs(
    bench: Bench, api: dict[str, Any], ending: ExitStack, python: str | None, latency_ms: int
) -> list[MeasuredProgram]:
    bare = {**api, "folder": str(bench.folder), "channel_id": 1, "libpq": bench.server.libpq("bare")}
    equal = {**bare, "channel_id": 4001 + latency_ms, "libpq": bench.server.libpq("equal_work")}
    ours = bench.ours("catch_up", api, channel_id=3001 + latency_ms)
    programs = [
        MeasuredProgram("bare_loop", bare),
        MeasuredProgram("bare_script", {**bare, "channel_id": 2}),
        MeasuredProgram("equal_work_script", equal),
        MeasuredProgram("ours", ours),
    ]
    alone = len(programs)
    if python:
        for number, name in enumerate(("dlt", "dlt_indexed")):
            uri = _dlt_database(bench, name)
            settings = {**bare, "channel_id": 10 + number, "name": f"{name}_{latency_ms}", "libpq_uri": uri}
            programs.append(MeasuredProgram("dlt_merge", settings, name=name, python=python))
    for program in programs:
        ending.enter_context(program)
    for program in programs[alone:]:
        program.round(1, bench.server)  # makes its table
        bench.server.execute(program.name, _DLT_STORED_ASSETS.format(first=FIRST_ID, count=STORED_ASSETS))
        if program.name == "dlt_indexed":
            bench.server.execute(program.name, _DLT_INDEX)
        bench.server.finish_maintenance(program.name)
    return programs


def _dlt_database(bench: Bench, name: str) -> str:
    bench.server.drop(name)
    bench.server.postgres.create_database(name)
    # dlt insists on a host and a password; the socket wins over both.
    return f"postgresql://postgres:none@localhost/{name}?host={bench.server.postgres.socket_dir}"


def _report(bench: Bench, done: dict[str, list[Round]], latency_ms: int) -> None:
    add, what = bench.results.add, f"catch-up, latency {latency_ms}"
    for name, rounds in done.items():
        add(f"{what}: {LABELS[name]}", [one.ms_per_set for one in rounds], "ms/set")
    ours = done["ours"]
    headline = Budget(at_least=0.85) if latency_ms == 100 else None
    rate = "rate of ours as a share of the bare loop's"
    add(f"{what}: {rate}", ratios(done["bare_loop"], ours), "x", headline)
    at_zero = latency_ms == 0
    budget = _BUDGETS_AT_ZERO.get if at_zero else dict[str, Budget]().get
    add(f"{what}: ours / equal-work script", ratios(ours, done["equal_work_script"]), "x", budget("equal"))
    add(f"{what}: ours / bare script", ratios(ours, done["bare_script"]), "x")
    if "dlt" in done:
        add(f"{what}: times faster than dlt merge", ratios(done["dlt"], ours), "x", budget("dlt"))
        faster = ratios(done["dlt_indexed"], ours)
        add(f"{what}: times faster than dlt merge, with an index", faster, "x", budget("indexed"))
    if at_zero:
        for name in list(done)[1:]:
            _report_cpu(bench, LABELS[name], done[name])


def _report_cpu(bench: Bench, label: str, rounds: list[Round]) -> None:
    own = [one.cpu_seconds / one.changes * 1e6 for one in rounds]
    server = [one.server_cpu_seconds / one.changes * 1e6 for one in rounds]
    bench.results.add(f"CPU per million changes, the process: {label}", own, "s")
    bench.results.add(f"CPU per million changes, Postgres: {label}", server, "s")
