"""Write the parts of the docs that stand in the code: `python docs/generate.py`; a test compares them."""

import ast
import inspect
import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from asset_changes import settings, watch_settings
from asset_changes.metrics import METRICS
from asset_changes.settings import Settings
from asset_changes.watch_settings import WatchSettings

DOCS = Path(__file__).parent

_HEAD = """# Settings

Environment variables, the same in every Airflow component. A value that cannot be used fails the task at once, with a
sentence that names the variable. This file is generated: `python docs/generate.py`.
"""
_ELSEWHERE = (
    ("ASSET_CHANGES_SCHEDULE", "`*/5 * * * *`", "How often each channel runs, as cron; the only one read at parse."),
    (
        "ASSET_CHANGES_NOTIFIER",
        "none",
        "Who is told of alerts: an Airflow notifier as JSON, see [operations.md](operations.md#being-told).",
    ),
)


def settings_page() -> str:
    """Return docs/settings.md."""
    of_feed = [*_rows(Settings, settings.PREFIX), *_ELSEWHERE]
    of_watch = _rows(WatchSettings, watch_settings.PREFIX)
    return "\n".join([_HEAD, "## The feed\n", *_table(of_feed), "", "## The watchdog\n", *_table(of_watch), ""])


def metrics_table() -> str:
    """Return the table of docs/metrics.md."""
    rows = [
        (
            f"{each.name}`, `{each.prometheus_name}",
            each.kind,
            ", ".join(each.tags) or "none",
            each.sent_by,
            each.meaning,
        )
        for each in METRICS
    ]
    return "\n".join(_table(rows, head=("name, in Prometheus", "kind", "tags", "sent by", "meaning")))


def with_metrics(page: str) -> str:
    """Return a page with the table between its markers made anew."""
    return re.sub(
        r"(<!-- generated -->\n).*?(\n<!-- end -->)",
        lambda found: f"{found[1]}\n{metrics_table()}\n{found[2]}",
        page,
        flags=re.DOTALL,
    )


def _rows(kind: type[Any], prefix: str) -> list[tuple[str, str, str]]:
    meanings = _field_docs(kind)
    return [(prefix + each.name.upper(), _default(each.default), meanings[each.name]) for each in fields(kind)]


def _field_docs(kind: type[Any]) -> dict[str, str]:
    """Return the sentence below each field; Python itself forgets it."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    return {
        field.target.id: " ".join(str(said.value.value).split())
        for field, said in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
    }


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return f"`{value}`" if value != "" else "must be set"


def _table(rows: list[Any], head: tuple[str, ...] = ("variable", "default", "meaning")) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| `{row[0]}` | {' | '.join(row[1:])} |" for row in rows]


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page())
    page = DOCS / "metrics.md"
    page.write_text(with_metrics(page.read_text()))
