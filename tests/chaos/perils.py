"""Perils: every instant between two instructions that matter has a name, and at the chosen one a worker dies.

The source, the archive and the connections to the warehouse are passed to the core with perils around them; the core
itself is not touched. What dying means is the caller's choice: an error that nothing catches, or SIGKILL.
"""

import time
from collections.abc import Callable
from datetime import datetime
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
"""The instants of one change set; `before ledger` is the one before the commit of the ledger's row, and so on."""
POINTS_OF = {
    "steps": POINTS,
    # The row of the delivery and the stamp of the try share the load's commit.
    "catch_up": tuple(point for point in POINTS if point.split()[1] not in ("ledger", "tried")),
    "replay": LOAD,
}
"""The instants that a worker comes to, by its way of working."""

# What a transaction is for, by what it writes; the first that fits names it.
_MEANINGS = (
    ("load", "INSERT INTO asset_states"),
    ("ledger", "INSERT INTO change_sets"),
    ("ledger", "redelivered_count ="),
    ("tried", "confirm_tried_at ="),
    ("stamp", "confirmed_at ="),
)


class Perils:
    """Strikes when the armed point is reached for the nth time; harmless until armed."""

    def __init__(self, strike: Callable[[], None]) -> None:
        self._strike = strike
        self._point: str | None = None
        self._left = 0

    def arm(self, point: str | None, *, nth: int = 1) -> None:
        """Wait for `point`; None disarms."""
        self._point, self._left = point, nth

    def at(self, point: str) -> None:
        """Say that `point` is reached."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                self._point = None
                self._strike()


class PerilousSource:
    """A source with perils around its calls."""

    def __init__(self, source: ChangeSetSource, perils: Perils) -> None:
        self._source = source
        self._perils = perils

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Ask, with perils before and after."""
        self._perils.at("before put")
        delivery = self._source.get_change_set(channel_id, batch_size=batch_size)
        self._perils.at("after put")
        return delivery

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm, with perils before and after."""
        self._perils.at("before delete")
        confirmation = self._source.confirm_change_set(change_set_id)
        self._perils.at("after delete")
        return confirmation


class PerilousArchive(Archive):
    """An archive with perils around each object that is written; `takes` is how many seconds it takes to begin."""

    def __init__(self, root: UPath, perils: Perils, *, takes: float = 0.0) -> None:
        super().__init__(root)
        self._perils, self._takes = perils, takes

    def write(self, uri: str, body: bytes, *, server_time: datetime | None = None) -> None:
        """Write, with perils before and after."""
        time.sleep(self._takes)
        self._perils.at("before archive")
        super().write(uri, body, server_time=server_time)
        self._perils.at("after archive")


class PerilousConnection(psycopg.Connection[Any]):
    """A connection with perils around each commit, named after what the transaction wrote."""

    perils: Perils
    rank = len(_MEANINGS)

    def notice(self, statement: str) -> None:
        """Take note of a statement of the transaction."""
        if statement.lstrip().startswith(("INSERT", "UPDATE", "WITH")):
            ranks = (rank for rank, (_, mark) in enumerate(_MEANINGS) if mark in statement)
            self.rank = min(self.rank, next(ranks, len(_MEANINGS)))

    def commit(self) -> None:
        """Commit, with perils before and after."""
        rank, self.rank = self.rank, len(_MEANINGS)
        if rank == len(_MEANINGS):
            super().commit()
            return
        name = _MEANINGS[rank][0]
        self.perils.at(f"before {name}")
        super().commit()
        self.perils.at(f"after {name}")

    def rollback(self) -> None:
        """Roll back, which writes nothing."""
        self.rank = len(_MEANINGS)
        super().rollback()


def surround(engine: Engine, perils: Perils) -> None:
    """Let an engine that has not connected yet make its connections with perils around their commits."""

    def connect(*args: Any, **options: Any) -> PerilousConnection:
        connection = PerilousConnection.connect(*args, **options)
        connection.perils = perils
        return connection

    engine.dialect.connect = connect  # type: ignore[method-assign]

    @event.listens_for(engine, "before_cursor_execute")
    def _notice(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        cursor.connection.notice(statement)
