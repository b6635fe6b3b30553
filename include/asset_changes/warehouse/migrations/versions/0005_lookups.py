"""What assets are: the queue of lookups, who asks, how much was asked, and the metadata that Getty gave."""

from alembic import op

revision = "0005"
down_revision = "0004"

_QUEUE = """
CREATE TABLE consumers (
    name text NOT NULL,
    channel_id integer NOT NULL,
    channel_seq bigint NOT NULL,
    read_at timestamptz NOT NULL,
    PRIMARY KEY (name, channel_id)
);

CREATE TABLE lookup_queue (
    asset_id text COLLATE "C" PRIMARY KEY,
    channel_id integer NOT NULL,
    asset_type text,
    reason text COLLATE "C" NOT NULL,
    generation bigint NOT NULL DEFAULT 1,
    enqueued_at timestamptz NOT NULL,
    not_before timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    CONSTRAINT lookup_queue_reason CHECK (reason IN ('asked', 'change', 'recheck'))
);
-- What comes next per channel and reason, newest first: one range of this index, however many rows wait for later.
CREATE INDEX lookup_queue_next ON lookup_queue (channel_id, reason, not_before DESC);
-- Since when the oldest waits, which the status page and the watchdog ask: at its end, however many wait.
CREATE INDEX lookup_queue_enqueued_at ON lookup_queue (enqueued_at);

CREATE TABLE lookup_connections (
    conn_id text PRIMARY KEY,
    lease_id text,
    leased_by text,
    leased_until timestamptz,
    refused_fields text[] NOT NULL DEFAULT '{}',
    error text,
    error_at timestamptz,
    last_answer_at timestamptz
);

CREATE TABLE lookup_calls (
    conn_id text NOT NULL,
    hour timestamptz NOT NULL,
    calls integer NOT NULL DEFAULT 0,
    throttled integer NOT NULL DEFAULT 0,
    answered integer NOT NULL DEFAULT 0,
    PRIMARY KEY (conn_id, hour)
);
"""

_METADATA = """
-- The foreign key makes Postgres refuse a TRUNCATE of asset_states that forgets what is known of the assets.
CREATE TABLE asset_metadata (
    asset_id text COLLATE "C" PRIMARY KEY REFERENCES asset_states ON DELETE CASCADE,
    title text,
    caption text,
    artist text,
    copyright text,
    object_name text,
    credit_line text,
    asset_family text,
    collection_code text,
    collection_id integer,
    collection_name text,
    license_model text,
    date_created timestamptz,
    date_created_text text,
    date_submitted timestamptz,
    date_submitted_text text,
    date_camera_shot timestamptz,
    date_camera_shot_text text,
    max_width integer,
    max_height integer,
    orientation text,
    color_type text,
    graphical_style text,
    city text,
    state_province text,
    country text,
    editorial_segments text[],
    people text[],
    product_types text[],
    event_ids bigint[],
    editorial_source_id integer,
    editorial_source_name text,
    keywords jsonb,
    alternative_ids jsonb,
    call_for_image boolean,
    quality_rank integer,
    how_can_i_use_it text,
    release_info text,
    usage_restrictions text[],
    editorial_use_only boolean,
    is_ai_editable boolean,
    clip_length text,
    era text,
    mastered_to text,
    originally_shot_on text,
    shot_speed text,
    source text,
    raw jsonb NOT NULL,
    as_of timestamptz NOT NULL,
    fetched_at timestamptz NOT NULL,
    language text NOT NULL,
    content_hash text NOT NULL
);
-- Several times quicker than the default, where the server was built with it.
DO $$ BEGIN
    ALTER TABLE asset_metadata ALTER raw SET COMPRESSION lz4, ALTER keywords SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

-- Family is the feed's: that of the metadata is the same in another spelling.
CREATE VIEW assets_with_metadata AS
SELECT assets.*, as_of,
       title, caption, artist, copyright, object_name, credit_line, collection_code, collection_id, collection_name,
       license_model, date_created, date_created_text, date_submitted, date_submitted_text, date_camera_shot,
       date_camera_shot_text, max_width, max_height, orientation, color_type, graphical_style, city, state_province,
       country, editorial_segments, people, product_types, event_ids, editorial_source_id, editorial_source_name,
       keywords, alternative_ids, call_for_image, quality_rank, how_can_i_use_it, release_info, usage_restrictions,
       editorial_use_only, is_ai_editable, clip_length, era, mastered_to, originally_shot_on, shot_speed, source,
       language
FROM assets LEFT JOIN asset_metadata USING (asset_id);
"""


def upgrade() -> None:
    """Add the tables and the view."""
    op.execute(_QUEUE)
    op.execute(_METADATA)
