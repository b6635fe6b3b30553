"""The pages as Airflow's API server answers them, with logins on."""

import csv
import io
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape

import pytest
from sqlalchemy import URL, Engine, text

from tests.status.conftest import PROJECT, AirflowServer
from tests.status.seeds import DAY, HOUR, MINUTE, NOW, alert, change_set, channel, deletion, rejected

ROUTES = ["", "?span=14d", "channels/asset_changes_editorial_image_3001", "compliance", "compliance.csv", "tab.js"]
IMAGES = "asset_changes_editorial_image_3001"


def words(html: str) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"(?s)<style>.*?</style>", "", html)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@dataclass
class Runs:
    """Makes runs of a channel's DAG end as a test wants."""

    page: AirflowServer
    made: list[str] = field(default_factory=list)

    def end(self, name: str, state: str, **failure: str) -> None:
        """A run that ended so just now; `failure` is what its task `fetch` left of its error."""
        run = f"dags/{IMAGES}/dagRuns/{name}"
        self.made.append(name)
        calls: list[tuple[str, str, object]] = [
            ("POST", f"dags/{IMAGES}/dagRuns", {"logical_date": None, "dag_run_id": name})
        ]
        if failure:
            calls += [
                ("PATCH", f"{run}/taskInstances/fetch", {"new_state": "failed"}),
                ("POST", f"{run}/taskInstances/fetch/xcomEntries", {"key": "failure", "value": failure}),
            ]
        for method, path, body in [*calls, ("PATCH", run, {"state": state})]:
            answer = self.page.ask(method, path, body)
            assert answer.ok, answer.text


@pytest.mark.parametrize("path", ROUTES)
def test_a_stranger_gets_nothing(page: AirflowServer, warehouse: Engine, path: str) -> None:
    channel(warehouse)
    answer = page.get_anonymously(path)
    assert answer.status_code == 401
    assert "3001" not in words(answer.text)
    assert "Log in" in answer.text


def test_the_routes_above_are_all_there_are(page: AirflowServer) -> None:
    source = (PROJECT / "plugins/getty_images/status/app.py").read_text()
    routes = re.findall(r"@app\.(?:get|post|put|delete|patch|api_route|websocket)\(\"(.*?)\"", source)
    assert routes == ["/", "/channels/{dag_id}", "/compliance", "/compliance.csv", "/tab.js"]
    assert not re.search(r"\.mount\(|add_api_route|add_route|include_router|StaticFiles", source)
    for path in ("docs", "openapi.json", "redoc"):
        assert page.get(path).status_code == 404


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
    told = words(server.get("").text)
    assert "There is no connection warehouse_default" in told
    assert "AIRFLOW_CONN_WAREHOUSE_DEFAULT" in told


def test_a_warehouse_without_tables_says_what_makes_them(server: AirflowServer, bare_url: URL) -> None:
    server.connect(bare_url)
    for path in ("", "compliance", "compliance.csv"):
        assert "Next: Trigger asset_changes_discovery" in words(server.get(path).text)


def test_a_warehouse_that_is_away_says_where_to_look(server: AirflowServer, bare_url: URL) -> None:
    server.connect(bare_url.set(database="never_made"))
    told = words(server.get("").text)
    assert "The warehouse does not answer" in told
    assert "warehouse_default" in told


def test_an_empty_warehouse_says_what_to_do_next(page: AirflowServer) -> None:
    assert "Next: trigger asset_changes_discovery" in words(page.get("").text)


