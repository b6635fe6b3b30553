"""Each condition is provoked through the sandbox or the tables; its alert arrives once and clears once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from asset_changes.errors import ConfigurationError
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.models import ChangeSetRef
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.decisions import dismiss, note_nightly_replay, note_retirement
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.purge_counts import count_duties
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import text

from tests.conftest import credentials_for
from tests.watch.conftest import PAGE, Feed, Watchdog

MINUTES, HOURS, DAYS = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = timedelta()
OBJECT = "file:///archive/channel_id=3001/fetched_date=2026-01-01/20260101T000000000000Z.unreadable.gz"


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
    settings: WatchSettings = WatchSettings(replay_hours=9_999)  # noqa: RUF009 - frozen


def _nothing(feed: Feed) -> None:
    """Time alone brings it."""


def _fetch(feed: Feed) -> None:
    feed.says("Delete")
    assert fetch(feed.context, batch_size=100)


def _load(feed: Feed) -> None:
    feed.says("Update")
    ref = fetch(feed.context, batch_size=100)
    assert ref
    load(feed.context, ref)


def _reject(feed: Feed) -> None:
    feed.says("Renamed")
    feed.catch_up()


def _reject_upsert(feed: Feed) -> None:
    _reject(feed)
    feed.sql("UPDATE rejected_changes SET reason = 'no_time', asset_lifecycle = 'New'")


def _dismiss(feed: Feed, what: str) -> None:
    with transaction(feed.context.warehouse) as connection:
        assert dismiss(connection, what, by="maria").endswith(", by maria.")


def _dismiss_rejected(feed: Feed) -> None:
    with transaction(feed.context.warehouse) as connection:
        change_set_id = connection.scalar(text("SELECT change_set_id FROM rejected_changes"))
    _dismiss(feed, f"3001/{change_set_id}/0")


def _come_back_after_20_days(feed: Feed) -> None:
    """An empty answer afterwards leaves the trace as it is."""
    feed.sql("INSERT INTO feed_gaps VALUES (3001, now() - interval '21 days', now() - interval '1 day')")
    feed.catch_up()


def _reconcile(feed: Feed) -> None:
    _dismiss(feed, "gap 3001")


def _find(kind: str) -> Callable[[Feed], None]:
    """Return what makes a finding of this kind about an object of the archive."""

    def find(feed: Feed) -> None:
        feed.sql(
            "INSERT INTO archive_findings (channel_id, archive_uri, kind, received_at, found_at)"
            " VALUES (3001, :uri, :kind, now(), now())",
            uri=OBJECT,
            kind=kind,
        )

    find.__name__ = kind
    return find


def _dismiss_finding(feed: Feed) -> None:
    _dismiss(feed, OBJECT)


def _late_delete(feed: Feed) -> None:
    """A Delete that came 61 minutes ago is loaded now."""
    came = datetime.now(UTC) - 61 * MINUTES
    feed.says("Delete", at=came)
    client = AssetChangesClient(credentials_for(feed.sandbox), clock=lambda: came)
    assert fetch(replace(feed.context, source=client), batch_size=100)
    client.close()
    feed.catch_up()


def _vanish(feed: Feed) -> None:
    feed.sandbox.retire(3001)
    feed.discover()


def _miss(feed: Feed) -> None:
    """One list lacks the channel."""
    with transaction(feed.context.warehouse) as connection:
        ledger.mark_missing(connection, [3001])


def _retire_noted(feed: Feed) -> None:
    with transaction(feed.context.warehouse) as connection:
        ledger.retire_channels(connection, [3001])
    _take_note(feed)


def _relist(feed: Feed) -> None:
    with Sandbox(changes_per_channel=0) as getty:
        feed.discover(getty)


def _take_note(feed: Feed) -> None:
    with transaction(feed.context.warehouse) as connection:
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
        feed.context.channel,
        archive=feed.context.archive,
        warehouse=feed.context.warehouse,
        since=now - DAYS,
        until=now + DAYS,
    )
    with transaction(feed.context.warehouse) as connection:
        note_nightly_replay(connection, 3001, changed=done.changed, begins=True, is_complete=True)


def _lose_rows(feed: Feed) -> None:
    """Somebody writes into the tables, and the night comes."""
    feed.sql("DELETE FROM asset_states")
    _replay(feed)


def _strange_confirmation(feed: Feed) -> None:
    """Somebody else confirms the set that is fetched here, so our own confirmation gets a 404."""
    _load(feed)
    outstanding = feed.sandbox.outstanding(3001)
    assert outstanding
    assert feed.context.source.confirm_change_set(str(outstanding.change_set_id)).is_known
    confirm(feed.context, _ref_of(feed, str(outstanding.change_set_id)))


def _strange_reading(feed: Feed) -> None:
    """Somebody else confirms a set between our fetch and our load."""
    _fetch(feed)
    outstanding = feed.sandbox.outstanding(3001)
    assert outstanding
    assert feed.context.source.confirm_change_set(str(outstanding.change_set_id)).is_known
    feed.catch_up()


def _read_a_while(feed: Feed, sets: int = 25) -> None:
    """Read many sets, whose ids Getty counts up."""
    feed.says(*["Update"] * sets)
    assert catch_up(feed.context, batch_size=1, minutes=1).sets == sets


def _strange_sets(feed: Feed) -> None:
    """Somebody else reads two sets whole, so that we never hear of them."""
    _read_a_while(feed)
    feed.says("Update", "Update", "Update")
    for _ in range(2):
        read = feed.context.source.get_change_set(3001, batch_size=1)
        assert feed.context.source.confirm_change_set(read.document["change_set_id"]).is_known
    feed.catch_up()


def _wait_for_lookup(feed: Feed) -> None:
    feed.sql("INSERT INTO lookup_queue (asset_id, channel_id, reason, enqueued_at, not_before)"
             " VALUES ('1', 3001, 'change', now(), now())")  # fmt: skip


def _look_up(feed: Feed) -> None:
    feed.sql("DELETE FROM lookup_queue")


def _use_all_calls(feed: Feed) -> None:
    _wait_for_lookup(feed)
    feed.sql("INSERT INTO lookup_calls (conn_id, hour, calls)"
             " VALUES ('second_key', date_trunc('hour', now(), 'UTC'), 10000)")  # fmt: skip


def _be_refused(feed: Feed) -> None:
    _wait_for_lookup(feed)
    feed.sql("INSERT INTO lookup_connections (conn_id, error, error_at) VALUES ('second_key', 'No right {0}', now())")


def _be_answered(feed: Feed) -> None:
    feed.sql("UPDATE lookup_connections SET error = NULL, error_at = NULL, last_answer_at = now()")


def _ask_for_approval(feed: Feed) -> None:
    feed.sql("INSERT INTO reconciliations (conn_id, channel_ids, started_at, asked_at, outcome, asked_count,"
             " not_licensed_count, not_in_catalogue_count, expires_at)"
             " VALUES ('getty', '{3001}', now(), now(), 'waiting', 1000, 580, 20, '2026-12-01 12:00Z')")  # fmt: skip


def _plan_purge(feed: Feed) -> None:
    feed.sql("INSERT INTO purge_plans (mode, policy_hash, made_at, ended_at, outcome, file_count, brake, expires_at)"
             " VALUES ('on', 'h', now(), now(), 'waiting', 1200, 'It is the first.', '2099-01-01Z')")  # fmt: skip


def _leave_files(feed: Feed) -> None:
    _plan_purge(feed)
    feed.sql("UPDATE purge_plans SET outcome = 'refused'")
    feed.sql("INSERT INTO file_stores (store, uri, store_hash) VALUES ('dam', 'file:///dam', 'h')")
    feed.sql("INSERT INTO held_assets (source, asset_id, held_since) VALUES ('dam', 'p1', '2020-01-01Z')")
    feed.sql("INSERT INTO asset_states (asset_id, asset_family, channel_id, deleted_at, delete_change_set_id,"
             " delete_position, loaded_at) VALUES ('p1', 'Editorial', 3001, now(), 's', 0, now())")  # fmt: skip
    _count_duties(feed)


def _count_duties(feed: Feed) -> None:
    with transaction(feed.context.warehouse) as connection:
        count_duties(connection, stores=["dam"], reasons=["deleted"])


def _hold_back(feed: Feed) -> None:
    feed.sql("INSERT INTO purge_holds (asset_id, owner, reason) VALUES ('p1', 'legal', 'a case')")
    _count_duties(feed)


def _pause_purge(feed: Feed) -> None:
    _leave_files(feed)
    feed.sql("UPDATE purge_plans SET mode = 'dry_run', outcome = 'listed', stores = '{\"dam\": {\"error\": null}}'")


def _plan_again(feed: Feed) -> None:
    feed.sql("INSERT INTO purge_plans (mode, policy_hash, outcome, ended_at, stores) VALUES"
             " ('dry_run', 'h', 'listed', now() + interval '1 day', '{\"dam\": {\"error\": null}}')")  # fmt: skip


def _fail_to_delete(feed: Feed) -> None:
    _plan_purge(feed)
    feed.sql("UPDATE purge_plans SET outcome = 'purged'")
    for key in ("1.jpg", "1.jpg", "2.jpg"):
        _write_receipt(feed, key, "error", error="AccessDenied {0}")


def _write_receipt(feed: Feed, key: str, result: str, *, error: str | None = None) -> None:
    feed.sql("INSERT INTO purges (plan_id, store, store_hash, asset_id, reason, due_since, key, planned_at, result,"
             " is_gone, error) SELECT plan_id, 'dam', 'h', 'p1', 'deleted', now(), :key, now(), :result,"
             " CAST(:error AS text) IS NULL, :error FROM purge_plans", key=key, result=result, error=error)  # fmt: skip


def _delete_at_last(feed: Feed) -> None:
    _write_receipt(feed, "1.jpg", "deleted")


def _refuse_purge(feed: Feed) -> None:
    feed.sql("UPDATE purge_plans SET outcome = 'refused'")


def _answer(feed: Feed) -> None:
    feed.sql("UPDATE reconciliations SET outcome = 'refused', decided_at = now(), approved_by = 'maria'")


def _ref_of(feed: Feed, change_set_id: str) -> ChangeSetRef:
    with transaction(feed.context.warehouse) as connection:
        row = ledger.lookup(connection, 3001, change_set_id)
    assert row
    return row.ref


CASES = (
    Case("unchecked", _nothing, "has given no answer for 61 minutes", 61 * MINUTES, Feed.catch_up),
    Case("behind", _load, "is not caught up, and lags by 2 hours", 125 * MINUTES, Feed.catch_up),
    Case("unread", _nothing, "unread for 11 days; Getty drops them after 14", 11 * DAYS, Feed.catch_up),
    Case("dormant", _nothing, "was not asked for 91 days", 91 * DAYS, Feed.catch_up),
    Case("delete_overdue", _fetch, "sets not loaded yet 1, sets loaded too late 0", 61 * MINUTES, Feed.catch_up),
    Case("delete_overdue", _late_delete, "sets not loaded yet 0, sets loaded too late 1", over_after=25 * HOURS),
    Case(
        "rejected",
        _reject,
        "sent changes that could not be applied: 1 (unknown_lifecycle)",
        seen_after=25 * HOURS,  # it may be a Delete, and time does not resolve that
        goes=_dismiss_rejected,
    ),
    Case("rejected", _reject_upsert, "could not be applied: 1 (no_time)", over_after=25 * HOURS),
    Case(
        "gap",
        _come_back_after_20_days,
        "was not read for 20 days, until 20",
        goes=_reconcile,
        over="what was lost in it was asked for",
    ),
    Case("unreadable", _find("unreadable"), "structure is not understood: 1; the first is file", goes=_dismiss_finding),
    Case("archive_damaged", _find("damaged"), "that are damaged or missing: 1; the first is", goes=_dismiss_finding),
    Case("archive_damaged", _find("missing"), "that are damaged or missing: 1; the first is", goes=_dismiss_finding),
    Case(
        "replay_overdue",
        _nothing,
        "has had no nightly replay that was completed for 37 hours",
        37 * HOURS,
        goes=lambda feed: _replay(feed),
        settings=WatchSettings(unchecked_minutes=9_999),
    ),
    Case("unconfirmed", _load, "loaded change set that is unconfirmed for 31 minutes", 31 * MINUTES, Feed.catch_up),
    Case("missing", _miss, "is missing from Getty's list, and is still read", goes=_relist, over="lists it again"),
    Case("missing", _miss, "is missing from Getty's list, and is still read", goes=_retire_noted, over="it is retired"),
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
    Case("lookups_capped", _use_all_calls, "has used all calls of a day with second_key", goes=_look_up),
    Case("lookups_capped", _use_all_calls, "has used all calls of a day with second_key", over_after=48 * HOURS),
    Case("lookups_refused", _be_refused, "for 61 minutes: second_key says No right {0}", 61 * MINUTES, _be_answered),
    Case(
        "approval_waits",
        _ask_for_approval,
        "found 600 of 1,000 assets gone with getty, which is over the limit, and has waited for a person for 5 hours; "
        "until 2026-12-01 12:00 UTC",
        5 * HOURS,
        _answer,
    ),
    Case(
        "files_due",
        _leave_files,
        "has 1 assets whose files had to be deleted; the oldest for 25 hours",
        25 * HOURS,
        _hold_back,
    ),
    Case(
        "purge_stopped",
        _pause_purge,
        "has listed nothing in dam for 25 hours, while 1 assets must go",
        25 * HOURS,
        _plan_again,
        25 * HOURS,
    ),
    Case(
        "purge_failed",
        _fail_to_delete,
        "could not delete 2 files of dam: AccessDenied {0}",
        HOURS,
        _delete_at_last,
    ),
    Case(
        "purge_waits",
        _plan_purge,
        "has a plan to delete 1,200 files that has waited for a person for 5 hours: It is the first.",
        5 * HOURS,
        _refuse_purge,
    ),
    Case("metadata_backlog", _wait_for_lookup, "has kept an asset waiting for 27 hours", 27 * HOURS, _look_up),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.condition}-{case.comes.__name__.strip('_')}")
def test_an_alert_arrives_once_and_clears_once(case: Case, feed: Feed, watchdog: Watchdog) -> None:
    watchdog.settings = case.settings
    assert not watchdog.watch().open

    case.comes(feed)
    watchdog.watch(later=case.seen_after)
    watchdog.watch(later=case.seen_after)
    first = [alert for alert in watchdog.sent if alert.condition == case.condition]
    assert [alert.is_over for alert in first] == [False]
    assert case.says in first[0].what

    case.goes(feed)
    watchdog.watch(later=case.over_after)
    watchdog.watch(later=case.over_after)
    mine = [alert for alert in watchdog.sent if alert.condition == case.condition]
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
def test_a_channel_silent_longer_than_ever_is_an_alert(
    hours_ago: tuple[int, ...], silent_after: int, unread_feed: Feed, watchdog: Watchdog
) -> None:
    """Getty's feed has stopped before; the channel keeps answering that there is nothing."""
    feed, now = unread_feed, datetime.now(UTC)
    watchdog.settings = WatchSettings(
        unchecked_minutes=9_999, replay_hours=9_999
    )  # as if the last answer were always fresh
    for hours in hours_ago:
        feed.says("Update", at=now - hours * HOURS)
        feed.catch_up()
    feed.sandbox.silence(3001)
    feed.says("Update", at=now)
    feed.catch_up()

    watchdog.watch(later=(silent_after - 10 - 1) * HOURS)
    assert watchdog.messages == []
    for hours in (1, 2):
        watchdog.watch(later=(silent_after - 10 + hours) * HOURS)
    assert watchdog.messages == [("silent", False)]
    feed.sandbox.silence(3001, silent=False)
    feed.catch_up()
    watchdog.watch()
    assert watchdog.messages == [("silent", False), ("silent", True)]


