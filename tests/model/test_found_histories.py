"""Histories that once ended in wrong tables, told one by one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from asset_changes.warehouse.connection import connect
from sqlalchemy import URL
from upath import UPath

from tests.chaos.perils import POINTS, Perils, surround
from tests.conftest import SCHEMA
from tests.model.getty import Message
from tests.model.test_state_machine import Histories, Killed, die


@pytest.fixture
def history(warehouse_url: URL, tmp_path: Path) -> Iterator[Histories]:
    """A history that is told by hand, and must end well like any other."""
    perils, engine = Perils(die), connect(warehouse_url, schema=SCHEMA)
    surround(engine, perils)
    history = Histories(engine, perils, UPath(f"memory://{tmp_path}"))
    yield history
    history.teardown()
    engine.dispose()


@pytest.mark.parametrize("point", POINTS)
def test_at_each_of_its_points_a_peril_strikes(history: Histories, point: str) -> None:
    history.getty.tell(3001, [Message("a", "New", 1)])
    history.perils.arm(point)
    with pytest.raises(Killed):
        list(map(history.go_on, ["first"] * 5))  # delivered, recorded, settled, loaded, confirmed
    history.a_worker_dies("first")


def test_a_shorter_delivery_that_is_written_down_late_does_not_undo_a_longer_one(history: Histories) -> None:
    history.getty.tell(3001, [Message(asset_id, "New", 1) for asset_id in "abcdef"])
    history.getty.grows = True
    for name in ("first", "first"):  # delivered and recorded with two messages, then the worker dies
        history.go_on(name)
    history.a_worker_dies("first")
    for name in ("first", "second", "second", "second", "second"):  # four for the first, six for the second
        history.go_on(name)
    history.the_tables_equal_the_model()
    for _ in range(4):
        history.go_on("first")
    history.the_tables_equal_the_model()


def test_a_redelivery_in_another_spelling_rejects_nothing_twice(history: Histories) -> None:
    history.getty.tell(3001, [Message(None, "Delete", 1), Message("a", "New", 1)])
    for spelling in ("snake", "camel", "pascal"):
        history.getty.spelling = spelling
        for _ in range(4):
            history.go_on("first")
        history.the_tables_equal_the_model()
        history.a_worker_dies("first")


def test_a_set_that_two_workers_archived_is_rebuilt_once(history: Histories) -> None:
    history.getty.tell(3001, [Message("a", "New", 1), Message("b", "Delete", 1)])
    history.both_are_handed_the_same_set("first", "second", further=1, peril="after archive", nth=2)
    assert len(list(history.archive.sets(3001))) == 2
    for _ in range(4):
        history.go_on("second")
    history.the_archive_is_replayed(3001, None)
    history.the_warehouse_is_rebuilt()
    history.the_tables_equal_the_model()


def test_a_replay_tells_the_ledger_what_a_longer_delivery_added_before_its_worker_died(history: Histories) -> None:
    history.getty.tell(3001, [Message(asset_id, "New", 1) for asset_id in "abc"])
    for _ in range(4):  # loaded with two messages
        history.go_on("first")
    history.getty.grows = True
    history.go_on("second")  # archived with three
    history.a_worker_dies("second")
    history.the_archive_is_replayed(3001, None)
    history.the_tables_equal_the_model()
