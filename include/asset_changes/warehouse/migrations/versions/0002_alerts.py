"""What the watchdog keeps: the alerts, and what the last nightly replay of a channel changed."""

from alembic import op

revision = "0002"
down_revision = "0001"

_ALERTS = """
CREATE TABLE alerts (
    channel_id integer NOT NULL,
    condition text NOT NULL,
    since timestamptz NOT NULL,
    notified_at timestamptz,
    cleared_at timestamptz,
    PRIMARY KEY (channel_id, condition, since)
);
-- One alert per condition and channel until it clears.
CREATE UNIQUE INDEX alerts_open ON alerts (channel_id, condition) WHERE cleared_at IS NULL;

-- Null until a nightly replay has looked at the channel; 0 is the standing proof.
ALTER TABLE channels ADD replayed_at timestamptz, ADD replay_changed_count integer;
"""


def upgrade() -> None:
    """Make the table and the columns."""
    op.execute(_ALERTS)
