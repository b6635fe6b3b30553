"""Found by attacks: sets that newer code reads otherwise, in ways that a replay alone does not show."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asset_changes.archive import Archive
from asset_changes.models import Channel
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from sqlalchemy import Engine

from tests.conftest import EDITORIAL_IMAGES
from tests.core.doubles import NOON, ScriptedGetty, body_of, delivery, execute, live, rows, told, value


@pytest.fixture
def context(archive: Archive, warehouse: Engine) -> ChannelContext:
    """Channel 3001 with a Getty that hands out nothing."""
    return ChannelContext(channel=EDITORIAL_IMAGES, source=ScriptedGetty(), archive=archive, warehouse=warehouse)


def run(context: ChannelContext, body: bytes, *, channel: Channel = EDITORIAL_IMAGES, **given: Any) -> None:
    """Do what the tasks of one run do with this delivery."""
    context = replace(context, channel=channel, source=ScriptedGetty([delivery(body, **given)]))
    ref = fetch(context, batch_size=2200)
    assert ref is not None
    load(context, ref)
    confirm(context, ref)


def was_read_by_older_code(warehouse: Engine, change_set_id: str, *, hours_late: int) -> None:
    """Make the tables of a set those that a parser would have left that read its times too late."""
    of_set, late = f"change_set_id = '{change_set_id}'", f"interval '{hours_late} hours'"
    execute(warehouse, f"UPDATE change_sets SET content_hash = '1:x' WHERE {of_set}")
    execute(warehouse, f"UPDATE asset_changes SET changed_at = changed_at + {late} WHERE {of_set}")
    execute(warehouse, f"UPDATE asset_states SET upserted_at = upserted_at + {late} WHERE upsert_{of_set}")


@pytest.mark.parametrize("is_loop", [False, True])
def test_a_redelivery_mends_what_was_misread(is_loop: bool, context: ChannelContext, warehouse: Engine) -> None:
    body = body_of("1", told("a", "New", 0), told("b", "Delete", 1))
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
