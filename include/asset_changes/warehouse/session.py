"""What each transaction sets for itself, so that no default of a server, a role or a pooler matters.

A pooler refuses or drops what a connection asks for at its start, and may hand each transaction to another
connection to the server. So everything is set inside the transaction, together with its BEGIN in one round trip.
`SET LOCAL` needs no right, unlike the function set_config.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from asset_changes.errors import SchemaMismatch, WarehouseRefused

MAY_LACK_SCHEMA = "asset_changes_may_lack_schema"
"""Execution option of the transaction that makes the schema."""

IS_SNAPSHOT = "asset_changes_is_snapshot"
"""Execution option of a transaction that only reads, and all of whose queries see the same commits."""

MIGRATE_COMMAND = "airflow dags trigger asset_changes_discovery"

_HAS_BEGUN = "asset_changes_has_begun"
_SETTINGS = {
    "synchronous_commit": "on",  # Getty forgets a set once it is confirmed
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "row_security": "off",  # a policy that would hide rows is an error: evidence is never silently less
    # A role's limits are meant for people at a prompt: a rebuild or a wait for a lock may take longer.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # Without these the server keeps the locks of a client that vanished for two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_EXPECTED = {name: _SETTINGS[name] for name in ("synchronous_commit", "client_encoding", "TimeZone", "DateStyle")}
_EXPECTED_MODES = {
    False: {"transaction_isolation": "read committed", "transaction_read_only": "off"},
    True: {"transaction_isolation": "repeatable read", "transaction_read_only": "on"},
}


def set_up_transactions(engine: Engine, *, schema: str, application_name: str) -> None:
    """Make every transaction of `engine` begin with these settings, and check what came of them."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        try:
            current_schema, *found = _begin(connection, schema=schema, application_name=application_name)
            _check_settings(found, is_snapshot=bool(options.get(IS_SNAPSHOT)))
            if current_schema != schema and not options.get(MAY_LACK_SCHEMA):
                _explain_missing_schema(connection, schema=schema)
        except BaseException:
            connection.close()  # else SQLAlchemy would run the next statement without a transaction
            raise


def _begin(connection: Connection, *, schema: str, application_name: str) -> tuple[Any, ...]:
    """Begin, and return what came of it; on a new connection where this one was closed while it was idle."""
    try:
        is_new = _HAS_BEGUN not in connection.info
        try:
            return _begin_on(connection, schema=schema, application_name=application_name)
        except psycopg.OperationalError:
            if is_new or not connection.connection.driver_connection.closed:  # type: ignore[union-attr]
                raise
        connection.invalidate()
        return _begin_on(connection, schema=schema, application_name=application_name)
    except psycopg.Error as error:
        raise DBAPIError("BEGIN" if error.sqlstate else None, None, error) from error


def _begin_on(connection: Connection, *, schema: str, application_name: str) -> tuple[Any, ...]:
    driver: Any = connection.connection.driver_connection
    if not driver.autocommit:
        driver.autocommit = True  # for the driver alone: its own BEGIN would be a round trip more
    is_snapshot = bool(connection.get_execution_options().get(IS_SNAPSHOT))
    is_17_or_newer = driver.info.server_version >= 170000
    statement = _statement(schema, application_name, is_snapshot=is_snapshot, has_transaction_timeout=is_17_or_newer)
    cursor = driver.execute(statement)
    cursor.set_result(-1)  # that of the SELECT
    connection.info[_HAS_BEGUN] = True
    found: tuple[Any, ...] = cursor.fetchone()
    return found


@cache
def _statement(schema: str, application_name: str, *, is_snapshot: bool, has_transaction_timeout: bool) -> bytes:
    limits = {"transaction_timeout": "0"} if has_transaction_timeout else {}
    values = {**_SETTINGS, **limits, "application_name": application_name}
    return (
        sql.SQL("; ")
        .join(
            [
                sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                if is_snapshot
                else sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
                sql.SQL('SET LOCAL search_path = {}, "pg_temp"').format(sql.Identifier(schema)),
                *(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), value) for name, value in values.items()),
                sql.SQL("SELECT CURRENT_SCHEMA, {}").format(
                    sql.SQL(", ").join(
                        sql.SQL("current_setting({})").format(name) for name in _EXPECTED | _EXPECTED_MODES[is_snapshot]
                    )
                ),
            ]
        )
        .as_bytes()
    )


def _check_settings(found: Sequence[str], *, is_snapshot: bool) -> None:
    for (name, expected), value in zip((_EXPECTED | _EXPECTED_MODES[is_snapshot]).items(), found, strict=True):
        if value != expected:
            raise WarehouseRefused(
                f"The warehouse did not take the setting {name} = {expected} (it is {value}). "
                "Look for a pooler in front of the database that drops or rewrites SET LOCAL."
            )


def _explain_missing_schema(connection: Connection, *, schema: str) -> NoReturn:
    driver: Any = connection.connection.driver_connection
    row = driver.execute("SELECT CURRENT_USER FROM pg_namespace WHERE nspname = %s", [schema]).fetchone()
    if row:
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), sql.Identifier(row[0]))
        raise WarehouseRefused(
            f"The warehouse's user {row[0]!r} may not use the schema {schema!r}. "
            f"Run `{grant.as_string(driver)}`; docs/security.md lists all rights."
        )
    raise SchemaMismatch(
        f"The warehouse has no schema {schema!r}, so its version is none: run `{MIGRATE_COMMAND}`, which makes it; "
        "or correct ASSET_CHANGES_SCHEMA. Nothing was fetched."
    )
