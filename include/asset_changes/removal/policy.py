"""Under which settings files are deleted, and on whose behalf: what plan and purge share."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine

from asset_changes.removal.stores.store import FileStore


@dataclass(frozen=True, kw_only=True)
class StoreEntry:
    """A configured store: its address, and a hash of all that its entry says."""

    uri: str
    store_hash: str


@dataclass(frozen=True, kw_only=True)
class PurgeRun:
    """The run that plans and deletes, as receipts name it."""

    dag_id: str | None = None
    run_id: str | None = None
    triggered_by: str | None = None
    code_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class PurgeContext:
    """What plan and purge work with; `open_store` opens a store by its name."""

    warehouse: Engine
    stores: Mapping[str, StoreEntry]
    open_store: Callable[[str], FileStore]
    reasons: tuple[str, ...] = ("deleted",)
    max_files: int = 10_000
    only_store: str | None = None
    run: PurgeRun = field(default_factory=PurgeRun)

    @property
    def policy_hash(self) -> str:
        """Return the hash under which a dry run counts."""
        return hash_of([sorted((name, each.store_hash) for name, each in self.stores.items()), sorted(self.reasons)])

    @property
    def chosen(self) -> tuple[str, ...]:
        """Return the stores of this run, by name."""
        return tuple(sorted(self.stores)) if self.only_store is None else (self.only_store,)


def hash_of(value: object) -> str:
    """Return a hash of what JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
