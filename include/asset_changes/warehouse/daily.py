"""What lookups do once a day: when each was last done, as a row of the table `consumers` of no channel."""

from sqlalchemy import Connection, text

SWEEP, DAILY_SLICE = "lookup_sweep", "reconciliation"
"""All live assets are looked through for missing metadata; the day's share of a reconciliation is enqueued."""

_IS_DUE = text("SELECT NOT EXISTS (SELECT FROM consumers WHERE name = :name AND read_at > now() - interval '1 day')")
_MARK_DONE = text("""
    INSERT INTO consumers (name, channel_id, channel_seq, read_at) VALUES (:name, 0, 0, now())
    ON CONFLICT (name, channel_id) DO UPDATE SET read_at = excluded.read_at""")
_MAKE_DUE = text("DELETE FROM consumers WHERE name = :name")


def is_due(connection: Connection, name: str) -> bool:
    """Say whether it was last done more than a day ago, or never."""
    return bool(connection.scalar(_IS_DUE, {"name": name}))


def mark_done(connection: Connection, name: str) -> None:
    """Keep that it is done for a day."""
    connection.execute(_MARK_DONE, {"name": name})


def make_due(connection: Connection, name: str) -> None:
    """Let it be done with the next run, whenever it was last done."""
    connection.execute(_MAKE_DUE, {"name": name})
