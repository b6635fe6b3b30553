"""What Getty's bodies say, whatever their spelling.

Getty published the same fields in snake_case (2017 to 2024, and its own samples), PascalCase
(channels, 2024) and camelCase (2026), some under other names. Keys are folded (lower case, no
underscores) and looked up in one table of aliases; unknown keys are left alone.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from asset_changes.errors import UnreadableChangeSet
from asset_changes.model import ChangeSet, Channel, Lifecycle, Message

_ALIASES = {
    "change_set_id": ("changesetid", "transactionid"),
    "changed_assets": ("changedassets", "changedassetlist", "assetchanges"),
    "id": ("id", "assetid"),
    "lifecycle": ("assetlifecycle", "lifecycle"),
    "type": ("assettype",),
    "changed_at": ("assetchangedutcdatetime", "assetchangeddatetimeutc"),
    "uri": ("uri", "url"),
    "channels": ("channels", "partnerchannels", "channellist"),
    "channel_id": ("channelid",),
    "family": ("assetfamily",),
    "lifecycles": ("channeltype", "assetchangetype"),
    "started_at": ("startdate", "createdateutc"),
}
_NAME_OF = {alias: name for name, aliases in _ALIASES.items() for alias in aliases}

_LIFECYCLES = {
    **{lifecycle.value: lifecycle.value for lifecycle in Lifecycle},  # as Getty spells them: the quick way
    "new": Lifecycle.NEW.value,
    "update": Lifecycle.UPDATE.value,
    "updated": Lifecycle.UPDATE.value,
    "delete": Lifecycle.DELETE.value,
    "deleted": Lifecycle.DELETE.value,
}
_WORDS = {word.casefold(): word for word in ("Image", "Film", "Music", "Editorial", "Creative", "Both")}
_CANONICAL = frozenset(_WORDS.values())
_CHANGE_SET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_ID_LENGTH = 255
# C0 and C1 controls, and lone surrogates, which no UTF-8 text can hold.
_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_EARLIEST_YEAR = 2000


def read_json(body: bytes) -> Any:
    """Return the document that a body holds, or raise ValueError; an integer beyond 64 bits stays text.

    Python refuses to read integers of more than 4300 digits: one of them would block its channel.
    """
    return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) <= 19 else digits)


class _Keys(NamedTuple):
    """Under which keys a message holds what we read of it; a missing one is None, which no message holds."""

    id: str | None
    lifecycle: str | None
    type: str | None
    changed_at: str | None
    uri: str | None


def parse_change_set(document: Any) -> ChangeSet | None:
    """Return the change set that a PUT's document holds, or None when the channel is caught up.

    Caught up is an empty body, `null`, `{}`, or an object with neither id nor assets; a set id with
    an empty list is a set. Raises UnreadableChangeSet where the structure is not understood.
    """
    if document is None or document == {}:
        return None
    if not isinstance(document, Mapping):
        raise UnreadableChangeSet(_unreadable(f"it is {_kind(document)}, not an object"))
    fields = _named(document)
    if "change_set_id" not in fields and "changed_assets" not in fields:
        raise UnreadableChangeSet(_unreadable(f"its keys are {_shown(document)}"))
    assets = fields.get("changed_assets")
    if not (assets is None or isinstance(assets, list)):
        raise UnreadableChangeSet(_unreadable(f"the changed assets are {_kind(assets)}, not a list"))
    change_set_id = _id_text(fields.get("change_set_id"))
    if not change_set_id and not assets:
        return None
    if not change_set_id or not _CHANGE_SET_ID.fullmatch(change_set_id):
        raise UnreadableChangeSet(_unreadable(f"its id {change_set_id!r:.80} is not of letters, digits, _ and -"))
    return ChangeSet(change_set_id=change_set_id, messages=tuple(_messages(assets or ())))


def parse_channels(document: Any) -> list[Channel]:
    """Return the channels of a bare or wrapped list, by id; raises UnreadableChangeSet for anything else."""
    if isinstance(document, Mapping):
        lists = [value for value in document.values() if isinstance(value, list) and value]
        document = _named(document).get("channels", lists[0] if len(lists) == 1 else None)
    if not isinstance(document, list):
        raise UnreadableChangeSet(f"The list of channels is not understood: it is {_kind(document)}.")
    return sorted((_channel(item) for item in document), key=lambda channel: channel.channel_id)


def content(message: Message) -> tuple[Any, ...]:
    """Return what a message says, without its position and its spelling."""
    if message.reason is None:
        return message[1:6]
    # The raw text has the spelling of its delivery: it counts only where nothing else was understood.
    return (message.reason, *message[1:5]) if any(message[1:5]) else (message.reason, message.raw)


def parse_time(value: Any) -> datetime | None:
    """Return the moment a text names, in UTC and truncated to microseconds; None where it names none.

    A time without a zone is UTC. A year before 2000 is no time: the feed cannot be that old.
    """
    if not isinstance(value, str):
        return None
    try:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = datetime.fromisoformat(value.strip().upper())
        if moment.tzinfo is not UTC:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= _EARLIEST_YEAR else None


def canonical(word: Any) -> str | None:
    """Return a type or family word in Getty's capitals; a word that is not known stays as it is."""
    if word is None or (isinstance(word, str) and word in _CANONICAL):
        return word
    text = storable(word if isinstance(word, str) else as_json(word)).strip()[:_MAX_ID_LENGTH]
    return _WORDS.get(text.casefold(), text) or None


