"""Any interleaving of deliveries, crashes, workers and strangers, against a reference model of ten lines.

Getty is an object in memory, the warehouse a real Postgres. Workers go on step by step, each at any time, and die
between any two instructions. After every step the tables equal the model of what is loaded; once all is finished, the
model of all that Getty handed out to us.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from asset_changes import steps as core
from asset_changes.catch_up import catch_up
from asset_changes.delivery import InHand, Steps, deliver, record
from asset_changes.errors import NotLoaded
from asset_changes.replay import Replayed, replay
from asset_changes.warehouse.connection import connect, in_transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import URL, Engine, text
from upath import UPath

from tests.chaos.perils import CONFIRM, FETCH, LOAD, POINTS, PerilousArchive, PerilousSource, Perils, surround
from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, SCHEMA
from tests.model.getty import DAY, SPELLINGS, Getty, HandedOut, Message, dead, registers

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
"""How many histories are tried: 0 is a few, always the same ones; `make chaos` tries many new ones."""

CHANNELS = {channel.channel_id: channel for channel in (EDITORIAL_IMAGES, EDITORIAL_FILM)}
TABLES = ("asset_states", "asset_changes", "deletions", "rejected_changes", "change_sets", "channels")
WORKERS = {"first": 3001, "second": 3001, "sibling": 3003}

PERILS = {
    "idle": FETCH[:4],
    "delivered": FETCH[4:],
    "recorded": ("before stamp", "after stamp", "before load", "after load"),
    "settled": LOAD,
    "loaded": CONFIRM,
}
"""The instants of each stage of a worker's change set."""

some_messages = st.lists(
    st.builds(
        Message,
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["New", "Update", "Delete"]),
        st.integers(1, 5),
    ),
    min_size=2,
    max_size=9,
)
channel_ids = st.sampled_from(sorted(CHANNELS))
worker_names = st.sampled_from(sorted(WORKERS))
spellings = st.sampled_from(SPELLINGS)


class Move(NamedTuple):
    """One worker does the next step of its change set; the peril is one of those of its stage, or none."""

    name: str
    peril: int
    spelling: str
    grows: bool
    from_archive: bool


moves = st.builds(Move, worker_names, st.integers(-9, 5), spellings, st.booleans(), st.booleans())


class Killed(BaseException):
    """A worker died; nothing but the test catches this."""


def die() -> None:
    """What a peril does here."""
    raise Killed


@dataclass
class Worker:
    """A worker, how far it is with its change set, and what it holds of it in memory."""

    steps: Steps
    stage: str = "idle"
    in_hand: InHand | None = None
    asked_at: datetime = DAY

    def forget(self) -> None:
        """Lose everything that is in memory."""
        self.stage, self.in_hand = "idle", None


