"""What Getty says of one asset, as a row of the table `asset_metadata`.

Getty's own types are read leniently, and nothing of an object can make reading it fail: what does not fit its column
is null there, and stays in `raw`, which is the whole object. No content ever gets into a log or an error.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec

from asset_changes.getty_api.fields import folded, parse_time

READER_VERSION = 2
"""Raise it with every change of how an object is read: it is part of `content_hash`, so rows are written anew."""

_UNFIT = object()
_REPLACEMENT = "\ufffd"
_DEEPEST = 64
_LONGEST_NUMBER = 1000  # in bits; Python refuses to spell the longest ones
_folded = lru_cache(maxsize=1024)(folded)  # of the same few dozen keys
_ENCODER, _SORTING_ENCODER = msgspec.json.Encoder(), msgspec.json.Encoder(order="sorted")
_EARLIEST_YEAR = 2  # year 1 is how .NET writes that there is no date


@dataclass(frozen=True, kw_only=True)
class MetadataRow:
    """One row: `values` has every column of `COLUMNS` by its name, those of type jsonb as JSON text.

    `raw` is the whole object as JSON text that jsonb takes: NUL, lone surrogates, numbers that are none and what is
    nested too deeply are U+FFFD in it. `content_hash` is the same for the same content, whatever the order of keys and
    keywords. `unfit` names the columns that are null because their value did not fit.
    """

    values: Mapping[str, Any]
    raw: str
    content_hash: str
    unfit: tuple[str, ...]


def read_metadata(found: Mapping[str, Any]) -> MetadataRow:
    """Return the row of an asset as Getty sent it; any JSON object has one."""
    raw, text = _stored(found)
    members = _members(found)
    stored = members if raw is found else _members(raw)
    objects: dict[str, Mapping[str, Any] | None] = {}
    values: dict[str, Any] = {}
    unfit = []
    for column, is_json, read, name, part in _READS_OF_CLEAN if raw is found else _READS:
        value = (stored if is_json else members).get(name)
        if part is not None and value is not None:
            if name not in objects:
                objects[name] = _members(value) if isinstance(value, dict) else None
            parts = objects[name]
            value = _UNFIT if parts is None else parts.get(part)
        if value is not None and value is not _UNFIT:
            value = read(value)
        if value is _UNFIT:
            unfit.append(column)
            value = None
        values[column] = value
    return MetadataRow(values=values, raw=text, content_hash=_content_hash(raw), unfit=tuple(unfit))


def _members(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an object that hold something, by their names without spelling."""
    # From the end, so that of several spellings the first counts.
    return {_folded(key): item[key] for key in [*item][::-1] if item[key] is not None}


def _text(value: Any) -> Any:
    text = _clean_text(value)
    return _clean(text) if isinstance(text, str) else text


def _clean_text(value: Any) -> Any:
    """Read a text of which it is known that Postgres takes it."""
    if isinstance(value, str):
        return None if not value or value.isspace() else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _UNFIT
    # A number where a text is expected, such as the length of a clip.
    number = _storable(value)
    return _UNFIT if isinstance(number, str) else json.dumps(number)


def _whole_number(bits: int) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, str):
            if not value.strip():
                return None
            is_number = value.isascii() and value.strip().removeprefix("-").isdigit() and len(value) <= 20
            value = int(value) if is_number else _UNFIT
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return _UNFIT
        return value if -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else _UNFIT

    return read


def _time(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        return None
    return parse_time(value, earliest_year=_EARLIEST_YEAR) or _UNFIT


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_all(value: Any) -> Any:
        if not isinstance(value, list):
            return _UNFIT
        items = [None if each is None else read(each) for each in value]
        return _UNFIT if _UNFIT in items else [each for each in items if each is not None]

    return read_all


def _keywords(value: Any) -> Any:
    """Return the keywords that have a text; Getty sends some without."""
    if not isinstance(value, list):
        return _UNFIT
    named = [each for each in value if isinstance(each, dict) and _has_text(each)]
    return _as_json(named)


def _has_text(keyword: Mapping[str, Any]) -> bool:
    text = keyword.get("text") or _members(keyword).get("text")
    return isinstance(text, str) and bool(text.strip())


def _object(value: Any) -> Any:
    return _as_json(value) if isinstance(value, dict) else _UNFIT


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else _UNFIT


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _whole_number(32),
    "bigint": _whole_number(64),
    "boolean": _boolean,
    "timestamptz": _time,
    "text[]": _list_of(_text),
    "bigint[]": _list_of(_whole_number(64)),
    "jsonb": _object,
    "keywords": _keywords,
}


_Source = tuple[str, str, str | None]
"""How a column is read, the member it comes from, and where that is an object, which part of it; without spelling."""


def _of(kind: str, *names: str) -> dict[str, _Source]:
    return {name: (kind, folded(name), None) for name in names}


