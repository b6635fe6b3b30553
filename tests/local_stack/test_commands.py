"""The commands that a stack leaves in its folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from getty_sandbox import Sandbox
from local_stack import kill_task
from local_stack.commands import write_commands
from local_stack.postgres import EmbeddedPostgres
from local_stack.services import MARK
from local_stack.standing import Sandbox as AskedSandbox
from local_stack.state import StateDir
from sqlalchemy import URL

# Renames itself as Airflow's task processes do.
TASK = """
import os, setproctitle, time
setproctitle.setproctitle("airflow worker -- 01a20b95-4867-757b-9c2d-a2c9f123de99")
print("up", flush=True)
time.sleep(60)
"""


def said(command: Path, *arguments: str) -> str:
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=120, check=True).stdout


def test_each_command_knows_its_stack_and_no_stranger_may_read_it(
    tmp_path: Path, postgres: EmbeddedPostgres, warehouse_url: URL, sandbox: Sandbox
) -> None:
    state = StateDir(tmp_path)
    environment = {"AIRFLOW_HOME": str(tmp_path), "ASSET_CHANGES_SCHEMA": "it's mine", "HOME": "/not/ours"}
    write_commands(
        state, environment, psql=postgres.psql, warehouse=warehouse_url, sandbox=AskedSandbox(sandbox.url)
    )  # fmt: skip

    assert said(state.commands / "psql", "-Atc", "SELECT current_database()").strip() == warehouse_url.database
    assert len(json.loads(said(state.commands / "sandbox", "progress"))["channels"]) == 4
    airflow = (state.commands / "airflow").read_text()
    assert """export ASSET_CHANGES_SCHEMA='it'"'"'s mine'""" in airflow
    assert "/not/ours" not in airflow
    assert {file.stat().st_mode & 0o077 for file in state.commands.iterdir()} == {0}

    elsewhere = URL.create("postgresql+psycopg", username="me", password="a secret", host="db", database="copy")
    write_commands(state, environment, psql=postgres.psql, warehouse=elsewhere, sandbox=None)
    run = (state.commands / "psql").read_text().splitlines()[-1]
    assert "postgresql://me@db/copy" in run
    assert "a secret" not in run
    assert not (state.commands / "sandbox").exists()


def test_kill_task_kills_a_task_of_its_own_stack_alone(tmp_path: Path) -> None:
    tasks = []
    for stack in ("another", "ours"):
        environment = os.environ | {MARK: str(tmp_path / stack), "SPT_NOENV": "1"}
        task = subprocess.Popen([sys.executable, "-c", TASK], env=environment, stdout=subprocess.PIPE, text=True)
        tasks.append(task)
        assert task.stdout is not None
        assert task.stdout.readline() == "up\n"
    another, ours = tasks
    try:
        assert kill_task.main(str(tmp_path / "ours")) == 0
        assert ours.wait(10) == -signal.SIGKILL
        assert another.poll() is None
    finally:
        for task in tasks:
            task.kill()
            task.communicate()
