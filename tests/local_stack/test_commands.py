"""The commands that a stack leaves in its folder."""

import json
import subprocess
from pathlib import Path

from getty_sandbox import Sandbox
from local_stack.commands import write_commands
from local_stack.postgres import EmbeddedPostgres
from local_stack.standing import Sandbox as AskedSandbox
from local_stack.state import StateDir
from sqlalchemy import URL


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

    write_commands(state, environment, psql=postgres.psql, warehouse=warehouse_url, sandbox=None)
    assert not (state.commands / "sandbox").exists()
