"""What the watchdog said and of how many, so that it notifies again of more; who knows that a channel is gone."""

from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = """
-- The sentence as of the last watch, and the number that it named: if many follow a few, it notifies again.
ALTER TABLE alerts ADD says text, ADD notified_count integer;

-- A channel that vanished is an alert until Getty lists it again, or a person takes note.
ALTER TABLE channels ADD retirement_known_at timestamptz;
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(_COLUMNS)
