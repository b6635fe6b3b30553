"""Histories that once ended in wrong tables."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.warehouse.engine import connect
from sqlalchemy import URL
from upath import UPath

from tests.chaos.fault_points import POINTS_OF, FaultInjector, inject_into
from tests.conftest import SCHEMA
from tests.model.reference import Message
from tests.model.test_state_machine import Histories
from tests.model.world import Killed, die, run


@pytest.fixture
def history(warehouse_url: URL, tmp_path: Path) -> Iterator[Histories]:
    """A history that a test writes step by step; its end is checked like any other."""
    faults, engine = FaultInjector(die), connect(warehouse_url, schema=SCHEMA)
    inject_into(engine, faults)
    history = Histories(engine, faults, UPath(f"memory://{tmp_path}"))
    yield history
    history.teardown()
    engine.dispose()


@pytest.mark.parametrize(("way", "point"), [(way, point) for way in ("steps", "catch_up") for point in POINTS_OF[way]])
def test_the_next_worker_finishes_what_a_killed_one_left(history: Histories, way: str, point: str) -> None:
    history.getty.append(3001, [Message(asset_id, "New", 1) for asset_id in "abc"])
    work = partial(catch_up, batch_size=2, minutes=1) if way == "catch_up" else run
    history.faults.arm(point)
    with pytest.raises(Killed):
        work(history.workers["first"].context)
    history.check()


def test_a_late_shorter_delivery_does_not_undo_a_longer_one(history: Histories) -> None:
    def append(asset_ids: str) -> None:
        history.getty.append(3001, [Message(asset_id, "New", 1) for asset_id in asset_ids])

    history.getty.grows = True
    append("ab")
    history.next_steps("first", 2)  # delivered and recorded with two messages, then the worker dies
    history.a_worker_dies("first")
    append("cd")
    history.next_step("first")  # delivered with four
    append("ef")
    history.next_steps("second", 4)  # loaded with six
    history.check()
    history.next_steps("first", 4)
    history.check()


def test_a_redelivery_in_another_spelling_rejects_nothing_twice(history: Histories) -> None:
    history.getty.append(3001, [Message(None, "Delete", 1), Message("a", "New", 1)])
    for spelling in ("snake", "camel", "pascal"):
        history.getty.spelling = spelling
        history.next_steps("first", 4)
        history.check()
        history.a_worker_dies("first")


def test_a_set_that_two_workers_archived_is_rebuilt_once(history: Histories) -> None:
    history.getty.append(3001, [Message("a", "New", 1), Message("b", "Delete", 1)])
    history.both_are_handed_the_same_set("first", "second", further=1, fault="after archive", nth=2)
    [archived] = history.archive.sets(3001)
    assert len(archived.objects) == 2
    history.next_steps("second", 4)
    history.the_archive_is_replayed(3001, None)
    history.the_warehouse_is_rebuilt()
    history.check()


def test_a_replay_completes_the_ledger_of_a_longer_delivery(history: Histories) -> None:
    history.getty.append(3001, [Message(asset_id, "New", 1) for asset_id in "abc"])
    history.next_steps("first", 4)  # loaded with two messages
    history.getty.grows = True
    history.next_step("second")  # archived with three
    history.a_worker_dies("second")
    history.the_archive_is_replayed(3001, None)
    history.check()


def test_a_replay_loads_a_set_that_grew_as_it_is_now(history: Histories) -> None:
    history.getty.append(3001, [Message(asset_id, "New", 1) for asset_id in "abc"])
    history.next_steps("first", 4)  # loaded with two messages
    history.getty.grows = True
    history.archive.meanwhile = lambda: history.next_steps("second", 2)  # archived and recorded with three
    history.replay(3001)
    history.check()
    history.next_steps("second", 3)  # confirmed
    history.check()


def test_a_later_delivery_keeps_the_times_of_its_changes(history: Histories) -> None:
    history.getty.append(3001, [Message("a", "New", 1)])
    history.next_steps("first", 4)  # loaded
    history.a_worker_starts_hours_later(
        "second", [Message("a", "Delete", 1), Message("a", "Update", 2)], hours=3, further=4
    )
    history.check()


def test_a_late_answer_confirms_no_set_fetched_meanwhile(history: Histories) -> None:
    history.getty.append(3001, [Message(asset_id, "New", 1) for asset_id in "abcd"])
    history.getty.meanwhile = lambda: history.next_steps("first", 7)  # one set confirmed, the next one recorded
    history.next_steps("second", 3)
    history.check()
