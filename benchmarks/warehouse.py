"""The Postgres of the benchmarks: durable, with assets stored from the start."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from asset_changes.warehouse.engine import connect
from asset_changes.warehouse.migrate import migrate
from local_stack.postgres import USER, EmbeddedPostgres

from benchmarks.feed import FIRST_ID

# Every stored asset is a New of 60 days ago, handed out in full sets.
_STORED_ASSETS = """
INSERT INTO getty_images.asset_states (asset_id, asset_type, asset_family, channel_id, asset_lifecycle,
    upserted_at, upsert_change_set_id, upsert_position)
SELECT ({first} + n)::text, 'Image', 'Editorial', 3001, 'New',
    now() - interval '60 days' + n * interval '1 millisecond', (n / 2200)::text, n % 2200
FROM generate_series(0, {count} - 1) AS n;

INSERT INTO getty_images.asset_changes (fetched_at, channel_id, change_set_id, position, asset_id, asset_lifecycle,
    asset_type, changed_at, is_time_inferred, uri)
SELECT now() - interval '59 days', 3001, (n / 2200)::text, n % 2200, ({first} + n)::text, 'New', 'Image',
    now() - interval '60 days' + n * interval '1 millisecond', false,
    'https://api.gettyimages.com/v3/images/' || ({first} + n)
FROM generate_series(0, {count} - 1) AS n;
"""
_BARE = """
CREATE TABLE bare_assets (asset_id text COLLATE "C" PRIMARY KEY, asset_type text, asset_lifecycle text,
    changed_at timestamptz, uri text) WITH (fillfactor = 85);
INSERT INTO bare_assets
SELECT ({first} + n)::text, 'Image', 'New', now() - interval '60 days' + n * interval '1 millisecond',
    'https://api.gettyimages.com/v3/images/' || ({first} + n)
FROM generate_series(0, {count} - 1) AS n;
"""


@dataclass(frozen=True)
class Server:
    """A server that is up."""

    postgres: EmbeddedPostgres

    def libpq(self, database: str) -> str:
        """Return libpq's address of a database."""
        return f"host={self.postgres.socket_dir} user={USER} dbname={database}"

    def warehouse(self, database: str) -> str:
        """Return SQLAlchemy's address of a database."""
        return self.postgres.url(database).render_as_string(hide_password=False)

    def execute(self, database: str, statements: str) -> None:
        """Run statements one by one, outside a transaction."""
        with psycopg.connect(self.libpq(database), autocommit=True) as connection:
            for statement in filter(str.strip, statements.split(";\n")):
                connection.execute(statement)

    def query_number(self, database: str, query: str) -> float:
        """Return one number."""
        with psycopg.connect(self.libpq(database), autocommit=True) as connection:
            row = connection.execute(query).fetchone()
            assert row is not None
            return float(row[0])

    def wal_bytes(self) -> float:
        """Return how much has ever been written to the log of this server."""
        return self.query_number("postgres", "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")

    def cpu_seconds(self) -> float:
        """Return the CPU time of the server, with the connections that are closed."""
        pid = int((self.postgres.home / "data" / "postmaster.pid").read_text().split()[0])
        while True:
            used = psutil.Process(pid).cpu_times()
            total = used.user + used.system + used.children_user + used.children_system
            try:
                living = [child.cpu_times() for child in psutil.Process(pid).children()]
            except psutil.NoSuchProcess:
                continue  # a connection was closed meanwhile: its time has just moved to the parent
            return total + sum(one.user + one.system for one in living)

    def make_warehouse(self, database: str, *, stored: int) -> None:
        """Make a migrated warehouse with so many assets, and their log."""
        engine = connect(self.postgres.create_database(database), schema="getty_images")
        migrate(engine, schema="getty_images")
        engine.dispose()
        self.execute(database, _STORED_ASSETS.format(first=FIRST_ID, count=stored))
        self.finish_maintenance(database)

    def make_bare(self, database: str, *, stored: int) -> None:
        """Make the bare script's table."""
        self.postgres.create_database(database)
        self.execute(database, _BARE.format(first=FIRST_ID, count=stored))
        self.finish_maintenance(database)

    def copy(self, source: str, database: str) -> None:
        """Make a copy of a database, or make it anew."""
        self.drop(database)
        self.execute("postgres", f"CREATE DATABASE {database} TEMPLATE {source} STRATEGY file_copy")

    def drop(self, database: str) -> None:
        """Remove a database; that it is gone already is fine."""
        self.execute("postgres", f"DROP DATABASE IF EXISTS {database} (FORCE)")

    def finish_maintenance(self, database: str) -> None:
        """Do the maintenance of what was prepared before anything is measured."""
        self.execute(database, "VACUUM (ANALYZE);\nCHECKPOINT")


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Give a durable server whose data is deleted at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    postgres = EmbeddedPostgres(folder)
    try:
        yield Server(postgres.start())
    finally:
        postgres.remove()
