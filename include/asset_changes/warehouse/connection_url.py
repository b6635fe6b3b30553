"""From the fields and extras of a connection to the URL of the warehouse: one way, for tasks and for `make run`."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from psycopg.pq import Conninfo
from sqlalchemy import URL

from asset_changes.errors import ConfigurationError

_OF_LIBPQ = {option.keyword.decode() for option in Conninfo.get_defaults()}
_FIELDS = {"host": "host", "port": "port", "user": "login", "password": "password", "dbname": "schema (the database)"}
_NOT_TAKEN = {
    **{name: f"write it into the field {field}" for name, field in _FIELDS.items()},
    "options": "each transaction makes its own settings, and poolers refuse this one",
    "client_encoding": "it is always UTF8",
    "application_name": "it is set, so that a task can be found in pg_stat_activity",
    "replication": "it is not for queries",
}
_OF_AIRFLOWS_HOOK = (
    "iam", "aws_conn_id", "azure_conn_id", "redshift", "redshift-serverless", "cluster-identifier", "workgroup-name",
    "cursor", "sqlalchemy_scheme", "sqlalchemy_query",
)  # fmt: skip


def connection_url(
    *,
    host: str | None,
    port: int | None,
    login: str | None,
    password: str | None,
    database: str | None,
    extra: Mapping[str, Any],
    conn_id: str = "warehouse_default",
) -> URL:
    """Return the SQLAlchemy URL of a warehouse; an extra that libpq does not know is refused by its name.

    An extra that is null or empty is as good as absent. Values are never part of a message: one may be a secret.
    """
    query: dict[str, str] = {}
    for name, value in extra.items():
        if value is None or value == "":
            continue
        if reason := _why_refused(name, value):
            raise ConfigurationError(
                f"Extra {name!r} of connection {conn_id} cannot be used: {reason}. Correct or remove it "
                "(docs/connection.md lists what is taken)."
            )
        query[name] = str(int(value)) if isinstance(value, bool) else str(value)  # libpq's switches are 1 and 0
    is_socket = bool(host) and str(host).startswith(("/", "@"))
    return URL.create(
        "postgresql+psycopg",
        username=login or None,
        password=password or None,
        host=None if is_socket else host or None,
        port=port or None,
        database=database or None,
        query=query | ({"host": str(host)} if is_socket else {}),
    )


def _why_refused(name: str, value: object) -> str | None:
    if reason := _NOT_TAKEN.get(name):
        return reason
    if name in _OF_AIRFLOWS_HOOK:
        return "it is an option of Airflow's own Postgres hook, which the warehouse does not use"
    if name not in _OF_LIBPQ:
        close = get_close_matches(name, sorted(_OF_LIBPQ - set(_NOT_TAKEN)), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"libpq, the client library of PostgreSQL, does not know it{hint}"
    return None if isinstance(value, str | int) else "its value is neither a text nor a number"
