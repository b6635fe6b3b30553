"""What a worker that may be killed does: the core's steps against Getty and the warehouse, with perils around them.

A worker is forked from a server that has imported everything once, so a kill costs milliseconds. It shares nothing with
its parent but its orders and a pipe that closes when it dies.
"""

import logging
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from asset_changes.archive import Archive
from asset_changes.clock import Clock
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.models import Channel
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import connect
from sqlalchemy import Engine
from upath import UPath

from tests.chaos.perils import PerilousArchive, PerilousSource, Perils, surround
from tests.chaos.wrong_clock import put_off_by

MOST_SETS = 12
"""A worker that nobody kills leaves the rest to the next one."""


@dataclass(frozen=True, kw_only=True)
class PageUrls:
    """Where Getty, the warehouse and the archive are."""

    api_url: str
    token_url: str
    api_key: str
    secret: str
    warehouse_url: str
    schema: str
    archive_uri: str
    complaints: Path
    """The file that workers write to when they end with an error."""
    is_live: bool = True
    """Whether this warehouse reads from Getty; the other one is rebuilt from the archive."""


class Kind(NamedTuple):
    """A way of working, and the signal that comes at one of its points; without a point at any time, or none."""

    way: str
    point: str | None = None
    comes: signal.Signals | None = None

    def __str__(self) -> str:
        return f"{self.way}: {self.comes.name if self.comes else 'nothing'} {self.point or 'at random'}"


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What one worker is to do; the signal comes when the point is reached for the nth time."""

    place: PageUrls
    channel: Channel
    kind: Kind
    nth: int = 1
    batch_size: int = 50
    most_sets: int = MOST_SETS
    archive_takes: float = 0.0
    clock_is_off: timedelta = timedelta()


def work(orders: Orders, tells: Connection) -> None:
    """Do as ordered; ends with status 0, 1 after an error, or by a signal."""
    is_told_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: is_told_to_stop.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    log = logging.FileHandler(orders.place.complaints)
    logging.basicConfig(
        level=logging.ERROR, handlers=[log], format=f"%(process)d {orders.kind} %(message)s", force=True
    )

    def strike() -> None:
        tells.send_bytes(b"struck")
        os.kill(os.getpid(), orders.kind.comes or signal.SIGKILL)

    put_off_by(orders.clock_is_off)
    perils = Perils(strike)
    perils.arm(orders.kind.point, nth=orders.nth)
    warehouse = connect(orders.place.warehouse_url, schema=orders.place.schema)
    surround(warehouse, perils)
    archive = PerilousArchive(UPath(orders.place.archive_uri), perils, takes=orders.archive_takes)
    tells.send_bytes(b"started")
    try:
        if orders.kind.way == "replay":
            _replay(orders.channel, archive, warehouse)
            return
        clock = WarehouseClock(warehouse)
        source = _source(orders.place, clock, perils)
        steps = ChannelContext(channel=orders.channel, source=source, archive=archive, warehouse=warehouse, clock=clock)
        if orders.kind.way == "steps":
            _step_by_step(steps, orders, is_told_to_stop)
        else:
            _catch_up(steps, orders, is_told_to_stop)
    except Exception:
        logging.exception("channel %d ended", orders.channel.channel_id)
        raise SystemExit(1) from None


def _step_by_step(steps: ChannelContext, orders: Orders, is_told_to_stop: list[int]) -> None:
    """Do what the tasks of runs do: fetch, load, confirm."""
    for _ in range(orders.most_sets):
        fetched = None if is_told_to_stop else fetch(steps, batch_size=orders.batch_size)
        if fetched is None:
            return
        load(steps, fetched)
        confirm(steps, fetched)


def _catch_up(steps: ChannelContext, orders: Orders, is_told_to_stop: list[int]) -> None:
    """Do what the task `catch_up` does, for so many sets."""
    asked = iter(range(orders.most_sets))
    catch_up(
        steps,
        batch_size=orders.batch_size,
        minutes=2,
        stops=lambda: bool(is_told_to_stop) or next(asked, None) is None,
    )


def _replay(channel: Channel, archive: Archive, warehouse: Engine) -> None:
    since, until = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    replay(channel, archive=archive, warehouse=warehouse, since=since, until=until)


def _source(place: PageUrls, clock: Clock, perils: Perils) -> PerilousSource:
    credentials = Credentials(
        api_key=place.api_key, secret=place.secret, api_url=place.api_url, token_url=place.token_url
    )
    return PerilousSource(AssetChangesClient(credentials, clock=clock), perils)
