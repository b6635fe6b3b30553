"""The list of channels that the installation keeps: what Getty says of them and what a user adds.

It lives in the Airflow Variable `asset_changes_channels` as JSON, one object per channel; discovery
writes it, `dags/channels.py` reads it. It is the cache that Getty's guide asks for.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from asset_changes.errors import ConfigurationError
from asset_changes.models import Channel
from asset_changes.settings import batch_size

VARIABLE = "asset_changes_channels"
DEFAULT_CONN_ID = "getty_images_default"
_MAX_CHANNEL_ID = 2**31 - 1  # Getty's OpenAPI file: int32
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{0,39}")
_CRON = re.compile(r"@(hourly|daily|weekly)|[0-9*/,\-A-Za-z#L?]+( [0-9*/,\-A-Za-z#L?]+){4}")
_CONN_ID = re.compile(r"[\w.\-:]{1,200}")
_KEYS = {"channel_id", "asset_family", "asset_type", "missing_since", "retired_at", "schedule", "batch_size", "conn_id"}
_MARKS = ("missing_since", "retired_at")
_MISSING_FOR = timedelta(days=1)
"""How long Getty's lists must lack a channel before it is retired: one answer may be wrong."""


@dataclass(frozen=True, kw_only=True)
class ChannelEntry:
    """One channel of the list, with what a user may set for it.

    `missing_since`: Getty's list lacks it, it is still read. `retired_at`: it is no longer read.
    """

    channel: Channel
    schedule: str | None = None
    batch_size: int | None = None
    conn_id: str = DEFAULT_CONN_ID
    missing_since: str | None = None
    retired_at: str | None = None

    @property
    def dag_id(self) -> str:
        """The id of the channel's DAG."""
        family, kind = (
            re.sub(r"[^a-z0-9]+", "_", word.lower()) for word in (self.channel.asset_family, self.channel.asset_type)
        )
        return f"asset_changes_{family}_{kind}_{self.channel.channel_id}"


@dataclass(frozen=True, kw_only=True)
class BadEntry:
    """An entry that cannot be used, with the sentence that says why; the others go on."""

    dag_id: str
    reason: str


def read(text: str) -> list[ChannelEntry | BadEntry]:
    """Return the entries of the list; raises ConfigurationError where it is no list at all."""
    entries: list[ChannelEntry | BadEntry] = []
    seen: set[int] = set()
    for index, item in enumerate(_items(text)):
        try:
            entry = _entry(item)
            if entry.channel.channel_id in seen:
                raise ConfigurationError(f"channel {entry.channel.channel_id} is in it twice: remove one of them.")
            seen.add(entry.channel.channel_id)
            entries.append(entry)
        except ConfigurationError as error:
            entries.append(
                BadEntry(
                    dag_id=_stub_id(item, index),
                    reason=f"Entry {index + 1} of the Variable {VARIABLE} cannot be used: {error} The others run on.",
                )
            )
    return _with_ids_of_their_own(entries)


def merge(
    text: str | None,
    *,
    found: Sequence[Channel],
    asked: Collection[str],
    now: datetime,
    refused: Collection[int] = (),
) -> str:
    """Return the list with what Getty now says, as JSON: it never shrinks. `text` itself where nothing changes.

    `found` are the channels that the connections in `asked` list; `refused` those of which Getty said, to a
    PUT, that it does not know them. What a user set for a channel stays; an entry that cannot be used stays
    as it is. A channel that is listed is neither missing nor retired, whatever was written before.
    """
    items = _items(text or "[]")
    listed = {channel.channel_id: channel for channel in found}
    merged = []
    for item in items:
        number = _number(item)
        if number in listed:
            merged.append(_described(item, listed[number]))
        elif isinstance(number, int) and item.get("conn_id", DEFAULT_CONN_ID) in asked:
            merged.append(_not_listed(item, is_refused=number in refused, now=now))
        else:
            merged.append(item)
    known = {_number(item) for item in items}
    merged += [_described({}, channel) for number, channel in listed.items() if number not in known]
    merged.sort(key=_order)
    is_same = text is not None and merged == sorted(items, key=_order)
    return text if is_same and text is not None else json.dumps(merged, indent=2)


def conn_ids(text: str | None) -> dict[str, bool]:
    """Return the connections that the list names, the default one first, and whether one must answer.

    One of which all channels are retired need not: its account may have ended.
    """
    needed = {DEFAULT_CONN_ID: True}
    entries = [entry for entry in read(text or "[]") if isinstance(entry, ChannelEntry)]
    for entry in sorted(entries, key=lambda entry: entry.conn_id):
        needed[entry.conn_id] = needed.get(entry.conn_id, False) or not entry.retired_at
    return needed


