"""Lookups on a real Postgres: what is enqueued, what an answer comes to, and what a Delete forgets."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import AccessDenied, ApiUnavailable, RateLimited, RequestRefused, UnreadableLookup
from asset_changes.lookup.enqueue import Enqueued, Scope, enqueue
from asset_changes.lookup.look_up import LeaseHeld, LookedUp, look_up
from asset_changes.lookup.metadata import TYPES
from asset_changes.models import Channel
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse.lookup_connections import take_lease
from asset_changes.warehouse.schema import METADATA_COLUMNS, asset_metadata
from sqlalchemy import Engine, event, text
from sqlalchemy.dialects.postgresql.base import PGDialect

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES
from tests.core.doubles import NOON, ScriptedGetty, body_of, change, delivery, execute, live, rows, value
from tests.core.lookup_doubles import LATER, EveryAsset, KnowingGetty, Time, captions, lookups

MINUTE = timedelta(minutes=1)
SCOPE = Scope(connections={"getty": frozenset((3001, 3003))}, reconcile_days=0)


@pytest.fixture
def feed(warehouse: Engine, archive: Archive) -> Callable[..., None]:
    """Let a change set be fetched and loaded."""

    def arrive(change_set_id: str, *messages: dict[str, object], channel: Channel = EDITORIAL_IMAGES) -> None:
        getty = ScriptedGetty([delivery(body_of(change_set_id, *messages))])
        context = ChannelContext(channel=channel, source=getty, archive=archive, warehouse=warehouse)
        found = fetch(context, batch_size=2200)
        assert found is not None
        load(context, found)

    return arrive


def run(warehouse: Engine, getty: KnowingGetty, **more: Any) -> LookedUp:
    """Do what one run of the DAG does."""
    enqueue(warehouse, SCOPE)
    return look_up(lookups(warehouse, getty, **more), minutes=50)


def queue(warehouse: Engine) -> list[str]:
    """Return the ids in the queue."""
    return [row["asset_id"] for row in rows(warehouse, "SELECT asset_id FROM lookup_queue ORDER BY asset_id")]


def known(warehouse: Engine) -> dict[str, str]:
    """Return the captions by asset."""
    found = rows(warehouse, "SELECT asset_id, caption FROM asset_metadata ORDER BY asset_id")
    return {row["asset_id"]: row["caption"] for row in found}


def sweep_is_due(warehouse: Engine) -> None:
    """Let the last look through all assets be more than a day ago."""
    execute(warehouse, "UPDATE consumers SET read_at = now() - interval '25 hours' WHERE name = 'lookup_sweep'")


def due_now(warehouse: Engine) -> None:
    """Let all that waits be due."""
    execute(warehouse, "UPDATE lookup_queue SET not_before = now() - interval '1 second'")


Feed = Callable[..., None]


# What is enqueued.


def test_metadata_of_every_live_asset_is_stored(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 1), change("c", "New", 2), change("c", "Delete", 3))
    getty = KnowingGetty(captions("a", "b", "c"))
    getty.known["a"] = {
        "caption": "A",
        "people": ["x"],
        "keywords": [{"text": "k"}],
        "date_created": "2026-01-01T00:00Z",
    }
    done = run(warehouse, getty)
    assert (done.asked, done.found, done.changed, done.waiting, done.calls) == (2, 2, 2, 0, 1)
    [a, b] = rows(warehouse, "SELECT * FROM assets_with_metadata ORDER BY asset_id")
    assert (a["caption"], a["people"], a["keywords"], a["as_of"]) == ("A", ["x"], [{"text": "k"}], LATER)
    assert b["caption"] == "caption of b"
    assert value(warehouse, "SELECT raw FROM asset_metadata WHERE asset_id = 'b'") == getty.known["b"]


def test_assets_of_two_types_fill_their_calls(warehouse: Engine) -> None:
    """Each read of the queue may end with one call per type that is not full, so it reads many."""
    execute(
        warehouse,
        "INSERT INTO asset_states (asset_id, asset_type, asset_family, channel_id, upserted_at, loaded_at)"
        " SELECT n::text, CASE n % 3 WHEN 0 THEN 'Film' ELSE 'Image' END, 'Editorial', 3001, '2026-03-01Z', now()"
        " FROM generate_series(1, 3000) AS n",
    )
    getty = KnowingGetty(EveryAsset(), videos=frozenset(str(n) for n in range(0, 3001, 3)))
    done = run(warehouse, getty, calls_per_second=1000)
    assert (done.found, done.calls) == (3000, 30)


def test_several_updates_cost_one_lookup(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    enqueue(warehouse, SCOPE)
    feed("2", change("a", "Update", 1))
    feed("3", change("a", "Update", 2))
    assert enqueue(warehouse, SCOPE) == Enqueued(queued=1, waiting=1, unknown=0)
    assert value(warehouse, "SELECT generation FROM lookup_queue") == 2
    assert run(warehouse, KnowingGetty(captions("a"))).calls == 1


def test_what_the_last_answer_showed_is_not_asked(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(captions("a"), as_of=NOON + 5 * MINUTE))
    feed("2", change("a", "Update", 4))
    assert enqueue(warehouse, SCOPE).queued == 0
    feed("3", change("a", "Update", 6))
    assert enqueue(warehouse, SCOPE).queued == 1


def test_asked_by_hand_comes_first_whatever_is_known(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(captions("a")))
    feed("2", change("b", "New", 1), change("c", "New", 2))
    assert enqueue(warehouse, SCOPE, asset_ids=["a", "nobody", "a"]) == Enqueued(queued=3, waiting=3, unknown=1)
    getty = KnowingGetty(captions("a", "b", "c"))
    look_up(lookups(warehouse, getty), minutes=1)
    assert getty.asked == [("Image", ("a", "c", "b"))]  # then the newest first


def test_a_new_channel_is_swept_at_once(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    assert enqueue(warehouse, SCOPE).queued == 1
    feed("2", change("b", "New", 0), channel=EDITORIAL_FILM)
    assert enqueue(warehouse, SCOPE).queued == 1


def test_the_daily_sweep_finds_what_no_cursor_shows(warehouse: Engine, feed: Feed) -> None:
    feed("1", *(change(f"a{n}", "New", n) for n in range(5)))
    assert enqueue(warehouse, SCOPE, slice_size=2).queued == 5
    execute(warehouse, "DELETE FROM lookup_queue")
    assert enqueue(warehouse, SCOPE).queued == 0
    sweep_is_due(warehouse)
    assert enqueue(warehouse, SCOPE, slice_size=2).queued == 5


def test_the_daily_sweep_finds_old_metadata(warehouse: Engine, feed: Feed) -> None:
    """What is older than the change, as after an emptied queue, or in another language; the rest is not asked."""
    feed("1", change("a", "New", 0), change("b", "New", 1))
    run(warehouse, KnowingGetty(captions("a", "b")))
    execute(warehouse, "UPDATE asset_metadata SET as_of = as_of - interval '10 years' WHERE asset_id = 'a'")
    sweep_is_due(warehouse)
    enqueue(warehouse, SCOPE)
    assert queue(warehouse) == ["a"]
    sweep_is_due(warehouse)
    enqueue(warehouse, replace(SCOPE, language="de"))
    assert queue(warehouse) == ["a", "b"]


def test_an_id_with_a_comma_never_waits(warehouse: Engine, feed: Feed) -> None:
    """In a list of ids it would be two, so nobody can be asked about it."""
    feed("1", change("a,b", "New", 0), change("c", "New", 1))
    enqueue(warehouse, SCOPE, asset_ids=["a,b"])
    assert value(warehouse, "SELECT string_agg(asset_id, ' ') FROM lookup_queue") == "c"


def test_a_restored_database_is_followed_from_there(warehouse: Engine, feed: Feed) -> None:
    """A dump has queue, cursor and metadata of one time: what is loaded after it is read again."""
    enqueue(warehouse, SCOPE)
    feed("1", change("a", "New", 0))
    cursor = rows(warehouse, "SELECT * FROM consumers WHERE name = 'lookups' AND channel_id = 3001")[:1]
    run(warehouse, KnowingGetty(captions("a")))
    with warehouse.begin() as connection:
        connection.execute(text("DELETE FROM asset_metadata"))
        connection.execute(text("DELETE FROM consumers WHERE name = 'lookups'"))
        for row in cursor:
            connection.execute(text("INSERT INTO consumers VALUES (:name, :channel_id, :channel_seq, :read_at)"), row)
        if not cursor:
            connection.execute(text("INSERT INTO consumers VALUES ('lookups', 3001, 0, now())"))
    run(warehouse, KnowingGetty(captions("a")))
    assert known(warehouse) == {"a": "caption of a"}


def test_counts_of_calls_are_kept_for_90_days(warehouse: Engine) -> None:
    execute(warehouse, "INSERT INTO lookup_calls VALUES ('old', now() - interval '91 days'), ('new', now())")
    enqueue(warehouse, SCOPE)
    assert [row["conn_id"] for row in rows(warehouse, "SELECT conn_id FROM lookup_calls")] == ["new"]


# What an answer comes to.


def test_the_table_has_every_column_that_is_read() -> None:
    postgres = PGDialect()  # type: ignore[no-untyped-call]
    columns = {name: asset_metadata.c[name].type.compile(dialect=postgres).lower() for name in TYPES}
    assert columns == {name: kind.replace("timestamptz", "timestamp with time zone") for name, kind in TYPES.items()}
    assert list(METADATA_COLUMNS) == list(TYPES)


def test_long_captions_and_bad_text_are_stored(warehouse: Engine, feed: Feed) -> None:
    bad = {"caption": "x" * 1_000_000, "title": "a\0b", "city": "\ud800", "keywords": None, "people": {"a": 1}}
    feed("1", *(change(f"a{n}", "New", n) for n in range(40)))
    done = run(warehouse, KnowingGetty({f"a{n}": bad for n in range(40)}))
    assert (done.found, done.waiting) == (40, 0)
    assert value(warehouse, "SELECT sum(length(caption)) FROM asset_metadata") == 40_000_000
    assert value(warehouse, "SELECT count(*) FROM asset_metadata WHERE raw ->> 'city' = U&'\\FFFD'") == 40


def test_an_equal_answer_writes_its_time_alone(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(captions("a")))
    enqueue(warehouse, SCOPE, asset_ids=["a"])
    done = look_up(lookups(warehouse, KnowingGetty(captions("a"), as_of=LATER + MINUTE)), minutes=1)
    assert (done.found, done.changed) == (1, 0)
    assert value(warehouse, "SELECT as_of FROM asset_metadata") == LATER + MINUTE


def test_one_more_call_costs_six_statements(warehouse: Engine, feed: Feed) -> None:
    """Count the call; lock what is live, take it out of the queue, keep verdicts, store, keep that Getty answered."""
    statements: list[str] = []
    event.listen(
        warehouse, "before_cursor_execute", lambda _connection, _cursor, statement, *_: statements.append(statement)
    )
    counts = []
    for change_set_id, asset_count in (("1", 100), ("2", 200)):
        feed(change_set_id, *(change(f"{change_set_id}-{number}", "New", 0) for number in range(asset_count)))
        enqueue(warehouse, SCOPE)
        statements.clear()
        assert look_up(lookups(warehouse, KnowingGetty(EveryAsset())), minutes=50).changed == asset_count
        counts.append(len(statements))
    assert counts[1] - counts[0] == 6


def test_an_older_answer_replaces_no_newer_one(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(captions("a")))
    enqueue(warehouse, SCOPE, asset_ids=["a"])
    look_up(lookups(warehouse, KnowingGetty({"a": {"caption": "old"}}, as_of=LATER - MINUTE)), minutes=1)
    assert known(warehouse) == {"a": "caption of a"}


def test_a_stale_answer_is_asked_again_once_expired(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 10))
    expires_at = datetime.now(LATER.tzinfo) + timedelta(hours=3)
    run(warehouse, KnowingGetty(captions("a"), as_of=NOON, expires_at=expires_at))
    assert known(warehouse) == {"a": "caption of a"}
    assert value(warehouse, "SELECT not_before FROM lookup_queue") == expires_at


def test_a_stale_not_found_is_asked_again_once_expired(warehouse: Engine, feed: Feed) -> None:
    """A cache may repeat what was so before the New."""
    feed("1", change("a", "New", 10))
    expires_at = datetime.now(LATER.tzinfo) + timedelta(hours=3)
    getty = KnowingGetty(as_of=NOON, expires_at=expires_at)
    assert (run(warehouse, getty).waiting, len(getty.asked)) == (1, 1)
    assert value(warehouse, "SELECT not_before FROM lookup_queue") == expires_at


def test_what_is_not_answered_is_asked_again_later(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 1))
    getty = KnowingGetty(captions("a", "b"), unanswered=frozenset("b"))
    waits = []
    for _ in range(3):
        done = run(warehouse, getty)
        waits.append(value(warehouse, "SELECT extract(epoch FROM not_before - now()) / 60 FROM lookup_queue"))
        due_now(warehouse)
    assert (done.unanswered, done.not_found) == (1, 0)
    assert [round(each) for each in waits] == [1, 2, 4]


def test_what_is_never_answered_is_asked_once_a_day(warehouse: Engine, feed: Feed) -> None:
    """More often, a million of them would use up the calls of the day."""
    feed("1", change("a", "New", 0))
    enqueue(warehouse, SCOPE)
    execute(warehouse, "UPDATE lookup_queue SET tries = 50")
    run(warehouse, KnowingGetty(unanswered=frozenset("a")))
    wait = value(warehouse, "SELECT extract(epoch FROM not_before - now()) / 3600 FROM lookup_queue")
    assert round(wait) == 24


def test_what_is_not_found_is_asked_as_the_other_type(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 1))
    getty = KnowingGetty(captions("a"), videos=frozenset("a"))
    done = run(warehouse, getty)
    assert getty.asked == [("Image", ("b", "a")), ("Video", ("b", "a"))]
    assert (done.found, done.not_found, done.waiting) == (1, 1, 0)
    assert known(warehouse) == {"a": "caption of a"}


@pytest.mark.parametrize(("word", "other"), [("Footage", "Image"), ("Film", "Image"), (None, "Video")])
def test_any_word_for_a_video_has_an_other_type(word: str | None, other: str, warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE asset_states SET asset_type = :word"), {"word": word})
    getty = KnowingGetty()
    run(warehouse, getty)
    assert [asset_type for asset_type, _ in getty.asked] == [word, other]


def test_what_was_known_stays_when_it_is_not_found(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(captions("a")))
    enqueue(warehouse, SCOPE, asset_ids=["a"])
    done = look_up(lookups(warehouse, KnowingGetty()), minutes=1)
    assert (done.not_found, done.waiting) == (1, 0)
    assert known(warehouse) == {"a": "caption of a"}


def test_a_server_clock_far_ahead_hides_no_change(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(captions("a"), as_of=LATER + timedelta(days=4000)))
    assert value(warehouse, "SELECT as_of FROM asset_metadata") == LATER + MINUTE


@pytest.mark.parametrize("lifecycle", ["Update", "Delete"])
def test_a_change_during_the_call_drops_the_answer(lifecycle: str, warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 0))
    getty = KnowingGetty(captions("a", "b"))

    def meanwhile() -> None:
        getty.meanwhile = lambda: None
        getty.known["a"] = {"caption": "newer"}
        feed("2", change("a", lifecycle, 1))

    getty.meanwhile = meanwhile
    getty.known["a"] = {"caption": "older"}
    seen: list[dict[str, str]] = []
    original = getty.look_up

    def look_up_and_see(*given: Any, **more: Any) -> Any:
        seen.append(known(warehouse))
        return original(*given, **more)

    getty.look_up = look_up_and_see  # type: ignore[method-assign]
    done = run(warehouse, getty)
    assert done.dropped == 1
    assert known(warehouse) == {"b": "caption of b"} | ({"a": "newer"} if lifecycle == "Update" else {})
    assert queue(warehouse) == []
    assert all("a" not in each for each in seen)


def test_enqueued_during_the_call_stays_queued(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    getty = KnowingGetty(captions("a"))
    getty.meanwhile = lambda: enqueue(warehouse, SCOPE, asset_ids=["a"]) if len(getty.asked) == 1 else None
    done = run(warehouse, getty)
    assert (done.asked, len(getty.asked), done.waiting) == (2, 2, 0)


# What a Delete forgets.


def test_a_delete_forgets_what_is_known(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 0))
    run(warehouse, KnowingGetty(captions("a", "b")))
    feed("2", change("a", "Delete", 1), change("b", "Delete", -1))
    assert known(warehouse) == {"b": "caption of b"}


def wait_for_a_lock(warehouse: Engine) -> None:
    """Return once some session waits for a lock."""
    deadline = time.monotonic() + 20
    while not value(warehouse, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def before_statement(warehouse: Engine, part: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something once, just before a statement with these words."""
    todo = [act]

    def listen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if part in statement and todo:
            todo.pop()()

    event.listen(warehouse, "before_cursor_execute", listen)
    try:
        yield
    finally:
        event.remove(warehouse, "before_cursor_execute", listen)


