"""Nothing depends on what an administrator set for the role or the database."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import WarehouseUnavailable
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse.engine import connect, transaction
from asset_changes.warehouse.migrate import migrate
from asset_changes.warehouse.session import IS_SNAPSHOT
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, Engine, text

from tests.conftest import EDITORIAL_IMAGES, SCHEMA
from tests.core.doubles import ScriptedGetty, body_of, change, delivery, live, rows, value

LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
DEFAULTS = {
    "search_path": "public",
    "synchronous_commit": "off",
    "timezone": "Asia/Tokyo",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "extra_float_digits": "-10",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    **dict.fromkeys(LIMITS, "30s"),  # longer than the one statement may take that lifts them
}


@pytest.fixture
def hostile(postgres: EmbeddedPostgres) -> Iterator[URL]:
    """An empty database whose owner has a default against everything that we rely on."""
    url = postgres.create_database("defaults").set(username="with_defaults")
    admin = connect(postgres.url("defaults"), schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE ROLE with_defaults LOGIN"))
        connection.execute(text("ALTER DATABASE defaults OWNER TO with_defaults"))
        for name, setting in DEFAULTS.items():
            connection.exec_driver_sql(f"ALTER ROLE with_defaults SET {name} = {setting!r}")
    admin.dispose()
    yield url
    admin = connect(postgres.url("postgres"), schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE defaults WITH (FORCE)"))
        connection.execute(text("DROP ROLE with_defaults"))
    admin.dispose()


@pytest.fixture
def warehouse(hostile: URL) -> Iterator[Engine]:
    """The warehouse of that role, migrated by itself."""
    engine = connect(hostile, schema=SCHEMA)
    migrate(engine, schema=SCHEMA)
    yield engine
    engine.dispose()


def test_a_set_is_loaded_whatever_the_roles_defaults(warehouse: Engine, archive: Archive) -> None:
    received_at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    message = change("ž 'NULL' \\", "New") | {"asset_changed_utc_datetime": "2026-02-03T04:05:06.123456"}
    getty = ScriptedGetty([delivery(body_of("7", message), received_at=received_at)])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    assert catch_up(context, batch_size=5, minutes=1).sets == 1
    assert live(warehouse) == ["ž 'NULL' \\"]
    assert value(warehouse, "SELECT changed_at FROM assets") == datetime(2026, 2, 3, 4, 5, 6, 123456, UTC)
    assert rows(warehouse, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_a_wait_is_not_cut_by_the_roles_limits(warehouse: Engine) -> None:
    with transaction(warehouse) as connection:
        assert [connection.scalar(text(f"SHOW {limit}")) for limit in LIMITS] == ["0", "0", "0"]


def test_the_next_transaction_has_the_same_settings(warehouse: Engine) -> None:
    with transaction(warehouse) as connection:
        connection.execute(text("SET synchronous_commit = off; SET timezone = 'Asia/Tokyo'; SET search_path = public"))
    assert value(warehouse, "SHOW synchronous_commit") == "on"
    assert value(warehouse, "SHOW timezone") == "UTC"
    assert value(warehouse, "SELECT current_schema") == SCHEMA


def test_queries_of_a_snapshot_see_the_same_commits(warehouse: Engine) -> None:
    count = text("SELECT count(*) FROM channels")
    with transaction(warehouse.execution_options(**{IS_SNAPSHOT: True})) as connection:
        assert connection.scalar(count) == 0
        with transaction(warehouse) as other:
            other.execute(text("INSERT INTO channels (channel_id, asset_family, asset_type) VALUES (1, 'E', 'Image')"))
        assert connection.scalar(count) == 0
    assert value(warehouse, "SELECT count(*) FROM channels") == 1


def test_a_connection_closed_while_idle_is_replaced(warehouse: Engine) -> None:
    pids = []
    for _ in range(2):
        with transaction(warehouse) as connection:
            pids.append(connection.scalar(text("SELECT pg_backend_pid()")))
        other = connect(warehouse.url, schema=SCHEMA)
        value(other, f"SELECT pg_terminate_backend({pids[-1]}, 60000)")
        other.dispose()
    assert pids[0] != pids[1]


def test_a_standby_is_a_passing_fault(tmp_path: Path) -> None:
    """After a failover the name may lead to the old primary for a while."""
    server = EmbeddedPostgres(tmp_path, durable=False).start()
    server.create_database("catalogue")
    server.stop()
    data = server.home / "data"
    (data / "standby.signal").touch()
    os.chown(data / "standby.signal", data.stat().st_uid, data.stat().st_gid)
    engine = connect(server.start().url("catalogue"), schema=SCHEMA)
    with pytest.raises(WarehouseUnavailable, match=r"is a standby.*target_session_attrs"), transaction(engine):
        pass
    engine.dispose()
    server.remove()
