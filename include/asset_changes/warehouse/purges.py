"""The table `purges`: the receipts, and what page, report and watchdog ask of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

from asset_changes.warehouse.purge_plans import PlannedFile

Result = Literal["deleted", "missing", "changed", "error", "nothing_found"]

_FROM_PLAN = (
    "plan_id", "store", "asset_id", "reason", "due_since", "channel_id", "change_set_id", "position",
    "reconciliation_id", "key", "version_id", "is_delete_marker", "size", "modified_at",
)  # fmt: skip
_OWN = ("result", "error", "request_id", "is_gone")
_GIVEN = ("store_hash", "dag_id", "run_id", "triggered_by", "code_version")
_WRITE = text(f"""
    INSERT INTO purges ({", ".join((*_FROM_PLAN, *_OWN, *_GIVEN))}, planned_at, approved_by)
    SELECT {", ".join(f":{name}" for name in (*_FROM_PLAN, *_OWN, *_GIVEN))}, made_at, approved_by
    FROM purge_plans WHERE plan_id = :plan_id""")
_DONE = text("""
    SELECT DISTINCT asset_id FROM purges
    WHERE plan_id = :plan_id AND store = :store AND asset_id = ANY (CAST(:asset_ids AS text[]))
      AND (is_gone OR result IN ('error', 'changed'))""")
_OF_PLAN = text("""
    SELECT store, count(DISTINCT asset_id) FILTER (WHERE is_gone) AS gone_assets,
           count(*) FILTER (WHERE result = 'deleted') AS deleted_files,
           count(*) FILTER (WHERE result = 'error') AS failed_files,
           coalesce(sum(size) FILTER (WHERE result = 'deleted'), 0) AS deleted_bytes
    FROM purges WHERE plan_id = :plan_id GROUP BY store ORDER BY store""")
_OF_ASSET = text("""
    SELECT receipt_id, plan_id, store, asset_id, reason, due_since, key, version_id, size, planned_at, removed_at,
           result, error, request_id, is_gone, approved_by, run_id, triggered_by
    FROM purges WHERE asset_id = :asset_id ORDER BY receipt_id DESC""")
_OPEN = text("""
    SELECT source AS store, count(*) AS open_count, count(*) FILTER (WHERE is_held_back) AS held_back_count,
           min(due_since) FILTER (WHERE NOT is_held_back) AS open_since
    FROM assets_to_remove WHERE reason = ANY (:reasons) AND source IN (SELECT store FROM file_stores)
    GROUP BY source ORDER BY source""")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of one line of a plan; `is_gone`: nothing of its asset was listed afterwards."""

    file: PlannedFile
    result: Result
    is_gone: bool
    error: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlanReceipts:
    """The receipts of a plan, counted per store."""

    store: str
    gone_assets: int
    deleted_files: int
    failed_files: int
    deleted_bytes: int


@dataclass(frozen=True, kw_only=True)
class AssetReceipt:
    """One receipt of an asset, as a page shows it."""

    receipt_id: int
    plan_id: int
    store: str
    asset_id: str
    reason: str
    due_since: datetime
    key: str | None
    version_id: str | None
    size: int | None
    planned_at: datetime
    removed_at: datetime
    result: str
    error: str | None
    request_id: str | None
    is_gone: bool
    approved_by: str | None
    run_id: str | None
    triggered_by: str | None


@dataclass(frozen=True, kw_only=True)
class OpenDuties:
    """What a store still has to remove; `open_since` leaves out what is held back."""

    store: str
    open_count: int
    held_back_count: int
    open_since: datetime | None


def write_receipts(
    connection: Connection, receipts: Sequence[Receipt], *, store_hash: str, run: "dict[str, str | None]"
) -> None:
    """Write receipts; `run` has the ids of the run that they are from."""
    if not receipts:
        return
    rows = []
    for each in receipts:
        file = asdict(each.file)
        own = {name: getattr(each, name) for name in _OWN}
        rows.append({name: file[name] for name in _FROM_PLAN} | own | {"store_hash": store_hash} | run)
    connection.execute(_WRITE, rows)


def assets_done(connection: Connection, plan_id: int, *, store: str, asset_ids: Sequence[str]) -> set[str]:
    """Return which of these assets this plan has done: gone, or with a receipt of why a file of it is still there.

    Where files were deleted and the store failed before it could be listed again, the asset is looked at once more.
    """
    return set(connection.scalars(_DONE, {"plan_id": plan_id, "store": store, "asset_ids": [*asset_ids]}))


def receipts_of_plan(connection: Connection, plan_id: int) -> tuple[PlanReceipts, ...]:
    """Return the receipts of a plan, counted per store."""
    return tuple(PlanReceipts(**row._mapping) for row in connection.execute(_OF_PLAN, {"plan_id": plan_id}))


def receipts_of_asset(connection: Connection, asset_id: str) -> tuple[AssetReceipt, ...]:
    """Return all receipts of an asset, newest first."""
    return tuple(AssetReceipt(**row._mapping) for row in connection.execute(_OF_ASSET, {"asset_id": asset_id}))


def open_duties(connection: Connection, *, reasons: Sequence[str]) -> tuple[OpenDuties, ...]:
    """Return, per store, how many assets of its list still must go."""
    return tuple(OpenDuties(**row._mapping) for row in connection.execute(_OPEN, {"reasons": [*reasons]}))
