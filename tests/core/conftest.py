"""The warehouse of these tests: one database, emptied before each test, or one of the test's own."""

import itertools
from collections.abc import Iterator

import pytest
from asset_changes.warehouse.engine import connect
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, text

from tests.conftest import SCHEMA

_numbers = itertools.count()
_EMPTY = """
DO $$ BEGIN EXECUTE (
    SELECT 'TRUNCATE ' || string_agg(format('%I', tablename), ', ')
    FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'schema_version'
); END $$
"""


def _made(postgres: EmbeddedPostgres, template: str) -> URL:
    """Make a migrated database; it takes a second on a busy machine."""
    name = f"core_{next(_numbers)}"
    admin = connect(postgres.url("postgres"), schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    admin.dispose()
    return postgres.url(name)


@pytest.fixture(scope="session")
def _common_url(postgres: EmbeddedPostgres, _template: str) -> URL:
    return _made(postgres, _template)


@pytest.fixture
def own_database() -> None:
    """Asked for by a test that changes the warehouse's structure or settings."""


@pytest.fixture
def warehouse_url(request: pytest.FixtureRequest, postgres: EmbeddedPostgres, _template: str) -> Iterator[URL]:
    """An empty, migrated warehouse."""
    if "own_database" in request.fixturenames:
        yield _made(postgres, _template)
        return
    url: URL = request.getfixturevalue("_common_url")
    engine = connect(url, schema=SCHEMA)
    with engine.begin() as connection:
        connection.execute(text("SET lock_timeout = '60s'"))
        connection.execute(text(_EMPTY))
    engine.dispose()
    yield url
