"""Airflow's API server alone, with the plugin and logins on: its metadata in Postgres, the channels' DAGs known."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from local_stack.postgres import USER
from local_stack.stack import free_port

from benchmarks.measuring import PROJECT
from benchmarks.warehouse import Server

_METADATA = "airflow_metadata"
_LOGIN = {"username": "admin", "password": "of the benchmark"}
_TIMEOUT_SECONDS = 180


@dataclass(frozen=True)
class ApiServer:
    """A server that is up, and somebody who is logged in."""

    address: str
    session: requests.Session

    def milliseconds(self, path: str) -> float:
        """Return how long a page of the plugin takes to arrive whole."""
        started = time.perf_counter()
        answer = self.session.get(f"{self.address}/asset-changes/{path}", timeout=60)
        taken = (time.perf_counter() - started) * 1000
        assert answer.ok, answer.text
        assert "Nothing to show yet" not in answer.text
        return taken


@contextmanager
def running_api_server(server: Server, home: Path, *, warehouse: str, channels: tuple[int, ...]) -> Iterator[ApiServer]:
    """Give an API server whose pages read this warehouse."""
    home.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{free_port()}"
    environment = _environment(server, home, address, warehouse, channels)
    airflow = [sys.executable, "-m", "airflow"]
    with (home / "log").open("wb") as log:
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            subprocess.run([*airflow, *command], env=environment, stdout=log, stderr=log, check=True)
        process = subprocess.Popen([*airflow, "api-server"], env=environment, stdout=log, stderr=log)
    try:
        yield ApiServer(address, _logged_in(address, process))
    finally:
        process.terminate()
        process.wait()
        server.drop(_METADATA)


def _environment(server: Server, home: Path, address: str, warehouse: str, channels: tuple[int, ...]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ASSET_"))}
    (home / "passwords.json").write_text(json.dumps({_LOGIN["username"]: _LOGIN["password"]}))
    entries = [{"channel_id": each, "asset_family": "Editorial", "asset_type": "Image"} for each in channels]
    connection = {
        "conn_type": "postgres",
        "host": str(server.postgres.socket_dir),
        "login": USER,
        "schema": warehouse,
    }
    metadata = server.postgres.create_database(_METADATA)
    url = {name: metadata.set(drivername=f"postgresql+{name}").render_as_string() for name in ("psycopg2", "psycopg")}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": address.rpartition(":")[2],
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "for this benchmark alone " * 4,
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url["psycopg2"],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url["psycopg"],
        "AIRFLOW_CONN_WAREHOUSE_DEFAULT": json.dumps(connection),
        "AIRFLOW_VAR_ASSET_CHANGES_CHANNELS": json.dumps(entries),
        "ASSET_CHANGES_ARCHIVE_URI": f"file://{home}/archive",
    }


def _logged_in(address: str, process: "subprocess.Popen[bytes]") -> requests.Session:
    session = requests.Session()
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            answer = session.post(f"{address}/auth/token", json=_LOGIN, timeout=10)
        except requests.ConnectionError:
            time.sleep(0.5)
            continue
        session.cookies.set("_token", answer.json()["access_token"])
        return session
    raise RuntimeError("The API server did not start.")
