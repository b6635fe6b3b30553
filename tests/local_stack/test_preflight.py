"""What is given from outside is tried before anything starts: a sentence in a second, not a red task in minutes."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from getty_sandbox import Sandbox
from local_stack.connections import Connection
from local_stack.errors import StackError
from local_stack.postgres import EmbeddedPostgres
from local_stack.preflight import reach_warehouse, read_settings, warn_if_getty_is_silent
from local_stack.stack import free_port
from sqlalchemy import URL

from tests.local_stack.doubles import CapturedScreen

NOBODY = URL.create("postgresql+psycopg", username="me", password="hush", database="catalogue")


def getty(address: str, *, token_address: str) -> Connection:
    return Connection(host=address, login="a key", password="hush", extra={"token_url": f"{token_address}/token"})


def test_a_warehouse_that_lets_us_in_needs_no_word(warehouse_url: URL) -> None:
    screen = CapturedScreen()
    reach_warehouse(warehouse_url, screen)
    assert screen.lines == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"database": "nowhere"}, r'user .postgres. into database .nowhere. \(database "nowhere" does not exist\)'),
        ({"username": "nobody"}, r'user .nobody. .* \(role "nobody" does not exist\)'),
    ],
)
def test_a_warehouse_that_refuses_ends_the_start_at_once(
    postgres: EmbeddedPostgres, changes: dict[str, Any], reason: str
) -> None:
    screen = CapturedScreen()
    with pytest.raises(StackError, match=reason) as caught:
        reach_warehouse(postgres.url("postgres").set(**changes), screen)
    assert "Correct AIRFLOW_CONN_WAREHOUSE_DEFAULT" in str(caught.value)
    assert screen.lines == []  # it was not waited for


def test_a_warehouse_that_is_not_up_yet_is_waited_for(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres", durable=False)

    class StartingScreen(CapturedScreen):
        def say(self, sentence: str) -> None:
            super().say(sentence)
            postgres.start()

    screen = StartingScreen()
    try:
        reach_warehouse(postgres.url("postgres"), screen)
    finally:
        postgres.remove()
    assert len(screen.lines) == 1
    assert "does not answer yet: waiting for it, 30 seconds at most." in screen.lines[0]


def test_an_absent_warehouse_is_named_without_its_password() -> None:
    port = free_port()
    with pytest.raises(StackError, match=r"has not answered for 1 seconds \(Connection refused\)") as caught:
        reach_warehouse(NOBODY.set(host="127.0.0.1", port=port), CapturedScreen(), seconds=1)
    assert f"The warehouse at 127.0.0.1:{port} (database 'catalogue')" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_getty_that_answers_needs_no_word(sandbox: Sandbox) -> None:
    screen = CapturedScreen()
    warn_if_getty_is_silent(getty(sandbox.url, token_address=sandbox.url), screen)
    assert screen.lines == []


def test_a_silent_getty_is_a_warning_in_one_line(sandbox: Sandbox) -> None:
    silent = f"http://127.0.0.1:{free_port()}"
    screen = CapturedScreen()
    warn_if_getty_is_silent(getty(silent, token_address=silent), screen)
    warn_if_getty_is_silent(getty(sandbox.url, token_address=silent), screen)
    assert len(screen.lines) == 2
    for line in screen.lines:
        assert line.startswith(f"Getty does not answer yet at {silent} (Connection refused); Airflow keeps trying.")
        assert "AIRFLOW_CONN_GETTY_IMAGES_DEFAULT" in line
        assert "hush" not in line


def test_the_check_of_gettys_host_sends_no_credentials() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        check = threading.Thread(
            target=warn_if_getty_is_silent, args=(getty(address, token_address=address), CapturedScreen())
        )
        check.start()
        caller, _ = server.accept()
        with caller:
            received = caller.recv(65536).decode()
            caller.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        check.join()
    assert received.startswith("HEAD / ")
    assert "a key" not in received
    assert "Authorization" not in received


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ASSET_CHANGES_SCHEMA", "No Schema"),
        ("ASSET_CHANGES_BATCH_SIZE", "5000"),
        ("ASSET_CHANGES_CONFIRM", "perhaps"),
        ("ASSET_CHANGES_ARCHIVE_URI", "archive"),
        ("ASSET_CHANGES_WATCH_UNREAD_DAYS", "many"),
    ],
)
def test_a_setting_that_tasks_would_refuse_is_named(variable: str, value: str) -> None:
    with pytest.raises(StackError, match=variable):
        read_settings({"ASSET_CHANGES_ARCHIVE_URI": "file:///srv/archive", variable: value})
