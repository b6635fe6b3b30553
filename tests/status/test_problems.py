"""What the page says of a channel that is not right: reason, since when, next step, and where that starts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from tests.status.conftest import AirflowServer, words
from tests.status.seeds import DAY, HOUR, NOW, alert, channel
from tests.waiting import wait_until

IMAGES = "asset_changes_editorial_image_3001"


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


@pytest.fixture
def runs(page: AirflowServer) -> Iterator[Runs]:
    runs = Runs(page)
    yield runs
    for name in runs.made:
        assert page.ask("DELETE", f"dags/{IMAGES}/dagRuns/{name}").ok


def test_an_alert_of_the_watchdog_has_its_numbers_and_a_link(page: AirflowServer, warehouse: Engine) -> None:
    """The link is by name."""
    channel(warehouse)
    alert(warehouse, "rejected", says="sent changes that could not be applied: 3 (unknown_lifecycle)")
    html = page.get("").text
    assert "Rejected changes: it sent changes that could not be applied: 3 (unknown_lifecycle)." in words(html)
    assert '<a href="#rejected-3001">The rejected changes</a>' in html
    assert '<h3 id="rejected-3001">' in html
    assert "Open it" not in html


def test_a_broken_channel_comes_first_with_reason_and_next_step(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, 3001)
    broken = {"asset_family": "Creative", "last_checked_at": NOW - 5 * HOUR, "caught_up_at": NOW - 5 * HOUR}
    channel(warehouse, 3002, **broken)
    html = page.get("").text
    assert words(html).startswith("Asset changes Creative Image (3002) is broken 1 of 2 channels up to date")
    assert html.index('data-channel="3002"') < html.index('data-channel="3001"')
    assert "Getty has given no answer on this channel for more than 60 minutes." in words(html)
    assert 'href="/dags/asset_changes_creative_image_3002/runs"' in html


def test_a_copy_whose_channel_vanished_is_not_called_up_to_date(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    channel(warehouse, 3002, asset_family="Creative", retired_at=NOW - DAY)
    shown = words(page.get("").text)
    assert shown.startswith("Asset changes Getty no longer lists Creative Image (3002) 1 of 1 channels up to date")
    assert shown.index("Creative Image (3002) Vanished") < shown.index("Editorial Image (3001) Up to date")
    gone, listed = shown.split("Editorial Image (3001) Up to date")
    assert "Time left to ask" not in gone
    assert "Time left to ask" in listed
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE channels SET retirement_known_at = now() WHERE channel_id = 3002"))
    shown = words(page.get("").text)
    assert shown.startswith("Asset changes The copy is up to date 1 of 1 channels up to date")
    assert "Creative Image (3002) Retired" in shown


def test_a_red_run_is_shown_at_once_with_a_link_to_it(page: AirflowServer, warehouse: Engine, runs: Runs) -> None:
    channel(warehouse)
    runs.end("red", "failed")
    html = page.get("").text
    assert "Its newest run has failed" in words(html)
    assert f'href="/dags/{IMAGES}/runs/red' in html
    runs.end("green", "success")
    assert 'data-state="up to date"' in page.get("").text


def test_a_red_run_is_shown_with_the_next_step_of_its_error(page: AirflowServer, warehouse: Engine, runs: Runs) -> None:
    channel(warehouse)
    runs.end("red", "failed", error="ApiUnavailable", says="Getty answers 503.")
    html = page.get("").text
    assert "Its newest run has failed in the task fetch: Getty answers 503." in words(html)
    assert "Next: Wait: the next run tries again, and nothing is lost. If it lasts, check Getty's" in words(html)
    assert "More: docs/operations.md#apiunavailable" in words(html)
    assert f'href="/dags/{IMAGES}/runs/red/tasks/fetch"' in html


def test_a_channel_is_red_since_the_first_failure_in_a_row(page: AirflowServer, warehouse: Engine, runs: Runs) -> None:
    """That is the first one after its last good run."""
    channel(warehouse)
    for name, state in (("red_1", "failed"), ("green", "success"), ("red_2", "failed")):
        runs.end(name, state)
    first = datetime.fromisoformat(page.ask("GET", f"dags/{IMAGES}/dagRuns/red_2").json()["end_date"])
    wait_until(lambda: datetime.now(UTC) - first > timedelta(seconds=1), what="the next second, which the page shows")
    runs.end("red_3", "failed")
    assert f"Its newest run has failed. Since {first:%Y-%m-%d %H:%M:%S} UTC." in words(page.get("").text)


def test_a_paused_dag_is_a_problem(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    assert page.ask("PATCH", f"dags/{IMAGES}", {"is_paused": True}).ok
    shown = words(page.get("").text)
    assert page.ask("PATCH", f"dags/{IMAGES}", {"is_paused": False}).ok
    assert "Its DAG is paused, so nobody reads this channel." in shown


def test_a_channel_without_a_dag_is_a_problem(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse, 4004)
    assert "Airflow has no DAG asset_changes_editorial_image_4004 at present." in words(page.get("").text)
