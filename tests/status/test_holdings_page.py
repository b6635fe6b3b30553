"""The panel of the holdings, and the list of what must be removed as a page and as CSV."""

import csv
import io
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from asset_changes.errors import HoldingsRefused
from asset_changes.removal.holdings import HoldingsList
from asset_changes.removal.import_list import import_list
from sqlalchemy import Engine, text
from upath import UPath

from tests.status import seeds
from tests.status.conftest import AirflowServer, words
from tests.status.seeds import DAY, HOUR, NOW, channel


def test_the_panel_shows_each_list_and_what_was_refused(page: AirflowServer, warehouse: Engine, tmp_path: Path) -> None:
    channel(warehouse)
    assert 'data-panel="holdings"' not in page.get("").text
    file = tmp_path / "list.csv"
    file.write_text("asset_id\n" + "".join(f"{each}\n" for each in range(1_200)) + "?\n")
    import_list(warehouse, lambda: HoldingsList(UPath(file)), source="dam", now=NOW)
    assert "Holdings 1,200 assets from 1 list no calls" in words(page.get("").text)
    file.write_text("asset_id\n")
    with pytest.raises(HoldingsRefused):
        import_list(warehouse, lambda: HoldingsList(UPath(file)), source="dam", now=NOW)
    html = page.get("").text
    assert "1,200 1,200 0 0 1" in words(html)
    assert "dam: The list" in words(html)
    assert "accept_shrink would need to be 1200." in words(html)


def test_the_panel_shows_what_must_be_removed_and_leads_to_it(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    seeds.three_to_remove(warehouse)
    seeds.imported(warehouse)
    assert "Not counted yet: dam." in words(page.get("").text)
    seeds.counted(warehouse)
    html = page.get("?theme=dark").text
    assert re.search(r"dam 5 2 1 the oldest for [23] d \S+ \S+ 1 the oldest for [23] d", words(html))
    for reason in ("deleted", "not_in_catalogue", "not_licensed"):
        assert f"/removals?source=dam&amp;reason={reason}&amp;theme=dark" in html


@pytest.mark.parametrize(
    ("outcome", "more", "said"),
    [
        (None, {"asked_count": 300}, "the slice of a day 300 so far 400 580 20 Getty is being asked"),
        (None, {"not_asked_since": NOW}, "all that was not asked since"),
        ("counted", {}, "its verdicts count"),
        ("approved", {"approved_by": "maria <b>"}, "approved, its verdicts count, by maria <b>"),
        ("refused", {"approved_by": "maria"}, "refused, its verdicts do not count, by maria"),
        ("expired", {}, "nobody answered in time"),
        ("void", {}, "given up, its verdicts do not count"),
    ],
)
def test_the_panel_says_what_came_of_a_reconciliation(
    outcome: str | None, more: dict[str, Any], said: str, page: AirflowServer, warehouse: Engine
) -> None:
    channel(warehouse)
    seeds.reconciliation(warehouse, outcome, **more)
    html = page.get("").text
    assert said in words(html)
    assert "A person must decide" not in html


def test_a_reconciliation_that_waits_says_who_must_do_what(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    seeds.reconciliation(warehouse, "waiting", expires_at=datetime.now(UTC) + 2 * HOUR)
    html = page.get("").text
    assert "with getty, 600 of 1,000 assets that were not said to be gone before are gone now" in words(html)
    assert "/dags/asset_changes_lookup/required_actions" in html
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE reconciliations SET dag_id = 'asset_changes_lookup', run_id = 'manual__1+0'"))
    asked_in = "/dags/asset_changes_lookup/runs/manual__1%2B0/tasks/judge/required_actions"
    assert asked_in in page.get("").text
    assert "in 1 h 59 min" in words(html)
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE reconciliations SET expires_at = now() - interval '1 minute'"))
    assert "Next: nobody answered until" in words(page.get("").text)


def test_the_list_is_read_page_by_page(page: AirflowServer, warehouse: Engine) -> None:
    for number in range(101):
        seeds.held_asset(warehouse, f"id {number:03}&", location="<b>a.jpg</b>")
        seeds.state(warehouse, f"id {number:03}&", deleted_at=NOW, delete_change_set_id="77", delete_position=4)
    html = page.get("removals?source=dam&reason=deleted").text
    assert "<b>a.jpg" not in html
    assert "change set 77 of channel 3001, position 4" in words(html)
    assert ("id 099&" in words(html), "id 100&" in words(html)) == (True, False)
    [address] = re.findall(r'href="[^"]*/(removals\?[^"]*after=[^"]*)"', html)
    rest = words(page.get(unescape(address)).text)
    assert ("id 099&" in rest, "id 100&" in rest, "The next ones" in rest) == (False, True, False)


def test_the_list_of_removals_is_a_csv_too(page: AirflowServer, warehouse: Engine) -> None:
    seeds.three_to_remove(warehouse)
    answer = page.get("removals.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["asset_id"], row["reason"]) for row in rows] == [
        ("1", "deleted"),
        ("2", "not_licensed"),
        ("3", "not_in_catalogue"),
    ]
    assert rows[0]["due_since"] == (NOW - 3 * DAY).isoformat()
    assert len(list(csv.DictReader(io.StringIO(page.get("removals.csv?reason=deleted").text)))) == 1


def test_no_cell_of_a_csv_is_a_formula(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    seeds.held_asset(warehouse, "=1+1", location="@SUM(A1)")
    seeds.state(warehouse, "=1+1", deleted_at=NOW)
    [row] = csv.DictReader(io.StringIO(page.get("removals.csv").text))
    assert (row["asset_id"], row["location"]) == ("'=1+1", "'@SUM(A1)")
    seeds.deletion(warehouse, "77", 0, took=HOUR, asset_id="=1+1")
    assert "'=1+1" in page.get("compliance.csv").text


@pytest.mark.parametrize(
    "path",
    [
        "removals?source=a%20b",
        "removals?reason=other",
        "removals?after=%00",
        f"removals?after={'a' * 256}",
        "removals?after=1&after_source=%27",
        "removals.csv?source=a%20b",
        "removals.csv?reason=other",
    ],
)
def test_a_filter_that_cannot_be_is_refused_with_a_page(path: str, page: AirflowServer) -> None:
    answer = page.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "text/html; charset=utf-8")


def test_no_caption_is_on_the_pages_of_removals(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    seeds.live_assets(warehouse, 2, with_metadata=2)
    seeds.held_asset(warehouse, "asset-0")
    seeds.verdict(warehouse, "asset-0", "not_licensed", upserted_at=NOW, upsert_change_set_id="1", upsert_position=0)
    seeds.counted(warehouse)
    for path in ("", "removals", "removals.csv", "compliance", "compliance.csv"):
        text_of_it = page.get(path).text
        assert ("asset-0" in text_of_it) == path.startswith("removals")
        assert "A caption" not in text_of_it
        assert "A Person" not in text_of_it
