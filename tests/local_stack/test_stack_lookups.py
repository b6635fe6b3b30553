"""The lookups of the stack: where they are switched on, and how they are followed to their end."""

from types import SimpleNamespace
from typing import Any

import pytest
from local_stack import lookups
from local_stack.airflow_api import LOOKUP, PURGE, Try
from local_stack.connections import GETTY
from local_stack.lookups import look_up
from local_stack.progress import Lookups
from local_stack.stack import decide_lookups
from local_stack.sync import switch_on

from tests.local_stack.doubles import Airflow, CapturedScreen
from tests.local_stack.test_discovery import stack

FEED = "asset_changes_editorial_image_3001"
RATE = "ASSET_CHANGES_LOOKUPS_PER_SECOND"
DONE = Lookups(live=40, with_metadata=40, waiting=0)


WAITING = Lookups(live=40, with_metadata=20, waiting=20)


def looking_up(airflow: Airflow, *progress: Lookups, until_caught_up: bool = False) -> Any:
    """A stack whose warehouse is as far as `progress` says, one step per look."""
    looks = [*progress, DONE]
    return stack(
        airflow,
        options=SimpleNamespace(until_caught_up=until_caught_up),
        warehouse=SimpleNamespace(lookups=lambda: looks.pop(0) if len(looks) > 1 else looks[0]),
    )


@pytest.mark.parametrize(
    ("host", "looks_up"), [("http://127.0.0.1:8090", True), ("https://api.gettyimages.com", False)]
)
def test_a_real_account_is_not_asked_without_a_decision(host: str, looks_up: bool) -> None:
    """Each lookup is a call of its account."""
    environment = {GETTY: f'{{"conn_type": "getty_images", "host": "{host}"}}'}
    assert decide_lookups(environment) is looks_up
    assert (RATE in environment) is looks_up


def test_a_rate_that_is_set_is_kept() -> None:
    environment = {GETTY: '{"host": "http://localhost:1"}', RATE: "3"}
    assert decide_lookups(environment)
    assert environment[RATE] == "3"


def test_lookups_are_paused_until_the_channels_caught_up() -> None:
    """Nothing that the sandbox says of an asset before then would be its last word."""
    airflow = Airflow(dags={FEED, LOOKUP, PURGE}, due=[True, False], states=["success", "success"])
    switch_on(stack(airflow))
    assert airflow.unpaused == [FEED]
    look_up(looking_up(airflow), CapturedScreen())
    assert airflow.unpaused == [FEED, LOOKUP]
    assert airflow.states == [], "Airflow's own run was not followed"


def test_a_run_of_its_own_follows_the_active_one() -> None:
    """The active one may have filled its queue before the channels were caught up."""
    screen = CapturedScreen()
    airflow = Airflow(active={"scheduled__1": None}, states=["success", "running", "success"])
    look_up(looking_up(airflow, WAITING), screen)
    assert airflow.triggered == [LOOKUP]
    assert screen.lines[-1] == "Looked up: 40 of 40 live assets"


def test_a_stack_that_ends_waits_for_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Getty has not answered is asked again by another run."""
    monkeypatch.setattr(lookups, "AGAIN_SECONDS", 0)
    airflow = Airflow(states=["success", "success"])
    look_up(looking_up(airflow, WAITING, until_caught_up=True), CapturedScreen())
    assert airflow.triggered == [LOOKUP, LOOKUP]


def test_failed_lookups_are_shown_and_end_nothing() -> None:
    screen = CapturedScreen()
    tries = [Try(LOOKUP, "manual__1", "look_up", number=3, of=3, is_last=True)]
    look_up(looking_up(Airflow(tries=tries, states=["failed"])), screen)
    assert screen.lines[0].startswith(
        f"The lookups failed; the feed is not affected. {LOOKUP}, task look_up: no reason"
    )
    assert screen.lines[-1] == "Looked up: 40 of 40 live assets"
