"""The docs against the code: entries per alert and error, generated tables, names on the board and in the rules."""

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from asset_changes.metrics import METRICS
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.settings import Settings
from asset_changes.warehouse.columns import metadata
from asset_changes.warehouse.rights import table_rights
from asset_changes.warehouse.views import views
from sqlalchemy import Engine, inspect, text

from tests.dags.installation import Installation
from tests.watch import inside

DOCS = Path(__file__).parents[2] / "docs"
GENERATE = "run: python docs/generate.py"
OPERATIONS = (DOCS / "operations.md").read_text()


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


def entries(chapter: str) -> list[str]:
    """Return the headings of a chapter, in order."""
    text = OPERATIONS.split(f"\n## {chapter}\n")[1].split("\n## ")[0]
    return re.findall(r"^### (\S+)$", text, re.MULTILINE)


def test_every_alert_has_its_entry() -> None:
    names = [*(condition.name for condition in CONDITIONS), "blind"]
    assert entries("Alerts") == names, (
        "docs/operations.md needs an entry for each condition, in the order of CONDITIONS"
    )


def test_the_chapter_of_errors_is_generated(generate: dict[str, Any]) -> None:
    assert generate["with_generated"](OPERATIONS, generate["error_entries"]()) == OPERATIONS, GENERATE
    assert entries("Errors") == [kind.__name__ for kind in generate["error_classes"]()]


def test_every_error_says_what_to_do_with_its_class(generate: dict[str, Any]) -> None:
    for kind in generate["error_classes"]():
        assert "next_step" in vars(kind), f"{kind.__name__} does not say what to do"
        assert kind.next_step.endswith(".")


def test_the_settings_page_is_generated(generate: dict[str, Any]) -> None:
    page = (DOCS / "settings.md").read_text()
    assert page == generate["settings_page"](), GENERATE
    assert all(f"`ASSET_CHANGES_{name.upper()}`" in page for name in Settings.__dataclass_fields__)


def test_the_table_of_metrics_is_generated(generate: dict[str, Any]) -> None:
    page = (DOCS / "metrics.md").read_text()
    assert page == generate["with_generated"](page, generate["metrics_table"]()), GENERATE
    assert all(f"`{metric.name}`" in page for metric in METRICS)


def test_the_list_of_checks_is_generated(generate: dict[str, Any]) -> None:
    page = (DOCS / "compliance.md").read_text()
    assert page == generate["with_generated"](page, generate["checks_table"]()), GENERATE


def test_the_warehouses_page_is_generated_from_its_tables(generate: dict[str, Any], warehouse: Engine) -> None:
    page = (DOCS / "warehouse.md").read_text()
    assert page == generate["warehouse_page"](warehouse, schema="getty_images"), GENERATE
    assert set(inspect(warehouse).get_view_names()) == set(views.tables)


def test_a_table_without_a_time_to_stay_is_named(
    generate: dict[str, Any], warehouse: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(generate["_KEPT"], "alerts")
    with pytest.raises(SystemExit, match=r"_KEPT in docs/generate.py .*\['alerts'\]"):
        generate["warehouse_page"](warehouse, schema="getty_images")


def test_the_sources_for_dbt_are_generated(generate: dict[str, Any], warehouse: Engine) -> None:
    sources = (DOCS / "dbt/sources.yml").read_text()
    assert sources == generate["dbt_sources"](warehouse, schema="getty_images"), GENERATE
    [source] = yaml.safe_load(sources)["sources"]
    assert {each["name"] for each in source["tables"]} == {*views.tables, *metadata.tables}


_LONG_CAPTION = """
    INSERT INTO getty_images.asset_states (asset_id, asset_family, channel_id) VALUES ('1', 'Creative', 3002);
    INSERT INTO getty_images.asset_metadata (asset_id, caption, raw, as_of, fetched_at, language, content_hash)
    SELECT '1', string_agg('word' || n, ' '), '{}', now(), now(), 'en-US', '' FROM generate_series(1, 200000) AS n"""


def test_the_queries_about_metadata_run_and_find_their_index(warehouse: Engine) -> None:
    page = (DOCS / "lookups.md").read_text()
    statements = [each for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) for each in block.split(";\n")]
    plans = []
    with warehouse.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in sorted(filter(None, statements), key=lambda each: not each.startswith("CREATE INDEX")):
            if statement.startswith("SELECT"):
                connection.execute(text("SET enable_seqscan = off; SET enable_indexscan = off"))
                plans.append("\n".join(connection.scalars(text(f"EXPLAIN {statement}"))))
            connection.execute(text(statement))
        connection.execute(text(_LONG_CAPTION))
    assert ["asset_metadata_keywords" in plan for plan in plans] == [True, False, False]
    assert ["asset_metadata_caption" in plan for plan in plans] == [False, True, False]


