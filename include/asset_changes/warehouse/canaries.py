"""The newest live assets of each channel: what Getty must find, if its answers are to be believed."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from asset_changes.warehouse.asset_metadata import IS_LIVE

PER_CHANNEL = 10

# The newest sets first, so that no channel is read as a whole.
_NEWEST = text(f"""
    SELECT each.channel_id, newest.asset_id, newest.asset_type
    FROM unnest(CAST(:channel_ids AS integer[])) AS each (channel_id)
    CROSS JOIN LATERAL (
        SELECT s.asset_id, s.asset_type
        FROM (SELECT fetched_at, channel_id, change_set_id FROM change_sets
              WHERE channel_id = each.channel_id AND loaded_at IS NOT NULL AND new_count + update_count > 0
              ORDER BY fetched_at DESC LIMIT 20) AS sets
        JOIN asset_changes AS logged USING (fetched_at, channel_id, change_set_id)
        JOIN asset_states AS s ON s.asset_id = logged.asset_id AND s.upsert_change_set_id = logged.change_set_id
                              AND s.upsert_position = logged.position AND s.channel_id = each.channel_id
        WHERE {IS_LIVE}
        ORDER BY upserted_at DESC, s.asset_id LIMIT :row_count) AS newest""")


@dataclass(frozen=True, kw_only=True)
class Canary:
    """An asset that Getty must find."""

    asset_id: str
    asset_type: str | None


def newest_assets(connection: Connection, channel_ids: Collection[int]) -> dict[int, list[Canary]]:
    """Return the newest live assets of each of these channels; a channel without any is missing."""
    canaries: dict[int, list[Canary]] = {}
    for row in connection.execute(_NEWEST, {"channel_ids": sorted(channel_ids), "row_count": PER_CHANNEL}):
        canaries.setdefault(row.channel_id, []).append(Canary(asset_id=row.asset_id, asset_type=row.asset_type))
    return canaries
