"""A span is clean only if every check is zero: each thing that speaks against it, judged by what was received."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse import schema
from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.compliance import Report, Span, compliance
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine, insert, text

from tests.status import seeds
from tests.status.seeds import DAY, HOUR, MINUTE, NOW

SPAN = Span(first=(NOW - 6 * DAY).date(), last=datetime.now(UTC).date(), within=HOUR, reconcile_days=30)
THE_DAY_BEFORE = Span(first=(NOW - 30 * DAY).date(), last=(NOW - 29 * DAY).date(), within=HOUR)


def report_of(warehouse: Engine, span: Span = SPAN) -> Report:
    with warehouse.connect() as connection:
        return compliance(connection, span, CHECKS)


def found(warehouse: Engine, span: Span = SPAN) -> list[tuple[str, int | None]]:
    """What speaks against the span: the check and its count."""
    return [(each.check, each.count) for each in report_of(warehouse, span).reservations]


def channel_was(warehouse: Engine, **stamps: Any) -> None:
    with warehouse.begin() as connection:
        connection.execute(schema.channels.update().values(**stamps))


def open_set(warehouse: Engine) -> None:
    seeds.change_set(warehouse, "9", at=NOW - MINUTE, loaded_at=None, confirmed_at=None)


def late(warehouse: Engine) -> None:
    """The commit took two hours, although the clock before it was read at once."""
    seeds.change_set(warehouse, "9", at=NOW - 3 * HOUR, committed_at=NOW - HOUR)
    seeds.deletion(warehouse, "9", 0, at=NOW - 3 * HOUR, took=MINUTE)


def rejected(warehouse: Engine, **row: Any) -> None:
    seeds.change_set(warehouse, "9", at=NOW - HOUR, rejected=1)
    seeds.rejected(warehouse, "9", 0, **row)


def deleted(warehouse: Engine, **row: Any) -> None:
    seeds.change_set(warehouse, "9", at=NOW - HOUR, delete=1)
    seeds.deletion(warehouse, "9", 0, at=NOW - HOUR, took=MINUTE, **row)


def corrected(warehouse: Engine) -> None:
    deleted(warehouse)
    row = {"channel_id": 3001, "change_set_id": "9", "position": 0, "asset_id": "a", "reads_as": "Update"}
    with warehouse.begin() as connection:
        connection.execute(insert(schema.deletion_corrections).values(**row, corrected_at=NOW))


def confirmed_by_somebody_else(warehouse: Engine) -> None:
    seeds.change_set(warehouse, "9", at=NOW - HOUR, is_confirm_implied=True)


def outranked(warehouse: Engine) -> None:
    """A New of tomorrow came first, then a Delete of today: the asset is live."""
    seeds.change_set(warehouse, "8", at=NOW - 2 * HOUR, new=1)
    seeds.change_set(warehouse, "9", at=NOW - HOUR, delete=1)
    seeds.state(warehouse, "a", upserted_at=NOW + DAY, upsert_change_set_id="8", upsert_position=0, deleted_at=NOW)
    seeds.deletion(warehouse, "9", 0, at=NOW - HOUR, took=MINUTE, asset_id="a", was_held=False)


def must_remove_one(warehouse: Engine, **row: Any) -> None:
    """A held asset is deleted, and the holdings were counted since."""
    seeds.imported(warehouse)
    seeds.held_asset(warehouse, "1", **row)
    seeds.state(warehouse, "1", deleted_at=NOW - DAY)
    seeds.counted(warehouse)


def never_asked(warehouse: Engine) -> None:
    seeds.imported(warehouse, at=NOW - 33 * DAY)
    seeds.counted_as_empty(warehouse)


def one_never_ends(warehouse: Engine) -> None:
    """With another connection all that is asked counts."""
    never_asked(warehouse)
    seeds.reconciliation(warehouse, None, conn_id="refused", at=NOW - 33 * DAY)
    seeds.reconciliation(warehouse, "counted")


def has_store(warehouse: Engine, *, hours: float = 0, **counts: Any) -> None:
    """A store whose open duties were counted some hours ago."""
    seeds.file_store(warehouse)
    seeds.purge_count(warehouse, at=datetime.now(UTC) - hours * HOUR, **counts)


def failed_to_delete(warehouse: Engine, **row: Any) -> None:
    has_store(warehouse)
    seeds.receipt(warehouse, "error", error="AccessDenied", **row)


def holds_elsewhere(warehouse: Engine) -> None:
    has_store(warehouse)
    seeds.held_asset(warehouse, "1", source="tape")
    seeds.counted(warehouse)


@pytest.mark.parametrize(
    ("happened", "check", "count"),
    [
        (partial(channel_was, discovered_at=NOW - 3 * DAY), "outside_record", 3),
        (late, "late", 1),
        (open_set, "not_loaded", 1),
        (partial(seeds.finding, kind="unreadable", at=NOW - HOUR), "unreadable", 1),
        (partial(seeds.finding, kind="not_in_ledger", at=NOW - HOUR), "not_in_ledger", 1),
        (partial(seeds.finding, kind="damaged", at=NOW - HOUR), "damaged", 1),
        (partial(seeds.finding, kind="missing", at=NOW - HOUR), "missing", 1),
        (partial(rejected, reason="no_time", asset_lifecycle="Delete"), "rejected", 1),
        (partial(rejected, reason="unusable_id", asset_lifecycle="New"), "rejected", 1),
        (partial(rejected, reason="unknown_lifecycle", asset_lifecycle="Removed"), "rejected", 1),
        (partial(seeds.gap, days=0.2), "unread", 1),
        (partial(seeds.channel, channel_id=3002, last_checked_at=None, discovered_at=NOW), "without_reader", 1),
        (partial(channel_was, missing_since=NOW), "missing_channels", 1),
        (partial(channel_was, retired_at=NOW - HOUR, last_checked_at=NOW - HOUR), "unread", 1),
        (confirmed_by_somebody_else, "confirmed_elsewhere", 1),
        (partial(deleted, is_rebuilt=True), "rebuilt", 1),
        (partial(deleted, was_held=None), "was_held_unknown", 1),
        (partial(deleted, is_time_inferred=True), "time_inferred", 1),
        (corrected, "corrected", 1),
        (partial(channel_was, replayed_at=NOW - 2 * DAY), "replay_overdue", None),
        (partial(channel_was, replay_changed_count=3), "replay_changed", 3),
        (outranked, "outranked", 1),
        (must_remove_one, "removals_open", 1),
        (partial(seeds.imported), "removals_open", None),
        (partial(seeds.reconciliation, outcome="waiting"), "reconciliation_braked", 1),
        (partial(seeds.reconciliation, outcome="refused"), "reconciliation_braked", 1),
        (partial(seeds.reconciliation, outcome="expired"), "reconciliation_braked", 1),
        (partial(seeds.reconciliation, outcome="void"), "reconciliation_braked", 1),
        (never_asked, "reconciliation_overdue", None),
        (one_never_ends, "reconciliation_overdue", None),
        (partial(has_store, open_count=2, open_since=NOW - DAY), "files_open", 2),
        (partial(has_store, hours=25), "files_open", None),
        (partial(seeds.file_store), "files_open", None),
        (partial(has_store, held_back_count=3, held_back_by={"legal": 3}), "files_held_back", 3),
        (failed_to_delete, "files_failed", 1),
        (holds_elsewhere, "files_not_covered", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_check_speaks_against_a_span(
    happened: Callable[[Engine], None], check: str, count: int | None, warehouse: Engine
) -> None:
    seeds.channel(warehouse)
    assert found(warehouse) == []
    happened(warehouse)
    assert found(warehouse) == [(check, count)]


def test_what_was_deleted_at_last_is_no_failure(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    failed_to_delete(warehouse)
    seeds.receipt(warehouse, "deleted", is_gone=True)
    assert found(warehouse) == []


def test_files_that_went_later_leave_an_old_span_clean(warehouse: Engine) -> None:
    """What must go since today does not speak against the days before."""
    seeds.channel(warehouse, discovered_at=NOW - 40 * DAY)
    has_store(warehouse, open_count=2, open_since=NOW)
    assert "files_open" not in dict(found(warehouse, THE_DAY_BEFORE))


def test_every_check_finds_something_here() -> None:
    marks = test_each_check_speaks_against_a_span.pytestmark  # type: ignore[attr-defined]
    shown = {each[1] for mark in marks for each in mark.args[1]} | {"possible_loss"}
    assert shown == {check.name for check in CHECKS}


def test_a_gap_of_over_14_days_is_a_possible_loss(warehouse: Engine) -> None:
    """The channel answers again, with nothing: what was dropped meanwhile never comes."""
    seeds.channel(warehouse)
    seeds.gap(warehouse, days=20, until=NOW - DAY)
    assert found(warehouse) == [("unread", 1), ("possible_loss", 1)]
    [_, loss] = report_of(warehouse).reservations
    assert "was not read for up to 20 days" in loss.says
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE feed_gaps SET reconciled_at = now()"))
    assert found(warehouse) == [("unread", 1)]


def test_open_duties_are_listed_by_reason(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    seeds.imported(warehouse)
    seeds.three_to_remove(warehouse)
    seeds.counted(warehouse)
    assert [each.says for each in report_of(warehouse).reservations] == [
        "1 assets that you hold must be removed, because Getty deleted them.",
        "1 assets that you hold must be removed, because they are not in the catalogue any more.",
        "1 assets that you hold must be removed, because they are not licensed to this account.",
    ]
    assert found(warehouse, THE_DAY_BEFORE) == []


def test_holdings_that_were_not_counted_are_unknown_not_zero(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    must_remove_one(warehouse)
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE holding_counts SET counted_at = now() - interval '25 hours'"))
    assert found(warehouse) == [("removals_open", None)]


@pytest.mark.parametrize(
    ("earlier", "later", "count"),
    [("refused", "counted", 0), ("expired", "approved", 0), ("waiting", "counted", 1), ("void", "refused", 2)],
)
def test_a_later_reconciliation_makes_up_for_a_braked_one(
    earlier: str, later: str, count: int, warehouse: Engine
) -> None:
    seeds.channel(warehouse)
    for outcome in (earlier, later):
        seeds.reconciliation(warehouse, outcome)
    assert sum(number or 0 for check, number in found(warehouse) if check == "reconciliation_braked") == count


@pytest.mark.parametrize(("channel_ids", "count"), [([3002], 1), ([3001, 3002], 0)])
def test_another_connection_makes_up_for_its_channels_alone(
    channel_ids: list[int], count: int, warehouse: Engine
) -> None:
    seeds.channel(warehouse)
    seeds.reconciliation(warehouse, "void")
    seeds.reconciliation(warehouse, "counted", conn_id="another", channel_ids=channel_ids)
    assert found(warehouse) == [("reconciliation_braked", 1)] * count


def test_a_reconciliation_that_counts_is_not_overdue(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    never_asked(warehouse)
    seeds.reconciliation(warehouse, "counted", at=NOW - 31 * DAY)
    assert found(warehouse) == []


def test_without_holdings_or_reconciliation_nothing_is_overdue(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    assert found(warehouse) == []
    seeds.imported(warehouse, at=NOW - 99 * DAY, refused_why="It is empty.")
    assert found(warehouse) == []
    never_asked(warehouse)
    assert found(warehouse, replace(SPAN, reconcile_days=0)) == []


def test_an_archive_that_was_not_checked_is_unknown_not_zero(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    for checked_at in (None, NOW - 2 * DAY):
        channel_was(warehouse, archive_checked_at=checked_at)
        assert found(warehouse) == [(kind, None) for kind in ("unreadable", "not_in_ledger", "damaged", "missing")]
    seeds.finding(warehouse, "damaged")
    assert ("damaged", 1) in found(warehouse)


def test_what_was_received_on_other_days_speaks_against_those(warehouse: Engine) -> None:
    seeds.channel(warehouse, discovered_at=NOW - 60 * DAY)
    for happened in (open_set, partial(seeds.finding, kind="unreadable"), outranked):
        happened(warehouse)
        with warehouse.begin() as connection:
            for table in ("change_sets", "deletions"):
                connection.execute(text(f"DELETE FROM {table} WHERE change_set_id = '9'"))
    assert found(warehouse, THE_DAY_BEFORE) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rejected_changes SET dismissed_at = now(), dismissed_by = 'maria'",
        "UPDATE archive_findings SET settled_at = now(), settled_how = 'dismissed', settled_by = 'maria'",
    ],
)
def test_a_dismissal_ends_a_reservation(statement: str, warehouse: Engine) -> None:
    seeds.channel(warehouse)
    if "rejected" in statement:
        rejected(warehouse, reason="unusable_id")
    else:
        seeds.finding(warehouse, "unreadable")
    assert len(found(warehouse)) == 1
    with warehouse.begin() as connection:
        connection.execute(text(statement))
    assert found(warehouse) == []


def test_a_rejected_upsert_is_no_missed_delete(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    rejected(warehouse, reason="no_time", asset_lifecycle="Update")
    assert found(warehouse) == []


def test_a_paused_dag_is_a_channel_without_a_reader(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    paused = Span(first=SPAN.first, last=SPAN.last, within=HOUR, without_dag=(3001,))
    assert found(warehouse, paused) == [("without_reader", 1)]
    over = Span(first=SPAN.first, last=(NOW - 2 * DAY).date(), within=HOUR, without_dag=(3001,))
    assert found(warehouse, over) == []


def test_a_new_installation_has_no_overdue_replay(warehouse: Engine) -> None:
    seeds.channel(warehouse, discovered_at=NOW - DAY, replayed_at=None)
    assert found(warehouse, Span(first=(NOW - DAY).date(), last=SPAN.last, within=HOUR)) == []


def test_a_delete_that_came_later_and_won_is_not_outranked(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    outranked(warehouse)
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE asset_states SET deleted_at = upserted_at"))
    assert found(warehouse) == []


def test_an_outranked_delete_of_two_channels_is_one_asset(warehouse: Engine) -> None:
    """Getty repeats Deletes of films in channels of images."""
    seeds.channel(warehouse)
    seeds.channel(warehouse, channel_id=3003)
    outranked(warehouse)
    seeds.change_set(warehouse, "7", channel_id=3003, at=NOW - HOUR, delete=1)
    seeds.deletion(warehouse, "7", 0, channel_id=3003, at=NOW - HOUR, took=MINUTE, asset_id="a", was_held=False)
    assert found(warehouse) == [("outranked", 1)]


def test_a_new_that_came_after_the_delete_ends_it(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    outranked(warehouse)
    seeds.change_set(warehouse, "10", at=NOW, new=1)
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE asset_states SET upsert_change_set_id = '10'"))
    assert found(warehouse) == []


def test_without_a_time_of_commit_the_confirmation_bounds_it(warehouse: Engine) -> None:
    seeds.channel(warehouse)
    at = NOW - 3 * HOUR
    seeds.change_set(warehouse, "9", at=at, committed_at=None, confirmed_at=at + 2 * HOUR, delete=1)
    seeds.deletion(warehouse, "9", 0, at=at, took=MINUTE)
    assert ("late", 1) in found(warehouse)
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE change_sets SET confirmed_at = NULL, loaded_at = fetched_at"))
    assert ("late", 1) in found(warehouse)


def test_deletes_that_the_parser_rejected_are_no_clean_report(
    context: ChannelContext, sandbox: Sandbox, warehouse: Engine
) -> None:
    """The ids and words that were reported: an object as id, a word for Delete that is not known."""
    at = datetime.now(UTC).isoformat()
    change = {"id": "1", "asset_lifecycle": "New", "asset_type": "Image", "asset_changed_utc_datetime": at}
    rejects = ({"asset_lifecycle": "Removed"}, {"id": {"value": 1}, "asset_lifecycle": "Delete"})
    sandbox.append(3001, [change, *(change | each for each in rejects)])
    assert catch_up(context, batch_size=10, minutes=1).is_caught_up
    assert ("rejected", 2) in found(warehouse)
