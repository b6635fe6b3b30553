"""A watchdog with a clock that tests may set, and a notifier that keeps what it is sent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from asset_changes.archive import Archive
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.monitoring.alerts import Alert
from asset_changes.monitoring.monitor import MonitorResult, watch
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.pipeline.archive_check import compare_all_channels
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import transaction
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine, text

from tests.conftest import credentials_for
from tests.dags.installation import Installation, install, renew

PAGE = "https://airflow.example.com/asset-changes"


@dataclass
class Watchdog:
    """Watches one warehouse; `sent` are the messages that arrived."""

    warehouse: Engine
    archive: Archive
    settings: WatchSettings = WatchSettings(replay_hours=9_999)  # noqa: RUF009 - frozen; no night passes here
    sent: list[Alert] = field(default_factory=list)
    confirms: bool = True
    lookups_per_day: int | None = 10_000
    keeps_metadata: bool = True

    def watch(
        self, *, later: timedelta = timedelta(), notify: Callable[[Alert], None] | str | None = "keep"
    ) -> MonitorResult:
        """Watch once, as if so much later."""
        now = datetime.now(UTC) + later
        return watch(
            self.warehouse,
            compare_archive=partial(
                compare_all_channels, archive=self.archive, now=now, days=self.settings.archive_days
            ),
            settings=self.settings,
            now=now,
            notify=self.sent.append if notify == "keep" else notify,  # type: ignore[arg-type]
            confirms=self.confirms,
            lookups_per_day=self.lookups_per_day,
            keeps_metadata=self.keeps_metadata,
            page=PAGE,
        )

    @property
    def messages(self) -> list[tuple[str, bool]]:
        """Condition and whether it was an all-clear, of each message, in order."""
        return [(alert.condition, alert.is_over) for alert in self.sent]


@dataclass
class Feed:
    """Channel 3001 and what befalls it."""

    context: ChannelContext
    sandbox: Sandbox

    def says(self, *lifecycles: str, at: datetime | None = None, **keys: Any) -> None:
        """Let Getty hand out these changes, of assets 1, 2, 3 and so on."""
        changed_at = (at or datetime.now(UTC)).isoformat()
        message = {"asset_type": "Image", "asset_changed_utc_datetime": changed_at, **keys}
        self.sandbox.append(
            3001,
            [
                {"id": str(number), "asset_lifecycle": lifecycle} | message
                for number, lifecycle in enumerate(lifecycles, 1)
            ],
        )

    def discover(self, getty: Sandbox | None = None) -> None:
        """Keep which channels Getty lists, this one or another, and which it lists no more."""
        client = AssetChangesClient(credentials_for(getty or self.sandbox))
        listed = client.get_channels()
        client.close()
        with transaction(self.context.warehouse) as connection:
            known = connection.scalars(text("SELECT channel_id FROM channels")).all()
            ledger.upsert_channels(connection, listed)
            ledger.retire_channels(connection, sorted(set(known) - {each.channel_id for each in listed}))

    def catch_up(self) -> None:
        """Read the channel to its end."""
        assert catch_up(self.context, batch_size=100, minutes=1).is_caught_up

    def sql(self, statement: str, **values: Any) -> None:
        """Change the ledger behind everybody's back."""
        with transaction(self.context.warehouse) as connection:
            connection.execute(text(statement), values)


@pytest.fixture
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Airflow, with the DAGs of this checkout and nothing else."""
    return renew(install(tmp_path_factory.getbasetemp() / "airflow"))


@pytest.fixture
def watchdog(warehouse: Engine, archive: Archive) -> Watchdog:
    """A watchdog with the default thresholds, except that nobody waits for the nightly replay."""
    return Watchdog(warehouse=warehouse, archive=archive)


@pytest.fixture
def unread_feed(context: ChannelContext, sandbox: Sandbox) -> Feed:
    """Channel 3001, discovered and never asked."""
    with transaction(context.warehouse) as connection:
        ledger.upsert_channels(connection, [context.channel])
    return Feed(context, sandbox)


@pytest.fixture
def feed(unread_feed: Feed) -> Feed:
    """Channel 3001, discovered and caught up a second ago."""
    unread_feed.says("New")
    unread_feed.catch_up()
    return unread_feed
