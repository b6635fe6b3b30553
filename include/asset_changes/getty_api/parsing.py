"""What Getty's bodies say, whatever their spelling.

Getty published the same fields in snake_case (2017 to 2024, and its own samples), PascalCase
(channels, 2024) and camelCase (2026), some under other names. Keys are folded (lower case, no
underscores) and looked up in one table of aliases; unknown keys are left alone.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from asset_changes.errors import UnreadableChangeSet
from asset_changes.getty_api.content import content_hash, contents
from asset_changes.getty_api.fields import (
    EARLIEST_YEAR,
    MAX_ID_LENGTH,
    as_json,
    canonical,
    folded,
    id_text,
    lifecycle,
    parse_time,
    storable,
)
from asset_changes.models import ChangeSet, Channel, Delivery, Messages

MAX_AHEAD = timedelta(hours=1)
"""How far in the future of its delivery a time may lie: Getty's clock and ours differ by less."""

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

_CHANGE_SET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ADDRESS = re.compile(r"^/|://")
# Words of a key that says that there is more: a next page, a cursor, a number of changes.
_MORE = re.compile("next|more|cursor|continu|count|total")
_FIELDS = ("id", "lifecycle", "type", "changed_at", "uri")
_TEXT_OR_NULL = {str, type(None)}
_MANY = 20


def read_json(body: bytes) -> Any:
    """Return the document that a body contains, or raise ValueError.

    What would block its channel for one message's sake is read: an integer of more digits than Python
    reads (as text), a control character within a text, a byte that is no UTF-8 (as a lone surrogate).
    """
    try:
        return msgspec.json.decode(body)  # half the time of json, which takes more than the standard allows
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(
            _text_of(body),
            strict=False,
            parse_int=lambda digits: int(digits) if len(digits) <= MAX_ID_LENGTH else digits,
        )


def content(body: bytes) -> bytes:
    """Return a body without a byte order mark and without white space around it: empty if it says nothing."""
    return body.removeprefix(BOM_UTF8).strip()


def _text_of(body: bytes) -> str:
    return body.decode(json.detect_encoding(body), "surrogateescape")


def parse_change_set(delivery: Delivery) -> ChangeSet | None:
    """Return the change set that a delivery contains, or None when the channel is caught up.

    Caught up is an empty body, a byte order mark alone, `null`, `{}`, or an object with neither id (or 0) nor
    assets, and nothing else in it; a set id with an empty list is a set. Raises UnreadableChangeSet where the
    structure is not understood: what has content that is not known is not empty.
    """
    document = delivery.document
    if document is None and content(delivery.body):
        try:
            document = read_json(delivery.body)
        except ValueError as error:
            raise UnreadableChangeSet(_unreadable("it is not JSON")) from error
    if document is None or document == {}:
        return None
    if not isinstance(document, Mapping):
        raise UnreadableChangeSet(_unreadable(f"it is {_kind(document)}, not an object"))
    _check_repeated_keys(document, delivery.body)
    fields = _named(document)
    if "change_set_id" not in fields and "changed_assets" not in fields:
        raise UnreadableChangeSet(_unreadable(f"its keys are {_shown(document)}"))
    assets = fields.get("changed_assets")
    if assets is None:
        assets = []
    if not isinstance(assets, list):
        raise UnreadableChangeSet(_unreadable(f"the changed assets are {_kind(assets)}, not a list"))
    _check_other_keys(document, assets)
    change_set_id = id_text(fields.get("change_set_id"))
    if change_set_id in (None, "0") and not assets:
        return None
    if not change_set_id or not _CHANGE_SET_ID.fullmatch(change_set_id):
        raise UnreadableChangeSet(_unreadable(f"its id {change_set_id!r:.80} is not of letters, digits, _ and -"))
    messages = _messages(assets)
    return ChangeSet(
        change_set_id=change_set_id,
        messages=messages,
        received_at=delivery.received_at,
        latest_time=max(delivery.received_at, delivery.server_time or delivery.received_at) + MAX_AHEAD,
        content_hash=content_hash(contents(messages)),
    )


