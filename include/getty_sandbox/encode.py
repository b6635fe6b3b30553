"""How a change is written on the wire: mostly as documented, sometimes in every other way that the guide allows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from getty_sandbox.feed import Draft

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSETS = (0, 120, -300, 330, -480)
_LIFECYCLES = {
    "New": ("new", "NEW"),
    "Update": ("Updated", "updated", "update", "UPDATE"),
    "Delete": ("Deleted", "deleted", "delete", "DELETE"),
}
# None leaves the key out; the others are its value.
_NO_TIMES = (
    None, "null", '""', '"yesterday"', '"2026-13-45T10:00:00Z"', '"0001-01-01T00:00:00"',
    '"1970-01-01T00:00:00Z"', '"9999-12-31T23:59:59.9999999Z"',
)  # fmt: skip
_NO_IDS = ("null", '""', '"   "', '"\\u0000"', '"12\\u000034"', '"12\\u000734"', '"' + "9" * 300 + '"')
_MESSAGES_BETWEEN_SPOILT = 4


class Message(NamedTuple):
    """One message as JSON with snake_case keys, and when the change happened (microseconds)."""

    body: bytes
    published_us: int


def to_datetime(us: int) -> datetime:
    """Microseconds since 1970 as an aware datetime."""
    return _EPOCH + timedelta(microseconds=us)


def microseconds(when: datetime) -> int:
    """An aware datetime as whole microseconds since 1970."""
    return (when - _EPOCH) // timedelta(microseconds=1)


class MessageEncoder:
    """Writes drafts as JSON; one per channel, so that channels do not depend on each other."""

    def __init__(self, rng: random.Random, *, nastiness: float) -> None:
        """Nastiness multiplies every rate; 0 writes everything as documented."""
        self.rng = rng
        self.nastiness = nastiness
        self.newest = 0

    def encode(self, drafts: Iterable[Draft], *, may_spoil: bool = True) -> list[Message]:
        """The messages of drafts that ascend in time, and still do afterwards.

        Spoilt messages (no usable time, id or lifecycle) keep a distance, so that a message without a time
        always has a valid neighbour to take one from.
        """
        messages, since_spoilt = [], 0
        for draft in drafts:
            since_spoilt += 1
            spoil = None
            if may_spoil and since_spoilt >= _MESSAGES_BETWEEN_SPOILT and self.happens(0.004):
                spoil, since_spoilt = self.rng.choices(("time", "id", "lifecycle"), (6, 1, 1))[0], 0
            messages.append(self._encode(draft, spoil))
        return messages

    def happens(self, rate: float) -> bool:
        """True at this rate, times the nastiness."""
        return self.rng.random() < rate * self.nastiness

    def _encode(self, draft: Draft, spoil: str | None) -> Message:
        time, published = self._time(draft.at)
        asset_id, lifecycle = self._id(draft.asset_id), draft.lifecycle
        if self.happens(0.015):
            lifecycle = self.rng.choice(_LIFECYCLES[lifecycle])
        no_time = False
        if spoil == "time":
            chosen = self.rng.choice(_NO_TIMES)
            no_time, time = chosen is None, chosen or time
        elif spoil == "id":
            asset_id = self.rng.choice(_NO_IDS)
        elif spoil == "lifecycle":
            lifecycle = "Archive"
        asset_type = "null" if draft.asset_type is None or self.happens(0.01) else f'"{draft.asset_type}"'
        has_uri = self.rng.random() < (0.95 if draft.lifecycle == "New" else 0.01)
        uri = f'"https://delivery.example/{draft.at}"' if has_uri else "null"
        time_field = "" if no_time else f'"asset_changed_utc_datetime":{time},'
        text = f'{{{time_field}"asset_lifecycle":"{lifecycle}","asset_type":{asset_type},"id":{asset_id},"uri":{uri}}}'
        return Message(text.encode(), published)

    def _id(self, asset_id: str) -> str:
        chance = self.rng.random()
        if chance < 0.01 * self.nastiness and asset_id.isdecimal() and asset_id[0] != "0":
            return asset_id  # a JSON number
        if chance > 1 - 0.01 * self.nastiness:
            asset_id = f"  {asset_id} "
        return json.dumps(asset_id, ensure_ascii=False)

    def _time(self, at: int) -> tuple[str, int]:
        """The time as JSON text with 0 to 7 digits of fraction and any zone, and what it then says."""
        digits = int(self.rng.random() * 8)
        unit = 10 ** (6 - min(digits, 6))
        if at - at % unit < self.newest:
            digits, unit = 6, 1  # fewer digits would put it before the message before it
        at -= at % unit
        self.newest = at
        chance = self.rng.random()
        offset = self.rng.choice(_OFFSETS) if chance > 0.85 else 0
        text = to_datetime(at + offset * 60_000_000).strftime("%Y-%m-%dT%H:%M:%S")
        if digits:
            fraction = f"{at % 1_000_000:06d}{int(self.rng.random() * 10)}"
            text += "." + fraction[:digits]
        if chance > 0.85:
            text += f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"
        elif chance < 0.70:
            text += "Z"
        return f'"{text}"', at
