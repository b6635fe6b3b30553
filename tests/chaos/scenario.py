"""A scenario: one feed is read to its end by workers that are killed all the time, then the tables are compared.

After that the archive is replayed into the same warehouse, and into an empty one, by workers that are killed too; both
must end in the same tables.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from pathlib import Path
from signal import SIGKILL, SIGSTOP, SIGTERM

from asset_changes.models import Channel
from asset_changes.warehouse.engine import connect, transaction
from asset_changes.warehouse.migrate import migrate
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import Connection

from tests.chaos.comparison import Comparison, compare, compare_archive, compare_confirmed
from tests.chaos.fault_points import LOAD, POINTS_OF
from tests.chaos.worker import Environment, Job, Kind
from tests.chaos.workers import LIVE, REQUIRED, PlannedJob, Tally, WorkerPool

SCHEMA = "getty_images"
ALONE = [kind for kind in REQUIRED if kind.signal_sent in (SIGTERM, SIGSTOP)]
_KILLS_PER_REPLAY = 4  # two at a time
_SLOW = 1.5  # seconds: an archive that is slower than the load in parallel, on a busy machine too


@dataclass(kw_only=True)
class Scenario:
    """One feed, one warehouse, one archive, and as many kills as the feed lasts for."""

    name: str
    seed: int
    folder: Path
    postgres: EmbeddedPostgres
    tally: Tally
    changes_per_channel: int = 2000
    observed: Comparison = field(default_factory=Comparison)

    def run(self, kills: int) -> Comparison:
        """Kill so many workers, or as many as the feed lasts for, then compare."""
        self.rng = random.Random(f"kills {self.seed}")
        self.pool = WorkerPool(self.tally, self.rng)
        goal = self.tally.kills + kills
        with Sandbox(seed=self.seed, changes_per_channel=self.changes_per_channel, span_days=3.0) as self.sandbox:
            self.channels = [
                Channel(channel_id=c.channel_id, asset_family=c.asset_family, asset_type=c.asset_type)
                for c in self.sandbox.options.channels
            ]
            environment = self._new_environment(self.name)
            while (open_channels := self._open_channels()) and not self.is_over:
                if self.tally.kills >= goal and not self._still_missing():
                    break
                self._run_workers(environment, open_channels)
                self._check_from_outside(environment)
            self._finish(environment)
            if self.tally.failures:  # the feed is not read to its end: nothing can be compared
                return self.observed
            comparison = self._compare(environment)
            self._replay(environment)
            comparison += self._compare(environment, is_first=False)
            empty = self._new_environment(f"{self.name}_rebuilt", is_live=False)
            self._replay(empty)
            return comparison + self._compare(empty, is_first=False) + self.observed

    @property
    def is_over(self) -> bool:
        """Whether something has gone wrong that no further kill makes clearer."""
        return bool(self.tally.failures) or not self.observed.is_clean

    def _still_missing(self, ways: Sequence[str] = LIVE) -> list[Kind]:
        """What must still hit a worker, in random order."""
        due = [kind for kind in self.tally.missing if kind.way in ways]
        return self.rng.sample(due, len(due))

    def _run_workers(self, environment: Environment, channels: list[Channel]) -> None:
        """Run one worker alone, two under a server that crashes, or some in parallel."""
        due, chance = self._still_missing(), self.rng.random()
        if alone := [kind for kind in due if kind in ALONE] or (chance < 0.06 and self.rng.sample(ALONE, 1)):
            self._alone(environment, self.rng.choice(channels), alone[0])
        elif chance < 0.12:
            plan = [
                PlannedJob(job=Job(environment=environment, channel=each, kind=Kind("catch_up")))
                for each in channels[:2]
            ]
            self.pool.run(plan, crashes=self.postgres)
        else:
            chosen = self.rng.sample(channels, min(2, len(channels)))
            if self.rng.random() < 0.3:
                chosen.append(chosen[0])
            self.pool.run([self._plan_job(environment, channel, due.pop() if due else None) for channel in chosen])

    def _alone(self, environment: Environment, channel: Channel, kind: Kind) -> None:
        """Send one worker its signal while it has a set; after SIGTERM it finishes that set and no other."""
        before = len(self.sandbox.confirmed_ids(channel.channel_id))
        planned = PlannedJob(job=Job(environment=environment, channel=channel, kind=kind))
        self.pool.run([planned], crashes=self.postgres if kind.signal_sent == SIGSTOP else None)
        finished = len(self.sandbox.confirmed_ids(channel.channel_id)) - before
        if kind.signal_sent == SIGTERM and (finished != 1 or self.sandbox.outstanding(channel.channel_id)):
            self.tally.failures.append(f"{kind}: {finished} sets were confirmed after it, not the one that it had")

    def _plan_job(self, environment: Environment, channel: Channel, due: Kind | None) -> PlannedJob:
        """What is due, at once, or something random."""
        kind, takes = due or self._any(), self.rng.choice((0.0, 0.0, self.rng.uniform(0.0, 0.1)))
        if kind == Kind("catch_up", "before archive", SIGKILL):
            takes = _SLOW  # a commit that did not wait for it would be there
        job = Job(
            environment=environment,
            channel=channel,
            kind=kind,
            nth=1 if due else self.rng.randint(1, 2),
            archive_takes=takes,
            clock_is_off=timedelta(hours=self.rng.choice((0, 0, -5, 5))),
        )
        return PlannedJob(job=job, after=self.rng.uniform(0.0, 0.3))

    def _any(self) -> Kind:
        way, chance = self.rng.choice(LIVE), self.rng.random()
        if chance < 0.7:
            return Kind(way, self.rng.choice(POINTS_OF[way]), SIGKILL)
        return Kind(way, None, SIGKILL if chance < 0.95 else SIGTERM)

    def _finish(self, environment: Environment) -> None:
        """Read the rest with workers that are not killed."""
        while (channels := self._open_channels()) and not self.tally.failures:
            for channel in channels:
                job = Job(environment=environment, channel=channel, kind=Kind("catch_up"), most_sets=1_000_000)
                self.pool.run([PlannedJob(job=job)])

    def _replay(self, environment: Environment) -> None:
        """Replay the whole archive, killed a few times first."""
        for _ in range(_KILLS_PER_REPLAY // 2):
            due = self._still_missing(["replay"])
            chosen = self.rng.sample(self.channels, 2)
            self.pool.run([self._plan_replay(environment, each, due.pop() if due else None) for each in chosen])
            self._check_from_outside(environment)
        for channel in self.channels:
            self.pool.run([PlannedJob(job=Job(environment=environment, channel=channel, kind=Kind("replay")))])

    def _plan_replay(self, environment: Environment, channel: Channel, due: Kind | None) -> PlannedJob:
        kind = due or Kind("replay", self.rng.choice((*LOAD, None, None)), SIGKILL)
        return PlannedJob(
            job=Job(environment=environment, channel=channel, kind=kind), after=self.rng.uniform(0.0, 0.2)
        )

    def _check_from_outside(self, environment: Environment) -> None:
        """Check while no worker runs that what is known is archived, and what is confirmed is loaded."""
        with self._warehouse(environment) as connection:
            self.observed += compare_archive(connection)
            if environment.is_live:
                confirmed = [self.sandbox.confirmed_ids(channel.channel_id) for channel in self.channels]
                self.observed += compare_confirmed(connection, chain(*confirmed))

    def _compare(self, environment: Environment, *, is_first: bool = True) -> Comparison:
        with self._warehouse(environment) as connection:
            comparison = compare(connection, self.sandbox.truth())
        if not is_first:  # the same sets once more
            comparison.sets = comparison.changes = comparison.redelivered = 0
        return comparison

    def _new_environment(self, name: str, *, is_live: bool = True) -> Environment:
        url = self.postgres.create_database(name).render_as_string(hide_password=False)
        engine = connect(url, schema=SCHEMA)
        migrate(engine, schema=SCHEMA)
        engine.dispose()
        return Environment(
            api_url=self.sandbox.url,
            token_url=self.sandbox.token_url,
            api_key=self.sandbox.client_id,
            secret=self.sandbox.client_secret,
            warehouse_url=url,
            schema=SCHEMA,
            archive_uri=f"file://{self.folder}/archive-{self.name}",
            error_log=self.folder / "errors.log",
            is_live=is_live,
        )

    @contextmanager
    def _warehouse(self, environment: Environment) -> Iterator[Connection]:
        engine = connect(environment.warehouse_url, schema=SCHEMA)
        with transaction(engine) as connection:
            yield connection
        engine.dispose()

    def _open_channels(self) -> list[Channel]:
        """The channels that have something left to hand out."""
        pending = {each["channel_id"] for each in self.sandbox.progress()["channels"] if each["pending"]}
        return [channel for channel in self.channels if channel.channel_id in pending]


def run_scenarios(
    tally: Tally,
    *,
    kills: int,
    seed: int,
    folder: Path,
    changes_per_channel: int = 2000,
    report: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run scenarios until enough workers were killed and every required kind has hit one; compare the tables."""
    comparison = Comparison()
    postgres = EmbeddedPostgres(folder / "postgres", durable=True)
    try:
        postgres.start()
        for number in range(1_000):
            left = kills - tally.kills
            if (left <= 0 and not tally.missing) or tally.failures or not comparison.is_clean:
                break
            scenario = Scenario(
                name=f"scenario_{number}",
                seed=seed * 1_000 + number,
                folder=folder,
                postgres=postgres,
                tally=tally,
                changes_per_channel=changes_per_channel,
            )
            # Some kills are left for the replays at the end of the scenario.
            comparison += scenario.run(max(1, left - 2 * _KILLS_PER_REPLAY))
            report(f"scenario {number + 1}: {tally.kills} of {kills} kills, {comparison.sets} change sets")
    finally:
        postgres.remove()
    return comparison
