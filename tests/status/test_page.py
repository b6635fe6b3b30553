"""The pages as Airflow's API server answers them, with logins on."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from asset_changes.warehouse.status import HourCounts
from getty_images.status.chart import HEIGHT, draw
from sqlalchemy import URL, Engine, text

from tests.status.conftest import AirflowServer, words
from tests.status.seeds import DAY, HOUR, MINUTE, NOW, change_set, channel, deletion, rejected

IMAGES = "asset_changes_editorial_image_3001"


def test_airflow_shows_one_entry_in_the_navigation_and_one_tab(page: AirflowServer) -> None:
    plugins = page.ask("GET", "plugins").json()["plugins"]
    [ours] = [plugin for plugin in plugins if plugin["name"] == "getty_images"]
    assert [(view["destination"], view["name"]) for view in ours["react_apps"]] == [
        ("nav", "Asset changes"),
        ("dag", "Asset changes"),
    ]
    assert page.ask("GET", "plugins/importErrors").json()["import_errors"] == []
    for view in ours["react_apps"]:
        script = page.session.get(f"{page.address}/{view['bundle_url']}", timeout=60)
        assert (script.status_code, script.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")


def test_without_a_connection_the_page_says_how_to_make_one(server: AirflowServer) -> None:
    server.connect(None)
    shown = words(server.get("").text)
    assert "There is no connection warehouse_default" in shown
    assert "AIRFLOW_CONN_WAREHOUSE_DEFAULT" in shown


def test_a_warehouse_without_tables_says_what_makes_them(server: AirflowServer, bare_url: URL) -> None:
    server.connect(bare_url)
    for path, status in (("", 200), ("compliance", 200), ("compliance.csv", 503)):
        answer = server.get(path)
        assert answer.status_code == status
        assert "Next: Trigger asset_changes_discovery" in words(answer.text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"query": {"host": "/nowhere"}}, "The warehouse does not answer"),
        ({"database": "never_made"}, "The warehouse refuses the login"),
    ],
)
def test_an_unreadable_warehouse_says_why_and_where_to_look(
    server: AirflowServer, bare_url: URL, change: dict[str, Any], reason: str
) -> None:
    server.connect(bare_url.set(**change))
    shown = words(server.get("").text)
    assert reason in shown
    assert "Next: Check the database behind connection warehouse_default" in shown
    assert "nothing was loaded" not in shown


def test_an_empty_warehouse_says_what_to_do_next(page: AirflowServer) -> None:
    assert "Next: trigger asset_changes_discovery" in words(page.get("").text)


def test_a_copy_that_is_right_says_so_first(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    shown = words(page.get("").text)
    assert shown.startswith("Asset changes The copy is up to date 1 of 1 channels up to date")


def test_the_page_shows_the_numbers_of_the_warehouse(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "4711", new=901, update=1055, delete=180, superseded=62, rejected=2, dag_id=IMAGES,
               run_id="manual__2026-11-22T03:00:00+00:00", loaded_at=NOW + 2 * MINUTE)  # fmt: skip
    deletion(warehouse, "4711", 0, took=2 * MINUTE)
    rejected(warehouse, "4711", 1, reason="unknown_lifecycle", raw='{"id": "<b>7</b>"}')
    html = page.get("").text
    assert "not confirmed" not in words(html)
    assert "2,200 901 1,055 180 62 2" in words(html)
    assert re.search(rf'href="/dags/{IMAGES}/runs/manual__2026-11-22T03%3A00%3A00%2B00%3A00"[^>]*>4711</a>', html)
    assert "Median 2 min" in words(html)
    assert "1 × unknown lifecycle" in words(html)
    assert "<b>7</b>" not in html


def test_the_facts_of_a_channel_that_nobody_reads_are_shown(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, last_checked_at=NOW - 3 * DAY, caught_up_at=NOW - 3 * DAY, last_change_at=NOW - 4 * DAY)
    shown, three_days = words(page.get("").text), r"(2 d 23 h|3 d|3 d \d+ min)"
    assert re.search(rf"Lag at most {three_days} all that is older is confirmed", shown)
    assert re.search(rf"Last answer of Getty {three_days} ago", shown)
    assert "Time left to read 11 d Getty drops unread changes after 14 days" in shown
    assert "Time left to ask 117 d Getty removes a silent channel after 120 days" in shown


def test_the_lag_is_that_of_the_oldest_unconfirmed_change(page: AirflowServer, warehouse: Engine) -> None:
    now = datetime.now(UTC)
    channel(warehouse)
    change_set(warehouse, "1", at=now - MINUTE, oldest_change_at=now - 3 * HOUR - MINUTE, confirmed_at=None)
    assert "Lag 3 h 1 min age of the oldest unconfirmed change" in words(page.get("").text)


def test_a_channel_that_is_caught_up_has_no_lag(page: AirflowServer, warehouse: Engine) -> None:
    just_now = datetime.now(UTC)
    channel(warehouse, last_checked_at=just_now, caught_up_at=just_now)
    assert "Lag none all is confirmed" in words(page.get("").text)


def test_the_tab_shows_its_own_channel_alone(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, 3001)
    channel(warehouse, 3002, asset_family="Creative")
    html = page.get(f"channels/{IMAGES}").text
    assert 'data-channel="3001"' in html
    assert 'data-channel="3002"' not in html
    assert "Editorial Image (3001) 24h 7d 14d Runs All channels Compliance report Up to date" in words(html)
    assert f'href="/dags/{IMAGES}"' not in html
    assert "This DAG reads no channel" in words(page.get("channels/asset_changes_discovery").text)


def test_a_removal_at_once_took_less_than_a_tenth_of_a_second(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", delete=1, loaded_at=NOW + DAY)
    deletion(warehouse, "1", 0, took=timedelta(milliseconds=7))
    assert "Median < 0.1 s" in words(page.get("").text)


def test_the_status_pages_do_not_need_the_log(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", new=3, delete=1, loaded_at=NOW + MINUTE)
    deletion(warehouse, "1", 0, took=MINUTE)
    with warehouse.begin() as connection:
        connection.execute(text("DROP TABLE asset_changes CASCADE"))
    assert "New 3" in words(page.get("").text)
    assert "New 3" in words(page.get(f"channels/{IMAGES}").text)


def test_the_report_does_not_need_the_log(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", delete=1)
    deletion(warehouse, "1", 0, took=MINUTE)
    with warehouse.begin() as connection:
        connection.execute(text("DROP TABLE asset_changes CASCADE"))
    assert "All 1 Deletes were applied" in words(page.get("compliance").text)
    assert "asset-0" in page.get("compliance.csv").text


def test_an_open_list_of_rejected_changes_stays_open(page: AirflowServer, warehouse: Engine) -> None:
    """It is part of the address."""
    channel(warehouse)
    change_set(warehouse, "1", rejected=1)
    rejected(warehouse, "1", 0, reason="no_time", raw='{"id": "the-message"}')
    closed = page.get("").text
    assert "the-message" not in closed
    [link] = re.findall(r'href="/asset-changes/(\?[^"#]*)#rejected-3001">Show the newest', closed)
    opened = page.get(unescape(link)).text
    assert "the-message" in opened
    assert 'href="/asset-changes/?span=24h#rejected-3001">Hide them' in opened
    assert 'href="/asset-changes/?span=7d&amp;rejected=3001"' in opened


@pytest.mark.parametrize(
    ("most", "values"), [(0, [0, 1]), (7, [0, 2, 4, 6, 8]), (15_316, [0, 5000, 10000, 15000, 20000])]
)
def test_the_scale_of_the_picture_reaches_the_busiest_hour(most: int, values: list[int]) -> None:
    """It has round numbers."""
    hour = HourCounts(
        hour=NOW.replace(minute=0), sets=1, changes=most, new=most, update=0, delete=0, superseded=0, rejected=0
    )
    picture = draw([hour], count=24, now=NOW)
    assert [line.value for line in picture.scale] == values
    assert (picture.scale[0].y, picture.scale[-1].y, picture.most) == (HEIGHT, 0, most)


@pytest.mark.parametrize("span", ["24h", "7d", "14d"])
def test_each_picture_covers_its_hours(page: AirflowServer, warehouse: Engine, span: str) -> None:
    channel(warehouse)
    for number, days in enumerate((0, 3, 10)):
        change_set(warehouse, str(number + 1), at=NOW - days * DAY, new=10)
    html = page.get("", params={"span": span}).text
    assert f'data-total="new">{ {"24h": 10, "7d": 20, "14d": 30}[span] }<' in html


def test_colours_can_be_asked_for_and_links_keep_them(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    html = page.get("?theme=dark").text
    assert '<html lang="en" data-theme="dark">' in html
    assert 'href="/asset-changes/?span=7d&amp;theme=dark"' in html
    assert page.get("?theme=<b>").status_code == 422


def test_no_page_asks_another_host_for_anything(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    for path in ("", "compliance"):
        answer = page.get(path)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<script|https?://", answer.text)
