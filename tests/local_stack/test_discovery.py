"""The first thing a stack does: one run of discovery, followed to its end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from local_stack import discovery, sync
from local_stack.airflow_api import DISCOVERY, Try
from local_stack.airflow_settings import PREFERENCES
from local_stack.connections import GETTY, sandbox_connection
from local_stack.discovery import discover, follow, run_to_follow
from local_stack.errors import StackError
from local_stack.failures import Failures
from local_stack.progress import Channel
from local_stack.stack import free_port
from local_stack.sync import catch_up, stay_up, switch_on

from tests.local_stack.doubles import Airflow, CapturedScreen

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, AFTER = STARTED - timedelta(hours=1), STARTED + timedelta(seconds=1)
REPLAY = "asset_changes_replay"
FOUND = "asset_changes_creative_film_4002"
TRY = Try(DISCOVERY, "manual__1", "discover", number=1, of=3, is_last=False)
SILENT = f"http://127.0.0.1:{free_port()}"


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "POLL_SECONDS", 0)


def stack(airflow: Airflow, **parts: Any) -> Any:
    """A stack around this Airflow, whose Getty does not answer."""
    return SimpleNamespace(
        airflow=airflow,
        started_at=STARTED,
        switched_on=set(),
        services=SimpleNamespace(check=lambda: None, environment={GETTY: sandbox_connection(SILENT)}),
        failures=Failures(airflow, logs=Path("/nowhere"), since=STARTED),  # type: ignore[arg-type]
        **parts,
    )


@pytest.mark.parametrize("started_at", [None, AFTER])
def test_an_active_run_is_followed_and_none_is_triggered(started_at: datetime | None) -> None:
    airflow = Airflow(active={"scheduled__1": started_at})
    assert run_to_follow(stack(airflow)) == "scheduled__1"
    assert (airflow.triggered, airflow.ended) == ([], [])


def test_a_run_that_airflow_is_about_to_make_is_waited_for() -> None:
    airflow = Airflow(due=[True, False])
    assert run_to_follow(stack(airflow)) == "scheduled__1"
    assert airflow.triggered == []


def test_the_wait_for_airflows_own_run_ends() -> None:
    airflow = Airflow(due=[True] * 100)
    assert run_to_follow(stack(airflow), due_seconds=0.1) == "manual__1"


def test_without_a_run_one_is_triggered() -> None:
    airflow = Airflow()
    assert run_to_follow(stack(airflow)) == "manual__1"
    assert airflow.triggered == [DISCOVERY]


def test_a_run_left_by_a_killed_stack_is_ended_silently() -> None:
    airflow = Airflow(active={"manual__0": BEFORE})
    ours = stack(airflow)
    assert run_to_follow(ours) == "manual__1"
    assert airflow.ended == ["manual__0"]
    airflow.tries = [Try(DISCOVERY, "manual__0", "discover", number=1, of=3, is_last=True)]
    assert ours.failures.new_failures() == []


def test_a_failed_try_is_shown_while_the_run_continues() -> None:
    screen = CapturedScreen()
    follow(stack(Airflow(tries=[TRY], states=["running", "running", "success"])), "manual__1", screen)
    assert screen.lines == [f"{DISCOVERY}, task discover, try 1 of 3: no reason in its log. Airflow tries it again."]


def test_a_failed_discovery_names_the_silent_address() -> None:
    screen = CapturedScreen()
    last = Try(DISCOVERY, "manual__1", "discover", number=3, of=3, is_last=True)
    with pytest.raises(StackError, match=rf"Discovery failed\. {DISCOVERY}, task discover: no reason") as caught:
        follow(stack(Airflow(tries=[last], states=["running", "failed"])), "manual__1", screen)
    assert f"Getty does not answer at {SILENT} (Connection refused): correct host or token_url" in str(caught.value)
    assert screen.lines == []  # the last try is part of the error


def test_no_other_dag_is_on_before_discovery_has_succeeded(tmp_path: Path) -> None:
    """A new stack would show the failed run of a DAG whose tables are not there yet."""
    airflow = Airflow(dags={DISCOVERY, REPLAY}, states=["running", "success"])
    on_while_running: list[str] = []
    ours = stack(airflow, looks_up=True, warehouse=SimpleNamespace(channels=list))
    ours.services.start = lambda *_: on_while_running.extend(airflow.unpaused)
    ours.services.environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(tmp_path)
    discover(ours, CapturedScreen())
    assert on_while_running == [DISCOVERY]
    assert REPLAY in airflow.unpaused


def test_airflow_creates_every_dag_paused() -> None:
    """Else it starts a run of what it has read before discovery has made the tables."""
    (setting,) = [each for each in PREFERENCES if each.key == "dags_are_paused_at_creation"]
    assert setting.value == "True"


def test_the_dag_of_a_channel_found_later_is_unpaused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: a DAG that a person pauses while the stack runs stays paused."""
    monkeypatch.setattr(sync, "POLL_SECONDS", 0)
    monkeypatch.setattr(sync, "NEW_DAG_SECONDS", 0)
    airflow = Airflow(dags={DISCOVERY, REPLAY})
    ours = stack(airflow)
    switch_on(ours)
    airflow.unpaused.clear()
    looks = iter(range(4))

    def check() -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt
        airflow.dags.add(FOUND)

    ours.services.check = check
    with pytest.raises(KeyboardInterrupt):
        stay_up(ours)
    assert airflow.unpaused == [FOUND]


def test_a_failed_try_of_a_channel_is_shown_while_it_catches_up() -> None:
    waiting = Channel(3001, "Editorial", "Image", None, None)
    done = Channel(3001, "Editorial", "Image", AFTER, AFTER, has_caught_up=True)
    standings = [[waiting], [done]]
    screen = CapturedScreen()
    ours = stack(
        Airflow(tries=[TRY]),
        sandbox=None,
        confirms=True,
        warehouse=SimpleNamespace(channels=lambda: standings.pop(0)),
    )
    assert catch_up(ours, screen) == [done]
    assert [line for line in screen.lines if "try 1 of 3" in line] == [
        f"{DISCOVERY}, task discover, try 1 of 3: no reason in its log. Airflow tries it again."
    ]