def test_an_alert_of_the_lookups_is_that_of_no_channel(feed: Feed, watchdog: Watchdog) -> None:
    _use_all_calls(feed)
    watchdog.watch()
    [alert] = watchdog.sent
    assert (alert.subject, alert.channel_id) == ("Lookups at the day's limit, Look up assets", None)
    assert alert.what == "Look up assets has used all calls of a day with second_key, while assets wait"
    assert alert.link == PAGE


@pytest.mark.parametrize("name", ["unread", "dormant", "gap"])
def test_after_a_gap_the_alert_names_the_remedy(name: str) -> None:
    [condition] = [each for each in CONDITIONS if each.name == name]
    remedy = "trigger asset_changes_lookup with the end of the gap as `not_asked_since`"
    assert remedy in condition.next_step[0].lower() + condition.next_step[1:]


def test_an_approval_waits_whether_metadata_is_kept_or_not(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.lookups_per_day = None
    watchdog.settings = WatchSettings(unchecked_minutes=9_999, replay_hours=9_999, approval_hours=2)
    _ask_for_approval(feed)
    watchdog.watch(later=HOURS)
    assert watchdog.messages == []
    watchdog.watch(later=3 * HOURS)
    [alert] = watchdog.sent
    assert (alert.subject, alert.channel_id, alert.link) == ("An approval waits, Look up assets", None, PAGE)


@pytest.mark.parametrize("ends", ["live again", "waived", "held back"])
def test_what_need_not_go_is_no_failure(ends: str, feed: Feed, watchdog: Watchdog) -> None:
    watchdog.settings = WatchSettings(unchecked_minutes=9_999, replay_hours=9_999)
    _fail_to_delete(feed)
    watchdog.watch(later=MINUTES)
    assert [alert.subject for alert in watchdog.sent] == ["Files that cannot be deleted, Purge files"]
    if ends == "live again":
        feed.sql("INSERT INTO asset_states (asset_id, asset_family, channel_id, deleted_at, upserted_at, loaded_at)"
                 " VALUES ('p1', 'Editorial', 3001, now(), now() + interval '1 minute', now())")  # fmt: skip
    elif ends == "waived":
        feed.sql("INSERT INTO purge_waivers (asset_id, reason, due_since, why) VALUES ('p1', 'deleted', now(), 'why')")
    else:
        feed.sql("INSERT INTO purge_holds (asset_id, owner, reason) VALUES ('p1', 'legal', 'a case')")
    watchdog.watch(later=2 * MINUTES)
    assert watchdog.sent[-1].is_over


@pytest.mark.parametrize(
    ("reason", "alerts"),
    [("recheck", ["lookups_refused"]), ("asked", ["lookups_refused"]), ("change", [])],
)
def test_without_metadata_a_refused_reconciliation_is_an_alert(
    reason: str, alerts: list[str], feed: Feed, watchdog: Watchdog
) -> None:
    """Changes that wait are left from when metadata was kept: nobody asks about them."""
    watchdog.keeps_metadata = False
    watchdog.settings = WatchSettings(unchecked_minutes=60, replay_hours=9_999, silent_hours=9_999)
    _be_refused(feed)
    feed.sql("UPDATE lookup_queue SET reason = :reason", reason=reason)
    watchdog.watch(later=27 * HOURS)
    assert [alert.condition for alert in watchdog.sent if alert.channel_id is None] == alerts


def test_a_reconciliation_that_takes_days_is_not_late_metadata(feed: Feed, watchdog: Watchdog) -> None:
    _wait_for_lookup(feed)
    feed.sql("UPDATE lookup_queue SET reason = 'recheck'")
    watchdog.watch(later=27 * HOURS)
    assert "metadata_backlog" not in [alert.condition for alert in watchdog.sent]


def test_with_lookups_off_nothing_is_said_of_them(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.lookups_per_day = None
    watchdog.settings = WatchSettings(unchecked_minutes=9_999, replay_hours=9_999, silent_hours=9_999)
    _be_refused(feed)
    feed.sql("INSERT INTO lookup_calls (conn_id, hour, calls) VALUES ('second_key', now(), 10000)")
    watchdog.watch(later=27 * HOURS)
    assert watchdog.messages == []


def test_no_alert_of_lookups_while_nothing_waits(feed: Feed, watchdog: Watchdog) -> None:
    _use_all_calls(feed)
    feed.sql("INSERT INTO lookup_connections (conn_id, error, error_at) VALUES ('second_key', 'No', now())")
    _look_up(feed)
    watchdog.watch(later=61 * MINUTES)
    assert watchdog.messages == [("unchecked", False)]


def test_every_condition_is_provoked_here() -> None:
    provoked = {case.condition for case in CASES} | {"silent", "blocked"}  # those two have tests of their own
    assert provoked == {condition.name for condition in CONDITIONS}, "each condition needs a Case in CASES"


def test_a_stopped_channel_is_not_silent_as_nobody_asked_it(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.watch(later=3 * DAYS)
    assert watchdog.messages == [("unchecked", False)]


def test_with_confirm_off_an_unconfirmed_set_is_no_alert(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.confirms = False
    looking = replace(feed.context, confirms=False)
    feed.says("Update", "Delete")
    ref = fetch(looking, batch_size=100)
    assert ref
    load(looking, ref)
    watchdog.watch(later=50 * MINUTES)
    assert watchdog.messages == []


def test_an_own_confirmation_with_a_lost_answer_is_no_alert(feed: Feed, watchdog: Watchdog) -> None:
    """It is not taken for that of another consumer."""
    feed.sandbox.fail_next("lost_delete_response", channel_id=3001)
    feed.says("Update")
    feed.catch_up()
    watchdog.watch()
    assert watchdog.messages == []


def test_ids_that_do_not_count_up_one_by_one_say_nothing(feed: Feed, watchdog: Watchdog) -> None:
    _read_a_while(feed)
    feed.sql("UPDATE change_sets SET change_set_id = (change_set_id::bigint * 3 % 1009)::text")
    watchdog.watch(later=20 * MINUTES)
    assert "skipped" not in [condition for condition, _ in watchdog.messages]


def test_channels_that_share_one_count_skip_none_of_it(feed: Feed, watchdog: Watchdog) -> None:
    _read_a_while(feed, 40)
    feed.sql("INSERT INTO channels (channel_id, asset_family, asset_type) VALUES (3002, 'Creative', 'Image')")
    feed.sql("UPDATE change_sets SET channel_id = 3002 WHERE change_set_id::bigint % 3 = 0")
    watchdog.watch(later=20 * MINUTES)
    assert "skipped" not in [condition for condition, _ in watchdog.messages]


def test_a_channel_that_vanished_stays_an_alert(feed: Feed, watchdog: Watchdog) -> None:
    """For its Deletes do not come any more."""
    feed.discover()
    _vanish(feed)
    for later in (NOW, 8 * DAYS, 100 * DAYS):
        watchdog.watch(later=later)
    assert [each for each in watchdog.sent if each.channel_id == 3001] == [watchdog.sent[0]]
    assert watchdog.messages[0] == ("vanished", False)


def test_a_channel_that_vanishes_again_is_an_alert_again(feed: Feed, watchdog: Watchdog) -> None:
    feed.discover()
    _vanish(feed)
    _take_note(feed)
    watchdog.watch()
    assert watchdog.messages == []
    _relist(feed)
    _vanish(feed)
    watchdog.watch()
    assert watchdog.messages == [("vanished", False)]


def test_a_replay_into_an_empty_warehouse_is_not_late(feed: Feed, watchdog: Watchdog) -> None:
    feed.says("Delete", "Renamed")
    feed.catch_up()
    feed.says("Update")
    feed.catch_up()
    feed.sql("TRUNCATE change_sets, asset_changes, asset_states, asset_metadata, deletions, rejected_changes")
    now = datetime.now(UTC)
    replay(
        feed.context.channel,
        archive=feed.context.archive,
        warehouse=feed.context.warehouse,
        since=now - DAYS,
        until=now + DAYS,
    )
    watchdog.watch()
    # The rebuilt set counts with its rejected change, which may be a Delete.
    assert watchdog.messages == [("rejected", False)]


def test_pauses_are_in_the_order_of_time_after_a_restore(unread_feed: Feed, watchdog: Watchdog) -> None:
    """A replay of what was missing gives old sets new numbers: their order says nothing of their times."""
    feed, now = unread_feed, datetime.now(UTC)
    watchdog.settings = WatchSettings(unchecked_minutes=9_999, replay_hours=9_999)
    for hours in (50, 45, 40, 35, 30):
        feed.says("Update", at=now - hours * HOURS)
        feed.catch_up()
    feed.sql("UPDATE change_sets SET channel_seq = 10 + CASE channel_seq WHEN 1 THEN 45 ELSE channel_seq * 10 END")
    watchdog.watch(later=HOURS)
    assert watchdog.messages == [("silent", False)]


def test_a_replay_that_is_red_every_night_is_overdue(feed: Feed, watchdog: Watchdog) -> None:
    watchdog.settings = WatchSettings(unchecked_minutes=9_999)
    _replay(feed)
    with transaction(feed.context.warehouse) as connection:
        note_nightly_replay(connection, 3001, changed=0, begins=True)
    feed.sql("UPDATE channels SET replayed_at = now() - interval '37 hours'")
    with transaction(feed.context.warehouse) as connection:
        note_nightly_replay(connection, 3001, changed=0, begins=True)
    watchdog.watch()
    assert watchdog.messages == [("replay_overdue", False)]


def test_what_is_not_there_cannot_be_dismissed(feed: Feed) -> None:
    for what in ("3001/9/0", "3001/9", "gap 3001", OBJECT, "everything"):
        with (
            pytest.raises(ConfigurationError, match="There is nothing to dismiss"),
            feed.context.warehouse.begin() as c,
        ):
            dismiss(c, what, by="maria")


def test_ids_that_jump_beyond_any_count_blind_nobody(feed: Feed, watchdog: Watchdog) -> None:
    _read_a_while(feed, 40)
    newest = "channel_seq = (SELECT max(channel_seq) FROM change_sets)"
    feed.sql(f"UPDATE change_sets SET change_set_id = '987654321000' WHERE {newest}")
    watchdog.watch(later=20 * MINUTES)
    [skipped] = [alert for alert in watchdog.sent if alert.condition == "skipped"]
    assert "2147483647" in skipped.what.replace(",", "")
