"""Alembic's migrations; `warehouse.migrate` runs them."""
