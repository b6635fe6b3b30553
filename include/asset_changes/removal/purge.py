"""Deleting what a plan lists, chunk by chunk, with a receipt for each file.

Per chunk: list the versions, then, a thousand files at a time, look at the assets and their holds, and delete only
versions that were listed before that look and are in the plan. So what is stored again meanwhile stays. No transaction
is open while a store is waited for. Killed at any point, nothing is wrong: what was deleted without a receipt is found
missing when the plan is continued, and gets its receipt then.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from asset_changes.errors import AssetChangesError, PurgeRefused, WarehouseUnavailable
from asset_changes.removal.policy import PurgeContext
from asset_changes.removal.stores.store import DeleteResult, FileStore, StoredFile, list_each
from asset_changes.warehouse import duties, file_stores, purge_plans, purges
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.file_stores import StoreHolder, StoreLease, StoreLeaseLost
from asset_changes.warehouse.migrate import check_version
from asset_changes.warehouse.purge_plans import ListHash, Plan, PlannedFile
from asset_changes.warehouse.purges import Receipt

log = logging.getLogger(__name__)

FILES_AT_ONCE = 1000
"""So many files are deleted after one look at their assets: far fewer than the lease of the store lasts for."""


class PurgeRunning(Exception):
    """Another run deletes from every store of the plan: each is named, and until when it may."""


class _Stopped(Exception):
    """The run's time is over, or it was asked to stop: the rest of the plan is left to the next run."""


@dataclass(kw_only=True)
class Purged:
    """What a run deleted and what it left; `problems` names the stores that could not be finished.

    `unfinished` has each store that the plan is not carried out for, with the next chunk and what failed, if anything
    did; `unfinished_assets` are left for the next run, which continues the plan.
    """

    plan_id: int
    gone: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    failed: int = 0
    left: int = 0
    problems: list[str] = field(default_factory=list)
    unfinished: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    unfinished_assets: int = 0
    expires_at: datetime | None = None

    @property
    def is_done(self) -> bool:
        """Whether all of the plan was done."""
        return not self.unfinished


def purge(
    context: PurgeContext, plan_id: int, *, minutes: float = 50, stops: Callable[[], bool] = lambda: False
) -> Purged:
    """Delete what the plan lists and may still go; return what came of it. After each chunk `stops` is asked.

    Raise PurgeRefused where the plan was not approved, has expired, or is not the one that was approved; PurgeRunning
    where another run deletes from all its stores.
    """
    plan = _check_plan(context, plan_id)
    done = Purged(plan_id=plan_id, expires_at=plan.expires_at)
    if plan.outcome == "purged":
        log.info("Plan %d was carried out at %s: nothing is left to do.", plan_id, plan.purged_at)
        return done
    with transaction(context.warehouse) as connection:
        chunks = purge_plans.chunks_of_plan(connection, plan_id)
    end, holders = time.monotonic() + minutes * 60, []

    def is_over() -> bool:
        return stops() or time.monotonic() > end

    stores = sorted({store for _, store in chunks})
    done.unfinished = {name: (min(chunk for chunk, store in chunks if store == name), None) for name in stores}
    try:
        for name in stores:
            of_store = [chunk for chunk, store in chunks if store == name]
            if holder := _StorePurge(context, plan, done, name=name, is_over=is_over).run(of_store):
                holders.append(f"The store {name} is worked on by {holder.name} until {holder.until:%H:%M:%S} UTC")
    except _Stopped:
        log.info("Stopped: the time of the run is over, or it was asked to end.")
    if holders and len(holders) == len(stores):
        raise PurgeRunning("; ".join(holders))
    done.problems += holders
    if done.is_done:
        in_transaction(context.warehouse, partial(purge_plans.mark_purged, plan_id=plan_id))
    else:
        keep = partial(purge_plans.keep_unfinished, plan_id=plan_id, stores=done.unfinished)
        done.unfinished_assets = in_transaction(context.warehouse, keep)
        log.warning(
            "Plan %d is not finished in %s: %d assets are left. The next run continues it; it is valid until %s",
            plan_id, ", ".join(done.unfinished), done.unfinished_assets, plan.expires_at,
        )  # fmt: skip
    log.info("%s", summary(done))
    return done


