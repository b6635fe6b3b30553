"""The first tables.

Everything is written in SQL: partitions, storage parameters and collations have no other spelling.
"""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE channels (
    channel_id integer PRIMARY KEY,
    asset_family text NOT NULL,
    asset_type text NOT NULL,
    lifecycles text,
    started_at timestamptz,
    discovered_at timestamptz,
    last_checked_at timestamptz,
    caught_up_at timestamptz,
    last_change_at timestamptz,
    retired_at timestamptz
);

CREATE TABLE change_sets (
    channel_id integer NOT NULL,
    change_set_id text COLLATE "C" NOT NULL,
    channel_seq integer,
    archive_uri text NOT NULL,
    content_hash text NOT NULL,
    fetched_at timestamptz NOT NULL,
    loaded_at timestamptz,
    confirm_tried_at timestamptz,
    confirmed_at timestamptz,
    is_confirm_implied boolean NOT NULL DEFAULT false,
    rebuilt_at timestamptz,
    redelivered_count integer NOT NULL DEFAULT 0,
    change_count integer NOT NULL DEFAULT 0,
    new_count integer NOT NULL DEFAULT 0,
    update_count integer NOT NULL DEFAULT 0,
    delete_count integer NOT NULL DEFAULT 0,
    superseded_count integer NOT NULL DEFAULT 0,
    rejected_count integer NOT NULL DEFAULT 0,
    oldest_change_at timestamptz,
    newest_change_at timestamptz,
    dag_id text,
    run_id text,
    PRIMARY KEY (channel_id, change_set_id),
    CONSTRAINT change_sets_channel_seq UNIQUE (channel_id, channel_seq),
    CONSTRAINT change_sets_confirmed_is_loaded CHECK (confirmed_at IS NULL OR loaded_at IS NOT NULL),
    CONSTRAINT change_sets_counts_add_up CHECK (
        change_count = new_count + update_count + delete_count + superseded_count + rejected_count)
);
-- What is open per channel is asked for at every delivery, and is nearly always one row.
CREATE INDEX change_sets_open ON change_sets (channel_id) WHERE confirmed_at IS NULL;

CREATE TABLE asset_states (
    asset_id text COLLATE "C" PRIMARY KEY,
    asset_type text,
    asset_family text NOT NULL,
    channel_id integer NOT NULL,
    asset_lifecycle text,
    upserted_at timestamptz,
    upsert_change_set_id text COLLATE "C",
    upsert_position integer,
    deleted_at timestamptz,
    delete_change_set_id text COLLATE "C",
    delete_position integer,
    loaded_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 85);  -- room for updates in place; no index but the key, so that they stay in place

CREATE TABLE asset_changes (
    fetched_at timestamptz NOT NULL,
    channel_id integer NOT NULL,
    change_set_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    asset_id text COLLATE "C" NOT NULL,
    asset_lifecycle text NOT NULL,
    asset_type text,
    changed_at timestamptz NOT NULL,
    is_time_inferred boolean NOT NULL,
    uri text,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (fetched_at, channel_id, change_set_id, position)
) PARTITION BY RANGE (fetched_at);
CREATE TABLE asset_changes_default PARTITION OF asset_changes DEFAULT;
CREATE INDEX asset_changes_asset_id ON asset_changes (asset_id);  -- asset_history of one asset

CREATE TABLE deletions (
    channel_id integer NOT NULL,
    change_set_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    asset_id text COLLATE "C" NOT NULL,
    deleted_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    was_held boolean NOT NULL,
    PRIMARY KEY (channel_id, change_set_id, position)
);
-- The compliance report reads spans of days.
CREATE INDEX deletions_received_at ON deletions (received_at);

CREATE TABLE rejected_changes (
    channel_id integer NOT NULL,
    change_set_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    reason text NOT NULL,
    asset_id text COLLATE "C",
    asset_lifecycle text,
    raw text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel_id, change_set_id, position)
);
"""

_VIEWS = """
CREATE VIEW assets AS
SELECT asset_id, asset_type, asset_family, channel_id, asset_lifecycle,
       upserted_at AS changed_at, upsert_change_set_id AS change_set_id, loaded_at
FROM asset_states
WHERE upserted_at IS NOT NULL AND (deleted_at IS NULL OR upserted_at > deleted_at);

CREATE VIEW deleted_assets AS
SELECT asset_id, asset_type, asset_family, channel_id,
       deleted_at, delete_change_set_id AS change_set_id, loaded_at
FROM asset_states
WHERE deleted_at IS NOT NULL AND (upserted_at IS NULL OR upserted_at <= deleted_at);

-- The order is that of the registers: on equal times a Delete is the last word.
CREATE VIEW asset_history AS
SELECT asset_id, asset_lifecycle, changed_at AS valid_from,
       lead(changed_at) OVER later AS valid_to, lead(changed_at) OVER later IS NULL AS is_current
FROM asset_changes
WINDOW later AS (
    PARTITION BY asset_id
    ORDER BY changed_at, asset_lifecycle = 'Delete', length(change_set_id), change_set_id, position
);
"""


def upgrade() -> None:
    """Make the tables and views."""
    op.execute(_TABLES)
    op.execute(_VIEWS)
