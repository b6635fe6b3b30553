"""The same set again: identity is what the feed says of the assets, and the tables say what the bodies say."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.getty_api.content import PARSER_VERSION
from asset_changes.getty_api.parsing import parse_change_set
from asset_changes.models import ChangeSetRef
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.redelivery import restored_body
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse.changes import LoggedMessage
from sqlalchemy import Engine

from tests.conftest import EDITORIAL_IMAGES
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

MINUTE = timedelta(minutes=1)

context = quiet_context


def test_a_message_from_the_tables_says_all_that_is_read_of_one() -> None:
    """What the archive has lost is written again from the tables: a field that is left out would be forgotten."""
    known = LoggedMessage(
        position=0,
        asset_id="a",
        asset_lifecycle="New",
        asset_type="Image",
        changed_at=NOON,
        uri="https://x",
        raw=None,
    )
    ref = ChangeSetRef(channel_id=3001, change_set_id="1", fetched_at=NOON, archive_uri="")
    change_set = parse_change_set(delivery(restored_body(ref, [known])))
    assert change_set
    (message,) = change_set.messages.rows
    assert [name for name, said in message._asdict().items() if said is None] == ["reason"]


@pytest.mark.parametrize("confirms", [True, False])
def test_another_address_makes_no_other_message(
    confirms: bool, context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    looking = replace(context, confirms=confirms)
    for number in range(4):
        messages = [change("a", "New", 0), change("b", "Delete", 1), change("", "New", 2)]
        body = body_of("1", *(each | {"uri": f"https://x/{number}"} for each in messages[:: 1 if number % 2 else -1]))
        run(looking, body, status=201 if number == 0 else 200, received_at=NOON + number * MINUTE)
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 2
    assert value(warehouse, "SELECT count(*) FROM deletions") == 1
    row = ledger_row(warehouse, "1")
    assert (row["change_count"], row["redelivered_count"]) == (3, 3)
    [kept] = archive.sets(3001)
    assert len(archive.read(kept.uri)) == 1


def test_a_redelivery_gets_no_new_number_nor_load(context: ChannelContext, warehouse: Engine) -> None:
    run(context, body_of("1", change("a", "New", 0)))
    before = ledger_row(warehouse, "1")
    run(context, body_of("1", change("a", "New", 0)), status=200, received_at=NOON + MINUTE)
    after = ledger_row(warehouse, "1")
    assert [after[name] for name in ("loaded_at", "channel_seq")] == [
        before[name] for name in ("loaded_at", "channel_seq")
    ]


@pytest.mark.parametrize("way", ["by task", "at once"])
def test_an_empty_set_of_a_dead_worker_is_confirmed(
    way: str, context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    archive.write(archive.uri_for(3001, "1", fetched_at=NOON), body_of("1"))  # then the worker died
    getty = ScriptedGetty([delivery(body_of("1"), status=200, received_at=NOON + MINUTE)])
    if way == "by task":
        run(context, body_of("1"), status=200, received_at=NOON + MINUTE)
    else:
        assert catch_up(replace(context, source=getty), batch_size=9, minutes=1).is_caught_up
        assert getty.confirmed == ["1"]
    row = ledger_row(warehouse, "1")
    assert row["confirmed_at"] is not None
    assert (row["change_count"], row["fetched_at"]) == (0, NOON)


def test_what_newer_code_reads_is_loaded_on_redelivery(context: ChannelContext, warehouse: Engine) -> None:
    body = body_of("1", change("a", "New", 0), change("b", "Delete", 1))
    run(replace(context, confirms=False), body)
    for statement in (
        "DELETE FROM asset_changes WHERE asset_id = 'b'",
        "DELETE FROM asset_states WHERE asset_id = 'b'",
        "TRUNCATE deletions",
        "UPDATE change_sets SET delete_count = 0, rejected_count = 1, content_hash = '1:of older code'",
        "INSERT INTO rejected_changes (channel_id, change_set_id, position, reason, raw)"
        " VALUES (3001, '1', 1, 'unknown_lifecycle', '{}')",
    ):
        execute(warehouse, statement)
    run(context, body, status=200, received_at=NOON + MINUTE)
    assert rows(warehouse, "SELECT position FROM rejected_changes") == []
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 2
    row = ledger_row(warehouse, "1")
    assert (row["delete_count"], row["rejected_count"]) == (1, 0)
    assert row["content_hash"].startswith(f"{PARSER_VERSION}:")
    assert value(warehouse, "SELECT count(*) FROM deletions") == 1


def test_an_older_worker_leaves_what_a_newer_one_read(
    context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    body = body_of("1", change("a", "New", 0), change("", "New", 1))
    run(context, body)
    newer = f"{PARSER_VERSION + 1}:of newer code"
    for statement in (
        f"UPDATE change_sets SET content_hash = '{newer}', new_count = 2, rejected_count = 0",
        "DELETE FROM rejected_changes",
        "INSERT INTO asset_changes (fetched_at, channel_id, change_set_id, position, asset_id, asset_lifecycle,"
        " changed_at, is_time_inferred) SELECT fetched_at, 3001, '1', 1, 'b', 'New', changed_at, false"
        " FROM asset_changes",
    ):
        execute(warehouse, statement)
    before = ledger_row(warehouse, "1")
    run(context, body, status=200, received_at=NOON + MINUTE)
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0
    after = ledger_row(warehouse, "1")
    kept = ("content_hash", "new_count", "rejected_count", "channel_seq", "loaded_at")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 2


@pytest.mark.parametrize("accident", ["lost", "damaged"])
def test_the_archive_gets_back_what_the_log_knows(
    accident: str, context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    a, b, c = change("a", "New", 0), change("b", "New", 1), change("a", "Delete", 2)
    run(context, body_of("1", a, b, c, change("", "New", 3)))
    [kept] = archive.sets(3001)
    path = Path(kept.uri.removeprefix("file://"))
    if accident == "lost":
        path.unlink()
    else:
        path.write_bytes(b"damaged")
    shorter = body_of("1", a | {"uri": "https://x/2"}, b)
    run(context, shorter, status=200, received_at=NOON + MINUTE)
    row = ledger_row(warehouse, "1")
    assert row["change_count"] == 4
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 3
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0
    for table in ("asset_states, asset_metadata", "asset_changes", "deletions", "rejected_changes", "change_sets"):
        execute(warehouse, f"TRUNCATE {table}")
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    assert live(warehouse) == ["b"]
    assert ledger_row(warehouse, "1")["change_count"] == 4


def test_a_repaired_object_also_holds_what_is_new(context: ChannelContext, warehouse: Engine, archive: Archive) -> None:
    a, b = change("a", "New", 0), change("b", "New", 1)
    run(context, body_of("1", a))
    [kept] = archive.sets(3001)
    archive.remove(kept.uri)
    run(context, body_of("1", b, a), status=200, received_at=NOON + MINUTE)
    found = rows(warehouse, "SELECT position, asset_id FROM asset_changes ORDER BY position")
    assert found == [{"position": 0, "asset_id": "a"}, {"position": 1, "asset_id": "b"}]
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


def test_a_time_without_a_value_errs_towards_removal(context: ChannelContext, warehouse: Engine) -> None:
    sibling = replace(context, channel=replace(EDITORIAL_IMAGES, channel_id=3003))
    run(context, body_of("1", change("a", "New", 0)))
    run(sibling, body_of("2", change("a", "Update", 120)), received_at=NOON + 125 * MINUTE)
    untimed = {"asset_changed_utc_datetime": None}
    body = body_of("3", change("b", "New", 60), change("a", "Delete") | untimed, change("c", "New", 240))
    run(context, body, received_at=NOON + 245 * MINUTE)
    assert live(warehouse) == ["b", "c"]
    run(context, body_of("4", change("a", "Update") | untimed), received_at=NOON + 300 * MINUTE)
    assert live(warehouse) == ["b", "c"]
    assert rows(warehouse, "SELECT change_set_id, reason FROM rejected_changes") == [
        {"change_set_id": "4", "reason": "no_time"}
    ]


@pytest.mark.parametrize("way", ["redelivery", "replay"])
def test_a_longer_delivery_that_was_lost_is_archived_again(
    way: str, context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    a, b, c = change("a", "New", 0), change("a", "Delete", 1), change("c", "New", 2)
    run(context, body_of("1", a))
    run(context, body_of("1", a, b, c), status=200, received_at=NOON + MINUTE)
    [kept] = archive.sets(3001)
    archive.remove(kept.objects[-1].uri)
    if way == "redelivery":
        run(context, body_of("1", a, c), status=200, received_at=NOON + 2 * MINUTE)
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0
    assert ledger_row(warehouse, "1")["change_count"] == 3
    for table in ("asset_states, asset_metadata", "asset_changes", "deletions", "rejected_changes", "change_sets"):
        execute(warehouse, f"TRUNCATE {table}")
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    assert live(warehouse) == ["c"]


def test_of_two_first_objects_each_message_counts_once(
    context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    a, b, bad = change("a", "Delete", 1), change("b", "Delete", 1), change("", "New", 1)
    archive.write(
        archive.uri_for(3001, "1", fetched_at=NOON - MINUTE), body_of("1", b, bad, a)
    )  # of a worker that died
    run(context, body_of("1", a, b, bad))
    before = rows(warehouse, "SELECT * FROM deletions ORDER BY position")
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0
    assert rows(warehouse, "SELECT * FROM deletions ORDER BY position") == before
    assert value(warehouse, "SELECT count(*) FROM rejected_changes") == 1
    query = "SELECT count(*) FROM asset_states LEFT JOIN asset_changes ON change_set_id = delete_change_set_id"
    assert (
        value(warehouse, f"{query} AND position = delete_position AND asset_changes.asset_id = asset_states.asset_id")
        == 2
    )