def _in(member: str, **columns: tuple[str, str]) -> dict[str, _Source]:
    return {column: (kind, folded(member), folded(part)) for column, (kind, part) in columns.items()}


def _date(name: str) -> dict[str, _Source]:
    # The text too: a timestamp has lost the local day of an editorial picture.
    return {name: ("timestamptz", folded(name), None), f"{name}_text": ("text", folded(name), None)}


_SOURCES: Mapping[str, _Source] = {
    **_of("text", "title", "caption", "artist", "copyright", "object_name", "credit_line", "asset_family"),
    **_of("text", "collection_code"),
    **_of("integer", "collection_id"),
    **_of("text", "collection_name", "license_model"),
    **_date("date_created"),
    **_date("date_submitted"),
    **_date("date_camera_shot"),
    **_in("max_dimensions", max_width=("integer", "width"), max_height=("integer", "height")),
    **_of("text", "orientation", "color_type", "graphical_style", "city", "state_province", "country"),
    **_of("text[]", "editorial_segments", "people", "product_types"),
    **_of("bigint[]", "event_ids"),
    **_in("editorial_source", editorial_source_id=("integer", "id"), editorial_source_name=("text", "name")),
    **_of("keywords", "keywords"),
    **_of("jsonb", "alternative_ids"),
    **_of("boolean", "call_for_image"),
    **_of("integer", "quality_rank"),
    **_in(
        "allowed_use",
        how_can_i_use_it=("text", "how_can_i_use_it"),
        release_info=("text", "release_info"),
        usage_restrictions=("text[]", "usage_restrictions"),
        editorial_use_only=("boolean", "editorial_use_only"),
    ),
    **_of("boolean", "is_ai_editable"),
    **_of("text", "clip_length", "era", "mastered_to", "originally_shot_on", "shot_speed", "source"),
}
"""Where each column comes from."""

TYPES: Mapping[str, str] = {
    column: "jsonb" if kind == "keywords" else kind for column, (kind, _, _) in _SOURCES.items()
}
"""The columns of `asset_metadata` that Getty's object fills, in their order, each with its type in Postgres."""

COLUMNS: tuple[str, ...] = tuple(TYPES)


def _reads(
    readers: Mapping[str, Callable[[Any], Any]],
) -> tuple[tuple[str, bool, Callable[[Any], Any], str, str | None], ...]:
    """Return what is read: column, whether it is JSON, how, and where it comes from."""
    return tuple(
        (column, TYPES[column] == "jsonb", readers[kind], name, part) for column, (kind, name, part) in _SOURCES.items()
    )


_READS = _reads(_READERS)
# Most objects were found to be storable as a whole: then no text of theirs is looked through again.
_READS_OF_CLEAN = _reads({**_READERS, "text": _clean_text, "text[]": _list_of(_clean_text)})


def _clean(text: str) -> str:
    """Return text that Postgres takes: U+FFFD for NUL, and for lone surrogates, which no UTF-8 text can contain."""
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    if text.isascii():
        return text
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    # As UTF-16 a surrogate is written as it is, and reading it replaces it; a pair of them is one character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _storable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value that jsonb takes."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _LONGEST_NUMBER else _REPLACEMENT
    if isinstance(value, float):
        return value if isfinite(value) else _REPLACEMENT
    if depth >= _DEEPEST:
        return _REPLACEMENT
    if isinstance(value, Mapping):
        return {_clean(str(key)): _storable(each, depth + 1) for key, each in value.items()}
    return [_storable(each, depth + 1) for each in value]


def _stored(found: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the object as jsonb can hold it, and its text: nearly always as it came, which is found out at once."""
    try:
        encoded = _ENCODER.encode(found)
        if b"\\u0000" not in encoded and msgspec.json.decode(encoded) == found:
            return found, encoded.decode()
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError):
        pass  # a lone surrogate, a number of many digits, a deep nest
    clean = _storable(found)
    return clean, json.dumps(clean, ensure_ascii=False)


def _as_json(value: Any, *, in_order: bool = False) -> str:
    try:
        return (_SORTING_ENCODER if in_order else _ENCODER).encode(value).decode()
    except (OverflowError, RecursionError):  # an integer of more than 64 bits, a deep nest
        return json.dumps(_storable(value), sort_keys=in_order, ensure_ascii=False)


def _content_hash(raw: Mapping[str, Any]) -> str:
    keywords = next((key for key in raw if _folded(key) == "keywords" and isinstance(raw[key], list)), None)
    if keywords is not None:
        raw = {**raw, keywords: sorted(_as_json(each, in_order=True) for each in raw[keywords])}
    return f"{READER_VERSION}:{hashlib.sha256(_as_json(raw, in_order=True).encode()).hexdigest()}"