def parse_archived(deliveries: Iterable[Delivery], *, change_set_id: str) -> list[ChangeSet]:
    """Return what the archived deliveries of one change set say; raises UnreadableChangeSet for any other body."""
    found = []
    for delivery in deliveries:
        change_set = parse_change_set(delivery)
        if change_set is None or change_set.change_set_id != change_set_id:
            raise UnreadableChangeSet(f"The archived body of change set {change_set_id} holds another set.")
        found.append(change_set)
    return found


def parse_channels(document: Any) -> list[Channel]:
    """Return the channels of a bare or wrapped list, by id; raises UnreadableChangeSet for anything else."""
    if isinstance(document, Mapping):
        lists = [value for value in document.values() if isinstance(value, list) and value]
        document = _named(document).get("channels", lists[0] if len(lists) == 1 else None)
    if not isinstance(document, list):
        raise UnreadableChangeSet(f"The list of channels is not understood: it is {_kind(document)}.")
    return sorted((_channel(item) for item in document), key=lambda channel: channel.channel_id)


def _check_repeated_keys(document: Mapping[str, Any], body: bytes) -> None:
    """Raise UnreadableChangeSet where a key of the set is there twice: JSON keeps the last, perhaps an empty one."""
    wanted = [key for key in document if _NAME_OF.get(folded(key)) in ("change_set_id", "changed_assets")]
    if not any(body.count(json.dumps(key).encode()) > 1 for key in wanted):
        return
    repeated: set[str] = set()

    def pairs_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.update(key for key in wanted if keys.count(key) > 1)
        return dict(pairs)

    json.loads(_text_of(body), strict=False, parse_int=str, object_pairs_hook=pairs_of)
    if repeated:
        raise UnreadableChangeSet(_unreadable(f"it has the key {min(repeated)!r} more than once"))


def _check_other_keys(document: Mapping[str, Any], assets: list[Any]) -> None:
    """Raise UnreadableChangeSet where keys that are not known may contain changes, or lead to more of them.

    Getty has given its lists new names before: what is taken for empty would be confirmed unread.
    """
    others = {}
    for key, value in document.items():
        name = _NAME_OF.get(folded(key))
        if name == "changed_assets" and value and value != assets:
            raise UnreadableChangeSet(
                _unreadable(f"more than one of its keys names changed assets: {_shown(document)}")
            )
        if name not in ("change_set_id", "changed_assets"):
            others[key] = value
    if not assets:
        found = [key for key, value in others.items() if _may_hold_changes(key, value)]
    else:
        found = [key for key, value in others.items() if _holds_changes(value)]
    if found:
        raise UnreadableChangeSet(_unreadable(f"its key {found[0]!r:.60} may hold changes: {_shown(document)}"))


def _may_hold_changes(key: str, value: Any) -> bool:
    """Say whether a value next to an empty list is more than a remark: a list, an object, a link, a count."""
    if isinstance(value, list | dict):
        return bool(value)
    says_more = bool(value) and bool(_MORE.search(folded(key)))
    return says_more or (isinstance(value, str) and bool(_ADDRESS.search(value.strip())))


