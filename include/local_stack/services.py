"""Programs that run in parallel, each in a session of its own, and all of them gone at the end.

Airflow's tasks have process groups of their own and outlive their supervisor, so to stop a service is
to stop everything that carries its session id or this stack's mark in its environment.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_stack.errors import StackError

MARK = "LOCAL_STACK_STATE_DIR"


@dataclass(frozen=True)
class Service:
    """One program that was started; its process is the leader of its session."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def log_tail(self, count: int = 5) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-count:])


class Services:
    """The programs of one stack, in the order of their start."""

    def __init__(self, *, state_dir: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self._mark = str(state_dir)
        self._logs = logs
        # SPT_NOENV: Airflow renames its processes; this keeps their environment readable, with our mark.
        self.environment = {**environment, MARK: self._mark, "SPT_NOENV": "1"}
        self._running: list[Service] = []

    def start(self, name: str, command: Sequence[str]) -> Service:
        """Start a program whose output goes to a log file of its name."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours: the services are stopped in order
            )
        service = Service(name, process, log)
        self._running.append(service)
        return service

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a program to its end; an unsuccessful one is an error with its last lines."""
        service = self.start(name, command)
        code = service.process.wait()
        self._running.remove(service)
        if code != 0:
            raise StackError(f"{name} failed (exit status {code}). See {service.log}:\n{service.log_tail()}")

    def check(self) -> None:
        """Raise if a service has died, with its last lines."""
        for service in self._running:
            code = service.process.poll()
            if code is not None:
                raise StackError(f"{service.name} died (exit status {code}). See {service.log}:\n{service.log_tail()}")

    def stop(self, *, grace_seconds: float = 30) -> None:
        """End all services, the last started first in each step, and every process that they left behind.

        The scheduler goes first and alone, with its tasks: they finish their current change set, and
        need the API server and the sandbox for that.
        """
        scheduler = [service for service in self._running if service.name == "scheduler"]
        others = [service for service in reversed(self._running) if service not in scheduler]
        for group, timeout in ((scheduler, grace_seconds), (others, 4)):
            _end(session_members({service.process.pid for service in group}), timeout)
        _end(marked_processes(self._mark), 2)
        for service in self._running:
            service.process.wait()
        self._running.clear()


def marked_processes(state_dir: Path | str) -> list[psutil.Process]:
    """All processes that a stack in `state_dir` has started, by the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(state_dir) and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or somebody else's: not ours to stop
    return found


def stop_left_behind(state_dir: Path) -> int:
    """End what a stack that was killed left behind in this folder; the number of processes ended.

    Called with the folder's lock: no living stack owns them.
    """
    left = marked_processes(state_dir)
    _end(left, 10)
    return len(left)


def session_members(sessions: set[int]) -> list[psutil.Process]:
    """All processes of these sessions."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _end(processes: list[psutil.Process], timeout: float) -> None:
    """Ask the processes to end, and after `timeout` seconds kill them."""
    _send(processes, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    _send(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def _send(processes: list[psutil.Process], which: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(which)
        except psutil.NoSuchProcess:
            continue


def wait_until(condition: Callable[[], bool], *, seconds: float, services: Services, otherwise: str) -> None:
    """Wait until `condition()` holds while all services live, else raise with `otherwise`."""
    deadline = time.monotonic() + seconds
    while not condition():
        services.check()
        if time.monotonic() > deadline:
            raise StackError(otherwise)
        time.sleep(0.2)
