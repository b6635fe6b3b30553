"""The status page beside the ledger of a hundred million changes: what its queries cost."""

import time
from datetime import UTC, datetime, timedelta

from asset_changes.warehouse.connection import connect
from asset_changes.warehouse.status import channel_statuses
from sqlalchemy import Engine, text

from benchmarks.bench import Bench
from benchmarks.results import Budget

SETS, DELETIONS = 50_000, 2_000_000  # full sets of 2200: 110 million changes
CHANNELS = (3001, 3002, 3003, 3004)
_SPANS = {"24 h": 24, "14 days": 14 * 24}
_TURNS = 10

_FILL = (
    "INSERT INTO channels (channel_id, asset_family, asset_type, discovered_at, last_checked_at, caught_up_at)"
    " SELECT id, 'Editorial', 'Image', now() - interval '1 year', now(), now() FROM unnest(:channels) AS id",
    # A year of sets, evenly spread; the last one is a minute old.
    """
    INSERT INTO change_sets (channel_id, change_set_id, channel_seq, archive_uri, content_hash, fetched_at, loaded_at,
        confirmed_at, change_count, new_count, update_count, delete_count, superseded_count, rejected_count,
        oldest_change_at, newest_change_at, dag_id, run_id)
    SELECT (:channels)[1 + n % 4], n::text, n / 4 + 1, 'file:///archive/' || n, md5(n::text), at,
           at + interval '1 second', at + interval '2 seconds', 2200, 900, 1057, 180, 62, 1,
           at - interval '1 hour', at - interval '1 minute', 'dag', 'run'
    FROM generate_series(0, :sets - 1) AS n,
         LATERAL (SELECT now() - interval '1 minute' - interval '1 year' * ((:sets - 1 - n)::float / :sets) AS at) AS t
    """,
    """
    INSERT INTO deletions (channel_id, change_set_id, position, asset_id, deleted_at, received_at, applied_at, was_held)
    SELECT channel_id, change_set_id, n, change_set_id || '-' || n, oldest_change_at, fetched_at, loaded_at, true
    FROM change_sets, generate_series(1, :per_set) AS n
    """,
    """
    INSERT INTO rejected_changes (channel_id, change_set_id, position, reason, raw, rejected_at)
    SELECT channel_id, change_set_id, 0, 'unknown_lifecycle', '{}', loaded_at FROM change_sets
    """,
)


def fill(engine: Engine, *, sets: int = SETS, deletions: int = DELETIONS) -> None:
    """Write a year of ledger and evidence into an empty, migrated warehouse."""
    values = {"channels": list(CHANNELS), "sets": sets, "per_set": deletions // sets}
    with engine.begin() as connection:
        for statement in _FILL:
            named = text(statement)
            connection.execute(named, {name: values[name] for name in named.compile().params})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def milliseconds(engine: Engine, *, hours: int) -> float:
    """Return what one look at all channels costs, the connection included, as for a page."""
    engine.dispose()
    started = time.perf_counter()
    with engine.connect() as connection:
        channel_statuses(connection, since=datetime.now(UTC) - timedelta(hours=hours))
    return (time.perf_counter() - started) * 1000


def measure(bench: Bench) -> None:
    """Look at all channels, again and again, on a connection of its own each time."""
    sets, deletions = (SETS // 10, DELETIONS // 10) if bench.is_quick else (SETS, DELETIONS)
    database = "status_page"
    bench.server.make_warehouse(database, held=0)
    engine = connect(bench.server.warehouse(database), schema="getty_images")
    fill(engine, sets=sets, deletions=deletions)
    for name, hours in _SPANS.items():
        taken = [milliseconds(engine, hours=hours) for _ in range(_TURNS)]
        bench.results.add(
            f"status page, {name}, {sets:,} sets, {deletions:,} Deletes", taken, "ms", Budget(at_most=300)
        )
    engine.dispose()
    bench.server.drop(database)
