"""What the stack asks of Airflow, over its REST API."""

import json
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from local_stack.errors import StackError

PREFIX = "asset_changes_"
DISCOVERY = "asset_changes_discovery"
CHANNELS_VARIABLE = "asset_changes_channels"
TIMEOUT = 30.0
ACTIVE = ("queued", "running")


class AirflowApi:
    """One Airflow on this machine, spoken to as its admin."""

    def __init__(self, address: str, *, password: str) -> None:
        self._address = address
        self._password = password
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between this machine and itself
        # A busy machine may let a call time out: that alone ends nothing.
        patience = Retry(total=4, backoff_factor=0.5, allowed_methods=("GET", "PATCH"))
        self._session.mount(f"{address}/api/v2/", HTTPAdapter(max_retries=patience))

    def is_up(self) -> bool:
        """Whether the API server answers, and lets us in."""
        try:
            answer = self._session.post(
                f"{self._address}/auth/token",
                json={"username": "admin", "password": self._password},
                timeout=TIMEOUT,
            )
        except requests.ConnectionError:
            return False
        if answer.status_code != 201:
            return False
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return True

    def close(self) -> None:
        """Hang up: a server that is asked to stop waits for open connections."""
        self._session.close()

    def seed_variable(self, key: str, value: str, description: str) -> None:
        """Create a Variable; one that is there already stays as it is."""
        body = {"key": key, "value": value, "description": description}
        self._ask("POST", "variables", json=body, accept=(409,))

    def dag_ids(self) -> set[str]:
        """The ids of this project's DAGs that Airflow has read, the stale ones left out."""
        found = self._ask("GET", "dags", params={"dag_id_pattern": f"{PREFIX}%", "limit": "100"})
        return {dag["dag_id"] for dag in found["dags"]}

    def import_errors(self) -> dict[str, str]:
        """The DAG files that Airflow could not read, each with its last line of complaint."""
        found = self._ask("GET", "importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"].strip().splitlines()[-1] for error in found}

    def unpause_all(self) -> None:
        """Unpause this project's DAGs."""
        self._ask("PATCH", "dags", params={"dag_id_pattern": f"{PREFIX}%"}, json={"is_paused": False})

    def trigger(self, dag_id: str) -> str:
        """Start a run now; its id."""
        return str(self._ask("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None})["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self._ask("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def has_active_run(self, dag_id: str) -> bool:
        found = self._ask("GET", f"dags/{dag_id}/dagRuns", params={"state": list(ACTIVE), "limit": "1"})
        return bool(found["dag_runs"])

    def newest_failures(self) -> list[tuple[str, str, str, int]]:
        """The failed tasks, newest first: DAG, run, task and try number."""
        found = self._ask(
            "GET",
            "dags/~/dagRuns/~/taskInstances",
            params={"state": "failed", "order_by": "-end_date", "limit": "5"},
        )
        return [
            (task["dag_id"], task["dag_run_id"], task["task_id"], task["try_number"])
            for task in found["task_instances"]
        ]

    def _ask(self, method: str, path: str, *, accept: tuple[int, ...] = (), **how: Any) -> Any:
        answer = self._send(method, path, **how)
        if answer.status_code == 401 and self.is_up():  # the token of a long session has expired
            answer = self._send(method, path, **how)
        if answer.status_code in accept:
            return {}
        if not answer.ok:
            raise StackError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json()

    def _send(self, method: str, path: str, **how: Any) -> requests.Response:
        try:
            return self._session.request(method, f"{self._address}/api/v2/{path}", timeout=TIMEOUT, **how)
        except requests.RequestException as error:
            raise StackError(f"Airflow's API server does not answer {method} {path}: {error}") from error


def failure_sentence(logs: Path, failure: tuple[str, str, str, int]) -> str:
    """What the log of a failed task says went wrong: its error's text, else its last error line."""
    dag_id, run_id, task_id, try_number = failure
    log = logs / f"dag_id={dag_id}/run_id={run_id}/task_id={task_id}/attempt={try_number}.log"
    sentence = ""
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("error_detail"):
            sentence = str(entry["error_detail"][-1].get("exc_value", ""))
        elif entry.get("level") in ("error", "critical"):
            sentence = sentence or str(entry.get("event", ""))
    return f"{dag_id}, task {task_id}: {sentence or 'no reason in its log'} (log: {log})"
