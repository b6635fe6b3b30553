"""What every DAG file keeps to, whoever adds the next one."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dags import inside
from tests.dags.installation import PROJECT, VARIABLE, Installation

FILES = sorted(path.name for path in (PROJECT / "dags").glob("*.py"))
CHANNEL = "asset_changes_editorial_image_3001"
ENTRIES = [
    {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"},
    {"channel_id": 3004, "asset_family": "Creative", "asset_type": "Film", "schedule": "0 * * * *", "batch_size": 500},
]


@pytest.fixture
def airflow(airflow: Installation) -> Iterator[Installation]:
    """Airflow with two channels."""
    airflow.environment = {VARIABLE: json.dumps(ENTRIES)}
    return airflow


@pytest.fixture
def dags(airflow: Installation) -> dict[str, Any]:
    """All DAGs of the folder, as Airflow sees them."""
    parsed = airflow.run(inside.parse)
    assert parsed["errors"] == {}
    return dict(parsed["dags"])


@pytest.fixture
def channel(dags: dict[str, Any]) -> dict[str, Any]:
    """The DAG of channel 3001."""
    return dict(dags[CHANNEL])


def test_every_file_in_the_folder_holds_dags_that_import(dags: dict[str, Any]) -> None:
    assert {each["file"] for each in dags.values()} == set(FILES)


def test_every_dag_introduces_itself_in_the_ui(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags.items():
        assert dag["display_name"] != dag_id, dag_id
        assert dag["description"].strip(), dag_id
        assert {"What it writes", "red"} <= set(re.findall(r"What it writes|\bred\b", dag["doc_md"])), dag_id
        assert "getty-images" in dag["tags"], dag_id
        assert len(dag["tags"]) > 1, dag_id
        assert dag["owner"] == "asset-changes", dag_id
        assert dag["catchup"] is False, dag_id


def test_every_param_has_a_type_a_title_and_help(dags: dict[str, Any]) -> None:
    params = [(dag_id, name, param) for dag_id, dag in dags.items() for name, param in dag["params"].items()]
    assert params
    for dag_id, name, param in params:
        assert param.get("type"), (dag_id, name)
        assert param.get("title"), (dag_id, name)
        assert (param.get("description") or "").strip(), (dag_id, name)


def test_every_task_says_in_the_ui_what_it_does(dags: dict[str, Any]) -> None:
    tasks = [(dag_id, task_id, task) for dag_id, dag in dags.items() for task_id, task in dag["tasks"].items()]
    # Airflow shows no text of a mapped task.
    silent = [(dag_id, task_id) for dag_id, task_id, task in tasks if not (task["doc_md"] or task["is_mapped"])]
    assert silent == []


def test_a_task_passes_on_one_xcom_not_one_for_each_key(dags: dict[str, Any]) -> None:
    tasks = {(dag_id, task_id): task for dag_id, dag in dags.items() for task_id, task in dag["tasks"].items()}
    assert {key for key, task in tasks.items() if task["multiple_outputs"]} == set()


def test_a_channel_has_the_five_tasks_in_a_row(channel: dict[str, Any]) -> None:
    row = ["fetch", "transform", "load", "confirm", "catch_up"]
    assert list(channel["tasks"]) == row
    assert [task["downstream"] for task in channel["tasks"].values()] == [[each] for each in row[1:]] + [[]]
    assert {task["trigger_rule"] for task in channel["tasks"].values()} == {"all_success"}


def test_a_channel_runs_by_plain_cron_one_run_at_a_time(channel: dict[str, Any], dags: dict[str, Any]) -> None:
    assert channel["timetable"] == "CronTriggerTimetable"
    assert channel["schedule"] == "*/5 * * * *"
    assert dags["asset_changes_creative_film_3004"]["schedule"] == "0 * * * *"
    assert channel["max_active_runs"] == 1
    assert channel["catchup"] is False


def test_what_costs_or_deletes_waits_for_a_decision(dags: dict[str, Any]) -> None:
    """They are paused in a new installation: lookups cost calls, a purge deletes files."""
    paused = {dag_id for dag_id, each in dags.items() if each["is_paused_upon_creation"]}
    assert paused == {
        "asset_changes_lookup",
        "asset_changes_purge",
        "asset_changes_example_downstream",
        "asset_changes_example_cdn",
    }


def test_all_channels_have_the_schedule_of_the_environment(airflow: Installation) -> None:
    dags = airflow.run(inside.parse, "channels.py", ASSET_CHANGES_SCHEDULE="7 * * * *")["dags"]
    assert [dags[dag_id]["schedule"] for dag_id in sorted(dags)] == ["0 * * * *", "7 * * * *"]


def test_airflow_refuses_to_backfill_a_channel(airflow: Installation, channel: dict[str, Any]) -> None:
    """It takes scheduled and manual runs."""
    assert channel["allowed_run_types"] == ["manual", "scheduled"]

    refusal = airflow.run(inside.backfill_refusal, CHANNEL)

    assert "does not allow backfill runs" in refusal


def test_the_batch_size_of_the_form_is_that_of_the_channel(dags: dict[str, Any]) -> None:
    """It is within Getty's range."""
    plain, chosen = (dags[dag_id]["params"]["batch_size"] for dag_id in (CHANNEL, "asset_changes_creative_film_3004"))
    assert (plain["default"], plain["minimum"], plain["maximum"]) == (None, 1, 2200)
    assert chosen["default"] == 500


