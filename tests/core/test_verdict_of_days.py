"""Found by attacks: what was received in a span and did not speak against it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.compliance import Span, compliance
from sqlalchemy import Engine

from tests.core.doubles import execute
from tests.status import seeds
from tests.status.seeds import DAY, HOUR, NOW

TODAY = Span(first=NOW.date(), last=datetime.now(UTC).date(), within=30 * DAY)
THREE_DAYS_AGO = Span(first=(NOW - 3 * DAY).date(), last=(NOW - 3 * DAY).date(), within=30 * DAY)


def found(warehouse: Engine, span: Span = TODAY) -> list[tuple[str, int | None]]:
    """What speaks against the span: the check and its count."""
    with warehouse.connect() as connection:
        return [(each.check, each.count) for each in compliance(connection, span, CHECKS).reservations]


def handed_out_again(warehouse: Engine, **more: Any) -> None:
    """A set that came three days ago, and again today with more in it."""
    seeds.channel(warehouse)
    seeds.change_set(warehouse, "9", at=NOW - 3 * DAY, redelivered_count=1, **more)


def test_a_delete_rejected_today_speaks_against_today(warehouse: Engine) -> None:
    handed_out_again(warehouse, rejected=1)
    seeds.rejected(warehouse, "9", 0, reason="unusable_id", asset_lifecycle="Delete")
    assert found(warehouse) == [("rejected", 1)]
    assert found(warehouse, THREE_DAYS_AGO) == [("rejected", 1)]  # which of the deliveries held it is not kept


def test_what_a_rebuild_rejects_speaks_against_its_day(warehouse: Engine) -> None:
    handed_out_again(warehouse, rejected=1, rebuilt_at=NOW)
    seeds.rejected(warehouse, "9", 0, reason="unusable_id", asset_lifecycle="Delete")
    assert found(warehouse) == []
    assert found(warehouse, THREE_DAYS_AGO) == [("rejected", 1)]


def test_a_longer_delivery_that_waits_speaks_against_its_day(warehouse: Engine) -> None:
    handed_out_again(warehouse, loaded_at=None, confirmed_at=None)
    assert found(warehouse) == [("not_loaded", 1)]


def test_a_channel_that_no_discovery_saw_needs_its_replay_too(warehouse: Engine) -> None:
    seeds.channel(warehouse, discovered_at=None, replayed_at=None)
    seeds.change_set(warehouse, "9", at=NOW - HOUR)
    assert found(warehouse) == []
    execute(warehouse, "UPDATE change_sets SET loaded_at = now() - interval '2 days'")
    assert found(warehouse) == [("replay_overdue", None)]


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [(-1, 0, None), (-29, 0, None), (-32, 0, 2), (-400, -380, 21), (0, 1, 1), (100, 102, 3)],
    ids=["known", "first_day", "partly_before", "before", "tomorrow", "future"],
)
def test_days_without_a_record_are_not_clean(warehouse: Engine, first: int, last: int, count: int | None) -> None:
    """Today is not over, and yet it counts: the report says when it was made."""
    seeds.channel(warehouse)
    seeds.change_set(warehouse, "1", at=datetime.now(UTC) - HOUR)
    today = datetime.now(UTC).date()
    span = Span(first=today + first * DAY, last=today + last * DAY, within=HOUR)
    assert found(warehouse, span) == ([] if count is None else [("outside_record", count)])


def test_a_warehouse_without_a_channel_is_not_clean(warehouse: Engine) -> None:
    assert found(warehouse) == [("outside_record", (TODAY.last - TODAY.first).days + 1)]
