"""What Getty says of assets: `GET /v3/images` and `GET /v3/videos`, at most 100 ids of one type in a call.

These two paths are all that this client can call, whatever it is given: `GettySession` refuses the rest. A change's
`uri` and `/v3/downloads` are not among them, because a POST there counts as a licence.
"""

import logging
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import BaseAdapter

from asset_changes.clock import Clock, system_clock
from asset_changes.errors import ApiUnavailable, ConfigurationError, RateLimited, RequestRefused
from asset_changes.getty_api import responses
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.fields import id_text
from asset_changes.getty_api.lookup_answer import LookupAnswer, read_answer, says_none_found, shown, together
from asset_changes.getty_api.retries import RETRY_SECONDS, Retries
from asset_changes.getty_api.session import GettySession
from asset_changes.models import SOUND_WORDS

__all__ = ["IMAGE_FIELDS", "MAX_IDS", "VIDEO_FIELDS", "LookupAnswer", "LookupClient", "has_lookup", "is_video"]

log = logging.getLogger(__name__)

MAX_IDS = 100
"""How many ids a call may ask for, says Getty."""

_OF_BOTH = (
    "id", "allowed_use", "artist", "asset_family", "call_for_image", "caption", "city", "collection_code",
    "collection_id", "collection_name", "color_type", "copyright", "country", "date_created", "date_submitted",
    "editorial_segments", "event_ids", "is_ai_editable", "keywords", "license_model", "max_dimensions", "object_name",
    "orientation", "people", "product_types", "quality_rank", "state_province", "title",
)  # fmt: skip
_OF_IMAGES = ("alternative_ids", "credit_line", "date_camera_shot", "editorial_source", "graphical_style")
_OF_VIDEOS = ("clip_length", "era", "mastered_to", "originally_shot_on", "shot_speed", "source")
IMAGE_FIELDS = _OF_BOTH + _OF_IMAGES
"""What is asked for, by name: Getty's sets leave out keywords and people, and one of them is no longer documented."""
VIDEO_FIELDS = _OF_BOTH + _OF_VIDEOS
_FIELDS = {"images": IMAGE_FIELDS, "videos": VIDEO_FIELDS}

_ID = "id"
_VIDEO_WORDS = {"video", "videos", "film", "films", "footage"}
_IMAGE_WORDS = {"image", "images", "photo", "photos", "photograph", "photography", "illustration", "vector"}
_ALLOWED = {"GET": "/v3/images|/v3/videos"}
_EFFECT = "no asset was looked up"
# Of the ids in an address, each percent-encoded: one of 255 characters fits, whatever they are.
_MAX_LENGTH = 4000
# How many more calls may find out which ids are refused: three of a hundred need 37 at most.
_CALLS_FOR_IDS = 37
_TRIES_BY_NAME = 5
# Getty documents it as a 500. The same call again fails again: who asks leaves that asset out instead.
_FAULT_OF_AN_ASSET = "InvalidIStockCollection"


@dataclass(frozen=True, kw_only=True)
class _Reply:
    response: requests.Response
    document: Any
    asked: Sequence[str]
    asked_at: datetime

    @property
    def is_accepted(self) -> bool:
        return self.response.status_code != HTTPStatus.BAD_REQUEST


_Ask = Callable[[Sequence[str], Sequence[str]], _Reply]
"""Asks for these ids with these fields."""


