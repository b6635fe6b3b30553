"""Runs of the real stack that wait for a person, and a listing of the files that uses nothing of ours."""

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import requests

from tests.e2e.browser import RunningStack
from tests.waiting import wait_until

PURGE = "asset_changes_purge"
CHANNELS = ("asset_changes_editorial_image_3001", "asset_changes_creative_image_3002")
# Airflow may notice five seconds late that the process that asked has ended, and takes a task that was answered and
# begun again by then for lost. A person reads for longer.
LET_GO = timedelta(seconds=8)
MANY = 60  # more than 2 % of the 2,300 assets of the example list


@dataclass(frozen=True, kw_only=True)
class Purged:
    """The files before and after a purge, its run, and what the answer of another user got."""

    before: set[str]
    after: set[str]
    run_id: str
    refused: int


def files(stack: RunningStack) -> set[str]:
    """Every file of the store, found by walking through its folder."""
    folder = stack.state_dir / "files"
    found = {Path(place, name) for place, _, names in os.walk(folder) for name in names}
    return {str(each.relative_to(folder)) for each in found if each.name != ".keep"}


def asset_of(file: str) -> str:
    """The asset of a file, by its name or its folder."""
    found = re.fullmatch(r"\w+/GettyImages-([0-9-]+)\.\w+|renditions/([0-9-]+)/.+", file)
    assert found
    return found[1] or found[2]


def delete_many(stack: RunningStack) -> None:
    """Let Getty delete assets of years ago of which there are files, and wait until the warehouse has it."""
    old = sorted(asset_id for asset_id in map(asset_of, files(stack)) if asset_id.startswith("50"))
    images = [
        each for each in dict.fromkeys(old) if (stack.state_dir / f"files/images/GettyImages-{each}.jpg").exists()
    ]
    answer = requests.post(f"{stack.sandbox}/_sandbox/delete", json={"asset_ids": images[:MANY]}, timeout=30)
    answer.raise_for_status()
    for dag_id in CHANNELS:
        assert end_of(stack, dag_id, trigger(stack, dag_id, {})) == "success"


def ask(stack: RunningStack) -> str:
    """A dry run, then a run that waits for a person; its id."""
    assert end_of(stack, PURGE, trigger(stack, PURGE, {"dry_run": True})) == "success"
    trigger(stack, PURGE, {})
    return waiting_run(stack, PURGE)


def waiting_run(stack: RunningStack, dag_id: str) -> str:
    """The id of the run that waits for a person; it may be one that Airflow's schedule has begun."""
    waiting: list[str] = []

    def is_asked() -> bool:
        details = stack.api("GET", f"dags/{dag_id}/dagRuns/~/hitlDetails?response_received=false")["hitl_details"]
        latest = datetime.now(UTC) - LET_GO
        asked = [each for each in details if datetime.fromisoformat(each["created_at"]) < latest]
        waiting[:] = [each["task_instance"]["dag_run_id"] for each in asked]
        return bool(waiting)

    wait_until(is_asked, what="the question", seconds=120)
    return waiting[0]


def answer(stack: RunningStack, run_id: str, *, user: str, dag_id: str = PURGE, task_id: str = "approve") -> int:
    """What the API says to Approve of this user, who has the rights of an admin."""
    login = {"username": "admin", "password": stack.password}
    token = requests.post(f"{stack.address}/auth/token", json=login, timeout=60).json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False}) | {"sub": user}
    secret = json.loads((stack.state_dir / "secrets.json").read_text())["jwt_secret"]
    token = jwt.encode(claims, secret, algorithm=jwt.get_unverified_header(token)["alg"])
    return requests.patch(
        f"{stack.address}/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails",
        json={"chosen_options": ["Approve"], "params_input": {}},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    ).status_code


def clear(stack: RunningStack, run_id: str, task_id: str) -> None:
    """Clear a task and those behind it."""
    what = {"dag_run_id": run_id, "task_ids": [task_id], "include_downstream": True, "only_failed": False}
    stack.api("POST", f"dags/{PURGE}/clearTaskInstances", {"dry_run": False, **what})


def cdn_cursor(stack: RunningStack) -> Any:
    """The last receipt that the example of a CDN has read."""
    kept = stack.api("GET", "variables?variable_key_pattern=asset_changes_example_cdn_cursors")["variables"]
    return json.loads(kept[0]["value"]).get("example") if kept else None


def end_of(stack: RunningStack, dag_id: str, run_id: str) -> str:
    """The state in which a run ends."""
    states: list[str] = []

    def is_over() -> bool:
        states.append(stack.api("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])
        return states[-1] in ("success", "failed")

    wait_until(is_over, what=f"the end of {dag_id}", seconds=300, pause=0.5)
    return states[-1]


def trigger(stack: RunningStack, dag_id: str, form: dict[str, Any]) -> str:
    """Start a run with what was filled into its form; its id."""
    return str(stack.api("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": form})["dag_run_id"])
