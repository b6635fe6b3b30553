"""The evidence: what was held, when a Delete was applied, what newer code reads otherwise, and gaps of the feed."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from asset_changes.archive import Archive
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse.changes import changed_sets_after
from asset_changes.warehouse.engine import connect
from sqlalchemy import URL, Engine, text

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, SCHEMA
from tests.core.doubles import (
    NOON,
    ScriptedGetty,
    body_of,
    change,
    delivery,
    execute,
    ledger_row,
    live,
    quiet_context,
    rows,
    run,
    value,
)
from tests.waiting import DEADLINE_SECONDS, has_idle_load, wait_for_lock_waits, wait_until

HOUR = timedelta(hours=1)

context = quiet_context


def deletions(warehouse: Engine) -> list[dict[str, Any]]:
    """Return the evidence by set and position."""
    return rows(warehouse, "SELECT * FROM deletions ORDER BY change_set_id, position")


@contextmanager
def holding(url: URL, statement: str) -> Iterator[psycopg.Connection]:
    """Hold the locks of a statement, as a person in psql does who forgot to commit."""
    text_url = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(text_url, options=f"-c search_path={SCHEMA}") as connection:
        connection.execute(statement)
        yield connection


# What was held.


def test_a_delete_that_ended_a_live_state_was_held(context: ChannelContext, warehouse: Engine) -> None:
    run(context, body_of("1", change("a", "New", 0), change("b", "New", 5), change("c", "New", 0)))
    run(
        context,
        body_of(
            "2",
            change("a", "Delete", 2), change("a", "Delete", 3), change("unknown", "Delete", 2),
            change("b", "Delete", 4), change("c", "Delete", 2), change("c", "Update", 3),
            change("d", "New", 2), change("d", "Delete", 3),
        ),
    )  # fmt: skip
    run(context, body_of("3", change("a", "Delete", 6)))
    found = [(row["change_set_id"], row["asset_id"], row["position"], row["was_held"]) for row in deletions(warehouse)]
    assert found == [
        ("2", "a", 0, True), ("2", "a", 1, True), ("2", "unknown", 2, False),
        ("2", "b", 3, False),  # older than the upsert: the asset is live
        ("2", "c", 4, False), ("2", "d", 7, False), ("3", "a", 0, False),
    ]  # fmt: skip


def test_an_asset_that_became_live_meanwhile_was_held(
    context: ChannelContext, warehouse: Engine, warehouse_url: URL
) -> None:
    run(context, body_of("1", change("other", "New", 0)))
    insert = "INSERT INTO asset_states (asset_id, asset_family, channel_id, upserted_at, upsert_change_set_id,"
    insert += " upsert_position) VALUES ('a', 'Editorial', 3003, '2026-01-01T00:00Z', '9', 0)"
    with ThreadPoolExecutor(1) as pool, holding(warehouse_url, insert) as sibling:
        loading = pool.submit(run, context, body_of("2", change("a", "Delete", 1)))
        wait_for_lock_waits(warehouse)
        sibling.commit()
        loading.result(timeout=DEADLINE_SECONDS)
    assert [(row["asset_id"], row["was_held"]) for row in deletions(warehouse)] == [("a", True)]


def test_of_one_delete_in_two_channels_one_was_held(
    context: ChannelContext, warehouse: Engine, warehouse_url: URL
) -> None:
    run(context, body_of("1", change("a", "New", 0)))
    both = [context, replace(context, channel=EDITORIAL_FILM, warehouse=connect(warehouse_url, schema=SCHEMA))]
    started: list[Future[None]] = []
    with ThreadPoolExecutor(2) as pool, holding(warehouse_url, "SELECT FROM asset_states FOR UPDATE"):
        for number, each in enumerate(both):
            started.append(pool.submit(run, each, body_of(f"2{number}", change("a", "Delete", 1))))
        wait_for_lock_waits(warehouse)
    for loading in started:
        loading.result(timeout=DEADLINE_SECONDS)
    assert sorted(row["was_held"] for row in deletions(warehouse)) == [False, True]


def test_a_rebuild_says_that_it_does_not_know(context: ChannelContext, warehouse: Engine, archive: Archive) -> None:
    run(context, body_of("1", change("a", "New", 0)))
    run(context, body_of("2", change("a", "Delete", 1), change("b", "Delete", 1)))
    before = deletions(warehouse)
    assert [(row["was_held"], row["is_rebuilt"]) for row in before] == [(True, False), (False, False)]
    execute(warehouse, "INSERT INTO held_assets (source, asset_id, held_since) VALUES ('dam', 'a', now())")
    for table in ("asset_states, asset_metadata", "asset_changes", "deletions", "change_sets"):
        execute(warehouse, f"TRUNCATE {table}")
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    after = deletions(warehouse)
    assert [(row["was_held"], row["is_rebuilt"]) for row in after] == [(None, True), (None, True)]
    assert [row["was_in_holdings"] for row in after] == [None, None]
    known = ("asset_id", "deleted_at", "received_at", "is_time_inferred")
    assert [[row[name] for name in known] for row in after] == [[row[name] for name in known] for row in before]


def test_evidence_that_was_lost_alone_is_marked_as_rebuilt(
    context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    run(context, body_of("1", change("a", "Delete", 1)))
    first = ledger_row(warehouse, "1")["channel_seq"]
    execute(warehouse, "TRUNCATE deletions")
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 1
    [row] = deletions(warehouse)
    assert (row["was_held"], row["is_rebuilt"]) == (None, True)
    assert ledger_row(warehouse, "1")["channel_seq"] > first


# When it was applied.


@pytest.mark.parametrize("lock", ["UPDATE channels SET lifecycles = 'x'", "LOCK TABLE asset_states IN SHARE MODE"])
def test_a_delete_is_applied_when_its_locks_are_held(
    lock: str, context: ChannelContext, warehouse: Engine, warehouse_url: URL
) -> None:
    run(context, body_of("1", change("a", "New", 0)))
    getty = ScriptedGetty([delivery(body_of("2", change("a", "Delete", 1)))])
    with ThreadPoolExecutor(1) as pool, holding(warehouse_url, lock) as blocker:
        loading = pool.submit(catch_up, replace(context, source=getty), batch_size=9, minutes=1)
        wait_for_lock_waits(warehouse)
        released_at = value(warehouse, "SELECT clock_timestamp()")
        blocker.commit()
        assert loading.result(timeout=DEADLINE_SECONDS).is_caught_up
    [row] = deletions(warehouse)
    ledger = ledger_row(warehouse, "2")
    assert released_at < row["applied_at"] <= ledger["committed_at"] <= ledger["confirmed_at"]


def test_a_slow_archive_delays_what_is_applied(context: ChannelContext, warehouse: Engine) -> None:
    written_at: list[datetime] = []

    class Slow(Archive):
        def write(self, uri: str, body: bytes, **more: Any) -> None:
            wait_until(lambda: has_idle_load(warehouse), what="a load that has written its rows")
            super().write(uri, body, **more)
            written_at.append(value(warehouse, "SELECT clock_timestamp()"))

    getty = ScriptedGetty([delivery(body_of("2", change("a", "Delete", 1)))])
    slow = replace(context, source=getty, archive=Slow(context.archive._root))
    assert catch_up(slow, batch_size=9, minutes=1).is_caught_up
    assert [row["applied_at"] > written_at[0] for row in deletions(warehouse)] == [True]


def test_a_delete_is_received_with_the_delivery_that_brought_it(context: ChannelContext, warehouse: Engine) -> None:
    one, delete = change("a", "New", 0), change("b", "Delete", 170)
    run(context, body_of("1", one))
    run(context, body_of("1", one, delete), status=200, received_at=NOON + 3 * HOUR)
    [row] = deletions(warehouse)
    assert row["received_at"] == NOON + 3 * HOUR
    assert value(warehouse, "SELECT fetched_at FROM asset_changes WHERE asset_id = 'b'") == NOON


# What newer code reads otherwise.


def as_older_code_read_it(warehouse: Engine, *statements: str) -> None:
    """Leave the tables as older code would have; the content hash is one of that time."""
    for statement in (*statements, "UPDATE change_sets SET content_hash = 'of older code' WHERE change_set_id = '1'"):
        execute(warehouse, statement)


def test_a_time_that_was_misread_is_taken_back(context: ChannelContext, warehouse: Engine, archive: Archive) -> None:
    run(context, body_of("1", change("a", "New", 0), change("b", "Delete", 1)))
    run(context, body_of("2", change("a", "Delete", 60)))
    wrong = "'2026-03-01T17:00Z'"  # five hours too late
    as_older_code_read_it(
        warehouse,
        f"UPDATE asset_changes SET changed_at = {wrong} WHERE change_set_id = '1' AND asset_id = 'a'",
        f"UPDATE asset_states SET upserted_at = {wrong} WHERE asset_id = 'a'",
        f"UPDATE asset_changes SET changed_at = {wrong} WHERE asset_id = 'b'",
        f"UPDATE asset_states SET deleted_at = {wrong} WHERE asset_id = 'b'",
    )
    assert live(warehouse) == ["a"]
    first = ledger_row(warehouse, "1")
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed > 0
    assert live(warehouse) == []
    [state] = rows(warehouse, "SELECT upserted_at, deleted_at FROM asset_states WHERE asset_id = 'a'")
    assert state == {"upserted_at": NOON, "deleted_at": NOON + HOUR}
    row = ledger_row(warehouse, "1")
    assert row["channel_seq"] > first["channel_seq"]
    assert row["loaded_at"] == first["loaded_at"]
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


def test_a_misread_upsert_leaves_what_an_older_partition_knew(
    context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    run(context, body_of("0", change("a", "New", -90)))
    run(context, body_of("1", change("x", "New", 0), change("a", "Update", 10, id="")))
    execute(warehouse, "DELETE FROM asset_changes WHERE change_set_id = '0'")  # its partition was dropped
    as_older_code_read_it(
        warehouse,
        "DELETE FROM rejected_changes",
        "INSERT INTO asset_changes (fetched_at, channel_id, change_set_id, position, asset_id, asset_lifecycle,"
        " changed_at, is_time_inferred) SELECT fetched_at, 3001, '1', 1, 'a', 'Delete', fetched_at, false"
        " FROM asset_changes WHERE change_set_id = '1'",
        "UPDATE asset_states SET deleted_at = '2026-03-01T12:10Z', delete_change_set_id = '1', delete_position = 1"
        " WHERE asset_id = 'a'",
    )
    assert live(warehouse) == ["x"]
    since = NOON - HOUR
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=since)
    assert live(warehouse) == ["a", "x"]


def test_what_is_no_delete_any_more_gets_a_correction(
    context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    run(context, body_of("1", change("a", "Update", 0), change("b", "Delete", 1), change("", "Delete", 2)))
    as_older_code_read_it(
        warehouse,
        "UPDATE asset_changes SET asset_lifecycle = 'Delete' WHERE asset_id = 'a'",
        "INSERT INTO deletions SELECT channel_id, change_set_id, 0, 'a', deleted_at, received_at, applied_at, true,"
        " false, NULL, false FROM deletions WHERE position = 1",
        "INSERT INTO deletions SELECT channel_id, change_set_id, 2, 'c', deleted_at, received_at, applied_at, true,"
        " false, NULL, false FROM deletions WHERE position = 1",
    )
    before = deletions(warehouse)
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    assert deletions(warehouse) == before  # never changed
    query = "SELECT position, asset_id, reads_as FROM deletion_corrections ORDER BY position"
    assert rows(warehouse, query) == [
        {"position": 0, "asset_id": "a", "reads_as": "Update of a"},
        {"position": 2, "asset_id": "c", "reads_as": "rejected: unusable_id"},
    ]
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0
    assert live(warehouse) == ["a"]


def test_a_delete_that_newer_code_reads_is_evidence_of_now(
    context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    run(context, body_of("0", change("a", "New", -5)))
    run(context, body_of("1", change("b", "New", 0), change("a", "Delete", 1)))
    as_older_code_read_it(
        warehouse,
        "DELETE FROM asset_changes WHERE asset_lifecycle = 'Delete'",
        "TRUNCATE deletions",
        "UPDATE asset_states SET deleted_at = NULL, delete_change_set_id = NULL, delete_position = NULL",
        "INSERT INTO rejected_changes (channel_id, change_set_id, position, reason, raw)"
        " VALUES (3001, '1', 1, 'unknown_lifecycle', '{}')",
    )
    before = ledger_row(warehouse, "1")
    asked_at = value(warehouse, "SELECT clock_timestamp()")
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    [row] = deletions(warehouse)
    assert (row["asset_id"], row["was_held"], row["is_rebuilt"], row["received_at"]) == ("a", True, False, NOON)
    assert row["applied_at"] > asked_at
    assert rows(warehouse, "SELECT * FROM rejected_changes") == []
    assert ledger_row(warehouse, "1")["channel_seq"] > before["channel_seq"]


# Numbers and gaps.


def test_sequence_numbers_rise_through_a_restore(context: ChannelContext, warehouse: Engine) -> None:
    run(context, body_of("1", change("a", "New", 0)))
    seen = ledger_row(warehouse, "1")["channel_seq"]
    with warehouse.begin() as connection:  # an older backup
        connection.execute(text("TRUNCATE change_sets, asset_changes, asset_states, asset_metadata"))
        connection.execute(text("UPDATE channels SET last_channel_seq = NULL"))
    run(context, body_of("2", change("b", "New", 0)))
    assert ledger_row(warehouse, "2")["channel_seq"] > seen


@pytest.mark.parametrize("answer", [b"", body_of("1", change("a", "New", 0))])
def test_a_gap_of_the_feed_leaves_a_row_that_stays(answer: bytes, context: ChannelContext, warehouse: Engine) -> None:
    fetch(context, batch_size=9)
    assert rows(warehouse, "SELECT * FROM feed_gaps") == []
    execute(warehouse, "UPDATE channels SET last_checked_at = now() - interval '20 days'")
    asked_at = value(warehouse, "SELECT last_checked_at FROM channels")
    fetch(replace(context, source=ScriptedGetty([delivery(answer, status=200)])), batch_size=9)
    for _ in range(2):
        fetch(context, batch_size=9)
    [gap] = rows(warehouse, "SELECT * FROM feed_gaps")
    assert (gap["channel_id"], gap["unread_from"], gap["reconciled_at"]) == (3001, asked_at, None)
    assert gap["unread_to"] - gap["unread_from"] > timedelta(days=20)


def test_a_channel_that_was_never_read_has_a_gap(context: ChannelContext, warehouse: Engine) -> None:
    execute(
        warehouse,
        "INSERT INTO channels (channel_id, asset_family, asset_type, discovered_at)"
        " VALUES (3001, 'Editorial', 'Image', now() - interval '2 days')",
    )
    fetch(replace(context, gap=timedelta(days=3)), batch_size=9)
    assert value(warehouse, "SELECT count(*) FROM feed_gaps") == 0
    execute(warehouse, "UPDATE channels SET last_checked_at = NULL")
    fetch(context, batch_size=9)
    assert value(warehouse, "SELECT count(*) FROM feed_gaps") == 1


def test_who_owns_the_tables_cannot_change_evidence(context: ChannelContext, warehouse: Engine, postgres: Any) -> None:
    run(context, body_of("1", change("a", "Delete", 0)))
    with warehouse.begin() as connection:
        owner = connection.scalar(text("SELECT tableowner FROM pg_tables WHERE tablename = 'deletions'"))
        query = "SELECT privilege_type FROM information_schema.role_table_grants WHERE grantee = :owner"
        for table in ("deletions", "deletion_corrections", "feed_gaps"):
            granted = {*connection.scalars(text(f"{query} AND table_name = '{table}'"), {"owner": owner})}
            assert "INSERT" in granted
            assert not granted & {"UPDATE", "DELETE"}


def test_a_consumer_sees_what_a_replay_added(context: ChannelContext, warehouse: Engine, archive: Archive) -> None:
    run(context, body_of("0", change("a", "New", -5)))
    run(context, body_of("1", change("b", "New", 0), change("a", "Delete", 1)))
    as_older_code_read_it(
        warehouse,
        "DELETE FROM asset_changes WHERE asset_lifecycle = 'Delete'",
        "INSERT INTO rejected_changes (channel_id, change_set_id, position, reason, raw)"
        " VALUES (3001, '1', 1, 'unknown_lifecycle', '{}')",
    )
    with warehouse.connect() as connection:
        cursor = [each.channel_seq for each in changed_sets_after(connection, 3001, 0)][-1]
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    with warehouse.connect() as connection:
        [changed] = changed_sets_after(connection, 3001, cursor)
    assert changed.change_set_id == "1"
    assert [(each.asset_id, each.asset_lifecycle) for each in changed.changes] == [("b", "New"), ("a", "Delete")]


def test_a_consumer_sees_a_set_that_holds_nothing(context: ChannelContext, warehouse: Engine) -> None:
    run(context, body_of("1", change("", "New", 0)))
    with warehouse.connect() as connection:
        [changed] = changed_sets_after(connection, 3001, 0)
    assert (changed.change_set_id, changed.changes) == ("1", ())


@pytest.mark.parametrize("way", ["by task", "at once"])
def test_a_redelivery_makes_no_delete_look_younger(way: str, context: ChannelContext, warehouse: Engine) -> None:
    body = body_of("1", change("a", "Delete", 0), change("b", "Delete") | {"asset_changed_utc_datetime": None})
    first = replace(context, source=ScriptedGetty([delivery(body)]))
    fetch(first, batch_size=9)  # and the worker dies
    if way == "by task":
        run(context, body, status=200, received_at=NOON + HOUR)
    else:
        getty = ScriptedGetty([delivery(body, status=200, received_at=NOON + HOUR)])
        catch_up(replace(context, source=getty), batch_size=9, minutes=1)
    assert [(row["received_at"], row["deleted_at"]) for row in deletions(warehouse)] == [(NOON, NOON)] * 2


@pytest.mark.parametrize("way", ["by task", "at once"])
def test_a_misread_time_is_taken_back_when_its_set_comes_again(
    way: str, context: ChannelContext, warehouse: Engine
) -> None:
    body = body_of("1", change("a", "New", 0), change("b", "Delete", 1))
    run(replace(context, confirms=False), body)
    wrong = "'2026-03-01T17:00Z'"
    as_older_code_read_it(
        warehouse,
        f"UPDATE asset_changes SET changed_at = {wrong} WHERE asset_id = 'a'",
        f"UPDATE asset_states SET upserted_at = {wrong} WHERE asset_id = 'a'",
    )
    if way == "by task":
        run(context, body, status=200, received_at=NOON + HOUR)
    else:
        getty = ScriptedGetty([delivery(body, status=200, received_at=NOON + HOUR)])
        assert catch_up(replace(context, source=getty), batch_size=9, minutes=1).is_caught_up
    assert value(warehouse, "SELECT upserted_at FROM asset_states WHERE asset_id = 'a'") == NOON
    assert value(warehouse, "SELECT changed_at FROM asset_changes WHERE asset_id = 'a'") == NOON
    assert len(deletions(warehouse)) == 1


@pytest.mark.parametrize("is_misread", [False, True])
def test_a_lost_delete_that_comes_again_is_unknown(
    is_misread: bool, context: ChannelContext, warehouse: Engine
) -> None:
    """Tables lost what they had of a set, and Getty hands it out again with one Delete more."""
    run(context, body_of("0", change("a", "New", 0)))
    messages = [change("a", "Delete", 1), change("b", "New", 2)]
    run(context, body_of("1", *messages))
    execute(warehouse, "TRUNCATE deletions")
    execute(warehouse, f"DELETE FROM asset_changes WHERE change_set_id = '1' {'AND position = 0' * is_misread}")
    if is_misread:
        execute(warehouse, "UPDATE asset_changes SET changed_at = changed_at - interval '1 h' WHERE asset_id = 'b'")
    run(context, body_of("1", *messages, change("c", "Delete", 3)), status=200)
    evidence = [(row["asset_id"], row["was_held"], row["is_rebuilt"]) for row in deletions(warehouse)]
    assert evidence == [("a", None, True), ("c", False, False)]


# What the company had said that it holds.


def test_a_delete_says_whether_the_asset_was_in_holdings(
    context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    """What is held no longer, and what another source holds, count as what they are; a replay does not touch it."""
    execute(
        warehouse,
        "INSERT INTO held_assets (source, asset_id, held_since, held_until) VALUES"
        " ('dam', 'a', now(), NULL), ('dam', 'b', now(), now()), ('old', 'b', now(), now()), ('old', 'c', now(), NULL)",
    )
    run(context, body_of("1", *(change(each, "Delete", 0) for each in "abcd")))
    execute(warehouse, "UPDATE held_assets SET held_until = now()")
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    found = {row["asset_id"]: row["was_in_holdings"] for row in deletions(warehouse)}
    assert found == {"a": True, "b": False, "c": True, "d": False}


def test_without_any_list_holdings_are_unknown(context: ChannelContext, warehouse: Engine) -> None:
    run(context, body_of("1", change("a", "Delete", 0)))
    assert [row["was_in_holdings"] for row in deletions(warehouse)] == [None]
