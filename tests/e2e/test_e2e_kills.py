"""A small share of `python -m tests.chaos.stack`: the scheduler dies, and a supervisor whose task survives it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).parents[2]


def test_killed_stack_parts_leave_the_same_tables() -> None:
    command = [sys.executable, "-m", "tests.chaos.stack", "--only", "supervisor", "scheduler", "--kills", "2"]
    done = subprocess.run(
        [*command, "--seed", "1"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "chaos: stack_kills=2 scheduler=1 supervisor=1 " in done.stdout
    assert done.stdout.rstrip().endswith(" lost=0 doubled=0 resurrected=0")
