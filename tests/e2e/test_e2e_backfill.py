"""Airflow's own backfill, through the real scheduler, brings truncated tables back to the sandbox's truth."""

import ast
import json
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from local_stack.services import marked_processes
from sqlalchemy import text

from tests.e2e.running import RunningStack, running_stack
from tests.e2e.test_e2e_sync import make_run, state_dir, truth_of, warehouse_of
from tests.e2e.truth import assert_equals
from tests.waiting import wait_until

__all__ = ["state_dir"]  # the fixture

pytestmark = pytest.mark.e2e

DAG = "asset_changes_replay"
# The feed ends days ago, so that its changes were old news yesterday too.
OPTIONS = "--changes-per-channel 3000 --trickle-per-minute 0 --span-days 2 --start {start}"


def test_a_backfill_rebuilds_truncated_tables_once(state_dir: Path) -> None:
    options = OPTIONS.format(start=(datetime.now(UTC) - timedelta(days=5)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    done = make_run(state_dir, UNTIL_CAUGHT_UP="1", SANDBOX_OPTIONS=options)
    assert done.returncode == 0, done.stdout
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    fetch_all_of_it_yesterday(state_dir / "archive", yesterday)
    with warehouse_of(state_dir) as warehouse, warehouse.begin() as connection:
        connection.execute(text("SET search_path = getty_images"))
        connection.execute(
            text("TRUNCATE asset_states, asset_metadata, asset_changes, deletions, rejected_changes, change_sets")
        )

    with running_stack(state_dir, options) as stack:
        before = len(reports(state_dir))
        backfill(stack, yesterday)
        wait_until(lambda: len(reports(state_dir)) == before + 4, what="the backfill", seconds=600, pause=2)
        backfill(stack, yesterday)
        wait_until(lambda: len(reports(state_dir)) == before + 8, what="the second backfill", seconds=600, pause=2)
    first, second = reports(state_dir)[before : before + 4], reports(state_dir)[before + 4 :]
    assert marked_processes(state_dir) == []

    assert all(report["rebuilt"] == report["sets"] > 0 for report in first)
    assert [report["changed"] for report in second] == [0, 0, 0, 0]
    truth = truth_of(state_dir, options)
    with warehouse_of(state_dir) as warehouse:
        assert_equals(warehouse, truth)


def fetch_all_of_it_yesterday(archive: Path, yesterday: date) -> None:
    """Date an archive back by a day: a backfill makes no run for a day that is not over."""
    for found in sorted(archive.glob("channel_id=*/fetched_date=*/*.json.gz")):
        stamp, _, rest = found.name.partition("Z-")
        fetched_at = datetime.strptime(stamp, "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
        moved = datetime.combine(yesterday, fetched_at.timetz())
        folder = found.parents[1] / f"fetched_date={yesterday}"
        folder.mkdir(exist_ok=True)
        found.rename(folder / f"{moved:%Y%m%dT%H%M%S%f}Z-{rest}")


def backfill(stack: RunningStack, day: date) -> None:
    """Create a backfill of one day, once the one before is marked as over, which takes Airflow half a minute."""
    midnight = f"{day}T00:00:00Z"
    span = ["--dag-id", DAG, "--from-date", midnight, "--to-date", midnight, "--reprocess-behavior", "completed"]

    def is_created() -> bool:
        done = subprocess.run(
            [str(stack.commands / "airflow"), "backfill", "create", *span],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0 or "AlreadyRunningBackfill" in done.stderr, done.stdout + done.stderr
        return done.returncode == 0

    wait_until(is_created, what="the end of the backfill before", seconds=600, pause=2)


def reports(state_dir: Path) -> list[dict[str, int]]:
    """What the replay tasks returned, in the order of their ends; none of them may have failed."""
    returned = []
    for log in (state_dir / "airflow" / "logs" / f"dag_id={DAG}").glob("**/task_id=replay/**/*.log"):
        for line in filter(None, log.read_text().splitlines()):
            entry = json.loads(line)
            assert entry["event"] != "Task failed with exception", line
            if entry["event"].startswith("Done. Returned value was: {"):
                returned.append((entry["timestamp"], ast.literal_eval(entry["event"].partition(": ")[2])))
    return [report for _, report in sorted(returned, key=lambda each: each[0])]
