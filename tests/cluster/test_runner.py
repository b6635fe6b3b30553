"""The runner does what a file says: order, volumes, host names, addresses, health, and the stop."""

import time
from pathlib import Path

import pytest
from local_stack.services import marked_processes

from tests.cluster.compose_file import ComposeError
from tests.cluster.runner import running_cluster

FILE = """
services:
  init:
    image: ours
    build: .
    command: ["sh", "-c", "sleep 0.3; echo $$HOSTNAME > common/made-by"]
    volumes: ["common:/opt/airflow/common"]
  worker:
    image: ours
    build: .
    command: sh -c "cat common/made-by >seen; echo $$ADDRESS >address; env -i sleep 600 & sleep 600 & touch ready; wait"
    environment:
      ADDRESS: http://worker:8080/and/otherworker:8080
    volumes: ["common:/opt/airflow/common"]
    healthcheck: {test: ["CMD", "test", "-e", "ready"], interval: 1s, retries: 120}
    depends_on: {init: {condition: service_completed_successfully}}
    ports: ["127.0.0.1:${PORT:?}:8080"]
volumes:
  common:
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a service that ends and one that stays."""
    (tmp_path / "compose.yaml").write_text(FILE)
    return tmp_path / "compose.yaml"


def test_services_start_in_order_and_share_their_volume(file: Path, tmp_path: Path) -> None:
    with running_cluster(file, {"PORT": "18080"}, tmp_path / "cluster", clocks={}, scale={"worker": 2}) as cluster:
        one, two = cluster.containers["worker-1"], cluster.containers["worker-2"]
        assert one.home != two.home
        assert [(each.home / "seen").read_text() for each in (one, two)] == ["init-1\n", "init-1\n"]
        assert (one.home / "address").read_text() == "http://127.0.0.1:18080/and/otherworker:8080\n"
        assert marked_processes(two.home)
    assert marked_processes(one.home) == marked_processes(two.home) == []


def test_a_killed_container_leaves_the_others_running(file: Path, tmp_path: Path) -> None:
    with running_cluster(file, {"PORT": "18080"}, tmp_path / "cluster", clocks={}, scale={"worker": 2}) as cluster:
        # One of the three hides its environment, and with it the mark.
        assert cluster.containers["worker-1"].kill() == 3
        cluster.check()
        assert cluster.containers["worker-1"].processes() == []
        assert cluster.containers["worker-2"].is_healthy()


def test_a_service_that_fails_is_named_with_its_log(file: Path, tmp_path: Path) -> None:
    file.write_text(FILE.replace("sleep 0.3;", "echo no disk; exit 3;"))
    with (
        pytest.raises(ComposeError, match=r"init-1 (failed|died \(3\)):\nno disk"),
        running_cluster(file, {"PORT": "18080"}, tmp_path / "cluster", clocks={}, scale={}),
    ):
        pass


def test_an_unhealthy_service_is_given_up_in_time(file: Path, tmp_path: Path) -> None:
    file.write_text(FILE.replace("touch ready;", "").replace("retries: 120", "retries: 1"))
    begun = time.monotonic()
    with (
        pytest.raises(ComposeError, match="worker-1 is not healthy after 1 s"),
        running_cluster(file, {"PORT": "18080"}, tmp_path / "cluster", clocks={}, scale={}),
    ):
        pass
    assert time.monotonic() - begun > 1
