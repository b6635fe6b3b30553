"""The tables of the files that must go: stores, plans, receipts, holds and waivers."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from asset_changes.warehouse.columns import ID, column, metadata, time_column

_RUN = ("dag_id", "run_id", "triggered_by", "code_version")


def _duty() -> list[Column[Any]]:
    """Return the columns that say what must be removed, and why."""
    return [
        column("reason", ID, nullable=False),
        time_column("due_since", nullable=False),
        column("channel_id", Integer),
        column("change_set_id", ID),
        column("position", Integer),
        column("reconciliation_id", BigInteger),
    ]


def _file() -> list[Column[Any]]:
    """Return the columns that name one version of one key."""
    return [
        column("key", ID),
        column("version_id", Text),
        column("is_delete_marker", Boolean),
        column("size", BigInteger),
        time_column("modified_at"),
    ]


def _plan_id(**options: Any) -> Column[Any]:
    return column("plan_id", BigInteger, ForeignKey("purge_plans.plan_id"), nullable=False, **options)


file_stores = Table(
    "file_stores",
    metadata,
    column("store", ID, primary_key=True),
    column("uri", Text, nullable=False),
    column("store_hash", Text, nullable=False),
    time_column("configured_at", nullable=False),
    time_column("unconfigured_at"),
    column("lease_id", Text),
    column("leased_by", Text),
    time_column("leased_until"),
    time_column("deleting_since"),
    column("error", Text),
    time_column("error_at"),
    comment="Each store of files that was ever configured, and which run deletes from it now.",
)

purge_plans = Table(
    "purge_plans",
    metadata,
    column("plan_id", BigInteger, primary_key=True),
    column("mode", ID, nullable=False),
    column("policy_hash", Text, nullable=False),
    column("only_store", ID),
    time_column("made_at", nullable=False),
    time_column("ended_at"),
    column("list_hash", Text),
    *(column(name, BigInteger, nullable=False) for name in ("asset_count", "file_count", "file_bytes")),
    column("stores", JSONB, nullable=False),
    column("brake", Text),
    column("outcome", ID),
    time_column("expires_at"),
    column("approved_by", Text),
    time_column("approved_at"),
    time_column("purged_at"),
    column("unfinished", JSONB, nullable=False),
    *(column(name, Text) for name in _RUN),
    comment="Which files were to be deleted, per run; of a dry run, which would be.",
)

purge_plan_files = Table(
    "purge_plan_files",
    metadata,
    _plan_id(primary_key=True),
    column("chunk", Integer, primary_key=True),
    column("line", Integer, primary_key=True),
    column("store", ID, nullable=False),
    column("asset_id", ID, nullable=False),
    *_duty(),
    *_file(),
    column("identity", Text),
    comment="The list of each plan: one row per version of a file. Without a key: nothing was found of the asset.",
)

purges = Table(
    "purges",
    metadata,
    column("receipt_id", BigInteger, primary_key=True),
    _plan_id(),
    column("store", ID, nullable=False),
    column("store_hash", Text, nullable=False),
    column("asset_id", ID, nullable=False),
    *_duty(),
    *_file(),
    time_column("planned_at", nullable=False),
    time_column("removed_at", nullable=False),
    column("result", ID, nullable=False),
    column("error", Text),
    column("request_id", Text),
    column("is_gone", Boolean, nullable=False),
    column("approved_by", Text),
    *(column(name, Text) for name in _RUN),
    comment="Insert only: the receipts. What became of each file that was to be deleted, and whether any is left.",
)

purge_holds = Table(
    "purge_holds",
    metadata,
    column("asset_id", ID, primary_key=True),
    column("owner", ID, primary_key=True),
    column("reason", Text, nullable=False),
    time_column("held_at", nullable=False),
    column("held_by", Text),
    time_column("until"),
    time_column("released_at"),
    column("released_by", Text),
    comment="Whose files are kept although they must go, for whom, why and until when.",
)

purge_waivers = Table(
    "purge_waivers",
    metadata,
    column("waiver_id", BigInteger, primary_key=True),
    column("asset_id", ID, nullable=False),
    column("source", ID),
    column("reason", ID, nullable=False),
    time_column("due_since", nullable=False),
    column("why", Text, nullable=False),
    time_column("waived_at", nullable=False),
    column("waived_by", Text),
    comment="Insert only: duties to remove that a person ended, and why. A later Delete is a new duty.",
)

purge_counts = Table(
    "purge_counts",
    metadata,
    column("store", ID, primary_key=True),
    *(column(name, BigInteger, nullable=False) for name in ("open_count", "day_count", "week_count", "older_count")),
    time_column("open_since"),
    column("held_back_count", BigInteger, nullable=False),
    column("held_back_by", JSONB, nullable=False),
    column("oldest", JSONB, nullable=False),
    time_column("counted_at", nullable=False),
    comment="Per store that is configured how many assets still must go from it, by age, as last counted.",
)