def test_a_load_waits_for_a_lookup_that_writes(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    enqueue(warehouse, SCOPE)
    loads: list[Future[None]] = []

    def load_and_wait() -> None:
        loads.append(pool.submit(feed, "2", change("a", "Delete", 1)))
        wait_for_a_lock(warehouse)

    with ThreadPoolExecutor(1) as pool, before_statement(warehouse, "last_answer_at", load_and_wait):
        assert look_up(lookups(warehouse, KnowingGetty(captions("a"))), minutes=1).found == 1
        loads[0].result(timeout=30)
    assert (live(warehouse), known(warehouse), queue(warehouse)) == ([], {}, [])


def test_a_lookup_waits_for_a_load_and_writes_nothing(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    enqueue(warehouse, SCOPE)
    lookup_runs: list[Future[LookedUp]] = []

    def look_up_and_wait() -> None:
        getty = KnowingGetty(captions("a"))
        lookup_runs.append(pool.submit(look_up, lookups(warehouse, getty), minutes=1))
        wait_for_a_lock(warehouse)

    with ThreadPoolExecutor(1) as pool, before_statement(warehouse, "INSERT INTO deletions", look_up_and_wait):
        feed("2", change("a", "Delete", 1))
        assert lookup_runs[0].result(timeout=30).dropped == 1
    assert (live(warehouse), known(warehouse), queue(warehouse)) == ([], {}, [])


def test_truncating_states_alone_is_refused(warehouse: Engine) -> None:
    with pytest.raises(Exception, match="foreign key"):
        execute(warehouse, "TRUNCATE asset_states")


def test_a_rebuild_leaves_no_row_of_a_dead_asset(warehouse: Engine, archive: Archive, feed: Feed) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 0))
    feed("2", change("b", "Delete", 1))
    run(warehouse, KnowingGetty(captions("a", "b")))
    tables = "asset_states, asset_metadata, asset_changes, deletions, rejected_changes, change_sets, channels"
    execute(warehouse, f"TRUNCATE {tables}")
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=NOON - 60 * MINUTE, until=LATER)
    run(warehouse, KnowingGetty(captions("a", "b")))
    assert known(warehouse) == {"a": "caption of a"}


