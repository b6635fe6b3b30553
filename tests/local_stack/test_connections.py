"""The two connections, as Airflow's own variables spell them."""

import json

import pytest
from airflow.sdk import Connection as AirflowConnection
from local_stack.connections import (
    GETTY,
    WAREHOUSE,
    Connection,
    postgres_connection,
    sandbox_connection,
)
from local_stack.errors import StackError
from sqlalchemy import make_url

SOCKET_URL = make_url("postgresql+psycopg://postgres@/warehouse?host=/srv/postgres")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:p%40ss@db.example:5433/catalogue?sslmode=require",
        '{"conn_type": "postgres", "host": "db.example", "port": 5433, "login": "me", "password": "p@ss",'
        ' "schema": "catalogue", "extra": {"sslmode": "require", "cursor": "dictcursor"}}',
        '{"conn_type": "postgres", "host": "db.example", "port": "5433", "login": "me", "password": "p@ss",'
        ' "schema": "catalogue", "extra": "{\\"sslmode\\": \\"require\\"}"}',
    ],
)
def test_a_given_warehouse_is_understood_as_uri_and_as_json(text: str) -> None:
    url = Connection.read(WAREHOUSE, text).warehouse_url()
    assert url == make_url("postgresql+psycopg://me:p%40ss@db.example:5433/catalogue?sslmode=require")


def test_the_embedded_warehouse_survives_the_way_through_its_connection() -> None:
    assert Connection.read(WAREHOUSE, postgres_connection(SOCKET_URL)).warehouse_url() == SOCKET_URL


def test_airflow_reads_the_sandbox_connection_as_we_do() -> None:
    text = sandbox_connection("http://127.0.0.1:8099")
    theirs, ours = AirflowConnection.from_json(text, conn_id="getty_images_default"), Connection.read(GETTY, text)
    assert (theirs.host, theirs.login, theirs.password) == (ours.host, ours.login, ours.password)
    assert theirs.extra_dejson == ours.extra == {"token_url": "http://127.0.0.1:8099/oauth2/token"}


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("http://127.0.0.1:8099", True),
        ("localhost:8099", True),
        ("http://[::1]:8099", True),
        ("", False),
        ("https://api.gettyimages.com", False),
        ("http://127.0.0.1.example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_only_this_machine_counts_as_loopback(host: str, is_loopback: bool) -> None:
    text = json.dumps({"conn_type": "getty_images", "host": host})
    assert Connection.read(GETTY, text).is_loopback() is is_loopback


@pytest.mark.parametrize(
    ("uri", "is_loopback"),
    [
        ("getty-images://key:secret@/?token_url=x", False),
        ("getty-images://key:secret@localhost:8099", True),
        ("http://127.0.0.1:1", True),
    ],
)
def test_the_host_of_a_uri_is_looked_at_too(uri: str, is_loopback: bool) -> None:
    assert Connection.read(GETTY, uri).is_loopback() is is_loopback


@pytest.mark.parametrize("text", ['{"host": ', "nonsense", '{"extra": 7}', "postgres://h:port/x"])
def test_nonsense_is_refused_by_the_variables_name_without_its_text(text: str) -> None:
    with pytest.raises(StackError, match=WAREHOUSE) as caught:
        Connection.read(WAREHOUSE, text)
    assert text not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    assert "hush" not in repr(Connection.read(WAREHOUSE, "postgres://me:hush@db/x"))
