"""Planning: list the files of all that must go, and say whether a person must look before any of them is deleted."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from asset_changes.errors import AssetChangesError, PurgeRefused
from asset_changes.removal.policy import PurgeContext
from asset_changes.removal.stores.store import FileStore, StoredFile, list_each, refusal_of
from asset_changes.warehouse import duties, file_stores, purge_plans
from asset_changes.warehouse.duties import Duty
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.holdings import held_count
from asset_changes.warehouse.migrate import check_version
from asset_changes.warehouse.purge_plans import DRY_RUN_DAYS, ListHash, Plan, PlannedFile

log = logging.getLogger(__name__)

CHUNK_ASSETS = 100
"""So many assets are listed at once, and later deleted at once."""
MOST_PURGED_SHARE = 0.02
"""A plan that takes a larger share of what a source holds waits for approval."""
MOST_WITHOUT_LIST = 100
"""So does one that takes more assets of a store of which no list says what it holds: their share is not known."""
_NAMED = 20


@dataclass(kw_only=True)
class StoreCounts:
    """What a plan has of a store: assets and files to delete, and what it leaves, and why."""

    assets: int = 0
    files: int = 0
    bytes: int = 0
    nothing_found: int = 0
    held_back: int = 0
    unsure: int = 0
    unread: int = 0
    unsafe: int = 0
    unlisted: int = 0
    unlisted_assets: str | None = None
    held_count: int = 0
    error: str | None = None


def make_plan(context: PurgeContext, *, is_dry_run: bool) -> Plan:
    """List what is to be deleted, or would be; return the plan that the run carries out.

    That is an older one where a plan of these settings was not carried out to its end, and a store that it is left for
    can be listed now: a store that is down holds no other up. The error of a store that cannot be listed is in the
    plan. Raise PurgeRefused where no store of the run was listed lately, by a dry run or a plan, under these settings.
    """
    stores = {name: (each.uri, each.store_hash) for name, each in context.stores.items()}
    with transaction(context.warehouse) as connection:
        check_version(connection)
        file_stores.register(connection, stores)
        purge_plans.forget_files(connection)
        purge_plans.expire_plans(connection)
        listed = purge_plans.listed_stores(connection, policy_hash=context.policy_hash)
        found = purge_plans.open_plans(connection, policy_hash=context.policy_hash, only_store=context.only_store)
    if not is_dry_run:
        if not listed & {*context.chosen}:
            raise PurgeRefused(
                f"Nothing is deleted: no dry run under today's ASSET_CHANGES_FILE_STORES and PURGE_REASONS has listed "
                f"{', '.join(context.chosen)} in the last {DRY_RUN_DAYS} days."
            )
        for each in found:
            if _can_be_continued(context, each):
                log.info("Plan %d was not carried out to its end: this run continues it.", each.plan_id)
                return each
    plan = _Planning(context, is_dry_run=is_dry_run).make(listed=listed)
    log.info("%s", summary(plan))
    return plan


def _can_be_continued(context: PurgeContext, plan: Plan) -> bool:
    """Say whether anything of a plan can be done now: where stores failed, one of them must be listed again."""
    for name, left in plan.unfinished.items():
        with transaction(context.warehouse) as connection:
            files = purge_plans.files_of_chunk(connection, plan.plan_id, int(left["chunk"]))
        try:
            store = context.open_store(name)
            try:
                store.check()
                list_each(store, {each.asset_id for each in files})
                return True
            finally:
                store.close()
        except AssetChangesError as error:
            log.warning(
                "Plan %d waits for the store %s, valid until %s: %s", plan.plan_id, name, plan.expires_at, error
            )
    return not plan.unfinished


class _Planning:
    """A plan that is being made, chunk by chunk."""

    def __init__(self, context: PurgeContext, *, is_dry_run: bool) -> None:
        self._context, self._is_dry_run = context, is_dry_run
        self._chunk = self._line = 0
        self._hash = ListHash()
        begin = partial(
            purge_plans.begin_plan,
            mode="dry_run" if is_dry_run else "on",
            policy_hash=context.policy_hash,
            only_store=context.only_store,
            **asdict(context.run),
        )
        self._plan_id = in_transaction(context.warehouse, begin)

    def make(self, *, listed: set[str]) -> Plan:
        """List all stores of the run and end the plan."""
        warehouse, counts = self._context.warehouse, {}
        for name in self._context.chosen:
            counts[name] = self._of_store(name, is_allowed=self._is_dry_run or name in listed)
            with transaction(warehouse) as connection:
                file_stores.mark_error(connection, name, error=counts[name].error)
        with transaction(warehouse) as connection:
            allowed = purge_plans.allowed_stores(connection, policy_hash=self._context.policy_hash)
            brake = _brake(counts, max_files=self._context.max_files, allowed=allowed)
            purge_plans.end_plan(
                connection,
                self._plan_id,
                outcome="listed" if self._is_dry_run else "waiting" if brake else "ready",
                list_hash=str(self._hash),
                brake=brake,
                asset_count=sum(each.assets for each in counts.values()),
                file_count=sum(each.files for each in counts.values()),
                file_bytes=sum(each.bytes for each in counts.values()),
                stores={name: asdict(each) for name, each in counts.items()},
            )
            return purge_plans.plan_of(connection, self._plan_id)

    def _of_store(self, name: str, *, is_allowed: bool) -> StoreCounts:
        counts = StoreCounts()
        if not is_allowed:
            counts.error = f"No dry run under today's settings has listed the store in the last {DRY_RUN_DAYS} days."
            return counts
        with transaction(self._context.warehouse) as connection:
            found = duties.duties_of_store(connection, name, reasons=self._context.reasons)
            counts.held_count = held_count(connection, name)
        counts.held_back = sum(each.is_held_back for each in found)
        counts.unsure = sum(each.is_unsure and not each.is_held_back for each in found)
        unread = [each for each in found if each.is_unread and not each.is_held_back and not each.is_unsure]
        counts.unread = len(unread)
        if unread:
            channels = sorted({each.channel_id for each in unread if each.channel_id is not None})
            log.warning(
                "%d assets of %s wait: channels %s were not read to the end since their Deletes, or are being replayed",
                len(unread), name, ", ".join(map(str, channels)),
            )  # fmt: skip
        unsafe = [each.asset_id for each in found if each.may_go and refusal_of(each.asset_id)]
        counts.unsafe = len(unsafe)
        if unsafe:
            log.warning("No files of these ids can be looked for in %s: %s", name, ", ".join(unsafe[:_NAMED]))
        going = [each for each in found if each.may_go and not refusal_of(each.asset_id)]
        try:
            store = self._context.open_store(name)
            try:
                store.check()
                for start in range(0, len(going), CHUNK_ASSETS):
                    self._list_chunk(store, going[start : start + CHUNK_ASSETS], counts)
            finally:
                store.close()
        except AssetChangesError as error:
            counts.error = f"{error}"[:500]
            log.error("The store %s cannot be listed: %s", name, error)
        return counts

    def _list_chunk(self, store: FileStore, chunk: Sequence[Duty], counts: StoreCounts) -> None:
        found, failed = list_each(store, [each.asset_id for each in chunk])
        for asset_id, error in failed.items():
            counts.unlisted += 1
            if counts.unlisted <= _NAMED:
                counts.unlisted_assets = ", ".join(filter(None, (counts.unlisted_assets, asset_id)))
            log.error("The asset %s cannot be listed in %s, and is not taken for gone: %s", asset_id, store.name, error)
        self._chunk += 1
        files: list[PlannedFile] = []
        for duty in chunk:
            if duty.asset_id in failed:
                continue
            listed = found.get(duty.asset_id, [])
            files += [self._planned(store, duty, file) for file in listed] or [self._planned(store, duty, None)]
            counts.assets += bool(listed)
            counts.nothing_found += not listed
            counts.files += len(listed)
            counts.bytes += sum(file.size for file in listed)
        self._hash.add(files)
        in_transaction(self._context.warehouse, partial(purge_plans.add_files, files=files))

    def _planned(self, store: FileStore, duty: Duty, file: StoredFile | None) -> PlannedFile:
        self._line += 1
        return PlannedFile(
            plan_id=self._plan_id,
            chunk=self._chunk,
            line=self._line,
            store=store.name,
            asset_id=duty.asset_id,
            reason=duty.reason,
            due_since=duty.due_since,
            channel_id=duty.channel_id,
            change_set_id=duty.change_set_id,
            position=duty.position,
            reconciliation_id=duty.reconciliation_id,
            key=file.key if file else None,
            version_id=file.version_id if file else None,
            is_delete_marker=file.is_delete_marker if file else None,
            size=file.size if file else None,
            modified_at=file.modified_at if file else None,
            identity=file.identity if file else None,
        )


def _brake(counts: dict[str, StoreCounts], *, max_files: int, allowed: Collection[str]) -> str | None:
    """Return why a person must approve the plan first, in sentences, or None where no limit is exceeded."""
    files, why = sum(each.files for each in counts.values()), []
    first = [name for name, each in counts.items() if each.files and name not in allowed]
    if first:
        why.append(f"It is the first plan that deletes from {', '.join(first)} under these settings.")
    for name, each in counts.items():
        if each.held_count and each.assets > MOST_PURGED_SHARE * each.held_count:
            why.append(
                f"It takes {each.assets} assets, more than {MOST_PURGED_SHARE:.0%} of the {each.held_count} that "
                f"{name} holds."
            )
        elif not each.held_count and each.assets > MOST_WITHOUT_LIST:
            why.append(
                f"It takes {each.assets} assets of {name}, more than {MOST_WITHOUT_LIST}: "
                "no list says how many it holds."
            )
    if files > max_files:
        why.append(f"It has {files} files, more than ASSET_CHANGES_PURGE_MAX_FILES ({max_files}).")
    return " ".join(why) or None


def summary(plan: Plan) -> str:
    """Return what a plan has, in a line."""
    left = {
        name: sum(int(each[name]) for each in plan.stores.values())
        for name in ("held_back", "unsure", "unread", "unsafe", "unlisted")
    }
    return (
        f"Planned {'what would be deleted' if plan.mode == 'dry_run' else 'the purge'}: plan={plan.plan_id} "
        f"assets={plan.asset_count} files={plan.file_count} bytes={plan.file_bytes} "
        + " ".join(f"{name}={count}" for name, count in left.items())
        + (f" waits for approval: {plan.brake}" if plan.outcome == "waiting" else "")
    )
