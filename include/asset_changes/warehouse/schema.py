"""The tables of the warehouse, as SQLAlchemy sees them, with what each column means; views are in `views.py`.

`migrations/` makes them; `migrate.py` writes the meanings into the database, so that psql shows them.
The schema's name is a setting, so nothing here carries it: transactions set their search path.
All times are `timestamptz`; ids compare byte by byte (`COLLATE "C"`), as the order of the registers requires.
"""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, Boolean, ForeignKey, Integer, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from asset_changes.warehouse.columns import ID, TIME, column, metadata, time_column

VERSION = "0008"
"""The migration this code needs: the head of `migrations/versions`."""

# What an asset is, as Getty says: `lookup/metadata.py` reads the values of these names.
METADATA_COLUMNS: dict[str, Any] = {
    "title": Text, "caption": Text, "artist": Text, "copyright": Text, "object_name": Text, "credit_line": Text,
    "asset_family": Text, "collection_code": Text, "collection_id": Integer, "collection_name": Text,
    "license_model": Text, "date_created": TIME, "date_created_text": Text, "date_submitted": TIME,
    "date_submitted_text": Text, "date_camera_shot": TIME, "date_camera_shot_text": Text, "max_width": Integer,
    "max_height": Integer, "orientation": Text, "color_type": Text, "graphical_style": Text, "city": Text,
    "state_province": Text, "country": Text, "editorial_segments": ARRAY(Text), "people": ARRAY(Text),
    "product_types": ARRAY(Text), "event_ids": ARRAY(BigInteger), "editorial_source_id": Integer,
    "editorial_source_name": Text, "keywords": JSONB, "alternative_ids": JSONB, "call_for_image": Boolean,
    "quality_rank": Integer, "how_can_i_use_it": Text, "release_info": Text, "usage_restrictions": ARRAY(Text),
    "editorial_use_only": Boolean, "is_ai_editable": Boolean, "clip_length": Text, "era": Text, "mastered_to": Text,
    "originally_shot_on": Text, "shot_speed": Text, "source": Text,
}  # fmt: skip

channels = Table(
    "channels",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("asset_family", Text, nullable=False),
    column("asset_type", Text, nullable=False),
    column("lifecycles", Text),
    time_column("started_at"),
    time_column("discovered_at"),
    time_column("last_checked_at"),
    time_column("caught_up_at"),
    time_column("last_change_at"),
    time_column("retired_at"),
    time_column("replayed_at"),
    column("replay_changed_count", Integer),
    time_column("retirement_known_at"),
    column("last_channel_seq", BigInteger),
    time_column("missing_since"),
    time_column("archive_checked_at"),
    time_column("refused_at"),
    time_column("rebuilding_since"),
    comment="When each channel was last asked, caught up, changed.",
)

change_sets = Table(
    "change_sets",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("change_set_id", ID, primary_key=True),
    column("channel_seq", BigInteger),
    column("archive_uri", Text, nullable=False),
    column("content_hash", Text, nullable=False),
    time_column("fetched_at", nullable=False),
    time_column("loaded_at"),
    time_column("confirm_tried_at"),
    time_column("confirmed_at"),
    column("is_confirm_implied", Boolean, nullable=False),
    time_column("rebuilt_at"),
    column("redelivered_count", Integer, nullable=False),
    column("change_count", Integer, nullable=False),
    column("new_count", Integer, nullable=False),
    column("update_count", Integer, nullable=False),
    column("delete_count", Integer, nullable=False),
    column("superseded_count", Integer, nullable=False),
    column("rejected_count", Integer, nullable=False),
    time_column("oldest_change_at"),
    time_column("newest_change_at"),
    column("dag_id", Text),
    column("run_id", Text),
    time_column("committed_at"),
    comment="The ledger: when each change set was fetched, loaded, confirmed, and what it contained.",
)

asset_states = Table(
    "asset_states",
    metadata,
    column("asset_id", ID, primary_key=True),
    column("asset_type", Text),
    column("asset_family", Text, nullable=False),
    column("channel_id", Integer, nullable=False),
    column("asset_lifecycle", Text),
    time_column("upserted_at"),
    column("upsert_change_set_id", ID),
    column("upsert_position", Integer),
    time_column("deleted_at"),
    column("delete_change_set_id", ID),
    column("delete_position", Integer),
    time_column("loaded_at", nullable=False),
    column("was_live", Boolean),
    comment="Behind both views: per asset its newest upsert and its newest Delete.",
)

asset_changes = Table(
    "asset_changes",
    metadata,
    column("fetched_at", TIME, primary_key=True),
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("change_set_id", ID, primary_key=True),
    column("position", Integer, primary_key=True, autoincrement=False),
    column("asset_id", ID, nullable=False),
    column("asset_lifecycle", Text, nullable=False),
    column("asset_type", Text),
    time_column("changed_at", nullable=False),
    column("is_time_inferred", Boolean, nullable=False),
    column("uri", Text),
    time_column("loaded_at", nullable=False),
    comment="One partition per month of `fetched_at`: every valid change that was ever received.",
)

