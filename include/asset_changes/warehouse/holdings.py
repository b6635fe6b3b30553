"""The tables `held_assets` and `holding_imports`: bringing a list in by its differences, and what came of each list.

A list is one transaction: staged by COPY, compared, and only then written. So a refused list, or a killed worker,
changes nothing. No row is ever deleted: what the newest list lacks gets `held_until`, and a new `held_since` when it
comes back.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

MOST_ENDED_SHARE = 0.05
"""A list that would end a larger share of its source is refused."""

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")
_STAGE = text("""
    DROP TABLE IF EXISTS pg_temp.listed, pg_temp.listed_once;
    CREATE TEMPORARY TABLE pg_temp.listed ON COMMIT DROP AS
    SELECT asset_id, asset_type, location FROM held_assets WITH NO DATA""")
_COPY = "COPY pg_temp.listed (asset_id, asset_type, location) FROM STDIN"
# Repeated ids are one; in their order, so that the key's index is written from one end to the other.
_UNITE = text("""
    CREATE TEMPORARY TABLE pg_temp.listed_once ON COMMIT DROP AS
    SELECT DISTINCT ON (asset_id) asset_id, asset_type, location FROM pg_temp.listed
    ORDER BY asset_id, location, asset_type;
    ANALYZE pg_temp.listed_once""")
_COMPARE = text("""
    SELECT count(*) FILTER (WHERE held.asset_id IS NULL) AS new,
           count(*) FILTER (WHERE listed.asset_id IS NULL) AS ended,
           count(*) FILTER (WHERE held.asset_id = listed.asset_id AND differs) AS changed,
           count(*) FILTER (WHERE held.asset_id = listed.asset_id AND NOT differs) AS unchanged,
           count(held.asset_id) AS held_before
    FROM (SELECT * FROM held_assets WHERE source = :source AND held_until IS NULL) AS held
    FULL JOIN pg_temp.listed_once AS listed USING (asset_id)
    CROSS JOIN LATERAL (SELECT (held.asset_type, held.location) IS DISTINCT FROM (listed.asset_type, listed.location))
        AS compared (differs)""")
_END = text("""
    UPDATE held_assets AS held SET held_until = :now
    WHERE source = :source AND held_until IS NULL
      AND NOT EXISTS (SELECT FROM pg_temp.listed_once AS listed WHERE listed.asset_id = held.asset_id)""")
_WRITE = text("""
    INSERT INTO held_assets AS held (source, asset_id, asset_type, location, held_since)
    SELECT :source, listed.asset_id, listed.asset_type, listed.location, :now
    FROM pg_temp.listed_once AS listed
    LEFT JOIN held_assets AS known ON known.source = :source AND known.asset_id = listed.asset_id
    WHERE known.asset_id IS NULL OR known.held_until IS NOT NULL
       OR (known.asset_type, known.location) IS DISTINCT FROM (listed.asset_type, listed.location)
    ORDER BY listed.asset_id
    ON CONFLICT (source, asset_id) DO UPDATE
    SET asset_type = excluded.asset_type, location = excluded.location, held_until = NULL,
        held_since = CASE WHEN held.held_until IS NULL THEN held.held_since ELSE excluded.held_since END""")
_KEEP_IMPORT = """
    INSERT INTO holding_imports ({columns}, ended_at)
    VALUES ({values}, greatest(CAST(:started_at AS timestamptz), clock_timestamp()))"""
_SOURCES = text("""
    WITH RECURSIVE sources AS (
        (SELECT source FROM holding_imports ORDER BY source LIMIT 1)
        UNION ALL
        SELECT (SELECT i.source FROM holding_imports AS i WHERE i.source > s.source ORDER BY i.source LIMIT 1)
        FROM sources AS s WHERE s.source IS NOT NULL)
    SELECT sources.source, newest.ended_at, newest.held_count, newest.refused_why,
           taken.ended_at AS imported_at, taken.new_held_count, taken.changed_count, taken.ended_count,
           taken.unreadable_count
    FROM sources
    CROSS JOIN LATERAL (SELECT * FROM holding_imports AS i WHERE i.source = sources.source
                        ORDER BY import_id DESC LIMIT 1) AS newest
    LEFT JOIN LATERAL (SELECT * FROM holding_imports AS i WHERE i.source = sources.source AND refused_why IS NULL
                       ORDER BY import_id DESC LIMIT 1) AS taken ON true
    ORDER BY sources.source""")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a staged list differs from what its source held: counts of assets."""

    new: int
    ended: int
    changed: int
    unchanged: int
    held_before: int


