"""What tables, views and columns mean, written into the database: `\\d+` of psql and catalogue tools show it."""

from psycopg import sql
from sqlalchemy import Connection, text

from asset_changes.warehouse.schema import metadata
from asset_changes.warehouse.views import views

_PRESENT = text("""
SELECT relname AS relation, '' AS name, obj_description(oid, 'pg_class') AS meaning
FROM pg_class WHERE relnamespace = CAST(CURRENT_SCHEMA AS regnamespace) AND relkind IN ('r', 'p', 'v')
UNION ALL
SELECT relname, attname, col_description(pg_class.oid, attnum)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = CAST(CURRENT_SCHEMA AS regnamespace) AND relkind IN ('r', 'p', 'v')
""")


def write_comments(connection: Connection) -> None:
    """Bring the database's comments to those of `schema.py`; what is right already is not written again."""
    present = {(row.relation, row.name): row.meaning for row in connection.execute(_PRESENT)}
    for relation in (*views.tables.values(), *metadata.tables.values()):
        kind = sql.SQL("VIEW" if relation.metadata is views else "TABLE")
        wanted = {"": relation.comment} | {column.name: column.comment for column in relation.columns}
        for name, meaning in wanted.items():
            if present[relation.name, name] == meaning:
                continue
            target = sql.SQL("COLUMN {}").format(sql.Identifier(relation.name, name)) if name else None
            target = target or sql.SQL("{} {}").format(kind, sql.Identifier(relation.name))
            statement = sql.SQL("COMMENT ON {} IS {}").format(target, meaning).as_string(None)
            connection.exec_driver_sql(statement.replace("%", "%%"))
