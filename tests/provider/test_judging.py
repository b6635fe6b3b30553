"""What the task `judge` asks a person where several reconciliations wait, and what becomes of late answers."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from getty_images.tasks import lookup
from sqlalchemy import URL, Engine

from tests.core.doubles import execute, rows, value

pytestmark = pytest.mark.usefixtures("connected")


@pytest.fixture
def connected(warehouse: Engine, warehouse_url: URL, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow knows the warehouse, and two reconciliations were asked to their end, with too much gone."""
    given = {
        "conn_type": "postgres",
        "host": warehouse_url.query["host"],
        "login": warehouse_url.username,
        "schema": warehouse_url.database,
    }
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_DEFAULT", json.dumps(given))
    monkeypatch.setenv("ASSET_CHANGES_ARCHIVE_URI", f"file://{tmp_path}")
    for conn_id in ("a", "b"):
        execute(
            warehouse,
            "INSERT INTO reconciliations (conn_id, channel_ids, started_at, asked_at, asked_count, not_licensed_count,"
            f" first_asked_count, first_gone_count) VALUES ('{conn_id}', '{{}}', now(), now(), 10, 9, 10, 9)",
        )


def context(run_id: str, states: dict[str, str]) -> dict[str, Any]:
    """Return the context of a run, with the states of the task `judge` in others."""

    def task_states(*, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, dict[str, str]]:
        return {each: {"judge": states[each]} for each in run_ids if each in states}

    return {
        "run_id": run_id,
        "dag": SimpleNamespace(dag_id="asset_changes_lookup"),
        "task": SimpleNamespace(task_id="judge"),
        "ti": SimpleNamespace(get_task_states=task_states, xcom_pull=lambda **_: None),
        "outlet_events": {},
    }


def test_one_run_at_a_time_waits_for_a_person(warehouse: Engine) -> None:
    """Two that wait would be all the runs that the DAG may have: nothing would be looked up any more."""
    execute(warehouse, "UPDATE reconciliations SET outcome = 'waiting', run_id = 'first' WHERE conn_id = 'a'")
    assert lookup.judge(context("second", {"first": "awaiting_input"})) is None
    question = lookup.judge(context("third", {"first": "failed"}))
    assert question is not None
    assert "with connection a" in question
    assert "with connection b" in question
    assert rows(warehouse, "SELECT run_id FROM reconciliations") == [{"run_id": "third"}] * 2


def test_the_time_to_answer_begins_with_the_question(warehouse: Engine) -> None:
    execute(warehouse, "UPDATE reconciliations SET outcome = 'waiting', expires_at = now() + interval '1 minute'")
    lookup.judge(context("first", {}))
    assert value(warehouse, "SELECT min(expires_at) > now() + interval '71 hours' FROM reconciliations")


def test_an_approval_that_counts_nothing_is_red(warehouse: Engine) -> None:
    lookup.judge(context("first", {}))
    execute(warehouse, "UPDATE reconciliations SET expires_at = now()")
    with pytest.raises(AirflowFailException, match="The approval by bea came too late"):
        lookup.decide(context("first", {}), is_approved=True, name="bea")
    assert rows(warehouse, "SELECT outcome FROM reconciliations") == [{"outcome": "expired"}] * 2


def test_what_is_held_is_asked_about_without_channels(warehouse: Engine) -> None:
    """With the connection that all channels have that name no other."""
    execute(warehouse, "TRUNCATE reconciliations CASCADE")
    execute(warehouse, "INSERT INTO held_assets (source, asset_id, held_since) VALUES ('dam', '1', now())")
    assert lookup.enqueue({"params": {}})["rechecks"] == 1
    assert rows(warehouse, "SELECT conn_id FROM reconciliations") == [{"conn_id": "getty_images_default"}]
