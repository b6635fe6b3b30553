"""The warehouse against an independent truth: the sandbox's, computed from its feed alone."""

import pytest
from asset_changes.archive import Archive
from asset_changes.catch_up import catch_up
from asset_changes.client import AssetChangesClient
from asset_changes.steps import Steps
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine, text

from tests.conftest import credentials_for

STATES = "asset_states"
COLUMNS = (
    "asset_id, asset_type, asset_family, channel_id, asset_lifecycle, upserted_at, upsert_change_set_id, "
    "upsert_position, deleted_at, delete_change_set_id, delete_position"
)
COUNTS = "change_count, new_count, update_count, delete_count, superseded_count, rejected_count"


def rows(warehouse: Engine, query: str) -> list[dict[str, object]]:
    with warehouse.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(text(query))]


def spelled(row: dict[str, object]) -> dict[str, object]:
    """Return a row with times as the truth spells them."""
    return {
        key: value.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00") if hasattr(value, "strftime") else value
        for key, value in row.items()
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keys": "camel", "channels_shape": "wrapped", "empty": "204"},
        {"keys": "pascal", "empty": "null"},
        {"seed": 7, "fault_rate": 0.1, "empty": "braces"},
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()) or "default",
)
def test_the_warehouse_equals_the_truth_of_the_feed(
    options: dict[str, object], warehouse: Engine, archive: Archive
) -> None:
    with Sandbox(changes_per_channel=3000, **options) as sandbox:
        client = AssetChangesClient(credentials_for(sandbox))
        for channel in client.get_channels():
            steps = Steps(channel=channel, source=client, archive=archive, warehouse=warehouse)
            while not catch_up(steps, batch_size=500, minutes=1).is_caught_up:
                pass
        truth = sandbox.truth()
    found = [spelled(row) for row in rows(warehouse, f"SELECT {COLUMNS} FROM asset_states ORDER BY asset_id")]
    assert len(found) > 1000
    expected = sorted(truth["asset_states"], key=lambda row: row["asset_id"].encode())
    assert found == expected
    live = rows(warehouse, "SELECT asset_id FROM assets ORDER BY asset_id")
    assert [row["asset_id"] for row in live] == sorted((r["asset_id"] for r in truth["assets"]), key=str.encode)
    sets = rows(warehouse, f"SELECT channel_id, change_set_id, {COUNTS} FROM change_sets")
    told = [{name: row[name] for name in sets[0]} for row in truth["change_sets"]]
    assert sorted(sets, key=str) == sorted(told, key=str)