def _items(text: str) -> list[Any]:
    try:
        items = json.loads(text)
    except (ValueError, TypeError):
        items = None
    if not isinstance(items, list):
        raise ConfigurationError(
            f"The Variable {VARIABLE} is no JSON list: correct it under Admin > Variables, or set it to [] and run "
            "asset_changes_discovery, which fills it."
        )
    return items


def _entry(item: Any) -> ChannelEntry:
    if not isinstance(item, dict):
        raise ConfigurationError(f"{json.dumps(item)[:80]} is no object with channel_id, asset_family and asset_type.")
    if unknown := sorted(set(item) - _KEYS):
        raise ConfigurationError(f"the key {unknown[0]!r:.60} is unknown; known are {', '.join(sorted(_KEYS))}.")
    number = _number(item)
    if not isinstance(number, int):
        raise ConfigurationError(f"channel_id must be a whole number from 1 to {_MAX_CHANNEL_ID}.")
    size = item.get("batch_size")
    return ChannelEntry(
        channel=Channel(
            channel_id=number,
            asset_family=_matching(item, "asset_family", _WORD) or "",
            asset_type=_matching(item, "asset_type", _WORD) or "",
        ),
        schedule=_matching(item, "schedule", _CRON, is_required=False),
        batch_size=None if size is None else batch_size(size, where=f"the entry of channel {number}"),
        conn_id=_matching(item, "conn_id", _CONN_ID, is_required=False) or DEFAULT_CONN_ID,
        missing_since=str(item["missing_since"])[:40] if item.get("missing_since") else None,
        retired_at=str(item["retired_at"])[:40] if item.get("retired_at") else None,
    )


def _matching(item: dict[str, Any], key: str, pattern: re.Pattern[str], *, is_required: bool = True) -> str | None:
    value = item.get(key)
    if value is None and not is_required:
        return None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ConfigurationError(f"{key} is {json.dumps(value)[:80]}, which is not of the form {pattern.pattern}.")
    return value


def _number(item: Any) -> int | str:
    """Return the channel id of an entry, or a text that no other entry has."""
    number = item.get("channel_id") if isinstance(item, dict) else None
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number <= _MAX_CHANNEL_ID:
        return number
    return json.dumps(item, sort_keys=True)


def _not_listed(item: dict[str, Any], *, is_refused: bool, now: datetime) -> dict[str, Any]:
    """Return the entry of a channel that Getty's list lacks: missing at first, retired when that is certain."""
    if item.get("retired_at"):
        return item
    since = _time(item.get("missing_since"))
    marked = item if since else {**item, "missing_since": now.isoformat(timespec="seconds")}
    if is_refused or (since and now - since >= _MISSING_FOR):
        return {**marked, "retired_at": now.isoformat(timespec="seconds")}
    return marked


def _time(value: Any) -> datetime | None:
    """Return a time of the list; None for what is none, as a person may write anything there."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _described(item: dict[str, Any], channel: Channel) -> dict[str, Any]:
    said = {
        "channel_id": channel.channel_id,
        "asset_family": channel.asset_family,
        "asset_type": channel.asset_type,
    }
    return {**said, **{key: value for key, value in item.items() if key not in said and key not in _MARKS}}


def _order(item: Any) -> tuple[bool, int, str]:
    number = _number(item)
    return (isinstance(number, str), number if isinstance(number, int) else 0, str(number))


def _with_ids_of_their_own(entries: list[ChannelEntry | BadEntry]) -> list[ChannelEntry | BadEntry]:
    """Return the entries so that no stub takes the id of a channel's DAG, or of another stub."""
    taken = {entry.dag_id for entry in entries if isinstance(entry, ChannelEntry)}
    kept: list[ChannelEntry | BadEntry] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, BadEntry):
            if entry.dag_id in taken:
                entry = replace(entry, dag_id=_stub_id(None, index))
            taken.add(entry.dag_id)
        kept.append(entry)
    return kept


def _stub_id(item: Any, index: int) -> str:
    """Return the id of the DAG that says what is wrong: the channel's own one where the entry has it."""
    try:
        return _entry({key: item[key] for key in ("channel_id", "asset_family", "asset_type")}).dag_id
    except (ConfigurationError, KeyError, TypeError):
        number = _number(item)
        return f"asset_changes_misconfigured_{number if isinstance(number, int) else f'entry_{index + 1}'}"
