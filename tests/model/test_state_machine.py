"""Any interleaving of deliveries, crashes, workers and other consumers, against a small reference model.

Getty is an object in memory, the warehouse a real Postgres. Workers do one step at a time, in any order, and die
between any two instructions; a replay reads ahead while they do. After every step the tables equal the model of what is
loaded; once all is finished, the model of all that Getty handed out to us.
"""

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from asset_changes.lookup.enqueue import Scope, enqueue
from asset_changes.lookup.look_up import look_up
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.warehouse.engine import connect
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import URL, Engine, text
from upath import UPath

from tests.chaos.fault_points import CONFIRM, FETCH, LOAD, POINTS, POINTS_OF, FaultInjector, inject_into
from tests.chaos.time_limit import time_limit
from tests.conftest import SCHEMA
from tests.core.lookup_doubles import EveryAsset, KnowingGetty, lookups
from tests.model.getty import SPELLINGS
from tests.model.reference import CHANNELS, DAY, Message
from tests.model.world import WORKERS, World, die, run

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
"""How many histories are tried: 0 is a few, always the same ones; `make chaos` tries many new ones."""

FAULTS = {
    "idle": FETCH[:4],
    "delivered": FETCH[4:],
    "recorded": ("before stamp", "after stamp", "before load", "after load"),
    "reconciled": LOAD,
    "loaded": CONFIRM,
}
"""The fault points of each stage of a worker's change set."""

some_messages = st.lists(
    st.builds(
        Message,
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["New", "Update", "Delete"]),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=6,
)
channel_ids = st.sampled_from(sorted(CHANNELS))
worker_names = st.sampled_from(sorted(WORKERS))
spellings = st.sampled_from(SPELLINGS)


class Move(NamedTuple):
    """One worker does the next step of its change set; the fault is one of those of its stage, or none."""

    name: str
    fault: int
    spelling: str
    grows: bool
    from_archive: bool


moves = st.builds(Move, worker_names, st.integers(-9, 5), spellings, st.booleans(), st.booleans())


_METADATA_OF_THE_DEAD = "SELECT asset_id FROM asset_metadata WHERE asset_id NOT IN (SELECT asset_id FROM assets)"