def _check_plan(context: PurgeContext, plan_id: int) -> Plan:
    """Return the plan if it may be carried out."""
    with transaction(context.warehouse) as connection:
        check_version(connection)
        purge_plans.expire_plans(connection)
    with transaction(context.warehouse) as connection:
        plan = purge_plans.plan_of(connection, plan_id)
        if plan.outcome == "purged":
            return plan
        if plan.outcome not in ("ready", "approved"):
            state = {
                "listed": "is of a dry run",
                "waiting": "waits for approval",
                "refused": f"was refused by {plan.approved_by}",
                "expired": f"expired at {plan.expires_at}",
            }.get(plan.outcome or "", "was not made to its end")
            raise PurgeRefused(f"Nothing is deleted: plan {plan_id} {state}.")
        if plan.policy_hash != context.policy_hash:
            raise PurgeRefused(
                f"Nothing is deleted: ASSET_CHANGES_FILE_STORES or PURGE_REASONS changed after plan {plan_id} was made."
            )
        found = ListHash()
        found.add(purge_plans.files_of_plan(connection, plan_id))
    if str(found) != plan.list_hash:
        raise PurgeRefused(f"Nothing is deleted: the files of plan {plan_id} are not those that were planned.")
    return plan


class _StorePurge:
    """Works through the chunks of one store."""

    def __init__(
        self, context: PurgeContext, plan: Plan, done: Purged, *, name: str, is_over: Callable[[], bool]
    ) -> None:
        self._context, self._plan, self._done, self._name = context, plan, done, name
        self._is_over = is_over
        self._lease: StoreLease

    def run(self, chunks: Sequence[int]) -> StoreHolder | None:
        """Delete chunk by chunk; return who has the store instead, None where it was ours."""
        warehouse = self._context.warehouse
        holder = f"{self._context.run.dag_id} {self._context.run.run_id}"
        lease = in_transaction(warehouse, partial(file_stores.take_lease, store=self._name, holder=holder))
        if isinstance(lease, StoreHolder):
            log.warning("The store %s is worked on by %s: nothing is deleted from it here", self._name, lease.name)
            return lease
        self._lease = lease
        try:
            self._work(chunks)
        except WarehouseUnavailable:
            raise
        except StoreLeaseLost as error:
            log.warning("%s", error)
        except AssetChangesError as error:
            self._done.problems.append(f"{self._name}: {error}"[:300])
            self._done.unfinished[self._name] = (self._done.unfinished[self._name][0], f"{error}"[:300])
            log.error("The store %s cannot be finished: %s", self._name, error)
        finally:
            with suppress(WarehouseUnavailable):  # then the lease ends by itself
                in_transaction(warehouse, partial(file_stores.release_lease, lease=lease))
        return None

    def _work(self, chunks: Sequence[int]) -> None:
        store = self._context.open_store(self._name)
        try:
            store.check()
            for chunk in chunks:
                self._done.unfinished[self._name] = (chunk, None)
                if self._is_over():
                    raise _Stopped
                with transaction(self._context.warehouse) as connection:
                    files = purge_plans.files_of_chunk(connection, self._plan.plan_id, chunk)
                    had = purges.assets_done(
                        connection, self._plan.plan_id, store=self._name, asset_ids=[each.asset_id for each in files]
                    )
                if left := [each for each in files if each.asset_id not in had]:
                    self._purge_chunk(store, left)
            del self._done.unfinished[self._name]
        finally:
            store.close()

    def _purge_chunk(self, store: FileStore, planned: Sequence[PlannedFile]) -> None:
        """List, look, delete, list again, write the receipts; the order is the safety of it.

        Of many files a part is deleted at a time, with a look and a lease of its own. Whatever ends it early, what was
        deleted has its receipts; where the store fails before it is listed again, nothing else is known.
        """
        found, unlisted = list_each(store, {each.asset_id for each in planned})
        for asset_id, why in unlisted.items():
            self._done.problems.append(f"{self._name}: the asset {asset_id} cannot be listed: {why}"[:300])
            log.error("The asset %s cannot be listed in %s: nothing of it is deleted: %s", asset_id, self._name, why)
        planned = [each for each in planned if each.asset_id not in unlisted]
        before = {(id_, each.key, each.version_id): each for id_, files in found.items() for each in files}
        going: list[PlannedFile] = []
        results: dict[int, DeleteResult] = {}
        error: AssetChangesError | StoreLeaseLost | None = None
        for start in range(0, len(planned), FILES_AT_ONCE):
            try:
                part = self._look(planned[start : start + FILES_AT_ONCE])
            except (PurgeRefused, StoreLeaseLost) as refused:
                error = refused
                break
            going += part
            there = [(file, before.get((file.asset_id, str(file.key), file.version_id))) for file in part]
            pairs = [(file, each) for file, each in there if each is not None and _is_same(file, each)]
            deleted = store.delete([each for _, each in pairs]) if pairs else []
            results |= {file.line: result for (file, _), result in zip(pairs, deleted, strict=True)}
        # What was not there is asked about again too: only a listing after the look is proof.
        asset_ids = {file.asset_id for file in going}
        gone, failed = _gone(store, asset_ids)
        deleted_lines = {line for line, result in results.items() if result.result == "deleted"}
        receipts = [
            _receipt(file, results.get(file.line), before, is_gone=file.asset_id in gone)
            for file in going
            if file.asset_id in gone or file.line in deleted_lines or (file.key and not failed)
        ]
        entry = self._context.stores[self._name]

        def write(connection: Connection) -> None:
            run = asdict(self._context.run)
            purges.write_receipts(connection, receipts, store_hash=entry.store_hash, run=run)
            file_stores.end_chunk(connection, self._lease)

        in_transaction(self._context.warehouse, write)
        self._count(receipts, gone=len(gone))
        self._done.left += len({each.asset_id for each in planned} - asset_ids) if error is None else 0
        if error or failed:
            raise error or failed  # type: ignore[misc]

    def _look(self, planned: Sequence[PlannedFile]) -> list[PlannedFile]:
        """Return which files may go at this instant: their duty is still the one that was planned, nobody holds it."""
        asset_ids = sorted({each.asset_id for each in planned})
        with transaction(self._context.warehouse) as connection:
            file_stores.begin_chunk(connection, self._lease)
            if purge_plans.plan_of(connection, self._plan.plan_id).is_expired:
                raise PurgeRefused(f"Plan {self._plan.plan_id} has expired: the rest of it is not deleted.")
            now = duties.duties_of_assets(connection, self._name, asset_ids=asset_ids, reasons=self._context.reasons)
        asked = [(each, now.get(each.asset_id)) for each in planned]
        return [each for each, duty in asked if duty is not None and duty.may_go and duty.is_answer_to(each.duty)]

    def _count(self, receipts: Sequence[Receipt], *, gone: int) -> None:
        self._done.gone += gone
        for each in receipts:
            if each.result == "deleted":
                self._done.deleted += 1
                self._done.deleted_bytes += each.file.size or 0
            elif each.result == "error":
                self._done.failed += 1
                log.warning("Not deleted from %s: %s (%s)", self._name, each.file.key, each.error)


