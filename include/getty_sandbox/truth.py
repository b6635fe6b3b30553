"""What a warehouse must look like after given change sets: a small model, written apart from any client."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from getty_sandbox.options import Channel

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?\s*(?:[Zz]|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_LIFECYCLES = {"new": "New", "update": "Update", "updated": "Update", "delete": "Delete", "deleted": "Delete"}
_TYPES = {"image": "Image", "film": "Film", "music": "Music"}
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_COUNTED = ("new", "update", "delete", "superseded", "rejected")


@dataclass(frozen=True)
class DeliveredSet:
    """A change set as it was handed out, and when; `body` is the JSON array of its messages."""

    channel: Channel
    change_set_id: str
    fetched_at: datetime
    body: bytes


class Change(NamedTuple):
    """A valid message; changes compare in the order of the registers."""

    at: datetime
    id_length: int
    change_set_id: str
    position: int
    asset_id: str
    lifecycle: str
    asset_type: str | None
    channel: Channel


class Registers(NamedTuple):
    """What is known of one asset: its newest upsert and its newest Delete."""

    upsert: Change | None
    delete: Change | None

    def with_change(self, change: Change) -> Registers:
        """The registers after one more change, in whatever order changes come."""
        if change.lifecycle == "Delete":
            return self._replace(delete=max(self.delete or change, change))
        return self._replace(upsert=max(self.upsert or change, change))

    @property
    def is_live(self) -> bool:
        """On equal times the Delete wins."""
        return self.upsert is not None and (self.delete is None or self.upsert.at > self.delete.at)


def read_id(value: object) -> str | None:
    """The asset id that a message means, or None where it has none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    value = value.strip()
    if not 1 <= len(value) <= 255 or any(unicodedata.category(c) == "Cc" for c in value):
        return None
    return value


def read_time(value: object, fetched_at: datetime) -> datetime | None:
    """The time that a message means, cut to microseconds, or None where that cannot be."""
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups()
    micros = int((fraction or "0").ljust(6, "0")[:6])
    try:
        zone = UTC
        if sign:
            offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
            zone = timezone(-offset if sign == "-" else offset)
        when = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micros, tzinfo=zone
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when if _EARLIEST <= when <= fetched_at + timedelta(hours=1) else None


def _times(messages: Sequence[object], fetched_at: datetime) -> list[datetime | None]:
    """The time of each message: its own, else of the nearest timed one before, else of the next one."""
    own = [
        read_time(m.get("asset_changed_utc_datetime"), fetched_at) if isinstance(m, dict) else None for m in messages
    ]
    known = next((time for time in own if time is not None), None)
    times = []
    for time in own:
        known = time or known
        times.append(known)
    return times


def read_set(delivered: DeliveredSet) -> list[Change | None]:
    """One entry per message in feed order; None is a message that must be rejected."""
    messages = json.loads(delivered.body)
    changes: list[Change | None] = []
    for position, (message, time) in enumerate(zip(messages, _times(messages, delivered.fetched_at), strict=True)):
        changes.append(_read_message(delivered, position, message, time))
    return changes


def _read_message(delivered: DeliveredSet, position: int, message: object, at: datetime | None) -> Change | None:
    if not isinstance(message, dict):
        return None
    asset_id, word = read_id(message.get("id")), message.get("asset_lifecycle")
    lifecycle = _LIFECYCLES.get(word.strip().lower()) if isinstance(word, str) else None
    if asset_id is None or lifecycle is None:
        return None
    if at is None:
        if lifecycle != "Delete":
            return None
        at = delivered.fetched_at
    said = message.get("asset_type")
    asset_type = (_TYPES.get(said.strip().lower(), said.strip()) or None) if isinstance(said, str) else None
    if asset_type is None and lifecycle != "Delete":
        asset_type = delivered.channel.asset_type
    set_id = delivered.change_set_id
    return Change(at, len(set_id), set_id, position, asset_id, lifecycle, asset_type, delivered.channel)


