"""Whose clock is right: the warehouse's, whatever a worker's own says."""

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asset_changes.warehouse.clock import WarehouseClock
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import URL, Engine

from tests.conftest import EDITORIAL_IMAGES, credentials_for
from tests.core.doubles import rows, value


def test_the_clock_is_the_warehouses_and_advances(warehouse: Engine) -> None:
    clock = WarehouseClock(warehouse)
    begun = datetime.now(UTC)
    first, second = clock(), clock()
    # The server of the tests is on this machine; the second is for a machine that sets its clock meanwhile.
    assert begun - timedelta(seconds=1) < first <= second < datetime.now(UTC) + timedelta(seconds=1)
    warehouse.dispose()
    assert clock() > second


def test_a_worker_whose_clock_is_days_behind_trusts_fresh_times(
    warehouse: Engine, warehouse_url: URL, tmp_path: Path
) -> None:
    begun = datetime.now(UTC)
    with Sandbox(changes_per_channel=600) as sandbox:
        settings = {
            "warehouse": warehouse_url.render_as_string(hide_password=False),
            "credentials": asdict(credentials_for(sandbox)),
            "archive": f"file://{tmp_path}/archive",
        }
        command = [sys.executable, "-m", "tests.core.jumping_worker", json.dumps(settings)]
        subprocess.run(command, check=True, timeout=600)
        truth = sandbox.truth()
    handed_out = [row for row in truth["change_sets"] if row["channel_id"] == EDITORIAL_IMAGES.channel_id]
    columns = "new_count, update_count, delete_count, superseded_count, rejected_count"
    found = rows(warehouse, f"SELECT change_set_id, {columns} FROM change_sets")
    assert sorted(found, key=str) == sorted(({name: row[name] for name in found[0]} for row in handed_out), key=str)
    newest = value(warehouse, "SELECT max(fetched_at) FROM change_sets")
    assert begun - timedelta(seconds=1) < newest < datetime.now(UTC) + timedelta(seconds=1)
