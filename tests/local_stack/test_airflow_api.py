"""Airflow's REST API as the stack asks it: a server on this machine that answers what the test wants."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from local_stack.airflow_api import DISCOVERY, AirflowApi, Try
from local_stack.errors import StackError

NOW = datetime.now(UTC)
UNWELL = (500, {"detail": {"reason": "Unhandled error", "message": "the database is away"}})


@contextmanager
def airflow(*answers: tuple[int, Any]) -> Iterator[tuple[AirflowApi, list[str]]]:
    """An API that gives these answers, the last one for ever; and what it was asked."""
    asked: list[str] = []

    class FakeAirflow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(f"{self.command} {self.path}")
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_GET  # noqa: N815 - the names that the server looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), FakeAirflow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = AirflowApi(f"http://127.0.0.1:{server.server_port}", password="")
        try:
            yield api, asked
        finally:
            api.close()
            server.shutdown()


def test_a_short_outage_of_the_database_ends_nothing() -> None:
    with airflow(UNWELL, UNWELL, (200, {"dag_run_id": "manual__1"})) as (api, asked):
        assert api.trigger(DISCOVERY) == "manual__1"
        assert len(asked) == 3


def test_a_refusal_is_airflows_sentence_and_not_retried() -> None:
    with airflow((404, {"detail": "The Dag is not there"})) as (api, asked):
        with pytest.raises(StackError, match=r"answered 404 to POST dags/.*/dagRuns: The Dag is not there$"):
            api.trigger(DISCOVERY)
        assert len(asked) == 1


def test_an_absent_database_is_reported_by_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.Retry.get_backoff_time", lambda self: 0)
    with airflow(UNWELL) as (api, asked):
        with pytest.raises(StackError, match=r"answered 500 to GET .*: the database is away$"):
            api.run_state(DISCOVERY, "manual__1")
        assert len(asked) == 5


@pytest.mark.parametrize(
    ("next_run", "is_due"),
    [(None, False), (NOW - timedelta(seconds=1), True), (NOW + timedelta(hours=1), False)],
)
def test_a_run_is_due_when_airflow_should_have_made_it(next_run: datetime | None, is_due: bool) -> None:
    with airflow((200, {"next_dagrun_run_after": next_run and next_run.isoformat()})) as (api, _):
        assert api.is_due(DISCOVERY) is is_due


def test_active_runs_come_with_their_start() -> None:
    runs = [
        {"dag_run_id": "scheduled__1", "start_date": "2026-01-01T00:00:00Z"},
        {"dag_run_id": "manual__1", "start_date": None},
    ]
    with airflow((200, {"dag_runs": runs})) as (api, asked):
        started_at = datetime(2026, 1, 1, tzinfo=UTC)
        assert api.active_runs(DISCOVERY) == {"scheduled__1": started_at, "manual__1": None}
        assert parse_qs(urlsplit(asked[0]).query)["state"] == ["queued", "running"]


def test_failed_tries_since_the_start_include_retried_ones() -> None:
    task = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "try_number": 1, "max_tries": 2, "state": "up_for_retry"}
    with airflow((200, {"task_instances": [task, task | {"try_number": 3, "state": "failed"}]})) as (api, asked):
        assert api.failed_tries(NOW) == [
            Try("d", "r", "t", number=1, of=3, is_last=False),
            Try("d", "r", "t", number=3, of=3, is_last=True),
        ]
        query = parse_qs(urlsplit(asked[0]).query)
        assert query["state"] == ["failed", "up_for_retry"]
        assert query["start_date_gte"] == [NOW.isoformat()]
