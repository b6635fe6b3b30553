"""The Test button of the connection form: what the UI sends, and what Airflow's API server answers."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from getty_sandbox import Sandbox

from tests.dags.installation import getty_connection
from tests.status.conftest import AirflowServer

Press = Callable[..., requests.Response]
CONN_ID = "getty_of_the_form"


@pytest.fixture
def press(server: AirflowServer, sandbox: Sandbox) -> Press:
    """Save a connection as the form does, then press the button of its row."""

    def save_and_press(**changes: Any) -> requests.Response:
        given = json.loads(getty_connection(sandbox)) | changes
        given["extra"] = json.dumps({"grant_type": None, "username": None} | given["extra"])
        server.ask("DELETE", f"connections/{CONN_ID}")
        saved = server.ask("POST", "connections", {"connection_id": CONN_ID} | given)
        assert saved.ok, saved.text
        # The row: secrets are masked, what is not there is empty, and a port that is not there is a zero.
        row = saved.json()
        names = ("connection_id", "conn_type", "description", "extra", "host", "login", "password", "schema")
        return server.ask(
            "POST", "connections/test", {name: row[name] or "" for name in names} | {"port": row["port"] or 0}
        )

    return save_and_press


def test_it_names_the_channels(press: Press, sandbox: Sandbox) -> None:
    answer = press(port=sandbox.port).json()
    assert answer["status"]
    assert answer["message"].startswith("Connected. Channels: 3001 (Editorial Image), 3002 (Creative Image)")
    assert sandbox.put_count == 0


def test_a_wrong_secret_is_an_error_with_what_to_correct(press: Press, sandbox: Sandbox) -> None:
    answer = press(port=sandbox.port, password="not-the-secret").json()
    assert not answer["status"]
    assert "Correct the API key (login) and the secret (password)" in answer["message"]
    assert "not-the-secret" not in answer["message"]


def test_without_a_port_airflow_refuses_to_test(press: Press) -> None:
    """That is why the form asks for one."""
    refused = press(port=None)
    assert refused.status_code == 400
    assert "The host or port to test differs from the stored connection" in refused.json()["detail"]
