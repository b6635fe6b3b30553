"""The warehouse against the sandbox's truth, row for row."""

from typing import Any

from sqlalchemy import Engine, text

from tests.chaos.comparison import Comparison, compare


def assert_equals(warehouse: Engine, truth: dict[str, Any]) -> Comparison:
    """Assert that the warehouse has exactly the rows of the truth; return the counts."""
    assert truth["assets"], "the truth is empty: nothing was compared"
    with warehouse.begin() as connection:
        connection.execute(text("SET LOCAL search_path TO getty_images"))
        comparison = compare(connection, truth)
    assert comparison.is_clean, f"{comparison}\n" + "\n".join(comparison.examples)
    return comparison
