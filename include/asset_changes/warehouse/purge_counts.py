"""The table `purge_counts`: how many assets still must go from each store.

Counting looks at every Delete since a store was configured. So it is done now and then, and whoever only shows the
numbers reads them here, with their time.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.warehouse.duties import DUTIES_OF_STORE

OLDEST = 20
"""So many of the assets that must go are kept by name: those due longest."""

# What the store could not do yet is not late: a list came in later, or the store was not configured. An older count
# that had to wait for the row does not replace a newer one.
_COUNT = text(f"""
    WITH due AS MATERIALIZED (
        SELECT duty.asset_id, reason, due_since, is_held_back, greatest(due_since, held_since, configured_at) AS since
        FROM ({DUTIES_OF_STORE}) AS duty
        LEFT JOIN held_assets AS h ON h.source = :store AND h.asset_id = duty.asset_id
        LEFT JOIN file_stores AS f ON f.store = :store
    ), owners AS (
        SELECT owner, count(*) AS assets FROM due JOIN purge_holds AS o USING (asset_id)
        WHERE is_held_back AND released_at IS NULL AND (until IS NULL OR until > now()) GROUP BY owner
    ), oldest AS (
        SELECT due.asset_id, reason, due_since, received_at, applied_at,
               (SELECT string_agg(owner, ', ' ORDER BY owner) FROM purge_holds AS o
                WHERE is_held_back AND o.asset_id = due.asset_id AND released_at IS NULL
                  AND (until IS NULL OR until > now())) AS held_back_by
        FROM (SELECT * FROM due ORDER BY is_held_back, due_since, asset_id LIMIT {OLDEST}) AS due
        LEFT JOIN LATERAL (SELECT received_at, applied_at FROM deletions AS d
                           WHERE reason = 'deleted' AND d.asset_id = due.asset_id
                           ORDER BY received_at DESC LIMIT 1) AS deletion ON true
    )
    INSERT INTO purge_counts (store, open_count, day_count, week_count, older_count, open_since, held_back_count,
                              held_back_by, oldest, counted_at)
    SELECT :store, count(*) FILTER (WHERE is_open), count(*) FILTER (WHERE is_open AND age <= interval '1 day'),
           count(*) FILTER (WHERE is_open AND age > interval '1 day' AND age <= interval '7 days'),
           count(*) FILTER (WHERE is_open AND age > interval '7 days'), min(since) FILTER (WHERE is_open),
           count(*) FILTER (WHERE is_held_back),
           (SELECT coalesce(jsonb_object_agg(owner, assets), '{{}}') FROM owners),
           (SELECT coalesce(jsonb_agg(oldest ORDER BY held_back_by IS NOT NULL, due_since, asset_id), '[]')
            FROM oldest),
           statement_timestamp()
    FROM (SELECT *, NOT is_held_back AS is_open, statement_timestamp() - since AS age FROM due) AS aged
    ON CONFLICT (store) DO UPDATE SET open_count = excluded.open_count, day_count = excluded.day_count,
        week_count = excluded.week_count, older_count = excluded.older_count, open_since = excluded.open_since,
        held_back_count = excluded.held_back_count, held_back_by = excluded.held_back_by,
        oldest = excluded.oldest, counted_at = excluded.counted_at
    WHERE purge_counts.counted_at <= excluded.counted_at""")
_FORGET = text("DELETE FROM purge_counts WHERE store <> ALL (CAST(:stores AS text[]))")
_COUNTS = text("""
    SELECT store, open_count, day_count, week_count, older_count, open_since, held_back_count, held_back_by, oldest,
           counted_at
    FROM purge_counts ORDER BY store""")


@dataclass(frozen=True, kw_only=True)
class OpenAsset:
    """An asset whose files must go from a store; of a Delete when it was received and removed from the warehouse."""

    asset_id: str
    reason: str
    due_since: datetime
    received_at: datetime | None
    applied_at: datetime | None
    held_back_by: str | None


@dataclass(frozen=True, kw_only=True)
class PurgeCount:
    """A row of `purge_counts`: what must go from a store and is not held back, by age, and what is held back."""

    store: str
    open_count: int
    day_count: int
    week_count: int
    older_count: int
    open_since: datetime | None
    held_back_count: int
    held_back_by: Mapping[str, int]
    oldest: tuple[OpenAsset, ...]
    counted_at: datetime


def count_duties(
    connection: Connection, *, stores: Collection[str], reasons: Collection[str]
) -> tuple[PurgeCount, ...]:
    """Count what must go from the stores that are configured, keep it in `purge_counts`, and return it."""
    connection.execute(_FORGET, {"stores": [*stores]})
    for store in sorted(stores):
        connection.execute(_COUNT, {"store": store, "reasons": [*reasons]})
    return purge_counts(connection)


def purge_counts(connection: Connection) -> tuple[PurgeCount, ...]:
    """Return what was last counted, by store."""
    return tuple(
        PurgeCount(**{**row, "oldest": tuple(map(_open_asset, row["oldest"]))})
        for row in connection.execute(_COUNTS).mappings()
    )


def _open_asset(value: Mapping[str, Any]) -> OpenAsset:
    times = {name: value[name] for name in ("due_since", "received_at", "applied_at")}
    read = {name: time and datetime.fromisoformat(time) for name, time in times.items()}
    return OpenAsset(**{**value, **read})
