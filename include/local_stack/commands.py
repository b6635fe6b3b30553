"""The commands that a stack leaves in its folder, each with the stack's settings: `STATE_DIR/bin/...`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import URL

from local_stack.standing import Sandbox
from local_stack.state import StateDir, write_private

AIRFLOW = (sys.executable, "-m", "airflow")


def write_commands(
    state: StateDir, environment: Mapping[str, str], *, psql: Path, warehouse: URL, sandbox: Sandbox | None
) -> None:
    """Leave `airflow`, `kill-task`, `psql` (on the warehouse) and, where there is one, `sandbox`."""
    ours = {name: value for name, value in environment.items() if name.startswith(("AIRFLOW", "ASSET_CHANGES_"))}
    _write(state.commands / "airflow", AIRFLOW, ours | {"PYTHONWARNINGS": "ignore"})
    _write(state.commands / "kill-task", (sys.executable, "-m", "local_stack.kill_task", str(state.path)), {})
    # The password goes beside the address: what is on the command line, everybody on the machine can list.
    address = warehouse._replace(drivername="postgresql", password=None)
    secret = {"PGPASSWORD": str(warehouse.password)} if warehouse.password else {}
    _write(state.commands / "psql", (str(psql), "--dbname", str(address)), {"PAGER": "", **secret})
    (state.commands / "sandbox").unlink(missing_ok=True)
    if sandbox is not None:
        _write(state.commands / "sandbox", (sys.executable, "-m", "getty_sandbox"), {"GETTY_SANDBOX": sandbox.address})


def _write(file: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    file.parent.mkdir(exist_ok=True)
    write_private(file, "\n".join(["#!/bin/sh", *exports, f'exec {shlex.join(command)} "$@"', ""]))
    file.chmod(0o700)  # it holds the stack's secrets