def _is_same(planned: PlannedFile, found: StoredFile) -> bool:
    """Whether what is listed under its key and version is what was planned, and nothing that took its place."""
    return (planned.is_delete_marker, planned.identity) == (found.is_delete_marker, found.identity)


def _gone(store: FileStore, asset_ids: set[str]) -> tuple[set[str], AssetChangesError | None]:
    """Return of which assets nothing is left; a store that fails here still gets the receipts of what it deleted."""
    if not asset_ids:
        return set(), None
    try:
        left, unlisted = list_each(store, asset_ids)
    except AssetChangesError as error:
        return set(), error
    return {each for each in asset_ids if not left.get(each) and each not in unlisted}, None


def _receipt(
    file: PlannedFile,
    result: DeleteResult | None,
    listed: Mapping[tuple[str, str, str | None], StoredFile],
    *,
    is_gone: bool,
) -> Receipt:
    if result is not None:
        return Receipt(
            file=file, result=result.result, error=result.error, request_id=result.request_id, is_gone=is_gone
        )
    if file.key is None:
        return Receipt(file=file, result="nothing_found", is_gone=is_gone)
    if (file.asset_id, file.key, file.version_id) in listed:
        return Receipt(file=file, result="changed", is_gone=is_gone)
    # By somebody else, or by a run that was killed before its receipt.
    return Receipt(file=file, result="missing", is_gone=is_gone)


def summary(done: Purged) -> str:
    """Return what came of a plan, in a line."""
    return (
        f"Purged files: plan={done.plan_id} assets_gone={done.gone} deleted={done.deleted} "
        f"bytes={done.deleted_bytes} failed={done.failed} left={done.left}"
        + (f" problems={len(done.problems)}" if done.problems else "")
    )
