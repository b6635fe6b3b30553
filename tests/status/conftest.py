"""An Airflow API server with the plugin of this checkout, and a warehouse it reads."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import requests
from asset_changes.warehouse.engine import connect
from local_stack.postgres import EmbeddedPostgres
from local_stack.stack import free_port
from sqlalchemy import URL, Engine, text

from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
CHANNELS = [
    {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"},
    {"channel_id": 3002, "asset_family": "Creative", "asset_type": "Image"},
]
CONNECTION = "warehouse_default"


def words(html: str) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"(?s)<style>.*?</style>", "", html)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


@dataclass
class AirflowServer:
    """An API server with logins on, and sessions that are logged in: an admin's, and a viewer's."""

    address: str
    session: requests.Session
    viewer: requests.Session
    log: Path

    def get(self, path: str, **more: Any) -> requests.Response:
        """Return a page of the plugin, for somebody who is logged in."""
        return self.session.get(f"{self.address}/asset-changes/{path}", timeout=60, **more)

    def get_anonymously(self, path: str) -> requests.Response:
        """Return what a stranger gets."""
        return requests.get(f"{self.address}/asset-changes/{path}", timeout=60)

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Call Airflow's own API."""
        return self.session.request(method, f"{self.address}/api/v2/{path}", json=body, timeout=60)

    def connect(self, url: URL | None) -> None:
        """Make the connection to the warehouse as a person does in the UI, or remove it."""
        self.ask("DELETE", f"connections/{CONNECTION}")
        if url is not None:
            given = {"connection_id": CONNECTION, "conn_type": "postgres", "schema": url.database}
            answer = self.ask("POST", "connections", given | {"host": url.query["host"], "login": url.username})
            assert answer.ok, answer.text


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowServer]:
    """The server, once per session: it takes half a minute to start."""
    home = tmp_path_factory.mktemp("airflow_server")
    address = f"http://127.0.0.1:{free_port()}"
    environment = _environment(home, address)
    airflow = [sys.executable, "-m", "airflow"]
    log = home / "server.log"
    with log.open("wb") as output:
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            subprocess.run([*airflow, *command], env=environment, stdout=output, stderr=output, check=True, timeout=600)
        process = subprocess.Popen(
            [*airflow, "api-server"], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        admin, viewer = (_logged_in(user, address, process, log) for user in ("admin", "viewer"))
        yield AirflowServer(address, admin, viewer, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _environment(home: Path, address: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "ASSET_CHANGES"))}
    (home / "passwords.json").write_text('{"admin": "a password", "viewer": "a password"}')
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": address.rpartition(":")[2],
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API_AUTH__JWT_SECRET": "for these tests alone " * 4,
        "AIRFLOW_VAR_ASSET_CHANGES_CHANNELS": json.dumps(CHANNELS),
        "ASSET_CHANGES_ARCHIVE_URI": f"file://{home}/archive",
    }


def _logged_in(user: str, address: str, process: "subprocess.Popen[bytes]", log: Path) -> requests.Session:
    session = requests.Session()
    session.trust_env = False

    def end_of_log() -> str:
        return log.read_text()[-3000:]

    def token() -> str | None:
        assert process.poll() is None, f"the server did not start:\n{end_of_log()}"
        login = {"username": user, "password": "a password"}
        with suppress(requests.ConnectionError):
            return str(session.post(f"{address}/auth/token", json=login, timeout=60).json()["access_token"])
        return None

    found = wait_until(token, what="the API server", seconds=600, pause=0.5, details=end_of_log)
    session.cookies.set("_token", found or "")  # as a browser carries it
    return session


@pytest.fixture
def page(server: AirflowServer, warehouse_url: URL) -> AirflowServer:
    """The server, reading the test's own warehouse: migrated, and empty."""
    server.connect(warehouse_url)
    return server


@pytest.fixture
def bare_url(postgres: EmbeddedPostgres) -> Iterator[URL]:
    """A database without any table of ours."""
    url = postgres.create_database("bare")
    yield url
    admin: Engine = connect(postgres.url("postgres"), schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE bare"))
    admin.dispose()
