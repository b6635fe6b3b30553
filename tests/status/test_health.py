"""Whether a channel is right, and what is said when it is not."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.channel_health import Lag
from asset_changes.warehouse.status import channel_statuses
from getty_images.status.problems import Link, State, Summary, summarize
from sqlalchemy import Engine, text

from tests.status.seeds import DAY, HOUR, MINUTE, NOW, alert, change_set, channel


class Judge:
    """Writes a channel as a test wants it, and says what the page makes of it."""

    def __init__(self, warehouse: Engine) -> None:
        self.warehouse = warehouse

    def open_set(self, name: str, *, loaded: datetime | None = None, at: datetime = NOW, **more: object) -> None:
        """A set that is not confirmed."""
        change_set(self.warehouse, name, at=at, loaded_at=loaded, confirmed_at=None, **more)

    def alert(self, condition: str, *, says: str | None = None) -> None:
        """An open alert."""
        alert(self.warehouse, condition, says=says)

    def __call__(self, *, confirms: bool = True, **more: object) -> Summary:
        """What is said of the channel, which is up to date otherwise."""
        fresh = {"last_checked_at": NOW - MINUTE, "caught_up_at": NOW - MINUTE, "last_change_at": NOW - 5 * MINUTE}
        channel(self.warehouse, **(fresh | more))
        with self.warehouse.connect() as connection:
            [status] = channel_statuses(connection, since=NOW - DAY)
        return summarize(status, now=NOW, limits=WatchSettings(), confirms=confirms)


@pytest.fixture
def judged(warehouse: Engine) -> Judge:
    return Judge(warehouse)


def test_after_an_empty_answer_a_channel_is_up_to_date(judged: Judge) -> None:
    """It is so as of that answer."""
    health = judged()
    assert (health.state, health.since, health.problems) == (State.UP_TO_DATE, NOW - MINUTE, ())
    assert health.lag is not None
    assert health.lag.value == timedelta(0)


def test_a_channel_is_behind_since_its_last_empty_answer(judged: Judge) -> None:
    """The channel got a set after that answer."""
    health = judged(caught_up_at=NOW - HOUR)
    assert (health.state, health.since) == (State.BEHIND, NOW - HOUR)


def test_the_lag_is_the_age_of_the_oldest_unconfirmed_change(judged: Judge) -> None:
    judged.open_set("1", loaded=NOW - MINUTE, oldest_change_at=NOW - 3 * HOUR)
    judged.open_set("2", loaded=NOW - MINUTE)
    health = judged()
    assert health.lag is not None
    assert (health.lag.value, health.lag.is_at_most, health.state) == (3 * HOUR, False, State.BEHIND)


def test_between_two_sets_the_lag_is_known_only_as_a_bound(judged: Judge) -> None:
    health = judged(caught_up_at=None)
    assert health.lag is not None
    assert (health.lag.value, health.lag.is_at_most) == (5 * MINUTE, True)


def test_an_empty_answer_proves_no_lag_for_fifteen_minutes(judged: Judge) -> None:
    """After that it is a bound."""
    old = {"last_checked_at": NOW - 3 * DAY, "caught_up_at": NOW - 3 * DAY, "last_change_at": NOW - 5 * DAY}
    assert judged(last_checked_at=NOW - 15 * MINUTE, caught_up_at=NOW - 15 * MINUTE).lag == Lag(value=timedelta(0))
    with judged.warehouse.begin() as connection:
        connection.execute(text("DELETE FROM channels"))
    assert judged(**old).lag == Lag(value=3 * DAY, is_at_most=True)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"last_checked_at": NOW - 2 * HOUR, "caught_up_at": NOW - 2 * HOUR}, "has given no answer"),
        ({"last_checked_at": None, "caught_up_at": None, "discovered_at": NOW - 2 * HOUR}, "has never answered"),
        ({"set": {"at": NOW - HOUR, "oldest_change_at": None}}, "archived but not loaded"),
        ({"set": {"loaded": NOW - HOUR, "oldest_change_at": NOW - HOUR}}, "loaded but not confirmed"),
        ({"set": {"oldest_change_at": NOW - 11 * DAY}}, "unread for 11 days"),
        ({"alert": "delete_overdue"}, "Deletes over their limit"),
    ],
)
def test_a_broken_channel_says_why_since_when_and_what_to_do(facts: dict[str, Any], words: str, judged: Judge) -> None:
    if "set" in facts:
        judged.open_set("1", **facts.pop("set"))
    if "alert" in facts:
        judged.alert(facts.pop("alert"))
    health = judged(**facts)
    assert health.state is State.BROKEN
    [problem] = health.problems
    assert words in f"{problem.title} {problem.reason}"
    assert problem.since is not None
    assert problem.next_step.endswith(".")
    assert problem.link == Link(path="dags/asset_changes_editorial_image_3001/runs", name="The runs of its DAG")
    assert problem.entry in {condition.name for condition in CONDITIONS}


def test_an_alert_that_does_not_stop_the_channel_is_a_notice(judged: Judge) -> None:
    judged.alert("rejected")
    health = judged()
    assert (health.state, [problem.title for problem in health.problems]) == (State.UP_TO_DATE, ["Rejected changes."])


def test_an_alert_is_shown_with_its_numbers_and_a_link(judged: Judge) -> None:
    says = "sent changes that could not be applied: 3 (unknown_lifecycle)"
    judged.alert("rejected", says=says)
    [problem] = judged().problems
    assert (problem.title, problem.reason) == ("Rejected changes:", f"it {says}.")
    assert problem.link == Link(path="#rejected-3001", name="The rejected changes")
    assert problem.entry == "rejected"


@pytest.mark.parametrize(
    ("condition", "path"),
    [
        ("behind", "dags/asset_changes_editorial_image_3001/runs"),
        ("not_in_ledger", "dags/asset_changes_replay"),
        ("replay_changed", "dags/asset_changes_replay/runs"),
        ("silent", None),
        ("other_consumer", None),
    ],
)
def test_an_alert_links_to_where_its_next_step_starts(judged: Judge, condition: str, path: str | None) -> None:
    judged.alert(condition)
    [problem] = judged(caught_up_at=NOW - HOUR).problems
    assert (problem.link.path if problem.link else None) == path


def test_an_alert_that_is_over_by_now_is_not_shown(judged: Judge) -> None:
    for name in ("unchecked", "unconfirmed", "behind"):
        judged.alert(name)
    assert judged().problems == ()


def test_an_outstanding_set_is_no_problem_for_half_an_hour(judged: Judge) -> None:
    judged.open_set("1", at=NOW - 20 * MINUTE, oldest_change_at=NOW - HOUR)
    assert judged().problems == ()


def test_with_confirm_off_an_unconfirmed_set_is_no_problem(judged: Judge) -> None:
    judged.open_set("1", loaded=NOW - DAY, oldest_change_at=NOW - DAY)
    assert judged(confirms=False).problems == ()


def test_the_days_left_count_from_oldest_change_and_last_answer(judged: Judge) -> None:
    judged.open_set("1", oldest_change_at=NOW - 4 * DAY)
    health = judged(last_checked_at=NOW - 20 * DAY)
    assert (health.unread_left, health.silent_left) == (10 * DAY, 100 * DAY)


def test_a_channel_that_getty_no_longer_lists_has_vanished(judged: Judge) -> None:
    health = judged(retired_at=NOW - DAY, last_checked_at=NOW - 50 * DAY)
    assert (health.state, health.since) == (State.VANISHED, NOW - DAY)
    [problem] = health.problems
    assert "it sends no Deletes of its assets" in problem.reason
    assert "`gone_channel_id`" in problem.next_step


@pytest.mark.parametrize(
    ("known_at", "state"),
    [
        pytest.param(NOW, State.RETIRED, id="somebody took note"),
        pytest.param(NOW - 2 * DAY, State.VANISHED, id="of an earlier time"),
    ],
)
def test_a_vanished_channel_is_retired_once_somebody_takes_note(
    known_at: datetime, state: State, judged: Judge
) -> None:
    assert judged(retired_at=NOW - DAY, retirement_known_at=known_at).state is state


def test_a_channel_no_longer_read_shows_no_lag_nor_days_left(judged: Judge) -> None:
    health = judged(retired_at=NOW - DAY)
    assert (health.lag, health.unread_left, health.silent_left) == (None, None, None)


def test_an_alert_of_a_channel_that_vanished_is_still_shown(judged: Judge) -> None:
    judged.alert("not_in_ledger")
    health = judged(retired_at=NOW - DAY, retirement_known_at=NOW)
    assert [problem.title for problem in health.problems] == ["Archived but not in the ledger."]
