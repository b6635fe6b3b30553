"""What the messages of a change set mean, read apart from any client."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from getty_sandbox.options import Channel
from getty_sandbox.wire import rename_keys

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?\s*(?:[Zz]|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_LIFECYCLES = {"new": "New", "update": "Update", "updated": "Update", "delete": "Delete", "deleted": "Delete"}
_TYPES = {"image": "Image", "film": "Film", "music": "Music"}
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DeliveredSet:
    """A change set as it was handed out: when, in which spelling, and whether a redelivery may have added messages.

    `body` is the JSON array of its messages in snake_case.
    """

    channel: Channel
    change_set_id: str
    fetched_at: datetime
    body: bytes
    keys: str = "snake"
    may_have_grown: bool = False


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
    is_time_inferred: bool
    uri: str | None


class Rejected(NamedTuple):
    """A message that cannot be applied: why, what could be read of it, and as it was handed out."""

    position: int
    reason: str
    asset_id: str | None
    lifecycle: str | None
    raw: str


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


def read_set(delivered: DeliveredSet) -> list[Change | Rejected]:
    """One entry per message in feed order."""
    messages = json.loads(delivered.body)
    own = [
        read_time(each.get("asset_changed_utc_datetime"), delivered.fetched_at) if isinstance(each, dict) else None
        for each in messages
    ]
    earlier = _last_known(own)
    later = [each or delivered.fetched_at for each in reversed(_last_known(own[::-1]))]
    return [
        _read_message(
            delivered,
            position,
            message,
            upserted_at=before,
            deleted_at=after,
            is_time_inferred=own[position] is None,
        )
        for position, (message, before, after) in enumerate(zip(messages, earlier, later, strict=True))
    ]


def _last_known(own: Sequence[datetime | None]) -> list[datetime | None]:
    """For each message its own time, else that of the nearest timed one before it."""
    known, times = None, []
    for time in own:
        known = time or known
        times.append(known)
    return times


def _read_message(
    delivered: DeliveredSet,
    position: int,
    message: object,
    *,
    upserted_at: datetime | None,
    deleted_at: datetime,
    is_time_inferred: bool,
) -> Change | Rejected:
    """A message whose time, where it has none, errs towards removal: a Delete's is later, an upsert's earlier."""
    fields = message if isinstance(message, dict) else {}
    asset_id, lifecycle_text = read_id(fields.get("id")), fields.get("asset_lifecycle")
    lifecycle = _LIFECYCLES.get(lifecycle_text.strip().lower()) if isinstance(lifecycle_text, str) else None
    at = deleted_at if lifecycle == "Delete" else upserted_at
    if asset_id is None or lifecycle is None or at is None:
        reason = "unusable_id" if asset_id is None else "unknown_lifecycle" if lifecycle is None else "no_time"
        reason = reason if isinstance(message, dict) else "not_an_object"
        raw = rename_keys(json.dumps(message).encode(), delivered.keys).decode()
        return Rejected(position, reason, asset_id, lifecycle, raw)
    type_text, asset_type = fields.get("asset_type"), None
    if isinstance(type_text, str):
        asset_type = _TYPES.get(type_text.strip().lower(), type_text.strip()) or None
    if asset_type is None and lifecycle != "Delete":
        asset_type = delivered.channel.asset_type
    set_id, uri = delivered.change_set_id, fields.get("uri")
    return Change(
        at, len(set_id), set_id, position, asset_id, lifecycle, asset_type, delivered.channel, is_time_inferred, uri
    )
