"""What Alembic runs: the caller's connection, inside the caller's transaction."""

from alembic import context

from asset_changes.warehouse.columns import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="schema_version",  # of its own: the warehouse may contain other projects' tables
)
with context.begin_transaction():
    context.run_migrations()
