"""Discovery against answers that are not believed at once, and against a Variable that it cannot write."""

import json

import pytest
from asset_changes.warehouse.schema import VERSION
from getty_sandbox import Sandbox
from sqlalchemy import URL, Engine, text

from tests.dags.installation import GETTY, VARIABLE, WAREHOUSE, Installation, getty_connection, warehouse_connection

DISCOVERY = "asset_changes_discovery"
CHANNEL = "asset_changes_editorial_image_3001"
ALL = [3001, 3002, 3003, 3004]


@pytest.fixture
def discovered(airflow: Installation, sandbox: Sandbox, warehouse_url: URL) -> Installation:
    """Airflow that knows the four channels of the sandbox."""
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse_url)}
    assert airflow.test_dag(DISCOVERY).state == "success"
    return airflow


def marked(airflow: Installation, warehouse: Engine, mark: str) -> list[int]:
    """Return the channels with this mark; in the Variable and in the warehouse they are the same."""
    listed = [entry["channel_id"] for entry in airflow.channels() if entry.get(mark)]
    with warehouse.connect() as connection:
        query = text(f"SELECT channel_id FROM channels WHERE {mark} IS NOT NULL ORDER BY channel_id")
        assert list(connection.scalars(query)) == listed
    return listed


def test_the_last_line_of_migrate_names_the_version(discovered: Installation) -> None:
    """Also where nothing was to be done."""
    assert discovered.test_dag(DISCOVERY).lines(f"Migrated the warehouse: schema=getty_images version={VERSION}")


def test_a_list_without_a_channel_leaves_it_read(discovered: Installation, sandbox: Sandbox, warehouse: Engine) -> None:
    sandbox.retire(3001)
    for _ in range(2):
        run = discovered.test_dag(DISCOVERY)
        assert run.state == "success"
        assert run.lines("Getty's list lacks channels [3001]. They are still read")
    assert marked(discovered, warehouse, "missing_since") == [3001]
    assert marked(discovered, warehouse, "retired_at") == []


def test_an_empty_list_leaves_every_channel_read(discovered: Installation, sandbox: Sandbox, warehouse: Engine) -> None:
    for channel_id in ALL:
        sandbox.retire(channel_id)
    assert discovered.test_dag(DISCOVERY).state == "success"
    assert marked(discovered, warehouse, "missing_since") == ALL
    assert marked(discovered, warehouse, "retired_at") == []


def test_a_list_that_lacks_it_a_day_later_retires_a_channel(
    discovered: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    sandbox.retire(3001)
    discovered.test_dag(DISCOVERY)
    entries = discovered.channels()
    entries[0]["missing_since"] = "2026-01-01T00:00:00+00:00"
    discovered.set_channels(json.dumps(entries))
    discovered.test_dag(DISCOVERY)
    assert marked(discovered, warehouse, "retired_at") == [3001]


def test_a_channel_that_a_put_was_refused_for_is_retired(
    discovered: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    sandbox.retire(3001)
    assert discovered.test_dag(CHANNEL).states()["fetch"] == "failed"
    assert discovered.test_dag(DISCOVERY).state == "success"
    assert marked(discovered, warehouse, "retired_at") == [3001]


def test_a_refused_put_is_void_once_the_channel_answers(
    discovered: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    with warehouse.begin() as connection:
        connection.execute(text("UPDATE channels SET refused_at = now() WHERE channel_id = 3001"))
    assert discovered.test_dag(CHANNEL).states()["fetch"] == "skipped"
    sandbox.retire(3001)
    discovered.test_dag(DISCOVERY)
    assert marked(discovered, warehouse, "retired_at") == []


def test_an_account_without_any_channel_is_an_error(
    airflow: Installation, sandbox: Sandbox, warehouse_url: URL
) -> None:
    for channel_id in ALL:
        sandbox.retire(channel_id)
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse_url)}
    airflow.set_channels("[]")
    run = airflow.test_dag(DISCOVERY)
    assert run.states()["discover"] == "failed"
    assert run.lines("Getty lists no channel for connection 'getty_images_default': nothing was changed")


def test_a_variable_of_the_environment_is_named(airflow: Installation, sandbox: Sandbox, warehouse_url: URL) -> None:
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse_url)}
    run = airflow.test_dag(DISCOVERY, None, **{VARIABLE: "[]"})
    assert run.states()["discover"] == "failed"
    [said] = {line.partition("ConfigurationError: ")[2] for line in run.lines("wins over it")} - {""}
    assert "the environment variable AIRFLOW_VAR_ASSET_CHANGES_CHANNELS wins over it" in said

    kept = said[said.index("[{") : said.rindex("]") + 1]
    assert [entry["channel_id"] for entry in json.loads(kept)] == ALL
    assert airflow.test_dag(DISCOVERY, None, **{VARIABLE: kept}).state == "success"


def test_a_variable_of_a_secrets_backend_is_named(airflow: Installation, sandbox: Sandbox, warehouse_url: URL) -> None:
    secrets = airflow.home / "variables.json"
    secrets.write_text(json.dumps({"asset_changes_channels": "[]"}))
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    airflow.environment = {
        GETTY: getty_connection(sandbox),
        WAREHOUSE: warehouse_connection(warehouse_url),
        "AIRFLOW__SECRETS__BACKEND": backend,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"variables_file_path": str(secrets)}),
    }
    run = airflow.test_dag(DISCOVERY)
    assert run.states()["discover"] == "failed"
    assert run.lines(f"the secrets backend {backend} wins over it")
