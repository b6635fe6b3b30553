"""Runs of the real DAGs that delete files and hold them back, as Airflow runs them, on a folder and a warehouse."""

import json
from pathlib import Path
from typing import Any

import pytest
from getty_sandbox import Sandbox
from sqlalchemy import URL, Connection, Engine, text

from tests.dags.installation import GETTY, WAREHOUSE, Installation, Run, getty_connection, warehouse_connection
from tests.dags.test_runs import CHANNEL, ENTRY, change, rows

PURGE, HOLD = "asset_changes_purge", "asset_changes_hold"
ON = {"ASSET_CHANGES_PURGE": "on"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a file of assets 1 to 4, and one that belongs to none."""
    folder = tmp_path / "files"
    (folder / "images").mkdir(parents=True)
    for each in (1, 2, 3, 4):
        (folder / "images" / f"{each}.jpg").write_bytes(b"x" * each)
    (folder / "images/.keep").touch()
    return folder


@pytest.fixture
def connected(
    airflow: Installation, sandbox: Sandbox, warehouse_url: URL, warehouse: Engine, files: Path
) -> Installation:
    """Airflow with a company that holds assets 1 to 4; Getty deleted 1 and 2."""
    airflow.environment = {
        GETTY: getty_connection(sandbox),
        WAREHOUSE: warehouse_connection(warehouse_url),
        "ASSET_CHANGES_FILE_STORES": json.dumps(
            [{"name": "dam", "uri": f"file://{files}", "keys": ["images/{asset_id}.jpg"]}]
        ),
    }
    airflow.set_channels(json.dumps([ENTRY]))
    sandbox.append(
        3001, [*(change(str(each)) for each in (1, 2, 3, 4)), *(change(each, "Delete", minute=1) for each in "12")]
    )
    assert airflow.test_dag(CHANNEL).state == "success"
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO held_assets (source, asset_id, held_since)"
                " SELECT 'dam', n::text, '2026-01-01Z' FROM generate_series(1, 4) AS n"
            )
        )
    return airflow


def left(files: Path) -> list[str]:
    """Return the names of the files that are there."""
    return sorted(each.name for each in (files / "images").glob("*.jpg"))


def counts(run: Run, task_id: str = "purge") -> dict[str, Any]:
    """Return what a task says that it did."""
    assert len(run.xcoms[task_id]) < 1024
    return dict(json.loads(run.xcoms[task_id]))


def test_by_default_nothing_is_deleted(connected: Installation, warehouse: Engine, files: Path) -> None:
    run = connected.test_dag(PURGE)
    assert set(run.states().values()) == {"success"}
    assert run.lines("Planned what would be deleted: plan=1 assets=2 files=2 bytes=3 held_back=0")
    assert run.lines("Plan 1 asks nobody: listed")
    assert run.lines("Plan 1 was only listed: nothing is deleted")
    assert run.lines("Plan 1: deleted=0 failed=0")
    assert len(left(files)) == 4
    assert rows(warehouse, "SELECT mode, outcome FROM purge_plans") == [("dry_run", "listed")]


def test_without_a_dry_run_the_purge_is_refused(connected: Installation, files: Path) -> None:
    run = connected.test_dag(PURGE, None, **ON)
    assert run.tasks["plan"] == ("failed", 1)
    assert run.lines("no dry run under today's ASSET_CHANGES_FILE_STORES")
    assert len(left(files)) == 4


def test_the_first_purge_is_approved_by_a_person(connected: Installation, warehouse: Engine, files: Path) -> None:
    """Then the files are gone, the receipts name who approved, and the asset has an event with counts alone."""
    connected.test_dag(PURGE)
    connected.test_dag(HOLD, {"asset_ids": ["2"], "action": "hold", "reason": "case 7", "owner": "legal"})
    run, question = connected.test_dag_with_answer(PURGE, "Approve", name="bea", **ON)
    assert "It is the first plan that deletes from dam under these settings." in question
    assert "| dam | 1 | 1 | 1 | 1 |" in question
    assert run.state == "success"
    assert left(files) == ["2.jpg", "3.jpg", "4.jpg"]
    assert counts(run)["deleted"] == 1
    assert rows(warehouse, "SELECT asset_id, key, result, is_gone, approved_by, run_id FROM purges") == [
        ("1", "images/1.jpg", "deleted", True, "bea", run.run_id)
    ]
    assert rows(warehouse, "SELECT asset_id, held_back_by FROM assets_to_remove") == [("2", "legal")]
    events = "SELECT asset_event.extra FROM asset_event JOIN asset ON asset.id = asset_id WHERE name = ?"
    found = [json.loads(extra) for (extra,) in connected.rows(events, "asset_changes_files_purged")]
    assert found == [{"plan_id": counts(run)["plan_id"], "gone": 1, "deleted": 1, "failed": 0}]


def test_a_rejected_plan_deletes_nothing(connected: Installation, warehouse: Engine, files: Path) -> None:
    connected.test_dag(PURGE)
    run, _ = connected.test_dag_with_answer(PURGE, "Reject", name="bea", **ON)
    assert run.states() == {"plan": "success", "approve": "success", "purge": "skipped", "check": "skipped"}
    assert len(left(files)) == 4
    assert rows(warehouse, "SELECT outcome, approved_by FROM purge_plans WHERE mode = 'on'") == [("refused", "bea")]


def test_a_share_that_is_not_mounted_ends_red(connected: Installation, warehouse: Engine, files: Path) -> None:
    """Nothing of it is taken for gone."""
    files.rename(files.with_name("elsewhere"))
    run = connected.test_dag(PURGE)
    assert (run.tasks["purge"][0], run.tasks["check"]) == ("success", ("failed", 1))
    assert run.lines("The store dam cannot be listed: The folder")
    assert rows(warehouse, "SELECT count(*) FROM purges") == [(0,)]


def test_without_a_store_the_run_is_skipped(connected: Installation) -> None:
    run = connected.test_dag(PURGE, None, ASSET_CHANGES_FILE_STORES="")
    assert set(run.states().values()) == {"skipped"}
    assert run.lines("No store of files is configured (ASSET_CHANGES_FILE_STORES)")


def test_a_store_that_is_not_configured_is_refused(connected: Installation) -> None:
    run = connected.test_dag(PURGE, {"only_store": "attic"})
    assert run.tasks["plan"] == ("failed", 1)
    assert run.lines("names the store 'attic'; ASSET_CHANGES_FILE_STORES has: dam.")


def test_the_form_may_ask_for_a_list_only(connected: Installation, files: Path) -> None:
    run = connected.test_dag(PURGE, {"dry_run": True}, **ON)
    assert run.state == "success"
    assert len(left(files)) == 4


def test_an_exception_keeps_who_made_it_and_why(connected: Installation, warehouse: Engine) -> None:
    form = {"asset_ids": ["1"], "reason": "case 7", "until": "2099-01-01T00:00:00Z", "action": "hold"}
    run = connected.test_dag(HOLD, form)
    assert run.state == "success"
    assert run.lines("Decision carried out: action=hold assets=1 unknown=0 held_back_now=1 by=dag_test")
    by = rows(warehouse, "SELECT asset_id, owner, reason, held_by, until::date::text, released_at FROM purge_holds")
    assert by == [("1", "dag_test", "case 7", "dag_test", "2099-01-01", None)]
    connected.test_dag(HOLD, {"asset_ids": ["1"], "action": "waive", "reason": "licence 4"})
    waived = rows(warehouse, "SELECT asset_id, reason, why, waived_by FROM purge_waivers")
    assert waived == [("1", "deleted", "licence 4", "dag_test")]


def test_a_form_without_a_reason_is_refused(connected: Installation, warehouse: Engine) -> None:
    run = connected.test_dag(HOLD, {"asset_ids": ["1"]})
    assert run.tasks["decide"] == ("failed", 1)
    assert run.lines("The run gives no reason to hold")
    assert rows(warehouse, "SELECT count(*) FROM purge_holds") == [(0,)]


def test_a_cdn_follows_the_receipts_past_its_cursor(connected: Installation, warehouse: Engine) -> None:
    """What was found missing counts, what is still there does not; a store may be slower than another."""

    def follow() -> dict[str, Any]:
        run = connected.test_dag("asset_changes_example_cdn")
        assert run.state == "success"
        return counts(run, "invalidate")

    def write(connection: Connection, store: str, *results: str) -> None:
        for number, result in enumerate(results):
            connection.execute(
                text(
                    "INSERT INTO purges (plan_id, store, store_hash, asset_id, reason, due_since, key, planned_at,"
                    " result, is_gone) VALUES (1, :store, 'h', '9', 'deleted', now(), :key, now(), :result, true)"
                ),
                {"store": store, "key": f"images/{number // 2}.jpg", "result": result},
            )

    connected.test_dag(PURGE)
    assert follow() == {"paths": 0, "cursors": {}}
    with warehouse.connect() as dam, warehouse.connect() as attic:
        write(dam, "dam", "deleted", "deleted", "missing", "error", "changed")
        dam.commit()
        assert follow() == {"paths": 2, "cursors": {"dam": 3}}
        write(attic, "attic", "deleted")
        write(dam, "dam", "deleted")
        dam.commit()
        assert follow() == {"paths": 1, "cursors": {"dam": 7}}
        attic.commit()
        assert follow() == {"paths": 1, "cursors": {"dam": 7, "attic": 6}}
    assert follow()["paths"] == 0
