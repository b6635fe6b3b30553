"""Whether a channel is right, and what is said when it is not."""

from datetime import timedelta

import pytest
from asset_changes.models import Channel
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.health import Health, State, health_of
from asset_changes.monitoring.lag import Lag
from asset_changes.monitoring.problems import Link
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.status import Alert, ChannelStatus, Open

from tests.status.seeds import DAY, HOUR, MINUTE, NOW

IMAGES = Channel(channel_id=3001, asset_family="Editorial", asset_type="Image")


def judged(*, confirms: bool = True, **more: object) -> Health:
    fresh = {"discovered_at": NOW - 30 * DAY, "last_checked_at": NOW - MINUTE, "caught_up_at": NOW - MINUTE}
    rest = {"last_change_at": NOW - 5 * MINUTE, "retired_at": None, "open": Open()}
    status = ChannelStatus(channel=IMAGES, **(fresh | rest | more))  # type: ignore[arg-type]
    return health_of(status, now=NOW, limits=WatchSettings(), confirms=confirms)


def test_a_channel_whose_last_answer_was_empty_is_up_to_date_as_of_that_answer() -> None:
    health = judged()
    assert (health.state, health.since, health.problems) == (State.UP_TO_DATE, NOW - MINUTE, ())
    assert health.lag is not None
    assert health.lag.value == timedelta(0)


def test_a_channel_that_got_a_set_since_is_behind_since_its_last_empty_answer() -> None:
    health = judged(caught_up_at=NOW - HOUR)
    assert (health.state, health.since) == (State.BEHIND, NOW - HOUR)


def test_the_lag_is_the_age_of_the_oldest_unconfirmed_change() -> None:
    health = judged(open=Open(sets=2, oldest_change_at=NOW - 3 * HOUR, not_confirmed_since=NOW - MINUTE))
    assert health.lag is not None
    assert (health.lag.value, health.lag.is_at_most, health.state) == (3 * HOUR, False, State.BEHIND)


def test_between_two_sets_the_lag_is_known_only_as_a_bound() -> None:
    health = judged(caught_up_at=None)
    assert health.lag is not None
    assert (health.lag.value, health.lag.is_at_most) == (5 * MINUTE, True)


def test_an_empty_answer_proves_no_lag_for_a_quarter_of_an_hour_and_then_is_a_bound() -> None:
    fresh = judged(last_checked_at=NOW - 15 * MINUTE, caught_up_at=NOW - 15 * MINUTE).lag
    silent = judged(last_checked_at=NOW - 3 * DAY, caught_up_at=NOW - 3 * DAY, last_change_at=NOW - 5 * DAY).lag
    assert fresh == Lag(value=timedelta(0))
    assert silent == Lag(value=3 * DAY, is_at_most=True)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"last_checked_at": NOW - 2 * HOUR, "caught_up_at": NOW - 2 * HOUR}, "has given no answer"),
        ({"last_checked_at": None, "caught_up_at": None, "discovered_at": NOW - 2 * HOUR}, "has never answered"),
        ({"open": Open(sets=1, oldest_change_at=NOW - HOUR, not_loaded_since=NOW - HOUR)}, "archived but not loaded"),
        (
            {"open": Open(sets=1, oldest_change_at=NOW - HOUR, not_confirmed_since=NOW - HOUR)},
            "loaded but not confirmed",
        ),
        ({"open": Open(sets=1, oldest_change_at=NOW - 11 * DAY)}, "unread for 11 days"),
        ({"alerts": (Alert(condition="delete_overdue", since=NOW - DAY),)}, "Deletes over their limit"),
    ],
)
def test_a_broken_channel_says_why_since_when_and_what_to_do(facts: dict[str, object], words: str) -> None:
    health = judged(**facts)
    assert health.state is State.BROKEN
    [problem] = health.problems
    assert words in problem.reason
    assert problem.since is not None
    assert problem.next_step.endswith(".")
    assert problem.link == Link(path="dags/asset_changes_editorial_image_3001/runs", name="The runs of its DAG")
    assert problem.entry in {condition.name for condition in CONDITIONS}


def test_an_alert_that_does_not_stop_the_channel_is_a_notice() -> None:
    health = judged(alerts=(Alert(condition="rejected", since=NOW - DAY),))
    assert (health.state, [problem.reason for problem in health.problems]) == (State.UP_TO_DATE, ["Rejected changes."])


def test_an_alert_is_told_with_its_numbers_and_a_link_to_where_they_stand() -> None:
    says = "sent changes that could not be applied: 3 (unknown_lifecycle)"
    [problem] = judged(alerts=(Alert(condition="rejected", since=NOW - DAY, says=says),)).problems
    assert problem.reason == f"Rejected changes: it {says}."
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
def test_an_alert_leads_to_where_its_next_step_starts_if_that_is_in_airflow(condition: str, path: str | None) -> None:
    alert = Alert(condition=condition, since=NOW - DAY)
    [problem] = judged(caught_up_at=NOW - HOUR, alerts=(alert,)).problems
    assert (problem.link.path if problem.link else None) == path


def test_an_alert_that_is_over_by_now_is_not_told() -> None:
    stale = [Alert(condition=name, since=NOW - DAY) for name in ("unchecked", "unconfirmed", "behind")]
    assert judged(alerts=tuple(stale)).problems == ()


def test_a_set_in_hand_is_no_problem_for_half_an_hour() -> None:
    received = Open(sets=1, oldest_change_at=NOW - HOUR, not_loaded_since=NOW - 20 * MINUTE)
    assert judged(open=received).problems == ()


def test_where_nothing_may_be_confirmed_an_unconfirmed_set_is_no_problem() -> None:
    held = Open(sets=1, oldest_change_at=NOW - DAY, not_confirmed_since=NOW - DAY)
    assert judged(confirms=False, open=held).problems == ()


def test_the_days_left_count_from_the_oldest_unread_change_and_the_last_answer() -> None:
    health = judged(last_checked_at=NOW - 20 * DAY, open=Open(sets=1, oldest_change_at=NOW - 4 * DAY))
    assert (health.unread_left, health.silent_left) == (10 * DAY, 100 * DAY)


def test_a_channel_that_getty_no_longer_lists_has_vanished_until_somebody_takes_note() -> None:
    health = judged(retired_at=NOW - DAY, last_checked_at=NOW - 50 * DAY)
    assert (health.state, health.since) == (State.VANISHED, NOW - DAY)
    [problem] = health.problems
    assert "nothing tells of the Deletes of its assets" in problem.reason
    assert "`gone_channel_id`" in problem.next_step

    known = judged(retired_at=NOW - DAY, retirement_known_at=NOW, last_checked_at=NOW - 50 * DAY)
    assert (known.state, known.since, known.problems) == (State.RETIRED, NOW - DAY, ())
    once_more = judged(retired_at=NOW - DAY, retirement_known_at=NOW - 2 * DAY)
    assert once_more.state is State.VANISHED


def test_of_a_channel_that_is_not_read_any_more_no_lag_and_no_days_left_are_told() -> None:
    health = judged(retired_at=NOW - DAY)
    assert (health.lag, health.unread_left, health.silent_left) == (None, None, None)


def test_an_alert_of_a_channel_that_vanished_is_still_told() -> None:
    alert = Alert(condition="not_in_ledger", since=NOW - DAY)
    health = judged(retired_at=NOW - DAY, retirement_known_at=NOW, alerts=(alert,))
    assert [problem.reason for problem in health.problems] == ["Archived but not in the ledger."]
