"""The compliance report as a page and as CSV: its verdict, its numbers, and the queries it shows."""

import csv
import io
import re
import socket
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest
from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.compliance import REMOVALS, UNREAD
from asset_changes.warehouse.engine import connect
from sqlalchemy import Engine, text

from tests.status import seeds
from tests.status.conftest import AirflowServer, words
from tests.status.seeds import DAY, HOUR, MINUTE, NOW, change_set, channel, deletion
from tests.waiting import wait_for_lock_waits, wait_until

GOOD = "Clean. All 1 Deletes were applied within 1 h of their arrival, and nothing speaks against these days. Days are"


def in_time(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - HOUR)
    deletion(warehouse, "1", 0, at=NOW - HOUR, took=timedelta(seconds=2))


def waited(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "0", at=NOW - 15 * DAY)
    change_set(warehouse, "1", at=NOW - HOUR, oldest_change_at=NOW - 11 * DAY)
    deletion(warehouse, "1", 0, at=NOW - HOUR, took=timedelta(seconds=2))


def unread_for_too_long(warehouse: Engine) -> None:
    channel(warehouse, last_checked_at=NOW - 15 * DAY, caught_up_at=NOW - 15 * DAY)


def retired(warehouse: Engine) -> None:
    in_time(warehouse)
    channel(warehouse, 3002, asset_family="Creative", retired_at=NOW - DAY, last_checked_at=NOW - 49 * HOUR)


def rebuilt(warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - DAY, loaded_at=NOW, confirmed_at=NOW, rebuilt_at=NOW)
    deletion(warehouse, "1", 0, at=NOW - DAY, took=DAY, is_rebuilt=True)


def not_loaded(warehouse: Engine) -> None:
    in_time(warehouse)
    change_set(warehouse, "9", loaded_at=None, confirmed_at=None)


def late(warehouse: Engine) -> None:
    if not warehouse.connect().execute(text("SELECT FROM channels")).all():
        channel(warehouse)
    change_set(warehouse, "7", at=NOW - DAY, loaded_at=NOW - DAY + 2 * HOUR)
    deletion(warehouse, "7", 0, at=NOW - DAY, took=2 * HOUR)


def unchecked(warehouse: Engine) -> None:
    in_time(warehouse)
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE channels SET archive_checked_at = NULL"))


@pytest.mark.parametrize(
    ("happened", "sentences"),
    [
        (
            waited,
            ["Not clean: 1 thing speaks against", "up to 11 days (spans: 1), because a change waited"],
        ),
        (unread_for_too_long, ["0 Deletes were received", "Deletes may never have arrived: Editorial Image (3001)"]),
        (retired, ["up to 2 days (spans: 1), because Getty no longer lists the channel: Creative Image (3002)"]),
        (rebuilt, ["1 Deletes were written again by a replay, and when they were first applied is not known"]),
        (not_loaded, ["1 change sets are archived but not loaded, and the Deletes they carry are not counted"]),
        (late, ["1 of them were applied later than 1 h", "1 Deletes were, or may have been, applied later than"]),
        (unchecked, ["unreadable unknown It is not known whether bodies were received that could not be read"]),
    ],
)
def test_the_verdict_says_all_that_speaks_against_it(
    page: AirflowServer, warehouse: Engine, happened: Callable[[Engine], None], sentences: list[str]
) -> None:
    happened(warehouse)
    html = page.get("compliance").text
    assert 'class="state broken"' in html
    for sentence in sentences:
        assert sentence in words(html)


def test_the_verdict_is_good_when_nothing_speaks_against_it(page: AirflowServer, warehouse: Engine) -> None:
    in_time(warehouse)
    html = page.get("compliance").text
    assert 'class="state up"' in html
    assert GOOD in words(html)


