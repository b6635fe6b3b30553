"""What must be removed: how it is counted and listed."""

from datetime import timedelta

import pytest
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.removals import Due, count_holdings, holding_counts, removals, removals_page
from sqlalchemy import Engine, text

from tests.status.seeds import DAY, NOW, held_asset, state, three_to_remove, verdict


def listed(warehouse: Engine, **filters: str) -> list[tuple[str, str, str]]:
    """Return source, id and reason of what must be removed."""
    with transaction(warehouse) as connection:
        return [(row["source"], row["asset_id"], row["reason"]) for row in removals(connection, **filters)]


def test_counts_are_kept_by_source_and_reason(warehouse: Engine) -> None:
    three_to_remove(warehouse)
    held_asset(warehouse, "1", source="web")
    held_asset(warehouse, "9", source="web", held_until=NOW - 20 * DAY)
    with transaction(warehouse) as connection:
        dam, web = count_holdings(connection)
        assert (dam, web) == holding_counts(connection)
    assert (dam.source, dam.held_count, dam.checked_count, dam.due_count) == ("dam", 5, 2, 3)
    assert dam.due == (
        Due(reason="deleted", count=1, since=NOW - 3 * DAY),
        Due(reason="not_in_catalogue", count=1, since=NOW - 3 * DAY),
        Due(reason="not_licensed", count=1, since=NOW - DAY),
    )
    assert (web.held_count, web.checked_count, web.due_count) == (1, 0, 1)


def test_a_later_count_replaces_an_earlier_one(warehouse: Engine) -> None:
    held_asset(warehouse, "1")
    with transaction(warehouse) as connection:
        count_holdings(connection)
    state(warehouse, "1", deleted_at=NOW)
    with transaction(warehouse) as connection:
        [counted] = count_holdings(connection)
    assert counted.due_count == 1


def test_an_older_count_does_not_replace_a_newer_one(warehouse: Engine) -> None:
    """Whoever waited for the row has looked at the holdings before the other one did."""
    held_asset(warehouse, "1")
    with transaction(warehouse) as connection:
        count_holdings(connection)
        connection.execute(text("UPDATE holding_counts SET held_count = 7, counted_at = now() + interval '1 minute'"))
        [kept] = count_holdings(connection)
    assert kept.held_count == 7


@pytest.mark.parametrize(
    ("filters", "ids"),
    [({}, "123"), ({"reason": "not_licensed"}, "2"), ({"source": "dam"}, "123"), ({"source": "web"}, "")],
)
def test_the_list_names_what_must_go(filters: dict[str, str], ids: str, warehouse: Engine) -> None:
    three_to_remove(warehouse)
    assert [asset_id for _, asset_id, _ in listed(warehouse, **filters)] == list(ids)


def test_a_page_begins_after_the_last_asset_of_the_one_before(warehouse: Engine) -> None:
    for number in range(205):
        held_asset(warehouse, f"{number:03}", source="web" if number > 150 else "dam")
        state(warehouse, f"{number:03}", deleted_at=NOW)
    sizes, ids, after = [], [], None
    with transaction(warehouse) as connection:
        while rows := removals_page(connection, after=after)[:100]:
            sizes.append(len(rows))
            ids += [row["asset_id"] for row in rows]
            after = (rows[-1]["source"], rows[-1]["asset_id"])
    assert sizes == [100, 100, 5]
    assert ids == [f"{number:03}" for number in range(205)]


def test_a_verdict_is_void_once_the_asset_comes_again(warehouse: Engine) -> None:
    three_to_remove(warehouse)
    state(warehouse, "2", upserted_at=NOW, upsert_change_set_id="78", upsert_position=0)
    assert [asset_id for _, asset_id, _ in listed(warehouse)] == ["1", "3"]


def test_gone_is_what_was_said_twice_a_day_apart(warehouse: Engine) -> None:
    held_asset(warehouse, "1")
    verdict(warehouse, "1", "not_licensed", first_gone_as_of=NOW - DAY + timedelta(seconds=1))
    assert listed(warehouse) == []
