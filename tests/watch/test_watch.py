"""How alerts are sent: once, at least; a notifier that fails is tried again; one failure hides no other."""

from datetime import UTC, datetime, timedelta

import pytest
from asset_changes.errors import ConfigurationError, SchemaMismatch
from asset_changes.monitoring.alerts import Alert
from asset_changes.monitoring.monitor import MonitorResult
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import transaction
from sqlalchemy import text

from tests.watch.conftest import PAGE, Feed, Watchdog

AN_HOUR = timedelta(minutes=61)


def rows(watchdog: Watchdog) -> list[tuple[object, ...]]:
    query = "SELECT condition, notified_at IS NOT NULL, cleared_at IS NOT NULL FROM alerts ORDER BY condition"
    with transaction(watchdog.warehouse) as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def refuse(alert: Alert) -> None:
    raise OSError("the mail server is away")


def test_an_alert_says_what_is_since_when_and_what_to_do(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.watch(later=AN_HOUR)
    (alert,) = watchdog.sent
    assert alert.subject == "No answer, Channel 3001 (Editorial Image)"
    what, since, to_do, see, more = alert.text.splitlines()
    assert what == "Channel 3001 (Editorial Image) has given no answer for 61 minutes"
    assert since == f"Since: {alert.since:%Y-%m-%d %H:%M} UTC"
    assert to_do.startswith("What to do: Open the channel's DAG")
    assert see == f"See: {PAGE}/channels/asset_changes_editorial_image_3001"
    assert more == "More: docs/operations.md#unchecked"
    assert f'See: <a href="{alert.link}">{alert.link}</a><br>' in alert.html


def test_an_all_clear_says_from_when_to_when_it_lasted(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.watch(later=AN_HOUR)
    watchdog.watch()
    began, over = watchdog.sent
    what, lasted, see = over.text.splitlines()
    assert what == "Channel 3001 (Editorial Image): 'No answer' is over"
    assert over.until
    assert lasted == f"It lasted from {began.since:%Y-%m-%d %H:%M} to {over.until:%Y-%m-%d %H:%M} UTC"
    assert see == f"See: {PAGE}/channels/asset_changes_editorial_image_3001"


def rejected(feed: Feed, count: int) -> None:
    feed.says(*["Renamed"] * count)
    feed.catch_up()


def counts(watchdog: Watchdog) -> list[str]:
    """What each message said of how many."""
    return [alert.what.partition("could not be applied: ")[2] for alert in watchdog.sent]


def test_a_flood_behind_a_few_is_sent_again(feed: Feed, watchdog: Watchdog) -> None:
    for more in (3, 26, 1, 200):
        rejected(feed, more)
        watchdog.watch()
        watchdog.watch()
    assert counts(watchdog) == [
        "3 (unknown_lifecycle)",
        "30 (unknown_lifecycle); 3 in the last message",
    ]
    rejected(feed, 70)
    watchdog.watch()
    assert counts(watchdog)[2:] == ["300 (unknown_lifecycle); 30 in the last message"]


def test_a_flood_that_ebbed_hides_no_other(feed: Feed, watchdog: Watchdog) -> None:
    rejected(feed, 50)
    watchdog.watch()
    feed.sql("DELETE FROM rejected_changes WHERE position > 0")
    watchdog.watch()
    rejected(feed, 9)
    watchdog.watch()
    assert counts(watchdog) == ["50 (unknown_lifecycle)", "10 (unknown_lifecycle); 1 in the last message"]


def test_an_open_alert_says_in_its_row_what_it_said_last(feed: Feed, watchdog: Watchdog) -> None:
    for more in (3, 2):
        rejected(feed, more)
        watchdog.watch()
    with transaction(watchdog.warehouse) as connection:
        rows = [tuple(row) for row in connection.execute(text("SELECT condition, says, notified_count FROM alerts"))]
    assert rows == [("rejected", "sent changes that could not be applied: 5 (unknown_lifecycle)", 3)]


def test_a_notifier_that_fails_is_tried_again_by_the_next_watch(feed: Feed, watchdog: Watchdog) -> None:
    watched = watchdog.watch(later=AN_HOUR, notify=refuse)
    assert watched.failures == (
        "The alert 'No answer, Channel 3001 (Editorial Image)' was not sent: the notifier failed with OSError, see "
        "the log. The next watch tries again.",
    )
    assert rows(watchdog) == [("unchecked", False, False)]
    assert watchdog.watch(later=AN_HOUR).notified == 1
    assert rows(watchdog) == [("unchecked", True, False)]


def test_an_all_clear_that_cannot_be_sent_is_tried_again_too(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.watch(later=AN_HOUR)
    assert watchdog.watch(notify=refuse).failures
    assert rows(watchdog) == [("unchecked", True, False)]
    watchdog.watch()
    watchdog.watch()
    assert watchdog.messages == [("unchecked", False), ("unchecked", True)]
    assert rows(watchdog) == [("unchecked", True, True)]


def test_one_refused_message_does_not_hold_up_the_others(feed: Feed, watchdog: Watchdog) -> None:
    def picky(alert: Alert) -> None:
        if alert.condition == "dormant":
            refuse(alert)
        watchdog.sent.append(alert)

    watched = watchdog.watch(later=timedelta(days=91), notify=picky)
    assert watchdog.messages == [("unchecked", False), ("unread", False)]
    assert len(watched.failures) == 1


def test_an_alert_that_was_never_sent_needs_no_all_clear(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.watch(later=AN_HOUR, notify=refuse)
    watchdog.watch()
    assert watchdog.messages == []
    assert rows(watchdog) == [("unchecked", False, True)]


def test_without_a_notifier_alerts_wait_for_one(feed: Feed, watchdog: Watchdog) -> None:
    assert watchdog.watch(later=AN_HOUR, notify=None).open
    assert rows(watchdog) == [("unchecked", False, False)]
    watchdog.watch(later=AN_HOUR)
    assert watchdog.messages == [("unchecked", False)]


def test_a_condition_that_comes_back_is_sent_again(feed: Feed, watchdog: Watchdog) -> None:
    for _ in range(2):
        watchdog.watch(later=AN_HOUR)
        watchdog.watch()
    assert watchdog.messages == [("unchecked", False), ("unchecked", True)] * 2


def test_an_unreadable_archive_hides_no_other_condition(
    feed: Feed, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable:
        def channel_ids(self) -> None:
            from asset_changes.errors import ArchiveUnavailable

            raise ArchiveUnavailable("The archive is away.")

    watchdog.archive = Unreadable()  # type: ignore[assignment]
    watched = watchdog.watch(later=AN_HOUR)
    assert watchdog.messages == [("unchecked", False)]
    assert watched.failures == (
        "Could not check the archive, so it is not known what only the archive holds: The archive is away.",
    )


def test_the_log_has_each_open_alert_with_its_next_step(
    feed: Feed, watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for _ in range(2):
        caplog.clear()
        watchdog.watch(later=AN_HOUR)
        assert "has given no answer for 61 minutes. Since: " in caplog.text
        assert "What to do: Open the channel's DAG" in caplog.text
        assert ".. " not in caplog.text
    assert "Watched: channels=1 open=1 notified=0 cleared=0" in caplog.text


def test_what_getty_sent_cannot_become_markup(feed: Feed, watchdog: Watchdog) -> None:
    feed.says("<script>")
    feed.catch_up()
    watchdog.watch()
    (alert,) = watchdog.sent
    assert "<script>" not in alert.html


def minutes(watched: MonitorResult) -> tuple[int | None, ...]:
    """Lag and time without an answer of the only channel."""
    (only,) = watched.readings
    return tuple(None if each is None else int(each // 60) for each in (only.lag_seconds, only.unchecked_seconds))


def test_a_channel_that_nobody_reads_has_a_lag_that_grows(feed: Feed, watchdog: Watchdog) -> None:
    assert minutes(watchdog.watch(later=timedelta(minutes=10))) == (0, 10)
    assert minutes(watchdog.watch(later=timedelta(minutes=40))) == (40, 40)
    assert minutes(watchdog.watch(later=timedelta(days=5))) == (5 * 24 * 60, 5 * 24 * 60)


def test_the_lag_is_the_age_of_the_oldest_unconfirmed_change(feed: Feed, watchdog: Watchdog) -> None:
    feed.says("Update", at=datetime.now(UTC) - timedelta(hours=3))
    ref = fetch(feed.context, batch_size=100)
    assert ref
    load(feed.context, ref)
    assert minutes(watchdog.watch()) == (180, 0)
    feed.catch_up()
    assert minutes(watchdog.watch()) == (0, 0)


def test_of_a_channel_that_never_answered_no_lag_is_known(feed: Feed, watchdog: Watchdog) -> None:
    feed.sql("TRUNCATE change_sets, channels")
    with transaction(feed.context.warehouse) as connection:
        ledger.upsert_channels(connection, [feed.context.channel])
    assert minutes(watchdog.watch(later=timedelta(minutes=30))) == (None, 30)


def test_a_warehouse_of_another_version_is_an_alert(watchdog: Watchdog) -> None:
    """The alert has the command."""
    with transaction(watchdog.warehouse) as connection:
        connection.execute(text("UPDATE schema_version SET version_num = '0000'"))
    with pytest.raises(SchemaMismatch, match="airflow dags trigger asset_changes_discovery"):
        watchdog.watch()


def test_thresholds_come_from_the_environment() -> None:
    assert WatchSettings.from_environment({}) == WatchSettings()
    given = WatchSettings.from_environment({"ASSET_CHANGES_WATCH_LAG_MINUTES": "30"})
    assert given == WatchSettings(lag_minutes=30)
    assert given.parameters()["lag"] == timedelta(minutes=30)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "1e9", "nan"])
def test_a_threshold_out_of_range_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ASSET_CHANGES_WATCH_LAG_MINUTES is .* number of minutes"):
        WatchSettings.from_environment({"ASSET_CHANGES_WATCH_LAG_MINUTES": value})


def test_the_error_of_a_notifier_is_in_the_log_alone(
    feed: Feed, watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    def post(alert: Alert) -> None:
        raise OSError("Max retries exceeded with url: /services/SECRET")

    [failure] = watchdog.watch(later=AN_HOUR, notify=post).failures
    assert "SECRET" not in failure
    assert "SECRET" in caplog.text
