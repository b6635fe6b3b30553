"""The numbers of the status page and the compliance report, on a real Postgres."""

from datetime import UTC, datetime, timedelta
from typing import Any

from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.compliance import Report, Span, compliance, deletes
from asset_changes.warehouse.status import ChannelStatus, channel_statuses
from sqlalchemy import Engine

from tests.status.seeds import DAY, HOUR, MINUTE, NOW, change_set, channel, deletion, rejected

SECOND = timedelta(seconds=1)
WEEK = Span(first=(NOW - 6 * DAY).date(), last=NOW.date(), within=HOUR)


def status_of(warehouse: Engine) -> ChannelStatus:
    with warehouse.connect() as connection:
        [status] = channel_statuses(connection, since=NOW - DAY)
    return status


def report_of(warehouse: Engine) -> Report:
    with warehouse.connect() as connection:
        return compliance(connection, WEEK, CHECKS)


def unread(warehouse: Engine) -> list[tuple[Any, ...]]:
    rows = report_of(warehouse).unread
    return [(row["what"], row["unread_from"], row["unread_to"]) for row in rows]


def test_the_changes_of_an_hour_add_up_over_its_sets(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - 2 * HOUR, new=5, update=3, delete=1)
    change_set(warehouse, "2", at=NOW - 2 * HOUR + MINUTE, new=1, superseded=2)
    change_set(warehouse, "3", at=NOW - 2 * DAY, new=100)
    [hour] = status_of(warehouse).hours
    assert hour.hour == NOW.replace(minute=0) - 2 * HOUR
    assert (hour.sets, hour.changes, hour.new, hour.update, hour.delete, hour.superseded) == (2, 12, 6, 3, 1, 2)


