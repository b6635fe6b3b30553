"""A story: one feed is read to its end by workers that die all the time, then the tables are judged.

After that the archive is replayed into the same warehouse, and into an empty one, by workers that die as well; both
must end in the same tables. Stories of other things that die can stand beside this one: they add to the same tally.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM

from asset_changes.model import Channel
from asset_changes.warehouse.connection import connect, transaction
from asset_changes.warehouse.migrate import migrate
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres

from tests.chaos.crew import Crew, Fate, Tally
from tests.chaos.perils import LOAD, POINTS
from tests.chaos.verdict import Verdict, judge
from tests.chaos.worker import Orders, Place

SCHEMA = "getty_images"
BATCH_SIZE = 50
# In `catch_up` the row of the delivery and the stamp of the try share the load's commit.
_CATCH_UP_POINTS = tuple(point for point in POINTS if point.split()[1] not in ("ledger", "tried"))
_KILLS_PER_REPLAY = 4  # two at a time


@dataclass(kw_only=True)
class Story:
    """One feed, one warehouse, one archive, and as many kills as the feed lasts for."""

    name: str
    seed: int
    folder: Path
    postgres: EmbeddedPostgres
    tally: Tally
    changes_per_channel: int = 2000

    def play(self, kills: int) -> Verdict:
        """Kill so many workers, or as many as the feed lasts for, then judge."""
        self.rng = random.Random(f"fates {self.seed}")
        self.crew = Crew(self.tally, self.rng)
        goal = self.tally.kills.total() + kills
        with Sandbox(seed=self.seed, changes_per_channel=self.changes_per_channel, span_days=3.0) as sandbox:
            self.channels = [
                Channel(channel_id=c.channel_id, asset_family=c.asset_family, asset_type=c.asset_type)
                for c in sandbox.options.channels
            ]
            place = self._place(sandbox, self.name)
            while open_channels := self._open(sandbox):
                if self.tally.kills.total() >= goal or self.tally.failures:
                    break
                self._shift(place, open_channels)
            self._finish(sandbox, place)
            verdict = self._judge(place, sandbox)
            self._replay(place)
            verdict += self._judge(place, sandbox, is_first=False)
            empty = self._place(sandbox, f"{self.name}_rebuilt")
            self._replay(empty)
            return verdict + self._judge(empty, sandbox, is_first=False)

    def _shift(self, place: Place, channels: list[Channel]) -> None:
        """Let two or three workers meet their fates, now and then two of them on one channel."""
        if self.rng.random() < 0.06:
            orders = [Orders(place=place, channel=each, way="catch_up") for each in channels[:2]]
            self.crew.shift([Fate(orders=each) for each in orders], crashes=self.postgres)
            return
        chosen = self.rng.sample(channels, min(2, len(channels)))
        if self.rng.random() < 0.3:
            chosen.append(chosen[0])
        self.crew.shift([self._fate(place, channel) for channel in chosen])

    def _fate(self, place: Place, channel: Channel) -> Fate:
        way = self.rng.choice(("steps", "catch_up"))
        chance = self.rng.random()
        if chance < 0.7:
            point = self.rng.choice(POINTS if way == "steps" else _CATCH_UP_POINTS)
            return Fate(orders=Orders(place=place, channel=channel, way=way, point=point, nth=self.rng.randint(1, 2)))
        orders = Orders(place=place, channel=channel, way=way)
        return Fate(orders=orders, sends=SIGKILL if chance < 0.93 else SIGTERM, after=self.rng.uniform(0.0, 0.3))

    def _finish(self, sandbox: Sandbox, place: Place) -> None:
        """Let workers that nobody kills read the rest."""
        while (channels := self._open(sandbox)) and not self.tally.failures:
            for channel in channels:
                orders = Orders(place=place, channel=channel, way="catch_up", most_sets=1_000_000)
                self.crew.shift([Fate(orders=orders)])

    def _replay(self, place: Place) -> None:
        """Replay the whole archive, killed a few times first."""
        for _ in range(_KILLS_PER_REPLAY // 2):
            self.crew.shift([self._replay_fate(place, each) for each in self.rng.sample(self.channels, 2)])
        for channel in self.channels:
            self.crew.shift([Fate(orders=Orders(place=place, channel=channel, way="replay"))])

    def _replay_fate(self, place: Place, channel: Channel) -> Fate:
        if self.rng.random() < 0.5:
            point = self.rng.choice(LOAD)
            return Fate(orders=Orders(place=place, channel=channel, way="replay", point=point))
        orders = Orders(place=place, channel=channel, way="replay")
        return Fate(orders=orders, sends=SIGKILL, after=self.rng.uniform(0.0, 0.2))

    def _place(self, sandbox: Sandbox, name: str) -> Place:
        url = self.postgres.create_database(name).render_as_string(hide_password=False)
        engine = connect(url, schema=SCHEMA)
        migrate(engine, schema=SCHEMA)
        engine.dispose()
        return Place(
            api_url=sandbox.url,
            token_url=sandbox.token_url,
            api_key=sandbox.client_id,
            secret=sandbox.client_secret,
            warehouse_url=url,
            schema=SCHEMA,
            archive_uri=f"file://{self.folder}/archive-{self.name}",
            complaints=self.folder / "complaints.log",
        )

    def _judge(self, place: Place, sandbox: Sandbox, *, is_first: bool = True) -> Verdict:
        engine = connect(place.warehouse_url, schema=SCHEMA)
        with transaction(engine) as connection:
            verdict = judge(connection, sandbox.truth())
        engine.dispose()
        if not is_first:  # the same sets once more
            verdict.sets = verdict.changes = verdict.redelivered = 0
        return verdict

    def _open(self, sandbox: Sandbox) -> list[Channel]:
        """The channels that have something left to hand out."""
        pending = {each["channel_id"] for each in sandbox.progress()["channels"] if each["pending"]}
        return [channel for channel in self.channels if channel.channel_id in pending]


def play_stories(
    *,
    kills: int,
    seed: int,
    folder: Path,
    changes_per_channel: int = 2000,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Tally, Verdict]:
    """Play stories until so many workers were killed; return what befell them and what became of the tables."""
    tally, verdict = Tally(), Verdict()
    postgres = EmbeddedPostgres(folder / "postgres", durable=True)
    try:
        postgres.start()
        for number in range(1_000):
            left = kills - tally.kills.total()
            if left <= 0 or tally.failures:
                break
            story = Story(
                name=f"story_{number}",
                seed=seed * 1_000 + number,
                folder=folder,
                postgres=postgres,
                tally=tally,
                changes_per_channel=changes_per_channel,
            )
            # Some kills are left for the replays at the end of the story.
            verdict += story.play(max(1, left - 2 * _KILLS_PER_REPLAY))
            tell(f"story {number + 1}: {tally.kills.total()} of {kills} kills, {verdict.sets} change sets")
    finally:
        postgres.remove()
    return tally, verdict
