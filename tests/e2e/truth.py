"""The warehouse against the sandbox's truth, row for row."""

from typing import Any

from sqlalchemy import Engine, text

from tests.chaos.verdict import Verdict, judge


def assert_equals(warehouse: Engine, truth: dict[str, Any]) -> Verdict:
    """All that the truth tells of, no row more and no row less; return what was counted."""
    assert truth["assets"], "the truth is empty: nothing was compared"
    with warehouse.begin() as connection:
        connection.execute(text("SET LOCAL search_path TO getty_images"))
        verdict = judge(connection, truth)
    assert verdict.is_clean, f"{verdict}\n" + "\n".join(verdict.examples)
    return verdict
