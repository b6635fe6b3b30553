"""What the stack asks of Airflow, over its REST API."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from local_stack.errors import StackError

PREFIX = "asset_changes_"
DISCOVERY = "asset_changes_discovery"
LOOKUP = "asset_changes_lookup"
HOLDINGS = "asset_changes_holdings"
PURGE = "asset_changes_purge"
HOLD = "asset_changes_hold"
CHANNELS_VARIABLE = "asset_changes_channels"
TIMEOUT = 30.0
ACTIVE = ("queued", "running")
FAILED = ("failed", "up_for_retry")
# Answered while Airflow's database is away, or the server restarts.
UNAVAILABLE = (500, 502, 503, 504)


@dataclass(frozen=True)
class Try:
    """A try of a task that failed."""

    dag_id: str
    run_id: str
    task_id: str
    number: int
    of: int
    is_last: bool


class AirflowApi:
    """One Airflow on this machine, spoken to as its admin."""

    def __init__(self, address: str, *, password: str) -> None:
        self._address = address
        self._password = password
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between this machine and itself
        # A busy machine may let a call time out, and a database may be away for seconds: that alone ends nothing.
        # A trigger that arrives twice does no harm either.
        retries = Retry(
            total=4, backoff_factor=0.5, allowed_methods=None, status_forcelist=UNAVAILABLE, raise_on_status=False
        )
        self._session.mount(f"{address}/api/v2/", HTTPAdapter(max_retries=retries))

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
        """Close the connections: a server that is asked to stop waits for them."""
        self._session.close()

    def seed_variable(self, key: str, value: str, description: str) -> None:
        """Create a Variable; one that is there already stays as it is."""
        body = {"key": key, "value": value, "description": description}
        self._request("POST", "variables", json=body, accept=(409,))

    def dag_ids(self) -> set[str]:
        """The ids of this project's DAGs that Airflow has read, the stale ones left out."""
        found = self._request("GET", "dags", params={"dag_id_pattern": f"{PREFIX}%", "limit": "100"})
        return {dag["dag_id"] for dag in found["dags"]}

    def import_errors(self) -> dict[str, str]:
        """The DAG files that Airflow could not read, each with the last line of its error."""
        found = self._request("GET", "importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"].strip().splitlines()[-1] for error in found}

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on."""
        self._request("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, form: Mapping[str, Any] | None = None) -> str:
        """Start a run now, with what is filled into its form; its id."""
        body = {"logical_date": None, "conf": dict(form or {})}
        return str(self._request("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self._request("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def is_due(self, dag_id: str) -> bool:
        """Whether Airflow is about to create a run of its own accord."""
        due = self._request("GET", f"dags/{dag_id}")["next_dagrun_run_after"]
        return due is not None and datetime.fromisoformat(due) <= datetime.now(UTC)

    def active_runs(self, dag_id: str) -> dict[str, datetime | None]:
        """The runs that are queued or running, each with its start."""
        found = self._request("GET", f"dags/{dag_id}/dagRuns", params={"state": list(ACTIVE), "limit": "10"})[
            "dag_runs"
        ]
        return {run["dag_run_id"]: _to_datetime(run["start_date"]) for run in found}

    def end_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run that no process works on any more as failed."""
        self._request("PATCH", f"dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def failed_tries(self, since: datetime) -> list[Try]:
        """The tries that began since then and failed, newest first, unless a later one succeeded."""
        found = self._request(
            "GET",
            "dags/~/dagRuns/~/taskInstances",
            params={
                "state": list(FAILED),
                "start_date_gte": since.isoformat(),
                "order_by": "-end_date",
                "limit": "20",
            },
        )
        return [
            Try(
                dag_id=task["dag_id"],
                run_id=task["dag_run_id"],
                task_id=task["task_id"],
                number=task["try_number"],
                of=task["max_tries"] + 1,
                is_last=task["state"] == "failed",
            )
            for task in found["task_instances"]
        ]

    def _request(self, method: str, path: str, *, accept: tuple[int, ...] = (), **how: Any) -> Any:
        answer = self._send(method, path, **how)
        if answer.status_code == 401 and self.is_up():  # the token of a long session has expired
            answer = self._send(method, path, **how)
        if answer.status_code in accept:
            return {}
        if not answer.ok:
            raise StackError(f"Airflow answered {answer.status_code} to {method} {path}: {_detail(answer)}")
        return answer.json()

    def _send(self, method: str, path: str, **how: Any) -> requests.Response:
        try:
            return self._session.request(method, f"{self._address}/api/v2/{path}", timeout=TIMEOUT, **how)
        except requests.RequestException as error:
            raise StackError(f"Airflow's API server does not answer {method} {path}: {error}") from error


def _detail(answer: requests.Response) -> str:
    """What an answer says went wrong, in a line."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text
    if isinstance(detail, dict):
        detail = detail.get("message") or detail.get("reason") or detail
    return " ".join(str(detail).split())[:300]


def _to_datetime(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
