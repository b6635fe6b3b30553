"""The real stack through `make run`, then the warehouse against the sandbox's truth, row for row."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from local_stack.postgres import EmbeddedPostgres
from local_stack.services import marked_processes
from local_stack.stack import free_port
from sqlalchemy import Engine, create_engine, text

from tests.e2e.metadata import assert_metadata_equals
from tests.e2e.truth import assert_equals

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"
# A smaller backlog than the demo's where the shapes are the point, not the volume.
SHAPES = {
    "as documented, while changes go on arriving": "--trickle-per-minute 60",
    "camelCase, wrapped, 204, one request in ten fails": (
        "--keys camel --channels-shape wrapped --empty 204 --fault-rate 0.1 "
        "--lookups-per-second 20 --none-found 404 "
        "--changes-per-channel 6000 --trickle-per-minute 0 --seed 2"
    ),
    "PascalCase, braces, redeliveries that grow": (
        "--keys pascal --empty braces --redelivery grows --fault-rate 0.1 "
        "--changes-per-channel 6000 --trickle-per-minute 0 --seed 3"
    ),
}


def make_run(state_dir: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ASSET_"))}
    return subprocess.run(
        [MAKE, "run"],
        cwd=PROJECT,
        env={**inherited, "STATE_DIR": str(state_dir), "PORT": str(free_port()), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )


@contextmanager
def warehouse_of(state_dir: Path) -> Iterator[Engine]:
    """The warehouse that a stack has left in its folder."""
    with EmbeddedPostgres(state_dir / "postgres") as postgres:
        engine = create_engine(postgres.url("warehouse"))
        yield engine
        engine.dispose()


def truth_of(state_dir: Path, sandbox_options: str) -> dict[str, Any]:
    """What the sandbox that the stack used says about the sets that were confirmed."""
    url = f"http://127.0.0.1:{free_port()}"
    serve = [sys.executable, "-m", "getty_sandbox", "serve", "--port", url.rpartition(":")[2]]
    command = [*serve, "--state-dir", str(state_dir / "sandbox"), *shlex.split(sandbox_options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            assert sandbox.stdout is not None
            assert sandbox.stdout.readline().startswith("Getty sandbox:")
            command = [sys.executable, "-m", "getty_sandbox", "truth", "--url", url]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        finally:
            sandbox.terminate()
    truth: dict[str, Any] = json.loads(answer)
    return truth


def scalar(engine: Engine, statement: str) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text(statement))


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    EmbeddedPostgres(tmp_path / "state" / "postgres").remove()


@pytest.mark.parametrize("sandbox_options", SHAPES.values(), ids=SHAPES)
def test_the_warehouse_equals_the_truth_once_caught_up(state_dir: Path, sandbox_options: str) -> None:
    done = make_run(state_dir, UNTIL_CAUGHT_UP="1", SANDBOX_OPTIONS=sandbox_options)
    assert done.returncode == 0, done.stdout
    assert marked_processes(state_dir) == []

    truth = truth_of(state_dir, sandbox_options)
    with warehouse_of(state_dir) as warehouse:
        assert_equals(warehouse, truth)
        assert_metadata_equals(warehouse, truth)
        unconfirmed = "SELECT count(*) FROM getty_images.change_sets WHERE confirmed_at IS NULL"
        assert scalar(warehouse, unconfirmed) == 0


def test_a_wrong_secret_stops_the_stack_with_one_sentence(state_dir: Path) -> None:
    options = "--changes-per-channel 100"
    done = make_run(state_dir, UNTIL_CAUGHT_UP="1", SANDBOX_OPTIONS=f"{options} --client-secret another")
    assert done.returncode != 0
    assert "Discovery failed." in done.stdout
    assert "getty_images_default" in done.stdout
    assert "sandbox-secret" not in done.stdout
    assert marked_processes(state_dir) == []
    assert truth_of(state_dir, options)["change_sets"] == []
