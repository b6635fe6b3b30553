"""The table `file_stores`: since when each store is configured, or until when it was, and which run deletes from it.

As with lookups, the right to delete is a lease, a row with an end: no lock is kept while a store is waited for.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

LEASE = timedelta(minutes=10)
"""Longer than the files that are deleted at once take with all their tries; each look at their assets renews it."""

_REGISTER = text("""
    INSERT INTO file_stores AS known (store, uri, store_hash) VALUES (:store, :uri, :store_hash)
    ON CONFLICT (store) DO UPDATE SET uri = excluded.uri, store_hash = excluded.store_hash, unconfigured_at = NULL
    WHERE (known.uri, known.store_hash) <> (excluded.uri, excluded.store_hash) OR known.unconfigured_at IS NOT NULL""")
_END = text("""
    UPDATE file_stores SET unconfigured_at = clock_timestamp()
    WHERE unconfigured_at IS NULL AND store <> ALL (CAST(:stores AS text[]))""")
# The same holder is a task that is tried again: what it was before is dead.
_TAKE = text("""
    UPDATE file_stores SET lease_id = :lease_id, leased_by = :holder, leased_until = clock_timestamp() + :lease,
        deleting_since = NULL
    WHERE store = :store AND (lease_id IS NULL OR leased_until < clock_timestamp() OR leased_by = :holder)""")
_HOLDER = text("SELECT leased_by, leased_until FROM file_stores WHERE store = :store")
# A chunk begins once, however often it is looked at: a hold waits for its end, when all its receipts are there.
_RENEW = text("""
    UPDATE file_stores SET leased_until = clock_timestamp() + :lease,
        deleting_since = coalesce(deleting_since, clock_timestamp())
    WHERE store = :store AND lease_id = :lease_id""")
_END_CHUNK = text("UPDATE file_stores SET deleting_since = NULL WHERE store = :store AND lease_id = :lease_id")
# The lock waits for a run that looks at the assets right now: whoever looks later sees what was committed before this.
_LOCK = text("SELECT store FROM file_stores ORDER BY store FOR SHARE")
_DELETING = text("""
    SELECT store FROM file_stores WHERE deleting_since <= :since AND leased_until > clock_timestamp() ORDER BY store""")
_RELEASE = text("""
    UPDATE file_stores SET lease_id = NULL, leased_by = NULL, leased_until = NULL, deleting_since = NULL
    WHERE store = :store AND lease_id = :lease_id""")
_MARK = text("""
    UPDATE file_stores SET error = :error, error_at = CASE WHEN :error IS NOT NULL THEN clock_timestamp() END
    WHERE store = :store AND error IS DISTINCT FROM :error""")


@dataclass(frozen=True, kw_only=True)
class StoreLease:
    """The right to delete from a store."""

    store: str
    lease_id: str


@dataclass(frozen=True, kw_only=True)
class StoreHolder:
    """Which run deletes from a store, and until when it may."""

    store: str
    name: str
    until: datetime | None


class StoreLeaseLost(Exception):
    """Another run deletes from the store now: the lease had ended before it was renewed."""


def register(connection: Connection, stores: Mapping[str, tuple[str, str]]) -> None:
    """Keep which stores are configured, each name with its address and hash, and since when; the others no longer."""
    connection.execute(_END, {"stores": sorted(stores)})
    for store, (uri, store_hash) in sorted(stores.items()):
        connection.execute(_REGISTER, {"store": store, "uri": uri, "store_hash": store_hash})


def take_lease(connection: Connection, store: str, *, holder: str) -> StoreLease | StoreHolder:
    """Take the lease of a store, or return who has it."""
    lease_id = uuid.uuid4().hex
    values = {"store": store, "lease_id": lease_id, "holder": holder, "lease": LEASE}
    if connection.execute(_TAKE, values).rowcount:
        return StoreLease(store=store, lease_id=lease_id)
    found = connection.execute(_HOLDER, {"store": store}).one()
    return StoreHolder(store=store, name=found.leased_by or "another run", until=found.leased_until)


def begin_chunk(connection: Connection, lease: StoreLease) -> None:
    """Begin a chunk or continue it: renew the lease and lock the store's row for this transaction.

    Raise StoreLeaseLost where another run has the store. What is read after it in the transaction is what a hold that
    waits for the chunk can rely on.
    """
    values = {"store": lease.store, "lease_id": lease.lease_id, "lease": LEASE}
    if not connection.execute(_RENEW, values).rowcount:
        raise StoreLeaseLost(f"Another run deletes from the store {lease.store} now: this one ends there.")


def end_chunk(connection: Connection, lease: StoreLease) -> None:
    """Keep that the chunk is over, if the lease was not lost."""
    connection.execute(_END_CHUNK, {"store": lease.store, "lease_id": lease.lease_id})


def chunk_time(connection: Connection) -> datetime:
    """Return a time: every chunk that begins after it sees what was committed before this call."""
    connection.execute(_LOCK)
    return connection.execute(text("SELECT clock_timestamp()")).scalar_one()  # type: ignore[no-any-return]


def stores_deleting(connection: Connection, *, since: datetime) -> list[str]:
    """Return the stores where a chunk that began before this time is still being deleted."""
    return list(connection.scalars(_DELETING, {"since": since}))


def release_lease(connection: Connection, lease: StoreLease) -> None:
    """Give the lease back, if it was not lost."""
    connection.execute(_RELEASE, {"store": lease.store, "lease_id": lease.lease_id})


def mark_error(connection: Connection, store: str, *, error: str | None) -> None:
    """Keep why the store could not be used, or that it could."""
    connection.execute(_MARK, {"store": store, "error": error})
