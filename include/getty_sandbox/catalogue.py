"""Which assets Getty has at present, whatever a reader of the feed knows of them yet.

An asset exists if the newest of all its messages is an upsert, also where that message has not been handed out. What it
looks like follows the newest upsert that **was** handed out, so an Update changes it exactly when a reader can know.
Where a person has chosen otherwise for an asset, that counts: it vanished, has another type, was never in the feed.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import blake2b
from itertools import islice
from typing import Any

from getty_sandbox.decode import Change, Rejected, read_set
from getty_sandbox.deliveries import Deliveries
from getty_sandbox.encode import microseconds
from getty_sandbox.options import Options, SandboxError
from getty_sandbox.store import ChangeSet
from getty_sandbox.truth import Registers

ASSET_TYPES = ("Image", "Film", "Music")
# How assets may differ from what the feed says of them.
_VANISHED, _UNLICENSED, _RETYPED, _ADDED, _OVERRIDES = "vanished", "unlicensed", "retyped", "added", "overrides"
_EVERY_ASSET = ""  # no asset has this id: the share of all that is not licensed
_LATER_THAN_ALL_SETS = 10**18  # the id of what was not handed out yet: on equal times it counts as the newer


@dataclass(frozen=True)
class Asset:
    """An asset that exists; its version is the time of its newest upsert that was handed out, 0 without one."""

    asset_id: str
    asset_type: str
    asset_family: str
    version: int


@dataclass
class _ChannelReading:
    """How far a channel's feed was read: its messages not handed out by position, and its outstanding set."""

    message_count: int = 0
    confirmed_count: int = 0
    unread: dict[int, Change] = field(default_factory=dict)
    outstanding: ChangeSet | None = None
    of_outstanding: dict[str, Registers] = field(default_factory=dict)


