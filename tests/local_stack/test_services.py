"""Services start in sessions of their own, and nothing of them is left at the end."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from local_stack.errors import StackError
from local_stack.services import Services, marked_processes, stop_left_behind

from tests.waiting import wait_until

# A service with a child in a process group of its own, one in a session of its own, both deaf to SIGTERM.
STUBBORN = """
import os, signal, sys, time
for leave in (os.setpgrp, os.setsid):
    if os.fork() == 0:
        leave()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""
SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services(state_dir=tmp_path, logs=tmp_path, environment=dict(os.environ))
    yield services
    services.stop(grace_seconds=1)


def start_ready(services: Services, name: str, program: str) -> int:
    service = services.start(name, [sys.executable, "-c", program])
    wait_until(lambda: "ready" in service.log.read_text(), what=f"{name}, ready", details=service.log.read_text)
    return service.process.pid


def test_no_process_outlives_the_stack(services: Services, tmp_path: Path) -> None:
    start_ready(services, "scheduler", STUBBORN)
    start_ready(services, "api-server", SLEEPER)
    assert len(marked_processes(tmp_path)) == 4
    services.stop(grace_seconds=0.5)
    assert marked_processes(tmp_path) == []


def test_a_service_does_not_hear_our_ctrl_c(services: Services) -> None:
    pid = start_ready(services, "api-server", SLEEPER)
    assert os.getsid(pid) == pid != os.getsid(0)


def test_a_service_that_died_is_named_with_the_end_of_its_log(services: Services) -> None:
    service = services.start("scheduler", [sys.executable, "-c", "import sys; sys.exit('no database')"])
    service.process.wait()
    with pytest.raises(StackError, match=r"(?s)scheduler died .exit status 1.*no database"):
        services.check()


def test_a_failed_preparation_is_named_with_its_log(services: Services) -> None:
    with pytest.raises(StackError, match=r"(?s)db-migrate failed .*no disk"):
        services.run("db-migrate", [sys.executable, "-c", "import sys; sys.exit('no disk')"])


def test_only_processes_of_a_killed_stack_are_stopped(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    stacks = []
    for folder in (here, there):
        folder.mkdir()
        services = Services(state_dir=folder, logs=folder, environment=dict(os.environ))
        start_ready(services, "scheduler", STUBBORN)
        stacks.append(services)
    # The leader is killed, its children live on: what `kill -9` of a service leaves.
    psutil.Process(stacks[0].start("x", [sys.executable, "-c", SLEEPER]).process.pid).send_signal(signal.SIGKILL)
    try:
        assert stop_left_behind(here) >= 3
        assert marked_processes(here) == []
        assert len(marked_processes(there)) == 3
    finally:
        for services in stacks:
            services.stop(grace_seconds=0.5)
