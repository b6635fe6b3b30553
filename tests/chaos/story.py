"""A story: one feed is read to its end by workers that die all the time, then the tables are judged.

After that the archive is replayed into the same warehouse, and into an empty one, by workers that die as well; both
must end in the same tables. Stories of other things that die can stand beside this one: they add to the same tally.
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

from tests.chaos.crew import LIVE, MUST, Crew, Fate, Tally
from tests.chaos.perils import LOAD, POINTS_OF
from tests.chaos.verdict import Verdict, judge, judge_archive, judge_confirmed
from tests.chaos.worker import Kind, Orders, PageUrls

SCHEMA = "getty_images"
ALONE = [kind for kind in MUST if kind.comes in (SIGTERM, SIGSTOP)]
_KILLS_PER_REPLAY = 4  # two at a time
_SLOW = 0.3  # seconds: an archive that is slower than the load beside it


@dataclass(kw_only=True)
class Story:
    """One feed, one warehouse, one archive, and as many kills as the feed lasts for."""

    name: str
    seed: int
    folder: Path
    postgres: EmbeddedPostgres
    tally: Tally
    changes_per_channel: int = 2000
    seen: Verdict = field(default_factory=Verdict)

    def play(self, kills: int) -> Verdict:
        """Kill so many workers, or as many as the feed lasts for, then judge."""
        self.rng = random.Random(f"fates {self.seed}")
        self.crew = Crew(self.tally, self.rng)
        goal = self.tally.kills + kills
        with Sandbox(seed=self.seed, changes_per_channel=self.changes_per_channel, span_days=3.0) as self.sandbox:
            self.channels = [
                Channel(channel_id=c.channel_id, asset_family=c.asset_family, asset_type=c.asset_type)
                for c in self.sandbox.options.channels
            ]
            place = self._place(self.name)
            while (open_channels := self._open()) and not self.is_over:
                if self.tally.kills >= goal and not self._due():
                    break
                self._shift(place, open_channels)
                self._look(place)
            self._finish(place)
            if self.tally.failures:  # the feed is not read to its end: nothing can be compared
                return self.seen
            verdict = self._judge(place)
            self._replay(place)
            verdict += self._judge(place, is_first=False)
            empty = self._place(f"{self.name}_rebuilt", is_live=False)
            self._replay(empty)
            return verdict + self._judge(empty, is_first=False) + self.seen

    @property
    def is_over(self) -> bool:
        """Whether something has gone wrong that no further kill makes clearer."""
        return bool(self.tally.failures) or not self.seen.is_clean

    def _due(self, ways: Sequence[str] = LIVE) -> list[Kind]:
        """What must still befall a worker, in an order of chance."""
        due = [kind for kind in self.tally.missing if kind.way in ways]
        return self.rng.sample(due, len(due))

    def _shift(self, place: PageUrls, channels: list[Channel]) -> None:
        """Let workers meet their fates: one alone, two under a server that crashes, or some beside each other."""
        due, chance = self._due(), self.rng.random()
        if alone := [kind for kind in due if kind in ALONE] or (chance < 0.06 and self.rng.sample(ALONE, 1)):
            self._alone(place, self.rng.choice(channels), alone[0])
        elif chance < 0.12:
            fates = [Fate(orders=Orders(place=place, channel=each, kind=Kind("catch_up"))) for each in channels[:2]]
            self.crew.shift(fates, crashes=self.postgres)
        else:
            chosen = self.rng.sample(channels, min(2, len(channels)))
            if self.rng.random() < 0.3:
                chosen.append(chosen[0])
            self.crew.shift([self._fate(place, channel, due.pop() if due else None) for channel in chosen])

    def _alone(self, place: PageUrls, channel: Channel, kind: Kind) -> None:
        """Let one worker meet its fate with a set in hand; one that is told to stop finishes that one, and no other."""
        before = len(self.sandbox.confirmed_ids(channel.channel_id))
        fate = Fate(orders=Orders(place=place, channel=channel, kind=kind))
        self.crew.shift([fate], crashes=self.postgres if kind.comes == SIGSTOP else None)
        finished = len(self.sandbox.confirmed_ids(channel.channel_id)) - before
        if kind.comes == SIGTERM and (finished != 1 or self.sandbox.outstanding(channel.channel_id)):
            self.tally.failures.append(f"{kind}: {finished} sets were confirmed after it, not the one in hand")

    def _fate(self, place: PageUrls, channel: Channel, due: Kind | None) -> Fate:
        """What is due, at once, or anything."""
        kind, takes = due or self._any(), self.rng.choice((0.0, 0.0, self.rng.uniform(0.0, 0.1)))
        if kind == Kind("catch_up", "before archive", SIGKILL):
            takes = _SLOW  # a commit that did not wait for it would be there
        orders = Orders(
            place=place,
            channel=channel,
            kind=kind,
            nth=1 if due else self.rng.randint(1, 2),
            archive_takes=takes,
            clock_is_off=timedelta(hours=self.rng.choice((0, 0, -5, 5))),
        )
        return Fate(orders=orders, after=self.rng.uniform(0.0, 0.3))

    def _any(self) -> Kind:
        way, chance = self.rng.choice(LIVE), self.rng.random()
        if chance < 0.7:
            return Kind(way, self.rng.choice(POINTS_OF[way]), SIGKILL)
        return Kind(way, None, SIGKILL if chance < 0.95 else SIGTERM)

    def _finish(self, place: PageUrls) -> None:
        """Let workers that nobody kills read the rest."""
        while (channels := self._open()) and not self.tally.failures:
            for channel in channels:
                orders = Orders(place=place, channel=channel, kind=Kind("catch_up"), most_sets=1_000_000)
                self.crew.shift([Fate(orders=orders)])

    def _replay(self, place: PageUrls) -> None:
        """Replay the whole archive, killed a few times first."""
        for _ in range(_KILLS_PER_REPLAY // 2):
            due = self._due(["replay"])
            chosen = self.rng.sample(self.channels, 2)
            self.crew.shift([self._replay_fate(place, each, due.pop() if due else None) for each in chosen])
            self._look(place)
        for channel in self.channels:
            self.crew.shift([Fate(orders=Orders(place=place, channel=channel, kind=Kind("replay")))])

    def _replay_fate(self, place: PageUrls, channel: Channel, due: Kind | None) -> Fate:
        kind = due or Kind("replay", self.rng.choice((*LOAD, None, None)), SIGKILL)
        return Fate(orders=Orders(place=place, channel=channel, kind=kind), after=self.rng.uniform(0.0, 0.2))

    def _look(self, place: PageUrls) -> None:
        """Look from outside, while nobody works, whether what is known is archived and what is confirmed is loaded."""
        with self._warehouse(place) as connection:
            self.seen += judge_archive(connection)
            if place.is_live:
                confirmed = [self.sandbox.confirmed_ids(channel.channel_id) for channel in self.channels]
                self.seen += judge_confirmed(connection, chain(*confirmed))

    def _judge(self, place: PageUrls, *, is_first: bool = True) -> Verdict:
        with self._warehouse(place) as connection:
            verdict = judge(connection, self.sandbox.truth())
        if not is_first:  # the same sets once more
            verdict.sets = verdict.changes = verdict.redelivered = 0
        return verdict

    def _place(self, name: str, *, is_live: bool = True) -> PageUrls:
        url = self.postgres.create_database(name).render_as_string(hide_password=False)
        engine = connect(url, schema=SCHEMA)
        migrate(engine, schema=SCHEMA)
        engine.dispose()
        return PageUrls(
            api_url=self.sandbox.url,
            token_url=self.sandbox.token_url,
            api_key=self.sandbox.client_id,
            secret=self.sandbox.client_secret,
            warehouse_url=url,
            schema=SCHEMA,
            archive_uri=f"file://{self.folder}/archive-{self.name}",
            complaints=self.folder / "complaints.log",
            is_live=is_live,
        )

    @contextmanager
    def _warehouse(self, place: PageUrls) -> Iterator[Connection]:
        engine = connect(place.warehouse_url, schema=SCHEMA)
        with transaction(engine) as connection:
            yield connection
        engine.dispose()

    def _open(self) -> list[Channel]:
        """The channels that have something left to hand out."""
        pending = {each["channel_id"] for each in self.sandbox.progress()["channels"] if each["pending"]}
        return [channel for channel in self.channels if channel.channel_id in pending]


def play_stories(
    tally: Tally,
    *,
    kills: int,
    seed: int,
    folder: Path,
    changes_per_channel: int = 2000,
    tell: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Play stories until so many workers were killed, and everything that must has befallen some; judge the tables."""
    verdict = Verdict()
    postgres = EmbeddedPostgres(folder / "postgres", durable=True)
    try:
        postgres.start()
        for number in range(1_000):
            left = kills - tally.kills
            if (left <= 0 and not tally.missing) or tally.failures or not verdict.is_clean:
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
            tell(f"story {number + 1}: {tally.kills} of {kills} kills, {verdict.sets} change sets")
    finally:
        postgres.remove()
    return verdict
