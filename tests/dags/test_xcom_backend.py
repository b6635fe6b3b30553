"""An Airflow that keeps its XComs in object storage: its database holds addresses in their place."""

import json

import pytest
from getty_sandbox import Sandbox
from sqlalchemy import URL

from tests.dags.installation import GETTY, WAREHOUSE, Installation, getty_connection, warehouse_connection

CHANNEL = "asset_changes_editorial_image_3001"
ENTRY = {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"}


@pytest.fixture
def failed(airflow: Installation, sandbox: Sandbox, warehouse_url: URL) -> Installation:
    """Airflow with such a store, in which a task has failed."""
    airflow.environment = {
        GETTY: getty_connection(sandbox),
        WAREHOUSE: warehouse_connection(warehouse_url),
        "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"file://{airflow.home}/xcoms",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "1",
    }
    airflow.set_channels(json.dumps([ENTRY]))
    sandbox.retire(3001)
    airflow.run_afresh("test_dag", CHANNEL, {})
    [stored] = airflow.run_afresh("stored_xcoms")
    assert "/xcoms/" in stored
    return airflow


def test_the_sentence_of_a_red_task_is_read_from_the_store(failed: Installation) -> None:
    [reason] = [each for each in failed.run_afresh("problems_of", CHANNEL) if "newest run" in each]
    assert "has failed in the task fetch: The next change set of channel 3001: Getty does not know" in reason


def test_a_store_that_has_lost_the_sentence_harms_no_page(failed: Installation) -> None:
    for kept in [each for each in (failed.home / "xcoms").rglob("*") if each.is_file()]:
        kept.unlink()
        kept.mkdir()  # a store that fails in a way that the backend does not foresee
    assert "Its newest run has failed in the task fetch." in failed.run_afresh("problems_of", CHANNEL)
