"""What lookups do once a day or after an import: when each was last done, as a row of `consumers` of no channel."""

from datetime import datetime

from sqlalchemy import Connection, text

SWEEP, DAILY_SLICE, NEW_HELD = "lookup_sweep", "reconciliation", "new_holdings"
"""Live assets are looked through for missing metadata; the share of a day is enqueued; what an import added is."""

_IS_DUE = text("SELECT NOT EXISTS (SELECT FROM consumers WHERE name = :name AND read_at > now() - interval '1 day')")
_MARK_DONE = text("""
    INSERT INTO consumers (name, channel_id, channel_seq, read_at) VALUES (:name, 0, 0, coalesce(:at, now()))
    ON CONFLICT (name, channel_id) DO UPDATE SET read_at = excluded.read_at""")
_MAKE_DUE = text("DELETE FROM consumers WHERE name = :name")


def is_due(connection: Connection, name: str) -> bool:
    """Say whether it was last done more than a day ago, or never."""
    return bool(connection.scalar(_IS_DUE, {"name": name}))


def mark_done(connection: Connection, name: str, *, at: datetime | None = None) -> None:
    """Keep that it was done now, or at this time."""
    connection.execute(_MARK_DONE, {"name": name, "at": at})


def make_due(connection: Connection, name: str) -> None:
    """Let it be done with the next run, whenever it was last done."""
    connection.execute(_MAKE_DUE, {"name": name})
