"""The commands that a stack leaves in its folder, each with the stack's settings: `STATE_DIR/bin/...`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import URL

from local_stack.postgres import EmbeddedPostgres
from local_stack.progress import Sandbox
from local_stack.state import StateDir, write_private

AIRFLOW = (sys.executable, "-m", "airflow")


def write_commands(
    state: StateDir,
    environment: Mapping[str, str],
    *,
    postgres: EmbeddedPostgres,
    warehouse: URL,
    sandbox: Sandbox | None,
) -> None:
    """Leave `airflow`, `kill-task`, `psql` (on the warehouse) and, where there is one, `sandbox`."""
    ours = {name: value for name, value in environment.items() if name.startswith(("AIRFLOW", "ASSET_CHANGES_"))}
    is_down = f"The stack in {state.path} is not running: start it first, with make run STATE_DIR={state.path}"
    guard = f"[ -S {shlex.quote(str(postgres.socket))} ] || {{ echo {shlex.quote(is_down)} >&2; exit 1; }}"
    _write(state.commands / "airflow", guard, AIRFLOW, ours | {"PYTHONWARNINGS": "ignore"})
    _write(state.commands / "kill-task", guard, (sys.executable, "-m", "local_stack.kill_task", str(state.path)), {})
    # The password is not in the address: everybody on the machine can list command lines.
    address = warehouse._replace(drivername="postgresql", password=None)
    secret = {"PGPASSWORD": str(warehouse.password)} if warehouse.password else {}
    is_ours = warehouse.query.get("host") == str(postgres.socket_dir)
    _write(
        state.commands / "psql",
        guard if is_ours else "",
        (str(postgres.psql), "--dbname", str(address)),
        {"PAGER": "", **secret},
    )
    (state.commands / "sandbox").unlink(missing_ok=True)
    if sandbox is not None:
        command = (sys.executable, "-m", "getty_sandbox")
        _write(state.commands / "sandbox", guard, command, {"GETTY_SANDBOX": sandbox.address})


def names(state: StateDir) -> str:
    """The commands that are there, as a list for the screen."""
    return ", ".join(sorted(file.name for file in state.commands.iterdir()))


def _write(file: Path, guard: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    file.parent.mkdir(exist_ok=True)
    write_private(file, "\n".join(["#!/bin/sh", guard, *exports, f'exec {shlex.join(command)} "$@"', ""]))
    file.chmod(0o700)  # it holds the stack's secrets