def test_a_copy_that_is_right_says_so_first(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    told = words(page.get("").text)
    assert told.startswith("Asset changes The copy is up to date 1 of 1 channels up to date")


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


def test_a_copy_whose_channel_vanished_is_not_called_up_to_date(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    channel(warehouse, 3002, asset_family="Creative", retired_at=NOW - DAY)
    told = words(page.get("").text)
    assert told.startswith("Asset changes Getty no longer lists Creative Image (3002) 1 of 1 channels up to date")
    assert told.index("Creative Image (3002) Vanished") < told.index("Editorial Image (3001) Up to date")
    gone, listed = told.split("Editorial Image (3001) Up to date")
    assert "Channel removed in" not in gone
    assert "Channel removed in" in listed
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE channels SET retirement_known_at = now() WHERE channel_id = 3002"))
    told = words(page.get("").text)
    assert told.startswith("Asset changes The copy is up to date 1 of 1 channels up to date")
    assert "Creative Image (3002) Retired" in told


def test_the_facts_of_a_channel_that_nobody_reads_are_told(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, last_checked_at=NOW - 3 * DAY, caught_up_at=NOW - 3 * DAY, last_change_at=NOW - 4 * DAY)
    told, three_days = words(page.get("").text), r"(2 d 23 h|3 d|3 d \d+ min)"
    assert re.search(rf"Lag at most {three_days} all that is older is confirmed", told)
    assert re.search(rf"Last answer of Getty {three_days} ago", told)
    assert "Unread dropped in 11 d of 14, if nobody reads" in told
    assert "Channel removed in 117 d of 120, if nobody asks" in told


def test_a_channel_that_is_caught_up_has_no_lag(page: AirflowServer, warehouse: Engine) -> None:
    just_now = datetime.now(UTC)
    channel(warehouse, last_checked_at=just_now, caught_up_at=just_now)
    assert "Lag none all is confirmed" in words(page.get("").text)


def test_the_page_needs_neither_the_log_nor_the_states(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", new=7)
    with warehouse.begin() as connection:
        connection.execute(text("DROP TABLE asset_changes, asset_states CASCADE"))
    assert 'data-total="new">7<' in page.get("").text
    assert 'data-table="summary"' in page.get("compliance").text


def test_a_broken_channel_comes_first_with_reason_and_next_step(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, 3001)
    broken = {"asset_family": "Creative", "last_checked_at": NOW - 5 * HOUR, "caught_up_at": NOW - 5 * HOUR}
    channel(warehouse, 3002, **broken)
    html = page.get("").text
    assert words(html).startswith("Asset changes Creative Image (3002) is broken 1 of 2 channels up to date")
    assert html.index('data-channel="3002"') < html.index('data-channel="3001"')
    assert "Getty has given no answer on this channel for more than 60 minutes." in words(html)
    assert 'href="/dags/asset_changes_creative_image_3002/runs"' in html


@pytest.fixture
def runs(page: AirflowServer) -> Iterator[Runs]:
    runs = Runs(page)
    yield runs
    for name in runs.made:
        assert page.ask("DELETE", f"dags/{IMAGES}/dagRuns/{name}").ok


def test_an_alert_of_the_watchdog_is_told_with_its_numbers_and_a_link_by_name(
    page: AirflowServer, warehouse: Engine
) -> None:
    channel(warehouse)
    alert(warehouse, "rejected", says="sent changes that could not be applied: 3 (unknown_lifecycle)")
    html = page.get("").text
    assert "Rejected changes: it sent changes that could not be applied: 3 (unknown_lifecycle)." in words(html)
    assert '<a href="#rejected-3001">The rejected changes</a>' in html
    assert '<h3 id="rejected-3001">' in html
    assert "Open it" not in html


def test_a_red_run_is_told_at_once_with_a_link_to_it(page: AirflowServer, warehouse: Engine, runs: Runs) -> None:
    channel(warehouse)
    runs.end("red", "failed")
    html = page.get("").text
    assert "Its newest run has failed" in words(html)
    assert f'href="/dags/{IMAGES}/runs/red' in html
    runs.end("green", "success")
    assert 'data-state="up to date"' in page.get("").text


def test_a_red_run_is_told_with_the_next_step_of_its_error(page: AirflowServer, warehouse: Engine, runs: Runs) -> None:
    channel(warehouse)
    runs.end("red", "failed", error="ApiUnavailable", says="Getty answers 503.")
    html = page.get("").text
    assert "Its newest run has failed in the task fetch: Getty answers 503." in words(html)
    assert "Next: Wait: the next run tries again, and nothing is lost. If it lasts, look at Getty's" in unescape(
        words(html)
    )
    assert "More: docs/operations.md#apiunavailable" in words(html)
    assert f'href="/dags/{IMAGES}/runs/red/tasks/fetch"' in html


def test_a_channel_is_red_since_the_first_failure_after_its_last_good_run(
    page: AirflowServer, warehouse: Engine, runs: Runs
) -> None:
    channel(warehouse)
    for name, state in (("red_1", "failed"), ("green", "success"), ("red_2", "failed")):
        runs.end(name, state)
    time.sleep(1)
    runs.end("red_3", "failed")
    first = datetime.fromisoformat(page.ask("GET", f"dags/{IMAGES}/dagRuns/red_2").json()["end_date"])
    assert f"Its newest run has failed. Since {first:%Y-%m-%d %H:%M:%S} UTC." in words(page.get("").text)


def test_a_paused_dag_is_told(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    assert page.ask("PATCH", f"dags/{IMAGES}", {"is_paused": True}).ok
    told = words(page.get("").text)
    assert page.ask("PATCH", f"dags/{IMAGES}", {"is_paused": False}).ok
    assert "Its DAG is paused, so nobody reads this channel." in told


def test_a_channel_without_a_dag_is_told(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, 4004)
    assert "Airflow has no DAG asset_changes_editorial_image_4004 at present." in words(page.get("").text)


def test_the_tab_shows_its_own_channel_alone(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, 3001)
    channel(warehouse, 3002, asset_family="Creative")
    html = page.get(f"channels/{IMAGES}").text
    assert 'data-channel="3001"' in html
    assert 'data-channel="3002"' not in html
    assert "reads no channel of Getty" in words(page.get("channels/asset_changes_discovery").text)


@pytest.mark.parametrize("span", ["24h", "7d", "14d"])
def test_each_picture_covers_its_hours(page: AirflowServer, warehouse: Engine, span: str) -> None:
    channel(warehouse)
    for number, days in enumerate((0, 3, 10)):
        change_set(warehouse, str(number + 1), at=NOW - days * DAY, new=10)
    html = page.get("", params={"span": span}).text
    assert f'data-total="new">{ {"24h": 10, "7d": 20, "14d": 30}[span] }<' in html


def test_colours_can_be_asked_for_and_links_keep_them(page: AirflowServer) -> None:
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


def test_the_report_shows_its_numbers_and_the_query_of_each(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - DAY, loaded_at=NOW)
    deletion(warehouse, "1", 0, at=NOW - DAY, took=2 * HOUR, was_held=False)
    told = words(page.get("compliance").text)
    assert "1 of 1 Deletes were applied later than 1 h after their arrival." in told
    assert "3001 first removal 1 0 1 1 2 h 2 h 2 h" in told
    assert "FROM deletions AS d LEFT JOIN change_sets AS s" in told
    assert "a set was archived but not loaded" in told


def test_the_csv_has_one_line_per_delete(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", loaded_at=NOW + MINUTE)
    for position in range(3):
        deletion(warehouse, "1", position, took=MINUTE)
    day = f"{NOW:%Y-%m-%d}"
    answer = page.get("compliance.csv", params={"from": day, "to": day})
    assert answer.headers["Content-Disposition"] == f'attachment; filename="deletes_{day}_{day}.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["asset_id"] for line in lines] == ["asset-0", "asset-1", "asset-2"]
    assert (float(lines[0]["seconds_to_removal"]), lines[0]["was_held"], lines[0]["is_rebuilt"]) == (
        60,
        "true",
        "false",
    )


def test_a_span_that_ends_before_it_begins_is_refused(page: AirflowServer) -> None:
    answer = page.get("compliance?from=2026-02-02&to=2026-02-01")
    assert (answer.status_code, "ends before it begins" in answer.text) == (422, True)