@dataclass(frozen=True, kw_only=True)
class HoldingImport:
    """A row of `holding_imports`."""

    source: str
    uri: str
    started_at: datetime
    row_count: int = 0
    new_held_count: int = 0
    changed_count: int = 0
    unchanged_count: int = 0
    ended_count: int = 0
    unreadable_count: int = 0
    unreadable_lines: tuple[int, ...] = ()
    held_count: int = 0
    refused_why: str | None = None
    accept_shrink: int | None = None
    byte_count: int | None = None
    sha256: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    triggered_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class SourceStatus:
    """A source as the status page shows it: its newest list, and what the newest that was imported changed."""

    source: str
    held_count: int
    ended_at: datetime
    refused_why: str | None
    imported_at: datetime | None
    new_held_count: int
    changed_count: int
    ended_count: int
    unreadable_count: int


def lock_source(connection: Connection, source: str) -> bool:
    """Take the source for this transaction; return whether no other import has it."""
    schema = connection.scalar(text("SELECT CURRENT_SCHEMA"))
    digest = hashlib.sha256(f"holdings {schema} {source}".encode()).digest()
    return bool(connection.scalar(_TRY_LOCK, {"key": int.from_bytes(digest[:8], signed=True)}))


def stage(connection: Connection, assets: Iterable[tuple[str, str | None, str | None]]) -> None:
    """Bring a list into temporary tables, line by line."""
    connection.execute(_STAGE)
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - of a connection that is open
    try:
        with driver.cursor().copy(_COPY) as copy:
            for asset in assets:
                copy.write_row(asset)
    except psycopg.Error as error:
        raise DBAPIError(_COPY, None, error) from error
    connection.execute(_UNITE)


def compare(connection: Connection, source: str) -> Difference:
    """Return how the staged list differs from what the source holds."""
    return Difference(**connection.execute(_COMPARE, {"source": source}).one()._mapping)


def write_difference(connection: Connection, source: str, *, now: datetime) -> None:
    """Make the source hold what the staged list says."""
    connection.execute(_END, {"source": source, "now": now})
    connection.execute(_WRITE, {"source": source, "now": now})


def keep_import(connection: Connection, done: HoldingImport) -> None:
    """Keep what came of a list."""
    values = {**asdict(done), "unreadable_lines": [*done.unreadable_lines]}
    names = ", ".join(values)
    statement = _KEEP_IMPORT.format(columns=names, values=", ".join(f":{name}" for name in values))
    connection.execute(text(statement), values)


def held_count(connection: Connection, source: str) -> int:
    """Return how many assets a source holds, as its newest import counted them."""
    query = "SELECT held_count FROM holding_imports WHERE source = :source ORDER BY import_id DESC LIMIT 1"
    return int(connection.scalar(text(query), {"source": source}) or 0)


def source_statuses(connection: Connection) -> tuple[SourceStatus, ...]:
    """Return all sources that have ever had a list, by name."""
    counts = ("new_held_count", "changed_count", "ended_count", "unreadable_count")
    rows = [row._asdict() for row in connection.execute(_SOURCES) if row.source is not None]
    return tuple(SourceStatus(**(row | {name: row[name] or 0 for name in counts})) for row in rows)
