"""The warehouse against the sandbox's truth, row for row."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, text

TRUTHS = {
    "asset_states": "asset_id",
    "assets": "asset_id",
    "deleted_assets": "asset_id",
    "change_sets": "channel_id, length(change_set_id), change_set_id",
}


def assert_equals(warehouse: Engine, truth: dict[str, Any]) -> None:
    """All that the truth tells of, no row more and no row less."""
    for table, order in TRUTHS.items():
        expected = sorted(truth[table], key=lambda row: order_key(row, order))
        assert expected, f"the truth about {table} is empty: nothing was compared"
        assert rows(warehouse, table, list(expected[0]), order) == expected


def rows(engine: Engine, table: str, columns: list[str], order: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT {', '.join(columns)} FROM getty_images.{table} ORDER BY {order}"))
        return [{name: plain(value) for name, value in row.items()} for row in found.mappings()]


def plain(value: Any) -> Any:
    """As the truth writes it in JSON."""
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def order_key(row: dict[str, Any], order: str) -> tuple[Any, ...]:
    if order == "asset_id":
        return (row["asset_id"],)
    return (row["channel_id"], len(row["change_set_id"]), row["change_set_id"])
