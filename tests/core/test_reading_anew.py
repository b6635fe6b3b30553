"""Found by attacks: sets that newer code reads otherwise, in ways that a replay alone does not show."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from asset_changes.models import LOG_COLUMNS, LOG_KEY
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load_in_transaction
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.schema import asset_changes
from sqlalchemy import Boolean, DateTime, Engine, Text

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES
from tests.core.doubles import (
    NOON,
    ScriptedGetty,
    body_of,
    change,
    delivery,
    execute,
    live,
    quiet_context,
    rows,
    run,
    value,
)
from tests.waiting import lock_waits, wait_until

context = quiet_context


def was_read_by_older_code(warehouse: Engine, change_set_id: str, *, hours_late: int) -> None:
    """Make the tables of a set those that a parser would have left that read its times too late."""
    of_set, late = f"change_set_id = '{change_set_id}'", f"interval '{hours_late} hours'"
    execute(warehouse, f"UPDATE change_sets SET content_hash = '1:x' WHERE {of_set}")
    execute(warehouse, f"UPDATE asset_changes SET changed_at = changed_at + {late} WHERE {of_set}")
    execute(warehouse, f"UPDATE asset_states SET upserted_at = upserted_at + {late} WHERE upsert_{of_set}")


@pytest.mark.parametrize("is_loop", [False, True])
def test_a_redelivery_repairs_what_was_misread(is_loop: bool, context: ChannelContext, warehouse: Engine) -> None:
    body = body_of("1", change("a", "New", 0), change("b", "Delete", 1))
    run(context, body)
    was_read_by_older_code(warehouse, "1", hours_late=5)
    if is_loop:
        getty = ScriptedGetty([delivery(body, status=200)])
        catch_up(replace(context, source=getty), batch_size=2200, minutes=1)
    else:
        run(context, body, status=200)
    assert value(warehouse, "SELECT upserted_at FROM asset_states WHERE asset_id = 'a'") == NOON
    changed_at = "SELECT changed_at FROM asset_changes ORDER BY position"
    assert [row["changed_at"] for row in rows(warehouse, changed_at)] == [NOON, NOON + timedelta(minutes=1)]
    assert value(warehouse, "SELECT count(*) FROM change_sets WHERE confirmed_at IS NULL") == 0
    assert live(warehouse) == ["a"]


_OTHER_VALUE = {Boolean: "NOT {0}", DateTime: "{0} + interval '1 hour'", Text: "coalesce({0}, '') || 'x'"}


@pytest.mark.parametrize("column", [name for name in LOG_COLUMNS if name not in (*LOG_KEY, "uri")])
def test_each_column_that_was_misread_is_read_again(column: str, context: ChannelContext, warehouse: Engine) -> None:
    run(context, body_of("1", change("a", "New", 0)))
    logged = f"SELECT {', '.join(LOG_COLUMNS)} FROM asset_changes"
    before = rows(warehouse, logged)
    other = _OTHER_VALUE[type(asset_changes.c[column].type)].format(column)
    execute(warehouse, f"UPDATE asset_changes SET {column} = {other}")
    assert rows(warehouse, logged) != before
    replay(EDITORIAL_IMAGES, archive=context.archive, warehouse=warehouse)
    assert rows(warehouse, logged) == before


def test_tombstones_get_their_own_channel_back(context: ChannelContext, warehouse: Engine) -> None:
    """Older code read other ids in channel 3001; what is left of these today are Deletes of channel 3003."""
    numbers = range(500)
    body = body_of("1", *(change(f"b{each}", "New", 0) for each in numbers))
    run(context, body)
    deletes = [change(f"a{each}", "Delete", 1, asset_type="Film") for each in numbers]
    run(replace(context, channel=EDITORIAL_FILM), body_of("2", *deletes))
    for statement in (
        "UPDATE change_sets SET content_hash = '1:x' WHERE change_set_id = '1'",
        "UPDATE asset_changes SET asset_id = 'a' || position WHERE change_set_id = '1'",
        "UPDATE asset_states SET channel_id = 3001, asset_type = 'Image', asset_lifecycle = 'New', "
        "upserted_at = '2026-03-01 12:00Z', upsert_change_set_id = '1', upsert_position = substr(asset_id, 2)::integer "
        "WHERE asset_id LIKE 'a%'",
        "DELETE FROM asset_states WHERE asset_id LIKE 'b%'",
    ):
        execute(warehouse, statement)
    run(context, body, status=200)
    of_deletes = "SELECT DISTINCT channel_id, asset_family, asset_type FROM asset_states WHERE asset_id LIKE 'a%'"
    assert rows(warehouse, of_deletes) == [{"channel_id": 3003, "asset_family": "Editorial", "asset_type": "Film"}]
    assert len(live(warehouse)) == len(numbers)


def test_a_new_reading_waits_for_what_another_channel_says(context: ChannelContext, warehouse: Engine) -> None:
    """Newer code reads an id that nobody knew, while a load that is not committed deletes that asset."""
    body = body_of("1", change("a", "New", 0))
    run(context, body)
    for statement in (
        "UPDATE change_sets SET content_hash = '1:x'",
        "UPDATE asset_changes SET asset_id = 'misread'",
        "UPDATE asset_states SET asset_id = 'misread'",
    ):
        execute(warehouse, statement)
    film = replace(
        context, channel=EDITORIAL_FILM, source=ScriptedGetty([delivery(body_of("2", change("a", "Delete", 1)))])
    )
    ref = fetch(film, batch_size=9)
    assert ref is not None
    with ThreadPoolExecutor(1) as worker:
        with transaction(warehouse) as connection:
            load_in_transaction(connection, context=film, ref=ref, prepared=None)
            done = worker.submit(run, context, body, status=200)
            wait_until(lambda: lock_waits(warehouse) or done.done(), what="a new reading that waits for a lock")
        done.result()
    assert live(warehouse) == []
    assert rows(warehouse, "SELECT asset_id FROM deleted_assets") == [{"asset_id": "a"}]


def test_a_replay_reads_a_waiting_set_anew_before_it_is_loaded(context: ChannelContext, warehouse: Engine) -> None:
    """Older code misread a set; newer code was handed a longer one and died before its load."""
    messages = [change("a", "New", 0), change("b", "New", 1)]
    run(context, body_of("1", *messages))
    was_read_by_older_code(warehouse, "1", hours_late=5)
    longer = delivery(
        body_of("1", *messages, change("a", "Delete", 2)), status=200, received_at=NOON + timedelta(minutes=9)
    )
    fetch(replace(context, source=ScriptedGetty([longer])), batch_size=9)
    replay(EDITORIAL_IMAGES, archive=context.archive, warehouse=warehouse)
    assert value(warehouse, "SELECT count(*) FROM change_sets WHERE loaded_at IS NOT NULL") == 1
    assert live(warehouse) == ["b"]
    assert value(warehouse, "SELECT upserted_at FROM asset_states WHERE asset_id = 'a'") == NOON
    assert value(warehouse, "SELECT count(*) FROM deletions") == 1
    assert replay(EDITORIAL_IMAGES, archive=context.archive, warehouse=warehouse).changed == 0