def storable(text: str) -> str:
    """Return text that Postgres can hold: controls and lone surrogates are written as escapes."""
    return text if text.isprintable() else _UNUSABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_json(item: Any) -> str:
    """Return what was read as JSON text of ASCII alone."""
    try:
        return json.dumps(item)
    except RecursionError:
        return '"nested too deeply to be written"'


def _messages(assets: Iterable[Any]) -> Iterable[Message]:
    # A set spells its keys alike: they are looked up once. The common case of each field is settled
    # here, without a call: this loop runs for every message.
    spellings: dict[tuple[str, ...], _Keys | None] = {}
    for position, item in enumerate(assets):
        if not isinstance(item, dict):
            yield _rejected(position, item, reason="not_an_object")
            continue
        spelling = tuple(item)
        keys = spellings[spelling] if spelling in spellings else spellings.setdefault(spelling, _keys(spelling))
        get: Callable[[str | None], Any] = item.get if keys else _named(item).get  # type: ignore[assignment]
        id_key, lifecycle_key, type_key, time_key, uri_key = keys or _Keys._fields
        asset_id = get(id_key)
        if not (type(asset_id) is str and asset_id.isalnum() and len(asset_id) <= _MAX_ID_LENGTH):
            asset_id = _id_text(asset_id)
        word = get(lifecycle_key)
        lifecycle = (_LIFECYCLES.get(word) or _LIFECYCLES.get(word.strip().lower())) if isinstance(word, str) else None
        changed_at = parse_time(get(time_key))
        asset_type = get(type_key)
        if not (type(asset_type) is str and asset_type in _CANONICAL):
            asset_type = canonical(asset_type)
        if asset_id is None or lifecycle is None:
            reason = "unusable_id" if asset_id is None else "unknown_lifecycle"
            yield _rejected(position, item, reason, asset_id, lifecycle, asset_type, changed_at)
            continue
        uri = get(uri_key)
        if not (uri is None or (type(uri) is str and uri.isprintable())):
            uri = storable(uri if isinstance(uri, str) else as_json(uri))
        # It may still be rejected for want of a time; the raw text, which costs time to make, can wait until then.
        yield Message(position, asset_id, lifecycle, asset_type, changed_at, uri, None, item)


def _keys(spelling: tuple[str, ...]) -> "_Keys | None":
    """Return the keys of a message by our names; None where two of them mean the same."""
    found: dict[str, str] = {}
    for key in spelling:
        if name := _NAME_OF.get(_folded(key)):
            if name in found:
                return None
            found[name] = key
    return _Keys(*(found.get(name) for name in _Keys._fields))


def _rejected(
    position: int,
    item: Any,
    reason: str,
    asset_id: str | None = None,
    lifecycle: str | None = None,
    asset_type: str | None = None,
    changed_at: datetime | None = None,
) -> Message:
    return Message(position, asset_id, lifecycle, asset_type, changed_at, None, reason, as_json(item))


def _id_text(value: Any) -> str | None:
    """Return an id as text, or None where it is none: 1 to 255 characters, no controls; an integer will do."""
    if isinstance(value, int) and not isinstance(value, bool):
        # Beyond 64 bits it is no id of Getty's, and Python refuses to spell the longest ones.
        return str(value) if value.bit_length() <= 64 else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    return text if 0 < len(text) <= _MAX_ID_LENGTH and (text.isprintable() or not _UNUSABLE.search(text)) else None


def _channel(item: Any) -> Channel:
    fields = _named(item) if isinstance(item, Mapping) else {}
    number = _id_text(fields.get("channel_id"))
    family, kind = canonical(fields.get("family")), canonical(fields.get("type"))
    if not number or not _is_int32(number) or not family or not kind:
        raise UnreadableChangeSet(
            f"A channel in Getty's list is not understood: {json.dumps(item)[:300]}. It needs a channel id, an "
            "asset family and an asset type; no channel was changed."
        )
    lifecycles = fields.get("lifecycles")
    return Channel(
        channel_id=int(number),
        asset_family=family,
        asset_type=kind,
        lifecycles=storable(lifecycles) if isinstance(lifecycles, str) else None,
        started_at=parse_time(fields.get("started_at")),
    )


def _is_int32(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 2**31


def _named(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known fields of an object by our names; nulls count as missing."""
    found = {}
    for key, value in item.items():
        name = _NAME_OF.get(_folded(key))
        if name is not None and (value is not None or name not in found):
            found[name] = value
    return found


def _folded(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _unreadable(why: str) -> str:
    return (
        f"The structure of a change set is not understood: {why}. The body is kept in the archive and nothing was "
        "confirmed, so Getty hands it out again: extend the table of aliases in parse.py, then run the channel again."
    )


def _kind(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "null"}.get(type(value), "a number")


def _shown(document: Mapping[str, Any]) -> str:
    return ", ".join(repr(key)[:40] for key in list(document)[:8])