deletions = Table(
    "deletions",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("change_set_id", ID, primary_key=True),
    column("position", Integer, primary_key=True, autoincrement=False),
    column("asset_id", ID, nullable=False),
    time_column("deleted_at", nullable=False),
    time_column("received_at", nullable=False),
    time_column("applied_at", nullable=False),
    column("was_held", Boolean),
    column("is_time_inferred", Boolean),
    column("was_in_holdings", Boolean),
    column("is_rebuilt", Boolean, nullable=False),
    comment="Insert only: each Delete, when it came, when it was applied, whether the asset was live until then.",
)

deletion_corrections = Table(
    "deletion_corrections",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("change_set_id", ID, primary_key=True),
    column("position", Integer, primary_key=True, autoincrement=False),
    column("asset_id", ID, nullable=False),
    column("reads_as", Text, nullable=False),
    column("corrected_at", TIME, primary_key=True),
    comment="Insert only: Deletes that newer code no longer reads as Deletes.",
)

feed_gaps = Table(
    "feed_gaps",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("unread_from", TIME, primary_key=True),
    time_column("unread_to", nullable=False),
    time_column("reconciled_at"),
    comment="Insert only: spans of more than an hour in which a channel was not read.",
)

archive_findings = Table(
    "archive_findings",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("archive_uri", Text, primary_key=True),
    column("kind", Text, primary_key=True),
    column("change_set_id", ID),
    time_column("received_at", nullable=False),
    time_column("found_at", nullable=False),
    column("detail", Text),
    time_column("settled_at"),
    column("settled_how", Text),
    column("settled_by", Text),
    comment="What only the archive has, or has lost, until it is resolved.",
)

rejected_changes = Table(
    "rejected_changes",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("change_set_id", ID, primary_key=True),
    column("position", Integer, primary_key=True, autoincrement=False),
    column("reason", Text, nullable=False),
    column("asset_id", ID),
    column("asset_lifecycle", Text),
    column("raw", Text, nullable=False),
    time_column("rejected_at", nullable=False),
    time_column("dismissed_at"),
    column("dismissed_by", Text),
    comment="Messages that cannot be applied, with reason and raw text.",
)

alerts = Table(
    "alerts",
    metadata,
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("condition", Text, primary_key=True),
    column("since", TIME, primary_key=True),
    time_column("notified_at"),
    time_column("cleared_at"),
    column("says", Text),
    column("notified_count", Integer),
    comment="What the watchdog found, when somebody was notified, and when it was over.",
)

consumers = Table(
    "consumers",
    metadata,
    column("name", Text, primary_key=True),
    column("channel_id", Integer, primary_key=True, autoincrement=False),
    column("channel_seq", BigInteger, nullable=False),
    time_column("read_at", nullable=False),
    comment="How far a consumer inside this project has read each channel.",
)

lookup_queue = Table(
    "lookup_queue",
    metadata,
    column("asset_id", ID, primary_key=True),
    column("channel_id", Integer, nullable=False),
    column("asset_type", Text),
    column("reason", ID, nullable=False),
    column("generation", BigInteger, nullable=False),
    time_column("enqueued_at", nullable=False),
    time_column("not_before", nullable=False),
    column("tries", Integer, nullable=False),
    column("question", SmallInteger, nullable=False),
    column("conn_id", Text),
    comment="Assets that Getty is still to be asked about.",
)

lookup_connections = Table(
    "lookup_connections",
    metadata,
    column("conn_id", Text, primary_key=True),
    column("lease_id", Text),
    column("leased_by", Text),
    time_column("leased_until"),
    column("refused_fields", ARRAY(Text), nullable=False),
    column("error", Text),
    time_column("error_at"),
    time_column("last_answer_at"),
    comment="Per connection who asks now, and what Getty refuses.",
)

lookup_calls = Table(
    "lookup_calls",
    metadata,
    column("conn_id", Text, primary_key=True),
    column("hour", TIME, primary_key=True),
    column("calls", Integer, nullable=False),
    column("throttled", Integer, nullable=False),
    column("answered", Integer, nullable=False),
    comment="Lookups per connection and hour; kept for 90 days.",
)

asset_metadata = Table(
    "asset_metadata",
    metadata,
    column("asset_id", ID, ForeignKey("asset_states.asset_id"), primary_key=True),
    *(column(name, kind) for name, kind in METADATA_COLUMNS.items()),
    column("raw", JSONB, nullable=False),
    time_column("as_of", nullable=False),
    time_column("fetched_at", nullable=False),
    column("language", Text, nullable=False),
    column("content_hash", Text, nullable=False),
    comment="What Getty says of each live asset. Content and personal data: a Delete removes the row.",
)
