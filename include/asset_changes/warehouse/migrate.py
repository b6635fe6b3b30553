"""Bring the warehouse's schema and its comments to the version of this code, and keep partitions ahead."""

import logging
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.sql import quoted_name

from asset_changes.errors import SchemaMismatch
from asset_changes.warehouse.columns import metadata
from asset_changes.warehouse.engine import in_transaction
from asset_changes.warehouse.rights import check_database, check_rights, missing_grants
from asset_changes.warehouse.schema import VERSION
from asset_changes.warehouse.session import MAY_LACK_SCHEMA, MIGRATE_COMMAND
from asset_changes.warehouse.views import views

log = logging.getLogger(__name__)

_AHEAD = timedelta(days=92)
_COMMENTS = text("""
SELECT relname AS relation, '' AS name, obj_description(oid, 'pg_class') AS meaning
FROM pg_class WHERE relnamespace = CAST(CURRENT_SCHEMA AS regnamespace) AND relkind IN ('r', 'p', 'v')
UNION ALL
SELECT relname, attname, col_description(pg_class.oid, attnum)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = CAST(CURRENT_SCHEMA AS regnamespace) AND relkind IN ('r', 'p', 'v')
""")
_ADVISORY_LOCK = 0x67657474795F6163  # "getty_ac": one at a time, whoever starts it


def migrate(engine: Engine, *, schema: str, loading_role: str | None = None) -> None:
    """Make or upgrade the schema and its monthly partitions; safe to run at any time, by many at once.

    `loading_role` is who loads, where that is not who migrates: it gets the rights of docs/security.md. Raises
    WarehouseRefused, with the GRANTs to give, if either lacks a right that any task will need.
    """
    work = partial(_migrate, schema=schema, loading_role=loading_role)
    in_transaction(engine.execution_options(**{MAY_LACK_SCHEMA: True}), work)
    log.info("Migrated the warehouse: schema=%s version=%s", schema, VERSION)


def _migrate(connection: Connection, *, schema: str, loading_role: str | None) -> None:
    check_database(connection, schema=schema)
    _one_at_a_time(connection)
    if schema not in inspect(connection).get_schema_names():  # else a user who owns the schema alone is refused
        quoted = connection.dialect.identifier_preparer.quote(quoted_name(schema, quote=True))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted}"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    _write_comments(connection)
    now = datetime.now(UTC)
    add_partitions(connection, since=now, until=now + _AHEAD)
    if loading_role is None:
        check_rights(connection, schema=schema)
    else:
        for grant in missing_grants(connection, role=loading_role, schema=schema):
            connection.exec_driver_sql(grant.as_string(None))


def _write_comments(connection: Connection) -> None:
    """Bring the database's comments to those of the code; what is right already is not written again.

    Raises SchemaMismatch where a table, a view or a column is lacking.
    """
    present = {(row.relation, row.name): row.meaning for row in connection.execute(_COMMENTS)}
    relations = (*views.tables.values(), *metadata.tables.values())
    wanted = {each.name: {"": each.comment} | {c.name: c.comment for c in each.columns} for each in relations}
    lacking = [
        ".".join(filter(None, (relation, name)))
        for relation, names in wanted.items()
        for name in (names if (relation, "") in present else [""])
        if (relation, name) not in present
    ]
    if lacking:
        raise SchemaMismatch(
            f"The warehouse is migrated to version {VERSION} and lacks {', '.join(lacking)}. If somebody removed that, "
            "bring it back from a backup or as its migration makes it; in new code, a migration must add it."
        )
    for relation in relations:
        kind = sql.SQL("VIEW" if relation.metadata is views else "TABLE")
        for name, meaning in wanted[relation.name].items():
            if present[relation.name, name] == meaning:
                continue
            target = sql.SQL("COLUMN {}").format(sql.Identifier(relation.name, name)) if name else None
            target = target or sql.SQL("{} {}").format(kind, sql.Identifier(relation.name))
            statement = sql.SQL("COMMENT ON {} IS {}").format(target, meaning).as_string(None)
            connection.exec_driver_sql(statement.replace("%", "%%"))


def check_version(connection: Connection) -> None:
    """Raise SchemaMismatch unless the warehouse has the version that this code needs."""
    try:
        with connection.begin_nested():
            found = connection.scalar(text("SELECT version_num FROM schema_version"))
    except ProgrammingError:
        found = None
    if found != VERSION:
        raise SchemaMismatch(
            f"The warehouse's schema has version {found or 'none'}, this code needs {VERSION}: run "
            f"`{MIGRATE_COMMAND}`, which migrates it. (If its version is the newer one, deploy the newer code.)"
        )


def add_partitions(connection: Connection, *, since: datetime, until: datetime) -> None:
    """Make the monthly partitions of `asset_changes` from the month of `since` to that of `until`.

    Rows that fell into the default partition meanwhile are moved to where they belong.
    """
    _one_at_a_time(connection)
    for offset in range((until.year - since.year) * 12 + until.month - since.month + 1):
        first, following = _month(since, offset), _month(since, offset + 1)
        name = f"asset_changes_{first:%Y_%m}"
        if connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}):
            continue
        # A load that fills the default partition waits here, and tries again with the new one (is_collision).
        connection.execute(text("LOCK TABLE asset_changes_default IN ACCESS EXCLUSIVE MODE"))
        bounds = {"first": f"{first} 00:00:00Z", "following": f"{following} 00:00:00Z"}
        connection.execute(text(f"CREATE TABLE {name} (LIKE asset_changes INCLUDING DEFAULTS)"))
        moved = connection.execute(
            text(
                "WITH moved AS (DELETE FROM asset_changes_default"
                " WHERE fetched_at >= CAST(:first AS timestamptz) AND fetched_at < CAST(:following AS timestamptz)"
                f" RETURNING *) INSERT INTO {name} SELECT * FROM moved"
            ),
            bounds,
        ).rowcount
        connection.execute(
            text(
                f"ALTER TABLE asset_changes ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{bounds['first']}') TO ('{bounds['following']}')"
            )
        )
        log.info("Made partition %s, %d rows moved from the default partition", name, moved)


def _one_at_a_time(connection: Connection) -> None:
    """Wait until nobody else makes tables here, and let nobody else until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def _month(since: datetime, offset: int) -> date:
    months = since.year * 12 + since.month - 1 + offset
    return date(months // 12, months % 12 + 1, 1)
