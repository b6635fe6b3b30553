"""The warehouse: migrations, partitions, connections, and what it is called when it fails."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asset_changes.warehouse
import pytest
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from asset_changes.archive import Archive
from asset_changes.errors import SchemaMismatch, WarehouseRefused, WarehouseUnavailable
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.warehouse.columns import metadata
from asset_changes.warehouse.engine import connect, in_transaction, transaction
from asset_changes.warehouse.migrate import add_partitions, check_version, migrate
from asset_changes.warehouse.schema import VERSION
from asset_changes.warehouse.views import views
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, inspect, text

from tests.conftest import EDITORIAL_IMAGES, SCHEMA
from tests.core.doubles import ScriptedGetty, body_of, change, delivery, execute, live, rows, value
from tests.waiting import DEADLINE_SECONDS, wait_for_lock_waits

_numbers = itertools.count()
_MIGRATIONS = Path(asset_changes.warehouse.__file__).parent / "migrations"


@pytest.fixture
def bare(postgres: EmbeddedPostgres) -> URL:
    """A database with nothing in it."""
    return postgres.create_database(f"bare_{next(_numbers)}")


# Migrations.


def test_the_code_needs_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [VERSION]


def shape(found: MetaData) -> dict[str, tuple[object, ...]]:
    """Return tables and columns as they can be compared; in any order, for a migration adds a column at the end."""
    return {
        f"{table.name}.{column.name}": (
            str(column.type).replace(' COLLATE "C"', "").split("(")[0].replace("TIMESTAMP", "DATETIME"),
            getattr(column.type, "timezone", None),
            getattr(column.type, "collation", None),
            column.nullable,
            column.primary_key,
        )
        for table in found.sorted_tables
        for column in table.columns
        if table.name != "schema_version" and not table.name.startswith("asset_changes_")
    }


def test_a_migrated_warehouse_is_what_the_code_takes_it_for(warehouse: Engine) -> None:
    reflected = MetaData()
    reflected.reflect(warehouse)
    assert shape(reflected) == shape(metadata)


@pytest.mark.usefixtures("own_database")
def test_migrating_twice_changes_nothing(warehouse: Engine) -> None:
    before = sorted(inspect(warehouse).get_table_names())
    migrate(warehouse, schema=SCHEMA)
    assert sorted(inspect(warehouse).get_table_names()) == before


def test_many_migrations_at_once_are_as_good_as_one(bare: URL) -> None:
    engines = [connect(bare, schema=SCHEMA) for _ in range(3)]
    with ThreadPoolExecutor(3) as workers:
        list(workers.map(lambda engine: migrate(engine, schema=SCHEMA), engines))
    assert rows(engines[0], "SELECT version_num FROM schema_version") == [{"version_num": VERSION}]
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("schema", ["_9", "select", "a" * 63])
def test_any_schema_name_that_the_settings_take_works(schema: str, bare: URL, archive: Archive) -> None:
    engine = connect(bare, schema=schema)
    migrate(engine, schema=schema)
    getty = ScriptedGetty([delivery(body_of("7", change("1", "New", 0), change("", "New", 0)))])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=engine)
    assert catch_up(context, batch_size=5, minutes=1).sets == 1
    assert live(engine) == ["1"]
    schemas = (
        "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_name IN ('assets', 'change_sets')"
    )
    assert rows(engine, schemas) == [{"table_schema": schema}]
    engine.dispose()


def test_another_project_keeps_its_own_migrations(bare: URL) -> None:
    theirs, engine = connect(bare, schema="public"), connect(bare, schema=SCHEMA)
    execute(
        theirs,
        "CREATE TABLE public.alembic_version (version_num text); INSERT INTO public.alembic_version VALUES ('x')",
    )
    migrate(engine, schema=SCHEMA)
    assert value(engine, "SELECT version_num FROM public.alembic_version") == "x"
    with engine.connect() as connection:
        migration = MigrationContext.configure(connection, opts={"version_table": "schema_version"})
        assert migration.get_current_revision() == VERSION
    theirs.dispose()
    engine.dispose()


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize("found", [None, "0000", "9999"])
def test_another_version_is_refused_with_the_command(found: str | None, warehouse: Engine) -> None:
    execute(warehouse, f"UPDATE schema_version SET version_num = '{found}'" if found else "DROP TABLE schema_version")
    with (
        pytest.raises(SchemaMismatch, match=rf"{found or 'none'}.*needs {VERSION}.*asset_changes_discovery.*migrates"),
        transaction(warehouse) as connection,
    ):
        check_version(connection)


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize(
    ("statement", "lacking"),
    [
        ("DROP VIEW asset_history", r"asset_history\. If somebody removed"),
        ("ALTER TABLE channels DROP COLUMN refused_at", r"channels\.refused_at\. If somebody removed"),
    ],
)
def test_a_part_that_somebody_removed_is_named(statement: str, lacking: str, warehouse: Engine) -> None:
    execute(warehouse, statement)
    with pytest.raises(SchemaMismatch, match=f"version {VERSION} and lacks {lacking}"):
        migrate(warehouse, schema=SCHEMA)


# Partitions.


def partitions(connection: Connection) -> dict[str, int]:
    """Return the partitions of the log with their row counts."""
    names = connection.scalars(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'asset_changes'::regclass ORDER BY 1")
    ).all()
    return {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in names}


@pytest.mark.usefixtures("own_database")
def test_partitions_are_made_three_months_ahead(warehouse: Engine) -> None:
    today = datetime.now(UTC)
    months = [(today.year * 12 + today.month - 1 + offset) for offset in range(4)]
    with warehouse.connect() as connection:
        assert sorted(partitions(connection)) == sorted(
            ["asset_changes_default", *(f"asset_changes_{each // 12}_{each % 12 + 1:02}" for each in months)]
        )


@pytest.mark.usefixtures("own_database")
def test_rows_that_waited_in_the_default_partition_are_moved(warehouse: Engine, archive: Archive) -> None:
    first_of_february = datetime(2031, 2, 1, tzinfo=UTC)
    for number, received_at in enumerate((first_of_february - timedelta(seconds=1), first_of_february)):
        body = body_of(str(number), change(str(number), "New") | {"asset_changed_utc_datetime": "2031-01-01"})
        getty = ScriptedGetty([delivery(body, received_at=received_at)])
        catch_up(
            ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse),
            batch_size=5,
            minutes=1,
        )
    with transaction(warehouse) as connection:
        assert partitions(connection)["asset_changes_default"] == 2
        for _ in range(2):
            add_partitions(connection, since=datetime(2030, 12, 24, tzinfo=UTC), until=datetime(2031, 2, 1, tzinfo=UTC))
        found = partitions(connection)
    assert [found[f"asset_changes_{month}"] for month in ("2030_12", "2031_01", "2031_02", "default")] == [0, 1, 1, 0]
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 2
    with pytest.raises(WarehouseRefused, match="23505"), transaction(warehouse) as connection:
        connection.execute(text("INSERT INTO asset_changes SELECT * FROM asset_changes"))


IN_FLIGHT = (
    "INSERT INTO asset_changes (fetched_at, channel_id, change_set_id, position, asset_id, asset_lifecycle, changed_at,"
    " is_time_inferred) VALUES ('2041-05-06Z', 3001, '7', 0, '1', 'New', '2041-05-06Z', false)"
)
IN_MAY = datetime(2041, 5, 6, tzinfo=UTC)


@pytest.mark.usefixtures("own_database")
def test_a_load_that_meets_a_new_partition_is_tried_again(warehouse: Engine, warehouse_url: URL) -> None:
    loader, tries = connect(warehouse_url, schema=SCHEMA), []

    def load(connection: Connection) -> None:
        tries.append(1)
        connection.execute(text(IN_FLIGHT))

    with ThreadPoolExecutor(1) as worker:
        with transaction(warehouse) as connection:
            add_partitions(connection, since=IN_MAY, until=IN_MAY)
            loading = worker.submit(in_transaction, loader, load)
            wait_for_lock_waits(warehouse)
        loading.result(timeout=DEADLINE_SECONDS)
    with transaction(warehouse) as connection:
        assert partitions(connection)["asset_changes_2041_05"] == 1
    assert len(tries) == 2
    loader.dispose()


@pytest.mark.usefixtures("own_database")
def test_a_row_in_flight_is_moved_to_the_new_partition(warehouse: Engine, warehouse_url: URL) -> None:
    migrating = connect(warehouse_url, schema=SCHEMA)

    def add() -> None:
        with transaction(migrating) as connection:
            add_partitions(connection, since=IN_MAY, until=IN_MAY)

    with ThreadPoolExecutor(1) as worker:
        with transaction(warehouse) as connection:
            connection.execute(text(IN_FLIGHT))
            adding = worker.submit(add)
            wait_for_lock_waits(warehouse)
        adding.result(timeout=DEADLINE_SECONDS)
    with transaction(warehouse) as connection:
        found = partitions(connection)
    assert (found["asset_changes_2041_05"], found["asset_changes_default"]) == (1, 0)
    migrating.dispose()


# Comments.


@pytest.mark.usefixtures("own_database")
def test_the_meaning_of_each_column_is_in_the_database(warehouse: Engine) -> None:
    execute(warehouse, "COMMENT ON COLUMN assets.asset_id IS 'changed by hand'; COMMENT ON TABLE channels IS NULL")
    migrate(warehouse, schema=SCHEMA)
    found = inspect(warehouse)
    assert found.get_table_comment("channels")["text"] == metadata.tables["channels"].comment
    for relation in (*metadata.tables.values(), *views.tables.values()):
        meanings = {column["name"]: column["comment"] for column in found.get_columns(relation.name)}
        assert meanings == {column.name: column.comment for column in relation.columns}


@pytest.mark.usefixtures("own_database")
def test_comments_that_are_right_are_not_written_again(warehouse: Engine) -> None:
    written = "SELECT max(CAST(CAST(xmin AS text) AS bigint)) FROM pg_description"
    before = value(warehouse, written)
    migrate(warehouse, schema=SCHEMA)
    assert value(warehouse, written) == before


# Connections.


@pytest.mark.usefixtures("own_database")
def test_a_commit_is_on_disk_whatever_the_servers_defaults(warehouse: Engine, warehouse_url: URL) -> None:
    """It is seen at once, too."""
    execute(warehouse, f"ALTER DATABASE {warehouse_url.database} SET synchronous_commit = off")
    execute(warehouse, f"ALTER DATABASE {warehouse_url.database} SET timezone = 'Asia/Tokyo'")
    isolation = "SET default_transaction_isolation = 'repeatable read'"
    execute(warehouse, f"ALTER DATABASE {warehouse_url.database} {isolation}")
    engine = connect(warehouse_url, schema=SCHEMA)
    assert value(engine, "SHOW synchronous_commit") == "on"
    assert value(engine, "SHOW timezone") == "UTC"
    assert value(engine, "SHOW transaction_isolation") == "read committed"
    assert value(engine, "SHOW search_path") == f"{SCHEMA}, pg_temp"
    engine.dispose()


@pytest.mark.parametrize(
    "where",
    [
        URL.create("postgresql", host="127.0.0.1", port=9, database="x", username="u", password="the-password"),
        URL.create("postgresql", host="no-such-host.invalid", database="x", username="u", password="the-password"),
    ],
    ids=["port", "host"],
)
def test_a_missing_warehouse_is_a_passing_fault(where: URL, archive: Archive) -> None:
    """Getty is not asked."""
    engine, getty = connect(where, schema=SCHEMA), ScriptedGetty()
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=engine)
    with pytest.raises(WarehouseUnavailable, match="warehouse_default") as caught:
        fetch(context, batch_size=5)
    assert getty.asked == 0
    assert "the-password" not in str(caught.value) + repr(caught.value.__cause__) + repr(engine)


def test_a_database_that_does_not_exist_is_an_error(postgres: EmbeddedPostgres) -> None:
    with (
        pytest.raises(WarehouseRefused, match=r"refuses the login.*does not exist.*Correct user, password"),
        transaction(connect(postgres.url("nowhere"), schema=SCHEMA)),
    ):
        pass


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("40001", None), ("40P01", None), ("57P01", WarehouseUnavailable), ("53300", WarehouseUnavailable),
        ("53100", WarehouseUnavailable), ("55P03", WarehouseUnavailable), ("08006", WarehouseUnavailable),
        ("58030", WarehouseUnavailable), ("42501", WarehouseRefused), ("42P01", WarehouseRefused),
        ("22001", WarehouseRefused), ("23505", WarehouseRefused), ("25006", WarehouseUnavailable),
    ],
)  # fmt: skip
def test_each_failure_of_postgres_has_its_error(state: str, error: type[Exception] | None, warehouse: Engine) -> None:
    """It is refused, passing, or tried again."""
    tries = []

    def work(connection: Connection) -> int:
        tries.append(state)
        if len(tries) == 1:
            connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}'; END $$"))
        return 7

    if error is None:
        assert in_transaction(warehouse, work) == 7
        assert len(tries) == 2
    else:
        with pytest.raises(error, match="so it is"):
            in_transaction(warehouse, work)
        assert len(tries) == 1


def test_a_collision_that_never_ends_is_left_to_the_task(warehouse: Engine) -> None:
    tries = []

    def collide(connection: Connection) -> None:
        tries.append(1)
        connection.execute(text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$"))

    with pytest.raises(WarehouseUnavailable):
        in_transaction(warehouse, collide)
    assert len(tries) == 5


def test_a_transaction_that_fails_leaves_nothing(warehouse: Engine) -> None:
    both = "INSERT INTO channels (channel_id, asset_family, asset_type) VALUES (1, 'x', 'y'); SELECT no_such_column"
    with pytest.raises(WarehouseRefused), transaction(warehouse) as connection:
        connection.exec_driver_sql(both)
    assert value(warehouse, "SELECT count(*) FROM channels") == 0


def test_the_tables_refuse_a_row_that_cannot_be_true(
    warehouse: Engine,
) -> None:
    """They refuse a confirmation before a load, and counts that do not add up."""
    row = "INSERT INTO change_sets (channel_id, change_set_id, archive_uri, content_hash, fetched_at"
    for more, values in ((", confirmed_at", ", now()"), (", change_count", ", 1")):
        with pytest.raises(WarehouseRefused, match="23514"), transaction(warehouse) as connection:
            connection.execute(text(f"{row}{more}) VALUES (1, '1', '', '', now(){values})"))


def test_no_index_but_the_key_slows_the_states(warehouse: Engine) -> None:
    assert rows(warehouse, "SELECT indexname FROM pg_indexes WHERE tablename = 'asset_states'") == [
        {"indexname": "asset_states_pkey"}
    ]
    assert value(warehouse, "SELECT reloptions FROM pg_class WHERE relname = 'asset_states'") == ["fillfactor=85"]


def test_who_owns_the_schema_alone_can_migrate(bare: URL) -> None:
    owner = bare.set(username="owner_of_the_schema")
    engine = create_engine(bare, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {owner.username} LOGIN"))
        try:
            connection.execute(text(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {owner.username}"))
            theirs = connect(owner, schema=SCHEMA)
            migrate(theirs, schema=SCHEMA)
            theirs.dispose()
        finally:
            connection.execute(text(f"DROP OWNED BY {owner.username} CASCADE"))
            connection.execute(text(f"DROP ROLE {owner.username}"))
    engine.dispose()
