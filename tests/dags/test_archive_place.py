"""A folder of one machine is no archive for tasks that run on several."""

import json

import pytest
from getty_sandbox import Sandbox
from sqlalchemy import URL

from tests.dags.installation import GETTY, WAREHOUSE, Installation, getty_connection, warehouse_connection

CHANNEL = "asset_changes_editorial_image_3001"
ENTRY = {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"}
EXECUTOR = "AIRFLOW__CORE__EXECUTOR"
SHARED = "ASSET_CHANGES_ARCHIVE_IS_SHARED"


@pytest.fixture
def connected(airflow: Installation, sandbox: Sandbox, warehouse_url: URL) -> Installation:
    """Airflow with both connections and one channel, which has changes."""
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse_url)}
    airflow.set_channels(json.dumps([ENTRY]))
    sandbox.append(3001, [{"id": "1", "asset_lifecycle": "New", "asset_type": "Image",
                           "asset_changed_utc_datetime": "2026-01-01T00:00:00Z"}])  # fmt: skip
    return airflow


@pytest.mark.parametrize(
    "executor",
    ["CeleryExecutor", "LocalExecutor,CeleryExecutor", "LocalExecutor;team=fast:my.own.EdgeExecutor"],
)
def test_a_folder_as_archive_is_refused_on_several_machines(
    connected: Installation, sandbox: Sandbox, executor: str
) -> None:
    """It is refused before any call where tasks may run elsewhere."""
    run = connected.test_dag(CHANNEL, **{EXECUTOR: executor})

    assert run.tasks["fetch"] == ("failed", 1)  # at once: another try would find the same folder
    assert run.lines(f"is a folder of one machine, but [core] executor = {executor} may run the next task on another")
    assert run.lines("Set ASSET_CHANGES_ARCHIVE_URI to an object store")
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "environment",
    [
        {EXECUTOR: "LocalExecutor"},
        {EXECUTOR: "here:airflow.executors.local_executor.LocalExecutor"},
        {EXECUTOR: "CeleryExecutor", SHARED: "on"},
        {EXECUTOR: "CeleryExecutor", "ASSET_CHANGES_ARCHIVE_URI": "memory://archive"},
    ],
    ids=str,
)
def test_a_folder_that_all_machines_share_is_taken(
    connected: Installation, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    """It is taken on one machine, too, and so is any store."""
    run = connected.test_dag(CHANNEL, **environment)

    assert run.tasks["fetch"][0] == "success"
    assert not run.lines("is a folder of one machine")
    assert sandbox.requests
