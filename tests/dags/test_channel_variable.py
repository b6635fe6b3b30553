"""What a broken Variable does: one bad entry stops one channel, an unreadable list says so out loud."""

import json
from typing import Any

import pytest
from getty_sandbox import Sandbox
from sqlalchemy import URL

from tests.dags import inside
from tests.dags.installation import GETTY, VARIABLE, WAREHOUSE, Installation, getty_connection, warehouse_connection

GOOD = {"channel_id": 3002, "asset_family": "Creative", "asset_type": "Image"}
GOOD_DAG = "asset_changes_creative_image_3002"
ENTRY = {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"}
DAG = "asset_changes_editorial_image_3001"


def parsed(airflow: Installation, *entries: Any) -> dict[str, Any]:
    """Return what the DAG processor makes of a list of these entries."""
    return dict(airflow.run(inside.parse, "channels.py", **{VARIABLE: json.dumps(entries)}))


@pytest.mark.parametrize("text", ["", "nonsense", '[{"channel_id": 3001', "{}", '"3001"', "null", "3001"])
def test_a_value_that_is_no_list_is_an_import_error(airflow: Installation, text: str) -> None:
    """The error names the remedy."""
    found = airflow.run(inside.parse, "channels.py", **{VARIABLE: text})
    assert found["dags"] == {}
    assert "The Variable asset_changes_channels is no JSON list" in found["errors"]["channels.py"]
    assert "set it to [] and run asset_changes_discovery" in found["errors"]["channels.py"]


def test_a_missing_list_is_an_import_error(airflow: Installation) -> None:
    """The error names the remedy."""
    found = airflow.run(inside.parse, "channels.py")
    assert found["dags"] == {}
    assert "The Variable asset_changes_channels cannot be read" in found["errors"]["channels.py"]
    assert "Run asset_changes_discovery, which writes it" in found["errors"]["channels.py"]


def test_an_empty_list_has_no_channel_and_no_error(airflow: Installation) -> None:
    assert parsed(airflow) == {"errors": {}, "dags": {}}


@pytest.mark.parametrize(
    ("entry", "dag_id", "reason"),
    [
        (
            {"asset_family": "Editorial", "asset_type": "Image"},
            "asset_changes_misconfigured_entry_1",
            "channel_id must",
        ),
        ({**ENTRY, "channel_id": "3001"}, "asset_changes_misconfigured_entry_1", "channel_id must be a whole number"),
        ({**ENTRY, "channel_id": True}, "asset_changes_misconfigured_entry_1", "channel_id must be a whole number"),
        ({**ENTRY, "channel_id": -1}, "asset_changes_misconfigured_entry_1", "from 1 to 2147483647"),
        ({**ENTRY, "channel_id": 2**31}, "asset_changes_misconfigured_entry_1", "from 1 to 2147483647"),
        ({"channel_id": 3001, "asset_type": "Image"}, "asset_changes_misconfigured_3001", "asset_family is null"),
        ({**ENTRY, "asset_family": 7}, "asset_changes_misconfigured_3001", "asset_family is 7"),
        ({**ENTRY, "asset_type": "<b>"}, "asset_changes_misconfigured_3001", 'asset_type is "<b>"'),
        ({**ENTRY, "batch_size": 0}, DAG, "batch size 0 in the entry of channel 3001 is refused: give a whole number"),
        ({**ENTRY, "batch_size": 5000}, DAG, "batch size 5000 in the entry of channel 3001 is refused"),
        ({**ENTRY, "batch_size": "x"}, DAG, "from 1 to 2200"),
        ({**ENTRY, "batch_size": True}, DAG, "batch size True in the entry of channel 3001 is refused"),
        ({**ENTRY, "schedule": "whenever"}, DAG, 'schedule is "whenever"'),
        ({**ENTRY, "schedule": "99 * * * *"}, DAG, "cannot be used"),
        ({**ENTRY, "schedule": "*/0 * * * *"}, DAG, "cannot be used"),
        ({**ENTRY, "schedule": ["* * * * *"]}, DAG, "schedule is ["),
        ({**ENTRY, "conn_id": ""}, DAG, 'conn_id is ""'),
        ({**ENTRY, "conn_id": {"a": 1}}, DAG, "conn_id is {"),
        ({**ENTRY, "batchsize": 5}, DAG, "the key 'batchsize' is unknown; known are asset_family"),
        (None, "asset_changes_misconfigured_entry_1", "null is no object with channel_id"),
        ("3001", "asset_changes_misconfigured_entry_1", '"3001" is no object'),
        ([], "asset_changes_misconfigured_entry_1", "[] is no object"),
    ],
)
def test_a_bad_entry_becomes_a_dag_that_says_what_is_wrong(
    airflow: Installation, entry: Any, dag_id: str, reason: str
) -> None:
    """The other entries are unharmed."""
    found = parsed(airflow, entry, GOOD)

    assert found["errors"] == {}
    assert set(found["dags"]) == {dag_id, GOOD_DAG}
    stub = found["dags"][dag_id]
    assert reason in stub["description"]
    assert reason in stub["doc_md"]
    assert "config-error" in stub["tags"]
    assert stub["timetable"] == "NullTimetable"
    assert list(found["dags"][GOOD_DAG]["tasks"]) == ["fetch", "transform", "load", "confirm", "catch_up"]


def test_the_task_of_a_bad_entry_fails_with_the_sentence(airflow: Installation) -> None:
    airflow.set_channels(json.dumps([{**ENTRY, "batch_size": 0}]))

    run = airflow.test_dag(DAG)

    assert run.tasks == {"say_what_is_wrong": ("failed", 1)}
    assert run.lines("The batch size 0 in the entry of channel 3001 is refused: give a whole number from 1 to 2200")


def test_a_channel_that_is_in_the_list_twice_gets_a_stub(airflow: Installation) -> None:
    """No channel is lost."""
    found = parsed(airflow, ENTRY, {**ENTRY, "asset_type": "Film"}, GOOD)

    assert found["errors"] == {}
    assert set(found["dags"]) == {DAG, "asset_changes_editorial_film_3001", GOOD_DAG}
    assert "channel 3001 is in it twice" in found["dags"]["asset_changes_editorial_film_3001"]["description"]
    assert "channel" in found["dags"][DAG]["tags"]


@pytest.mark.parametrize("place", [1, 2])
def test_a_bad_entry_does_not_replace_the_good_one(airflow: Installation, place: int) -> None:
    """Both are entries of the same channel."""
    entries = [ENTRY, GOOD]
    entries.insert(place - 1, {**ENTRY, "batch_size": "x"})
    entries.insert(place - 1, {**ENTRY, "batch_size": "y"})

    found = parsed(airflow, *entries)

    stubs = {dag_id for dag_id, dag in found["dags"].items() if "config-error" in dag["tags"]}
    assert found["errors"] == {}
    assert stubs == {f"asset_changes_misconfigured_entry_{place}", f"asset_changes_misconfigured_entry_{place + 1}"}
    assert set(found["dags"]) - stubs == {DAG, GOOD_DAG}


def test_a_retired_channel_keeps_its_dag_without_a_schedule(
    airflow: Installation, sandbox: Sandbox, warehouse_url: URL
) -> None:
    """It is not called."""
    retired = {**ENTRY, "retired_at": "2026-02-01T00:00:00+00:00", "schedule": "0 * * * *"}
    dag = parsed(airflow, retired, GOOD)["dags"][DAG]
    assert dag["timetable"] == "NullTimetable"
    assert "retired" in dag["tags"]

    airflow.environment = {
        GETTY: getty_connection(sandbox),
        WAREHOUSE: warehouse_connection(warehouse_url),
        VARIABLE: json.dumps([retired]),
    }
    failure = airflow.run(inside.failure_of_task, DAG, "fetch", {})

    assert "Channel 3001 is retired: Getty has not listed it since 2026-02-01T00:00:00+00:00" in failure
    assert sandbox.requests == []


def test_a_schedule_that_is_no_cron_leaves_stubs_that_say_so(airflow: Installation) -> None:
    """The schedule is that of the environment."""
    found = airflow.run(
        inside.parse, "channels.py", **{VARIABLE: json.dumps([ENTRY]), "ASSET_CHANGES_SCHEDULE": "often"}
    )
    assert found["errors"] == {}
    assert "cannot be used" in found["dags"][DAG]["description"]
    assert "ASSET_CHANGES_SCHEDULE" in found["dags"][DAG]["description"]