@pytest.mark.parametrize(("file", "dag_id"), [("channels.py", CHANNEL), ("discovery.py", "asset_changes_discovery")])
def test_only_a_transient_error_is_tried_again(
    airflow: Installation, dags: dict[str, Any], file: str, dag_id: str
) -> None:
    """A terminal one fails at once."""
    decisions = airflow.run(inside.retry_decisions, file, dag_id)
    tree = {"fail": set(), "retry": set(), "default": set()}
    for task_id, said in decisions.items():
        for error, action in said.items():
            tree[action].add(error)
        task = dags[dag_id]["tasks"][task_id]
        assert (task["retries"], task["retry_delay"]) == (2, 20.0), task_id
    assert tree["fail"] >= {"CredentialsRefused", "UnreadableChangeSet", "ConfigurationError", "SchemaMismatch"}
    assert tree["retry"] >= {"ApiUnavailable", "RateLimited", "WarehouseUnavailable", "ArchiveUnavailable"}
    assert tree["default"] == {"AssetChangesError", "RuntimeError"}
    assert not tree["fail"] & tree["retry"]


def test_discovery_migrates_then_asks_at_once_and_daily(dags: dict[str, Any]) -> None:
    discovery = dags["asset_changes_discovery"]
    assert "17 3 * * *" in discovery["schedule"]
    assert "run_immediately=True" in discovery["schedule"]
    assert discovery["start_date"] is None
    assert discovery["tasks"]["migrate"]["downstream"] == ["discover"]


def test_parsing_the_channels_reads_one_variable_once(airflow: Installation) -> None:
    assert airflow.run(inside.variables_read, "channels.py") == ["asset_changes_channels"]


@pytest.mark.parametrize("file", FILES)
def test_parsing_touches_no_network_and_no_database(airflow: Installation, file: str) -> None:
    assert airflow.run(inside.calls_while_parsing, file) == []


@pytest.mark.parametrize("file", FILES)
def test_no_parse_makes_a_new_version(airflow: Installation, file: str) -> None:
    """Airflow finds nothing in the file that would make one at each parse."""
    assert airflow.run(inside.unstable, file) == ""


def test_two_parses_make_the_same_versions_of_all_dags(airflow: Installation) -> None:
    """The two are made by two processes, at two times."""
    here = airflow.run(inside.hashes)
    there = airflow.run_afresh("hashes", PYTHONHASHSEED="2", TZ="America/New_York")
    assert here == there
    assert len(here) == len(FILES) + 1


def test_parsing_the_channels_imports_no_library_of_the_tasks(airflow: Installation) -> None:
    assert airflow.run_afresh("imports_of_parsing", "channels.py") == []


def test_a_worker_builds_the_dag_of_its_task_alone(airflow: Installation) -> None:
    assert airflow.run(inside.parse_for_task, "channels.py", CHANNEL) == [CHANNEL]
