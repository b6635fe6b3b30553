"""What a worker that may be killed does: the core's steps against Getty and the warehouse, with faults injected.

A worker is forked from a server that has imported everything once, so a kill costs milliseconds. It shares
only its job and a pipe with its parent.
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

from tests.chaos.fault_points import FaultInjector, FaultyArchive, FaultySource, inject_into
from tests.chaos.wrong_clock import shift_clock

MOST_SETS = 12
"""A worker that nobody kills leaves the rest to the next one."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where Getty, the warehouse and the archive are."""

    api_url: str
    token_url: str
    api_key: str
    secret: str
    warehouse_url: str
    schema: str
    archive_uri: str
    error_log: Path
    """The file that workers write to when they end with an error."""
    is_live: bool = True
    """Whether this warehouse reads from Getty; the other one is rebuilt from the archive."""


class Kind(NamedTuple):
    """A way of working, and the signal at one of its points; without a point at a random time, or none."""

    way: str
    point: str | None = None
    signal_sent: signal.Signals | None = None

    def __str__(self) -> str:
        return f"{self.way}: {self.signal_sent.name if self.signal_sent else 'nothing'} {self.point or 'at random'}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one worker does; the signal comes when the point is reached for the nth time."""

    environment: Environment
    channel: Channel
    kind: Kind
    nth: int = 1
    batch_size: int = 50
    most_sets: int = MOST_SETS
    archive_takes: float = 0.0
    clock_is_off: timedelta = timedelta()


def work(job: Job, sender: Connection) -> None:
    """Do the job; ends with status 0, 1 after an error, or by a signal."""
    stop_signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop_signals.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    log = logging.FileHandler(job.environment.error_log)
    logging.basicConfig(level=logging.ERROR, handlers=[log], format=f"%(process)d {job.kind} %(message)s", force=True)

    def fail() -> None:
        sender.send_bytes(b"failing")
        os.kill(os.getpid(), job.kind.signal_sent or signal.SIGKILL)

    shift_clock(job.clock_is_off)
    faults = FaultInjector(fail)
    faults.arm(job.kind.point, nth=job.nth)
    warehouse = connect(job.environment.warehouse_url, schema=job.environment.schema)
    inject_into(warehouse, faults)
    archive = FaultyArchive(UPath(job.environment.archive_uri), faults, takes=job.archive_takes)
    sender.send_bytes(b"started")
    try:
        if job.kind.way == "replay":
            _replay(job.channel, archive, warehouse)
            return
        clock = WarehouseClock(warehouse)
        source = _source(job.environment, clock, faults)
        context = ChannelContext(channel=job.channel, source=source, archive=archive, warehouse=warehouse, clock=clock)
        if job.kind.way == "steps":
            _step_by_step(context, job, stop_signals)
        else:
            _catch_up(context, job, stop_signals)
    except Exception:
        logging.exception("channel %d ended", job.channel.channel_id)
        raise SystemExit(1) from None


def _step_by_step(context: ChannelContext, job: Job, stop_signals: list[int]) -> None:
    """Do what the tasks of runs do: fetch, load, confirm."""
    for _ in range(job.most_sets):
        ref = None if stop_signals else fetch(context, batch_size=job.batch_size)
        if ref is None:
            return
        load(context, ref)
        confirm(context, ref)


def _catch_up(context: ChannelContext, job: Job, stop_signals: list[int]) -> None:
    """Do what the task `catch_up` does, for so many sets."""
    asked = iter(range(job.most_sets))
    catch_up(
        context,
        batch_size=job.batch_size,
        minutes=2,
        stops=lambda: bool(stop_signals) or next(asked, None) is None,
    )


def _replay(channel: Channel, archive: Archive, warehouse: Engine) -> None:
    since, until = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    replay(channel, archive=archive, warehouse=warehouse, since=since, until=until)


def _source(environment: Environment, clock: Clock, faults: FaultInjector) -> FaultySource:
    credentials = Credentials(
        api_key=environment.api_key,
        secret=environment.secret,
        api_url=environment.api_url,
        token_url=environment.token_url,
    )
    return FaultySource(AssetChangesClient(credentials, clock=clock), faults)
