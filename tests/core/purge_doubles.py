"""A store of files in memory, and a company that holds assets in it: what the tests of purges work with."""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from asset_changes.errors import StoreUnavailable
from asset_changes.pipeline.context import ChannelContext
from asset_changes.removal.holds import Decision, DecisionMade, carry_out
from asset_changes.removal.plan import make_plan
from asset_changes.removal.policy import PurgeContext, PurgeRun, StoreEntry
from asset_changes.removal.purge import Purged, purge
from asset_changes.removal.stores.store import DeleteResult, StoredFile
from asset_changes.warehouse import purge_plans
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.purge_plans import Plan
from sqlalchemy import Engine, text

from tests.core.doubles import body_of, change, run

Hook = Callable[[], object]
_WRITTEN = datetime(2026, 2, 1, tzinfo=UTC)


def nothing() -> None:
    """Do nothing."""


@dataclass
class MemoryStore:
    """A store with versions; hooks are called around each call.

    `locked` keys cannot be deleted, `unlistable` assets not be listed.
    """

    name: str = "dam"
    uri: str = "memory://dam"
    files: dict[str, list[StoredFile]] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    is_down: bool = False
    unlistable: set[str] = field(default_factory=set)
    before_list: Hook = nothing
    after_list: Hook = nothing
    before_delete: Hook = nothing
    after_each: Hook = nothing
    after_delete: Hook = nothing
    deleted: list[tuple[str, StoredFile]] = field(default_factory=list)
    listings: int = 0
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def put(
        self, asset_id: str, *, key: str | None = None, version_id: str | None = None, marker: bool = False
    ) -> None:
        """Store a file of an asset, or another version of it; without versions it replaces the one of its key."""
        number, key = next(self._numbers), key or f"images/{asset_id}.jpg"
        file = StoredFile(
            key=key,
            version_id=version_id,
            is_delete_marker=marker,
            size=0 if marker else 10,
            modified_at=_WRITTEN,
            identity=f"identity-{number}",
        )
        others = [each for each in self.files.get(asset_id, []) if (each.key, each.version_id) != (key, version_id)]
        self.files[asset_id] = [*others, file]

    def check(self) -> None:
        """Raise StoreUnavailable while the store is down."""
        if self.is_down:
            raise StoreUnavailable(f"The store {self.name} does not answer.")

    def list_files(self, asset_ids: Collection[str]) -> dict[str, list[StoredFile]]:
        """Return what there is of these assets."""
        self.before_list()
        self.check()
        if self.unlistable & {*asset_ids}:
            raise StoreUnavailable(f"The store {self.name} sends no listing that can be read.")
        self.listings += 1
        found = {each: list(self.files[each]) for each in asset_ids if self.files.get(each)}
        self.after_list()
        return found

    def delete(self, files: Sequence[StoredFile]) -> list[DeleteResult]:
        """Delete exactly these versions."""
        self.before_delete()
        results = [self._delete(each) for each in files]
        self.after_delete()
        return results

    def _delete(self, file: StoredFile) -> DeleteResult:
        if self.is_down:
            return DeleteResult(file=file, result="error", error="does not answer")
        if file.key in self.locked:
            return DeleteResult(file=file, result="error", error="AccessDenied", request_id="R1")
        for asset_id, stored in self.files.items():
            for each in stored:
                if each == file:
                    stored.remove(each)
                    self.deleted.append((asset_id, each))
                    self.after_each()
                    return DeleteResult(file=file, result="deleted", request_id="R0")
                if (each.key, each.version_id) == (file.key, file.version_id):
                    return DeleteResult(file=file, result="changed")
        return DeleteResult(file=file, result="missing")

    def close(self) -> None:
        """Nothing is open."""

    def has(self, asset_id: str) -> bool:
        """Whether any version of the asset can be read."""
        return bool(self.files.get(asset_id))


