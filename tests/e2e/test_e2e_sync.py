"""The real stack through `make run`, then the warehouse against the sandbox's truth, row for row."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local_stack.postgres import EmbeddedPostgres
from local_stack.services import marked_processes
from local_stack.stack import free_port
from sqlalchemy import Engine, create_engine, text

from tests.e2e.metadata import assert_metadata_equals
from tests.e2e.running import RunningStack, running_stack
from tests.e2e.truth import assert_equals
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"
# A smaller backlog than the demo's where the shapes are the point, not the volume.
HELD_IMAGES = (
    "SELECT asset_id FROM held_assets JOIN assets USING (asset_id) WHERE assets.asset_type = 'Image' ORDER BY 1"
)
HELD_AND_UNNAMED = (
    "SELECT asset_id FROM held_assets WHERE asset_id NOT IN (SELECT asset_id FROM asset_states) ORDER BY 1"
)
GONE = {"not_licensed", "not_in_catalogue"}
FAULTY = "camelCase, wrapped, 204, one request in ten fails"
SHAPES = {
    "as documented, while changes go on arriving": "--trickle-per-minute 60",
    FAULTY: (
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


@dataclass(frozen=True)
class Synced:
    """A stack that has ended: what `make run` printed, and what it left in its folder."""

    state_dir: Path
    sandbox_options: str
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def synced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    """A stack that has caught up with a sandbox of this shape; the tests of one shape share it."""
    state_dir, options = tmp_path_factory.mktemp("synced") / "state", SHAPES[request.param]
    yield Synced(state_dir, options, make_run(state_dir, UNTIL_CAUGHT_UP="1", SANDBOX_OPTIONS=options))
    EmbeddedPostgres(state_dir / "postgres").remove()


@pytest.mark.parametrize("synced", SHAPES, indirect=True)
def test_the_warehouse_equals_the_truth_once_caught_up(synced: Synced) -> None:
    assert synced.done.returncode == 0, synced.done.stdout
    assert "2,300 assets" in synced.done.stdout
    assert marked_processes(synced.state_dir) == []

    truth = truth_of(synced.state_dir, synced.sandbox_options)
    with warehouse_of(synced.state_dir) as warehouse:
        assert_equals(warehouse, truth)
        assert_metadata_equals(warehouse, truth)
        unconfirmed = "SELECT count(*) FROM getty_images.change_sets WHERE confirmed_at IS NULL"
        assert scalar(warehouse, unconfirmed) == 0


@pytest.mark.parametrize("synced", [FAULTY], indirect=True)
def test_two_reconciliations_name_what_must_be_removed(synced: Synced) -> None:
    """No clock can be moved through the scheduler, Getty's or the warehouse's: the first answers are dated back."""
    scope = {"ASSET_CHANGES_LOOKUP_SCOPE": "held"}  # a quarter of the calls
    with running_stack(synced.state_dir, synced.sandbox_options, **scope) as stack:
        named, unnamed = ids(stack, HELD_IMAGES), ids(stack, HELD_AND_UNNAMED)
        stack.run("sandbox", "vanish", *named[:8], *unnamed[:4])
        stack.run("sandbox", "unlicense", *named[8:14], *unnamed[4:6])
        stack.run("sandbox", "retype", *named[14:18])
        deleted = removals(stack)
        reconcile(stack)
        assert removals(stack) == deleted, "said once, nothing must go"
        day_and_more = "as_of = as_of - interval '25 hours', first_gone_as_of = first_gone_as_of - interval '25 hours'"
        stack.run("psql", "-c", f"UPDATE getty_images.availability SET {day_and_more} WHERE verdict <> 'available'")
        reconcile(stack)
        found, truth, everything = removals(stack), stack.truth(), ids(stack, "SELECT asset_id FROM held_assets")
    assert marked_processes(synced.state_dir) == []

    reasons = dict.fromkeys((row["asset_id"] for row in truth["deleted_assets"]), "deleted")
    reasons |= {asset_id: verdict for asset_id, verdict in truth["verdicts"].items() if verdict in GONE}
    assert found == {asset_id: reasons[asset_id] for asset_id in everything if asset_id in reasons}
    assert Counter(found.values()) == {"deleted": 20, "not_in_catalogue": 12, "not_licensed": 8}
    with warehouse_of(synced.state_dir) as warehouse:
        assert_metadata_equals(warehouse, truth)


def ids(stack: RunningStack, query: str) -> list[str]:
    """What a query on the warehouse's tables has in its first column."""
    return [row[0] for row in stack.rows(f"SET search_path TO getty_images; {query}")[1:]]


def removals(stack: RunningStack) -> dict[str, str]:
    """What must be removed, and why."""
    return dict(stack.rows("SELECT asset_id, reason FROM getty_images.assets_to_remove"))


def reconcile(stack: RunningStack) -> None:
    """Ask about everything now, in as many runs as that takes: one of Airflow's own may be asking already."""
    ((now,),) = stack.rows("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    counted = f"SELECT count(*) FROM getty_images.reconciliations WHERE decided_at > '{now}' AND outcome = 'counted'"
    counted += f" AND not_asked_since >= '{now}'"

    def is_counted() -> bool:
        return stack.rows(counted) != [["0"]]

    conf = json.dumps({"not_asked_since": now})
    for _ in range(4):  # a run that a fault has ended is continued by the next one
        stack.run("airflow", "dags", "trigger", "asset_changes_lookup", "--conf", conf)
        with suppress(AssertionError):
            wait_until(is_counted, what="the reconciliation", seconds=60, pause=1)
            return
    raise AssertionError("The reconciliation was not finished by four runs.")


def test_a_wrong_secret_stops_the_stack_with_one_sentence(state_dir: Path) -> None:
    options = "--changes-per-channel 100"
    done = make_run(state_dir, UNTIL_CAUGHT_UP="1", SANDBOX_OPTIONS=f"{options} --client-secret another")
    assert done.returncode != 0
    assert "Discovery failed." in done.stdout
    assert "getty_images_default" in done.stdout
    assert "sandbox-secret" not in done.stdout
    assert marked_processes(state_dir) == []
    assert truth_of(state_dir, options)["change_sets"] == []
