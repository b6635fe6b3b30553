"""Runs of the real lookup DAG, as Airflow runs it, against a local Getty and a real warehouse."""

import json
from typing import Any

import pytest
from getty_sandbox import Sandbox
from sqlalchemy import URL, Engine, text

from tests.dags.installation import GETTY, WAREHOUSE, Installation, Run, getty_connection, warehouse_connection
from tests.dags.test_runs import CHANNEL, ENTRY, change, rows

LOOKUP = "asset_changes_lookup"
TASKS = ("enqueue", "look_up", "judge", "everything_asked")
RATE = {"ASSET_CHANGES_LOOKUPS_PER_SECOND": "100"}


@pytest.fixture
def connected(airflow: Installation, sandbox: Sandbox, warehouse_url: URL) -> Installation:
    """Airflow with both connections, one channel in the Variable, and three live assets and a deleted one."""
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse_url), **RATE}
    airflow.set_channels(json.dumps([ENTRY]))
    sandbox.append(3001, [change("1"), change("2"), change("3"), change("4"), change("4", "Delete", minute=1)])
    assert airflow.test_dag(CHANNEL).state == "success"
    return airflow


def counts(run: Run) -> dict[str, Any]:
    """Return what `look_up` says that it did."""
    return dict(json.loads(run.xcoms["look_up"]))


def known(warehouse: Engine) -> list[str]:
    """Return the assets with metadata."""
    return [asset_id for (asset_id,) in rows(warehouse, "SELECT asset_id FROM asset_metadata ORDER BY asset_id")]


def test_a_run_stores_what_live_assets_are(connected: Installation, warehouse: Engine) -> None:
    run = connected.test_dag(LOOKUP)

    assert run.states() == dict.fromkeys(TASKS, "success")
    assert known(warehouse) == ["1", "2", "3"]
    assert run.lines("Looked up assets: connection=getty_images_default asked=3 found=3 changed=3 not_found=0")
    assert counts(run)["waiting"] == 0
    assert len(run.xcoms["look_up"]) < 1024


def test_its_asset_is_updated_only_when_metadata_changed(connected: Installation) -> None:
    """The event has counts, and no id."""
    events = "SELECT asset_event.extra FROM asset_event JOIN asset ON asset.id = asset_id WHERE name = ?"
    connected.test_dag(LOOKUP)
    connected.test_dag(LOOKUP)
    found = connected.rows(events, "asset_changes_metadata_updated")
    assert [json.loads(extra) for (extra,) in found] == [{"changed": 3, "found": 3, "waiting": 0}]


def test_metadata_switched_on_again_finds_what_came_meanwhile(
    connected: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    connected.test_dag(LOOKUP, ASSET_CHANGES_METADATA="off")
    sandbox.append(3001, [change("5", minute=5)])
    connected.test_dag(CHANNEL)
    connected.test_dag(LOOKUP)
    assert known(warehouse) == ["1", "2", "3", "5"]


def test_a_second_run_asks_nothing(connected: Installation) -> None:
    connected.test_dag(LOOKUP)
    assert counts(connected.test_dag(LOOKUP)) == {
        **dict.fromkeys(("asked", "found", "changed", "not_found", "unanswered", "dropped"), 0),
        **dict.fromkeys(("not_licensed", "not_in_catalogue", "waiting", "calls"), 0),
        "is_daily_limit_reached": False,
    }


def test_a_named_asset_is_asked_again(connected: Installation, warehouse: Engine) -> None:
    connected.test_dag(LOOKUP)
    run = connected.test_dag(LOOKUP, {"asset_ids": ["2", "4", "nobody"]})
    assert (counts(run)["asked"], counts(run)["changed"]) == (1, 0)
    assert run.lines("unknown=2")


def test_metadata_that_is_switched_off_costs_no_call(connected: Installation, warehouse: Engine) -> None:
    run = connected.test_dag(LOOKUP, ASSET_CHANGES_METADATA="off", ASSET_CHANGES_RECONCILE_DAYS="0")
    assert set(run.states().values()) == {"skipped"}
    assert run.lines(
        "Metadata and reconciliation are switched off (ASSET_CHANGES_METADATA, ASSET_CHANGES_RECONCILE_DAYS)"
    )
    assert known(warehouse) == []
    assert rows(warehouse, "SELECT count(*) FROM lookup_calls") == [(0,)]


def test_a_second_holder_is_skipped_and_names_the_first(connected: Installation, warehouse: Engine) -> None:
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO lookup_connections (conn_id, lease_id, leased_by, leased_until)"
                " VALUES ('getty_images_default', 'one', 'another run', now() + interval '2 minutes')"
            )
        )
    run = connected.test_dag(LOOKUP)
    assert run.states() == dict.fromkeys(TASKS, "skipped") | {"enqueue": "success"}
    assert run.lines("is used by another run until")


def test_a_key_without_the_right_leaves_the_queue(connected: Installation, warehouse: Engine) -> None:
    """One sentence says so, and the queue is as it was."""
    wrong = connected.environment[GETTY].replace("sandbox-secret", "another")
    run = connected.test_dag(LOOKUP, None, **{GETTY: wrong})
    assert run.tasks["look_up"] == ("failed", 1)
    assert run.lines("Getty does not accept the credentials of connection 'getty_images_default'")
    assert rows(warehouse, "SELECT count(*) FROM lookup_queue") == [(3,)]


