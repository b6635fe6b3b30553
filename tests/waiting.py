"""Waiting for a fact, so that no test depends on how fast the machine is."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, text

T = TypeVar("T")

DEADLINE_SECONDS = 120.0
"""It only bounds a hang: far longer than anything takes on a busy machine."""


def wait_until(
    fact: Callable[[], T],
    *,
    what: str,
    seconds: float = DEADLINE_SECONDS,
    pause: float = 0.02,
    details: Callable[[], str] = str,
) -> T:
    """Return what `fact` returns once it is true; `what` names it, `details` says more where it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds:.0f} seconds. {details()}")
        time.sleep(pause)
    return found


def _count(warehouse: Engine, query: str) -> int:
    with warehouse.connect() as connection:  # a transaction of its own: Postgres keeps its answer until it ends
        return int(connection.scalar(text(query)) or 0)


def lock_waits(warehouse: Engine) -> int:
    """Return how many sessions of this database wait for a lock."""
    return _count(
        warehouse,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )


def wait_for_lock_waits(warehouse: Engine, *, sessions: int = 1) -> None:
    """Return once so many sessions wait for a lock."""
    wait_until(lambda: lock_waits(warehouse) >= sessions, what=f"a lock that {sessions} sessions wait for")


def has_idle_load(warehouse: Engine) -> bool:
    """Return whether a load has written its rows and waits inside its transaction, as for the archive."""
    return bool(
        _count(
            warehouse,
            "SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)"
            " WHERE relation = 'asset_states'::regclass AND mode = 'RowExclusiveLock'"
            " AND state = 'idle in transaction' AND clock_timestamp() - state_change > interval '0.1 seconds'",
        )
    )
