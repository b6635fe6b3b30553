"""The views of the warehouse, with what each column means: what consumers read, and what page and watchdog read."""

from sqlalchemy import Column, MetaData, Table

from asset_changes.warehouse import holdings_schema as holdings_schema  # its tables are part of the schema
from asset_changes.warehouse import purge_schema as purge_schema
from asset_changes.warehouse.meanings import MEANINGS
from asset_changes.warehouse.schema import METADATA_COLUMNS

views = MetaData()
"""Apart from the tables, since nothing is written to them."""


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

assets_with_metadata = _view(
    "assets_with_metadata",
    *assets.columns.keys(),
    "as_of",
    *(name for name in METADATA_COLUMNS if name != "asset_family"),
    "language",
    comment="What is live now and what it is; `as_of` is empty where Getty was not asked yet or did not find it.",
)

_DUTY = (
    "source",
    "asset_id",
    "asset_type",
    "location",
    "held_since",
    "held_until",
    "reason",
    "due_since",
    "channel_id",
    "change_set_id",
    "position",
    "reconciliation_id",
    "as_of",
)

removal_duties = _view(
    "removal_duties",
    *_DUTY,
    "gone_at",
    "waived_at",
    "held_back_by",
    comment="Everything that the company held and had to remove, also what is gone, waived or held back.",
)

assets_to_remove = _view(
    "assets_to_remove",
    *_DUTY,
    "is_held_back",
    "held_back_by",
    comment="What the company holds and must remove: Getty deleted it, or has said twice that it is gone.",
)

removal_evidence = _view(
    "removal_evidence",
    "asset_id",
    "channel_id",
    "change_set_id",
    "position",
    "deleted_at",
    "received_at",
    "applied_at",
    "store",
    "planned_at",
    "gone_at",
    "removed_count",
    "failed_count",
    "plan_id",
    "approved_by",
    "waived_at",
    "waived_by",
    "is_live_again",
    "held_back_by",
    comment="From each Delete to each place of its asset: received, removed from the warehouse, gone from the store.",
)
