"""The tables and views of the warehouse, as SQLAlchemy sees them, with what each column means.

`migrations/` makes them; `comments.py` writes the meanings into the database, so that psql shows them.
The schema's name is a setting, so nothing here carries it: transactions set their search path.
All times are `timestamptz`; ids compare byte by byte (`COLLATE "C"`), as the order of the registers requires.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table, Text

VERSION = "0004"
"""The migration this code needs: the head of `migrations/versions`."""

metadata = MetaData()
views = MetaData()
"""Apart, since nothing is written to them."""

_TIME = DateTime(timezone=True)
_ID = Text(collation="C")

_MEANINGS = {
    "applied_at": "When it was applied: the clock once all locks were taken, just before the commit",
    "archive_checked_at": "When the archive was last compared with the ledger",
    "archive_uri": "Where the body is, as received",
    "asset_family": "Editorial or Creative",
    "asset_id": "Getty's id of the asset",
    "asset_lifecycle": "New, Update or Delete",
    "asset_type": "Image or Film, as Getty spells it",
    "caught_up_at": "When the channel last had nothing more to hand out",
    "change_count": "All changes of the set; always the sum of the five counts below",
    "change_set_id": "Getty's id of the change set",
    "changed_at": "When it changed, by Getty's clock",
    "channel_id": "Getty's id of the channel",
    "channel_seq": "Rises with every commit that changes what the tables say of a set: the cursor for consumers",
    "cleared_at": "When it was over; empty while it is true",
    "committed_at": "A clock read after the load was committed: the latest time at which it was applied",
    "condition": "One of the alerts of operations.md",
    "confirm_tried_at": "When a confirmation was last tried",
    "confirmed_at": "When Getty took the confirmation",
    "content_hash": "Hash of the parsed messages: an equal redelivery has the same one",
    "corrected_at": "When newer code read it differently",
    "dag_id": "The DAG that loaded it",
    "delete_change_set_id": "Change set of the newest Delete",
    "delete_count": "Deletes that were applied",
    "delete_position": "Position of the newest Delete in its set",
    "deleted_at": "When it was deleted, by Getty's clock",
    "detail": "What was found, in a sentence",
    "discovered_at": "When discovery first saw the channel",
    "dismissed_at": "When a person dismissed it by hand",
    "dismissed_by": "Who dismissed it",
    "fetched_at": "When the change set was received",
    "found_at": "When it was found",
    "is_confirm_implied": "Confirmed without an answer of its own: Getty handed out the next set",
    "is_current": "Whether it is the asset's newest state",
    "is_rebuilt": "Whether a replay made the row anew: its times are then those of the rebuild",
    "is_time_inferred": "Whether the time is a neighbour's, because the message had no usable one",
    "kind": "unreadable, not_in_ledger, damaged or missing",
    "last_change_at": "When the channel last handed out a change",
    "last_channel_seq": "The channel_seq that was given last",
    "last_checked_at": "When the channel last gave an answer, an empty one too",
    "lifecycles": "Which lifecycles the channel reports, as Getty says",
    "is_caught_up": "Whether the last answer was empty and every set before it is confirmed",
    "is_vanished": "Whether Getty no longer lists the channel and nobody has taken note",
    "lag_since": "Age of the lag: the oldest change that is not confirmed, else the last that is known",
    "not_confirmed_since": "Since when a loaded set waits for its confirmation",
    "not_loaded_since": "Since when a fetched set waits for its load",
    "oldest_open_change_at": "The oldest change of a set that is not confirmed; of one that is not loaded, its arrival",
    "open_sets": "Sets that are not confirmed",
    "unchecked_since": "When the channel last gave an answer, else when it was discovered",
    "unread_since": "Before this moment nothing is unread at Getty",
    "loaded_at": "When its load was committed; a replay does not touch it",
    "missing_since": "Since when Getty's list lacks the channel, while it is still read",
    "new_count": "New that were applied",
    "newest_change_at": "Time of the set's newest change",
    "notified_at": "When somebody was last notified",
    "notified_count": "The number in the last notification, where the condition counts something",
    "oldest_change_at": "Time of the set's oldest change",
    "position": "Place of the message in its change set, from 0",
    "raw": "The message as received, escaped",
    "reads_as": "What the message is read as now",
    "reason": "Why it cannot be applied",
    "rebuilt_at": "When a replay made the row anew: its other times are then those of the rebuild",
    "received_at": "When the Delete was received",
    "reconciled_at": "When what was lost in the gap was asked for",
    "redelivered_count": "How often Getty handed the set out again",
    "refused_at": "When Getty last answered a PUT that it does not know the channel",
    "rejected_at": "When it was rejected",
    "rejected_count": "Messages that cannot be applied",
    "replay_changed_count": "Rows that the last nightly replay changed: must be 0",
    "replayed_at": "When a nightly replay of the channel was last completed",
    "retired_at": "Since when the channel is no longer read: Getty no longer knows it",
    "retirement_known_at": "When somebody took note that Getty no longer lists it",
    "run_id": "The run that loaded it",
    "says": "What it says of the channel, as of the last watch",
    "settled_at": "When it was read, loaded or dismissed",
    "settled_by": "Who dismissed it",
    "settled_how": "read, loaded, restored or dismissed",
    "since": "Since when the condition is true",
    "started_at": "Since when the channel exists, as Getty says",
    "superseded_count": "Changes that a later one of the same set replaced",
    "unread_from": "When the channel had last been read",
    "unread_to": "When it was read again",
    "update_count": "Updates that were applied",
    "upsert_change_set_id": "Change set of the newest New or Update",
    "upsert_position": "Position of the newest New or Update in its set",
    "upserted_at": "Time of the newest New or Update, by Getty's clock",
    "uri": "Getty's address of the asset",
    "valid_from": "From when on the state was valid, by Getty's clock",
    "valid_to": "Until when it was valid; empty for the newest",
    "was_held": "Whether this Delete ended a live state; empty where a rebuild cannot know",
    "was_in_holdings": "Whether the company had said that it holds the asset; empty where it had said nothing",
    "was_live": "Whether the asset was live before the last write of the row",
}
"""By name: a name means the same in every table and view."""


def _column(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, comment=_MEANINGS[name], **options)


def _time(name: str, *, nullable: bool = True) -> Column[Any]:
    return _column(name, _TIME, nullable=nullable)


def _view(name: str, *columns: str, comment: str) -> Table:
    return Table(name, views, *(Column(each, comment=_MEANINGS[each]) for each in columns), comment=comment)


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
    comment="What only the archive holds, or has lost, until it is resolved.",
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