class Catalogue:
    """The assets of one sandbox, safe for many threads; what a person has chosen is durable as the feed is."""

    def __init__(self, options: Options, deliveries: Deliveries) -> None:
        """Reads nothing of the feed before the first question."""
        self._options = options
        self._deliveries = deliveries
        self._lock = threading.RLock()
        self._readings = {channel.channel_id: _ChannelReading() for channel in options.channels}
        self._confirmed: defaultdict[str, Registers] = defaultdict(Registers)
        self._positions: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._read_count = 0
        kinds = (_VANISHED, _UNLICENSED, _RETYPED, _ADDED, _OVERRIDES)
        with deliveries.storing() as store:
            self._differences = {kind: store.differences(kind) for kind in kinds}

    @property
    def overrides(self) -> Mapping[str, object]:
        """What is said of single assets instead of what the seed makes, by id."""
        return self._differences[_OVERRIDES]

    @property
    def added(self) -> Collection[str]:
        """The assets that were added to the catalogue without the feed."""
        return self._differences[_ADDED].keys()

    def find(self, asset_ids: Iterable[str]) -> dict[str, Asset]:
        """Those of the assets that exist now."""
        with self._lock:
            self._refresh()
            return {asset_id: asset for asset_id in asset_ids if (asset := self._asset(asset_id))}

    def _asset(self, asset_id: str) -> Asset | None:
        handed_out, whole = self._registers(asset_id)
        upsert, added = handed_out.upsert or whole.upsert, self._differences[_ADDED]
        if asset_id in self._differences[_VANISHED]:
            return None
        if upsert is not None and whole.is_live:
            asset_type, family = upsert.asset_type or "", upsert.channel.asset_family
        elif asset_id in added and whole == Registers():
            asset_type, family = added[asset_id]
        else:
            return None
        version = microseconds(handed_out.upsert.at) if handed_out.upsert else 0
        return Asset(asset_id, self._differences[_RETYPED].get(asset_id, asset_type), family, version)

    def is_licensed(self, asset_id: str) -> bool:
        """Whether the account's agreement covers an asset.

        Outside is a share by the digest of the id, so a larger share contains a smaller one.
        """
        unlicensed = self._differences[_UNLICENSED]
        share = max(self._options.unlicensed_share, unlicensed.get(_EVERY_ASSET, 0))
        text = f"{self._options.seed} {asset_id}".encode("utf-8", "surrogatepass")
        place = int.from_bytes(blake2b(text, digest_size=4).digest(), "big") / 2**32
        return place >= share and asset_id not in unlicensed

    def _registers(self, asset_id: str) -> tuple[Registers, Registers]:
        """What was handed out about an asset, and what all messages say."""
        handed_out = self._confirmed.get(asset_id, Registers())
        for reading in self._readings.values():
            handed_out = _merged(handed_out, reading.of_outstanding.get(asset_id, Registers()))
        whole = handed_out
        for channel_id, position in self._positions.get(asset_id, ()):
            if change := self._readings[channel_id].unread.get(position):
                whole = whole.with_change(change)
        return handed_out, whole

    def _refresh(self) -> None:
        """Reads what came since the last question: messages that were not handed out, and sets."""
        for channel_id, reading in self._readings.items():
            added = self._deliveries.since(
                channel_id, message_count=reading.message_count, confirmed_count=reading.confirmed_count
            )
            reading.message_count = added.message_count
            if added.published:
                self._read_count += 1
                set_id = str(_LATER_THAN_ALL_SETS + self._read_count)
                for change in _changes(read_set(replace(added.published, change_set_id=set_id))):
                    position = added.unread[change.position]
                    reading.unread[position] = change
                    self._positions[change.asset_id].append((channel_id, position))
            for confirmed in added.confirmed:
                is_read = replace(confirmed, confirmed_at=None) == reading.outstanding
                of_set = reading.of_outstanding if is_read else self._read(reading, confirmed)
                for asset_id, registers in of_set.items():
                    self._confirmed[asset_id] = _merged(self._confirmed[asset_id], registers)
            reading.confirmed_count += len(added.confirmed)
            if added.outstanding != reading.outstanding:
                reading.of_outstanding = self._read(reading, added.outstanding) if added.outstanding else {}
                reading.outstanding = added.outstanding

    def _read(self, reading: _ChannelReading, change_set: ChangeSet) -> dict[str, Registers]:
        """What a set says of its assets; its messages are no longer unread."""
        for position in range(change_set.first, change_set.first + change_set.size):
            reading.unread.pop(position, None)
        registers: defaultdict[str, Registers] = defaultdict(Registers)
        for change in _changes(read_set(self._deliveries.delivered(change_set))):
            registers[change.asset_id] = registers[change.asset_id].with_change(change)
        return registers

    def vanish(self, asset_ids: Iterable[str], *, back: bool = False) -> list[str]:
        """From now on lookups do not find these, though no Delete is sent; `back` ends that."""
        return self._choose(_VANISHED, asset_ids, True, back=back, otherwise="did not vanish")

    def unlicense(self, asset_ids: Iterable[str] = (), *, share: float | None = None, back: bool = False) -> list[str]:
        """From now on the agreement does not cover these, nor this share of all assets; `back` ends that for ids."""
        wanted = self._choose(_UNLICENSED, asset_ids, True, back=back, otherwise="are licensed")
        if share is not None:
            if not 0 <= share <= 1:
                raise SandboxError(f"The unlicensed share is from 0 to 1, not {share}.")
            self._set(_UNLICENSED, {_EVERY_ASSET: share or None})
        return wanted

    def retype(self, asset_ids: Iterable[str], *, asset_type: str = "Film", back: bool = False) -> list[str]:
        """From now on these are of this type, whatever the feed says; `back` ends that."""
        return self._choose(_RETYPED, asset_ids, _checked_type(asset_type), back=back, otherwise="have no other type")

    def add(self, asset_ids: Iterable[str], *, asset_type: str = "Image", asset_family: str = "Creative") -> list[str]:
        """Puts assets into the catalogue that the feed has never named, as those of years ago."""
        wanted = list(dict.fromkeys(asset_ids))
        with self._lock:
            self._refresh()
            if named := [each for each in wanted if self._registers(each)[1] != Registers()]:
                raise SandboxError(f"The feed has named these: {named}.")
            self._set(_ADDED, {each: (_checked_type(asset_type), asset_family) for each in wanted})
        return wanted

    def override(self, asset_id: str, members: object) -> None:
        """Lookups say this of one asset instead: members to replace, or any other JSON; None ends it."""
        self._set(_OVERRIDES, {asset_id: members})

    def _choose(self, kind: str, asset_ids: Iterable[str], value: object, *, back: bool, otherwise: str) -> list[str]:
        """Make assets that exist differ in this way, or no longer; return their ids."""
        wanted = list(dict.fromkeys(asset_ids))
        with self._lock:
            unknown = sorted(set(wanted) - (self._differences[kind].keys() if back else self.find(wanted).keys()))
            if unknown:
                raise SandboxError(f"These {otherwise}: {unknown}." if back else f"There are no assets {unknown}.")
            self._set(kind, dict.fromkeys(wanted, None if back else value))
        return wanted

    def _set(self, kind: str, values: Mapping[str, object]) -> None:
        """Remember how these assets differ; None ends it."""
        with self._lock:
            with self._deliveries.storing() as store:
                store.set_differences(kind, values)
            # A new object: questions are answered from the one before, without a lock.
            kept = {asset_id: value for asset_id, value in self._differences[kind].items() if asset_id not in values}
            self._differences[kind] = kept | {key: value for key, value in values.items() if value is not None}

    def delete(self, asset_ids: Iterable[str] = (), *, count: int = 0) -> list[str]:
        """Appends Deletes of these assets to the feed, or of so many that a reader has: those that changed last."""
        with self._lock:
            self._refresh()
            wanted = list(dict.fromkeys(asset_ids))
            if not wanted and count < 1:
                raise SandboxError("Say which assets to delete: ids, or how many.")
            if count:
                known = [(registers.upsert, each) for each, registers in self._confirmed.items() if registers.is_live]
                known.sort(key=lambda pair: (pair[0] and pair[0].at, pair[1]), reverse=True)
                wanted += [*islice((each for _, each in known if each not in wanted and self._asset(each)), count)]
            messages: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
            for asset_id in wanted:
                channel_id, message = self._delete_message(asset_id)
                messages[channel_id].append(message)
            for channel_id, of_channel in messages.items():
                self._deliveries.append(channel_id, of_channel)
        return wanted

    def _delete_message(self, asset_id: str) -> tuple[int, dict[str, Any]]:
        """The channel that sends the Delete of an asset, and the message."""
        _, whole = self._registers(asset_id)
        asset_type, family = self._differences[_ADDED].get(asset_id, ("", ""))
        now, channel = self._options.clock(), None
        if whole.upsert is not None and whole.is_live:
            now, channel = max(now, whole.upsert.at + timedelta(microseconds=1)), whole.upsert.channel
            asset_type = whole.upsert.asset_type
        elif whole == Registers():
            channels = [each for each in self._options.channels if each.asset_family == family]
            channel = next((each for each in channels if each.asset_type == asset_type), None)
        if channel is None:
            raise SandboxError(f"There is no asset {asset_id!r} to delete.")
        return channel.channel_id, {
            "asset_changed_utc_datetime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "asset_lifecycle": "Delete",
            "asset_type": asset_type,
            "id": asset_id,
            "uri": None,
        }


def _checked_type(asset_type: str) -> str:
    if asset_type not in ASSET_TYPES:
        raise SandboxError(f"The type of an asset is one of {', '.join(ASSET_TYPES)}, not {asset_type!r}.")
    return asset_type


def _changes(entries: Iterable[Change | Rejected]) -> list[Change]:
    return [each for each in entries if isinstance(each, Change)]


def _merged(registers: Registers, others: Registers) -> Registers:
    for change in others:
        registers = registers.with_change(change) if change else registers
    return registers
