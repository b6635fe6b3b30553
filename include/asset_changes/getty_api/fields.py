"""What single values of Getty's mean: words, ids and times."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from asset_changes.models import Lifecycle

_LIFECYCLES = {
    "new": Lifecycle.NEW.value,
    "update": Lifecycle.UPDATE.value,
    "updated": Lifecycle.UPDATE.value,
    "delete": Lifecycle.DELETE.value,
    "deleted": Lifecycle.DELETE.value,
}
_WORDS = {word.casefold(): word for word in ("Image", "Film", "Music", "Editorial", "Creative", "Both")}
MAX_ID_LENGTH = 255
# C0 and C1 controls, and lone surrogates, which no UTF-8 text can contain.
_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
EARLIEST_YEAR = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = re.compile(r"/Date\((\d{1,15})(?:[+-]\d{4})?\)/", re.ASCII)


def folded(key: str) -> str:
    """Return a key of a JSON object without its spelling: snake_case, camelCase and PascalCase are the same."""
    return key.replace("_", "").replace("-", "").lower()


def parse_time(value: Any, *, earliest_year: int = EARLIEST_YEAR) -> datetime | None:
    """Return the time that a text names, in UTC and truncated to microseconds; None where it names none.

    A time without a zone is UTC; `/Date(1517000000000)/` is how the API's first version wrote it. A year
    before 2000 is no time: the feed cannot be that old. Pictures can: their dates have an earliest year of their own.
    """
    if not isinstance(value, str):
        return None
    try:
        if ticks := _TICKS.fullmatch(value.strip()):
            value = (_EPOCH + timedelta(milliseconds=int(ticks[1]))).isoformat()
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            time = datetime.fromisoformat(value.strip().upper())
        if time.tzinfo is not UTC:
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time.year >= earliest_year else None


def canonical(word: Any) -> str | None:
    """Return a type or family word in Getty's capitals; a word that is not known stays as it is."""
    if word is None:
        return None
    text = storable(word if isinstance(word, str) else as_json(word)).strip()[:MAX_ID_LENGTH]
    return _WORDS.get(text.casefold(), text) or None


def lifecycle(word: Any) -> str | None:
    """Return New, Update or Delete, None for a word that means none of them."""
    return _LIFECYCLES.get(word.strip().lower()) if isinstance(word, str) else None


def id_text(value: Any) -> str | None:
    """Return an id as text, or None where it is none: 1 to 255 characters, no controls; an integer will do."""
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to spell the longest ones.
        value = str(value) if value.bit_length() < 4 * MAX_ID_LENGTH else ""
    if not isinstance(value, str):
        return None
    text = value.strip()
    return text if 0 < len(text) <= MAX_ID_LENGTH and (text.isprintable() or not _UNUSABLE.search(text)) else None


def storable(text: str) -> str:
    """Return text that Postgres can store: controls and lone surrogates are written as escapes."""
    return text if text.isprintable() else _UNUSABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_json(item: Any) -> str:
    """Return what was read as JSON text of ASCII alone."""
    try:
        return json.dumps(item)
    except RecursionError:
        return '"nested too deeply to be written"'
