"""The rights that the warehouse's user needs, looked at before a rare path needs one: docs/security.md lists them."""

from psycopg import sql
from sqlalchemy import Connection, text

from asset_changes.errors import WarehouseRefused
from asset_changes.warehouse.columns import metadata
from asset_changes.warehouse.views import views

FUNCTIONS = (
    "pg_advisory_xact_lock(bigint)",
    "pg_try_advisory_xact_lock(bigint)",
    "current_setting(text)",
    "clock_timestamp()",
    "to_regclass(text)",
)
"""What is called that a careful administrator may have taken from PUBLIC."""

_DATABASE = text("""
SELECT pg_encoding_to_char(encoding) AS encoding, datname AS name, current_user AS role,
       to_regnamespace(quote_ident(:schema)) IS NOT NULL AS has_schema,
       has_database_privilege(oid, 'CREATE') AS may_make_schema
FROM pg_database WHERE datname = current_database()
""")
_OTHER_OWNERS = text("""
SELECT DISTINCT pg_get_userbyid(relowner) AS owner
FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(:schema)) AND relkind IN ('r', 'p', 'v')
  AND (relname = ANY (:names) OR relispartition) AND NOT pg_has_role(relowner, 'USAGE')
ORDER BY owner
""")
_MAY_MAKE_TEMPORARY = text("SELECT has_database_privilege(:role, current_database(), 'TEMPORARY')")
_MAY = text("SELECT has_table_privilege(:role, to_regclass(quote_ident(:name)), :right)")
_MAY_COLUMN = text("SELECT has_column_privilege(:role, to_regclass(quote_ident(:name)), :column, :right)")


def table_rights() -> dict[str, tuple[str, ...]]:
    """Return what the user that loads may do with each table and view; evidence is only ever added to."""
    changing = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return (
        dict.fromkeys(views.tables, ("SELECT",))
        | dict.fromkeys(metadata.tables, changing)
        | dict.fromkeys(("deletions", "deletion_corrections"), ("SELECT", "INSERT"))
        # No import takes back that an asset was held.
        | {"held_assets": ("SELECT", "INSERT", "UPDATE"), "holding_imports": ("SELECT", "INSERT")}
        | {"reconciliations": ("SELECT", "INSERT", "UPDATE"), "availability_checks": ("SELECT", "INSERT")}
        # What was approved is what is deleted, and a receipt stays as it was written.
        | dict.fromkeys(("file_stores", "purge_plans", "purge_holds"), ("SELECT", "INSERT", "UPDATE"))
        | dict.fromkeys(("purges", "purge_waivers"), ("SELECT", "INSERT"))
        | {"purge_plan_files": ("SELECT", "INSERT", "DELETE")}
        | {"feed_gaps": ("SELECT", "INSERT", "UPDATE (reconciled_at)"), "schema_version": ("SELECT",)}
    )


def check_database(connection: Connection, *, schema: str) -> None:
    """Raise WarehouseRefused unless this user can make and change the tables of `schema` in this database."""
    found = connection.execute(_DATABASE, {"schema": schema}).one()
    if found.encoding != "UTF8":
        raise WarehouseRefused(
            f"The warehouse's database {found.name!r} has encoding {found.encoding}, which cannot hold every text that "
            "Getty sends. Make one with `CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0` "
            "and name it in connection warehouse_default."
        )
    role, place = sql.Identifier(found.role), sql.Identifier(schema)
    missing = []
    if not found.has_schema and not found.may_make_schema:
        missing.append(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(place, role))
    elif found.has_schema and not _may_use(connection, found.role, schema, "USAGE, CREATE"):
        missing.append(sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(place, role))
    owners = connection.scalars(_OTHER_OWNERS, {"schema": schema, "names": [*table_rights()]}).all()
    # Only an owner can add a column or a partition; whoever is a member of the owner counts as one.
    missing += [sql.SQL("GRANT {} TO {}").format(sql.Identifier(owner), role) for owner in owners]
    _refuse(connection, [*missing, *_missing_of_database(connection, found.role)], role=found.role)


def check_rights(connection: Connection, *, schema: str) -> None:
    """Raise WarehouseRefused unless this user can do all that loading, replay and the pages do."""
    role = str(connection.scalar(text("SELECT CURRENT_USER")))
    missing = [*missing_grants(connection, role=role, schema=schema), *_missing_of_database(connection, role)]
    _refuse(connection, missing, role=role)


def missing_grants(connection: Connection, *, role: str, schema: str) -> list[sql.Composed]:
    """Return the GRANTs on the schema and its tables that `role` lacks."""
    to = sql.Identifier(role)
    missing = []
    if not _may_use(connection, role, schema, "USAGE"):
        missing.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), to))
    for name, rights in table_rights().items():
        lacking = [right for right in rights if not _may(connection, role, name, right)]
        if lacking:
            what, table = sql.SQL(", ".join(lacking)), sql.Identifier(schema, name)
            missing.append(sql.SQL("GRANT {} ON {} TO {}").format(what, table, to))
    return missing


def _missing_of_database(connection: Connection, role: str) -> list[sql.Composed]:
    """Return the GRANTs that only the owner of the database, or a superuser, can give."""
    to, database = sql.Identifier(role), str(connection.scalar(text("SELECT current_database()")))
    missing = []
    if not connection.scalar(_MAY_MAKE_TEMPORARY, {"role": role}):
        missing.append(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(sql.Identifier(database), to))
    for function in FUNCTIONS:
        may = text("SELECT has_function_privilege(:role, :function, 'EXECUTE')")
        if not connection.scalar(may, {"role": role, "function": f"pg_catalog.{function}"}):
            call = sql.SQL(function)
            missing.append(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(call, to))
    return missing


def _may_use(connection: Connection, role: str, schema: str, rights: str) -> bool:
    """Whether the role has every one of these rights on the schema; Postgres itself asks for any one of a list."""
    may = text("SELECT has_schema_privilege(:role, :schema, :right)")
    return all(connection.scalar(may, {"role": role, "schema": schema, "right": right}) for right in rights.split(", "))


def _may(connection: Connection, role: str, name: str, right: str) -> bool:
    right, _, column = right.rstrip(")").partition(" (")
    given = {"role": role, "name": name, "right": right}
    return bool(
        connection.scalar(_MAY_COLUMN, given | {"column": column}) if column else connection.scalar(_MAY, given)
    )


def _refuse(connection: Connection, missing: list[sql.Composed], *, role: str) -> None:
    if missing:
        driver = connection.connection.driver_connection
        commands = "; ".join(each.as_string(driver) for each in missing)
        raise WarehouseRefused(
            f"The warehouse's user {role!r} lacks rights that some task will need: nothing was migrated, loaded or "
            f"confirmed. As the owner or a superuser run: {commands}. docs/security.md lists all of them."
        )