def test_times_from_delete_to_removed_are_ones_that_occurred(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", loaded_at=NOW + DAY, delete=100)
    for position in range(100):
        deletion(warehouse, "1", position, took=SECOND * (position + 1))
    removals = status_of(warehouse).removals
    assert removals is not None
    assert (removals.deletes, removals.median, removals.p99, removals.worst) == (
        100, 50 * SECOND, 99 * SECOND, 100 * SECOND,
    )  # fmt: skip


def test_a_replay_never_makes_an_old_removal_look_late(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", loaded_at=NOW + 2 * SECOND, delete=2)
    deletion(warehouse, "1", 0, took=2 * SECOND)
    # Written again by a replay into a warehouse that had lost the row, and by one that rebuilt the ledger.
    deletion(warehouse, "1", 1, took=2 * DAY, is_rebuilt=True)
    change_set(warehouse, "2", loaded_at=NOW + 3 * DAY, rebuilt_at=NOW + 3 * DAY, delete=1)
    deletion(warehouse, "2", 0, took=3 * DAY, is_rebuilt=True)
    status = status_of(warehouse)
    assert status.removals is not None
    assert (status.removals.worst, status.removals.deletes, status.rebuilt_deletes) == (2 * SECOND, 1, 2)
    report = report_of(warehouse)
    assert (report.total("deletes"), report.total("late"), report.total("deletes", rebuilt=True)) == (1, 0, 2)
    assert [(row["took"], row["deletes"]) for row in report.slowest] == [(2 * SECOND, 1)]


def test_what_is_open_is_the_oldest_unconfirmed_change(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - HOUR, confirmed_at=None, oldest_change_at=NOW - DAY)
    change_set(warehouse, "x", at=NOW, loaded_at=None, confirmed_at=None, oldest_change_at=None)
    status = status_of(warehouse)
    health = status.health
    assert (health.open_sets, health.oldest_open_change_at, health.not_loaded_since) == (2, NOW - DAY, NOW)
    assert [row.change_set_id for row in status.sets] == ["x", "1"]


def test_rejected_changes_are_listed_by_reason_with_their_text(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", rejected=3)
    for position, reason in enumerate(["no_time", "unusable_id", "no_time"]):
        rejected(warehouse, "1", position, reason=reason, raw='{"id": null}')
    status = status_of(warehouse)
    assert status.reasons == (("no_time", 2), ("unusable_id", 1))
    assert [row.raw for row in status.rejected] == ['{"id": null}'] * 3


def test_the_report_counts_every_delete_of_its_days(warehouse: Engine) -> None:
    """It counts them held or not, and late ones, too."""
    channel(warehouse)
    change_set(warehouse, "1", loaded_at=NOW + DAY)
    deletion(warehouse, "1", 0, took=SECOND)
    deletion(warehouse, "1", 1, took=2 * HOUR, was_held=False)
    deletion(warehouse, "1", 2, took=SECOND, at=NOW - 30 * DAY)
    [row] = report_of(warehouse).summary
    assert (row["deletes"], row["held"], row["late"], row["worst"]) == (2, 1, 1, 2 * HOUR)
    with warehouse.connect() as connection:
        found = list(deletes(connection, WEEK))
    assert [(row["asset_id"], float(row["seconds_to_removal"])) for row in found] == [("asset-0", 1), ("asset-1", 7200)]


def test_the_reports_times_are_times_that_occurred(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", loaded_at=NOW + DAY)
    for position in range(100):
        deletion(warehouse, "1", position, took=SECOND * (position + 1))
    [row] = report_of(warehouse).summary
    assert (row["deletes"], row["median"], row["p99"], row["worst"]) == (100, 50 * SECOND, 99 * SECOND, 100 * SECOND)


def test_the_slowest_are_listed_by_change_set(warehouse: Engine) -> None:
    channel(warehouse)
    for name, seconds in (("1", 5), ("2", 9)):
        change_set(warehouse, name, loaded_at=NOW + DAY)
        for position in range(30):
            deletion(warehouse, name, position, took=SECOND * seconds, was_held=position < 10)
    slowest = report_of(warehouse).slowest
    assert [(row["change_set_id"], row["took"], row["deletes"], row["held"]) for row in slowest] == [
        ("2", 9 * SECOND, 30, 10),
        ("1", 5 * SECOND, 30, 10),
    ]


def test_the_slowest_sets_count_in_their_channels_alone(warehouse: Engine) -> None:
    """The ten slowest of any channel, rebuilt rows left out; the checks count each Delete once."""
    channel(warehouse)
    channel(warehouse, 3002)
    for number in range(12):
        channel_id = (3002, 3001)[number % 2]
        change_set(warehouse, str(number), channel_id=channel_id, loaded_at=NOW + DAY)
        deletion(warehouse, str(number), 0, took=HOUR + SECOND * number, channel_id=channel_id)
    change_set(warehouse, "99", rebuilt_at=NOW, loaded_at=NOW + DAY)
    deletion(warehouse, "99", 0, took=DAY, is_rebuilt=True)
    report = report_of(warehouse)
    assert [(row["channel_id"], row["is_rebuilt"], row["deletes"], row["late"]) for row in report.summary] == [
        (3001, False, 6, 6),
        (3001, True, 1, 0),
        (3002, False, 6, 5),
    ]
    assert [row["change_set_id"] for row in report.slowest] == [str(number) for number in range(11, 1, -1)]
    assert [each.count for each in report.reservations if each.check == "late"] == [11]
    assert [each.count for each in report.reservations if each.check == "rebuilt"] == [1]


def test_days_without_changes_are_not_days_without_reading(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - 3 * DAY)
    change_set(warehouse, "2", at=NOW - DAY)
    assert unread(warehouse) == []


def test_a_change_that_waited_at_getty_shows_when_nobody_read(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - 3 * DAY)
    change_set(warehouse, "2", at=NOW - DAY, oldest_change_at=NOW - 2 * DAY)
    assert unread(warehouse) == [("a change waited at Getty", NOW - 2 * DAY, NOW - DAY)]


def test_catching_up_in_a_row_is_reading(warehouse: Engine) -> None:
    """It is, however old the changes are."""
    channel(warehouse, discovered_at=NOW - 10 * MINUTE)
    change_set(warehouse, "1", at=NOW - 5 * MINUTE, oldest_change_at=NOW - 12 * DAY)
    change_set(warehouse, "2", at=NOW - 4 * MINUTE, oldest_change_at=NOW - 11 * DAY)
    assert unread(warehouse) == []


def test_a_set_outstanding_for_hours_is_an_unread_span(warehouse: Engine) -> None:
    channel(warehouse)
    at = NOW - DAY
    change_set(warehouse, "1", at=at, loaded_at=at + 2 * HOUR, confirmed_at=at + 5 * HOUR)
    assert unread(warehouse) == [
        ("a set was archived but not loaded", at, at + 2 * HOUR),
        ("a set was loaded but not confirmed", at + 2 * HOUR, at + 5 * HOUR),
    ]


def test_a_channel_without_an_answer_is_unread_up_to_now(warehouse: Engine) -> None:
    channel(warehouse, last_checked_at=NOW - 2 * DAY, caught_up_at=NOW - 2 * DAY)
    [(what, since, _)] = unread(warehouse)
    assert (what, since) == ("Getty gives no answer, up to now", NOW - 2 * DAY)


def test_a_retired_channel_is_unread_since_its_last_answer(warehouse: Engine) -> None:
    channel(warehouse, retired_at=NOW - DAY, last_checked_at=NOW - 2 * DAY)
    [(what, since, _)] = unread(warehouse)
    assert (what, since) == ("Getty no longer lists the channel", NOW - 2 * DAY)


def test_a_retired_channel_counts_until_a_person_takes_note(warehouse: Engine) -> None:
    """It counts at once."""
    just_now = datetime.now(UTC) - MINUTE
    channel(warehouse, retired_at=just_now, last_checked_at=just_now)
    known = {"retired_at": NOW - 5 * DAY, "last_checked_at": NOW - 5 * DAY, "retirement_known_at": NOW - 4 * DAY}
    channel(warehouse, 3002, **known)
    channel(warehouse, 3003, **{name: time - 30 * DAY for name, time in known.items()})
    channel(warehouse, 3004, **(known | {"retirement_known_at": NOW - 30 * DAY}))  # known of an earlier time
    spans = {row["channel_id"]: (row["unread_from"], row["unread_to"]) for row in report_of(warehouse).unread}
    assert spans[3002] == (NOW - 5 * DAY, NOW - 4 * DAY)
    assert spans[3001][0] == just_now
    assert spans[3004][1] > NOW - HOUR
    assert set(spans) == {3001, 3002, 3004}


def test_an_unconfirmed_set_ends_with_its_retired_channel(warehouse: Engine) -> None:
    known = {"retired_at": NOW - 4 * DAY, "last_checked_at": NOW - 4 * DAY, "retirement_known_at": NOW - 4 * DAY}
    channel(warehouse, **known)
    change_set(warehouse, "1", at=NOW - 5 * DAY, loaded_at=NOW - 5 * DAY, confirmed_at=None)
    assert ("a set was loaded but not confirmed", NOW - 5 * DAY, NOW - 4 * DAY) in unread(warehouse)


def test_a_rebuilt_ledger_claims_no_span_of_its_own(warehouse: Engine) -> None:
    channel(warehouse)
    for number, days in (("1", 3), ("2", 2)):
        at = NOW - days * DAY
        change_set(warehouse, number, at=at, loaded_at=NOW, confirmed_at=NOW, rebuilt_at=NOW)
    assert unread(warehouse) == []
