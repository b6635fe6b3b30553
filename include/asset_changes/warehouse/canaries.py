"""Assets that Getty must find, if its answers are to be believed: some that it found lately, and live ones of any age.

They are drawn by chance, so that the next run asks about others: assets that are gone for good stop no reconciliation.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from asset_changes.warehouse.asset_metadata import IS_LIVE
from asset_changes.warehouse.availability import AVAILABLE, IS_OF_REGISTER

PER_TYPE, PER_CHANNEL = 10, 10
"""So many are drawn of each type that was found lately, and of the live assets of each channel."""

# The newest answers alone, so that it takes as long with ten million assets.
_FOUND_LATELY = text(f"""
    WITH lately AS MATERIALIZED (
        SELECT asset_id, asset_type, verdict, conn_id FROM availability ORDER BY as_of DESC, asset_id DESC LIMIT 2000)
    SELECT asset_id, asset_type
    FROM (SELECT asset_id, l.asset_type, row_number() OVER (PARTITION BY l.asset_type ORDER BY random()) AS number
          FROM lately AS l LEFT JOIN asset_states AS s USING (asset_id)
          WHERE verdict = '{AVAILABLE}' AND conn_id = :conn_id AND (s.asset_id IS NULL OR {IS_LIVE})) AS drawn
    WHERE number <= :row_count""")
_SETS = """SELECT fetched_at, channel_id, change_set_id FROM change_sets
           WHERE channel_id = each.channel_id AND loaded_at IS NOT NULL AND new_count + update_count > 0"""
# Of the newest sets and of some at any time, a few assets each, so that no channel is read as a whole.
_LIVE = text(f"""
    SELECT live.asset_id, live.asset_type
    FROM unnest(CAST(:channel_ids AS integer[])) AS each (channel_id)
    CROSS JOIN LATERAL (SELECT min(fetched_at) AS first, max(fetched_at) AS last FROM change_sets
                        WHERE channel_id = each.channel_id) AS span
    CROSS JOIN LATERAL (
        SELECT of_set.* FROM (
            ({_SETS} ORDER BY fetched_at DESC LIMIT 10)
            UNION
            SELECT older.* FROM (SELECT span.first + random() * (span.last - span.first) AS at
                                 FROM generate_series(1, 10)) AS times
            CROSS JOIN LATERAL ({_SETS} AND fetched_at <= times.at ORDER BY fetched_at DESC LIMIT 1) AS older) AS sets
        CROSS JOIN LATERAL (
            SELECT s.asset_id, s.asset_type
            FROM asset_changes AS logged
            JOIN asset_states AS s ON s.asset_id = logged.asset_id AND s.upsert_change_set_id = logged.change_set_id
                                  AND s.upsert_position = logged.position AND s.channel_id = logged.channel_id
            WHERE logged.fetched_at = sets.fetched_at AND logged.channel_id = sets.channel_id
              AND logged.change_set_id = sets.change_set_id AND {IS_LIVE}
              AND NOT EXISTS (SELECT FROM availability AS a WHERE a.asset_id = s.asset_id
                              AND a.verdict <> '{AVAILABLE}' AND {IS_OF_REGISTER.format(state="s")})
            LIMIT 20) AS of_set
        ORDER BY random() LIMIT :row_count) AS live""")


@dataclass(frozen=True, kw_only=True)
class Canary:
    """An asset that Getty must find. One that it has found before has the type as which it was found."""

    asset_id: str
    asset_type: str | None
    was_found: bool


def draw(connection: Connection, conn_id: str, *, channel_ids: Collection[int]) -> list[Canary]:
    """Return assets that Getty must find with this connection, which is asked about these channels."""
    found = connection.execute(_FOUND_LATELY, {"conn_id": conn_id, "row_count": PER_TYPE})
    canaries = {row.asset_id: Canary(asset_id=row.asset_id, asset_type=row.asset_type, was_found=True) for row in found}
    for row in connection.execute(_LIVE, {"channel_ids": sorted(channel_ids), "row_count": PER_CHANNEL}):
        live = Canary(asset_id=row.asset_id, asset_type=row.asset_type, was_found=False)
        canaries.setdefault(row.asset_id, live)
    return [*canaries.values()]
