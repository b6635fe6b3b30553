"""Two deployments on one warehouse, each with an archive of its own: whoever does what, the tables are right."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import AssetChangesError
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.models import Channel
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import connect, transaction
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import URL, Engine
from upath import UPath

from tests.chaos.comparison import compare
from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, SCHEMA, credentials_for
from tests.core.doubles import rows

CHANNELS = (EDITORIAL_IMAGES, EDITORIAL_FILM)  # they carry the same assets


class Deployment:
    """Its own archive and connections; the warehouse is everybody's."""

    def __init__(self, sandbox: Sandbox, warehouse_url: URL, root: Path) -> None:
        self.warehouse = connect(warehouse_url, schema=SCHEMA)
        self.archive = Archive(UPath(f"file://{root}"))
        self._sandbox = sandbox

    def context(self, channel: Channel = EDITORIAL_IMAGES) -> ChannelContext:
        """What a new worker works with; it does not try again."""
        clock = WarehouseClock(self.warehouse)
        client = AssetChangesClient(credentials_for(self._sandbox), retry_seconds=0, clock=clock)
        return ChannelContext(
            channel=channel, source=client, archive=self.archive, warehouse=self.warehouse, clock=clock
        )

    def read_to_the_end(self, channel: Channel) -> None:
        """Start workers until one is caught up."""
        for _ in range(100):
            try:
                if catch_up(self.context(channel), batch_size=20, minutes=1).is_caught_up:
                    return
            except AssetChangesError:
                continue
        raise AssertionError("it never came to an end")

    def replay(self) -> int:
        """Replay the whole archive; return how many rows that has changed."""
        since, until = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
        done = [
            replay(each, archive=self.archive, warehouse=self.warehouse, since=since, until=until) for each in CHANNELS
        ]
        assert sum(each.sets for each in done), "there was nothing to replay"
        return sum(each.changed for each in done)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A Getty that fails as often as a test says; what was cut off is handed out again."""
    faults = ("lost_put_response", "connection_cut", "cut_body", "lost_delete_response")
    with Sandbox(changes_per_channel=400, fault_rate=getattr(request, "param", 0.0), faults=faults) as sandbox:
        yield sandbox


@pytest.fixture
def both(sandbox: Sandbox, warehouse_url: URL, tmp_path: Path) -> Iterator[list[Deployment]]:
    """Two deployments."""
    both = [Deployment(sandbox, warehouse_url, tmp_path / name) for name in ("one", "other")]
    yield both
    for each in both:
        each.warehouse.dispose()


def assert_in_step(warehouse: Engine, sandbox: Sandbox) -> None:
    with transaction(warehouse) as connection:
        found = compare(connection, sandbox.truth())
    assert found.is_clean, found.examples


@pytest.mark.parametrize("sandbox", [0.2], indirect=True, ids=["one call in five fails"])
def test_two_that_read_the_same_channels_end_in_the_truth(
    both: list[Deployment], sandbox: Sandbox, warehouse: Engine
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Deployment.read_to_the_end, both * 2, [*CHANNELS, *reversed(CHANNELS)]))
    assert_in_step(warehouse, sandbox)
    ledger = rows(warehouse, "SELECT confirmed_at, redelivered_count FROM change_sets")
    assert len(ledger) == 40
    assert all(row["confirmed_at"] for row in ledger)
    assert any(row["redelivered_count"] for row in ledger)
    assert [each.replay() for each in both] == [0, 0]


@pytest.mark.parametrize("was_loaded", [False, True], ids=["fetched", "loaded"])
def test_what_one_has_begun_the_other_finishes(
    was_loaded: bool, both: list[Deployment], sandbox: Sandbox, warehouse: Engine
) -> None:
    """The first one finds it done."""
    one, other = both
    begun = fetch(one.context(), batch_size=20)
    assert begun is not None
    if was_loaded:
        load(one.context(), begun)
    again = fetch(other.context(), batch_size=20)
    assert again is not None
    assert again == begun
    load(other.context(), again)
    assert confirm(other.context(), again)
    other.read_to_the_end(EDITORIAL_IMAGES)

    assert load(one.context(), begun).confirmed_at is not None
    assert not confirm(one.context(), begun)
    assert_in_step(warehouse, sandbox)
    assert [each.replay() for each in both] == [0, 0]
