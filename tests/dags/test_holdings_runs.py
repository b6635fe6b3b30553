"""Runs of the real holdings DAG, as Airflow runs it, against a real warehouse."""

import gzip
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import URL, Engine

from tests.dags import inside
from tests.dags.installation import WAREHOUSE, Installation, warehouse_connection
from tests.dags.test_runs import rows

HOLDINGS = "asset_changes_holdings"
SETTING = "ASSET_CHANGES_HOLDINGS"


@pytest.fixture
def connected(airflow: Installation, warehouse_url: URL, tmp_path: Path) -> Installation:
    """Airflow with the warehouse and two lists: `dam` has 40 assets, `archive` one."""
    write(tmp_path / "dam.csv", *range(40))
    write(tmp_path / "archive.csv", 7)
    lists = [{"source": name, "uri": f"file://{tmp_path}/{name}.csv"} for name in ("dam", "archive")]
    airflow.environment = {WAREHOUSE: warehouse_connection(warehouse_url), SETTING: json.dumps(lists)}
    return airflow


def write(file: Path, *ids: int) -> None:
    """Write a list of these ids."""
    file.write_text("asset_id\n" + "".join(f"{each}\n" for each in ids))


def held_counts(warehouse: Engine) -> list[tuple[Any, ...]]:
    """Return how many assets each source holds."""
    return rows(
        warehouse, "SELECT source, count(*) FROM held_assets WHERE held_until IS NULL GROUP BY source ORDER BY source"
    )


def test_a_run_imports_each_list(connected: Installation, warehouse: Engine) -> None:
    run = connected.test_dag(HOLDINGS)
    assert run.state == "success"
    assert held_counts(warehouse) == [("archive", 1), ("dam", 40)]
    assert run.lines("Lists to import: dam, archive")
    assert run.lines("Imported holdings: source=dam held=40 new=40 changed=0 ended=0 unchanged=0 unreadable=0")
    assert rows(warehouse, "SELECT DISTINCT dag_id, run_id FROM holding_imports") == [(HOLDINGS, run.run_id)]


def test_a_list_in_a_bucket_is_imported(connected: Installation, warehouse: Engine) -> None:
    """As S3 Inventory writes it: compressed, without a header, the keys encoded."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        s3 = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        s3.create_bucket(Bucket="inventory")
        lines = "".join(f'"media","images/2026%2F11/GettyImages-{each}.jpg","20"\n' for each in range(100, 103))
        s3.put_object(Bucket="inventory", Key="data/list.csv.gz", Body=gzip.compress(lines.encode()))
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        aws = {"conn_type": "aws", "login": "made-up", "password": "made-up", "extra": extra}
        run = connected.test_dag(
            HOLDINGS,
            {"source": "inventory", "uri": "s3://aws_lists@inventory/data/list.csv.gz", "column": "2"},
            AIRFLOW_CONN_AWS_LISTS=json.dumps(aws),
        )
    finally:
        server.stop()
    assert run.state == "success", run.log
    assert held_counts(warehouse) == [("inventory", 3)]
    assert rows(warehouse, "SELECT location FROM held_assets WHERE asset_id = '100'") == [
        ("images/2026%2F11/GettyImages-100.jpg",)
    ]


def test_a_refused_list_stops_no_other(connected: Installation, warehouse: Engine, tmp_path: Path) -> None:
    """It is accepted by its source and the number in the message, in a run of its own."""
    connected.test_dag(HOLDINGS)
    write(tmp_path / "dam.csv", *range(30))
    write(tmp_path / "archive.csv", 7, 8)
    run = connected.test_dag(HOLDINGS)
    assert run.state == "failed"
    assert run.lines("`accept_shrink` would need to be 10.")
    assert held_counts(warehouse) == [("archive", 2), ("dam", 40)]
    assert connected.test_dag(HOLDINGS, {"source": "dam", "accept_shrink": 10}).state == "success"
    assert held_counts(warehouse) == [("archive", 2), ("dam", 30)]


def test_a_single_list_is_imported_by_the_form(connected: Installation, warehouse: Engine, tmp_path: Path) -> None:
    (tmp_path / "single.csv").write_text("shelf,GettyImages-5.jpg\nshelf,GettyImages-6.jpg\n")
    form = {"source": "shelf", "uri": f"file://{tmp_path}/single.csv", "column": "2"}
    assert connected.test_dag(HOLDINGS, form).state == "success"
    assert held_counts(warehouse) == [("shelf", 2)]


def test_without_a_list_the_run_is_skipped(connected: Installation, warehouse: Engine) -> None:
    run = connected.test_dag(HOLDINGS, None, **{SETTING: ""})
    assert set(run.states().values()) == {"skipped"}
    assert run.state == "success"
    assert run.lines("No list of holdings is configured (ASSET_CHANGES_HOLDINGS)")
    assert rows(warehouse, "SELECT count(*) FROM holding_imports") == [(0,)]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"accept_shrink": 3}, "without a `source`"),
        ({"source": "shelf"}, "ASSET_CHANGES_HOLDINGS has only: dam, archive."),
        ({"source": "shelf", "uri": "s3://me:secret@bucket/list.csv"}, "The run's form holds a password"),
    ],
)
def test_a_form_that_cannot_be_meant_is_refused(form: dict[str, Any], says: str, connected: Installation) -> None:
    run = connected.test_dag(HOLDINGS, form)
    assert run.tasks["find_lists"] == ("failed", 1)
    assert run.lines(says)


def test_the_schedule_of_imports_is_a_setting(connected: Installation) -> None:
    found = connected.run(inside.parse, "holdings.py", ASSET_CHANGES_HOLDINGS_SCHEDULE="7 4 * * *")["dags"]
    assert "7 4 * * *" in json.dumps(found[HOLDINGS], default=str)