class LookupClient:
    """Asks Getty about assets: one connection pool, one token.

    `name` says in error sentences what a person must correct (the connection id); `on_token` gets each new token;
    `before_call` is called before every HTTP exchange, token calls and further tries included: a limiter waits there.
    `on_throttled` is called whenever Getty asks for fewer calls, also where a further try helps: it slows down there.
    `clock` says when a question was sent; `adapter` replaces the network where a test is the API.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        name: str = "the connection",
        on_token: Callable[[str], None] | None = None,
        before_call: Callable[[], None] | None = None,
        on_throttled: Callable[[], None] | None = None,
        retry_seconds: float = RETRY_SECONDS,
        clock: Clock = system_clock,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self._api_url = credentials.api_url
        self._clock = clock
        self._limiter = before_call
        self._on_throttled = on_throttled
        self._asked_at = clock()
        self._session = GettySession(
            credentials, name=name, allowed=_ALLOWED, effect=_EFFECT, on_token=on_token, before_call=self._before_call,
            adapter=adapter,
        )  # fmt: skip
        self._retries = Retries(seconds=retry_seconds)
        self._refused_fields: set[str] = set()
        self._refused_ids: set[str] = set()
        self._answered: set[str] = set()
        self._found_ids: dict[str, str] = {}

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    @property
    def refused_fields(self) -> frozenset[str]:
        """The fields that Getty refused to this client, as `images.people`: it leaves them out from then on."""
        return frozenset(self._refused_fields)

    def look_up(
        self,
        asset_ids: Sequence[str],
        *,
        asset_type: str | None,
        language: str = "en-US",
        without: Collection[str] = (),
        ids_only: bool = False,
        with_token: bool = True,
    ) -> LookupAnswer:
        """Return what Getty says of at most 100 assets of one type; what is neither Video nor Film is asked as images.

        `without` names fields that are known to be refused, as `refused_fields` does; a bare name leaves a field out
        of both types. `ids_only` asks which assets there are and nothing about them. Without a token the answer is not
        limited to what the account has licensed, says Getty's authorization FAQ. An id that cannot be asked for, or
        that Getty refuses, is unanswered.
        """
        ids = list(dict.fromkeys(asset_ids))
        if len(ids) > MAX_IDS:
            raise ConfigurationError(f"{len(ids)} ids in one lookup: Getty allows {MAX_IDS}, so nothing was sent.")
        kind = "videos" if is_video(asset_type) else "images"
        # A comma separates ids, however it is written.
        unusable = {asset_id for asset_id in ids if "," in asset_id or id_text(asset_id) != asset_id}
        if unusable:
            log.warning("%d ids do not fit into a lookup and are left out: %s", len(unusable), shown(unusable))
        unusable |= self._refused_ids.intersection(ids)

        def ask(some_ids: Sequence[str], fields: Sequence[str]) -> _Reply:
            return self._ask(kind, some_ids, fields, language=language, with_token=with_token)

        answers = []
        for some_ids in _by_length([asset_id for asset_id in ids if asset_id not in unusable]):
            left_out = {*without, *self._refused_fields}
            wanted = (_ID,) if ids_only else _FIELDS[kind]
            fields = [each for each in wanted if each == _ID or left_out.isdisjoint((each, f"{kind}.{each}"))]
            unusable.update(some_ids)
            for reply in self._replies(kind, some_ids, fields, ask=ask):
                unusable.difference_update(reply.asked)
                answers.append(read_answer(reply.response, reply.document, asked=reply.asked, asked_at=reply.asked_at))
                if with_token:
                    self._found_ids.update((kind, asset_id) for asset_id in answers[-1].found)
        return together(answers, unanswered=unusable, now=self._clock())

    def _replies(self, kind: str, ids: Sequence[str], fields: Sequence[str], *, ask: _Ask) -> Iterator[_Reply]:
        """Yield the answers about these ids: one, unless Getty answers 404 to several.

        It does not say whether a 404 means that none was found, or that one was not. So they are asked about together
        with an id that was found before, which gives lists; and if that is a 404 too, in halves, down to single ids.
        """
        reply = ask(ids, fields)
        if not reply.is_accepted:
            reply = self._ask_for_less(kind, reply, fields, ask=ask)
        found_id = self._found_ids.get(kind)
        if reply.response.status_code != HTTPStatus.NOT_FOUND or len(reply.asked) == 1 or found_id is None:
            yield reply
            return
        if len(reply.asked) < MAX_IDS and found_id not in reply.asked:
            with_found = ask([*reply.asked, found_id], fields)
            if with_found.response.status_code == HTTPStatus.OK:
                yield with_found
                return
        middle = len(reply.asked) // 2
        for part in (reply.asked[:middle], reply.asked[middle:]):
            yield from self._replies(kind, part, fields, ask=ask)

    def _before_call(self) -> None:
        if self._limiter is not None:
            self._limiter()
        self._asked_at = self._clock()  # after the limiter's wait

    def _ask(self, kind: str, ids: Sequence[str], fields: Sequence[str], *, language: str, with_token: bool) -> _Reply:
        """Return an answer that says something of assets, or a 400; all others are errors."""
        path, session = f"/v3/{kind}", self._session

        def once(_: int) -> _Reply:
            try:
                return ask_once()
            except RateLimited:
                if self._on_throttled is not None:
                    self._on_throttled()
                raise

        def ask_once() -> _Reply:
            asked = {"ids": ",".join(ids), "fields": ",".join(fields)}
            headers = {"Accept-Language": language}
            response = session.send("GET", path, params=asked, headers=headers, with_token=with_token)
            document = None
            if response.status_code == HTTPStatus.NOT_FOUND:
                document = _document_of_404(response)
                if not says_none_found(document):
                    if kind in self._answered:
                        # The address is right, so this is a cut answer or the page of a proxy.
                        raise ApiUnavailable(
                            f"Getty does not know {path} any more (404, {responses.detail(response)})."
                        )
                    raise ConfigurationError(
                        f"{self._api_url} does not know {path} (404, {responses.detail(response)}): correct the host "
                        f"of connection {session.name!r}; {_EFFECT}."
                    )
            elif response.status_code != HTTPStatus.BAD_REQUEST:
                if _FAULT_OF_AN_ASSET in responses.detail(response):
                    error = f"Getty fails for one of these assets (500, '{_FAULT_OF_AN_ASSET}')."
                    raise ApiUnavailable(error, retry_after=math.inf)
                responses.raise_for_status(
                    response, connection=session.name, product=f"GET {path} (lookups of metadata)", effect=_EFFECT
                )
                document = responses.document(response)
                if document is None:
                    raise ApiUnavailable("Getty's answer is empty.")
            self._answered.add(kind)
            return _Reply(response=response, document=document, asked=ids, asked_at=self._asked_at)

        return self._retries.call(once, what=f"The lookup of {len(ids)} {kind}")

    def _ask_for_less(self, kind: str, refusal: _Reply, fields: Sequence[str], *, ask: _Ask) -> _Reply:
        """Return an answer without what Getty refuses (400), and remember what that was.

        Getty names a refused field or id in the sentence of the error, or not at all. So what the sentence names is
        left out first; if that does not help, halves are asked, ids before fields.
        """
        ids, reply = refusal.asked, refusal
        some_ids, some_fields = ids, fields
        for _ in range(_TRIES_BY_NAME):
            named = _named(reply.response.text, some_fields) or _named(reply.response.text, some_ids)
            if not named:
                break
            some_fields = [each for each in some_fields if each not in named]
            some_ids = [each for each in some_ids if each not in named]
            reply = ask(some_ids, some_fields)
            if reply.is_accepted:
                self._remember(kind, set(fields) - set(some_fields), set(ids) - set(some_ids))
                return reply
        good_ids, bad_ids = _halved(ids, lambda part: ask(part, [_ID]).is_accepted, calls=_CALLS_FOR_IDS)
        if good_ids:
            good_fields, bad_fields = _halved(
                [each for each in fields if each != _ID],
                lambda part: ask(good_ids[:1], [_ID, *part]).is_accepted,
                calls=2 * len(fields),
            )
            reply = ask(good_ids, [each for each in fields if each == _ID or each in good_fields])
            if reply.is_accepted:
                self._remember(kind, set(bad_fields), set(bad_ids))
                return reply
        raise RequestRefused(
            f"Getty refuses the lookup of {len(ids)} {kind} (400, {responses.detail(reply.response)}), whatever is "
            f"left out; {_EFFECT}. Check ASSET_CHANGES_LANGUAGE, then report it to Getty."
        )

    def _remember(self, kind: str, fields: Collection[str], ids: Collection[str]) -> None:
        if fields:
            self._refused_fields.update(f"{kind}.{each}" for each in fields)
            log.warning("Getty refuses these fields of %s, which are left out: %s", kind, ", ".join(sorted(fields)))
        if ids:
            self._refused_ids.update(ids)
            log.warning("Getty refuses %d ids, which are not asked for again in this run: %s", len(ids), shown(ids))


def is_video(asset_type: str | None) -> bool:
    """Say whether an asset of this type, in any spelling, is asked for as a video; all others are images."""
    return (asset_type or "").strip().casefold() in _VIDEO_WORDS


def has_lookup(asset_type: str | None, *, is_of_getty: bool = True) -> bool:
    """Say whether Getty can be asked for this type at all: of music, say, it finds neither an image nor a video.

    Not `is_of_getty`: a company's own word, such as JPEG; only one that means sound is not asked for.
    """
    word = (asset_type or "").strip().casefold()
    return not word or (word in _IMAGE_WORDS | _VIDEO_WORDS if is_of_getty else word not in SOUND_WORDS)


def _by_length(ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield the ids in groups that an address can contain."""
    group: list[str] = []
    length = 0
    for asset_id in ids:
        needed = len(quote(asset_id, safe="")) + len("%2C")
        if group and length + needed > _MAX_LENGTH:
            yield group
            group, length = [], 0
        group.append(asset_id)
        length += needed
    if group:
        yield group


def _named(text: str, candidates: Sequence[str]) -> set[str]:
    """Return which fields or ids the sentence of an error names; where it names most of them, it says nothing."""
    words = {word.rstrip(".") for word in re.split(r"[\s,;:'\"()\[\]{}]+", text[:20_000])}
    named = {each for each in candidates if each != _ID and each in words}
    return named if 2 * len(named) < len(candidates) else set()


def _halved(
    items: Sequence[str], is_accepted: Callable[[Sequence[str]], bool], *, calls: int
) -> tuple[list[str], list[str]]:
    """Return which items are accepted, and which are refused one by one; `calls` is how often it may ask."""
    good: list[str] = []
    bad: list[str] = []
    waiting = [items] if items else []
    while waiting and calls:
        part, calls = waiting.pop(0), calls - 1
        if is_accepted(part):
            good += part
        elif len(part) == 1:
            bad += part
        else:
            waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
    return good, bad


def _document_of_404(response: requests.Response) -> Any:
    try:
        return responses.document(response)
    except ApiUnavailable:
        return None  # the page of something else
