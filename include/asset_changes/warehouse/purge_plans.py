"""The tables `purge_plans` and `purge_plan_files`: what is to be deleted, what was approved, what was carried out."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.models import APPROVAL_LASTS
from asset_changes.warehouse.duties import Duty

DRY_RUN_DAYS = 7
"""How long a dry run, or a plan after it, counts for what is deleted under the same settings."""
_KEPT_OF_DRY_RUN, _KEPT = timedelta(days=7), timedelta(days=90)

_BEGIN = text("""
    INSERT INTO purge_plans (mode, policy_hash, only_store, dag_id, run_id, triggered_by, code_version)
    VALUES (:mode, :policy_hash, :only_store, :dag_id, :run_id, :triggered_by, :code_version)
    RETURNING plan_id""")
_COLUMNS = (
    "plan_id", "chunk", "line", "store", "asset_id", "reason", "due_since", "channel_id", "change_set_id", "position",
    "reconciliation_id", "key", "version_id", "is_delete_marker", "size", "modified_at", "identity",
)  # fmt: skip
_ADD_FILES = text(
    f"INSERT INTO purge_plan_files ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_END = text("""
    UPDATE purge_plans SET ended_at = clock_timestamp(), outcome = :outcome, list_hash = :list_hash, brake = :brake,
        asset_count = :asset_count, file_count = :file_count, file_bytes = :file_bytes,
        stores = CAST(:stores AS jsonb),
        expires_at = CASE WHEN mode = 'on' THEN clock_timestamp() + :lasting END
    WHERE plan_id = :plan_id AND ended_at IS NULL""")
SELECT_PLANS = """
    SELECT plan_id, mode, policy_hash, only_store, made_at, ended_at, list_hash, asset_count, file_count, file_bytes,
           stores, brake, outcome, expires_at,
           coalesce(outcome IN ('ready', 'waiting', 'approved', 'expired') AND expires_at <= clock_timestamp(), false)
               AS is_expired,
           approved_by, approved_at, purged_at, unfinished, dag_id, run_id, triggered_by
    FROM purge_plans """
"""All columns of a Plan."""
_PLAN = text(SELECT_PLANS + "WHERE plan_id = :plan_id")
_OPEN = text(
    SELECT_PLANS
    + """WHERE outcome IN ('ready', 'approved') AND policy_hash = :policy_hash
      AND only_store IS NOT DISTINCT FROM :only_store AND expires_at > clock_timestamp()
    ORDER BY plan_id"""
)
_COVERED = text("""
    SELECT DISTINCT store FROM purge_plans CROSS JOIN LATERAL jsonb_each(stores) AS each (store, counts)
    WHERE policy_hash = :policy_hash AND ended_at > clock_timestamp() - :lasting AND counts ->> 'error' IS NULL""")
_ALLOWED = text("""
    SELECT DISTINCT store FROM purge_plans CROSS JOIN LATERAL jsonb_each(stores) AS each (store, counts)
    WHERE policy_hash = :policy_hash AND mode = 'on' AND outcome IN ('approved', 'purged')
      AND (counts ->> 'files')::bigint > 0""")
_DECIDE = text("""
    UPDATE purge_plans SET outcome = :outcome, approved_by = :name,
        approved_at = CASE WHEN :outcome = 'approved' THEN clock_timestamp() END
    WHERE plan_id = :plan_id AND outcome = 'waiting' AND list_hash = :list_hash AND expires_at > clock_timestamp()""")
_EXPIRE = text("""
    UPDATE purge_plans SET outcome = 'expired'
    WHERE outcome IN ('ready', 'waiting', 'approved') AND expires_at <= clock_timestamp()""")
_MARK_PURGED = text("""
    UPDATE purge_plans SET outcome = 'purged', purged_at = clock_timestamp(), unfinished = '{}'
    WHERE plan_id = :plan_id AND outcome IN ('ready', 'approved') AND expires_at > clock_timestamp()""")
_KEEP_UNFINISHED = text("""
    UPDATE purge_plans SET unfinished = CAST(:unfinished AS jsonb)
    WHERE plan_id = :plan_id AND outcome IN ('ready', 'approved', 'expired')""")
_LEFT = text("""
    SELECT count(DISTINCT asset_id) FROM purge_plan_files AS f
    WHERE plan_id = :plan_id AND store = :store AND chunk >= :chunk AND NOT EXISTS (
        SELECT FROM purges AS p WHERE p.plan_id = f.plan_id AND p.store = f.store AND p.asset_id = f.asset_id
        AND (is_gone OR result IN ('error', 'changed')))""")
_CHUNKS = text("SELECT chunk, min(store) AS store FROM purge_plan_files WHERE plan_id = :plan_id GROUP BY 1 ORDER BY 1")
_FILES = text(
    f"SELECT {', '.join(_COLUMNS)} FROM purge_plan_files WHERE plan_id = :plan_id AND chunk = :chunk ORDER BY line"
)
_FORGET = text("""
    DELETE FROM purge_plan_files WHERE plan_id IN (
        SELECT plan_id FROM purge_plans AS p WHERE made_at < clock_timestamp() - :dry_run_lasting
        AND (mode = 'dry_run' OR made_at < clock_timestamp() - :lasting)
        AND EXISTS (SELECT FROM purge_plan_files AS f WHERE f.plan_id = p.plan_id))""")


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """A line of a plan: one version of one key, or, without a key, an asset of which nothing was found."""

    plan_id: int
    chunk: int
    line: int
    store: str
    asset_id: str
    reason: str
    due_since: datetime
    channel_id: int | None
    change_set_id: str | None
    position: int | None
    reconciliation_id: int | None
    key: str | None
    version_id: str | None
    is_delete_marker: bool | None
    size: int | None
    modified_at: datetime | None
    identity: str | None

    @property
    def duty(self) -> Duty:
        """Return the duty that the line answers."""
        return Duty(asset_id=self.asset_id, reason=self.reason, due_since=self.due_since)

    def content(self) -> str:
        """Return what the hash of the list covers."""
        values = (self.store, self.asset_id, self.reason, self.due_since.isoformat(), self.key, self.version_id)
        return json.dumps([*values, self.is_delete_marker, self.size, self.identity])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A row of `purge_plans`. `stores` has the counts of each store, and its error if it could not be listed.

    `unfinished` has the stores that the last run could not finish: the next `chunk`, `assets` left, the `error`.
    """

    plan_id: int
    mode: str
    policy_hash: str
    only_store: str | None
    made_at: datetime
    ended_at: datetime | None
    list_hash: str | None
    asset_count: int
    file_count: int
    file_bytes: int
    stores: Mapping[str, Mapping[str, Any]]
    brake: str | None
    outcome: str | None
    expires_at: datetime | None
    is_expired: bool
    approved_by: str | None
    approved_at: datetime | None
    purged_at: datetime | None
    unfinished: Mapping[str, Mapping[str, Any]]
    dag_id: str | None
    run_id: str | None
    triggered_by: str | None