def test_a_replayed_delete_forgets_by_state(warehouse: Engine, archive: Archive, feed: Feed) -> None:
    """The Delete's rows were lost, and the asset was looked up as a live one."""
    feed("1", change("a", "New", 0))
    feed("2", change("a", "Delete", 1))
    execute(warehouse, "DELETE FROM asset_changes WHERE change_set_id = '2'; UPDATE asset_states SET deleted_at = NULL")
    run(warehouse, KnowingGetty(captions("a")))
    assert known(warehouse) == {"a": "caption of a"}
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=NOON - 60 * MINUTE, until=LATER)
    assert live(warehouse) == []
    assert known(warehouse) == {}


def test_a_set_read_anew_forgets_and_revives(warehouse: Engine, archive: Archive, feed: Feed) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 0))
    feed("2", change("a", "Delete", 5))
    # Older code had read the Delete as one of another asset.
    for statement in (
        "UPDATE asset_changes SET asset_id = 'b' WHERE change_set_id = '2'",
        "UPDATE asset_states SET deleted_at = NULL, delete_change_set_id = NULL, delete_position = NULL",
        "UPDATE asset_states SET deleted_at = '2026-03-01 12:05Z', delete_change_set_id = '2', delete_position = 0 "
        "WHERE asset_id = 'b'",
        "UPDATE change_sets SET content_hash = '1:x' WHERE change_set_id = '2'",
    ):
        execute(warehouse, statement)
    run(warehouse, KnowingGetty(captions("a", "b")))
    assert known(warehouse) == {"a": "caption of a"}
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=NOON - 60 * MINUTE, until=LATER)
    assert (live(warehouse), known(warehouse)) == (["b"], {})
    execute(warehouse, "UPDATE consumers SET read_at = now() - interval '25 hours' WHERE name = 'lookup_sweep'")
    run(warehouse, KnowingGetty(captions("a", "b")))
    assert known(warehouse) == {"b": "caption of b"}


