"""One run of a channel's DAG against as many tasks that each push one XCom, on the same real stack."""

import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from local_stack.postgres import EmbeddedPostgres

from benchmarks.bench import Bench
from benchmarks.feed import FULL
from benchmarks.measuring import PROJECT
from benchmarks.programs.stack import DAGS
from benchmarks.results import Budget


def measure(bench: Bench) -> None:
    """Run both in turns, each channel run with one full set to load."""
    pairs = 4 if bench.is_quick else 11
    with tempfile.TemporaryDirectory(dir=PROJECT / ".local") as name:
        settings = {"folder": name, "feed": {"sets": pairs, "stored": FULL, "spread": "newest"}}
        try:
            output = _output_of_stack(json.dumps(settings))
        finally:
            EmbeddedPostgres(Path(name) / "state" / "postgres").remove()
    runs = json.loads(output.splitlines()[-1])
    ours, pushes = ([run for run in runs if run["dag_id"] == dag_id][1:] for dag_id in DAGS)
    _report(bench, ours, pushes)


def _output_of_stack(settings: str) -> str:
    command = [sys.executable, "-m", "benchmarks.programs.stack", settings]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate()
        finally:
            process.terminate()  # where this program is ended; it stops its services by itself
    if process.returncode != 0:
        raise RuntimeError(f"The stack ended with status {process.returncode}")
    return output


def _report(bench: Bench, ours: list[dict[str, Any]], pushes: list[dict[str, Any]]) -> None:
    add = bench.results.add
    add("one run of a channel's DAG, one full set", [_duration(run["run"]) for run in ours], "s")
    add("one run of as many tasks that each push one XCom", [_duration(run["run"]) for run in pushes], "s")
    ratio = [_duration(one["run"]) / _duration(other["run"]) for one, other in zip(ours, pushes, strict=True)]
    add("one run of a channel's DAG / as many tasks that each push one XCom", ratio, "x", Budget(at_most=1.3))
    for number, task in enumerate(ours[0]["tasks"]):
        add(f"channel DAG, {task['task_id']}: waited", [_waited(run, number) for run in ours], "s")
        add(f"channel DAG, {task['task_id']}: ran", [_ran(run, number) for run in ours], "s")
    count = len(pushes[0]["tasks"])
    add("DAG of XComs, each task: waited", [_waited(run, number) for run in pushes for number in range(count)], "s")
    add("DAG of XComs, each task: ran", [_ran(run, number) for run in pushes for number in range(count)], "s")


def _waited(run: dict[str, Any], number: int) -> float:
    """Return the seconds from the end of the task before, or from the run's start, to the start of its code."""
    since = run["tasks"][number - 1]["end_date"] if number else run["run"]["queued_at"]
    return _seconds(since, run["tasks"][number]["start_date"])


def _ran(run: dict[str, Any], number: int) -> float:
    return _seconds(run["tasks"][number]["start_date"], run["tasks"][number]["end_date"])


def _duration(run: dict[str, Any]) -> float:
    return _seconds(run["queued_at"], run["end_date"])


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
