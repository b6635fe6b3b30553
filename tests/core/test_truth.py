"""The warehouse against an independent truth: the sandbox's, computed from its feed alone."""

import pytest
from asset_changes.archive import Archive
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine

from tests.chaos.comparison import KEYS, compare
from tests.conftest import credentials_for


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
            context = ChannelContext(channel=channel, source=client, archive=archive, warehouse=warehouse)
            while not catch_up(context, batch_size=500, minutes=1).is_caught_up:
                pass
        truth = sandbox.truth()
    with warehouse.connect() as connection:
        found = compare(connection, truth)
    assert found.is_clean, found.examples
    assert found.changes == 4 * 3000
    assert all(truth[table] for table in KEYS), "nothing was compared"
