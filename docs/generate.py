"""Write the parts of the docs that stand in the code: `python docs/generate.py`; a test compares them."""

import ast
import inspect
import json
import os
import re
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from asset_changes import errors, settings
from asset_changes.metrics import METRICS
from asset_changes.monitoring import settings as watch_settings
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.settings import Settings
from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.columns import metadata
from asset_changes.warehouse.compliance import Check
from asset_changes.warehouse.engine import connect
from asset_changes.warehouse.migrate import migrate
from asset_changes.warehouse.views import views
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import Engine, text

if TYPE_CHECKING:
    from airflow.sdk import DAG

DOCS = Path(__file__).parent

_HEAD = """# Settings

Environment variables, the same in every Airflow component. A value that cannot be used fails the task at once, with a
sentence that names the variable. This file is generated: `python docs/generate.py`.
"""
_KEPT = {
    "channels": ("for ever", "nothing"),
    "change_sets": ("for ever", "nothing: it is the ledger"),
    "asset_states": ("for ever, also of deleted assets: ids and times alone", "nothing: a Delete stays known"),
    "asset_changes": ("for ever: ids and times alone", "you, by month: [operations.md](operations.md)"),
    "deletions": ("for ever: it is the evidence", "nothing; the user that loads has no right to"),
    "deletion_corrections": ("for ever: it is the evidence", "nothing; the user that loads has no right to"),
    "feed_gaps": ("for ever: it is the evidence", "nothing; the user that loads has no right to"),
    "archive_findings": ("for ever, with how each was resolved", "nothing"),
    "rejected_changes": ("until the message is read, else for ever", "a replay whose code understands it"),
    "alerts": ("for ever", "nothing"),
    "consumers": ("for ever, a row per channel", "nothing"),
    "lookup_queue": ("until Getty has answered, or the asset is deleted", "`look_up`"),
    "lookup_connections": ("for ever, a row per connection", "nothing"),
    "lookup_calls": ("90 days", "`enqueue`"),
    "asset_metadata": (
        "while the asset is live: captions and names of people are nowhere else",
        "the Delete, in the transaction that applies it",
    ),
    "held_assets": ("for ever, also of what is held no longer", "nothing; the user that loads has no right to"),
    "holding_imports": ("for ever, a row per list", "nothing; the user that loads has no right to"),
    "reconciliations": ("for ever, a row per round", "nothing; the user that loads has no right to"),
    "availability": ("while the asset is live or held", "`enqueue`, once it is neither"),
    "availability_checks": ("for ever: it is the evidence", "nothing; the user that loads has no right to"),
    "holding_counts": ("for ever, a row per source", "nothing"),
    "file_stores": ("for ever, a row per store", "nothing; the user that loads has no right to"),
    "purge_plans": ("for ever, a row per run", "nothing; the user that loads has no right to"),
    "purge_plan_files": ("7 days of a dry run, 90 days of a plan that was carried out", "`plan`"),
    "purges": ("for ever: it is the evidence", "nothing; the user that loads has no right to"),
    "purge_counts": ("until it is counted again, a row per store", "`watch`, `purge`"),
    "purge_holds": ("for ever, also of holds that ended", "nothing; the user that loads has no right to"),
    "purge_waivers": ("for ever: it is the evidence", "nothing; the user that loads has no right to"),
}
"""How long the rows of each table stay, and what removes them."""
_WAREHOUSE_HEAD = """# The warehouse

Schema `getty_images` (`ASSET_CHANGES_SCHEMA`). A name means the same wherever it is used. Ids compare byte by byte
(`COLLATE "C"`). The meanings are comments in the database too: `\\d+ getty_images.assets` in psql shows them. This file
is generated from the migrated tables: `python docs/generate.py`. For dbt and the catalogue tools that read its files,
[dbt/sources.yml](dbt/sources.yml) has the same.

## How long rows stay

"""
_NOT_COVERED = """
**Not covered** are copies that Postgres makes: its write-ahead log and an archive of it, replicas, base backups and
dumps keep a removed row until they expire. So does a row that is removed but not vacuumed yet. Limit them by what your
contract says of metadata. The archive of bodies holds no metadata: the feed names ids only.
"""
_DBT_HEAD = "# Put it among your dbt models. Generated from the migrated tables: `python docs/generate.py`.\n"
_DAGS_HEAD = """# The DAGs

Each with its runbook, as Airflow shows it under *Details* and on the book symbol of the DAG's page. A channel's DAG is
shown for one channel; the others differ in their names. This file is generated from the DAGs:
`python docs/generate.py`.
"""
EXAMPLE_CHANNEL = {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"}
_COLUMNS = """
SELECT relation.relname AS relation, attname AS name,
       replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz') AS type,
       attnotnull AS is_needed, coalesce(attnum = ANY (key.indkey), false) AS is_key,
       CASE relkind WHEN 'v' THEN 'View' ELSE 'Table' END AS kind,
       obj_description(relation.oid, 'pg_class') AS relation_meaning, col_description(relation.oid, attnum) AS meaning
FROM pg_class AS relation
JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_index AS key ON key.indrelid = relation.oid AND key.indisprimary
WHERE relation.relnamespace = CAST(:schema AS regnamespace) AND NOT relation.relispartition
ORDER BY relation.relname, attnum
"""
_ELSEWHERE = (
    ("ASSET_CHANGES_SCHEDULE", "`*/5 * * * *`", "How often each channel runs, as cron; read at parse."),
    (
        "ASSET_CHANGES_HOLDINGS_SCHEDULE",
        "`0 2 * * *`",
        "When the lists of holdings are imported, as cron; read at parse.",
    ),
    (
        "ASSET_CHANGES_NOTIFIER",
        "none",
        "Who is notified of alerts: an Airflow notifier as JSON, see [operations.md](operations.md#being-notified).",
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


def error_classes() -> list[type[errors.AssetChangesError]]:
    """Return the errors that are raised, in the order of their file."""
    branches = (errors.AssetChangesError, errors.TerminalError, errors.TransientError)
    return [
        kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AssetChangesError)
        if name == kind.__name__ and kind not in branches  # not an older name of one
    ]


def error_entries() -> str:
    """Return the entries of the chapter "Errors" of docs/operations.md: what is said with each class."""
    entries = []
    for kind in error_classes():
        tried = "Terminal." if issubclass(kind, errors.TerminalError) else "Transient."
        said = " ".join((kind.__doc__ or "").split())
        text = f"{tried} {said} *What to do:* {kind.next_step}"
        entries += [f"### {kind.__name__}", "", textwrap.fill(text, 120, break_on_hyphens=False), ""]
    return "\n".join(entries).rstrip()


def checks_table() -> str:
    """Return the table of docs/compliance.md: every check of the verdict, and what resolves it."""
    rows = [(each.name, _said_in_general(each), each.resolved_by) for each in CHECKS]
    return "\n".join(_table(rows, head=("check", "what speaks against the span", "what resolves it")))


def _said_in_general(check: Check) -> str:
    said = check.says or check.unknown
    names = {"count": "N", "channels": "(the channels)", "longest": "(how long)", "what": "(the reason)"}
    if check.name.startswith("files_"):
        names["what"] = "(the store)"
    return re.sub(r"\{(\w+)[^}]*\}", lambda found: names[found[1]], said)


def with_generated(page: str, text: str) -> str:
    """Return a page with what is between its markers made anew."""
    return re.sub(
        r"(<!-- generated -->\n).*?(\n<!-- end -->)",
        lambda found: f"{found[1]}\n{text}\n{found[2]}",
        page,
        flags=re.DOTALL,
    )


def _rows(kind: type[Any], prefix: str) -> list[tuple[str, str, str]]:
    meanings = _field_docs(kind)
    return [(prefix + field.name.upper(), _default(field), meanings[field.name]) for field in fields(kind)]


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


def _default(field: "Field[Any]") -> str:
    if isinstance(field.default, bool):
        return "`on`" if field.default else "`off`"
    if field.default in ("", ()):
        return "must be set" if field.name == "archive_uri" else "empty"
    return f"`{field.default}`"


def _table(rows: list[Any], head: tuple[str, ...] = ("variable", "default", "meaning")) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| `{row[0]}` | {' | '.join(row[1:])} |" for row in rows]


def warehouse_page(engine: Engine, *, schema: str) -> str:
    """Return docs/warehouse.md, from the tables and views as the migrations made them."""
    rows = _columns(engine, schema=schema)
    if unknown := metadata.tables.keys() - _KEPT:
        raise SystemExit(f"Add to _KEPT in docs/generate.py how long the rows of {sorted(unknown)} stay.")
    kept = [(name, *_KEPT[name]) for name in metadata.tables]
    lines = [_WAREHOUSE_HEAD + "\n".join(_table(kept, head=("table", "rows stay", "what removes them"))), _NOT_COVERED]
    for relation in (*views.tables, *metadata.tables):
        columns = [row for row in rows if row.relation == relation]
        lines += [f"## {relation}\n", f"{columns[0].kind}. {columns[0].relation_meaning}\n"]
        keys = [row.name for row in columns if row.is_key]
        lines += _table(
            [(row.name, f"{row.type}{' NOT NULL' if row.is_needed else ''}", row.meaning) for row in columns],
            head=("column", "type", "meaning"),
        )
        lines += ["", f"Primary key: {', '.join(f'`{key}`' for key in keys)}.", ""] if keys else [""]
    return "\n".join(lines)


def dbt_sources(engine: Engine, *, schema: str) -> str:
    """Return docs/dbt/sources.yml, from the same tables and comments."""
    rows = _columns(engine, schema=schema)
    tables = []
    for relation in (*views.tables, *metadata.tables):
        columns = [row for row in rows if row.relation == relation]
        listed = [{"name": row.name, "description": row.meaning, "data_type": row.type} for row in columns]
        tables.append({"name": relation, "description": columns[0].relation_meaning, "columns": listed})
    source = {
        "name": "getty_images",
        "description": "The copy of the Getty Images catalogue; metadata is content and personal data.",
        "schema": schema,
        "tables": tables,
    }
    return _DBT_HEAD + yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False, width=200)


def _columns(engine: Engine, *, schema: str) -> Sequence[Any]:
    with engine.connect() as connection:
        return connection.execute(text(_COLUMNS), {"schema": schema}).all()


def dags_page(dags: Mapping[str, "DAG"]) -> str:
    """Return docs/dags.md, from the DAGs as Airflow sees them."""
    lines = [_DAGS_HEAD]
    for dag in sorted(dags.values(), key=lambda each: (each.dag_id.startswith("asset_changes_example"), each.dag_id)):
        facts = {
            "id": f"`{dag.dag_id}`",
            "runs": _schedule(dag),
            "at once": f"{dag.max_active_runs} run" + ("s" if dag.max_active_runs > 1 else ""),
            "tags": ", ".join(sorted(dag.tags)),
        }
        lines += [f"## {dag.dag_display_name}\n", f"{dag.description}.\n"]
        lines += [*(f"* {name}: {value}" for name, value in facts.items()), "", (dag.doc_md or "").strip(), ""]
        tasks = [(task.task_id, _said_of(task), _limits(task)) for task in dag.topological_sort()]
        lines += [*_table(tasks, head=("task", "what it does", "tries, time limit")), ""]
        params = [(name, *_param(dag.params.get_param(name))) for name in dag.params]
        if params:
            lines += [*_table(params, head=("param", "title", "type", "default", "help")), ""]
    return "\n".join(lines)


_PURGED = "asset_changes_files_purged"


def _schedule(dag: "DAG") -> str:
    timetable: Any = dag.timetable
    if hasattr(timetable, "expression"):
        return f"`{timetable.expression}` (UTC)"
    if timetable.asset_condition is None:
        return "when a person triggers it"
    assets = {asset.name for asset in timetable.asset_condition.objects}
    if _PURGED in assets:
        return f"when the asset `{_PURGED}` is updated"
    return "when one of the channels' assets is updated"


def _said_of(task: Any) -> str:
    said = task.doc_md or getattr(task, "python_callable", type(task)).__doc__  # a mapped task has no doc_md
    return " ".join(said.split())


def _limits(task: Any) -> str:
    limit = f"{task.execution_timeout.total_seconds() / 60:.0f} min" if task.execution_timeout else "none of its own"
    return f"{task.retries + 1}, {limit}"


def _param(param: Any) -> tuple[str, str, str, str]:
    kinds = param.schema["type"]
    kind = " or ".join(kinds) if isinstance(kinds, list) else kinds
    return param.schema["title"], kind, f"`{param.value}`" if param.value is not None else "empty", param.description


def _dags() -> Mapping[str, "DAG"]:
    """Read the DAGs of this checkout, with one channel."""
    os.environ["AIRFLOW_VAR_ASSET_CHANGES_CHANNELS"] = json.dumps([EXAMPLE_CHANNEL])
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=DOCS.parent / "dags").dags


def _generated_parts() -> dict[str, str]:
    """Return what is generated within a page that is written by hand."""
    return {"metrics.md": metrics_table(), "operations.md": error_entries(), "compliance.md": checks_table()}


def main() -> None:
    """Write all pages anew."""
    (DOCS / "settings.md").write_text(settings_page())
    for name, text_of_it in _generated_parts().items():
        page = DOCS / name
        page.write_text(with_generated(page.read_text(), text_of_it))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        (DOCS / "dags.md").write_text(dags_page(_dags()))
        with EmbeddedPostgres(Path(folder) / "postgres", durable=False) as postgres:
            engine = connect(postgres.create_database("docs"), schema="getty_images")
            migrate(engine, schema="getty_images")
            (DOCS / "warehouse.md").write_text(warehouse_page(engine, schema="getty_images"))
            (DOCS / "dbt/sources.yml").write_text(dbt_sources(engine, schema="getty_images"))
            engine.dispose()


if __name__ == "__main__":
    main()
