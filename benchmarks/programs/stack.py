"""A real stack that runs a channel's DAG and that of xcom_tasks.py in turns; prints what Airflow reports of the runs.

`python -m benchmarks.programs.stack <settings as JSON>`: `folder`, `pairs`, `feed` (as in feed.py).
A program of its own, because a stack takes the signals of its process.
"""

import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import requests
from local_stack.discovery import discover
from local_stack.options import Options
from local_stack.screen import Screen
from local_stack.services import wait_until
from local_stack.stack import Stack, free_port, running_stack
from rich.console import Console

from benchmarks.feed import bodies
from benchmarks.measuring import PROJECT

CHANNEL_ID = 3001
DAGS = ("asset_changes_editorial_image_3001", "asset_changes_xcom_tasks")
_ENDED = ("success", "failed")
_TIMEOUT_SECONDS = 180


def main() -> None:
    """Run the pairs and print the runs, oldest first."""
    signal.signal(signal.SIGTERM, _interrupt)
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    os.environ.update(_environment(folder))
    options = Options(
        state_dir=folder / "state",
        port=free_port(),
        sandbox_options=("--changes-per-channel", "0", "--trickle-per-minute", "0"),
    )
    feed = bodies(**settings["feed"])
    with running_stack(options, Screen(Console(file=io.StringIO()))) as stack:
        discover(stack, Screen(Console(file=io.StringIO())))
        airflow = Airflow(stack)
        airflow.wait_until_idle()
        runs = []
        for number, body in enumerate(feed):
            _append(stack, body)
            for dag_id in DAGS if number % 2 else reversed(DAGS):
                runs.append(airflow.run(dag_id))
    sys.stdout.write(json.dumps(runs) + "\n")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End as by Ctrl-C, so that no process of the stack is left."""
    raise KeyboardInterrupt


def _environment(folder: Path) -> dict[str, str]:
    """Copy the DAGs, with the one of the XComs among them, and schedule no run but ours."""
    dags = folder / "dags"
    shutil.copytree(PROJECT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "benchmarks" / "xcom_tasks.py", dags)
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "ASSET_CHANGES_SCHEDULE": "0 0 1 1 *"}


def _append(stack: Stack, body: bytes) -> None:
    """Put one full set into the channel's feed."""
    assert stack.sandbox is not None
    messages = json.loads(b"[" + body + b"]")
    answer = requests.post(
        f"{stack.sandbox.address}/_sandbox/append",
        json={"channel_id": CHANNEL_ID, "messages": messages},
        timeout=30,
    )
    answer.raise_for_status()


class Airflow:
    """The REST API, as far as it is needed here."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._api = f"{stack.address}/api/v2"
        self._session = requests.Session()
        credentials = {"username": "admin", "password": stack.secrets.admin_password}
        answer = self._session.post(f"{stack.address}/auth/token", json=credentials, timeout=30)
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def wait_until_idle(self) -> None:
        """Wait for the channel's first run by schedule, then until nothing runs; pause every other DAG.

        In this order: a run of a DAG that was paused would never end.
        """
        self._wait_until(lambda: self._get(f"dags/{DAGS[0]}/dagRuns")["dag_runs"])
        self._wait_until(lambda: not self._get("dags/~/dagRuns", state=["queued", "running"])["dag_runs"])
        for dag in self._get("dags", limit="100")["dags"]:
            paused = {"is_paused": dag["dag_id"] not in DAGS}
            self._session.patch(f"{self._api}/dags/{dag['dag_id']}", json=paused, timeout=30).raise_for_status()

    def run(self, dag_id: str) -> dict[str, Any]:
        """Run a DAG once; its times and those of its tasks."""
        url = f"{self._api}/dags/{dag_id}/dagRuns"
        answer = self._session.post(url, json={"logical_date": None}, timeout=30)
        answer.raise_for_status()
        path = f"dags/{dag_id}/dagRuns/{answer.json()['dag_run_id']}"
        self._wait_until(lambda: self._get(path)["state"] in _ENDED)
        run = self._get(path)
        tasks = self._get(f"{path}/taskInstances")["task_instances"]
        if {run["state"], *(task["state"] for task in tasks)} != {"success"}:
            raise RuntimeError(f"A run of {dag_id} did not succeed: {[(t['task_id'], t['state']) for t in tasks]}")
        return {"dag_id": dag_id, "run": run, "tasks": sorted(tasks, key=lambda task: str(task["start_date"]))}

    def _wait_until(self, condition: Callable[[], object]) -> None:
        wait_until(
            lambda: bool(condition()),
            seconds=_TIMEOUT_SECONDS,
            services=self._stack.services,
            otherwise=f"Airflow was not there yet after {_TIMEOUT_SECONDS} s",
        )

    def _get(self, path: str, **parameters: Any) -> Any:
        answer = self._session.get(f"{self._api}/{path}", params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()


if __name__ == "__main__":
    main()
