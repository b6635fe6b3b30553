"""What must go from a store of files now: read for a plan, and read again just before anything is deleted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

MOST_ASSETS = 100_000
"""So many assets of a store are in one plan, those that may go and are due longest; the others come in the next."""

# Slots: {listed}, a condition; {candidates}, the assets that no list of the store need name. A Delete without a time
# of its own is no last word against an upsert that was received later: whichever came first is not known. Nor is any
# Delete before its channel was read to the end after it, or while sets of it come out of the archive: a New may follow.
# Nobody waits for a channel that is retired, or that the archive alone knows.
_DUTIES = """
SELECT duty.*, EXISTS (
    SELECT FROM asset_changes AS d JOIN asset_changes AS u ON u.asset_id = d.asset_id AND u.fetched_at > d.fetched_at
    WHERE duty.reason = 'deleted' AND d.asset_id = duty.asset_id AND d.change_set_id = duty.change_set_id
      AND d.position = duty.position AND d.is_time_inferred AND u.asset_lifecycle <> 'Delete') AS is_unsure,
    EXISTS (
    SELECT FROM deletions AS d JOIN channels AS c USING (channel_id)
    WHERE duty.reason = 'deleted' AND d.asset_id = duty.asset_id AND d.change_set_id = duty.change_set_id
      AND d.position = duty.position AND (c.rebuilding_since IS NOT NULL
           OR (c.retired_at IS NULL AND coalesce(c.discovered_at, c.last_checked_at) IS NOT NULL
               AND coalesce(c.caught_up_at < d.received_at, true)))) AS is_unread
FROM (
    SELECT asset_id, reason, due_since, channel_id, change_set_id, position, reconciliation_id, is_held_back
    FROM assets_to_remove WHERE source = :store AND reason = ANY (:reasons) {listed}
    UNION ALL
    SELECT s.asset_id, 'deleted', s.deleted_at, s.channel_id, s.delete_change_set_id, s.delete_position, NULL,
           EXISTS (SELECT FROM purge_holds AS o WHERE o.asset_id = s.asset_id AND o.released_at IS NULL
                   AND (o.until IS NULL OR o.until > now()))
    FROM {candidates} AS candidate (asset_id)
    JOIN asset_states AS s USING (asset_id)
    WHERE 'deleted' = ANY (:reasons)
      AND s.deleted_at IS NOT NULL AND (s.upserted_at IS NULL OR s.upserted_at <= s.deleted_at)
      AND NOT EXISTS (SELECT FROM removal_duties AS r WHERE r.source = :store AND r.asset_id = s.asset_id)
      AND NOT EXISTS (SELECT FROM purges AS p JOIN file_stores AS f USING (store, store_hash)
                      WHERE p.asset_id = s.asset_id AND p.store = :store AND p.is_gone
                        AND p.reason = 'deleted' AND p.due_since = s.deleted_at)
      AND NOT EXISTS (SELECT FROM purge_waivers AS w
                      WHERE w.asset_id = s.asset_id AND (w.source IS NULL OR w.source = :store)
                        AND w.reason = 'deleted' AND w.due_since = s.deleted_at)
) AS duty"""
_RECEIVED = """(
        SELECT DISTINCT asset_id FROM deletions
        WHERE received_at >= (SELECT configured_at FROM file_stores WHERE store = :store))"""
DUTIES_OF_STORE = _DUTIES.format(listed="", candidates=_RECEIVED)
"""What must go from `:store` for one of `:reasons`."""
_ALL = text(f"{DUTIES_OF_STORE} ORDER BY is_held_back, is_unsure, is_unread, due_since, asset_id LIMIT :most")
_OF_ASSETS = text(
    _DUTIES.format(
        listed="AND asset_id = ANY (CAST(:asset_ids AS text[]))", candidates="unnest(CAST(:asset_ids AS text[]))"
    )
)


@dataclass(frozen=True, kw_only=True)
class Duty:
    """An asset whose files must go from a store: why, since when, and the Delete or verdict that says so.

    `is_unsure`: the Delete had no time of its own, and a New or Update was received after it. A person must look.
    `is_unread`: its channel was not read to the end since the Delete came, or is being loaded from the archive.
    """

    asset_id: str
    reason: str
    due_since: datetime
    channel_id: int | None = None
    change_set_id: str | None = None
    position: int | None = None
    reconciliation_id: int | None = None
    is_held_back: bool = False
    is_unsure: bool = False
    is_unread: bool = False

    @property
    def may_go(self) -> bool:
        """Whether nothing speaks against its removal."""
        return not (self.is_held_back or self.is_unsure or self.is_unread)

    def is_answer_to(self, other: "Duty") -> bool:
        """Whether it is the same duty: a newer Delete or another verdict makes another one."""
        return (self.reason, self.due_since) == (other.reason, other.due_since)


def duties_of_store(
    connection: Connection, store: str, *, reasons: Collection[str], most: int = MOST_ASSETS
) -> list[Duty]:
    """Return what must go from a store: what its list names, and what Getty deleted since the store is configured.

    First what may go, due longest first: what a person holds back takes no room from it.
    """
    values = {"store": store, "reasons": [*reasons], "most": most}
    return [Duty(**row._mapping) for row in connection.execute(_ALL, values)]


def duties_of_assets(
    connection: Connection, store: str, *, asset_ids: Sequence[str], reasons: Collection[str]
) -> dict[str, Duty]:
    """Return which of these assets must go from a store now, whether its list names them or not."""
    values = {"store": store, "reasons": [*reasons], "asset_ids": [*asset_ids]}
    return {row.asset_id: Duty(**row._mapping) for row in connection.execute(_OF_ASSETS, values)}
