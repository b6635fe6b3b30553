"""The tables of the warehouse, as SQLAlchemy sees them, with what each column means; views are in `views.py`.

`migrations/` makes them; `migrate.py` writes the meanings into the database, so that psql shows them.
The schema's name is a setting, so nothing here carries it: transactions set their search path.
All times are `timestamptz`; ids compare byte by byte (`COLLATE "C"`), as the order of the registers requires.
"""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, DateTime, ForeignKey, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from asset_changes.warehouse.meanings import MEANINGS

VERSION = "0006"
"""The migration this code needs: the head of `migrations/versions`."""

metadata = MetaData()

_TIME = DateTime(timezone=True)
_ID = Text(collation="C")


def _column(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *more, comment=MEANINGS[name], **options)


def _time(name: str, *, nullable: bool = True) -> Column[Any]:
    return _column(name, _TIME, nullable=nullable)


# What an asset is, as Getty says: `lookup/metadata.py` reads the values of these names.
METADATA_COLUMNS: dict[str, Any] = {
    "title": Text, "caption": Text, "artist": Text, "copyright": Text, "object_name": Text, "credit_line": Text,
    "asset_family": Text, "collection_code": Text, "collection_id": Integer, "collection_name": Text,
    "license_model": Text, "date_created": _TIME, "date_created_text": Text, "date_submitted": _TIME,
    "date_submitted_text": Text, "date_camera_shot": _TIME, "date_camera_shot_text": Text, "max_width": Integer,
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
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("asset_family", Text, nullable=False),
    _column("asset_type", Text, nullable=False),
    _column("lifecycles", Text),
    _time("started_at"),
    _time("discovered_at"),
    _time("last_checked_at"),
    _time("caught_up_at"),
    _time("last_change_at"),
    _time("retired_at"),
    _time("replayed_at"),
    _column("replay_changed_count", Integer),
    _time("retirement_known_at"),
    _column("last_channel_seq", BigInteger),
    _time("missing_since"),
    _time("archive_checked_at"),
    _time("refused_at"),
    comment="When each channel was last asked, caught up, changed.",
)

change_sets = Table(
    "change_sets",
    metadata,
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("change_set_id", _ID, primary_key=True),
    _column("channel_seq", BigInteger),
    _column("archive_uri", Text, nullable=False),
    _column("content_hash", Text, nullable=False),
    _time("fetched_at", nullable=False),
    _time("loaded_at"),
    _time("confirm_tried_at"),
    _time("confirmed_at"),
    _column("is_confirm_implied", Boolean, nullable=False),
    _time("rebuilt_at"),
    _column("redelivered_count", Integer, nullable=False),
    _column("change_count", Integer, nullable=False),
    _column("new_count", Integer, nullable=False),
    _column("update_count", Integer, nullable=False),
    _column("delete_count", Integer, nullable=False),
    _column("superseded_count", Integer, nullable=False),
    _column("rejected_count", Integer, nullable=False),
    _time("oldest_change_at"),
    _time("newest_change_at"),
    _column("dag_id", Text),
    _column("run_id", Text),
    _time("committed_at"),
    comment="The ledger: when each change set was fetched, loaded, confirmed, and what it contained.",
)

asset_states = Table(
    "asset_states",
    metadata,
    _column("asset_id", _ID, primary_key=True),
    _column("asset_type", Text),
    _column("asset_family", Text, nullable=False),
    _column("channel_id", Integer, nullable=False),
    _column("asset_lifecycle", Text),
    _time("upserted_at"),
    _column("upsert_change_set_id", _ID),
    _column("upsert_position", Integer),
    _time("deleted_at"),
    _column("delete_change_set_id", _ID),
    _column("delete_position", Integer),
    _time("loaded_at", nullable=False),
    _column("was_live", Boolean),
    comment="Behind both views: per asset its newest upsert and its newest Delete.",
)

asset_changes = Table(
    "asset_changes",
    metadata,
    _column("fetched_at", _TIME, primary_key=True),
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("change_set_id", _ID, primary_key=True),
    _column("position", Integer, primary_key=True, autoincrement=False),
    _column("asset_id", _ID, nullable=False),
    _column("asset_lifecycle", Text, nullable=False),
    _column("asset_type", Text),
    _time("changed_at", nullable=False),
    _column("is_time_inferred", Boolean, nullable=False),
    _column("uri", Text),
    _time("loaded_at", nullable=False),
    comment="One partition per month of `fetched_at`: every valid change that was ever received.",
)

deletions = Table(
    "deletions",
    metadata,
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("change_set_id", _ID, primary_key=True),
    _column("position", Integer, primary_key=True, autoincrement=False),
    _column("asset_id", _ID, nullable=False),
    _time("deleted_at", nullable=False),
    _time("received_at", nullable=False),
    _time("applied_at", nullable=False),
    _column("was_held", Boolean),
    _column("is_time_inferred", Boolean),
    _column("was_in_holdings", Boolean),
    _column("is_rebuilt", Boolean, nullable=False),
    comment="Insert only: each Delete, when it came, when it was applied, whether the asset was live until then.",
)