class Histories(RuleBasedStateMachine):
    """Two workers on one channel, one on its sibling, and whatever may happen to them."""

    def __init__(self, warehouse: Engine, perils: Perils, root: UPath) -> None:
        super().__init__()
        self.warehouse, self.perils = warehouse, perils
        self.getty = Getty(channels=CHANNELS, on_confirm=self.check_loaded)
        source, archive = PerilousSource(self.getty, perils), PerilousArchive(root, perils)
        self.workers = {
            name: Worker(Steps(channel=CHANNELS[channel_id], source=source, archive=archive, warehouse=warehouse))
            for name, channel_id in WORKERS.items()
        }
        self.archive = archive
        self.empty()

    # What happens.

    @initialize(image=some_messages, film=some_messages)
    def both_channels_have_something_to_tell(self, image: list[Message], film: list[Message]) -> None:
        self.getty.tell(3001, image)
        self.getty.tell(3003, film)

    @rule(channel_id=channel_ids, told=some_messages)
    def changes_are_told(self, channel_id: int, told: list[Message]) -> None:
        self.getty.tell(channel_id, told)

    @rule(channel_id=channel_ids)
    def somebody_else_confirms(self, channel_id: int) -> None:
        self.getty.confirm_behind_our_back(channel_id)

    @rule(moves=st.lists(moves, min_size=1, max_size=8))
    def workers_go_on(self, moves: list[Move]) -> None:
        for name, index, spelling, grows, from_archive in moves:
            self.getty.spelling, self.getty.grows = spelling, grows
            points = PERILS[self.workers[name].stage]
            with self.surviving(name, points[index % len(points)] if index >= 0 else None):
                self.go_on(name, from_archive=from_archive)
            self.the_tables_equal_the_model()
            self.the_ledger_is_sound()

    @rule(name=worker_names, peril=st.none() | st.sampled_from(POINTS), nth=st.integers(1, 3), spelling=spellings)
    def a_worker_catches_up(self, name: str, peril: str | None, nth: int, spelling: str) -> None:
        self.getty.spelling, self.getty.grows = spelling, False
        self.workers[name].forget()
        with self.surviving(name, peril, nth=nth):
            assert catch_up(self.workers[name].steps, batch_size=3, minutes=1).is_caught_up

    @rule(name=worker_names, rival=worker_names, peril=st.none() | st.sampled_from(CONFIRM), spelling=spellings)
    def one_asks_while_the_other_confirms(self, name: str, rival: str, peril: str | None, spelling: str) -> None:
        if name != rival and self.workers[name].stage == "loaded":
            self.getty.spelling, self.getty.grows = spelling, True
            self.getty.meanwhile = lambda: self.go_on(rival)
            with self.surviving(name, peril):
                self.go_on(name)
            self.getty.meanwhile = None

    @rule(
        name=worker_names,
        rival=worker_names,
        further=st.integers(1, 3),
        peril=st.none() | st.sampled_from(FETCH[:4]),
        nth=st.integers(1, 2),
    )
    def both_are_handed_the_same_set(self, name: str, rival: str, further: int, peril: str | None, nth: int) -> None:
        if name != rival and self.workers[name].stage == self.workers[rival].stage == "idle":
            self.getty.grows = False
            self.getty.meanwhile = lambda: [self.go_on(rival) for _ in range(further)] and None
            with self.surviving(name, peril, nth=nth):
                self.go_on(name)
            self.getty.meanwhile = None

    @rule(channel_id=channel_ids, peril=st.none() | st.sampled_from(LOAD))
    def the_archive_is_replayed(self, channel_id: int, peril: str | None) -> None:
        with self.surviving(None, peril):
            self.replay(channel_id)
            assert self.replay(channel_id).changed == 0

    @rule()
    def the_warehouse_is_rebuilt(self) -> None:
        before = self.loaded_sets()
        for worker in self.workers.values():
            worker.forget()
        self.empty()
        for channel_id in CHANNELS:
            self.replay(channel_id)
        after = {each.change_set_id: each for each in self.loaded_sets()}
        assert all(after[each.change_set_id].messages[: len(each.messages)] == each.messages for each in before)

    @rule(name=worker_names)
    def a_worker_dies(self, name: str) -> None:
        self.workers[name].forget()

    # What must hold at every moment.

    @invariant()
    def the_tables_equal_the_model(self) -> None:
        sets = self.loaded_sets()
        assert self.states() == {asset_id: held(*both) for asset_id, both in registers(sets).items()}
        assert not dead(sets) & {row["asset_id"] for row in self.rows("SELECT asset_id FROM assets")}
        log, rejected, deletions = evidence(sets)
        assert self.keys("asset_changes", "asset_id, asset_lifecycle, changed_at") == log
        assert self.keys("rejected_changes", "asset_id") == rejected
        assert self.keys("deletions", "asset_id, deleted_at") == deletions

    @invariant()
    def the_ledger_is_sound(self) -> None:
        rows = self.rows("SELECT * FROM change_sets ORDER BY channel_id, channel_seq")
        for row in rows:
            assert self.archive.exists(row["archive_uri"])
            if row["confirmed_at"]:
                assert row["loaded_at"]
                assert not self.getty.is_outstanding(row["change_set_id"])
            parts = ("new_count", "update_count", "delete_count", "superseded_count", "rejected_count")
            assert row["change_count"] == sum(row[part] for part in parts)
        for channel_id in CHANNELS:
            sequence = [row["channel_seq"] for row in rows if row["channel_id"] == channel_id and row["channel_seq"]]
            assert sequence == list(range(1, len(sequence) + 1))

    def check_loaded(self, each: HandedOut) -> None:
        """At the instant of a confirmation, everything it gives away is committed."""
        loaded = {row.change_set_id: row for row in self.loaded_sets()}
        assert each.change_set_id in loaded, f"{each} is confirmed and not loaded"
        if not each.is_grown:
            assert loaded[each.change_set_id].messages == each.messages

    def teardown(self) -> None:
        self.perils.arm(None)
        self.getty.grows, self.getty.meanwhile = False, None
        for name, worker in self.workers.items():
            while worker.stage != "idle":
                self.go_on(name)
        for worker in self.workers.values():
            assert catch_up(worker.steps, batch_size=3, minutes=1).is_caught_up
        self.the_tables_equal_the_model()
        self.the_ledger_is_sound()
        loaded = {each.change_set_id: each for each in self.loaded_sets()}
        ledger = {row["change_set_id"]: row for row in self.rows("SELECT * FROM change_sets")}
        for change_set_id, each in self.getty.sets.items():
            if not each.is_taken or change_set_id in ledger:
                assert ledger[change_set_id]["confirmed_at"], f"{each} is not confirmed"
                assert each.is_grown or loaded[change_set_id].messages == each.messages

    # How.

    @contextmanager
    def surviving(self, name: str | None, peril: str | None, *, nth: int = 1) -> Iterator[None]:
        """Let a worker run into a peril; it forgets what it held."""
        self.perils.arm(peril, nth=nth)
        try:
            yield
        except Killed:
            if name:
                self.workers[name].forget()
        finally:
            self.perils.arm(None)

    def empty(self) -> None:
        with self.warehouse.begin() as connection:
            for table in TABLES:
                connection.execute(text(f"DELETE FROM {table}"))  # quicker than TRUNCATE for a few rows

    def replay(self, channel_id: int) -> Replayed:
        now = datetime.now(UTC)
        return replay(
            CHANNELS[channel_id],
            archive=self.archive,
            warehouse=self.warehouse,
            since=now - timedelta(days=1),
            until=now + timedelta(days=1),
        )

    def go_on(self, name: str, *, from_archive: bool = False) -> None:
        """Let a worker do the next step of its change set."""
        worker = self.workers[name]
        steps, in_hand, stage = worker.steps, worker.in_hand, worker.stage
        if stage == "idle":
            worker.asked_at = datetime.now(UTC)
            worker.in_hand = deliver(steps, batch_size=2)
            worker.stage = "delivered"
        elif stage == "delivered":
            worker.in_hand = in_transaction(steps.warehouse, lambda each: record(each, steps, in_hand))
            worker.stage = "recorded"
            self.note_growth(worker.in_hand)
        elif stage == "recorded":
            core.settle(steps, in_hand, asked_at=worker.asked_at)
            worker.stage = "settled" if in_hand else "idle"
        elif in_hand and stage == "settled":
            self.refuses_to_confirm(steps, in_hand)
            core.load(steps, in_hand.fetched, None if from_archive else in_hand.prepared)
            worker.stage = "loaded"
        elif in_hand:
            worker.forget()
            try:
                core.confirm(steps, in_hand.fetched)
            except NotLoaded:  # a longer delivery made the set due for loading again
                assert self.is_due(in_hand)

    def refuses_to_confirm(self, steps: Steps, in_hand: InHand) -> None:
        """A set that is not loaded is not confirmed, whoever asks."""
        if self.is_due(in_hand):
            with pytest.raises(NotLoaded):
                core.confirm(steps, in_hand.fetched)

    def is_due(self, in_hand: InHand) -> bool:
        """Say whether the ledger has the set, not loaded."""
        query = "SELECT loaded_at FROM change_sets WHERE change_set_id = :id"
        return [row["loaded_at"] for row in self.rows(query, id=in_hand.fetched.change_set_id)] == [None]

    def note_growth(self, in_hand: InHand | None) -> None:
        """The ledger has heard of all that the set has grown to."""
        if in_hand:
            each = self.getty.sets[in_hand.fetched.change_set_id]
            each.is_grown = each.is_grown and in_hand.prepared.counts.changes < len(each.messages)

    def loaded_sets(self) -> list[HandedOut]:
        """What Getty handed out, as far as the ledger says it is loaded."""
        rows = self.rows("SELECT change_set_id, change_count FROM change_sets WHERE channel_seq IS NOT NULL")
        found = [(self.getty.sets[row["change_set_id"]], row["change_count"]) for row in rows]
        return [replace(each, messages=each.messages[:count]) for each, count in found]

    def states(self) -> dict[str, Any]:
        """The asset states, as the model spells them."""
        return {row.pop("asset_id"): row for row in self.rows("SELECT * FROM asset_states") if row.pop("loaded_at")}

    def keys(self, table: str, columns: str) -> list[Any]:
        """What a table holds, by set and position."""
        rows = self.rows(f"SELECT channel_id, change_set_id, position, {columns} FROM {table}")
        return sorted((tuple(row.values()) for row in rows), key=repr)

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        with self.warehouse.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(text(query), values)]


