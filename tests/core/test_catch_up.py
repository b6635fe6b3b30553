"""Catching up: two calls per set, until nothing comes, the time is over or somebody says stop."""

import logging
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asset_changes.pipeline.fetch
import pytest
from asset_changes.archive import Archive
from asset_changes.errors import ApiUnavailable, ArchiveUnavailable
from asset_changes.models import Delivery
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine, event
from upath import UPath

from tests.conftest import EDITORIAL_IMAGES
from tests.core.doubles import NOON, ScriptedGetty, body_of, change, delivery, fetch_delivery, ledger_row, live, rows
from tests.waiting import has_idle_load, wait_until


@pytest.fixture
def backlog(sandbox: Sandbox) -> Sandbox:
    """A Getty with five changes in channel 3001."""
    sandbox.append(3001, [change(str(number), "New", number) for number in range(5)])
    return sandbox


def test_each_set_costs_two_calls_and_the_whole_run_one_token(
    backlog: Sandbox, context: ChannelContext, warehouse: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        done = catch_up(context, batch_size=2, minutes=1)
    assert (done.sets, done.counts.new, done.is_caught_up) == (3, 5, True)
    assert [request.method for request in backlog.requests] == ["POST", *["PUT", "DELETE"] * 3, "PUT"]
    assert "Caught up: channel=3001 sets=3 changes=5 new=5" in caplog.records[-1].message
    assert len([record for record in caplog.records if record.message.startswith("Loaded change set")]) == 3
    assert live(warehouse) == ["0", "1", "2", "3", "4"]
    assert all(row["confirmed_at"] for row in rows(warehouse, "SELECT confirmed_at FROM change_sets"))
    assert all(not row["is_confirm_implied"] for row in rows(warehouse, "SELECT is_confirm_implied FROM change_sets"))


def test_a_set_costs_seven_statements_and_its_copy(
    backlog: Sandbox, context: ChannelContext, warehouse: Engine
) -> None:
    """Each of them is a round trip, for which Getty waits with the next set."""
    sent: list[str] = []
    event.listen(warehouse, "before_cursor_execute", lambda _connection, _cursor, statement, *_: sent.append(statement))
    catch_up(context, batch_size=2, minutes=1)
    _, second, third = (number for number, each in enumerate(sent) if "INSERT INTO change_sets" in each)
    assert third - second == 7, sent[second:third]


def test_a_long_catch_up_logs_its_progress(
    backlog: Sandbox, context: ChannelContext, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        catch_up(context, batch_size=2, minutes=1, report_every_seconds=0)
    lines = [record.message for record in caplog.records if record.message.startswith("So far: channel=3001")]
    matches = [re.search(r" sets=(\d) changes=(\d) .* changes_per_second=\d+ lag_seconds=\d+$", line) for line in lines]
    assert [found and found.groups() for found in matches] == [("1", "2"), ("2", "4"), ("3", "5")]


def test_a_set_that_was_received_is_finished_before_the_end(
    backlog: Sandbox, context: ChannelContext, warehouse: Engine
) -> None:
    answers = iter([False, True])
    done = catch_up(context, batch_size=2, minutes=1, stops=lambda: next(answers))
    assert (done.sets, done.is_caught_up) == (1, False)
    assert live(warehouse) == ["0", "1"]
    [row] = rows(warehouse, "SELECT confirmed_at FROM change_sets")
    assert row["confirmed_at"] is not None
    assert backlog.outstanding(3001) is None


def test_no_time_means_no_call(backlog: Sandbox, context: ChannelContext) -> None:
    assert catch_up(context, batch_size=2, minutes=0).sets == 0
    assert backlog.requests == []


def test_a_set_that_comes_again_as_new_is_found_in_the_ledger(archive: Archive, warehouse: Engine) -> None:
    one, other = body_of("1", change("a", "New", 1)), body_of("2", change("b", "New", 2))
    answers = [(one, 0), (other, 1), (other, 2)]  # a 201 each time, which says that the set is new
    getty = ScriptedGetty([delivery(body, received_at=NOON + timedelta(minutes=minute)) for body, minute in answers])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    assert catch_up(context, batch_size=2, minutes=1).sets == 3
    assert [ledger_row(warehouse, each)["redelivered_count"] for each in "12"] == [0, 1]
    assert all(ledger_row(warehouse, each)["confirmed_at"] for each in "12")
    assert len(rows(warehouse, "SELECT * FROM asset_changes")) == 2
    assert [each.change_set_id for each in archive.sets(3001)] == ["1", "2"]


def test_a_set_that_another_worker_records_is_loaded_once(archive: Archive, warehouse: Engine) -> None:
    """Its rows were prepared for the time at which this worker received it; the ledger has the other one's."""
    body = body_of("7", change("a", "New", 0), change("b", "Delete", 1))
    other = ChannelContext(channel=EDITORIAL_IMAGES, source=ScriptedGetty(), archive=archive, warehouse=warehouse)

    class ArchiveOfTwo(Archive):
        """Lets the other worker record the set, once this one has found nothing of it in the ledger."""

        def uri_for(self, channel_id: int, change_set_id: str, *, fetched_at: datetime) -> str:
            if not rows(warehouse, "SELECT * FROM change_sets"):
                fetch_delivery(other, body)
            return super().uri_for(channel_id, change_set_id, fetched_at=fetched_at)

    getty = ScriptedGetty([delivery(body, received_at=NOON + timedelta(seconds=1))])
    catch_up(replace(other, source=getty, archive=ArchiveOfTwo(archive._root)), batch_size=2, minutes=1)
    assert live(warehouse) == ["a"]
    assert [row["fetched_at"] for row in rows(warehouse, "SELECT fetched_at FROM asset_changes")] == [NOON, NOON]
    assert len(rows(warehouse, "SELECT * FROM deletions")) == 1


def test_nothing_is_committed_that_is_not_archived(warehouse: Engine, tmp_path: Path) -> None:
    class FullArchive(Archive):
        def write(self, uri: str, body: bytes, **more: Any) -> None:
            wait_until(lambda: has_idle_load(warehouse), what="a load that has written its rows")
            raise ArchiveUnavailable("full")

    getty = ScriptedGetty([delivery(body_of("1", change("a", "New", 1)))])
    full = FullArchive(UPath(f"file://{tmp_path}/full"))
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=full, warehouse=warehouse)
    with pytest.raises(ArchiveUnavailable):
        catch_up(context, batch_size=2, minutes=1)
    assert rows(warehouse, "SELECT * FROM change_sets") == rows(warehouse, "SELECT * FROM asset_states") == []
    assert getty.confirmed == []


def test_a_failure_in_the_middle_keeps_what_was_confirmed(archive: Archive, warehouse: Engine) -> None:
    getty = ScriptedGetty([delivery(body_of(str(number), change(str(number), "New", number))) for number in range(3)])

    def refuse_the_third(change_set_id: str) -> None:
        if change_set_id == "2":
            raise ApiUnavailable("gone")

    getty.on_confirm = refuse_the_third
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    with pytest.raises(ApiUnavailable, match="gone"):
        catch_up(context, batch_size=2, minutes=1)
    assert [ledger_row(warehouse, each)["confirmed_at"] is not None for each in "012"] == [True, True, False]
    assert live(warehouse) == ["0", "1", "2"]
    assert ledger_row(warehouse, "2")["confirm_tried_at"] is not None


def test_a_set_that_comes_again_and_again_ends_the_catch_up(archive: Archive, warehouse: Engine) -> None:
    class Stuck(ScriptedGetty):
        def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
            self.asked += 1
            return delivery(body_of("7", change("a", "New", 0)), status=200)

    stuck = Stuck()
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=stuck, archive=archive, warehouse=warehouse)
    with pytest.raises(ApiUnavailable, match=r"change set 7 of channel 3001 again and again although it took"):
        catch_up(context, batch_size=2, minutes=1)
    assert (stuck.asked, stuck.confirmed) == (3, ["7", "7"])
    assert live(warehouse) == ["a"]