deletion_corrections = Table(
    "deletion_corrections",
    metadata,
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("change_set_id", _ID, primary_key=True),
    _column("position", Integer, primary_key=True, autoincrement=False),
    _column("asset_id", _ID, nullable=False),
    _column("reads_as", Text, nullable=False),
    _column("corrected_at", _TIME, primary_key=True),
    comment="Insert only: Deletes that newer code no longer reads as Deletes.",
)

feed_gaps = Table(
    "feed_gaps",
    metadata,
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("unread_from", _TIME, primary_key=True),
    _time("unread_to", nullable=False),
    _time("reconciled_at"),
    comment="Insert only: spans of more than an hour in which a channel was not read.",
)

archive_findings = Table(
    "archive_findings",
    metadata,
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("archive_uri", Text, primary_key=True),
    _column("kind", Text, primary_key=True),
    _column("change_set_id", _ID),
    _time("received_at", nullable=False),
    _time("found_at", nullable=False),
    _column("detail", Text),
    _time("settled_at"),
    _column("settled_how", Text),
    _column("settled_by", Text),
    comment="What only the archive has, or has lost, until it is resolved.",
)

rejected_changes = Table(
    "rejected_changes",
    metadata,
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("change_set_id", _ID, primary_key=True),
    _column("position", Integer, primary_key=True, autoincrement=False),
    _column("reason", Text, nullable=False),
    _column("asset_id", _ID),
    _column("asset_lifecycle", Text),
    _column("raw", Text, nullable=False),
    _time("rejected_at", nullable=False),
    _time("dismissed_at"),
    _column("dismissed_by", Text),
    comment="Messages that cannot be applied, with reason and raw text.",
)

alerts = Table(
    "alerts",
    metadata,
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("condition", Text, primary_key=True),
    _column("since", _TIME, primary_key=True),
    _time("notified_at"),
    _time("cleared_at"),
    _column("says", Text),
    _column("notified_count", Integer),
    comment="What the watchdog found, when somebody was notified, and when it was over.",
)

consumers = Table(
    "consumers",
    metadata,
    _column("name", Text, primary_key=True),
    _column("channel_id", Integer, primary_key=True, autoincrement=False),
    _column("channel_seq", BigInteger, nullable=False),
    _time("read_at", nullable=False),
    comment="How far a consumer inside this project has read each channel.",
)

lookup_queue = Table(
    "lookup_queue",
    metadata,
    _column("asset_id", _ID, primary_key=True),
    _column("channel_id", Integer, nullable=False),
    _column("asset_type", Text),
    _column("reason", _ID, nullable=False),
    _column("generation", BigInteger, nullable=False),
    _time("enqueued_at", nullable=False),
    _time("not_before", nullable=False),
    _column("tries", Integer, nullable=False),
    comment="Assets that Getty is still to be asked about.",
)

lookup_connections = Table(
    "lookup_connections",
    metadata,
    _column("conn_id", Text, primary_key=True),
    _column("lease_id", Text),
    _column("leased_by", Text),
    _time("leased_until"),
    _column("refused_fields", ARRAY(Text), nullable=False),
    _column("error", Text),
    _time("error_at"),
    _time("last_answer_at"),
    comment="Per connection who asks now, and what Getty refuses.",
)

lookup_calls = Table(
    "lookup_calls",
    metadata,
    _column("conn_id", Text, primary_key=True),
    _column("hour", _TIME, primary_key=True),
    _column("calls", Integer, nullable=False),
    _column("throttled", Integer, nullable=False),
    _column("answered", Integer, nullable=False),
    comment="Lookups per connection and hour; kept for 90 days.",
)

asset_metadata = Table(
    "asset_metadata",
    metadata,
    _column("asset_id", _ID, ForeignKey("asset_states.asset_id"), primary_key=True),
    *(_column(name, kind) for name, kind in METADATA_COLUMNS.items()),
    _column("raw", JSONB, nullable=False),
    _time("as_of", nullable=False),
    _time("fetched_at", nullable=False),
    _column("language", Text, nullable=False),
    _column("content_hash", Text, nullable=False),
    comment="What Getty says of each live asset. Content and personal data: a Delete removes the row.",
)

held_assets = Table(
    "held_assets",
    metadata,
    _column("source", _ID, primary_key=True),
    _column("asset_id", _ID, primary_key=True),
    _column("asset_type", Text),
    _column("location", Text),
    _time("held_since", nullable=False),
    _time("held_until"),
    comment="What the company says it holds, per source. No row is ever deleted.",
)

holding_imports = Table(
    "holding_imports",
    metadata,
    _column("import_id", BigInteger, primary_key=True),
    _column("source", _ID, nullable=False),
    _column("uri", Text, nullable=False),
    _time("started_at", nullable=False),
    _time("ended_at", nullable=False),
    *(
        _column(name, BigInteger, nullable=False)
        for name in ("row_count", "new_held_count", "changed_count", "unchanged_count", "ended_count")
    ),
    _column("unreadable_count", BigInteger, nullable=False),
    _column("unreadable_lines", ARRAY(BigInteger), nullable=False),
    _column("held_count", BigInteger, nullable=False),
    _column("refused_why", Text),
    _column("accept_shrink", BigInteger),
    _column("byte_count", BigInteger),
    _column("sha256", Text),
    _column("dag_id", Text),
    _column("run_id", Text),
    _column("triggered_by", Text),
    comment="Insert only: each list of holdings, what it changed, or why it was refused.",
)