@dataclass
class Company:
    """A company that holds assets in a store called `dam`, with a channel that Getty's changes come through."""

    channel: ChannelContext
    stores: dict[str, MemoryStore] = field(default_factory=lambda: {"dam": MemoryStore()})
    context: PurgeContext = None  # type: ignore[assignment]
    _sets: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        entries = {name: StoreEntry(uri=each.uri, store_hash=f"hash-{name}") for name, each in self.stores.items()}
        self.context = PurgeContext(
            warehouse=self.channel.warehouse,
            stores=entries,
            open_store=self.stores.__getitem__,
            run=PurgeRun(dag_id="asset_changes_purge", run_id="run-1", triggered_by="ann", code_version="1.0"),
        )

    @property
    def warehouse(self) -> Engine:
        """The test's warehouse."""
        return self.channel.warehouse

    @property
    def store(self) -> MemoryStore:
        """The store `dam`."""
        return self.stores["dam"]

    def holds(self, *asset_ids: str, source: str = "dam", of: int = 1000) -> None:
        """Bring a list in that names these assets among `of`, and store a file of each."""
        for each in asset_ids:
            self.stores[source].put(each)
        self.lists(*asset_ids, source=source, of=of)

    def lists(self, *asset_ids: str, source: str = "dam", of: int = 1000) -> None:
        """Bring a list in that names these assets among `of`."""
        entries = [{"source": source, "asset_id": each} for each in asset_ids]
        with transaction(self.warehouse) as connection:
            connection.execute(
                text(
                    "INSERT INTO held_assets (source, asset_id, held_since) VALUES (:source, :asset_id, '2026-01-01Z')"
                ),
                entries,
            )
            connection.execute(
                text(
                    "INSERT INTO holding_imports (source, uri, started_at, ended_at, held_count)"
                    " VALUES (:source, 'file://list', now(), now(), :of)"
                ),
                {"source": source, "of": of},
            )

    def changes(
        self, lifecycle: str, *asset_ids: str, minute: float = 0, is_caught_up: bool = True, **given: Any
    ) -> None:
        """Let Getty say so of these assets, and hand out nothing more afterwards."""
        messages = [change(each, lifecycle, minute) for each in asset_ids]
        run(self.channel, body_of(f"set-{next(self._sets)}", *messages), **given)
        if is_caught_up:
            with transaction(self.warehouse) as connection:
                caught_up = "UPDATE channels SET caught_up_at = (SELECT max(fetched_at) FROM change_sets)"
                connection.execute(text(caught_up))

    def dry_run(self) -> Plan:
        """Plan without deleting."""
        return make_plan(self.context, is_dry_run=True)

    def plan(self, *, is_approved: bool = True) -> Plan:
        """Plan after a dry run, and approve it where that is needed."""
        self.dry_run()
        plan = make_plan(self.context, is_dry_run=False)
        if plan.outcome == "waiting" and is_approved:
            self.approve(plan)
        return plan

    def approve(self, plan: Plan) -> bool:
        """Approve a plan as it was shown."""
        with transaction(self.warehouse) as connection:
            return purge_plans.decide(
                connection, plan.plan_id, list_hash=str(plan.list_hash), is_approved=True, name="bea"
            )

    def purge(self, plan: Plan | None = None, **more: Any) -> Purged:
        """Carry out a plan; a new one by default."""
        return purge(self.context, (plan or self.plan()).plan_id, **more)

    def decide(self, action: str, *asset_ids: str, owner: str = "legal", **more: Any) -> DecisionMade:
        """Hold back, release or waive."""
        return carry_out(
            self.warehouse,
            Decision(action=action, asset_ids=asset_ids, reason="a case", by="cas", owner=owner, **more),
        )

    def next_run(self, run_id: str) -> None:
        """Be another run from now on."""
        self.context = replace(self.context, run=replace(self.context.run, run_id=run_id))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with transaction(self.warehouse) as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def receipts(self) -> list[tuple[Any, ...]]:
        """Return what the receipts say, in order."""
        return self.rows("SELECT asset_id, key, result, is_gone FROM purges ORDER BY receipt_id")

    def open(self) -> list[str]:
        """Return what still must go."""
        return [row[0] for row in self.rows("SELECT asset_id FROM assets_to_remove ORDER BY asset_id")]
