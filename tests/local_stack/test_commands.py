"""The commands that a stack leaves in its folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from getty_sandbox import Sandbox
from local_stack import kill_task
from local_stack.commands import names, write_commands
from local_stack.postgres import EmbeddedPostgres
from local_stack.progress import Sandbox as SandboxClient
from local_stack.services import MARK
from local_stack.state import StateDir
from sqlalchemy import URL

# Renames itself as Airflow's task processes do.
TASK = """
import os, setproctitle, time
setproctitle.setproctitle("airflow worker -- 01a20b95-4867-757b-9c2d-a2c9f123de99")
print("up", flush=True)
time.sleep(600)
"""


def message(command: Path, *arguments: str) -> str:
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=600, check=True).stdout


def test_each_command_knows_its_stack_and_is_private(
    tmp_path: Path, postgres: EmbeddedPostgres, warehouse_url: URL, sandbox: Sandbox
) -> None:
    state = StateDir(tmp_path)
    environment = {"AIRFLOW_HOME": str(tmp_path), "ASSET_CHANGES_SCHEMA": "it's mine", "HOME": "/not/ours"}
    write_commands(
        state, environment, postgres=postgres, warehouse=warehouse_url, sandbox=SandboxClient(sandbox.url)
    )  # fmt: skip
    assert names(state) == "airflow, kill-task, psql, sandbox"

    assert message(state.commands / "psql", "-Atc", "SELECT current_database()").strip() == warehouse_url.database
    assert len(json.loads(message(state.commands / "sandbox", "progress"))["channels"]) == 4
    airflow = (state.commands / "airflow").read_text()
    assert """export ASSET_CHANGES_SCHEMA='it'"'"'s mine'""" in airflow
    assert "/not/ours" not in airflow
    assert {file.stat().st_mode & 0o077 for file in state.commands.iterdir()} == {0}

    elsewhere = URL.create("postgresql+psycopg", username="me", password="a secret", host="db", database="copy")
    write_commands(state, environment, postgres=postgres, warehouse=elsewhere, sandbox=None)
    run = (state.commands / "psql").read_text().splitlines()[-1]
    assert "postgresql://me@db/copy" in run
    assert "a secret" not in run
    assert names(state) == "airflow, kill-task, psql"


def test_a_command_of_a_stack_that_is_down_says_to_start_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    postgres = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    here = postgres.url("warehouse")
    try:
        write_commands(state, {}, postgres=postgres, warehouse=here, sandbox=SandboxClient("http://127.0.0.1:9"))
        for command in ("airflow", "kill-task", "psql", "sandbox"):
            done = subprocess.run([state.commands / command, "--help"], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == (
                f"The stack in {tmp_path} is not running: start it first, with make run STATE_DIR={tmp_path}\n"
            )
        # A warehouse of somebody's own is there without the stack.
        write_commands(state, {}, postgres=postgres, warehouse=here.set(host="db", query={}), sandbox=None)
        assert message(state.commands / "psql", "--version").startswith("psql")
    finally:
        postgres.remove()


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
        assert ours.wait(60) == -signal.SIGKILL
        assert another.poll() is None
    finally:
        for task in tasks:
            task.kill()
            task.communicate()
