"""The tables `lookup_connections` and `lookup_calls`: who asks with which connection, and how often it was asked.

A lease says who asks. It is a row with an end, not a lock: no transaction is open while Getty is waited
for. Whoever has lost it writes no answer any more.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

LEASE = timedelta(minutes=3)
"""Longer than one call with its further tries takes; each call renews it."""

# The same holder is a task that is tried again: what it was before is dead.
_TAKE = text("""
    INSERT INTO lookup_connections AS known (conn_id, lease_id, leased_by, leased_until)
    VALUES (:conn_id, :lease_id, :holder, clock_timestamp() + :lease)
    ON CONFLICT (conn_id) DO UPDATE SET lease_id = excluded.lease_id, leased_by = excluded.leased_by,
        leased_until = excluded.leased_until
    WHERE known.lease_id IS NULL OR known.leased_until < clock_timestamp() OR known.leased_by = excluded.leased_by
    RETURNING refused_fields""")
_HOLDER = text("SELECT leased_by, leased_until FROM lookup_connections WHERE conn_id = :conn_id")
_RENEW = """UPDATE lookup_connections SET leased_until = clock_timestamp() + :lease{more}
    WHERE conn_id = :conn_id AND lease_id = :lease_id"""
_RENEW_LEASE = text(_RENEW.format(more=""))
_MARK_FAILED = text(_RENEW.format(more=", error = :error, error_at = clock_timestamp()"))
_RELEASE = text("""
    UPDATE lookup_connections SET lease_id = NULL, leased_by = NULL, leased_until = NULL
    WHERE conn_id = :conn_id AND lease_id = :lease_id""")

# Slot: {source}, the counts of one row or of none.
_COUNT = """
    INSERT INTO lookup_calls AS known (conn_id, hour, calls, throttled, answered)
    SELECT :conn_id, date_trunc('hour', clock_timestamp()), {source}
    ON CONFLICT (conn_id, hour) DO UPDATE SET calls = known.calls + excluded.calls,
        throttled = known.throttled + excluded.throttled, answered = known.answered + excluded.answered"""
_TODAY = """
    SELECT coalesce(sum(calls), 0) AS calls_today FROM lookup_calls
    WHERE conn_id = :conn_id AND hour >= date_trunc('day', clock_timestamp())"""
_CALLS_TODAY = text(_TODAY)
_COUNT_THROTTLED = text(_COUNT.format(source="0, 1, 0"))
# Each is one statement, for a round trip less per call and chunk.
_COUNT_CALL = text(f"""
    WITH renewed AS ({_RENEW.format(more="")} RETURNING conn_id),
    counted AS ({_COUNT.format(source=f"1, 0, 0 FROM renewed, ({_TODAY}) AS today WHERE calls_today < :calls_per_day")}
        RETURNING conn_id)
    SELECT (SELECT count(*) FROM renewed) AS renewed, (SELECT count(*) FROM counted) AS counted""")
_ANSWERED = ", last_answer_at = :answered_at, error = NULL, error_at = NULL, refused_fields = :refused_fields"
_MARK_ANSWERED = text(f"""
    WITH renewed AS ({_RENEW.format(more=_ANSWERED)} RETURNING conn_id)
    {_COUNT.format(source="0, 0, :found_count FROM renewed")}""")
_REMOVE_OLD = text("DELETE FROM lookup_calls WHERE hour < now() - interval '90 days'")


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to ask with a connection; `refused_fields` are those that Getty refused before."""

    conn_id: str
    lease_id: str
    refused_fields: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has the lease of a connection, and until when."""

    name: str
    until: datetime


class LeaseLost(Exception):
    """Another run has taken the lease: it had ended before it was renewed."""


def take_lease(connection: Connection, conn_id: str, *, holder: str) -> Lease | Holder:
    """Take the lease of a connection, or return who has it."""
    lease_id = uuid.uuid4().hex
    values = {"conn_id": conn_id, "lease_id": lease_id, "holder": holder, "lease": LEASE}
    row = connection.execute(_TAKE, values).one_or_none()
    if row is not None:
        return Lease(conn_id=conn_id, lease_id=lease_id, refused_fields=frozenset(row.refused_fields))
    found = connection.execute(_HOLDER, {"conn_id": conn_id}).one()
    # It may have been released since the statement before; whoever comes next finds it free.
    return Holder(name=found.leased_by or "another run", until=found.leased_until or datetime.now().astimezone())


def renew_lease(connection: Connection, lease: Lease) -> None:
    """Renew the lease, or raise LeaseLost."""
    _renew(connection.execute(_RENEW_LEASE, _key(lease)).rowcount, lease)


def mark_answered(
    connection: Connection, lease: Lease, *, at: datetime, found_count: int, refused_fields: Collection[str]
) -> None:
    """Keep that Getty answered and renew the lease, or raise LeaseLost: then the caller's transaction is void.

    Called last in it, so that nobody who asks for the lease waits for a load.
    """
    values = {
        **_key(lease),
        "answered_at": at,
        "found_count": found_count,
        "refused_fields": sorted(refused_fields),
    }
    _renew(connection.execute(_MARK_ANSWERED, values).rowcount, lease)


def mark_failed(connection: Connection, lease: Lease, *, error: str) -> None:
    """Keep why Getty refused."""
    connection.execute(_MARK_FAILED, {**_key(lease), "error": error})


def release_lease(connection: Connection, lease: Lease) -> None:
    """Give the lease back, if it was not lost."""
    connection.execute(_RELEASE, {"conn_id": lease.conn_id, "lease_id": lease.lease_id})


def count_call(connection: Connection, lease: Lease, *, calls_per_day: int) -> bool:
    """Count a call that is about to be made and renew the lease; False, and nothing counted, at the day's limit."""
    done = connection.execute(_COUNT_CALL, {**_key(lease), "calls_per_day": calls_per_day}).one()
    _renew(done.renewed, lease)
    return bool(done.counted)


def count_throttled(connection: Connection, lease: Lease) -> None:
    """Count that Getty asked for fewer calls."""
    connection.execute(_COUNT_THROTTLED, {"conn_id": lease.conn_id})


def calls_today(connection: Connection, conn_id: str) -> int:
    """Return how many calls were made since midnight UTC."""
    return int(connection.scalar(_CALLS_TODAY, {"conn_id": conn_id}) or 0)


def remove_old_calls(connection: Connection) -> None:
    """Remove counts that are older than 90 days."""
    connection.execute(_REMOVE_OLD)


def _renew(row_count: int, lease: Lease) -> None:
    if not row_count:
        raise LeaseLost(f"Another run has taken over the lookups of connection {lease.conn_id}.")


def _key(lease: Lease) -> dict[str, object]:
    return {"conn_id": lease.conn_id, "lease_id": lease.lease_id, "lease": LEASE}
