"""One container of a service, run as a process: its own home, host name, environment and end."""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from local_stack.services import MARK, marked_processes, session_members

from tests.cluster.compose_file import Service


@dataclass
class Container:
    """One process of a service; `home` is its /opt/airflow, and marks its processes."""

    name: str
    service: Service
    home: Path
    command: tuple[str, ...]
    test: tuple[str, ...]
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    is_killed: bool = False

    @property
    def output(self) -> Path:
        """What it prints."""
        return self.home.with_suffix(".log")

    def start(self) -> None:
        """Start its command in a session of its own."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.home,
                env={**self.environment, MARK: str(self.home), "SPT_NOENV": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def exit_status(self) -> int | None:
        """How it ended; None while it runs."""
        return self.process.poll() if self.process else None

    def is_healthy(self) -> bool:
        """What its health check says now; a service without one is healthy while it runs."""
        if self.service.health is None:
            return self.exit_status() is None
        with contextlib.suppress(subprocess.TimeoutExpired):
            checked = subprocess.run(
                self.test, cwd=self.home, env=self.environment, timeout=self.service.health.timeout,
                capture_output=True, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            return checked.returncode == 0
        return False

    def processes(self) -> list[psutil.Process]:
        """All its processes: those with its mark, and those of its session that hide it, as Redis does."""
        session = {self.process.pid} if self.process else set()
        found = {*marked_processes(self.home), *session_members(session)}
        return [process for process in found if _is_alive(process)]

    def freeze(self) -> None:
        """Suspend all processes except its first: what that one still takes from the queue is never begun."""
        for process in self.processes():
            if self.process and process.pid != self.process.pid:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()

    def kill(self) -> int:
        """End all its processes at once, as a power cut does; return how many there were."""
        self.is_killed, count = True, 0
        while found := self.processes():
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                    count += 1
            psutil.wait_procs(found, timeout=60)
            if self.process:
                self.process.poll()
        return count

    def send_stop_signal(self) -> None:
        """Send what Docker sends."""
        if self.process and self.exit_status() is None:
            # The image's dumb-init signals the whole process group, unless DUMB_INIT_SETSID is 0.
            is_alone = self.environment.get("DUMB_INIT_SETSID") == "0" or not self.service.is_built
            (os.kill if is_alone else os.killpg)(self.process.pid, signal.SIGTERM)

    def stop(self, timeout_seconds: float) -> None:
        """Let it end, then end what is left."""
        self.send_stop_signal()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.process:
                self.process.wait(min(self.service.stop_grace, timeout_seconds))
        self.kill()

    def log_tail(self) -> str:
        """The end of what it printed."""
        lines = self.output.read_text(errors="replace").splitlines() if self.output.exists() else []
        return "\n".join(lines[-15:])


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
