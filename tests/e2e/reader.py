"""Somebody who types what README and tour say, with a stack of their own in place of `.local`."""

import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from os import environ, killpg
from pathlib import Path

from local_stack.postgres import EmbeddedPostgres
from local_stack.services import marked_processes
from local_stack.stack import free_port

from tests.e2e.browser import RunningStack
from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 240.0
IS_UP = r"It stays up, and in step, until Ctrl-C"


@dataclass(frozen=True)
class Shows:
    """A command that is run; what it prints matches, at once or, where that takes a while, when asked again.

    `before` is what the reader does in the UI, before each time that the command is typed.
    """

    pattern: str
    again: bool = False
    before: "Callable[[Reader], None] | None" = None


@dataclass(kw_only=True)
class Reader:
    """Has two terminals: in one `make run` is up, in the other the commands are typed."""

    state_dir: Path
    port: int = field(default_factory=free_port)
    make: subprocess.Popen[bytes] | None = None

    def starts(self, command: str) -> None:
        """`make run` in the first terminal, after Ctrl-C where it is running; until it says that it is up."""
        self.stops()
        inherited = {name: value for name, value in environ.items() if not name.startswith(("AIRFLOW", "ASSET_"))}
        given = {"STATE_DIR": str(self.state_dir), "PORT": str(self.port)}
        output = self.state_dir.with_suffix(".log")
        with output.open("wb") as file:
            make = self.make = subprocess.Popen(
                [shutil.which("make") or "make", *shlex.split(command)[1:]],
                cwd=PROJECT,
                env=inherited | given | {"SANDBOX_OPTIONS": "--changes-per-channel 3000"},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

        def is_shown() -> bool:
            assert make.poll() is None, output.read_text()
            return bool(re.search(IS_UP, output.read_text()))

        wait_until(is_shown, what=f"what {command} shows", seconds=600, pause=0.5, details=output.read_text)

    def stops(self) -> None:
        """Ctrl-C in the first terminal; no process is left."""
        if self.make is None:
            return
        with suppress(ProcessLookupError):
            killpg(self.make.pid, signal.SIGINT)  # as a terminal does
        self.make.wait(timeout=120)
        self.make = None
        assert marked_processes(self.state_dir) == []

    def leaves(self) -> None:
        """Stop, and remove the data that PostgreSQL keeps elsewhere."""
        try:
            self.stops()
        finally:
            EmbeddedPostgres(self.state_dir / "postgres").remove()

    def types(self, command: str) -> str:
        """What comes back from a shell in this checkout; a command that fails is a failure here."""
        if command.endswith(";"):
            command = f".local/bin/psql -c {shlex.quote(command)}"
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace(".local/", f"{self.state_dir}/")],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def sees(self, command: str, check: Shows) -> bool:
        """Whether what comes back is what the page shows; where it may still come, it is typed again."""
        if check.before is not None:
            check.before(self)
        output = self.types(command)
        found = re.search(check.pattern, output)
        assert found or check.again, f"{command} printed {output!r}"
        return bool(found)

    def approves(self) -> None:
        """Under *Required Actions*: approve whatever waits there."""
        stack = RunningStack(f"http://127.0.0.1:{self.port}", self.state_dir, sandbox="")
        for question in stack.api("GET", "dags/~/dagRuns/~/hitlDetails?response_received=false")["hitl_details"]:
            task = question["task_instance"]
            place = f"dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            stack.api("PATCH", f"{place}/-1/hitlDetails", {"chosen_options": ["Approve"], "params_input": {}})
