"""What an answer about assets says: which were found, which were not, and of when that is.

The published shape is `{"images": [...], "images_not_found": [...]}`, and the same with videos; all members may be
null. The names of the lists and of the id are read in any spelling, as the feed's are. What is not understood is an
error: an asset must not count as not found because a list has a new name.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests

from asset_changes.errors import UnreadableLookup
from asset_changes.getty_api import responses
from asset_changes.getty_api.fields import folded, id_text

log = logging.getLogger(__name__)

_FOUND = ("images", "videos")
_NOT_FOUND = ("imagesnotfound", "videosnotfound")
_NONE_FOUND = re.compile(r"(image|video)s?notfound")
_IDS = ("id", "assetid")
_MAX_SECONDS = 7 * 86400  # a longer life or age of an answer is taken for a mistake
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class LookupAnswer:
    """What Getty says of the assets that were asked for, each of which is in one of three sets.

    `found` has the whole object as received, by the id as it was asked. `unanswered` was neither found nor said to
    be not found: ask again. `as_of` is the time at which Getty knew this. What is asked again before `expires_at`
    may bring the same answer out of a cache; it equals `as_of` where the answer may not be cached.
    """

    found: Mapping[str, Mapping[str, Any]]
    not_found: frozenset[str]
    unanswered: frozenset[str]
    as_of: datetime
    expires_at: datetime


def says_none_found(document: Any) -> bool:
    """Say whether the document of a 404 means that none of the assets was found, not that the address is wrong."""
    if not isinstance(document, Mapping):
        return False
    names = {folded(key): value for key, value in document.items()}
    return bool(_NONE_FOUND.fullmatch(folded(str(names.get("errorcode"))))) or not {*_FOUND, *_NOT_FOUND}.isdisjoint(
        names
    )


def read_answer(
    response: requests.Response, document: Any, *, asked: Sequence[str], asked_at: datetime
) -> LookupAnswer:
    """Return what an answer says of the assets that were asked; raises UnreadableLookup where it is not understood."""
    found, not_found = _lists(document)
    if response.status_code == 404 and found is None and not_found is None:
        found, not_found = [], list(asked)
    if found is None and not_found is None:
        raise UnreadableLookup(f"The answer lists neither found assets nor others: {_shape(document)}.")
    objects: dict[str, Mapping[str, Any]] = {}
    for asset_id, entry in zip(_ids(found or [], "found assets"), found or [], strict=True):
        if asset_id is not None:
            objects.setdefault(asset_id, entry)
    missing = {asset_id for asset_id in _ids(not_found or [], "assets not found") if asset_id is not None}
    wanted = set(asked)
    if strangers := (objects.keys() | missing) - wanted:
        log.warning("Getty answered for %d assets that were not asked, ignored: %s", len(strangers), shown(strangers))
    objects = {asset_id: objects[asset_id] for asset_id in asked if asset_id in objects}
    missing = (missing & wanted) - objects.keys()
    as_of, expires_at = _times(response, asked_at=asked_at)
    return LookupAnswer(
        found=objects,
        not_found=frozenset(missing),
        unanswered=frozenset(wanted - objects.keys() - missing),
        as_of=as_of,
        expires_at=expires_at,
    )


def together(answers: Iterable[LookupAnswer], *, unanswered: Iterable[str], now: datetime) -> LookupAnswer:
    """Return several answers as one: as old as the oldest, and valid as long as the longest."""
    answers = list(answers)
    return LookupAnswer(
        found={asset_id: each for answer in answers for asset_id, each in answer.found.items()},
        not_found=frozenset[str]().union(*(answer.not_found for answer in answers)),
        unanswered=frozenset(unanswered).union(*(answer.unanswered for answer in answers)),
        as_of=min((answer.as_of for answer in answers), default=now),
        expires_at=max((answer.expires_at for answer in answers), default=now),
    )


def shown(ids: Collection[str]) -> str:
    """Return some of many ids, for a log."""
    some = ", ".join(repr(asset_id)[:60] for asset_id in sorted(ids)[:_SHOWN])
    return some if len(ids) <= _SHOWN else f"{some} and {len(ids) - _SHOWN} more"


def _lists(document: Any) -> tuple[list[Any] | None, list[Any] | None]:
    """Return the entries of found assets and of those not found, None where the answer has no such member."""
    lists: dict[bool, list[Any]] = {}
    for key, value in document.items() if isinstance(document, Mapping) else ():
        name = folded(key)
        if name not in (*_FOUND, *_NOT_FOUND):
            continue
        if not isinstance(value, list | None):
            raise UnreadableLookup(f"The answer's {key!r} is not a list: {_shape(document)}.")
        lists.setdefault(name in _FOUND, []).extend(value or [])
    return lists.get(True), lists.get(False)


def _ids(entries: Sequence[Any], what: str) -> list[str | None]:
    """Return the id of each entry, None where it has none; raises UnreadableLookup where none of them has one."""
    ids = [_id(entry, is_object=what == "found assets") for entry in entries]
    if lacking := ids.count(None):
        if lacking == len(ids):
            raise UnreadableLookup(f"Of {lacking} {what} in the answer none has an id: {_shape(entries[0])}.")
        log.warning("Of %d %s in Getty's answer, %d have no id and are ignored.", len(ids), what, lacking)
    return ids


def _id(entry: Any, *, is_object: bool) -> str | None:
    if isinstance(entry, Mapping):
        return next((id_text(value) for key, value in entry.items() if folded(key) in _IDS and value is not None), None)
    return None if is_object else id_text(entry)


def _times(response: requests.Response, *, asked_at: datetime) -> tuple[datetime, datetime]:
    """Return the time at which Getty knew an answer, and until when a cache may repeat it.

    The earlier of its `Date` and of our clock minus its `Age` (RFC 9111, 4.2.3: a cache may keep the `Date` or write a
    new one). Our clock is that of the question, not of the answer: a change that Getty made while the answer was on
    its way, or a `Date` that is ahead, must not make an old answer count as newer. One that counts as too old is only
    asked for once more. A `Date` of more than a week ago is a mistake.
    """
    as_of = asked_at - timedelta(seconds=_seconds(response.headers.get("Age", "")))
    date = responses.http_date(response.headers.get("Date"))
    if date is not None and asked_at - date <= timedelta(seconds=_MAX_SECONDS):
        as_of = min(as_of, date)
    control = response.headers.get("Cache-Control", "").lower()
    may_be_cached = not re.search(r"\bno-(store|cache)\b", control)
    max_age = re.search(r"(?<![\w-])max-age\s*=\s*\"?(\d+)", control, re.ASCII)
    return as_of, as_of + timedelta(seconds=_seconds(max_age[1]) if max_age and may_be_cached else 0)


def _seconds(text: str) -> int:
    """Return the greatest number in a header's text, 0 where there is none."""
    return min(_MAX_SECONDS, max((int(digits) for digits in re.findall(r"[0-9]{1,9}", text)), default=0))


def _shape(value: Any) -> str:
    """Return what something is like without its content."""
    if not isinstance(value, Mapping):
        return f"it is of the JSON type {type(value).__name__}"
    return f"its keys are {', '.join(repr(key)[:40] for key in list(value)[:8]) or 'none'}"
