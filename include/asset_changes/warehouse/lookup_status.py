"""What the status page shows of the lookups. No query reads all assets, so that it is as quick with ten million."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from asset_changes.warehouse.asset_metadata import IS_LIVE
from asset_changes.warehouse.status import Alert

COUNTED_BLOCKS, SAMPLED_BLOCKS = 500, 100
"""A table of assets up to this size, some 30,000 rows, is counted; of a larger one so many blocks are looked at."""
MOST_COUNTED = 100_000
"""What waits is counted up to here."""


@dataclass(frozen=True, kw_only=True)
class LiveAssets:
    """How many assets are live, and how many of them have metadata; of large tables an estimate from a sample."""

    count: int
    with_metadata: int
    is_estimate: bool

    @property
    def share(self) -> float:
        """The share that has metadata, from 0 to 1."""
        return self.with_metadata / self.count if self.count else 0.0


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How many assets wait for a lookup, at most MOST_COUNTED, and since when the oldest of them does."""

    count: int
    since: datetime | None


@dataclass(frozen=True, kw_only=True)
class LookupConnection:
    """A connection with which Getty is asked: its calls, its last answer, and who asks with it now."""

    conn_id: str
    calls_this_hour: int
    calls_today: int
    throttled_today: int
    answered_today: int
    last_answer_at: datetime | None
    error: str | None
    error_at: datetime | None
    refused_fields: tuple[str, ...]
    leased_by: str | None
    leased_until: datetime | None


@dataclass(frozen=True, kw_only=True)
class LookupStatus:
    """All that the page says of the lookups; `upserts_per_day` are those that the feed brought in the last week."""

    live: LiveAssets
    waiting: Waiting
    connections: tuple[LookupConnection, ...]
    calls_last_day: int
    upserts_per_day: int
    alerts: tuple[Alert, ...]

    @property
    def has_begun(self) -> bool:
        """Whether anything was ever looked up or is to be."""
        return bool(self.connections or self.waiting.count or self.live.with_metadata)


_BLOCKS = text("""
SELECT pg_relation_size(to_regclass('asset_states')) / current_setting('block_size')::int
""")
# Always the same blocks: the number does not flicker from view to view, and what is read for it stays in memory.
_SAMPLE = text(f"""
WITH sample AS MATERIALIZED (
    SELECT asset_id, (CAST(CAST(ctid AS text) AS point))[0] AS block, {IS_LIVE} AS is_live
    FROM asset_states TABLESAMPLE SYSTEM (:percent) REPEATABLE (0)
)
SELECT count(DISTINCT block) AS blocks, count(*) FILTER (WHERE is_live) AS live,
       count(m.asset_id) FILTER (WHERE is_live) AS with_metadata
FROM sample LEFT JOIN asset_metadata AS m USING (asset_id)
""")
_WAITING = text(f"""
SELECT (SELECT count(*) FROM (SELECT FROM lookup_queue LIMIT {MOST_COUNTED}) AS counted) AS waiting,
       (SELECT min(enqueued_at) FROM lookup_queue) AS since
""")
_CONNECTIONS = text("""
WITH calls AS (
    SELECT conn_id, sum(calls) FILTER (WHERE hour = date_trunc('hour', CAST(:now AS timestamptz), 'UTC')) AS this_hour,
           sum(calls) AS today, sum(throttled) AS throttled, sum(answered) AS answered
    FROM lookup_calls WHERE hour >= date_trunc('day', CAST(:now AS timestamptz), 'UTC')
    GROUP BY conn_id
)
SELECT conn_id, coalesce(this_hour, 0) AS calls_this_hour, coalesce(today, 0) AS calls_today,
       coalesce(throttled, 0) AS throttled_today, coalesce(answered, 0) AS answered_today, last_answer_at, error,
       error_at, coalesce(refused_fields, '{}') AS refused_fields, leased_by,
       CASE WHEN leased_until > :now THEN leased_until END AS leased_until
FROM calls FULL JOIN lookup_connections USING (conn_id)
ORDER BY conn_id
""")
_CALLS = text("SELECT coalesce(sum(calls), 0) FROM lookup_calls WHERE hour > :now - interval '1 day'")
_UPSERTS = text("""
SELECT coalesce(sum(new_count + update_count), 0)
       / greatest(1, least(7, extract(epoch FROM :now - min(fetched_at)) / 86400))
FROM change_sets WHERE fetched_at > :now - interval '7 days'
""")
_ALERTS = text("""
SELECT condition, since, says FROM alerts WHERE channel_id = 0 AND cleared_at IS NULL ORDER BY since
""")


def lookup_status(connection: Connection, *, now: datetime) -> LookupStatus:
    """Return the status of the lookups."""
    values = {"now": now}
    waiting = connection.execute(_WAITING).one()
    rows = connection.execute(_CONNECTIONS, values).mappings()
    return LookupStatus(
        live=_live_assets(connection),
        waiting=Waiting(count=waiting.waiting, since=waiting.since),
        connections=tuple(
            LookupConnection(**{**row, "refused_fields": tuple(row["refused_fields"])}) for row in map(dict, rows)
        ),
        calls_last_day=int(connection.scalar(_CALLS, values) or 0),
        upserts_per_day=int(connection.scalar(_UPSERTS, values) or 0),
        alerts=tuple(Alert(**row) for row in connection.execute(_ALERTS).mappings()),
    )


def _live_assets(connection: Connection) -> LiveAssets:
    blocks = int(connection.scalar(_BLOCKS) or 0)
    is_estimate = blocks > COUNTED_BLOCKS
    percent = 100 * SAMPLED_BLOCKS / blocks if is_estimate else 100
    row = connection.execute(_SAMPLE, {"percent": percent}).one()
    times = blocks / row.blocks if is_estimate and row.blocks else 1
    return LiveAssets(
        count=round(row.live * times), with_metadata=round(row.with_metadata * times), is_estimate=is_estimate
    )
