"""A stack that is up, used by the commands that it leaves in its folder."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.stack import free_port

from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class RunningStack:
    """The commands of a stack."""

    commands: Path

    def run(self, name: str, *arguments: str) -> str:
        """What a command prints; one that fails is a failure here."""
        done = subprocess.run(
            [str(self.commands / name), *arguments], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{name} {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rows(self, statement: str) -> list[list[str]]:
        """The rows of a query on the warehouse, as texts."""
        return [line.split("|") for line in self.run("psql", "-tAc", statement).splitlines()]

    def truth(self) -> dict[str, Any]:
        """What the sandbox says that the warehouse must look like."""
        truth: dict[str, Any] = json.loads(self.run("sandbox", "truth"))
        return truth


@contextmanager
def running_stack(state_dir: Path, options: str, **variables: str) -> Iterator[RunningStack]:
    """A stack in this folder, with these options of the sandbox and settings, until the block ends."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ASSET_"))}
    environment = {
        **inherited,
        "STATE_DIR": str(state_dir),
        "PORT": str(free_port()),
        "SANDBOX_OPTIONS": options,
        **variables,
    }
    log_file = state_dir / "second.log"
    with log_file.open("w") as log:
        stack = subprocess.Popen(
            [sys.executable, "-m", "local_stack"], cwd=PROJECT, env=environment, stdout=log, stderr=log
        )
        try:
            wait_until(
                lambda: "It stays up" in log_file.read_text(),
                what="the stack",
                seconds=600,
                details=log_file.read_text,
            )
            yield RunningStack(state_dir / "bin")
        finally:
            stack.send_signal(signal.SIGINT)
            assert stack.wait(90) == 0