class ListHash:
    """The hash of a list of files, line by line."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, files: Iterable[PlannedFile]) -> None:
        """Add lines in their order."""
        for each in files:
            self._hash.update(each.content().encode() + b"\n")

    def __str__(self) -> str:
        return self._hash.hexdigest()


def begin_plan(connection: Connection, **values: str | None) -> int:
    """Begin a plan; return its number."""
    return int(connection.execute(_BEGIN, values).scalar_one())


def add_files(connection: Connection, files: Sequence[PlannedFile]) -> None:
    """Add lines to a plan that has not ended."""
    if files:
        connection.execute(_ADD_FILES, [asdict(each) for each in files])


def end_plan(connection: Connection, plan_id: int, *, stores: Mapping[str, Mapping[str, Any]], **values: Any) -> None:
    """End a plan with its hash, counts and outcome; from now on it can expire."""
    more = {"stores": json.dumps(stores), "lasting": APPROVAL_LASTS}
    connection.execute(_END, {"plan_id": plan_id, **values, **more})


def plan_of(connection: Connection, plan_id: int) -> Plan:
    """Return a plan."""
    return Plan(**connection.execute(_PLAN, {"plan_id": plan_id}).one()._mapping)


def open_plans(connection: Connection, *, policy_hash: str, only_store: str | None) -> list[Plan]:
    """Return the plans under these settings that may be carried out and are not done, oldest first."""
    rows = connection.execute(_OPEN, {"policy_hash": policy_hash, "only_store": only_store})
    return [Plan(**row._mapping) for row in rows]


def listed_stores(connection: Connection, *, policy_hash: str) -> set[str]:
    """Return the stores that were listed without an error by a recent plan under these settings."""
    return set(connection.scalars(_COVERED, {"policy_hash": policy_hash, "lasting": timedelta(days=DRY_RUN_DAYS)}))


def allowed_stores(connection: Connection, *, policy_hash: str) -> set[str]:
    """Return the stores of which a plan with files was approved, or carried out after that, under these settings."""
    return set(connection.scalars(_ALLOWED, {"policy_hash": policy_hash}))


def decide(connection: Connection, plan_id: int, *, list_hash: str, is_approved: bool, name: str) -> bool:
    """Keep a person's answer to exactly this list; False where it is not waited for, or came too late."""
    outcome = "approved" if is_approved else "refused"
    values = {"plan_id": plan_id, "list_hash": list_hash, "outcome": outcome, "name": name}
    return bool(connection.execute(_DECIDE, values).rowcount)


