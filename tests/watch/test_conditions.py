"""Each condition is provoked through the sandbox or the ledger; its alert arrives once and clears once."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from asset_changes.models import ChangeSetRef
from asset_changes.monitoring.alerts import note_nightly_replay, note_retirement
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import transaction
from getty_sandbox.sandbox import Sandbox

from tests.watch.conftest import Feed, Watchdog

MINUTES, HOURS, DAYS = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = timedelta()


@dataclass(frozen=True)
class Case:
    """How a condition comes, how it goes, and when the watchdog looks each time."""

    condition: str
    comes: Callable[[Feed], None]
    says: str
    seen_after: timedelta = NOW
    goes: Callable[[Feed], None] = lambda feed: None
    over_after: timedelta = NOW
    over: str = "is over"
    settings: WatchSettings = WatchSettings()  # noqa: RUF009 - frozen


def _nothing(feed: Feed) -> None:
    """Time alone brings it."""


def _fetch(feed: Feed) -> None:
    feed.says("Delete")
    assert fetch(feed.steps, batch_size=100)


def _load(feed: Feed) -> None:
    feed.says("Update")
    fetched = fetch(feed.steps, batch_size=100)
    assert fetched
    load(feed.steps, fetched)


def _reject(feed: Feed) -> None:
    feed.says("Renamed")
    feed.catch_up()


def _late_delete(feed: Feed) -> None:
    _fetch(feed)
    time.sleep(0.2)
    feed.catch_up()


def _vanish(feed: Feed) -> None:
    feed.sandbox.retire(3001)
    feed.discover()


def _relist(feed: Feed) -> None:
    with Sandbox(changes_per_channel=0) as getty:
        feed.discover(getty)


def _take_note(feed: Feed) -> None:
    with transaction(feed.steps.warehouse) as connection:
        assert note_retirement(connection, 3001)


def _appear(feed: Feed) -> None:
    """Getty lists film too, a month after the first discovery."""
    feed.sql("UPDATE channels SET discovered_at = discovered_at - interval '30 days'")
    for other in (3002, 3004):
        feed.sandbox.retire(other)
    feed.discover()


def _forget(feed: Feed) -> None:
    feed.sql("CREATE TABLE kept AS SELECT * FROM change_sets")
    feed.sql("DELETE FROM change_sets")


def _remember(feed: Feed) -> None:
    feed.sql("INSERT INTO change_sets SELECT * FROM kept")


def _replay(feed: Feed) -> None:
    """As the nightly run does."""
    now = datetime.now(UTC)
    done = replay(
        feed.steps.channel,
        archive=feed.steps.archive,
        warehouse=feed.steps.warehouse,
        since=now - DAYS,
        until=now + DAYS,
    )
    with transaction(feed.steps.warehouse) as connection:
        note_nightly_replay(connection, 3001, changed=done.changed, begins=True)


def _lose_rows(feed: Feed) -> None:
    """Somebody writes into the tables, and the night comes."""
    feed.sql("DELETE FROM asset_states")
    _replay(feed)


def _strange_confirmation(feed: Feed) -> None:
    """Somebody else confirms the set that is fetched here, so our own confirmation gets a 404."""
    _load(feed)
    outstanding = feed.sandbox.outstanding(3001)
    assert outstanding
    assert feed.steps.source.confirm_change_set(str(outstanding.change_set_id)).is_known
    confirm(feed.steps, _in_hand(feed, str(outstanding.change_set_id)))


def _strange_reading(feed: Feed) -> None:
    """Somebody else confirms a set between our fetch and our load."""
    _fetch(feed)
    outstanding = feed.sandbox.outstanding(3001)
    assert outstanding
    assert feed.steps.source.confirm_change_set(str(outstanding.change_set_id)).is_known
    feed.catch_up()


def _read_a_while(feed: Feed, sets: int = 25) -> None:
    """Read many sets, whose ids Getty counts up."""
    feed.says(*["Update"] * sets)
    assert catch_up(feed.steps, batch_size=1, minutes=1).sets == sets


def _strange_sets(feed: Feed) -> None:
    """Somebody else reads two sets whole, so that we never hear of them."""
    _read_a_while(feed)
    feed.says("Update", "Update", "Update")
    for _ in range(2):
        read = feed.steps.source.get_change_set(3001, batch_size=1)
        assert feed.steps.source.confirm_change_set(read.document["change_set_id"]).is_known
    feed.catch_up()


def _in_hand(feed: Feed, change_set_id: str) -> ChangeSetRef:
    with transaction(feed.steps.warehouse) as connection:
        row = ledger.lookup(connection, 3001, change_set_id)
    assert row
    return row.ref


CASES = (
    Case("unchecked", _nothing, "has given no answer for 61 minutes", 61 * MINUTES, Feed.catch_up),
    Case("behind", _load, "is not caught up, and its newest change is 2 hours old", 125 * MINUTES, Feed.catch_up),
    Case("unread", _nothing, "unread for 11 days; Getty drops them after 14", 11 * DAYS, Feed.catch_up),
    Case("dormant", _nothing, "was not asked for 91 days", 91 * DAYS, Feed.catch_up),
    Case("delete_overdue", _fetch, "sets not loaded yet 1, sets loaded too late 0", 61 * MINUTES, Feed.catch_up),
    Case(
        "delete_overdue",
        _late_delete,
        "sets not loaded yet 0, sets loaded too late 1",
        over_after=25 * HOURS,
        settings=WatchSettings(delete_minutes=0.1 / 60),
    ),
    Case("rejected", _reject, "sent changes that could not be applied: 1 (unknown_lifecycle)", over_after=25 * HOURS),
    Case("unconfirmed", _load, "loaded change set that is unconfirmed for 31 minutes", 31 * MINUTES, Feed.catch_up),
    Case("vanished", _vanish, "is no longer listed by Getty", goes=_relist, over="Getty lists it again"),
    Case("vanished", _vanish, "is no longer listed by Getty", goes=_take_note, over="somebody took note"),
    Case("appeared", _appear, "is new: Getty did not list it before", over_after=8 * DAYS, over="is no news any more"),
    Case(
        "not_in_ledger",
        _forget,
        "in the archive that the ledger does not hold as loaded: 1",
        20 * MINUTES,
        _remember,
        20 * MINUTES,
    ),
    Case("not_in_ledger", _fetch, "the ledger does not hold as loaded: 1", 20 * MINUTES, Feed.catch_up, 20 * MINUTES),
    Case("replay_changed", _lose_rows, "changed by the last nightly replay, which must change none: 1", goes=_replay),
    Case("other_consumer", _strange_confirmation, "confirmed by somebody else: 1", over_after=25 * HOURS),
    Case("other_consumer", _strange_reading, "confirmed by somebody else: 1", over_after=25 * HOURS),
    Case("skipped", _strange_sets, "that no channel here was handed: 2", 20 * MINUTES, over_after=25 * HOURS),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.condition}-{case.comes.__name__.strip('_')}")
def test_an_alert_arrives_once_and_clears_once(case: Case, feed: Feed, watchdog: Watchdog) -> None:
    watchdog.settings = case.settings
    assert not watchdog.look().open

    case.comes(feed)
    watchdog.look(later=case.seen_after)
    watchdog.look(later=case.seen_after)
    first = [alert for alert in watchdog.told if alert.condition == case.condition]
    assert [alert.is_over for alert in first] == [False]
    assert case.says in first[0].what

    case.goes(feed)
    watchdog.look(later=case.over_after)
    watchdog.look(later=case.over_after)
    mine = [alert for alert in watchdog.told if alert.condition == case.condition]
    assert [alert.is_over for alert in mine] == [False, True]
    assert mine[1].subject == f"All clear: {mine[0].subject}"
    assert case.over in mine[1].what


@pytest.mark.parametrize(
    ("hours_ago", "silent_after"),
    [
        pytest.param((10,), 24, id="a day"),
        # 40 hours passed between its two sets: 80 hours of silence are nothing unusual for this channel.
        pytest.param((50, 10), 80, id="twice its longest pause"),
    ],
)
def test_a_silent_channel_is_told_once_it_is_silent_for_longer_than_it_ever_was(
    hours_ago: tuple[int, ...], silent_after: int, unread_feed: Feed, watchdog: Watchdog
) -> None:
    """Getty's feed has stopped before; the channel goes on answering that there is nothing."""
    feed, now = unread_feed, datetime.now(UTC)
    watchdog.settings = WatchSettings(unchecked_minutes=9_999)  # as if the last answer were always fresh
    for hours in hours_ago:
        feed.says("Update", at=now - hours * HOURS)
        feed.catch_up()
    feed.sandbox.silence(3001)
    feed.says("Update", at=now)
    feed.catch_up()

    watchdog.look(later=(silent_after - 10 - 1) * HOURS)
    assert watchdog.heard == []
    for hours in (1, 2):
        watchdog.look(later=(silent_after - 10 + hours) * HOURS)
    assert watchdog.heard == [("silent", False)]
    feed.sandbox.silence(3001, silent=False)
    feed.catch_up()
    watchdog.look()
    assert watchdog.heard == [("silent", False), ("silent", True)]