def held(upsert: Any, delete: Any) -> dict[str, Any]:
    """Return the row of `asset_states` for two registers."""
    described = upsert or delete
    channel = CHANNELS[described[4]]
    return {
        "asset_type": channel.asset_type if upsert else None,
        "asset_family": channel.asset_family,
        "channel_id": channel.channel_id,
        "asset_lifecycle": upsert and upsert[5],
        "upserted_at": upsert and DAY + timedelta(seconds=upsert[0]),
        "upsert_change_set_id": upsert and upsert[2],
        "upsert_position": upsert and upsert[3],
        "deleted_at": delete and DAY + timedelta(seconds=delete[0]),
        "delete_change_set_id": delete and delete[2],
        "delete_position": delete and delete[3],
    }


def evidence(sets: list[HandedOut]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return what the log, the rejected changes and the deletions hold of these sets."""
    log, rejected, deletions = [], [], []
    for each in sets:
        for position, (asset_id, lifecycle, second) in enumerate(each.messages):
            key, at = (each.channel_id, each.change_set_id, position), DAY + timedelta(seconds=second)
            if asset_id is None:
                rejected.append((*key, None))
                continue
            log.append((*key, asset_id, lifecycle, at))
            if lifecycle == "Delete":
                deletions.append((*key, asset_id, at))
    return sorted(log, key=repr), sorted(rejected, key=repr), sorted(deletions, key=repr)


def test_every_history_ends_in_the_same_tables(warehouse_url: URL, tmp_path: Path) -> None:
    perils, roots = Perils(die), iter(range(1_000_000))
    engine = connect(warehouse_url, schema=SCHEMA)
    surround(engine, perils)
    logging.disable()  # every history warns of what it is made of
    try:
        run_state_machine_as_test(
            lambda: Histories(engine, perils, UPath(f"memory://{tmp_path}/{next(roots)}")),
            settings=settings(
                max_examples=EXAMPLES or 40,
                stateful_step_count=25,
                derandomize=not EXAMPLES,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                # To make a long history short takes minutes: worth it in a search, not in every test run.
                phases=list(Phase) if EXAMPLES else [Phase.generate],
                print_blob=False,
            ),
        )
    finally:
        logging.disable(logging.NOTSET)
        engine.dispose()
