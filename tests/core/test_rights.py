"""Rights that only a rare path needs are missed at migration, with the commands that give them."""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import SchemaMismatch, WarehouseRefused
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse.engine import connect, transaction
from asset_changes.warehouse.migrate import add_partitions, migrate
from asset_changes.warehouse.rights import check_rights
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import ProgrammingError

from tests.conftest import EDITORIAL_IMAGES, SCHEMA
from tests.core.doubles import ScriptedGetty, body_of, change, delivery, live, value

PROJECT = Path(__file__).parents[2]
TABLES_OF_ASSETS = ("assets", "asset_metadata", "assets_with_metadata")
_numbers = itertools.count()


@pytest.fixture
def admin(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A superuser in an empty database from which everything was taken that PUBLIC has by default."""
    url = postgres.create_database(f"rights_{next(_numbers)}")
    engine = connect(url, schema=SCHEMA).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        run(
            connection,
            f"REVOKE ALL ON DATABASE {url.database} FROM PUBLIC",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "REVOKE EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) FROM PUBLIC",
        )
        yield connection
    with engine.connect() as connection:
        run(connection, *(f"DROP OWNED BY {role} CASCADE" for role in roles(connection)))
        run(connection, *(f"DROP ROLE {role}" for role in roles(connection)))
    engine.dispose()


def run(connection: Connection, *statements: str) -> None:
    for each in statements:
        connection.exec_driver_sql(each)


def roles(connection: Connection) -> list[str]:
    """Return the roles that the tests made, and that are left."""
    return list(connection.scalars(text("SELECT rolname FROM pg_roles WHERE rolname ~ '^(loads|migrates)_'")))


def make_role(admin: Connection, kind: str) -> URL:
    """Make a role that may connect, and return its URL."""
    role = f"{kind}_{next(_numbers)}"
    run(admin, f"CREATE ROLE {role} LOGIN", f"GRANT CONNECT ON DATABASE {admin.engine.url.database} TO {role}")
    return admin.engine.url.set(username=role)


def commands_of(refused: WarehouseRefused) -> list[str]:
    """Return the commands that the error says to run."""
    found = re.search(r"As the owner or a superuser run: (.*)\. docs/security.md", str(refused))
    assert found, str(refused)
    return found[1].split("; ")


def test_who_owns_the_schema_alone_is_given_the_other_grants(admin: Connection) -> None:
    url = make_role(admin, "migrates")
    run(admin, f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {url.username}")
    engine = connect(url, schema=SCHEMA)
    with pytest.raises(WarehouseRefused) as caught:
        migrate(engine, schema=SCHEMA)
    assert commands_of(caught.value) == [
        f'GRANT TEMPORARY ON DATABASE "{url.database}" TO "{url.username}"',
        f'GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO "{url.username}"',
    ]
    run(admin, *commands_of(caught.value))
    migrate(engine, schema=SCHEMA)
    engine.dispose()


def test_rights_without_owning_are_refused_at_migration(admin: Connection) -> None:
    owner = connect(admin.engine.url, schema=SCHEMA)
    migrate(owner, schema=SCHEMA)
    url = make_role(admin, "loads")
    run(
        admin,
        f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {url.username}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO {url.username}",
        f"GRANT TEMPORARY ON DATABASE {url.database} TO {url.username}",
        f"GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {url.username}",
    )
    engine = connect(url, schema=SCHEMA)
    with pytest.raises(WarehouseRefused) as caught:
        migrate(engine, schema=SCHEMA)
    assert commands_of(caught.value) == [f'GRANT "postgres" TO "{url.username}"']
    run(admin, *commands_of(caught.value))
    later = datetime(2040, 1, 1, tzinfo=UTC)
    with transaction(engine) as connection:
        add_partitions(connection, since=later, until=later)
    migrate(engine, schema=SCHEMA)
    for each in (owner, engine):
        each.dispose()


def test_one_role_migrates_and_another_loads(admin: Connection, archive: Archive) -> None:
    migrating, loading = make_role(admin, "migrates"), make_role(admin, "loads")
    for url in (migrating, loading):
        run(admin, f"GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {url.username}")
        run(admin, f"GRANT TEMPORARY ON DATABASE {url.database} TO {url.username}")
    run(admin, f"GRANT CREATE ON DATABASE {migrating.database} TO {migrating.username}")
    owner, loader = connect(migrating, schema=SCHEMA), connect(loading, schema=SCHEMA)
    for _ in range(2):
        migrate(owner, schema=SCHEMA, loading_role=loading.username)
    with transaction(loader) as connection:
        check_rights(connection, schema=SCHEMA)
    getty = ScriptedGetty([delivery(body_of("7", change("1", "New", 0), change("2", "Delete", 0)))])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=loader)
    assert catch_up(context, batch_size=5, minutes=1).sets == 1
    assert live(loader) == ["1"]
    for table in ("deletions", "deletion_corrections", "feed_gaps"):
        with pytest.raises(WarehouseRefused, match="42501"), transaction(loader) as connection:
            connection.execute(text(f"DELETE FROM {table}"))
    for each in (owner, loader):
        each.dispose()


def test_a_right_that_was_taken_away_is_named(admin: Connection) -> None:
    owner = connect(admin.engine.url, schema=SCHEMA)
    loading = make_role(admin, "loads")
    migrate(owner, schema=SCHEMA, loading_role=loading.username)
    run(admin, f"GRANT TEMPORARY ON DATABASE {loading.database} TO {loading.username}")
    run(admin, f"GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {loading.username}")
    run(admin, f"REVOKE UPDATE ON {SCHEMA}.asset_states FROM {loading.username}")
    run(admin, f"REVOKE UPDATE (reconciled_at) ON {SCHEMA}.feed_gaps FROM {loading.username}")
    engine = connect(loading, schema=SCHEMA)
    with pytest.raises(WarehouseRefused) as caught, transaction(engine) as connection:
        check_rights(connection, schema=SCHEMA)
    assert commands_of(caught.value) == [
        f'GRANT UPDATE ON "{SCHEMA}"."asset_states" TO "{loading.username}"',
        f'GRANT UPDATE (reconciled_at) ON "{SCHEMA}"."feed_gaps" TO "{loading.username}"',
    ]
    run(admin, f"REVOKE USAGE ON SCHEMA {SCHEMA} FROM {loading.username}")
    with pytest.raises(WarehouseRefused, match=f'GRANT USAGE ON SCHEMA "{SCHEMA}" TO'), transaction(engine):
        pass
    for each in (owner, engine):
        each.dispose()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(encoding: str, postgres: EmbeddedPostgres) -> None:
    name = f"encoding_{encoding.lower()}"
    admin = connect(postgres.url("postgres"), schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        run(connection, f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
    engine = connect(postgres.url(name), schema=SCHEMA)
    with pytest.raises(WarehouseRefused, match=f"encoding {encoding}.*ENCODING 'UTF8' TEMPLATE template0"):
        migrate(engine, schema=SCHEMA)
    for each in (engine, admin):
        each.dispose()


def test_a_missing_schema_is_never_made_of_temporary_tables(postgres: EmbeddedPostgres) -> None:
    engine = connect(postgres.create_database("without_schema"), schema=SCHEMA)
    with (
        pytest.raises(SchemaMismatch, match=r"has no schema 'getty_images'.*asset_changes_discovery"),
        transaction(engine),
    ):
        pass
    migrate(engine, schema=SCHEMA)
    assert value(engine, "SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == 0
    engine.dispose()


def test_a_policy_that_hides_rows_is_refused(admin: Connection, archive: Archive) -> None:
    """A report of fewer Deletes than there are would be a wrong one."""
    owner = connect(make_role(admin, "migrates"), schema=SCHEMA)
    run(admin, f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {owner.url.username}")
    run(admin, f"GRANT TEMPORARY ON DATABASE {owner.url.database} TO {owner.url.username}")
    run(admin, f"GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {owner.url.username}")
    migrate(owner, schema=SCHEMA)
    getty = ScriptedGetty([delivery(body_of("1", change("a", "Delete", 0)))])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=owner)
    catch_up(context, batch_size=9, minutes=1)
    run(admin, f"ALTER TABLE {SCHEMA}.deletions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    with pytest.raises(WarehouseRefused, match="row-level security"), transaction(owner) as connection:
        connection.scalar(text("SELECT count(*) FROM deletions"))
    owner.dispose()


def test_metadata_has_a_grant_of_its_own(admin: Connection) -> None:
    """As docs/security.md gives it: whoever reads the rest does not read captions and names."""
    owner, reader, desk = (make_role(admin, kind) for kind in ("migrates", "loads_reader", "loads_desk"))
    run(
        admin,
        f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {owner.username}",
        f"GRANT TEMPORARY ON DATABASE {owner.database} TO {owner.username}",
        f"GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {owner.username}",
    )
    made = connect(owner, schema=SCHEMA)
    migrate(made, schema=SCHEMA)
    made.dispose()
    chapter = (PROJECT / "docs/security.md").read_text().partition("## Who may read metadata")[2]
    grants = chapter.partition("```sql\n")[2].partition("```")[0]
    names = {"reader": str(reader.username), "picture_desk": str(desk.username)}
    run(admin, re.sub(r"\b(reader|picture_desk)\b", lambda found: names[found[1]], grants))

    readable = {}
    for url in (reader, desk):
        engine = connect(url, schema=SCHEMA)
        for table in TABLES_OF_ASSETS:
            try:
                readable[url.username, table] = value(engine, f"SELECT count(*) FROM {table}") == 0
            except ProgrammingError as error:
                readable[url.username, table] = "permission denied" not in str(error)
        engine.dispose()
    of_reader, of_desk = ([readable[url.username, table] for table in TABLES_OF_ASSETS] for url in (reader, desk))
    assert (of_reader, of_desk) == ([True, False, False], [True, True, True])