def test_every_condition_is_provoked_here() -> None:
    provoked = {case.condition for case in CASES} | {"silent"}
    assert provoked == {condition.name for condition in CONDITIONS}


def test_a_stopped_channel_is_not_silent_as_nobody_asked_it(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.look(later=3 * DAYS)
    assert watchdog.heard == [("unchecked", False)]


def test_where_nothing_is_confirmed_nobody_is_told_that_nothing_is_confirmed(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.confirms = False
    looking = replace(feed.steps, confirms=False)
    feed.says("Update", "Delete")
    fetched = fetch(looking, batch_size=100)
    assert fetched
    load(looking, fetched)
    watchdog.look(later=50 * MINUTES)
    assert watchdog.heard == []


def test_an_own_confirmation_whose_answer_was_lost_is_no_other_consumer(feed: Feed, watchdog: Watchdog) -> None:
    feed.sandbox.fail_next("lost_delete_response", channel_id=3001)
    feed.says("Update")
    feed.catch_up()
    watchdog.look()
    assert watchdog.heard == []


def test_ids_that_getty_does_not_count_up_one_by_one_say_nothing(feed: Feed, watchdog: Watchdog) -> None:
    _read_a_while(feed)
    feed.sql("UPDATE change_sets SET change_set_id = (change_set_id::bigint * 3 % 1009)::text")
    watchdog.look(later=20 * MINUTES)
    assert "skipped" not in [condition for condition, _ in watchdog.heard]


def test_channels_that_share_one_count_skip_none_of_it(feed: Feed, watchdog: Watchdog) -> None:
    _read_a_while(feed, 40)
    feed.sql("INSERT INTO channels (channel_id, asset_family, asset_type) VALUES (3002, 'Creative', 'Image')")
    feed.sql("UPDATE change_sets SET channel_id = 3002 WHERE change_set_id::bigint % 3 = 0")
    watchdog.look(later=20 * MINUTES)
    assert "skipped" not in [condition for condition, _ in watchdog.heard]


def test_a_channel_that_vanished_stays_an_alert_as_its_deletes_stay_away(feed: Feed, watchdog: Watchdog) -> None:
    feed.discover()
    _vanish(feed)
    for later in (NOW, 8 * DAYS, 100 * DAYS):
        watchdog.look(later=later)
    assert [each for each in watchdog.told if each.channel_id == 3001] == [watchdog.told[0]]
    assert watchdog.heard[0] == ("vanished", False)


def test_a_channel_that_vanishes_once_more_is_told_once_more(feed: Feed, watchdog: Watchdog) -> None:
    feed.discover()
    _vanish(feed)
    _take_note(feed)
    watchdog.look()
    assert watchdog.heard == []
    _relist(feed)
    _vanish(feed)
    watchdog.look()
    assert watchdog.heard == [("vanished", False)]


def test_a_replay_into_an_empty_warehouse_is_neither_late_nor_strange(feed: Feed, watchdog: Watchdog) -> None:
    feed.says("Delete", "Renamed")
    feed.catch_up()
    feed.says("Update")
    feed.catch_up()
    feed.sql("TRUNCATE change_sets, asset_changes, asset_states, deletions, rejected_changes")
    now = datetime.now(UTC)
    replay(
        feed.steps.channel,
        archive=feed.steps.archive,
        warehouse=feed.steps.warehouse,
        since=now - DAYS,
        until=now + DAYS,
    )
    watchdog.look()
    assert watchdog.heard == []


def test_ids_that_jump_beyond_any_count_blind_nobody(feed: Feed, watchdog: Watchdog) -> None:
    _read_a_while(feed, 40)
    feed.sql("UPDATE change_sets SET change_set_id = '987654321000' WHERE channel_seq = 40")
    watchdog.look(later=20 * MINUTES)
    [skipped] = [alert for alert in watchdog.told if alert.condition == "skipped"]
    assert "2147483647" in skipped.what.replace(",", "")
