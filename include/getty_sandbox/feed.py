"""The backlog: small scenarios of assets, put into the channels in the order of time.

A scenario is what happens to one asset (it appears, is deleted, comes back). It makes drafts: what each change
means. How a draft is written on the wire, sometimes badly, is decided in `encode`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from getty_sandbox.options import Channel

SECOND = 1_000_000  # times are whole microseconds since 1970: cheap, and exact

# Words that some parser, spreadsheet or COPY takes for something else. Each is an asset once.
_TREACHEROUS_IDS = (
    "NA", "nan", "null", "None", "true", "\\N", "\\.", "''", "=1+1", "-", "0", "1e5", "{}", "%s", "NULL",
    "'; drop table asset_states; --",
)  # fmt: skip
_ODD_IDS = (
    "O'Hara-{n}", "{n};select", "'; drop table assets; --{n}", '"{n}"', "ünï-{n}-照片", "{n},{n}", "a\\b{n}",
    "{n}e5", "00{n}", "🎞{n}", "x y {n}", "$${n}$$",
)  # fmt: skip


class Draft(NamedTuple):
    """What one change means: what happened to which asset, and when."""

    at: int
    lifecycle: str
    asset_id: str
    asset_type: str | None


class FeedGenerator:
    """Runs scenarios until every channel has enough drafts."""

    def __init__(self, *, seed: int, channels: Sequence[Channel], start_us: int, span_us: int, nastiness: float):
        """A generator of one seed: the same arguments give the same feed."""
        self.rng = random.Random(f"stories {seed}")
        self.channels = channels
        self.start, self.span = start_us, span_us
        self.drafts: dict[int, list[Draft]] = {channel.channel_id: [] for channel in channels}
        self.living: dict[int, list[tuple[str, str]]] = {channel.channel_id: [] for channel in channels}
        self.made = 0
        self.treacherous = list(_TREACHEROUS_IDS)
        self.nastiness = nastiness
        plain: list[tuple[Callable[[Channel, int], None], float]] = [
            (self.appears, 30), (self.is_updated, 52), (self.is_deleted, 7),
        ]  # fmt: skip
        nasty: list[tuple[Callable[[Channel, int], None], float]] = [
            (self.is_updated_before_it_is_new, 1.0),
            (self.unknown_is_deleted, 1.0),
            (self.is_deleted_in_both_siblings, 2.0),
            (self.is_deleted_in_the_sibling_alone, 1.5),
            (self.changes_in_quick_succession, 1.5),
            (self.comes_back, 1.0),
            (self.is_updated_and_deleted_at_once, 0.7),
            (self.is_deleted_twice, 0.5),
            (self.moves_to_another_channel, 0.5),
        ]
        self.scenarios = [scenario for scenario, _ in plain + nasty]
        self.weights = [w for _, w in plain] + [w * nastiness for _, w in nasty]

    def generate(self, changes_per_channel: int) -> dict[int, list[Draft]]:
        """Exactly so many drafts per channel, ascending in time."""
        counts = self.drafts
        if not changes_per_channel:
            return counts
        gap = self.span / changes_per_channel
        while True:
            own = min(self.channels, key=lambda channel: len(counts[channel.channel_id]))
            count = len(counts[own.channel_id])
            if count >= changes_per_channel:
                break
            # Film lags behind Image: at the same count of messages its changes are older. So a Delete that
            # only the Image channel has is read before the older Updates of the Film channel.
            share = (count / changes_per_channel) ** (1.0 if own.asset_type == "Image" else 1.7)
            at = self.start + int(share * self.span + self.rng.random() * gap)
            self.rng.choices(self.scenarios, self.weights)[0](own, at)
        return {key: sorted(drafts, key=lambda d: d.at)[:changes_per_channel] for key, drafts in counts.items()}

    # What scenarios are made of.

    def add_draft(self, channel: Channel, at: int, lifecycle: str, asset_id: str, asset_type: str | None) -> None:
        """One draft in one channel, never after the end of the backlog."""
        at = min(at, self.start + self.span)
        self.drafts[channel.channel_id].append(Draft(at, lifecycle, asset_id, asset_type))

    def random_delay(self, most_seconds: int) -> int:
        return int((1 + self.rng.random() * (most_seconds - 1)) * SECOND)

    def new_asset(self, channel: Channel) -> tuple[str, str]:
        """A new asset: its id and its type."""
        self.made += 1
        n, chance = 1_176_000_000 + self.made * 7 + int(self.rng.random() * 7), self.rng.random()
        asset_type = "Music" if chance < 0.003 * min(self.nastiness, 1) else channel.asset_type
        if chance > 0.994 and self.nastiness:
            if self.treacherous and self.rng.random() < 0.2:
                return self.treacherous.pop(), asset_type
            return self.rng.choice(_ODD_IDS).format(n=n), asset_type
        if chance > 0.9935 and self.nastiness:
            return "L" * 245 + str(n), asset_type  # 255 characters: the longest that is an id
        return (f"{n}-{int(chance * 1000):03d}" if chance > 0.94 else str(n)), asset_type

    def living_asset(self, channel: Channel, *, is_leaving: bool = False) -> tuple[str, str] | None:
        """A living asset of the channel, usually a recent one; one that leaves gets no further change."""
        living = self.living[channel.channel_id]
        if not living:
            return None
        index = len(living) - 1 - int(self.rng.random() ** 2 * len(living))
        if not is_leaving:
            return living[index]
        living[index], living[-1] = living[-1], living[index]
        return living.pop()

    def sibling(self, own: Channel) -> Channel | None:
        """The channel of the same family and another type."""
        for other in self.channels:
            if other.asset_family == own.asset_family and other.asset_type != own.asset_type:
                return other
        return None

    # The scenarios.

    def appears(self, own: Channel, at: int) -> None:
        asset = self.new_asset(own)
        self.add_draft(own, at, "New", *asset)
        self.living[own.channel_id].append(asset)

    def is_updated(self, own: Channel, at: int) -> None:
        asset = self.living_asset(own) if self.rng.random() < 0.5 else None
        if asset is None:  # most of a catalogue is older than any backlog
            asset = self.new_asset(own)
            self.living[own.channel_id].append(asset)
        self.add_draft(own, at, "Update", *asset)

    def is_deleted(self, own: Channel, at: int) -> None:
        asset = self.living_asset(own, is_leaving=True) or self.new_asset(own)
        self.add_draft(own, at, "Delete", asset[0], asset[1] if self.rng.random() < 0.7 else None)

    def is_updated_before_it_is_new(self, own: Channel, at: int) -> None:
        asset = self.new_asset(own)
        self.add_draft(own, at, "Update", *asset)
        self.add_draft(own, at + self.random_delay(7200), "New", *asset)

    def unknown_is_deleted(self, own: Channel, at: int) -> None:
        asset_id, asset_type = self.new_asset(own)
        self.add_draft(own, at, "Delete", asset_id, asset_type if self.rng.random() < 0.5 else None)

    def is_deleted_in_both_siblings(self, own: Channel, at: int) -> None:
        asset = self.living_asset(own, is_leaving=True) or self.new_asset(own)
        self.add_draft(own, at, "Delete", *asset)
        if (sibling := self.sibling(own)) is not None:
            self.add_draft(sibling, at, "Delete", asset[0], None)

    def is_deleted_in_the_sibling_alone(self, own: Channel, at: int) -> None:
        """The one that resurrects: the Delete is newer, and read first."""
        asset = self.living_asset(own, is_leaving=True) or self.new_asset(own)
        self.add_draft(own, at, "Update", *asset)
        self.add_draft(own, at + SECOND, "Update", *asset)
        self.add_draft(self.sibling(own) or own, at + 2 * SECOND + self.random_delay(600), "Delete", asset[0], None)

    def changes_in_quick_succession(self, own: Channel, at: int) -> None:
        asset = self.new_asset(own)
        for lifecycle in ("New", *("Update",) * self.rng.randint(1, 4)):
            self.add_draft(own, at, lifecycle, *asset)
            at += int(self.rng.random() * 2 * SECOND)
        if self.rng.random() < 0.5:
            self.add_draft(own, at, "Delete", asset[0], None)

    def comes_back(self, own: Channel, at: int) -> None:
        asset = self.living_asset(own, is_leaving=True) or self.new_asset(own)
        self.add_draft(own, at, "Delete", asset[0], None)
        self.add_draft(own, at + self.random_delay(7200), "New", *asset)

    def is_updated_and_deleted_at_once(self, own: Channel, at: int) -> None:
        """A tie, at a whole second so that no spelling of the time takes it apart."""
        asset, at = self.living_asset(own, is_leaving=True) or self.new_asset(own), at - at % SECOND
        lifecycles = ["Update", "Delete"]
        self.rng.shuffle(lifecycles)
        for lifecycle in lifecycles:
            self.add_draft(own, at, lifecycle, *asset)

    def is_deleted_twice(self, own: Channel, at: int) -> None:
        asset_id, _ = self.living_asset(own, is_leaving=True) or self.new_asset(own)
        self.add_draft(own, at, "Delete", asset_id, None)
        self.add_draft(own, at + self.random_delay(3600), "Delete", asset_id, None)

    def moves_to_another_channel(self, own: Channel, at: int) -> None:
        """The family changes: the asset continues in the channel of the same type of the other family."""
        asset = self.living_asset(own, is_leaving=True) or self.new_asset(own)
        self.add_draft(own, at, "Update", *asset)
        for other in self.channels:
            if other.asset_type == own.asset_type and other.asset_family != own.asset_family:
                self.add_draft(other, at + self.random_delay(3600), "Update", *asset)
                return


def trickle_draft(*, seed: int, own: Channel, sibling: Channel | None, index: int, at_us: int) -> Draft:
    """Change number `index` of a channel after its backlog: always the same except for its time."""
    rng = random.Random(f"trickle {seed} {own.channel_id} {index}")
    earlier = index - 1 - int(rng.random() * min(index, 60)) if index else 0
    chance = rng.random()
    if index == 0 or chance < 0.35:
        return Draft(at_us, "New", f"{own.channel_id}{index:08d}", own.asset_type)
    if chance < 0.85:
        return Draft(at_us, "Update", f"{own.channel_id}{earlier:08d}", own.asset_type)
    if chance < 0.96 or sibling is None:
        return Draft(at_us, "Delete", f"{own.channel_id}{earlier:08d}", own.asset_type)
    return Draft(at_us, "Delete", f"{sibling.channel_id}{earlier:08d}", None)