def test_the_queries_about_holdings_run(warehouse: Engine) -> None:
    page = (DOCS / "holdings.md").read_text()
    statements = [each for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) for each in block.split(";\n")]
    with warehouse.connect() as connection:
        rows = [connection.execute(text(each)).all() for each in statements if each.strip()]
    assert rows == [[]] * 6


def test_the_page_of_the_dags_is_generated_from_the_dags(generate: dict[str, Any], airflow: Installation) -> None:
    entries = json.dumps([generate["EXAMPLE_CHANNEL"]])
    made = airflow.run(inside.dags_page, str(DOCS / "generate.py"), AIRFLOW_VAR_ASSET_CHANGES_CHANNELS=entries)
    assert (DOCS / "dags.md").read_text() == made, GENERATE


@pytest.mark.parametrize("file", ["asset_changes.json", "alert_rules.yaml"])
def test_board_and_rules_name_only_what_is_sent(file: str) -> None:
    """They name only metrics and tags that are sent."""
    text = (DOCS / "grafana" / file).read_text()
    tags = {metric.prometheus_name: set(metric.tags) for metric in METRICS}
    named = set(re.findall(r"\bairflow_\w+", text))
    assert named <= set(tags)
    if file.endswith("json"):
        assert named == set(tags), "the board shows every metric"
    for query in queries(text, is_board=file.endswith("json")):
        (metric,) = re.findall(r"\bairflow_\w+", query)
        used = set(re.findall(r"(\w+)=~?", query)) | {
            tag.strip() for group in re.findall(r"by \(([^)]*)\)", query) for tag in group.split(",")
        }
        assert used <= tags[metric], query


def queries(text: str, *, is_board: bool) -> list[str]:
    if is_board:
        return [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    return [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_links_within_the_docs_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for file, anchor in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", ((page.parent / file) if file else page).read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]


def test_the_rules_lead_to_the_entry_of_their_alert() -> None:
    rules = (DOCS / "grafana/alert_rules.yaml").read_text()
    anchors = set(re.findall(r"operations\.md#(\w+)", rules))
    assert anchors <= {condition.name for condition in CONDITIONS}


def test_airflow_has_the_airflow_commands_of_the_docs(airflow: Installation) -> None:
    found = []
    for page in DOCS.glob("*.md"):
        text = page.read_text().replace("\\\n", " ")
        written = re.findall(r"^ *(?:\S+/)?airflow ((?:db|dags|backfill|connections|tasks) .+)$", text, re.MULTILINE)
        written += re.findall(r"`(?:\S+/)?airflow ((?:db|dags|backfill|connections|tasks) [^`]+)`", text)
        found += [shlex.split(re.sub(r"\$\(.*?\)", "2026-11-01", command)) for command in written]
    # Three dots stand for what the reader knows better.
    found = [words for words in found if "..." not in words]
    names = airflow.run(inside.parsed_commands, found)
    assert len(names) > 5
    assert {name for name in names if name.startswith("refused")} == set(), list(zip(found, names, strict=True))


def test_the_docs_name_the_rights_of_who_loads() -> None:
    rows = re.findall(r"^\| (.+?) \| `((?:SELECT|USAGE).*?)` \|$", (DOCS / "security.md").read_text(), re.MULTILINE)
    named = {name: rights for names, rights in rows for name in re.findall(r"`(\w+)`", names)}
    given = {name: ", ".join(rights) for name, rights in table_rights().items()}
    changing = "SELECT, INSERT, UPDATE, DELETE"
    special = {name for name, rights in given.items() if name in metadata.tables and rights != changing}
    assert named == {name: given[name] for name in special | {"schema_version"}}