def _holds_changes(value: Any) -> bool:
    """Say whether a value is a list of objects that look like changes."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and {"id", "lifecycle"} <= set(_named(first))


def _messages(assets: list[Any]) -> Messages:
    """Read a set column by column: what is usual is read for a whole column at once."""
    ids, words, types, times, uris = _columns([item if isinstance(item, dict) else {} for item in assets])
    asset_ids, lifecycles, parsed = _asset_ids(ids), _each_text_once(words, lifecycle), _times(times)
    _check_spelling(assets, {"id": ids, "lifecycle": words, "changed_at": parsed})
    reasons: list[str | None] = [None] * len(assets)
    if None in asset_ids or None in lifecycles:
        reasons = list(map(_reason, assets, asset_ids, lifecycles))
    return Messages(
        asset_id=asset_ids,
        lifecycle=lifecycles,
        asset_type=_each_text_once(types, canonical),
        changed_at=parsed,
        uri=_addresses(uris),
        reason=reasons,
        raw=assets,
    )


def _check_spelling(assets: Sequence[Any], columns: Mapping[str, Sequence[Any]]) -> None:
    """Raise UnreadableChangeSet where of many messages none has an id, a lifecycle, or a time that can be read.

    That is a new spelling of Getty's, not bad messages: these are rejected one by one.
    """
    lacking = [field for field, cells in columns.items() if not any(cells)]
    if lacking and len(assets) >= _MANY:
        raise UnreadableChangeSet(
            _unreadable(
                f"none of its {len(assets)} messages has a {lacking[0]} that is understood; the first of them is "
                f"{as_json(assets[0])[:300]}"
            )
        )


def _columns(items: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Return the columns of `_FIELDS`, None where a message lacks one.

    A set spells its keys alike, so they are looked up once for all of its messages.
    """
    keys: dict[str, str] = {}
    for key in set[str]().union(*items):
        name = _NAME_OF.get(folded(key))
        if name and keys.setdefault(name, key) != key:
            # Two spellings of one field: each message says which of them it means.
            named = [_named(item) for item in items]
            return [[each.get(field) for each in named] for field in _FIELDS]
    return [[item.get(key) for item in items] for key in map(keys.get, _FIELDS)]  # type: ignore[arg-type]


def _asset_ids(cells: list[Any]) -> list[str | None]:
    if set(map(type, cells)) == {str} and all(cells):
        together = "".join(cells)
        # Nothing to strip and nothing to refuse: the space is the one blank that is printable.
        if together.isprintable() and " " not in together and max(map(len, cells)) <= MAX_ID_LENGTH:
            return cells
    return [id_text(cell) for cell in cells]


def _each_text_once(cells: list[Any], meaning: Callable[[Any], str | None]) -> list[str | None]:
    if not set(map(type, cells)) <= _TEXT_OR_NULL:
        return [meaning(cell) for cell in cells]
    known = {cell: meaning(cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def _times(cells: list[Any]) -> list[datetime | None]:
    try:
        parsed = [datetime.fromisoformat(cell) for cell in cells]
    except (TypeError, ValueError):
        parsed = []
    if {time.tzinfo for time in parsed} == {UTC} and min(parsed).year >= EARLIEST_YEAR:
        return [*parsed]
    return [parse_time(cell) for cell in cells]


def _addresses(cells: list[Any]) -> list[str | None]:
    if set(map(type, cells)) <= _TEXT_OR_NULL and "".join(filter(None, cells)).isprintable():
        return cells
    return [cell if cell is None else storable(cell if isinstance(cell, str) else as_json(cell)) for cell in cells]


def _reason(item: Any, asset_id: str | None, lifecycle: str | None) -> str | None:
    """Return why a message is rejected, None where it is not."""
    if not isinstance(item, dict):
        return "not_an_object"
    return "unusable_id" if asset_id is None else "unknown_lifecycle" if lifecycle is None else None


def _channel(item: Any) -> Channel:
    fields = _named(item) if isinstance(item, Mapping) else {}
    number = id_text(fields.get("channel_id"))
    family, kind = canonical(fields.get("family")), canonical(fields.get("type"))
    is_int32 = number is not None and number.isascii() and number.isdigit() and int(number) < 2**31
    if number is None or not is_int32 or not family or not kind:
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


def _named(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known fields of an object by our names; what is empty gives way to what is not."""
    found = {}
    for key, value in item.items():
        name = _NAME_OF.get(folded(key))
        if name is not None and (value not in (None, "", []) or name not in found):
            found[name] = value
    return found


def _unreadable(why: str) -> str:
    return (
        f"The structure of a change set is not understood: {why}. The body is kept in the archive and nothing was "
        "confirmed, so Getty hands it out again: extend the table of aliases in parsing.py, then run the channel again."
    )


def _kind(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "null"}.get(type(value), "a number")


def _shown(document: Mapping[str, Any]) -> str:
    return ", ".join(repr(key)[:40] for key in list(document)[:8])