def test_a_connection_of_its_own_asks_for_all(connected: Installation, warehouse: Engine) -> None:
    second = {"AIRFLOW_CONN_GETTY_LOOKUPS": connected.environment[GETTY]}
    run = connected.test_dag(LOOKUP, None, ASSET_CHANGES_LOOKUP_CONN_ID="getty_lookups", **second)
    assert run.lines("Looked up assets: connection=getty_lookups asked=3 found=3")
    assert known(warehouse) == ["1", "2", "3"]


def test_no_caption_is_in_a_log_or_an_xcom(connected: Installation, warehouse: Engine) -> None:
    run = connected.test_dag(LOOKUP)
    said = [value for row in rows(warehouse, "SELECT title, caption, artist FROM asset_metadata") for value in row]
    assert any(said)
    assert [value for value in said if value and value in run.log + "".join(run.xcoms.values())] == []


def hold(warehouse: Engine, *asset_ids: str) -> None:
    """Let the company hold these."""
    with warehouse.begin() as connection:
        for asset_id in asset_ids:
            connection.execute(
                text("INSERT INTO held_assets (source, asset_id, held_since) VALUES ('dam', :id, now())"),
                {"id": asset_id},
            )


def test_what_must_be_removed_wakes_who_waits(connected: Installation, warehouse: Engine) -> None:
    """Once, with the numbers by reason and no id; asset 4 is held and was deleted."""
    events = "SELECT asset_event.extra FROM asset_event JOIN asset ON asset.id = asset_id WHERE name = ?"
    hold(warehouse, "4")
    run = connected.test_dag(LOOKUP)
    assert run.lines("Must be removed: deleted=1 not_in_catalogue=0 not_licensed=0")
    connected.test_dag(LOOKUP)
    found = connected.rows(events, "asset_changes_removals_due")
    assert [json.loads(extra) for (extra,) in found] == [{"deleted": 1, "not_in_catalogue": 0, "not_licensed": 0}]


def test_all_that_was_not_asked_since_is_asked(connected: Installation, warehouse: Engine) -> None:
    connected.test_dag(LOOKUP)
    run = connected.test_dag(LOOKUP, {"not_asked_since": "2999-01-01T00:00:00Z"})
    assert run.lines("Enqueued assets: queued=0 rechecks=3")
    assert rows(warehouse, "SELECT outcome, asked_count, available_count FROM reconciliations") == [("counted", 3, 3)]


def test_a_person_approves_verdicts_on_too_many(connected: Installation, warehouse: Engine) -> None:
    """The question has the numbers, and the row of the reconciliation who approved."""
    hold(warehouse, "nobody", "no one")
    run, question = connected.test_dag_with_answer(LOOKUP, "Approve", name="bea")
    assert run.states() == dict.fromkeys(TASKS, "success")
    assert "of 2 assets that were available before or never asked about, 2 are gone now" in question
    verdicts = rows(warehouse, "SELECT asset_id, verdict FROM availability WHERE verdict <> 'available' ORDER BY 1")
    assert verdicts == [("no one", "not_in_catalogue"), ("nobody", "not_in_catalogue")]
    assert rows(warehouse, "SELECT outcome, approved_by FROM reconciliations") == [("approved", "bea")]


def test_rejected_verdicts_are_void(connected: Installation, warehouse: Engine) -> None:
    hold(warehouse, "nobody")
    run, _ = connected.test_dag_with_answer(LOOKUP, "Reject", name="bea")
    assert run.states()["judge"] == "success"
    assert rows(warehouse, "SELECT verdict FROM availability WHERE verdict <> 'available'") == []
    assert rows(warehouse, "SELECT outcome, approved_by FROM reconciliations") == [("refused", "bea")]


def test_a_broken_connection_delays_no_other(connected: Installation, sandbox: Sandbox, warehouse: Engine) -> None:
    """Its round stays open and the run is red; the verdicts of the other connection count all the same."""
    second = {"channel_id": 3003, "asset_family": "Editorial", "asset_type": "Film", "conn_id": "works"}
    connected.set_channels(json.dumps([ENTRY | {"conn_id": "broken"}, second]))
    works = connected.environment[GETTY]
    keys = {"AIRFLOW_CONN_BROKEN": works.replace("sandbox-secret", "another"), "AIRFLOW_CONN_WORKS": works}
    sandbox.append(3003, [change("f") | {"asset_type": "Film"}])
    assert connected.test_dag("asset_changes_editorial_film_3003", None, **keys).state == "success"
    run = connected.test_dag(LOOKUP, {"not_asked_since": "2999-01-01T00:00:00Z"}, **keys)
    assert run.state == "failed"
    states = {"look_up": "failed", "judge": "success", "everything_asked": "upstream_failed"}
    assert run.states() == {"enqueue": "success"} | states
    outcomes = rows(warehouse, "SELECT conn_id, outcome FROM reconciliations ORDER BY 1")
    assert outcomes == [("broken", None), ("works", "counted")]


def test_a_time_without_a_zone_is_refused(connected: Installation) -> None:
    run = connected.test_dag(LOOKUP, {"not_asked_since": "2026-11-28T12:00:00"})
    assert run.tasks["enqueue"] == ("failed", 1)
    assert run.lines("give a time with its zone")