def test_new_ids_with_nothing_in_them_end_the_catch_up(archive: Archive, warehouse: Engine) -> None:
    getty = ScriptedGetty([delivery(body_of(str(number))) for number in range(1, 6)])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    assert catch_up(context, batch_size=100, minutes=1).is_caught_up
    assert getty.confirmed == ["1", "2"]


@pytest.mark.parametrize("more", [[], [change("b", "New", 2)]], ids=["as it was", "longer"])
def test_a_set_after_its_confirmation_is_not_called_confirmed(
    more: list[dict[str, object]], archive: Archive, warehouse: Engine
) -> None:
    """A set that Getty hands out again after its confirmation is not called confirmed."""

    def dies_at_the_second(change_set_id: str) -> None:
        if len(getty.confirmed) > 1:
            raise KeyboardInterrupt

    first = change("a", "New", 1)
    again = delivery(body_of("1", first, *more), status=200, received_at=NOON + timedelta(minutes=3))
    getty = ScriptedGetty([delivery(body_of("1", first)), again], on_confirm=dies_at_the_second)
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    with pytest.raises(KeyboardInterrupt):
        catch_up(context, batch_size=100, minutes=1)
    row = ledger_row(warehouse, "1")
    assert (row["change_count"], row["confirmed_at"]) == (1 + len(more), None)


def test_an_archive_that_hangs_holds_nobody_up_for_long(
    warehouse: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(Archive):
        def write(self, uri: str, body: bytes, **more: Any) -> None:
            wait_until(lambda: has_idle_load(warehouse), what="a load that waits for its archive")
            wait_until(lambda: not has_idle_load(warehouse), what="the end of its wait")
            super().write(uri, body, **more)

    monkeypatch.setattr(asset_changes.pipeline.fetch, "ARCHIVE_SECONDS", 1.0)
    getty = ScriptedGetty([delivery(body_of("1", change("a", "New", 1)))])
    archive = Hanging(UPath(f"file://{tmp_path}/archive"))
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    with pytest.raises(ArchiveUnavailable, match=r"not taken change set 1 .*nothing was loaded"):
        catch_up(context, batch_size=100, minutes=1)
    assert (getty.confirmed, live(warehouse)) == ([], [])