def expire_plans(connection: Connection) -> int:
    """End the plans whose time is over; return how many."""
    return connection.execute(_EXPIRE).rowcount


def mark_purged(connection: Connection, plan_id: int) -> None:
    """Keep that all of a plan was done."""
    connection.execute(_MARK_PURGED, {"plan_id": plan_id})


def keep_unfinished(connection: Connection, plan_id: int, *, stores: Mapping[str, tuple[int, str | None]]) -> int:
    """Keep which stores are not done, each with its next chunk and what failed; return how many assets are left."""
    unfinished = {}
    for store, (chunk, error) in stores.items():
        left = connection.scalar(_LEFT, {"plan_id": plan_id, "store": store, "chunk": chunk})
        unfinished[store] = {"chunk": chunk, "assets": int(left or 0), "error": error}
    connection.execute(_KEEP_UNFINISHED, {"plan_id": plan_id, "unfinished": json.dumps(unfinished)})
    return sum(each["assets"] for each in unfinished.values())  # type: ignore[misc]


def chunks_of_plan(connection: Connection, plan_id: int) -> list[tuple[int, str]]:
    """Return the number and store of each chunk, in order."""
    return [(row.chunk, row.store) for row in connection.execute(_CHUNKS, {"plan_id": plan_id})]


def files_of_chunk(connection: Connection, plan_id: int, chunk: int) -> list[PlannedFile]:
    """Return the lines of a chunk, in order."""
    rows = connection.execute(_FILES, {"plan_id": plan_id, "chunk": chunk})
    return [PlannedFile(**row._mapping) for row in rows]


def files_of_plan(connection: Connection, plan_id: int) -> Iterator[PlannedFile]:
    """Yield all lines of a plan in order, a chunk at a time."""
    for chunk, _ in chunks_of_plan(connection, plan_id):
        yield from files_of_chunk(connection, plan_id, chunk)


def forget_files(connection: Connection) -> None:
    """Remove the lists of old plans; what became of each file is in the receipts."""
    connection.execute(_FORGET, {"dry_run_lasting": _KEPT_OF_DRY_RUN, "lasting": _KEPT})
