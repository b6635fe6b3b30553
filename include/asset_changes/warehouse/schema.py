"""The tables and views of the warehouse, as SQLAlchemy sees them, with what each column means.

`migrations/` makes them; `migrate.py` writes the meanings into the database, so that psql shows them.
The schema's name is a setting, so nothing here carries it: transactions set their search path.
All times are `timestamptz`; ids compare byte by byte (`COLLATE "C"`), as the order of the registers requires.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table, Text

from asset_changes.warehouse.meanings import MEANINGS

VERSION = "0004"
"""The migration this code needs: the head of `migrations/versions`."""

metadata = MetaData()
views = MetaData()
"""Apart, since nothing is written to them."""

_TIME = DateTime(timezone=True)
_ID = Text(collation="C")


def _column(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, comment=MEANINGS[name], **options)


def _time(name: str, *, nullable: bool = True) -> Column[Any]:
    return _column(name, _TIME, nullable=nullable)


def _view(name: str, *columns: str, comment: str) -> Table:
    return Table(name, views, *(Column(each, comment=MEANINGS[each]) for each in columns), comment=comment)


assets = _view(
    "assets",
    "asset_id",
    "asset_type",
    "asset_family",
    "channel_id",
    "asset_lifecycle",
    "changed_at",
    "change_set_id",
    "loaded_at",
    comment="What is live now, one row per asset.",
)

deleted_assets = _view(
    "deleted_assets",
    "asset_id",
    "asset_type",
    "asset_family",
    "channel_id",
    "deleted_at",
    "change_set_id",
    "loaded_at",
    comment="What Getty deleted and is not live, one row per asset.",
)

asset_history = _view(
    "asset_history",
    "asset_id",
    "asset_lifecycle",
    "valid_from",
    "valid_to",
    "is_current",
    comment="What was valid from when to when, by Getty's time.",
)

channel_health = _view(
    "channel_health",
    "channel_id",
    "asset_family",
    "asset_type",
    "discovered_at",
    "last_checked_at",
    "caught_up_at",
    "last_change_at",
    "missing_since",
    "retired_at",
    "retirement_known_at",
    "replayed_at",
    "is_vanished",
    "open_sets",
    "oldest_open_change_at",
    "not_loaded_since",
    "not_confirmed_since",
    "is_caught_up",
    "unchecked_since",
    "unread_since",
    "lag_since",
    comment="Per channel whether it is caught up, and since when it is unread or not confirmed.",
)

confirmed_elsewhere = _view(
    "confirmed_elsewhere",
    "channel_id",
    "change_set_id",
    "fetched_at",
    "confirmed_at",
    comment="Change sets that another consumer confirmed, not this deployment.",
)

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