def test_the_report_shows_its_numbers_by_the_channels_name(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", at=NOW - DAY, loaded_at=NOW)
    deletion(warehouse, "1", 0, at=NOW - DAY, took=2 * HOUR, was_held=False)
    deletion(warehouse, "1", 1, at=NOW - DAY, took=2 * HOUR)
    shown = words(page.get("compliance").text)
    assert "Editorial Image (3001) first removal 2 1 1 2 2 h 2 h 2 h" in shown
    received, removed = (f"{time:%Y-%m-%d %H:%M:%S}" for time in (NOW - DAY, NOW - DAY + 2 * HOUR))
    assert f"Editorial Image (3001) 1 2 1 {received} {removed} 2 h" in shown
    assert "a set was archived but not loaded" in shown


def test_the_queries_on_the_page_give_its_numbers(page: AirflowServer, warehouse: Engine) -> None:
    """They run as they are shown."""
    waited(warehouse)
    html = page.get("compliance").text
    shown = [unescape(query) for query in re.findall(r"(?s)<pre>(.*?)</pre>", html)]
    elsewhere = connect(warehouse.url, schema="public")
    with elsewhere.connect() as connection:
        connection.execute(text(shown[0]))
        found = [connection.exec_driver_sql(query).mappings().all() for query in shown[1:]]
    elsewhere.dispose()
    removals, unread, deletes = found[:3]
    assert len(found) == 5 + len({check.query for check in CHECKS} - {REMOVALS, UNREAD})
    assert [len(rows) for rows in found[5:]].count(1) == 4  # the archive's four kinds say that nothing was found
    assert [(row["change_set_id"], row["deletes"], row["held"], row["late"]) for row in removals] == [
        (None, 1, 1, 0),
        ("1", 1, 1, None),
    ]
    assert [row["what"] for row in unread] == ["a change waited at Getty"]
    assert len(deletes) == 1


def test_a_report_that_takes_too_long_says_to_choose_fewer_days(page: AirflowServer, warehouse: Engine) -> None:
    with warehouse.begin() as connection:
        connection.execute(text("LOCK TABLE deletions IN ACCESS EXCLUSIVE MODE"))
        shown = words(page.get("compliance").text)
    assert "The warehouse has not answered within 10 s." in shown
    assert "Next: Choose fewer days." in shown


def test_the_csv_has_one_line_per_delete(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    change_set(warehouse, "1", loaded_at=NOW + MINUTE)
    for position in range(3):
        deletion(warehouse, "1", position, took=MINUTE, was_in_holdings=(True, False, None)[position])
    day = f"{NOW:%Y-%m-%d}"
    answer = page.get("compliance.csv", params={"from": day, "to": day})
    assert answer.headers["Content-Disposition"] == f'attachment; filename="deletes_{day}_{day}.csv"'
    verdict, holdings, *lines = csv.DictReader(io.StringIO(answer.text))
    assert (verdict["record"], verdict["says"]) == ("verdict", "clean")
    assert (holdings["record"], holdings["says"]) == ("holdings", "not asked: no list of holdings is imported")
    assert [line["asset_id"] for line in lines] == ["asset-0", "asset-1", "asset-2"]
    assert [line["was_in_holdings"] for line in lines] == ["true", "false", ""]
    first = lines[0]
    assert (float(first["seconds_to_removal"]), first["was_held"], first["is_rebuilt"]) == (60, "true", "false")


def test_the_csv_begins_with_all_that_speaks_against_its_days(page: AirflowServer, warehouse: Engine) -> None:
    unchecked(warehouse)
    late(warehouse)
    lines = list(csv.DictReader(io.StringIO(page.get("compliance.csv").text)))
    verdict, *reservations = [line for line in lines if line["record"] in ("verdict", "reservation")]
    assert (verdict["says"], verdict["count"]) == ("not clean", str(len(reservations)))
    assert (reservations[0]["count"], reservations[-1]["count"]) == ("1", "unknown")
    assert "applied later than their limit: Editorial Image (3001)" in reservations[0]["says"]
    assert all(line["settled_by"] for line in reservations)


def test_the_report_counts_open_duties_by_reason(page: AirflowServer, warehouse: Engine) -> None:
    in_time(warehouse)
    assert "Not asked: no list of holdings is imported" in words(page.get("compliance").text)
    assert GOOD in words(page.get("compliance").text)
    seeds.imported(warehouse)
    seeds.three_to_remove(warehouse)
    seeds.counted(warehouse)
    shown = words(page.get("compliance").text)
    since = f"{NOW - 3 * DAY:%Y-%m-%d %H:%M:%S}"
    assert f"dam 5 2 deleted by Getty 1 {since}" in shown
    assert "Getty was not asked yet whether what is held may still be held." in shown
    assert "removals_open 1 1 assets that you hold must be removed, because Getty deleted them." in shown
    lines = list(csv.DictReader(io.StringIO(page.get("compliance.csv").text)))
    counts = [(line["count"], line["says"].split(",")[0]) for line in lines if line["record"] == "holdings"]
    assert counts == [
        ("1", f"to be removed from dam: {reason}") for reason in ("deleted", "not_in_catalogue", "not_licensed")
    ]
    seeds.reconciliation(warehouse, "counted")
    assert f"last counted at {NOW:%Y-%m-%d %H:%M:%S} UTC" in words(page.get("compliance").text)


def test_a_gap_names_its_remedy_until_it_was_asked_for(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    seeds.gap(warehouse, days=20, until=NOW - DAY)
    seeds.gap(warehouse, days=2, until=NOW - 2 * HOUR)
    end = f"{NOW - DAY + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"
    remedy = f"not yet: trigger asset_changes_lookup with not_asked_since {end}"
    assert words(page.get("compliance").text).count(remedy) == 1
    [gap] = [each for each in csv.DictReader(io.StringIO(page.get("compliance.csv").text)) if each["record"] == "gap"]
    assert gap["settled_by"] == f"Look up assets with not_asked_since {(NOW - DAY).isoformat()}"
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE feed_gaps SET reconciled_at = :now"), {"now": NOW})
    shown = words(page.get("compliance").text)
    assert "not yet: trigger" not in shown
    assert f"nobody asked Getty – {NOW:%Y-%m-%d %H:%M:%S}" in shown


def test_page_and_csv_are_right_whatever_the_roles_defaults(page: AirflowServer, warehouse: Engine) -> None:
    in_time(warehouse)
    lines = page.get("compliance.csv").text
    defaults = {"datestyle": "German", "timezone": "Asia/Tokyo", "intervalstyle": "sql_standard"}
    defaults |= {"default_transaction_isolation": "serializable", "search_path": "public", "client_encoding": "LATIN1"}
    with warehouse.begin() as connection:
        for name, setting in defaults.items():
            connection.execute(text(f"ALTER DATABASE {warehouse.url.database} SET {name} = '{setting}'"))
    assert GOOD in words(page.get("compliance").text)
    assert page.get("compliance.csv").text == lines
    assert len([line for line in csv.DictReader(io.StringIO(lines)) if line["record"] == "delete"]) == 1


def test_a_download_that_is_cut_short_leaves_no_connection(page: AirflowServer, warehouse: Engine) -> None:
    """No connection to the warehouse stays open."""
    host, port = page.address.removeprefix("http://").split(":")
    request = (
        f"GET /asset-changes/compliance.csv HTTP/1.1\r\nHost: {host}\r\n"
        f"Cookie: _token={page.session.cookies['_token']}\r\n\r\n"
    )
    with warehouse.begin() as connection:
        # The query waits, so that nothing is sent before all of them have left.
        connection.execute(text("LOCK TABLE deletions IN ACCESS EXCLUSIVE MODE"))
        for number in range(1, 6):
            with socket.create_connection((host, int(port))) as reader:
                reader.sendall(request.encode())
                wait_for_lock_waits(warehouse, sessions=number)
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name = 'asset_changes'"
    )
    with warehouse.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        wait_until(lambda: connection.scalar(others) == 0, what="the end of the last connection")


def test_a_span_that_ends_before_it_begins_is_refused(page: AirflowServer) -> None:
    answer = page.get("compliance?from=2026-02-02&to=2026-02-01")
    assert (answer.status_code, "ends before it begins" in answer.text) == (422, True)


@pytest.mark.parametrize("days", ["to=9999-12-31", "to=0001-01-05", "from=1999-12-31"])
def test_a_span_that_no_feed_can_have_is_refused(page: AirflowServer, days: str) -> None:
    answer = page.get(f"compliance?{days}")
    assert (answer.status_code, "outside the years 2000 to 2199" in answer.text) == (422, True)


@pytest.mark.parametrize("query", ["from=2026-13-01", "from=", "theme=blue"])
def test_a_parameter_that_cannot_be_read_gets_a_page(page: AirflowServer, query: str) -> None:
    answer = page.get(f"compliance?{query}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "text/html; charset=utf-8")
    assert f"422 {query.split('=')[0]}: " in words(answer.text)
