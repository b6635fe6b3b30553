"""A load that waits: for a lock of somebody else, or inside its transaction; the alert says for whom."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.warehouse.engine import connect
from sqlalchemy import Connection, Engine, text

from tests.conftest import SCHEMA
from tests.waiting import DEADLINE_SECONDS, wait_for_lock_waits
from tests.watch.conftest import Feed, Watchdog

LATER = timedelta(minutes=11)


@dataclass
class Crossing:
    """Somebody with psql, who has begun a transaction and gone to lunch."""

    connection: Connection

    @property
    def pid(self) -> int:
        return int(self.connection.scalar(text("SELECT pg_backend_pid()")) or 0)


@pytest.fixture
def psql(warehouse: Engine) -> Iterator[Crossing]:
    engine = connect(warehouse.url, schema=SCHEMA, application_name="psql")
    with engine.connect() as connection:
        yield Crossing(connection)
        connection.rollback()
    engine.dispose()


@contextmanager
def catching_up(feed: Feed) -> Iterator[None]:
    """Read the channel in a thread, in a session that names its channel, until the block ends."""

    url, name = feed.context.warehouse.url, "asset_changes channel=3001"
    context = replace(feed.context, warehouse=connect(url, schema=SCHEMA, application_name=name))
    feed.says("Delete")
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(catch_up(context, batch_size=100, minutes=10).is_caught_up))
    thread.start()
    yield
    thread.join(timeout=DEADLINE_SECONDS)
    context.warehouse.dispose()
    assert done == [True]


@pytest.mark.parametrize(
    "lock",
    [
        "UPDATE channels SET lifecycles = lifecycles WHERE channel_id = 3001",
        "LOCK TABLE asset_states IN SHARE MODE",
    ],
)
def test_a_delete_that_waits_for_a_lock_names_its_holder(
    lock: str, feed: Feed, watchdog: Watchdog, psql: Crossing
) -> None:
    psql.connection.execute(text(lock))
    with catching_up(feed):
        wait_for_lock_waits(feed.context.warehouse)
        watchdog.watch()
        assert watchdog.messages == []
        watchdog.watch(later=LATER)
        [alert] = [alert for alert in watchdog.sent if alert.condition == "blocked"]
        assert "has waited for 11 minutes" in alert.what
        assert f"waits for a lock of pid {psql.pid} (psql, in a transaction since " in alert.what
        psql.connection.rollback()
    watchdog.watch()
    assert [alert.is_over for alert in watchdog.sent if alert.condition == "blocked"] == [False, True]


def test_a_load_whose_archive_is_slow_is_a_load_that_waits(feed: Feed, watchdog: Watchdog, warehouse: Engine) -> None:
    engine = connect(warehouse.url, schema=SCHEMA, application_name="psql")
    with engine.connect() as connection:
        connection.execute(text("SET application_name = 'asset_changes channel=3001'"))
        watchdog.watch(later=LATER)
    engine.dispose()
    [alert] = [alert for alert in watchdog.sent if alert.condition == "blocked"]
    assert "waits inside its transaction, as for an archive that is slow" in alert.what


def test_other_sessions_that_wait_are_not_ours(feed: Feed, watchdog: Watchdog, psql: Crossing) -> None:
    psql.connection.execute(text("SELECT 1"))
    watchdog.watch(later=LATER)
    assert "blocked" not in [condition for condition, _ in watchdog.messages]
