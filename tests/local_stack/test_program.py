"""`python -m local_stack` where it cannot start: one clear sentence, non-zero, nothing broken."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from local_stack.connections import GETTY, WAREHOUSE
from local_stack.stack import free_port
from local_stack.state import StateDir

PROJECT = Path(__file__).parents[2]


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    return call([sys.executable, "-m", "local_stack"], **variables)


def call(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ASSET_"))}
    return subprocess.run(
        command,
        cwd=PROJECT,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_taken_port_is_named_before_anything_is_touched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run(PORT=port, STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"Stopped. Port {port} is taken by another program: stop it, or choose another, for example PORT=8090."
    ]
    assert not (tmp_path / "state").exists()


def test_a_second_stack_is_refused_and_the_first_unharmed(tmp_path: Path) -> None:
    first = StateDir(tmp_path)
    first.take()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = run(PORT=str(free_port()), STATE_DIR=str(tmp_path))
    assert done.returncode == 1
    assert f"A stack is running in {tmp_path} already (process {os.getpid()})" in done.stdout
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    first.give_back()


def test_a_senseless_variable_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run(PORT="http", STATE_DIR=str(tmp_path / "state"))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "Stopped. PORT is 'http': give a number from 1 to 65535.\n"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ASSET_CHANGES_BATCH_SIZE", "5000", "'5000' in ASSET_CHANGES_BATCH_SIZE is refused"),
        (WAREHOUSE, "mysql://me:hush@db/x", "connection of type 'mysql'"),
        (WAREHOUSE, "postgresql://me:p/hush@db/x", "neither an Airflow connection in JSON nor a URI"),
        (GETTY, "nonsense", "neither an Airflow connection in JSON nor a URI"),
    ],
)
def test_what_cannot_work_ends_it_before_anything_is_started(
    tmp_path: Path, variable: str, value: str, sentence: str
) -> None:
    done = run(PORT=str(free_port()), STATE_DIR=str(tmp_path), **{variable: value})
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("Stopped. ")
    assert sentence in line
    assert "hush" not in line
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize(
    ("variable", "value"), [("STATE_DIR", "/srv/my stack"), ("PORT", "http"), ("SANDBOX_OPTIONS", "'")]
)
def test_make_run_refuses_a_bad_variable_before_it_installs(tmp_path: Path, variable: str, value: str) -> None:
    make = [shutil.which("make") or "make", "run", f"VENV={tmp_path}/venv", f"PYTHON={sys.executable}"]
    done = call(make, **{variable: value})
    assert done.returncode != 0
    assert done.stderr.startswith(f"Stopped. {variable} ")
    assert "Installing" not in done.stdout
    assert not (tmp_path / "venv").exists()
