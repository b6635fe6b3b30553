"""What survives a restart, and what a second sandbox may not do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from getty_sandbox import Sandbox, SandboxError

from tests.sandbox.conftest import MakeChange, OpenSandbox, Reader


@pytest.fixture
def start_again(opened: OpenSandbox, tmp_path: Path) -> OpenSandbox:
    """Opens the sandbox of one state directory, closing the one before."""
    running: list[Reader] = []

    def start(**options: Any) -> Reader:
        for reader in running:
            reader.sandbox.close()
        options = {"state_dir": tmp_path / "state", "changes_per_channel": 40} | options
        running[:] = [opened(**options)]
        return running[0]

    return start


def test_the_outstanding_set_is_the_same_after_a_restart(start_again: OpenSandbox) -> None:
    before = start_again().put(batch_size=5)
    after = start_again().put(batch_size=7)
    assert (before.status_code, after.status_code) == (201, 200)
    assert before.content == after.content


def test_ids_and_confirmations_survive_a_restart(start_again: OpenSandbox) -> None:
    reader = start_again()
    first = reader.read(3001, 10)
    truth = reader.sandbox.truth()
    reader = start_again()
    assert reader.sandbox.truth() == truth
    assert reader.sandbox.progress()["channels"][0]["confirmed"] == 10
    second = reader.read(3001, 10)
    assert first != second
    ids = reader.sandbox.confirmed_ids(3001)
    assert ids == ["9990", "9991"]


def test_messages_after_the_backlog_survive_too(start_again: OpenSandbox, change: MakeChange) -> None:
    reader = start_again(changes_per_channel=0)
    reader.sandbox.append(3001, [change("1"), change("2")])
    reader.read(batch_size=1)
    reader = start_again(changes_per_channel=0)
    reader.sandbox.append(3001, [change("3")])
    assert [m["id"] for m in reader.read()] == ["2", "3"]


def test_what_vanished_or_was_chosen_survives(start_again: OpenSandbox, change: MakeChange) -> None:
    options = {"changes_per_channel": 0, "unlicensed_share": 0.3}
    reader = start_again(**options)
    reader.sandbox.append(3001, [change(str(n)) for n in range(40)])
    reader.read()
    licensed = {each for each, found in reader.sandbox.truth()["metadata"].items() if found}
    vanished, chosen, deleted = sorted(licensed)[:3]
    reader.sandbox.vanish([vanished])
    reader.sandbox.override_metadata(chosen, {"caption": "\ud800"})
    reader.sandbox.delete([deleted])
    truth = reader.sandbox.truth()["metadata"]
    reader = start_again(**options)
    assert reader.sandbox.truth()["metadata"] == truth
    assert (truth[vanished], truth[chosen]["caption"], truth[deleted]) == (None, "\ud800", None)
    assert [each["id"] for each in reader.read()] == [deleted]
    shrunk = start_again(**options | {"unlicensed_share": 0.6}).sandbox.truth()["metadata"]
    assert {each for each, found in shrunk.items() if found} < licensed


def test_what_differs_from_the_feed_survives(start_again: OpenSandbox, change: MakeChange) -> None:
    options = {"changes_per_channel": 0}
    reader = start_again(**options)
    reader.sandbox.append(3001, [change(str(n)) for n in range(40)])
    reader.read()
    reader.sandbox.add(["50", "51"])
    reader.sandbox.retype(["1"])
    reader.sandbox.unlicense(["2", "51"], share=0.3)
    truth = reader.sandbox.truth()
    reader = start_again(**options)
    assert reader.sandbox.truth() == truth
    assert 5 < sum(verdict == "not_licensed" for verdict in truth["verdicts"].values()) < 25
    reader.sandbox.unlicense(["2", "51"], share=0, back=True)
    reader.sandbox.retype(["1"], back=True)
    truth = start_again(**options).sandbox.truth()
    assert set(truth["verdicts"].values()) == {"available"}
    assert "credit_line" in truth["metadata"]["1"]


def test_a_trickle_continues_after_a_restart(start_again: OpenSandbox) -> None:
    now = [datetime.now(UTC)]
    options = {"changes_per_channel": 0, "trickle_per_minute": 60, "clock": lambda: now[0]}
    reader = start_again(**options)
    now[0] += timedelta(seconds=5)
    first = reader.read()
    reader = start_again(**options)
    now[0] += timedelta(seconds=4)
    second = reader.read()
    assert (len(first), len(second)) == (5, 4)
    assert first[-1]["asset_changed_utc_datetime"] < second[0]["asset_changed_utc_datetime"]


def test_retirement_and_lost_notifications_survive(start_again: OpenSandbox) -> None:
    reader = start_again()
    assert reader.sandbox.cut_retention(5) > 0
    reader.sandbox.retire(3004)
    progress = reader.sandbox.progress()
    assert start_again().sandbox.progress() == progress


def test_a_state_is_not_continued_with_another_feed(start_again: OpenSandbox) -> None:
    start_again()
    with pytest.raises(SandboxError, match=r"was made with seed 1, not 2.*another --state-dir"):
        start_again(seed=2)


def test_two_sandboxes_do_not_share_a_state(start_again: OpenSandbox, tmp_path: Path) -> None:
    start_again()
    with pytest.raises(SandboxError, match="Another sandbox runs"):
        Sandbox(state_dir=tmp_path / "state", changes_per_channel=40)


def test_a_port_that_is_taken_is_an_error_sentence(opened: OpenSandbox) -> None:
    port = opened().sandbox.port
    with pytest.raises(SandboxError, match=rf"cannot listen on 127.0.0.1 port {port}: .*Choose another --port"):
        Sandbox(port=port, changes_per_channel=0)


def test_ids_do_not_repeat_even_without_a_state(opened: OpenSandbox) -> None:
    ids = []
    for _ in range(2):
        reader = opened(changes_per_channel=1)
        ids.append(reader.put().json()["change_set_id"])
        reader.sandbox.close()
    assert ids[0] != ids[1]
