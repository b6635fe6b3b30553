"""What a history is made of: Getty, the warehouse, the archive, and workers that do one step at a time."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from asset_changes.errors import NotLoaded
from asset_changes.models import Delivery, PreparedSet
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext, ReceivedSet
from asset_changes.pipeline.fetch import fetch, reconcile_confirmations, record_in_ledger, request_and_archive
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import Replayed, replay
from asset_changes.pipeline.transform import transform
from asset_changes.warehouse.engine import in_transaction
from sqlalchemy import Engine, text
from upath import UPath

from tests.chaos.fault_points import FaultInjector, FaultyArchive, FaultySource
from tests.core.doubles import STATE
from tests.model.getty import InMemoryGetty, WorkerClient
from tests.model.reference import CHANNELS, DAY, EVIDENCE, HandedOut, deleted_ids, evidence, expected_state, registers

WORKERS = {"first": 3001, "second": 3001, "sibling": 3003}
TABLES = ("asset_states", "asset_changes", "deletions", "rejected_changes", "change_sets", "channels")
_OF_THE_WRITE = ("loaded_at", "was_live")  # of a row's last write, not of its asset
_PARTS = ("new_count", "update_count", "delete_count", "superseded_count", "rejected_count")


class Killed(BaseException):
    """A worker died; nothing but the test catches this."""


def die() -> None:
    """What a fault does here."""
    raise Killed


class CountingArchive(FaultyArchive):
    """An archive that counts the messages that it keeps of each set; `meanwhile` runs once, after a set was read."""

    meanwhile: Callable[[], object] | None = None

    def __init__(self, root: UPath, faults: FaultInjector) -> None:
        super().__init__(root, faults)
        self.kept: Counter[str] = Counter()

    def write(self, uri: str, body: bytes, **more: Any) -> None:
        """Write, and count what is there afterwards, also where the worker dies."""
        try:
            super().write(uri, body, **more)
        finally:
            if self.exists(uri):
                change_set_id, changes = json.loads(super().read_delivery(uri, received_at=DAY).body).values()
                self.kept[change_set_id] = max(self.kept[change_set_id], len(changes))

    def read_delivery(self, uri: str, *, received_at: datetime) -> Delivery:
        """Read, then let other workers run."""
        delivery = super().read_delivery(uri, received_at=received_at)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        return delivery


@dataclass
class Worker:
    """A worker, how far it is with its change set, and what it has of it in memory."""

    context: ChannelContext
    stage: str = "idle"
    received: ReceivedSet | None = None
    requested_at: datetime = field(default=DAY)

    def forget(self) -> None:
        """Lose everything that is in memory."""
        self.stage, self.received = "idle", None


class World:
    """Two workers on one channel, one on its sibling, and what must always hold."""

    def __init__(self, warehouse: Engine, faults: FaultInjector, root: UPath) -> None:
        self.warehouse, self.faults = warehouse, faults
        self.getty = InMemoryGetty(channels=CHANNELS, on_confirm=self.check_loaded)
        self.archive, self.elsewhere = (CountingArchive(root / name, faults) for name in ("archive", "elsewhere"))
        self.workers = {name: Worker(self._context(channel_id)) for name, channel_id in WORKERS.items()}
        self.empty()

    def _context(self, channel_id: int) -> ChannelContext:
        return ChannelContext(
            channel=CHANNELS[channel_id],
            source=FaultySource(WorkerClient(self.getty), self.faults),
            archive=self.archive,
            warehouse=self.warehouse,
            clock=self.getty.now,
        )

    def use_two_deployments(self) -> None:
        """It shares the warehouse with the first worker and has an archive of its own."""
        self.getty.never_grows = True
        second = self.workers["second"]
        second.context = replace(second.context, archive=self.elsewhere)

    # What workers and operators do.

    @contextmanager
    def with_fault(self, name: str | None, fault: str | None, *, nth: int = 1) -> Iterator[None]:
        """Let a worker meet a fault; it forgets what it had in memory."""
        self.faults.arm(fault, nth=nth)
        try:
            yield
        except Killed:
            if name:
                self.workers[name].forget()
        finally:
            self.faults.arm(None)

    def empty(self) -> None:
        """Lose everything that is in the warehouse."""
        for each in self.getty.sets.values():
            each.loaded = 0
        with self.warehouse.begin() as connection:
            for table in TABLES:
                connection.execute(text(f"DELETE FROM {table}"))  # quicker than TRUNCATE for a few rows

    def replay(self, channel_id: int, archive: CountingArchive | None = None) -> Replayed:
        """Replay all that an archive has of a channel; all that it had at the beginning is loaded then."""
        archive = archive or self.archive
        kept = {each: archive.kept[each] for each in archive.kept if self.getty.sets[each].channel_id == channel_id}
        since, until = DAY, self.getty.now() + timedelta(days=1)
        done = replay(CHANNELS[channel_id], archive=archive, warehouse=self.warehouse, since=since, until=until)
        self.loaded_sets()
        short = {each for each in kept if self.getty.sets[each].loaded < kept[each]}
        assert not short, f"the archive has more of {short} than the tables after a replay"
        return done

    def next_step(self, name: str, *, from_archive: bool = False) -> None:
        """Let a worker do the next step of its change set."""
        worker = self.workers[name]
        context, received, stage = worker.context, worker.received, worker.stage
        if stage == "idle":
            worker.requested_at = context.clock()
            worker.received = request_and_archive(context, batch_size=2)
            worker.stage = "delivered"
        elif stage == "delivered":
            worker.received = in_transaction(
                context.warehouse, partial(record_in_ledger, context=context, received=received)
            )
            worker.stage = "recorded"
        elif stage == "recorded":
            assert worker.requested_at
            reconcile_confirmations(context, received, asked_at=worker.requested_at)
            worker.stage = "reconciled" if received else "idle"
        elif received and stage == "reconciled":
            if self.is_due(received):  # a set that is not loaded is not confirmed, whoever asks
                with pytest.raises(NotLoaded):
                    confirm(context, received.ref)
            load(context, received.ref, None if from_archive else prepared_from(context, received))
            worker.stage = "loaded"
        elif received:
            worker.forget()
            try:
                confirm(context, received.ref)
            except NotLoaded:  # a longer delivery made the set due for loading again
                assert self.is_due(received)

    def next_steps(self, name: str, times: int) -> None:
        """Let a worker do its next steps."""
        for _ in range(times):
            self.next_step(name)

    def finish(self) -> None:
        """Let all workers finish and catch up, and replay the archive: nothing that was handed out to us is missing."""
        self.faults.arm(None)
        self.getty.time_passed += timedelta(hours=1)  # whatever was fetched is in the past, by any clock
        self.getty.grows, self.getty.meanwhile, self.archive.meanwhile = False, None, None
        for name, worker in self.workers.items():
            while worker.stage != "idle":
                self.next_step(name)
        for worker in self.workers.values():
            assert catch_up(worker.context, batch_size=3, minutes=1).is_caught_up
        self.check()
        assert not self.rows("SELECT FROM change_sets WHERE loaded_at IS NULL OR confirmed_at IS NULL")
        for archive in (self.archive, self.elsewhere):
            for channel_id in CHANNELS:
                self.replay(channel_id, archive)
        self.check()
        for each in self.getty.sets.values():
            assert each.loaded == self.kept(each)
            assert each.loaded or each.is_taken, f"{each} was confirmed and never archived"

    # What must always hold.

    def check(self) -> None:
        """The tables equal the model of what is loaded, and the ledger is sound."""
        self.check_tables()
        self.check_ledger()

    def check_tables(self) -> None:
        """Every table holds what the model says of the loaded sets, and nothing else."""
        sets = self.loaded_sets()
        assert self.states() == {asset_id: expected_state(*both) for asset_id, both in registers(sets).items()}
        assert not deleted_ids(sets) & {row["asset_id"] for row in self.rows("SELECT asset_id FROM assets")}
        for table, expected in evidence(sets).items():
            found = self.rows(f"SELECT channel_id, change_set_id, position, {EVIDENCE[table]} FROM {table}")
            assert sorted((tuple(row.values()) for row in found), key=repr) == expected

    def check_ledger(self) -> None:
        """Confirmed implies loaded, archived and no longer handed out; counts add up; numbers are unique."""
        rows = self.rows("SELECT * FROM change_sets ORDER BY channel_id, channel_seq")
        for row in rows:
            assert self.archive.exists(row["archive_uri"]) or self.elsewhere.exists(row["archive_uri"])
            if row["confirmed_at"]:
                assert row["loaded_at"]
                assert not self.getty.is_outstanding(row["change_set_id"])
            assert row["change_count"] == sum(row[part] for part in _PARTS)
        for channel_id in CHANNELS:
            sequence = [row["channel_seq"] for row in rows if row["channel_id"] == channel_id and row["channel_seq"]]
            assert len(sequence) == len(set(sequence))

    def check_loaded(self, each: HandedOut, received: int) -> None:
        """When a set is confirmed, all messages that the worker had received of it are committed."""
        self.check_tables()
        assert each.loaded >= received, f"{each} is confirmed, but {received} of its messages had been handed out"

    def loaded_sets(self) -> list[HandedOut]:
        """What is loaded, by the ledger's counts: as much as was once handed out, kept, and never less than before."""
        found = []
        for row in self.rows("SELECT change_set_id, change_count FROM change_sets WHERE channel_seq IS NOT NULL"):
            each, count = self.getty.sets[row["change_set_id"]], row["change_count"]
            assert count in each.sizes
            assert each.loaded <= count <= self.kept(each)
            each.loaded = count
            found.append(HandedOut(each.channel_id, each.change_set_id, each.messages[:count]))
        return found

    def kept(self, each: HandedOut) -> int:
        """How many messages of a set are archived."""
        return max(self.archive.kept[each.change_set_id], self.elsewhere.kept[each.change_set_id])

    def is_due(self, received: ReceivedSet) -> bool:
        """Say whether the ledger has the set, not loaded."""
        query = "SELECT loaded_at FROM change_sets WHERE change_set_id = :id"
        return [row["loaded_at"] for row in self.rows(query, id=received.ref.change_set_id)] == [None]

    def states(self) -> dict[str, Any]:
        """The asset states, as the model writes them."""
        return {row.pop("asset_id"): row for row in self.rows(STATE)}

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """The rows of a query."""
        with self.warehouse.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(text(query), values)]


def prepared_from(context: ChannelContext, received: ReceivedSet) -> PreparedSet:
    """The rows of a received set, from memory."""
    return transform(received.deliveries, channel=context.channel, ref=received.ref)


def run(context: ChannelContext) -> None:
    """Do what the tasks of one run do: fetch, load, confirm."""
    if ref := fetch(context, batch_size=2):
        load(context, ref)
        confirm(context, ref)
