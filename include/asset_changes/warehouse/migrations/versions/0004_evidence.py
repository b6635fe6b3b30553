"""Evidence of everything that was received: gaps, corrections, what the archive has and the tables do not."""

from alembic import op

revision = "0004"
down_revision = "0003"

_COLUMNS = """
-- A number of its own for every commit that changes what the tables hold of a set: it rises with the clock.
ALTER TABLE channels ADD last_channel_seq bigint, ADD missing_since timestamptz, ADD archive_checked_at timestamptz,
    ADD refused_at timestamptz;
ALTER TABLE change_sets ALTER channel_seq TYPE bigint, ADD committed_at timestamptz;
CREATE INDEX change_sets_fetched_at ON change_sets (channel_id, fetched_at);  -- the newest sets of each channel
UPDATE channels SET last_channel_seq = (
    SELECT max(channel_seq) FROM change_sets WHERE change_sets.channel_id = channels.channel_id);

ALTER TABLE asset_states ADD was_live boolean;

ALTER TABLE deletions ALTER was_held DROP NOT NULL, ALTER applied_at DROP DEFAULT,
    ADD is_time_inferred boolean, ADD was_in_holdings boolean, ADD is_rebuilt boolean NOT NULL DEFAULT false;
UPDATE deletions AS d SET is_rebuilt = true
FROM change_sets AS s
WHERE s.channel_id = d.channel_id AND s.change_set_id = d.change_set_id
  AND (d.applied_at >= s.rebuilt_at OR d.applied_at > s.loaded_at);

ALTER TABLE rejected_changes ADD dismissed_at timestamptz, ADD dismissed_by text;
"""

_TABLES = """
CREATE TABLE deletion_corrections (
    channel_id integer NOT NULL,
    change_set_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    asset_id text COLLATE "C" NOT NULL,
    reads_as text NOT NULL,
    corrected_at timestamptz NOT NULL,
    PRIMARY KEY (channel_id, change_set_id, position, corrected_at)
);

CREATE TABLE feed_gaps (
    channel_id integer NOT NULL,
    unread_from timestamptz NOT NULL,
    unread_to timestamptz NOT NULL,
    reconciled_at timestamptz,
    PRIMARY KEY (channel_id, unread_from)
);

CREATE TABLE archive_findings (
    channel_id integer NOT NULL,
    archive_uri text NOT NULL,
    kind text NOT NULL,
    change_set_id text COLLATE "C",
    received_at timestamptz NOT NULL,
    found_at timestamptz NOT NULL,
    detail text,
    settled_at timestamptz,
    settled_how text,
    settled_by text,
    PRIMARY KEY (channel_id, archive_uri, kind),
    CONSTRAINT archive_findings_kind CHECK (kind IN ('unreadable', 'not_in_ledger', 'damaged', 'missing'))
);
-- Nearly always empty: what is open is asked for at every look.
CREATE INDEX archive_findings_open ON archive_findings (channel_id) WHERE settled_at IS NULL;

-- Whoever owns the tables cannot change evidence by mistake. Truncating, which a rebuild needs, is a right of its own.
REVOKE UPDATE, DELETE ON deletions, deletion_corrections, feed_gaps FROM CURRENT_USER;
GRANT UPDATE (reconciled_at) ON feed_gaps TO CURRENT_USER;
"""

_HEALTH = """
-- Nobody here tried to confirm it, and yet Getty went on to the next one: another consumer confirmed it.
CREATE VIEW confirmed_elsewhere AS
SELECT channel_id, change_set_id, fetched_at, confirmed_at
FROM change_sets
WHERE is_confirm_implied AND confirm_tried_at IS NULL AND rebuilt_at IS NULL;
CREATE INDEX change_sets_confirmed_elsewhere ON change_sets (channel_id)
    WHERE is_confirm_implied AND confirm_tried_at IS NULL AND rebuilt_at IS NULL;

-- The one place that decides whether a channel is caught up, unread or unconfirmed. How long is too long is for the
-- reader to say: nothing here depends on the clock.
CREATE VIEW channel_health AS
SELECT channel_id, asset_family, asset_type, discovered_at, last_checked_at, caught_up_at, last_change_at,
       missing_since, retired_at, retirement_known_at, replayed_at,
       retired_at IS NOT NULL AND coalesce(retirement_known_at < retired_at, true) AS is_vanished,
       open_sets, oldest_open_change_at, not_loaded_since, not_confirmed_since,
       is_caught_up,
       coalesce(last_checked_at, discovered_at) AS unchecked_since,
       -- The feed ascends: what Getty still holds is newer than what it has handed out.
       CASE WHEN open_sets > 0 THEN oldest_open_change_at
            ELSE coalesce(greatest(caught_up_at, last_change_at), discovered_at) END AS unread_since,
       CASE WHEN open_sets > 0 THEN oldest_open_change_at
            WHEN is_caught_up THEN caught_up_at
            ELSE last_change_at END AS lag_since
FROM channels
CROSS JOIN LATERAL (
    SELECT count(*) AS open_sets, min(coalesce(oldest_change_at, fetched_at)) AS oldest_open_change_at,
           min(fetched_at) FILTER (WHERE loaded_at IS NULL) AS not_loaded_since,
           min(loaded_at) AS not_confirmed_since
    FROM change_sets
    WHERE change_sets.channel_id = channels.channel_id AND confirmed_at IS NULL
) AS unconfirmed
CROSS JOIN LATERAL (
    SELECT open_sets = 0 AND coalesce(caught_up_at >= last_checked_at, false) AS is_caught_up
) AS answer;
"""


def upgrade() -> None:
    """Add the columns, the tables and the views."""
    op.execute(_COLUMNS)
    op.execute(_TABLES)
    op.execute(_HEALTH)
