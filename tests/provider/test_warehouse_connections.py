"""The warehouse's connections: one that loads, and one that migrates where the first must not own the tables."""

import json
from pathlib import Path

import pytest
from asset_changes.settings import Settings
from asset_changes.warehouse.engine import connect
from getty_images import resources
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, text

from tests.core.doubles import value


def connection(url: URL) -> str:
    """Return what a person writes for a Postgres connection."""
    given = {"conn_type": "postgres", "host": url.query["host"], "login": url.username, "schema": url.database}
    return json.dumps(given)


@pytest.fixture
def loading(postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> URL:
    """An empty database, as the user that loads sees it: it owns nothing there."""
    url = postgres.create_database("two_roles")
    admin = connect(url, schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as made:
        made.execute(text("CREATE ROLE only_loads LOGIN"))
    admin.dispose()
    monkeypatch.setenv("ASSET_CHANGES_ARCHIVE_URI", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_MIGRATION", connection(url))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_DEFAULT", connection(url.set(username="only_loads")))
    return url


@pytest.mark.usefixtures("loading")
def test_another_connection_migrates_where_there_is_one() -> None:
    resources.migrate()
    with resources.warehouse_of(Settings.from_environment(), application_name="asset_changes channel=3001") as engine:
        name = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        assert value(engine, name) == "asset_changes channel=3001"
        assert value(engine, "SELECT tableowner FROM pg_tables WHERE tablename = 'deletions'") == "postgres"
        for right, expected in {"INSERT": True, "UPDATE": False, "DELETE": False, "TRUNCATE": False}.items():
            assert value(engine, f"SELECT has_table_privilege('deletions', '{right}')") is expected
