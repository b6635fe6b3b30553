"""Which assets Getty has at present, whatever a reader of the feed knows of them yet.

An asset exists if the newest of all its messages is an upsert, also where that message has not been handed out. What it
looks like follows the newest upsert that **was** handed out, so an Update changes it exactly when a reader can know.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from getty_sandbox.decode import Change, Rejected, read_set
from getty_sandbox.deliveries import Deliveries
from getty_sandbox.encode import microseconds
from getty_sandbox.options import Options, SandboxError
from getty_sandbox.store import ChangeSet
from getty_sandbox.truth import Registers

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
    """The assets of one sandbox, safe for many threads; what vanished is durable as the feed is."""

    def __init__(self, options: Options, deliveries: Deliveries) -> None:
        """Reads nothing of the feed before the first question."""
        self._options = options
        self._deliveries = deliveries
        self._lock = threading.RLock()
        self._readings = {channel.channel_id: _ChannelReading() for channel in options.channels}
        self._confirmed: defaultdict[str, Registers] = defaultdict(Registers)
        self._positions: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._read_count = 0
        with deliveries.storing() as store:
            self._vanished = store.vanished()
            self._overrides = store.overrides()

    @property
    def overrides(self) -> Mapping[str, object]:
        """What is said of single assets instead of what the seed makes, by id."""
        return self._overrides

    def find(self, asset_ids: Iterable[str]) -> dict[str, Asset]:
        """Those of the assets that exist now."""
        with self._lock:
            self._refresh()
            return {asset_id: asset for asset_id in asset_ids if (asset := self._asset(asset_id))}

    def _asset(self, asset_id: str) -> Asset | None:
        handed_out, whole = self._registers(asset_id)
        upsert = handed_out.upsert or whole.upsert
        if upsert is None or not whole.is_live or asset_id in self._vanished:
            return None
        version = microseconds(upsert.at) if handed_out.upsert else 0
        return Asset(asset_id, upsert.asset_type or "", upsert.channel.asset_family, version)

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
        wanted = list(dict.fromkeys(asset_ids))
        with self._lock:
            unknown = sorted(set(wanted) - (self._vanished if back else set(self.find(wanted))))
            if unknown:
                raise SandboxError(f"These did not vanish: {unknown}." if back else f"There are no assets {unknown}.")
            with self._deliveries.storing() as store:
                store.set_vanished(wanted, is_back=back)
            self._vanished = self._vanished - set(wanted) if back else self._vanished | set(wanted)
        return wanted

    def override(self, asset_id: str, members: object) -> None:
        """Lookups say this of one asset instead: members to replace, or any other JSON; None ends it."""
        with self._lock:
            with self._deliveries.storing() as store:
                store.set_override(asset_id, members)
            kept = {key: value for key, value in self._overrides.items() if key != asset_id}
            self._overrides = kept if members is None else kept | {asset_id: members}

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
                _, whole = self._registers(asset_id)
                if whole.upsert is None or not whole.is_live:
                    raise SandboxError(f"There is no asset {asset_id!r} to delete.")
                messages[whole.upsert.channel.channel_id].append(_delete_message(whole.upsert, self._options.clock()))
            for channel_id, of_channel in messages.items():
                self._deliveries.append(channel_id, of_channel)
        return wanted


def _changes(entries: Iterable[Change | Rejected]) -> list[Change]:
    return [each for each in entries if isinstance(each, Change)]


def _merged(registers: Registers, others: Registers) -> Registers:
    for change in others:
        registers = registers.with_change(change) if change else registers
    return registers


def _delete_message(upsert: Change, now: datetime) -> dict[str, Any]:
    at = max(now, upsert.at + timedelta(microseconds=1))
    return {
        "asset_changed_utc_datetime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "asset_lifecycle": "Delete",
        "asset_type": upsert.asset_type,
        "id": upsert.asset_id,
        "uri": None,
    }
