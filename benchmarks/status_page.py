"""The pages of a warehouse of a hundred million changes, as they arrive at a browser: over HTTP, with a login."""

from datetime import UTC, datetime, timedelta

from asset_changes.warehouse.engine import connect
from sqlalchemy import Engine, text

from benchmarks.api_server import running_api_server
from benchmarks.bench import Bench
from benchmarks.results import Budget

SETS, DELETIONS = 50_000, 2_000_000  # full sets of 2200: 110 million changes
ASSETS = 10_000_000
CHANNELS = (3001, 3002, 3003, 3004)
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
    # Of the live assets half have metadata, and half wait for it.
    """
    INSERT INTO asset_states (asset_id, asset_type, asset_family, channel_id, asset_lifecycle, upserted_at,
        upsert_change_set_id, upsert_position, loaded_at)
    SELECT n::text, 'Image', 'Editorial', 3001, 'New', now(), '1', n, now() FROM generate_series(1, :assets) AS n
    """,
    """
    INSERT INTO asset_metadata (asset_id, title, raw, as_of, fetched_at, language, content_hash)
    SELECT asset_id, 'A title', '{}', now(), now(), 'en-US', '' FROM asset_states WHERE upsert_position % 2 = 0
    """,
    """
    INSERT INTO lookup_queue (asset_id, channel_id, asset_type, reason, enqueued_at, not_before)
    SELECT asset_id, channel_id, asset_type, 'change', now(), now() FROM asset_states WHERE upsert_position % 2 = 1
    """,
    """
    INSERT INTO lookup_calls (conn_id, hour, calls, answered)
    SELECT 'getty_images_default', hour, 400, 40000
    FROM generate_series(date_trunc('hour', now()) - interval '90 days', now(), interval '1 hour') AS hour
    """,
)


def fill(engine: Engine, *, sets: int = SETS, deletions: int = DELETIONS, assets: int = ASSETS) -> None:
    """Write a year of ledger and evidence, and what is live, into an empty, migrated warehouse."""
    values = {"channels": list(CHANNELS), "sets": sets, "per_set": deletions // sets, "assets": assets}
    with engine.begin() as connection:
        for statement in _FILL:
            named = text(statement)
            connection.execute(named, {name: values[name] for name in named.compile().params})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def measure(bench: Bench) -> None:
    """Load the pages again and again, as a browser does that is logged in to Airflow."""
    of = 10 if bench.is_quick else 1
    sets, deletions, assets = SETS // of, DELETIONS // of, ASSETS // of
    database = "status_page"
    bench.server.make_warehouse(database, stored=0)
    engine = connect(bench.server.warehouse(database), schema="getty_images")
    fill(engine, sets=sets, deletions=deletions, assets=assets)
    engine.dispose()
    home = bench.folder / "api_server"
    with running_api_server(bench.server, home, warehouse=database, channels=CHANNELS) as airflow:
        for name, path in _pages().items():
            airflow.milliseconds(path)  # the first request of each compiles its template and fills the caches
            taken = [airflow.milliseconds(path) for _ in range(_TURNS)]
            budget = Budget(at_most=300 if "status" in name else 1500)
            bench.results.add(f"{name}, {sets:,} sets, {deletions:,} Deletes", taken, "ms", budget)
    bench.server.drop(database)


def _pages() -> dict[str, str]:
    year_ago = datetime.now(UTC).date() - timedelta(days=365)
    return {
        "status page over HTTP, 24 h": "",
        "status page over HTTP, 7 days": "?span=7d",
        "status page over HTTP, 14 days": "?span=14d",
        "status page over HTTP, one channel, 24 h": f"channels/asset_changes_editorial_image_{CHANNELS[0]}",
        "compliance report over HTTP, 30 days": "compliance",
        "compliance report over HTTP, a year": f"compliance?from={year_ago}",
    }
