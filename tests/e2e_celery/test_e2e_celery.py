"""The cluster that docker-compose.yaml describes: two workers, one of them lost for good, and the same tables."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from local_stack.airflow_api import DISCOVERY, AirflowApi
from local_stack.progress import Warehouse
from local_stack.services import marked_processes
from local_stack.stack import free_port
from sqlalchemy import URL, Engine, create_engine, text

from tests import waiting
from tests.cluster import compose_file
from tests.cluster.container import Container
from tests.cluster.postgres import TcpPostgres
from tests.cluster.runner import PROJECT, Cluster, running_cluster
from tests.core.doubles import rows
from tests.e2e.truth import assert_equals

pytestmark = pytest.mark.celery

COMPOSE = PROJECT / "docker-compose.yaml"
SEED = os.environ.get("SEED") or "1"
IS_SHORT = os.environ.get("SHORT") == "1"
CHANGES, BATCH_SIZE = (4_000, 200) if IS_SHORT else (20_000, 400)
SETS = 4 * CHANGES // BATCH_SIZE
BUCKET = "asset-changes"
TIMEOUT_SECONDS = 600
# What takes Airflow minutes by default, for the sake of a rare cause, and here a part of one.
CLOCKS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20" if IS_SHORT else "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "40" if IS_SHORT else "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    # After task_queued_timeout, as in the file, but within the test.
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "120",
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__UNACKED_RESTORE_THROTTLE": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
    "ASSET_CHANGES_BATCH_SIZE": str(BATCH_SIZE),
}


@dataclass(frozen=True)
class Outside:
    """What the cluster is given: a local Getty, a warehouse, an S3."""

    getty: str
    s3: str
    warehouse: URL

    def variables(self) -> dict[str, str]:
        """Return the `.env` of the compose file, with secrets made up."""
        getty = {"conn_type": "getty_images", "host": self.getty, "login": "sandbox-key", "password": "sandbox-secret",
                 "extra": {"token_url": f"{self.getty}/oauth2/token"}}  # fmt: skip
        aws = {"conn_type": "aws", "login": "made-up", "password": "made-up",
               "extra": {"endpoint_url": self.s3, "region_name": "us-east-1"}}  # fmt: skip
        made_up = {name: f"made{number}up" * 16 for number, name in enumerate(sorted(required_variables()))}
        return made_up | {
            "FERNET_KEY": "bWFkZSB1cCBmb3IgdGhpcyB0ZXN0LCAzMiBieXRlcyE=",
            "PORT": str(free_port()),
            "AIRFLOW_CONN_GETTY_IMAGES_DEFAULT": json.dumps(getty),
            "AIRFLOW_CONN_WAREHOUSE_DEFAULT": self.warehouse.set(drivername="postgres").render_as_string(False),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
            "ASSET_CHANGES_ARCHIVE_URI": f"s3://aws_default@{BUCKET}/archive",
            "ASSET_CHANGES_CONFIRM": "on",
            "ASSET_CHANGES_SCHEDULE": "* * * * *",
        }

    def objects(self) -> set[str]:
        """Return the URIs of everything in the archive."""
        pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {f"s3://{BUCKET}/{each['Key']}" for page in pages for each in page.get("Contents", ())}

    def make_bucket(self) -> None:
        """Make the bucket of the archive."""
        self._s3().create_bucket(Bucket=BUCKET)

    def truth(self) -> Any:
        """Return what the warehouse must hold."""
        return requests.get(f"{self.getty}/_sandbox/truth", timeout=60).json()

    def redeliveries(self) -> int:
        """Return how often Getty handed out a set again; what is new is 201, and 204 is nothing."""
        calls = requests.get(f"{self.getty}/_sandbox/requests", timeout=60).json()
        return sum(call["method"] == "PUT" and call["status"] == 200 for call in calls)

    def _s3(self) -> Any:
        return boto3.client("s3", endpoint_url=self.s3, region_name="us-east-1",
                            aws_access_key_id="made-up", aws_secret_access_key="made-up")  # fmt: skip


def required_variables() -> set[str]:
    """Return the variables that the compose file requires."""
    return compose_file.required_variables(COMPOSE.read_text())


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """Everything that is not the cluster's, up."""
    with ExitStack() as ending:
        getty, s3, postgres = (free_port() for _ in range(3))
        feed = ["--changes-per-channel", str(CHANGES), "--trickle-per-minute", "0", "--seed", SEED]
        faults = ["--fault-rate", "0.05", "--latency-ms", "400", "--empty", "204"]
        serve = ["-m", "getty_sandbox", "serve", "--port", str(getty), *feed, *faults]
        ending.enter_context(program(tmp_path, "getty", *serve))
        ending.enter_context(program(tmp_path, "s3", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3)))
        server = TcpPostgres(
            tmp_path / "warehouse", port=postgres, user="loader", password="made-up", database="warehouse"
        )
        ending.callback(server.remove)
        server.start()
        warehouse = URL.create("postgresql+psycopg", "loader", "made-up", "127.0.0.1", postgres, "warehouse")
        given = Outside(f"http://127.0.0.1:{getty}", f"http://127.0.0.1:{s3}", warehouse)
        for address in (f"{given.getty}/_sandbox/progress", given.s3):
            wait_until(partial(answers, address), f"an answer from {address}")
        given.make_bucket()
        yield given


