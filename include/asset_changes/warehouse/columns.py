"""What the tables of the warehouse are made of: columns, each with what its name means."""

from typing import Any

from sqlalchemy import Column, DateTime, MetaData, Text

from asset_changes.warehouse.meanings import MEANINGS

metadata = MetaData()

TIME = DateTime(timezone=True)
ID = Text(collation="C")


def column(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    """Return a column with the meaning of its name as comment."""
    return Column(name, kind, *more, comment=MEANINGS[name], **options)


def time_column(name: str, *, nullable: bool = True) -> Column[Any]:
    """Return a column of a point in time."""
    return column(name, TIME, nullable=nullable)
