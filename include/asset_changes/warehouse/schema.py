"""The tables of the warehouse, as SQLAlchemy sees them; `migrations/` makes them.

The schema's name is a setting, so nothing here carries it: connections set their search path.
All times are `timestamptz`; ids compare byte by byte (`COLLATE "C"`), as the registers' order demands.
"""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table, Text

VERSION = "0004"
"""The migration this code needs: the head of `migrations/versions`."""

metadata = MetaData()

_MOMENT = DateTime(timezone=True)
_ID = Text(collation="C")


def _moment(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, _MOMENT, nullable=nullable)


channels = Table(
    "channels",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("asset_family", Text, nullable=False),
    Column("asset_type", Text, nullable=False),
    Column("lifecycles", Text),
    _moment("started_at"),
    _moment("discovered_at"),
    _moment("last_checked_at"),
    _moment("caught_up_at"),
    _moment("last_change_at"),
    _moment("retired_at"),
    _moment("replayed_at"),
    Column("replay_changed_count", Integer),
    _moment("retirement_known_at"),
    Column("last_channel_seq", BigInteger),
    _moment("missing_since"),
    _moment("archive_checked_at"),
    _moment("refused_at"),
)

change_sets = Table(
    "change_sets",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("change_set_id", _ID, primary_key=True),
    Column("channel_seq", BigInteger),
    Column("archive_uri", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    _moment("fetched_at", nullable=False),
    _moment("loaded_at"),
    _moment("confirm_tried_at"),
    _moment("confirmed_at"),
    Column("is_confirm_implied", Boolean, nullable=False),
    _moment("rebuilt_at"),
    Column("redelivered_count", Integer, nullable=False),
    Column("change_count", Integer, nullable=False),
    Column("new_count", Integer, nullable=False),
    Column("update_count", Integer, nullable=False),
    Column("delete_count", Integer, nullable=False),
    Column("superseded_count", Integer, nullable=False),
    Column("rejected_count", Integer, nullable=False),
    _moment("oldest_change_at"),
    _moment("newest_change_at"),
    Column("dag_id", Text),
    Column("run_id", Text),
    _moment("committed_at"),
)

asset_states = Table(
    "asset_states",
    metadata,
    Column("asset_id", _ID, primary_key=True),
    Column("asset_type", Text),
    Column("asset_family", Text, nullable=False),
    Column("channel_id", Integer, nullable=False),
    Column("asset_lifecycle", Text),
    _moment("upserted_at"),
    Column("upsert_change_set_id", _ID),
    Column("upsert_position", Integer),
    _moment("deleted_at"),
    Column("delete_change_set_id", _ID),
    Column("delete_position", Integer),
    _moment("loaded_at", nullable=False),
    Column("was_live", Boolean),
)

asset_changes = Table(
    "asset_changes",
    metadata,
    Column("fetched_at", _MOMENT, primary_key=True),
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("change_set_id", _ID, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("asset_id", _ID, nullable=False),
    Column("asset_lifecycle", Text, nullable=False),
    Column("asset_type", Text),
    _moment("changed_at", nullable=False),
    Column("is_time_inferred", Boolean, nullable=False),
    Column("uri", Text),
    _moment("loaded_at", nullable=False),
)

deletions = Table(
    "deletions",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("change_set_id", _ID, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("asset_id", _ID, nullable=False),
    _moment("deleted_at", nullable=False),
    _moment("received_at", nullable=False),
    _moment("applied_at", nullable=False),
    Column("was_held", Boolean),
    Column("is_time_inferred", Boolean),
    Column("was_in_holdings", Boolean),
    Column("is_rebuilt", Boolean, nullable=False),
)

deletion_corrections = Table(
    "deletion_corrections",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("change_set_id", _ID, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("asset_id", _ID, nullable=False),
    Column("reads_as", Text, nullable=False),
    Column("corrected_at", _MOMENT, primary_key=True),
)

feed_gaps = Table(
    "feed_gaps",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("unread_from", _MOMENT, primary_key=True),
    _moment("unread_to", nullable=False),
    _moment("reconciled_at"),
)

archive_findings = Table(
    "archive_findings",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("archive_uri", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("change_set_id", _ID),
    _moment("received_at", nullable=False),
    _moment("found_at", nullable=False),
    Column("detail", Text),
    _moment("settled_at"),
    Column("settled_how", Text),
    Column("settled_by", Text),
)

rejected_changes = Table(
    "rejected_changes",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("change_set_id", _ID, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("asset_id", _ID),
    Column("asset_lifecycle", Text),
    Column("raw", Text, nullable=False),
    _moment("rejected_at", nullable=False),
    _moment("dismissed_at"),
    Column("dismissed_by", Text),
)

alerts = Table(
    "alerts",
    metadata,
    Column("channel_id", Integer, primary_key=True, autoincrement=False),
    Column("condition", Text, primary_key=True),
    Column("since", _MOMENT, primary_key=True),
    _moment("notified_at"),
    _moment("cleared_at"),
    Column("says", Text),
    Column("notified_count", Integer),
)
