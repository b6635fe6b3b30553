"""A rebuild from the archive, and replays of what is loaded already; one channel, and two at once."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from asset_changes.archive import Archive
from upath import UPath

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID, FULL, bodies
from benchmarks.measuring import MeasuredProgram
from benchmarks.results import Budget

_IDS_PER_CHANNEL = 100_000_000
_SETS_PER_HOUR = 40


def measure(bench: Bench) -> None:
    """One million changes in all (in full); two channels are two processes, as two mapped tasks are."""
    sets = 100 if bench.is_quick else 456
    again = 2 if bench.is_quick else 4
    for channels in (1, 2):
        rates = _rates(bench, sets // channels, channels=channels, again=again)
        what = f"{sets * FULL:,} changes, {channels} channel{'s at once' if channels > 1 else ''}"
        budget = Budget(at_least=100_000) if channels > 1 else None
        bench.results.add(f"rebuild of {what}", rates[:1], "changes/s")
        bench.results.add(f"replay of {what}", rates[1:], "changes/s", budget)


def _rates(bench: Bench, sets: int, *, channels: int, again: int) -> list[float]:
    """Return the changes per second of the rebuild, then of each replay."""
    database = f"replays_{channels}"
    bench.server.make_warehouse(database, stored=0)
    rates = []
    with ExitStack() as ending:
        programs = []
        for number in range(channels):
            settings = bench.ours(database, _no_api(), channel_id=6001 + number)
            _fill(settings["archive_uri"], 6001 + number, sets, first=FIRST_ID + number * _IDS_PER_CHANNEL)
            programs.append(ending.enter_context(MeasuredProgram("replayer", settings)))
        for _ in range(1 + again):
            for program in programs:
                program.start(sets)
            done = [program.answer() for program in programs]
            rates.append(sum(one.changes for one in done) / max(one.seconds for one in done))
    bench.server.drop(database)
    return rates


def _no_api() -> dict[str, str]:
    """Return an address that a replay must never call."""
    return {"api_url": "http://127.0.0.1:9", "token_url": "http://127.0.0.1:9/oauth2/token", "api_key": "benchmark"}


def _fill(archive_uri: str, channel_id: int, sets: int, *, first: int) -> None:
    """Archive so many full sets, fetched since the day before yesterday."""
    archive = Archive(UPath(archive_uri))
    start = datetime.now(UTC) - timedelta(days=2)
    for number, body in enumerate(bodies(sets, stored=FULL, spread="newest", first=first)):
        change_set_id = str(channel_id * 1_000_000 + number)
        fetched_at = start + timedelta(hours=number / _SETS_PER_HOUR)
        uri = archive.uri_for(channel_id, change_set_id, fetched_at=fetched_at)
        archive.write(uri, b'{"change_set_id":"%s","changed_assets":[%s]}' % (change_set_id.encode(), body))