# Who asks, and how often.


def test_a_second_run_is_refused_naming_the_holder(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    getty = KnowingGetty(captions("a"))
    second = KnowingGetty()
    refusals: list[str] = []

    def meanwhile() -> None:
        with pytest.raises(LeaseHeld) as refused:
            look_up(lookups(warehouse, second, holder="run 2"), minutes=1)
        refusals.append(str(refused.value))

    getty.meanwhile = meanwhile
    run(warehouse, getty)
    assert "Connection getty is used by run 1 until " in refusals[0]
    assert second.asked == []
    assert value(warehouse, "SELECT leased_by FROM lookup_connections") is None


def test_a_run_tried_again_takes_over_at_once(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    getty = KnowingGetty(captions("a"))
    enqueue(warehouse, SCOPE)
    with warehouse.begin() as connection:
        take_lease(connection, "getty", holder="run 1")  # and dies
    with pytest.raises(LeaseHeld):
        look_up(lookups(warehouse, getty, holder="run 2"), minutes=1)
    assert look_up(lookups(warehouse, getty, holder="run 1"), minutes=1).found == 1


def test_who_lost_the_lease_writes_nothing(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    getty = KnowingGetty(captions("a"))
    getty.meanwhile = lambda: execute(warehouse, "UPDATE lookup_connections SET lease_id = 'another', leased_by = 'x'")
    done = run(warehouse, getty)
    assert (done.found, done.waiting) == (0, 1)
    assert known(warehouse) == {}
    assert value(warehouse, "SELECT lease_id FROM lookup_connections") == "another"


def test_the_daily_limit_ends_the_run_green(warehouse: Engine, feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    feed("1", *(change(f"a{n}", "New", 0) for n in range(250)))
    getty = KnowingGetty(captions(*(f"a{n}" for n in range(250))))
    done = run(warehouse, getty, calls_per_day=2)
    assert (done.calls, done.found, done.waiting, done.is_daily_limit_reached) == (2, 200, 50, True)
    assert "lookups continue at 00:00 UTC" in caplog.text
    assert value(warehouse, "SELECT calls FROM lookup_calls") == 2
    execute(warehouse, "UPDATE lookup_calls SET hour = hour - interval '1 day'")
    assert run(warehouse, getty, calls_per_day=2).waiting == 0


def test_a_limit_slows_down_and_never_ends_the_run(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    getty, clock = KnowingGetty(captions("a"), errors=[RateLimited("429")] * 4), Time()
    done = run(warehouse, getty, time=clock)
    assert (done.found, done.calls) == (1, 5)
    assert 15 + 30 + 60 + 120 <= clock.seconds <= 15 + 30 + 60 + 120 + 30
    assert value(warehouse, "SELECT throttled FROM lookup_calls") == 4


def test_minutes_of_refusals_end_with_the_time(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    clock = Time()
    done = run(warehouse, KnowingGetty(errors=[RateLimited("429", retry_after=9999)]), time=clock)
    assert (done.waiting, round(clock.seconds)) == (1, 3000)


def test_a_key_without_the_right_keeps_the_queue(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    with pytest.raises(AccessDenied):
        run(warehouse, KnowingGetty(errors=[AccessDenied("no right")]))
    assert queue(warehouse) == ["a"]
    assert value(warehouse, "SELECT error FROM lookup_connections") == "no right"
    run(warehouse, KnowingGetty(captions("a")))
    assert value(warehouse, "SELECT error FROM lookup_connections") is None


def test_a_failed_connection_stops_no_other(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    feed("2", change("b", "New", 0), channel=EDITORIAL_FILM)
    bad, good = KnowingGetty(errors=[ApiUnavailable("down")]), KnowingGetty(captions("b"))
    enqueue(warehouse, SCOPE)
    context = replace(
        lookups(warehouse, good),
        client=lambda conn_id, /, **callbacks: bad if conn_id == "bad" else good,
        connections={"bad": frozenset([3001]), "good": frozenset([3003])},
    )
    with pytest.raises(ApiUnavailable):
        look_up(context, minutes=1)
    assert known(warehouse) == {"b": "caption of b"}


@pytest.mark.parametrize("error", [ApiUnavailable("500"), UnreadableLookup("odd")])
def test_an_asset_that_getty_fails_for_stops_no_other(error: Exception, warehouse: Engine, feed: Feed) -> None:
    ids = [f"a{n:03}" for n in range(250)]
    feed("1", *(change(asset_id, "New", 0) for asset_id in ids))
    getty = KnowingGetty(captions(*ids), fails_for={"a030": error})
    done = run(warehouse, getty)
    assert (done.found, done.waiting, queue(warehouse)) == (249, 1, ["a030"])
    assert done.calls < 20
    assert value(warehouse, "SELECT not_before > now() FROM lookup_queue")


@pytest.mark.parametrize("error", [ApiUnavailable("500"), UnreadableLookup("odd"), RequestRefused("414")])
def test_a_chunk_that_always_fails_comes_last(error: Exception, warehouse: Engine, feed: Feed) -> None:
    ids = [f"a{n:03}" for n in range(150)]
    feed("1", *(change(asset_id, "New", 0) for asset_id in ids))
    getty = KnowingGetty(captions(*ids), fails_for=dict.fromkeys(ids[:100], error))
    with pytest.raises(type(error)):
        run(warehouse, getty)
    assert run(warehouse, getty).found == 50
    assert queue(warehouse) == ids[:100]


def test_a_channel_that_no_connection_asks_is_named(
    warehouse: Engine, feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(), channel_ids=[3003])
    assert "Assets of channels 3001 wait, and no connection asks about them." in caplog.text


def test_refused_fields_are_remembered(warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty(captions("a"), refused_fields=frozenset(["era"])))
    feed("2", change("b", "New", 0))
    getty = KnowingGetty(captions("b"))
    run(warehouse, getty)
    assert getty.without == [{"era"}]
    assert value(warehouse, "SELECT refused_fields FROM lookup_connections") == ["era"]


def test_a_stop_ends_after_the_chunk(warehouse: Engine, feed: Feed) -> None:
    feed("1", *(change(f"a{n}", "New", 0) for n in range(250)))
    getty = KnowingGetty(captions(*(f"a{n}" for n in range(250))))
    enqueue(warehouse, SCOPE)
    done = look_up(lookups(warehouse, getty), minutes=50, stops=lambda: bool(getty.asked))
    assert (done.found, done.waiting, getty.is_closed) == (100, 150, True)


class Killed(BaseException):
    """The worker dies."""


@pytest.mark.parametrize("at", ["INSERT INTO lookup_calls", "during the call", "last_answer_at", "SET lease_id = NULL"])
def test_a_kill_at_any_point_loses_nothing(at: str, warehouse: Engine, feed: Feed) -> None:
    feed("1", change("a", "New", 0))
    getty = KnowingGetty(captions("a"))

    def die() -> None:
        getty.meanwhile = lambda: None
        raise Killed

    getty.meanwhile = die if at == "during the call" else getty.meanwhile
    with (
        pytest.raises(Killed),
        before_statement(warehouse, at, die),
        before_statement(warehouse, "SET lease_id = NULL", die),
    ):
        run(warehouse, getty)
    assert value(warehouse, "SELECT leased_by FROM lookup_connections") == "run 1"
    is_written = at == "SET lease_id = NULL"
    assert (queue(warehouse), known(warehouse)) == (([], {"a": "caption of a"}) if is_written else (["a"], {}))
    assert run(warehouse, getty).found == (0 if is_written else 1)
    assert (queue(warehouse), known(warehouse)) == ([], {"a": "caption of a"})


def test_the_log_has_all_counts_and_no_caption(warehouse: Engine, feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "asset_changes")
    feed("1", change("a", "New", 0))
    run(warehouse, KnowingGetty({"a": {"caption": "a secret caption"}}))
    assert "Looked up assets: connection=getty asked=1 found=1 changed=1" in caplog.text
    assert "calls_today=1/10000" in caplog.text
    assert "secret caption" not in caplog.text