class Histories(World, RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self, warehouse: Engine, faults: FaultInjector, root: UPath) -> None:
        RuleBasedStateMachine.__init__(self)
        World.__init__(self, warehouse, faults, root)

    @initialize(image=some_messages, film=some_messages, minutes=st.sampled_from([0, 20]), are_two=st.booleans())
    def both_channels_have_changes(
        self, image: list[Message], film: list[Message], minutes: int, are_two: bool
    ) -> None:
        self.getty.ahead = timedelta(minutes=minutes)
        if are_two:
            self.use_two_deployments()
        self.getty.append(3001, image)
        self.getty.append(3003, film)

    @rule(channel_id=channel_ids, messages=some_messages)
    def changes_are_added(self, channel_id: int, messages: list[Message]) -> None:
        self.getty.append(channel_id, messages)

    @rule(name=worker_names, messages=some_messages, hours=st.integers(1, 6), further=st.integers(0, 4))
    def a_worker_starts_hours_later(self, name: str, messages: list[Message], hours: int, further: int) -> None:
        self.getty.time_passed += timedelta(hours=hours)
        now = int((self.getty.now() - DAY).total_seconds())
        self.getty.append(WORKERS[name], [each._replace(second=now - each.second) for each in messages])
        self.getty.grows = True
        self.workers[name].forget()
        self.next_steps(name, further)

    @rule(channel_id=channel_ids)
    def somebody_else_confirms(self, channel_id: int) -> None:
        self.getty.confirm_by_other_consumer(channel_id)

    @rule(moves=st.lists(moves, min_size=1, max_size=8))
    def workers_continue(self, moves: list[Move]) -> None:
        for name, index, spelling, grows, from_archive in moves:
            self.getty.spelling, self.getty.grows = spelling, grows
            points = FAULTS[self.workers[name].stage]
            with self.with_fault(name, points[index % len(points)] if index >= 0 else None):
                self.next_step(name, from_archive=from_archive)
            self.check()

    @rule(name=worker_names, fault=st.none() | st.sampled_from(POINTS), spelling=spellings, grows=st.booleans())
    def a_run_starts_again(self, name: str, fault: str | None, spelling: str, grows: bool) -> None:
        self.getty.spelling, self.getty.grows = spelling, grows
        self.workers[name].forget()
        with self.with_fault(name, fault):
            run(self.workers[name].context)

    @rule(
        name=worker_names,
        fault=st.none() | st.sampled_from(POINTS_OF["catch_up"]),
        nth=st.integers(1, 3),
        spelling=spellings,
    )
    def a_worker_catches_up(self, name: str, fault: str | None, nth: int, spelling: str) -> None:
        self.getty.spelling, self.getty.grows = spelling, False
        self.workers[name].forget()
        with self.with_fault(name, fault, nth=nth):
            assert catch_up(self.workers[name].context, batch_size=3, minutes=1).is_caught_up

    @rule(name=worker_names, rival=worker_names, fault=st.none() | st.sampled_from(CONFIRM), spelling=spellings)
    def one_fetches_while_the_other_confirms(self, name: str, rival: str, fault: str | None, spelling: str) -> None:
        if name != rival and self.workers[name].stage == "loaded":
            self.getty.spelling, self.getty.grows = spelling, True
            self.getty.meanwhile = lambda: self.next_step(rival)
            with self.with_fault(name, fault):
                self.next_step(name)
            self.getty.meanwhile = None

    @rule(
        name=worker_names,
        rival=worker_names,
        further=st.integers(1, 8),
        fault=st.none() | st.sampled_from(FETCH[:4]),
        nth=st.integers(1, 2),
    )
    def both_are_handed_the_same_set(self, name: str, rival: str, further: int, fault: str | None, nth: int) -> None:
        if name != rival and self.workers[name].stage == self.workers[rival].stage == "idle":
            self.getty.grows = False
            self.getty.meanwhile = lambda: self.next_steps(rival, further)
            with self.with_fault(name, fault, nth=nth):
                self.next_step(name)
            self.getty.meanwhile = None

    @rule(channel_id=channel_ids, fault=st.none() | st.sampled_from(LOAD))
    def the_archive_is_replayed(self, channel_id: int, fault: str | None) -> None:
        with self.with_fault(None, fault):
            self.replay(channel_id)
            assert self.replay(channel_id).changed == 0

    @rule(name=worker_names, further=st.integers(1, 4), spelling=spellings)
    def a_replay_has_read_ahead_when_a_worker_starts(self, name: str, further: int, spelling: str) -> None:
        self.getty.spelling, self.getty.grows = spelling, True
        self.workers[name].forget()
        self.archive.meanwhile = lambda: self.next_steps(name, further)
        self.replay(WORKERS[name])
        self.archive.meanwhile = None

    @rule()
    def the_warehouse_is_rebuilt(self) -> None:
        for worker in self.workers.values():
            worker.forget()
        self.empty()
        for archive in (self.archive, self.elsewhere):
            for channel_id in CHANNELS:
                self.replay(channel_id, archive)

    @rule(name=worker_names, further=st.integers(0, 6))
    def assets_are_looked_up(self, name: str, further: int) -> None:
        """While the first answer is on the way, a worker continues."""
        getty = KnowingGetty(EveryAsset())

        def meanwhile() -> None:
            getty.meanwhile = lambda: None
            self.next_steps(name, further)

        getty.meanwhile = meanwhile
        enqueue(self.warehouse, Scope(connections={"getty": frozenset(CHANNELS)}, reconcile_days=0))
        look_up(lookups(self.warehouse, getty, channel_ids=CHANNELS), minutes=1)

    @rule(name=worker_names)
    def a_worker_dies(self, name: str) -> None:
        self.workers[name].forget()

    @invariant()
    def everything_holds(self) -> None:
        self.check()

    @invariant()
    def no_dead_asset_has_metadata(self) -> None:
        with self.warehouse.connect() as connection:
            assert not connection.scalars(text(_METADATA_OF_THE_DEAD)).all()

    def teardown(self) -> None:
        self.finish()


def test_every_history_ends_in_the_same_tables(warehouse_url: URL, tmp_path: Path) -> None:
    faults, roots = FaultInjector(die), iter(range(1_000_000))
    engine = connect(warehouse_url, schema=SCHEMA)
    inject_into(engine, faults)
    logging.disable()  # every history logs warnings
    try:
        with time_limit():
            run_state_machine_as_test(
                # hypothesis takes any callable that makes a machine.
                lambda: Histories(engine, faults, UPath(f"memory://{tmp_path}/{next(roots)}")),  # type: ignore[arg-type]
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