def _count(changes: Sequence[Change | None]) -> Counter[str]:
    """What one set amounts to by itself: per asset one change wins, its other valid ones are superseded."""
    counts: Counter[str] = Counter()
    registers: dict[str, Registers] = {}
    for change in changes:
        if change is None:
            counts["rejected"] += 1
        else:
            before = registers.get(change.asset_id)
            counts["superseded"] += before is not None
            registers[change.asset_id] = (before or Registers(None, None)).with_change(change)
    for found in registers.values():
        winner = found.upsert if found.is_live else found.delete
        if winner is not None:
            counts[winner.lifecycle.lower()] += 1
    return counts


def _iso(when: datetime | None) -> str | None:
    return when.isoformat(timespec="microseconds") if when else None


def _state(asset_id: str, registers: Registers) -> dict[str, Any]:
    upsert, delete = registers
    told = upsert or delete
    if told is None:  # registers exist because a change did
        raise ValueError(f"no change is known of asset {asset_id!r}")
    return {
        "asset_id": asset_id,
        "asset_type": told.asset_type,
        "asset_family": told.channel.asset_family,
        "channel_id": told.channel.channel_id,
        "asset_lifecycle": upsert and upsert.lifecycle,
        "upserted_at": upsert and _iso(upsert.at),
        "upsert_change_set_id": upsert and upsert.change_set_id,
        "upsert_position": upsert and upsert.position,
        "deleted_at": delete and _iso(delete.at),
        "delete_change_set_id": delete and delete.change_set_id,
        "delete_position": delete and delete.position,
    }


def _live_row(state: dict[str, Any]) -> dict[str, Any]:
    kept = ("asset_id", "asset_type", "asset_family", "channel_id", "asset_lifecycle")
    return {key: state[key] for key in kept} | {
        "changed_at": state["upserted_at"],
        "change_set_id": state["upsert_change_set_id"],
    }


def _deleted_row(state: dict[str, Any]) -> dict[str, Any]:
    kept = ("asset_id", "asset_type", "asset_family", "channel_id", "deleted_at")
    return {key: state[key] for key in kept} | {"change_set_id": state["delete_change_set_id"]}


def _set_row(delivered: DeliveredSet, changes: Sequence[Change | None], counts: Counter[str]) -> dict[str, Any]:
    times = [change.at for change in changes if change is not None]
    return {
        "channel_id": delivered.channel.channel_id,
        "change_set_id": delivered.change_set_id,
        "change_count": len(changes),
        **{f"{name}_count": counts[name] for name in _COUNTED},
        "oldest_change_at": _iso(min(times, default=None)),
        "newest_change_at": _iso(max(times, default=None)),
    }


def truth_of(channels: Iterable[Channel], sets: Iterable[DeliveredSet]) -> dict[str, Any]:
    """The tables, as JSON-ready rows ordered by asset id, and the counts per channel and change set."""
    per_channel = {str(c.channel_id): {"sets": 0, "changes": 0, **dict.fromkeys(_COUNTED, 0)} for c in channels}
    registers: dict[str, Registers] = {}
    set_rows = []
    for delivered in sets:
        changes = read_set(delivered)
        for change in changes:
            if change is not None:
                before = registers.get(change.asset_id, Registers(None, None))
                registers[change.asset_id] = before.with_change(change)
        counts = _count(changes)
        set_rows.append(_set_row(delivered, changes, counts))
        totals = per_channel[str(delivered.channel.channel_id)]
        totals["sets"] += 1
        totals["changes"] += len(changes)
        for name in _COUNTED:
            totals[name] += counts[name]
    states = [(found.is_live, _state(asset_id, found)) for asset_id, found in sorted(registers.items())]
    return {
        "asset_states": [state for _, state in states],
        "assets": [_live_row(state) for is_live, state in states if is_live],
        "deleted_assets": [_deleted_row(state) for is_live, state in states if not is_live],
        "channels": per_channel,
        "change_sets": set_rows,
    }
