"""The tables of what the company holds and of what it may hold; those of the feed and of lookups are in `schema.py`."""

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Integer, Table, Text

from asset_changes.warehouse import schema as schema  # its tables come first, whichever module is imported first
from asset_changes.warehouse.columns import ID, TIME, column, metadata, time_column

held_assets = Table(
    "held_assets",
    metadata,
    column("source", ID, primary_key=True),
    column("asset_id", ID, primary_key=True),
    column("asset_type", Text),
    column("location", Text),
    time_column("held_since", nullable=False),
    time_column("held_until"),
    comment="What the company says it holds, per source. No row is ever deleted.",
)

holding_imports = Table(
    "holding_imports",
    metadata,
    column("import_id", BigInteger, primary_key=True),
    column("source", ID, nullable=False),
    column("uri", Text, nullable=False),
    time_column("started_at", nullable=False),
    time_column("ended_at", nullable=False),
    *(
        column(name, BigInteger, nullable=False)
        for name in ("row_count", "new_held_count", "changed_count", "unchanged_count", "ended_count")
    ),
    column("unreadable_count", BigInteger, nullable=False),
    column("unreadable_lines", ARRAY(BigInteger), nullable=False),
    column("held_count", BigInteger, nullable=False),
    column("refused_why", Text),
    column("accept_shrink", BigInteger),
    column("byte_count", BigInteger),
    column("sha256", Text),
    column("dag_id", Text),
    column("run_id", Text),
    column("triggered_by", Text),
    comment="Insert only: each list of holdings, what it changed, or why it was refused.",
)

_UPSERT_REGISTER = (("upserted_at", TIME), ("upsert_change_set_id", ID), ("upsert_position", Integer))

reconciliations = Table(
    "reconciliations",
    metadata,
    column("reconciliation_id", BigInteger, primary_key=True),
    column("conn_id", Text, nullable=False),
    column("channel_ids", ARRAY(Integer), nullable=False),
    time_column("not_asked_since"),
    time_column("started_at", nullable=False),
    time_column("asked_at"),
    time_column("decided_at"),
    column("outcome", ID),
    *(
        column(name, BigInteger, nullable=False)
        for name in (
            "asked_count", "available_count", "not_licensed_count", "not_in_catalogue_count", "first_asked_count",
            "first_gone_count",
        )
    ),
    column("checks_hash", Text),
    time_column("expires_at"),
    column("approved_by", Text),
    column("dag_id", Text),
    column("run_id", Text),
    comment="Rounds in which Getty was asked whether assets may still be held, and whether their verdicts count.",
)  # fmt: skip

availability = Table(
    "availability",
    metadata,
    column("asset_id", ID, primary_key=True),
    column("verdict", ID, nullable=False),
    column("asset_type", Text),
    column("conn_id", Text, nullable=False),
    time_column("as_of", nullable=False),
    time_column("first_gone_as_of"),
    column("checks", Integer, nullable=False),
    column("reconciliation_id", BigInteger, ForeignKey("reconciliations.reconciliation_id")),
    *(column(name, kind) for name, kind in _UPSERT_REGISTER),
    comment="The verdict on each asset that counts now. A New or Update that comes later makes it void.",
)

availability_checks = Table(
    "availability_checks",
    metadata,
    column("check_id", BigInteger, primary_key=True),
    column("reconciliation_id", BigInteger, ForeignKey("reconciliations.reconciliation_id"), nullable=False),
    column("asset_id", ID, nullable=False),
    column("verdict", ID, nullable=False),
    column("asset_type", Text),
    column("conn_id", Text, nullable=False),
    time_column("as_of", nullable=False),
    time_column("checked_at", nullable=False),
    *(column(name, kind) for name, kind in _UPSERT_REGISTER),
    comment="Insert only: every answer that an asset is gone, also those that never counted.",
)

holding_counts = Table(
    "holding_counts",
    metadata,
    column("source", ID, primary_key=True),
    *(
        column(name, BigInteger, nullable=False)
        for name in (
            "held_count", "checked_count", "deleted_count", "not_licensed_count", "not_in_catalogue_count",
        )
    ),
    time_column("deleted_since"),
    time_column("not_licensed_since"),
    time_column("not_in_catalogue_since"),
    time_column("counted_at", nullable=False),
    comment="Per source how many assets are held, checked and to be removed, as last counted.",
)  # fmt: skip
