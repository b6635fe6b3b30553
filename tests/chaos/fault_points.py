"""Fault points: every point between two instructions that matter has a name; at the chosen one a worker dies.

The source, the archive and the connections that are passed to the core reach these points; the core itself is not
touched. What dying means is the caller's choice: an error that nothing catches, or SIGKILL.
"""

import time
from collections.abc import Callable
from typing import Any

import psycopg
from asset_changes.archive import Archive
from asset_changes.models import Confirmation, Delivery
from asset_changes.pipeline.context import ChangeSetSource
from sqlalchemy import Engine, event
from upath import UPath

FETCH = ("before put", "after put", "before archive", "after archive", "before ledger", "after ledger")
LOAD = ("before load", "after load")
CONFIRM = ("before tried", "after tried", "before delete", "after delete", "before stamp", "after stamp")
POINTS = FETCH + LOAD + CONFIRM
"""The fault points of one change set; `before ledger` is the one before the commit of the ledger's row, and so on."""
POINTS_OF = {
    "steps": POINTS,
    # The row of the delivery and the stamp of the try share the load's commit.
    "catch_up": tuple(point for point in POINTS if point.split()[1] not in ("ledger", "tried")),
    "replay": LOAD,
}
"""The fault points that a worker reaches, by its way of working."""

# What a transaction is for, by what it writes; the first that fits names it.
_TRANSACTIONS = (
    ("load", "INSERT INTO asset_states"),
    ("ledger", "INSERT INTO change_sets"),
    ("ledger", "redelivered_count ="),
    ("tried", "confirm_tried_at ="),
    ("stamp", "confirmed_at ="),
)


class FaultInjector:
    """Fails when the armed point is reached for the nth time; does nothing until armed."""

    def __init__(self, fail: Callable[[], None]) -> None:
        self._fail = fail
        self._point: str | None = None
        self._left = 0

    def arm(self, point: str | None, *, nth: int = 1) -> None:
        """Wait for `point`; None disarms."""
        self._point, self._left = point, nth

    def reach(self, point: str) -> None:
        """Fail if `point` is the armed one."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                self._point = None
                self._fail()


class FaultySource:
    """A source with fault points around its calls."""

    def __init__(self, source: ChangeSetSource, faults: FaultInjector) -> None:
        self._source = source
        self._faults = faults

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Fetch, with fault points before and after."""
        self._faults.reach("before put")
        delivery = self._source.get_change_set(channel_id, batch_size=batch_size)
        self._faults.reach("after put")
        return delivery

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm, with fault points before and after."""
        self._faults.reach("before delete")
        confirmation = self._source.confirm_change_set(change_set_id)
        self._faults.reach("after delete")
        return confirmation


class FaultyArchive(Archive):
    """An archive with fault points around each write; `takes` is its delay in seconds."""

    def __init__(self, root: UPath, faults: FaultInjector, *, takes: float = 0.0) -> None:
        super().__init__(root)
        self._faults, self._takes = faults, takes

    def write(self, uri: str, body: bytes, **more: Any) -> None:
        """Write, with fault points before and after."""
        time.sleep(self._takes)
        self._faults.reach("before archive")
        super().write(uri, body, **more)
        self._faults.reach("after archive")


class FaultyConnection(psycopg.Connection[Any]):
    """A connection with fault points around each commit, named after what the transaction wrote."""

    faults: FaultInjector
    rank = len(_TRANSACTIONS)

    def note_statement(self, statement: str) -> None:
        """Find out from a statement what the transaction is for."""
        if statement.lstrip().startswith(("INSERT", "UPDATE", "WITH")):
            ranks = (rank for rank, (_, mark) in enumerate(_TRANSACTIONS) if mark in statement)
            self.rank = min(self.rank, next(ranks, len(_TRANSACTIONS)))

    def commit(self) -> None:
        """Commit, with fault points before and after."""
        rank, self.rank = self.rank, len(_TRANSACTIONS)
        if rank == len(_TRANSACTIONS):
            super().commit()
            return
        name = _TRANSACTIONS[rank][0]
        self.faults.reach(f"before {name}")
        super().commit()
        self.faults.reach(f"after {name}")

    def rollback(self) -> None:
        """Roll back, which writes nothing."""
        self.rank = len(_TRANSACTIONS)
        super().rollback()


def inject_into(engine: Engine, faults: FaultInjector) -> None:
    """Make the future connections of an engine have fault points around their commits."""

    def connect(*args: Any, **options: Any) -> FaultyConnection:
        connection = FaultyConnection.connect(*args, **options)
        connection.faults = faults
        return connection

    engine.dialect.connect = connect  # type: ignore[method-assign,assignment]

    @event.listens_for(engine, "before_cursor_execute")
    def _note_statement(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        cursor.connection.note_statement(statement)
