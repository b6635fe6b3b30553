"""What is on: the lines of the page, by the settings, Airflow's DAGs and what the warehouse knows."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from asset_changes.settings import FileStoreSetting, HoldingsSource, Settings
from asset_changes.warehouse.holdings import SourceStatus
from asset_changes.warehouse.lookup_status import LiveAssets, LookupStatus, Waiting
from asset_changes.warehouse.purge_status import PurgeStatus
from asset_changes.warehouse.status import Alert
from getty_images.status.airflow_runs import DagStatus
from getty_images.status.capabilities import Capability, Facts, what_is_on
from getty_images.status.problems import Problem

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
FRESH = LookupStatus(
    live=LiveAssets(count=1_000_000, with_metadata=0, is_estimate=True),
    waiting=Waiting(count=0, since=None),
    connections=(),
    calls_last_day=0,
    upserts_per_day=20_050,
    alerts=(),
)
USED = LookupStatus(
    live=LiveAssets(count=10, with_metadata=9, is_estimate=False),
    waiting=Waiting(count=1, since=NOON),
    connections=(),
    calls_last_day=1_234,
    upserts_per_day=20_050,
    alerts=(),
)


def lines(lookups: LookupStatus = FRESH, dag: DagStatus | None = None, **more: Any) -> dict[str, Capability]:
    """The lines by name; `more` are settings and counts."""
    counts = {name: more.pop(name, default) for name, default in (("channel_count", 4), ("set_count", 30))}
    imports, waiting_count = more.pop("imports", ()), more.pop("waiting_count", 0)
    purge, purge_dag = more.pop("purge_status", PurgeStatus()), more.pop("purge_dag", DagStatus())
    facts = Facts(
        holdings=imports,
        waiting_count=waiting_count,
        purge=purge,
        purge_dag=purge_dag,
        settings=Settings(**more),
        lookups=lookups,
        lookup_dag=dag or DagStatus(),
        run_count=1_152,
        **counts,
    )
    return {each.name: each for each in what_is_on(facts)}


def test_the_feed_says_whether_it_confirms() -> None:
    confirming, looking = lines()["Feed"], lines(confirm=False)["Feed"]
    assert (confirming.state, confirming.next_step) == ("on, 4 channels, confirming", "")
    assert confirming.cost == "about 2,364 calls in the last 24 hours"
    assert looking.state == "looking only, 4 channels, nothing is confirmed"
    assert "ASSET_CHANGES_CONFIRM=on" in looking.next_step
    assert lines(channel_count=0)["Feed"].state == "no channel yet"


def test_before_it_is_on_metadata_says_what_it_will_cost() -> None:
    line = lines(dag=DagStatus(is_paused=True))["Metadata"]
    assert line.state == "paused, not begun"
    assert line.cost == "about 10,000 calls once (3 hours at 1 per second), then at most 201 a day"
    assert line.next_step == "Ask Getty whether you may store metadata, then unpause Look up assets."
    assert line.link
    assert line.link.path == "dags/asset_changes_lookup"


def test_the_days_limit_is_part_of_what_it_will_take() -> None:
    line = lines(dag=DagStatus(is_paused=True), lookups_per_second=10, lookups_per_day=2_000)["Metadata"]
    assert line.cost.startswith("about 10,000 calls once (96 hours at 10 per second)")


def test_a_problem_of_the_lookups_leads_to_their_panel() -> None:
    line = lines(replace(USED, alerts=(Alert(condition="lookups_capped", since=NOON),)))["Metadata"]
    assert (line.state, line.is_on) == ("on, with problems", False)
    assert line.link
    assert line.link.path == "#lookups"


@pytest.mark.parametrize(
    ("dag", "metadata", "state", "next_step"),
    [
        (DagStatus(), True, "on", ""),
        (DagStatus(is_paused=True), True, "paused", "Unpause Look up assets: it continues with what waits."),
        (DagStatus(is_missing=True), True, "its DAG is missing", "Check the import errors on Airflow's home page."),
        (DagStatus(), False, "off", "Set ASSET_CHANGES_METADATA=on to keep captions, keywords and restrictions."),
    ],
    ids=["on", "paused", "missing", "off"],
)
def test_metadata_says_its_state_and_its_next_step(dag: DagStatus, metadata: bool, state: str, next_step: str) -> None:
    line = lines(USED, dag, metadata=metadata)["Metadata"]
    assert (line.state, line.next_step, line.is_on) == (state, next_step, state == "on")
    assert line.cost == ("1,234 calls in the last 24 hours" if metadata else "no calls")


def imported(source: str, **more: Any) -> SourceStatus:
    """A source whose list was imported."""
    counts = {"held_count": 1_500, "new_held_count": 3, "changed_count": 0, "ended_count": 0, "unreadable_count": 0}
    given = {"ended_at": NOON, "imported_at": NOON, "refused_why": None, **counts}
    return SourceStatus(source=source, **(given | more))


def test_holdings_say_what_was_imported_and_what_refused() -> None:
    lists = (HoldingsSource(source="dam", uri="file:///dam.csv"),)
    assert lines()["Holdings"].state == "no list"
    assert lines(holdings=lists)["Holdings"].state == "nothing imported yet"
    found = lines(imports=(imported("dam"), imported("web")))["Holdings"]
    assert (found.state, found.is_on, found.next_step) == ("3,000 assets from 2 lists", True, "")
    found = lines(imports=(imported("dam", refused_why="It is empty."),))["Holdings"]
    assert (found.state, found.is_on) == ("1,500 assets from 1 list, refused: dam", False)


@pytest.mark.parametrize(
    ("dag", "more", "state", "cost"),
    [
        (DagStatus(), {}, "on, everything within 30 days", "about 334 calls a day"),
        (DagStatus(), {"lookup_scope": "held"}, "on, everything within 30 days", "about 10 calls a day"),
        (DagStatus(), {"reconcile_days": 1}, "on, everything within 1 day", "about 10,015 calls a day"),
        (DagStatus(), {"metadata": False}, "on, everything within 30 days", "about 334 calls a day"),
        (DagStatus(), {"waiting_count": 1}, "waits for an approval", "about 334 calls a day"),
        (DagStatus(is_paused=True), {}, "paused", "about 334 calls a day"),
        (DagStatus(is_missing=True), {}, "its DAG is missing", "no calls"),
        (DagStatus(), {"reconcile_days": 0}, "off", "no calls"),
    ],
)
def test_reconciliation_says_its_state_and_its_cost(
    dag: DagStatus, more: dict[str, Any], state: str, cost: str
) -> None:
    line = lines(dag=dag, imports=(imported("dam"),), **more)["Reconciliation"]
    assert (line.state, line.cost, line.is_on) == (state, cost, state.startswith("on"))
    assert line.is_on == (line.next_step == "")


STORES = (FileStoreSetting(name="dam", uri="file:///dam", keys=("{asset_id}.jpg", "web/{asset_id}.jpg")),)


@pytest.mark.parametrize(
    ("more", "state", "next_step"),
    [
        ({}, "no store of files", "Set ASSET_CHANGES_FILE_STORES"),
        ({"purge_dag": DagStatus(is_missing=True)}, "its DAG is missing", "Check the import errors"),
        ({"purge_dag": DagStatus(is_paused=True)}, "paused (dry run, nothing is deleted)", "a dry run only lists"),
        ({"purge": "on", "purge_dag": DagStatus(is_paused=True)}, "paused (on)", "Unpause Purge files."),
        ({"purge": "on", "is_waiting": True}, "waits for an approval", "approve or reject it"),
        (
            {"purge_dag": DagStatus(failure=Problem(reason="red", next_step="read"))},
            "dry run, nothing is deleted, with problems",
            "said below",
        ),
        ({}, "dry run, nothing is deleted", "then set ASSET_CHANGES_PURGE=on; the first plan asks for approval."),
        ({"purge": "on"}, "on", ""),
    ],
)
def test_the_purge_says_what_comes_next(more: dict[str, Any], state: str, next_step: str) -> None:
    more = dict(more)
    waiting = (None,) if more.pop("is_waiting", False) else ()
    stores = () if state == "no store of files" else STORES
    line = lines(file_stores=stores, purge_status=PurgeStatus(waiting=cast("Any", waiting)), **more)["Purge"]
    assert line.state == state
    assert next_step in line.next_step
    assert line.is_on == (state == "on")
    listings = 4 if more.get("purge") == "on" else 2
    assert line.cost == (f"{listings} listings per asset to purge, none of Getty" if stores else "no calls")
