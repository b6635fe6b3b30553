"""What only the archive holds, and the ledger does not: found by comparing both, until it is settled."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from asset_changes.archive import Archive
from asset_changes.pipeline.missing import missing_sets

_IN_FLIGHT = timedelta(minutes=15)  # a set is in the archive before it is loaded
_KEEP = text("""
INSERT INTO archive_findings (channel_id, archive_uri, kind, change_set_id, received_at, found_at)
VALUES (:channel_id, :archive_uri, 'not_in_ledger', :change_set_id, :received_at, :now)
ON CONFLICT (channel_id, archive_uri, kind) DO UPDATE
SET found_at = excluded.found_at, settled_at = NULL, settled_how = NULL, settled_by = NULL
WHERE archive_findings.settled_at IS NOT NULL AND archive_findings.settled_how <> 'dismissed'
""")
_SETTLE = text("""
UPDATE archive_findings SET settled_at = :now, settled_how = 'loaded'
WHERE channel_id = :channel_id AND kind = 'not_in_ledger' AND settled_at IS NULL AND archive_uri <> ALL (:still)
""")
_CHECKED = text("UPDATE channels SET archive_checked_at = now() WHERE channel_id = :channel_id")
_DISMISS = text("""
UPDATE archive_findings SET settled_at = now(), settled_how = 'dismissed', settled_by = :by
WHERE archive_uri = :archive_uri AND settled_at IS NULL
""")


def compare_archive(connection: Connection, *, archive: Archive, now: datetime, days: float) -> None:
    """Compare the archive of the last days with the ledger, and keep what only one of them holds."""
    for channel_id in connection.scalars(text("SELECT channel_id FROM channels ORDER BY channel_id")).all():
        missing = missing_sets(
            connection, channel_id, archive=archive, since=now - timedelta(days=days), until=now - _IN_FLIGHT
        )
        found = [
            {
                "channel_id": channel_id,
                "archive_uri": each.uri,
                "change_set_id": each.change_set_id,
                "received_at": each.fetched_at,
                "now": now,
            }
            for each in missing
        ]
        if found:
            connection.execute(_KEEP, found)
        connection.execute(
            _SETTLE, {"channel_id": channel_id, "now": now, "still": [each["archive_uri"] for each in found]}
        )
        connection.execute(_CHECKED, {"channel_id": channel_id})


def dismiss(connection: Connection, archive_uri: str, *, by: str) -> bool:
    """Settle what was found of an object by hand; False where nothing is open."""
    return connection.execute(_DISMISS, {"archive_uri": archive_uri, "by": by}).rowcount > 0