@contextlib.contextmanager
def program(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    """A program of Python's that runs until the block ends."""
    with (folder / f"{name}.log").open("wb") as log:
        running = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            running.kill()
            running.wait()


def answers(address: str) -> bool:
    """Whether something listens there."""
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(address, timeout=10).status_code < 500
    return False


@dataclass(frozen=True)
class Watch:
    """How far the cluster is, from its two databases and its API."""

    cluster: Cluster
    airflow: AirflowApi
    metadata: Engine
    warehouse: Warehouse
    since: datetime

    def tasks(self, condition: str) -> list[dict[str, Any]]:
        """Return the tasks that are as the condition says."""
        query = f"SELECT dag_id, run_id, task_id, state, hostname, try_number FROM task_instance WHERE {condition}"
        with self.metadata.connect() as connection:
            return [dict(row) for row in connection.execute(text(query)).mappings()]

    def sets(self) -> int:
        """Return how many change sets are loaded."""
        self.cluster.check()
        return sum(each.sets for each in self.warehouse.channels())

    def start(self, dag_id: str) -> bool:
        """Start a run, unless there is one; a task more in the queue, and never what is waited for."""
        if not self.airflow.active_runs(dag_id):
            self.airflow.trigger(dag_id)
        return False

    def is_caught_up(self) -> bool:
        """Whether all four channels are, and no run is running."""
        self.cluster.check()
        at_end = [each.is_caught_up(self.since) for each in self.warehouse.channels()] == [True] * 4
        return at_end and not any(self.airflow.active_runs(each.dag_id) for each in self.warehouse.channels())


@pytest.fixture
def watch(outside: Outside, tmp_path: Path) -> Iterator[Watch]:
    """The cluster, up with two workers, its channels discovered."""
    variables, since = outside.variables(), datetime.now(UTC)
    with ExitStack() as ending:
        cluster = ending.enter_context(
            running_cluster(COMPOSE, variables, tmp_path / "cluster", clocks=CLOCKS, scale={"worker": 2})
        )
        airflow = AirflowApi(cluster.ui, password=cluster.password)
        ending.callback(airflow.close)
        assert airflow.is_up()
        metadata = create_engine(cluster.metadata)
        ending.callback(metadata.dispose)
        warehouse = Warehouse(outside.warehouse, schema="getty_images", since=since)
        ending.callback(warehouse.close)
        wait_until(lambda: DISCOVERY in airflow.dag_ids(), "discovery's DAG")
        airflow.trigger(DISCOVERY)
        wait_until(
            lambda: len(warehouse.channels()) == 4 and {e.dag_id for e in warehouse.channels()} <= airflow.dag_ids(),
            "the channels' DAGs",
        )
        watch = Watch(cluster, airflow, metadata, warehouse, since)
        for channel in warehouse.channels():
            watch.start(channel.dag_id)
        yield watch
    assert [process for each in cluster.containers.values() for process in marked_processes(each.home)] == []


def test_the_tables_are_right_after_the_loss_of_a_worker(
    outside: Outside, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, other = (watch.cluster.containers[name] for name in ("worker-1", "worker-2"))
    running = "state = 'running' AND hostname = 'worker-1' AND task_id = 'catch_up'"
    wait_until(lambda: watch.sets() >= SETS // 8, "an eighth of all sets")
    wait_until(lambda: bool(watch.tasks(running)), "a catch-up on the worker that will be lost")
    lost.freeze()
    ran, sets_before = watch.tasks(running), watch.sets()
    wait_until(
        lambda: bool(taken(lost) - begun(lost)) or watch.start(DISCOVERY), "a task that it takes and does not begin"
    )
    not_begun, processes, lost_at = taken(lost) - begun(lost), lost.kill(), time.monotonic()
    assert ran, "its catch-up was over before it was lost"
    assert sets_before < SETS, "everything was loaded before it was lost"

    wait_until(watch.is_caught_up, "the end of the feed")
    seconds = time.monotonic() - lost_at
    again = [task for each in ran for task in watch.tasks(same(each))]
    assert {(task["state"], task["hostname"]) for task in again} == {("success", "worker-2")}
    assert all(task["try_number"] > 1 for task in again)
    if not IS_SHORT:
        # Redis hands out once more what the lost worker had taken, when Airflow is long done with it.
        wait_until(lambda: not_begun <= taken(other), "what the lost worker had taken")
        wait_until(watch.is_caught_up, "the end, once more")

    with warehouse_of(outside) as engine:
        comparison = assert_equals(engine, outside.truth())
        ledger = rows(engine, "SELECT archive_uri, confirmed_at FROM getty_images.change_sets")
    assert all(row["confirmed_at"] for row in ledger)
    assert {row["archive_uri"].replace("aws_default@", "") for row in ledger} <= outside.objects()
    counts = {
        "seed": SEED, "workers": 2, "lost_workers": 1, "lost_processes": processes, "tasks_cut_off": len(ran),
        "tasks_taken_not_begun": len(not_begun), "came_back_from_redis": len(taken(lost) & taken(other)),
        "sets_before": sets_before, "sets": len(ledger), "changes": comparison.changes,
        "handed_out_again": outside.redeliveries(), "lost": comparison.lost, "doubled": comparison.doubled,
        "resurrected": comparison.resurrected, "seconds_to_the_end": round(seconds),
    }  # fmt: skip
    with capsys.disabled():
        sys.stdout.write(f"\ncelery: {' '.join(f'{name}={count}' for name, count in counts.items())}\n")


def taken(worker: Container) -> set[str]:
    """Return the messages that a worker has taken from the queue."""
    return set(re.findall(r"execute_workload\[([0-9a-f-]+)\] received", worker.output.read_text()))


def begun(worker: Container) -> set[str]:
    """Return the messages that a worker has begun to work on."""
    return set(re.findall(r"\[([0-9a-f-]+)\] Executing workload", worker.output.read_text()))


def same(task: dict[str, Any]) -> str:
    """Return the condition that a task is this one, whichever try."""
    return " AND ".join(f"{name} = '{task[name]}'" for name in ("dag_id", "run_id", "task_id"))


@contextlib.contextmanager
def warehouse_of(outside: Outside) -> Iterator[Engine]:
    """The warehouse, to be looked into."""
    engine = create_engine(outside.warehouse)
    yield engine
    engine.dispose()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what must come."""
    waiting.wait_until(condition, what=what, seconds=TIMEOUT_SECONDS, pause=0.5)
