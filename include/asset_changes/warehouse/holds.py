"""The tables `purge_holds` and `purge_waivers`: whose files are kept, and which duties a person has ended."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, text

_HOLD = text("""
    INSERT INTO purge_holds AS known (asset_id, owner, reason, held_by, until)
    SELECT asset_id, :owner, :reason, :by, :until FROM unnest(CAST(:asset_ids AS text[])) AS asset_id ORDER BY asset_id
    ON CONFLICT (asset_id, owner) DO UPDATE SET reason = excluded.reason, held_by = excluded.held_by,
        until = excluded.until, held_at = clock_timestamp(), released_at = NULL, released_by = NULL""")
_RELEASE = text("""
    UPDATE purge_holds SET released_at = clock_timestamp(), released_by = :by
    WHERE owner = :owner AND asset_id = ANY (CAST(:asset_ids AS text[])) AND released_at IS NULL
    RETURNING asset_id""")
_OTHER_HOLDS = text("""
    SELECT asset_id, string_agg(owner, ', ' ORDER BY owner) AS owners FROM purge_holds
    WHERE asset_id = ANY (CAST(:asset_ids AS text[])) AND released_at IS NULL AND (until IS NULL OR until > now())
    GROUP BY asset_id ORDER BY asset_id""")
_DELETED = text("""
    SELECT DISTINCT asset_id FROM purges
    WHERE asset_id = ANY (CAST(:asset_ids AS text[])) AND result = 'deleted' AND removed_at >= :since""")
# A Delete of what no list names is a duty too, of every store.
_WAIVE = text("""
    INSERT INTO purge_waivers (asset_id, source, reason, due_since, why, waived_by)
    SELECT asset_id, source, reason, due_since, :why, :by FROM removal_duties
    WHERE asset_id = ANY (CAST(:asset_ids AS text[])) AND (source = :source OR CAST(:source AS text) IS NULL)
      AND gone_at IS NULL AND waived_at IS NULL
    UNION ALL
    SELECT asset_id, CAST(:source AS text), 'deleted', deleted_at, :why, :by FROM asset_states AS s
    WHERE asset_id = ANY (CAST(:asset_ids AS text[])) AND deleted_at IS NOT NULL
      AND (upserted_at IS NULL OR upserted_at <= deleted_at)
      AND NOT EXISTS (SELECT FROM removal_duties AS r WHERE r.asset_id = s.asset_id
                      AND (r.source = :source OR CAST(:source AS text) IS NULL))
      AND NOT EXISTS (SELECT FROM purge_waivers AS w WHERE w.asset_id = s.asset_id AND w.reason = 'deleted'
                      AND w.due_since = s.deleted_at AND (w.source IS NULL OR w.source = :source))
    RETURNING asset_id""")


def hold(
    connection: Connection, asset_ids: Collection[str], *, owner: str, reason: str, until: datetime | None, by: str
) -> set[str]:
    """Keep the files of these assets for `owner`, deleted or not; return their ids."""
    values = {"asset_ids": [*asset_ids], "owner": owner, "reason": reason, "until": until, "by": by}
    connection.execute(_HOLD, values)
    return set(asset_ids)


def release(connection: Connection, asset_ids: Collection[str], *, owner: str, by: str) -> set[str]:
    """End the holds of `owner`; return the assets that had one."""
    return set(connection.scalars(_RELEASE, {"asset_ids": [*asset_ids], "owner": owner, "by": by}))


def holders(connection: Connection, asset_ids: Collection[str]) -> dict[str, str]:
    """Return for whom each of these assets is held back, if it is."""
    rows = connection.execute(_OTHER_HOLDS, {"asset_ids": [*asset_ids]})
    return {row.asset_id: row.owners for row in rows}


def deleted_since(connection: Connection, asset_ids: Collection[str], *, since: datetime) -> set[str]:
    """Return of which of these assets a file was deleted since then."""
    return set(connection.scalars(_DELETED, {"asset_ids": [*asset_ids], "since": since}))


def waive(connection: Connection, asset_ids: Collection[str], *, source: str | None, why: str, by: str) -> set[str]:
    """End the open duties of these assets, in one source or in all; return the assets that had one."""
    values = {"asset_ids": [*asset_ids], "source": source, "why": why, "by": by}
    return set(connection.scalars(_WAIVE, values))
