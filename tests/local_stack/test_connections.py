"""The two connections, as Airflow's own variables spell them."""

import json

import pytest
from airflow.sdk import Connection as AirflowConnection
from asset_changes.errors import ConfigurationError
from getty_images import resources
from getty_images.hook import credentials_of
from local_stack.connections import (
    GETTY,
    WAREHOUSE,
    Connection,
    postgres_connection,
    sandbox_connection,
)
from local_stack.errors import StackError
from sqlalchemy import URL, make_url

SOCKET_URL = make_url("postgresql+psycopg://postgres@/warehouse?host=/srv/postgres")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:p%40ss@db.example:5433/catalogue?sslmode=require",
        '{"conn_type": "postgres", "host": "db.example", "port": 5433, "login": "me", "password": "p@ss",'
        ' "schema": "catalogue", "extra": {"sslmode": "require", "channel_binding": null}}',
        '{"conn_type": "postgres", "host": "db.example", "port": "5433", "login": "me", "password": "p@ss",'
        ' "schema": "catalogue", "extra": "{\\"sslmode\\": \\"require\\"}"}',
        "postgresql://me:p%40ss@db.example:5433/catalogue?__extra__=%7B%22sslmode%22%3A%20%22require%22%7D",
    ],
)
def test_a_given_warehouse_is_understood_as_uri_and_as_json(text: str) -> None:
    url = Connection.read(WAREHOUSE, text).warehouse_url()
    assert url == make_url("postgresql+psycopg://me:p%40ss@db.example:5433/catalogue?sslmode=require")


EXTRAS: list[dict[str, object]] = [
    {"channel_binding": "require", "sslmode": None, "keepalives": False, "connect_timeout": 3},
    {"sslpassword": "hush", "target_session_attrs": "read-write"},
    {"sslmod": "require"},
    {"options": "-c search_path=public"},
    {"iam": True},
    {"sslmode": ["require"]},
]


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: next(iter(extra)))
def test_make_run_tries_what_the_tasks_use(extra: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"conn_type": "postgres", "host": "db.example", "login": "me", "schema": "catalogue", "extra": extra}
    monkeypatch.setenv(WAREHOUSE, json.dumps(given))
    results: list[URL | str] = []
    for read in (
        Connection.read(WAREHOUSE, json.dumps(given)).warehouse_url,
        lambda: resources.warehouse_url("warehouse_default"),
    ):
        try:
            results.append(read())
        except (StackError, ConfigurationError) as error:
            results.append(str(error).replace(WAREHOUSE, "warehouse_default"))
    assert results[0] == results[1]


def test_the_embedded_warehouses_connection_round_trips() -> None:
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


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": "127.0.0.1:8099", "schema": "http"},
        {"host": "http://127.0.0.1/", "port": 8099},
        {"host": "api.example.com", "extra": {"token_url": "https://login.example.com/token"}},
        {"host": "https://api.example.com:8443", "port": 8099, "extra": {"token_url": ""}},
    ],
)
def test_getty_is_looked_for_where_the_hook_calls_it(given: dict[str, object]) -> None:
    text = json.dumps({"conn_type": "getty_images", "login": "key", "password": "secret", **given})
    theirs = credentials_of(AirflowConnection.from_json(text, conn_id="getty_images_default"))
    assert Connection.read(GETTY, text).getty_addresses() == (theirs.api_url, theirs.token_url)


def test_a_host_that_is_no_address_is_named() -> None:
    with pytest.raises(StackError, match=rf"{GETTY}: its host 'http://\[::1' is no address"):
        Connection.read(GETTY, '{"host": "http://[::1"}').getty_addresses()


@pytest.mark.parametrize(
    "password", ["p@ss/w", "p/ss", "12/34", "12?34", "12#34", "p@ss#w", "[::1"], ids=lambda text: text
)
def test_an_unescaped_password_in_a_uri_is_refused(password: str) -> None:
    with pytest.raises(StackError, match=r"written as %40 \(@\), %2F \(/\)") as caught:
        Connection.read(WAREHOUSE, f"postgresql://me:{password}@db/catalogue")
    assert password not in str(caught.value)


@pytest.mark.parametrize("kind", ["postgres", "postgresql", "postgresql+psycopg", ""])
def test_a_postgres_is_known_by_each_of_its_names(kind: str) -> None:
    connection = Connection.read(WAREHOUSE, json.dumps({"conn_type": kind, "host": "db", "schema": "catalogue"}))
    assert connection.warehouse_url().drivername == "postgresql+psycopg"


@pytest.mark.parametrize("text", ["mysql://me:hush@db/x", '{"conn_type": "snowflake", "password": "hush"}'])
def test_another_database_is_refused_by_its_type(text: str) -> None:
    with pytest.raises(StackError, match=r"of type '(mysql|snowflake)', but the warehouse is a PostgreSQL") as caught:
        Connection.read(WAREHOUSE, text).warehouse_url()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"host": ', "nonsense", '{"extra": 7}', "postgres://h:port/x"])
def test_a_refusal_names_the_variable_and_hides_its_text(text: str) -> None:
    with pytest.raises(StackError, match=WAREHOUSE) as caught:
        Connection.read(WAREHOUSE, text)
    assert text not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    assert "hush" not in repr(Connection.read(WAREHOUSE, "postgres://me:hush@db/x"))
