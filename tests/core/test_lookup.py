"""The lookup client at the wire: what it may call, what it asks, and what it makes of each answer."""

import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml
from asset_changes.errors import (
    AccessDenied,
    ApiUnavailable,
    AssetChangesError,
    ConfigurationError,
    CredentialsRefused,
    RateLimited,
    RequestRefused,
    UnexpectedRedirect,
    UnreadableLookup,
)
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.lookup import IMAGE_FIELDS, MAX_IDS, VIDEO_FIELDS, LookupAnswer, LookupClient
from asset_changes.getty_api.session import GettySession
from hypothesis import given
from hypothesis import strategies as st

from tests.core.doubles import CANNED, NOON, SECRET, TOKEN, Answer, CannedApi, token

PROJECT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((PROJECT / "tests/api/getty-images-lookup-openapi.yml").read_text())


def lookups(
    api: CannedApi, credentials: Credentials = CANNED, *, retry_seconds: float = 0, **more: Any
) -> LookupClient:
    """Return a client of lookups whose connections are this double, at noon."""
    clock = more.pop("clock", lambda: NOON)
    return LookupClient(credentials, name="getty", retry_seconds=retry_seconds, clock=clock, adapter=api, **more)


def answer(found: object = (), not_found: object = (), *, status: int = 200, **headers: str) -> Answer:
    """Return an answer that finds these ids, or these objects."""
    images = [each if isinstance(each, dict) else {"id": each, "title": "t"} for each in found]  # type: ignore[attr-defined]
    body = {"images": images, "images_not_found": list(not_found)}  # type: ignore[call-overload]
    return Answer(status, json.dumps(body).encode(), {key.replace("_", "-"): value for key, value in headers.items()})


def said(document: object, *, status: int = 200) -> Answer:
    """Return an answer of this document."""
    return Answer(status, json.dumps(document).encode())


def look_up(given: Answer, ids: Sequence[str] = ("1", "2", "3"), **more: Any) -> LookupAnswer:
    """Return what the client makes of one answer."""
    return lookups(CannedApi(given), **more).look_up(ids, asset_type="Image")


def kinds(found: LookupAnswer) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of an answer: found, not found, unanswered."""
    return list(found.found), sorted(found.not_found), sorted(found.unanswered)


class PickyApi(CannedApi):
    """Refuses (400) what holds a refused field or id, in a sentence that may name it; finds all other ids."""

    def __init__(self, *refused: str, sentence: Callable[[list[str]], str] = lambda bad: "Invalid request") -> None:
        super().__init__(Answer())
        self.refused, self.sentence = set(refused), sentence

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]
        ids, fields = asked(request) if request.method == "GET" else ([], [])
        bad = [each for each in (*fields, *ids) if each in self.refused or "everything" in self.refused]
        refusal = {"ErrorCode": "InvalidParameterValue", "ErrorMessage": self.sentence(bad)}
        self.answers = [said(refusal, status=400) if bad else answer(ids)]
        return super().send(request, **more)


def asked(request: requests.PreparedRequest) -> tuple[list[str], list[str]]:
    """Return the ids and the fields that a request asks for."""
    query = parse_qs(urlsplit(str(request.url)).query)
    return query["ids"][0].split(","), query["fields"][0].split(",")


# What it may call.

PATHS = [
    "/v3/downloads/images/1", "/v3/downloads/videos/1", "/v3/downloads", "/v3/images/1", "/v3/images/../downloads",
    "/v3/assets", "/v3/asset-licensing/1", "/v3/usage-batches/1", "/v3/boards/1/assets", "//evil.test/v3/images",
    "", "/", "/v3/images/x/", "@evil.test/v3/images", ".evil.test/v3/images", ":99/v3/images",
    "/v3/images%2f..%2fdownloads",
    "/V3/IMAGES",
    "https://api.gettyimages.com/v3/downloads/images/1",
]  # fmt: skip


@pytest.mark.parametrize("client", [LookupClient, AssetChangesClient])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_no_client_can_call_another_path(client: Any, method: str) -> None:
    """A download is a POST that counts as a licence: neither by name nor as the `uri` of a change."""
    api = CannedApi(answer("1"))
    session: GettySession = client(CANNED, adapter=api)._session
    for path in PATHS:
        with pytest.raises(ConfigurationError, match="not a call of this client: nothing was sent"):
            session.send(method, path)
    assert api.requests == []


@given(path=st.text(max_size=60), method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
def test_whatever_is_sent_goes_to_an_allowed_path(path: str, method: str) -> None:
    api = CannedApi(answer("1"))
    session = LookupClient(CANNED, retry_seconds=0, adapter=api)._session
    with suppress(AssetChangesError):
        session.send(method, path)
    assert {urlsplit(str(call.url)).path for call in api.calls} <= {"/v3/images", "/v3/videos"}


def test_a_base_address_with_a_path_is_part_of_it() -> None:
    behind = Credentials(api_key="k", secret="s", api_url="https://proxy.test/getty.x/", token_url=CANNED.token_url)
    api = CannedApi(answer("1"))
    lookups(api, behind).look_up(["1"], asset_type="Image")
    assert urlsplit(str(api.calls[0].url)).path == "/getty.x/v3/images"
    with pytest.raises(ConfigurationError, match="not a call"):
        lookups(api, behind)._session.send("GET", "/../gettyzx/v3/images")


def test_a_lookup_follows_no_redirect_to_a_download() -> None:
    api = CannedApi(Answer(307, headers={"Location": "/v3/downloads/images/1"}), answer("1"))
    with pytest.raises(UnexpectedRedirect, match=r"'/v3/downloads/images/1'.*not a call of this client"):
        lookups(api).look_up(["1"], asset_type="Image")
    assert len(api.calls) == 1


def test_only_the_session_makes_requests() -> None:
    """What is not sent by `GettySession` would pass by its list of paths."""
    sending = re.compile(
        r"\brequests\.(Session|session|request|get|post|put|delete|head|patch|api)\b"
        r"|^\s*(import|from) (httpx|aiohttp|urllib3|http\.client|urllib\.request)\b",
        re.MULTILINE,
    )
    files = [
        file for folder in ("include/asset_changes", "plugins", "dags") for file in (PROJECT / folder).rglob("*.py")
    ]
    found = {file.relative_to(PROJECT).as_posix() for file in files if sending.search(file.read_text())}
    assert found - {"include/asset_changes/getty_api/timeouts.py"} == {"include/asset_changes/getty_api/session.py"}


# What it asks.


@pytest.mark.parametrize(
    ("asset_type", "kind"),
    [("Image", "images"), ("image", "images"), (None, "images"), ("Music", "images"), ("Video", "videos"),
     (" film ", "videos")],
)  # fmt: skip
def test_the_feeds_word_says_which_assets_are_asked(asset_type: str | None, kind: str) -> None:
    api = CannedApi(answer())
    lookups(api).look_up(["5", "200559768-001"], asset_type=asset_type, language="de")
    [call] = api.calls
    assert (call.method, urlsplit(str(call.url)).path) == ("GET", f"/v3/{kind}")
    assert asked(call) == (["5", "200559768-001"], list(IMAGE_FIELDS if kind == "images" else VIDEO_FIELDS))
    assert call.headers["Accept-Language"] == "de"
    assert call.headers["Api-Key"] == "the-key"
    assert call.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(("kind", "fields"), [("images", IMAGE_FIELDS), ("videos", VIDEO_FIELDS)])
def test_each_field_is_one_that_getty_publishes(kind: str, fields: Sequence[str]) -> None:
    operation = DOCUMENT["paths"][f"/v3/{kind}"]["get"]
    values = {"images": "ImageDetailFieldValues", "videos": "VideoDetailFieldValues"}[kind]
    assert set(fields) <= set(DOCUMENT["components"]["schemas"][values]["enum"])
    assert len(fields) == len(set(fields))
    assert not [field for field in fields if field.endswith("_set")]
    names = {(each["in"], each["name"]) for each in operation["parameters"]}
    assert names >= {("query", "ids"), ("query", "fields"), ("header", "Accept-Language")}
    assert f"Maximum of {MAX_IDS} ids" in str(operation["parameters"])


def test_more_than_a_hundred_ids_are_refused_before_the_call() -> None:
    api = CannedApi(answer())
    with pytest.raises(ConfigurationError, match=r"101 ids.*allows 100.*nothing was sent"):
        lookups(api).look_up([str(each) for each in range(101)], asset_type="Image")
    assert api.requests == []
    lookups(api).look_up([str(each % 100) for each in range(200)], asset_type="Image")
    assert len(asked(api.calls[0])[0]) == 100


def test_no_ids_make_no_call() -> None:
    api = CannedApi(answer())
    assert kinds(lookups(api).look_up([], asset_type="Image")) == ([], [], [])
    assert api.requests == []


def test_long_ids_are_asked_in_several_calls() -> None:
    ids = [f"{each:03}".ljust(255, "é") for each in range(20)]
    api = PickyApi()
    assert list(lookups(api).look_up(ids, asset_type="Image").found) == ids
    assert len(api.calls) > 1
    assert max(len(str(call.url)) for call in api.calls) < 5000


def test_an_id_that_no_address_can_hold_is_unanswered(caplog: pytest.LogCaptureFixture) -> None:
    """A comma would ask for two other assets."""
    api = PickyApi()
    found = lookups(api).look_up(["1,2", "3", " 4", "a\x00", "\ud800"], asset_type="Image")
    assert kinds(found) == (["3"], [], sorted(["1,2", " 4", "a\x00", "\ud800"]))
    assert [asked(call)[0] for call in api.calls] == [["3"]]
    assert "'1,2'" in caplog.text


def test_the_limiter_is_called_before_every_exchange() -> None:
    api = CannedApi(Answer(401), Answer(307, headers={"Location": "/v3/images/"}), Answer(503), answer("1"))
    seen: list[int] = []
    client = lookups(api, retry_seconds=5, before_call=lambda: seen.append(len(api.requests)))
    client.look_up(["1"], asset_type="Image")
    assert seen == list(range(6))  # two tokens, the refused one, the redirect, the failure, the answer


def test_the_limiter_sees_every_throttled_try() -> None:
    api = CannedApi(Answer(429), Answer(503), Answer(429), answer("1"))
    seen: list[int] = []
    client = lookups(api, retry_seconds=60, on_throttled=lambda: seen.append(len(api.requests)))
    assert list(client.look_up(["1"], asset_type="Image").found) == ["1"]
    assert len(seen) == 2


def test_an_error_of_the_limiter_ends_the_call() -> None:
    class DailyLimit(Exception):
        pass

    def limit() -> None:
        raise DailyLimit

    api = CannedApi(answer("1"))
    with pytest.raises(DailyLimit):
        lookups(api, retry_seconds=5, before_call=limit).look_up(["1"], asset_type="Image")
    assert api.requests == []


# What is found.


@pytest.mark.parametrize(
    "document",
    [
        {"images": [{"id": "1", "title": "t"}], "images_not_found": ["2"]},
        {"videos": [{"id": "1", "title": "t"}], "videos_not_found": ["2"]},
        {"Images": [{"Id": "1", "title": "t"}], "ImagesNotFound": ["2"]},
        {"images": [{"id": 1, "title": "t"}], "imagesNotFound": [2]},
        {"images": [{"asset_id": "1"}], "images_not_found": [{"id": 2, "reason": "?"}], "paging": {}},
        {"images": [{"id": "1"}, {"id": "1"}], "images_not_found": ["2", "2", "1"]},
        {"images": [{"id": "1"}, {"id": "9"}, {}, None, 7], "images_not_found": ["2", "8", None, {}]},
    ],
    ids=repr,
)
def test_each_id_is_found_not_found_or_unanswered(document: dict[str, Any]) -> None:
    found = look_up(said(document))
    assert kinds(found) == (["1"], ["2"], ["3"])
    assert found.found["1"] == next(iter(document.values()))[0]


@pytest.mark.parametrize(
    "document",
    [{"images": None}, {"images": None, "images_not_found": None}, {"images_not_found": []}, {"videos": []}],
    ids=repr,
)
def test_what_is_in_neither_list_is_not_answered(document: object) -> None:
    assert kinds(look_up(said(document))) == ([], [], ["1", "2", "3"])


@pytest.mark.parametrize(
    "document",
    [
        {}, [], None, 7, "images", [{"id": "1"}], {"results": [{"id": "1"}]}, {"images": {"1": {}}}, {"images": "1"},
        {"images": [{"number": "1"}]}, {"images": ["1"]}, {"images_not_found": [{}]}, {"message": "Sorry"},
    ],
    ids=repr,
)  # fmt: skip
def test_an_answer_that_is_not_understood_is_an_error(document: object) -> None:
    with pytest.raises((UnreadableLookup, ApiUnavailable)) as caught:
        look_up(said(document))
    assert isinstance(caught.value, UnreadableLookup) == (document is not None)
    assert "The lookup of 3 images" in str(caught.value) or document is not None


def test_no_content_is_in_the_error_of_an_answer() -> None:
    with pytest.raises(UnreadableLookup) as caught:
        look_up(said({"results": [{"caption": "private"}], "images": "private"}))
    assert "private" not in str(caught.value)


def test_an_answer_that_was_not_asked_for_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    strangers = [{"id": f"9{each}", "caption": "private"} for each in range(7)]
    found = look_up(answer([{"id": "1", "caption": "private"}, *strangers], ["2"]))
    assert kinds(found) == (["1"], ["2"], ["3"])
    [line] = [each.getMessage() for each in caplog.records]
    assert line == ("Getty answered for 7 assets that were not asked, ignored: '90', '91', '92', '93', '94' and 2 more")


@pytest.mark.parametrize("code", ["ImageNotFound", "ImagesNotFound", "VideosNotFound", "image_not_found"])
def test_a_404_of_the_service_means_that_none_is_found(code: str) -> None:
    assert kinds(look_up(said({"ErrorCode": code}, status=404))) == ([], ["1", "2", "3"], [])


def test_a_404_that_lists_the_assets_is_read() -> None:
    assert kinds(look_up(answer((), ["1", "2"], status=404))) == ([], ["1", "2"], ["3"])


@pytest.mark.parametrize(
    "wrong",
    [Answer(404, b"<html>"), Answer(404), said({"message": "Not Found"}, status=404), said([], status=404),
     said({"ErrorCode": "ResourceNotFound"}, status=404)],
    ids=repr,
)  # fmt: skip
def test_a_404_of_a_wrong_address_finds_nothing_out(wrong: Answer) -> None:
    with pytest.raises(ConfigurationError, match=r"https://api\.test does not know /v3/images.*'getty'"):
        look_up(wrong)


def test_an_odd_404_after_an_answer_may_be_tried_again() -> None:
    """The address was right a minute ago: this is a cut answer, or the page of a proxy."""
    client = lookups(CannedApi(answer("1"), Answer(404, b'{"ErrorC')))
    client.look_up(["1"], asset_type="Image")
    with pytest.raises(ApiUnavailable, match="/v3/images any more"):
        client.look_up(["2"], asset_type="Image")


@pytest.mark.parametrize("asset_type", ["Image", "Film"])
def test_without_a_token_only_ids_are_asked(asset_type: str) -> None:
    """The key alone is sent, and what the account has licensed does not limit the answer."""
    api = CannedApi(answer("1"))
    lookups(api).look_up(["1"], asset_type=asset_type, ids_only=True, with_token=False)
    (call,) = api.requests
    assert (asked(call), "Authorization" in call.headers) == ((["1"], ["id"]), False)
    assert call.headers["Api-Key"]


def test_a_key_alone_that_is_refused_is_named() -> None:
    with pytest.raises(CredentialsRefused, match="the API key of connection 'getty' alone"):
        lookups(CannedApi(Answer(401))).look_up(["1"], asset_type="Image", with_token=False)


# Errors.


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (Answer(403, b'{"message": "Forbidden"}'), AccessDenied, "may use GET /v3/images .*no asset was looked up"),
        (Answer(401), CredentialsRefused, "'getty'; no asset was looked up"),
        (Answer(429, headers={"X-Error-Detail": "Account Over Queries Per Second Limit"}), RateLimited, "429"),
        (Answer(403, b'{"message": "Account Over Qps"}'), RateLimited, "403"),
        (Answer(500), ApiUnavailable, "500"),
        (Answer(200, b"half a {"), ApiUnavailable, "not JSON"),
        (Answer(200), ApiUnavailable, "is empty"),
        (Answer(204), ApiUnavailable, "is empty"),
        (Answer(206, b"{}"), RequestRefused, "206"),
        (Answer(410), RequestRefused, "410"),
    ],
    ids=repr,
)
def test_each_answer_to_a_lookup_has_one_meaning(given: Answer, error: type[AssetChangesError], sentence: str) -> None:
    with pytest.raises(error, match=rf"The lookup of 3 images: .*{sentence}") as caught:
        look_up(given)
    assert type(caught.value) is error
    assert "confirmed" not in str(caught.value)


class StrictApi(CannedApi):
    """Finds the ids that begin with `ok`; answers 404 where one is not found, or none."""

    def __init__(self, *, of_any: bool) -> None:
        super().__init__()
        self._of_any = of_any

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]
        if request.method == "GET":
            ids, _ = asked(request)
            found = [each for each in ids if each.startswith("ok")]
            is_404 = len(found) < len(ids) if self._of_any else not found
            none = said({"ErrorCode": "ImageNotFound", "ErrorMessage": "x"}, status=404)
            self.answers = [none if is_404 else answer(found, set(ids) - set(found))]
        return super().send(request, **more)


@pytest.mark.parametrize(("of_any", "calls"), [(True, 10), (False, 4)])
def test_a_404_of_one_id_hides_no_other(of_any: bool, calls: int) -> None:
    """Getty does not say whether a 404 is about all ids or about any."""
    api = StrictApi(of_any=of_any)
    client = lookups(api)
    client.look_up(["ok"], asset_type="Image")
    mixed = client.look_up(["ok1", "ok2", "gone", "ok3"], asset_type="Image")
    assert (sorted(mixed.found), [*mixed.not_found]) == (["ok1", "ok2", "ok3"], ["gone"])
    assert client.look_up(["gone"], asset_type="Image").not_found == {"gone"}
    assert client.look_up(["ok4"], asset_type="Image").found.keys() == {"ok4"}
    assert len(api.calls) == calls


def test_a_404_of_all_costs_one_call_more() -> None:
    api = StrictApi(of_any=False)
    client = lookups(api)
    client.look_up(["ok"], asset_type="Image")
    for _ in range(2):
        assert client.look_up(["a", "b", "c"], asset_type="Image").not_found == {"a", "b", "c"}
    assert len(api.calls) == 1 + 2 * 2


def test_a_fault_of_one_asset_is_not_tried_again() -> None:
    """The queue's halves find it out within seconds, where each would have been tried again for a minute."""
    api = CannedApi(said({"ErrorCode": "InvalidIStockCollection", "ErrorMessage": "x"}, status=500))
    with pytest.raises(ApiUnavailable, match="The lookup of 2 images: Getty fails for one of these assets"):
        lookups(api, retry_seconds=2).look_up(["1", "2"], asset_type="Image")
    assert len(api.calls) == 1


def test_a_throttled_lookup_is_tried_again() -> None:
    api = CannedApi(Answer(429), Answer(200, b"{"), answer("1"))
    assert list(lookups(api, retry_seconds=5).look_up(["1"], asset_type="Image").found) == ["1"]


def test_a_lookup_never_says_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client = lookups(CannedApi(Answer(403), tokens=[token()]))
        with pytest.raises(AccessDenied) as caught:
            client.look_up(["1"], asset_type="Image")
    everything = caplog.text + repr(client) + repr(vars(client)) + repr(caught.value)
    assert SECRET not in everything
    assert TOKEN not in everything


# What Getty refuses.


@pytest.mark.parametrize("names_it", [True, False], ids=["named", "not named"])
@pytest.mark.parametrize("refused", [["people"], ["title", "keywords"], ["credit_line", "city", "artist", "people"]])
def test_refused_fields_are_found_out_once(
    refused: list[str], names_it: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [str(each) for each in range(100)]
    api = PickyApi(*refused, sentence=lambda bad: f"Invalid fields: {', '.join(bad)}." if names_it else "Bad.")
    client = lookups(api)
    assert list(client.look_up(ids, asset_type="Image").found) == ids
    left = [field for field in IMAGE_FIELDS if field not in refused]
    assert asked(api.calls[-1]) == (ids, left)
    assert client.refused_fields == {f"images.{field}" for field in refused}
    assert len(api.calls) <= (2 if names_it else 50)
    assert [each.getMessage() for each in caplog.records] == [
        f"Getty refuses these fields of images, which are left out: {', '.join(sorted(refused))}"
    ]

    before = len(api.calls)
    assert len(client.look_up(["7"], asset_type="Image").found) == 1
    assert len(api.calls) == before + 1
    again = PickyApi(*refused)
    lookups(again).look_up(["7"], asset_type="Image", without=client.refused_fields)
    assert [asked(call)[1] for call in again.calls] == [left]


def test_a_field_refused_of_videos_is_still_asked_of_images() -> None:
    api = PickyApi()
    client = lookups(api)
    client.look_up(["1"], asset_type="Image", without=["videos.people", "city"])
    assert asked(api.calls[-1])[1] == [field for field in IMAGE_FIELDS if field != "city"]
    client.look_up(["1"], asset_type="Video", without=["videos.people", "city"])
    assert asked(api.calls[-1])[1] == [field for field in VIDEO_FIELDS if field not in ("city", "people")]


@pytest.mark.parametrize("names_it", [True, False], ids=["named", "not named"])
@pytest.mark.parametrize("refused", [["b#d"], ["b#d", "x"], ["b#d", "17", "99"]])
def test_a_refused_id_does_not_block_the_others(refused: list[str], names_it: bool) -> None:
    ids = [*refused, *(str(each) for each in range(100) if str(each) not in refused)][:100]
    api = PickyApi(*refused, sentence=lambda bad: f"Invalid ids '{bad[0]}'" if bad and names_it else "Bad.")
    client = lookups(api)
    found = client.look_up(ids, asset_type="Image")
    assert (set(found.found), found.not_found) == (set(ids) - set(refused), frozenset())
    assert found.unanswered == set(refused)
    assert client.refused_fields == frozenset()
    assert len(api.calls) <= (1 + len(refused) if names_it else 45)
    before = len(api.calls)
    assert client.look_up([*refused, "5"], asset_type="Image").unanswered == set(refused)
    assert len(api.calls) == before + 1


def test_many_refused_ids_leave_the_rest_for_later() -> None:
    ids = [str(each) for each in range(100)]
    found = lookups(PickyApi(*ids[::9])).look_up(ids, asset_type="Image")
    assert found.found
    assert not set(found.found) & set(ids[::9])
    assert set(found.found) | found.unanswered == set(ids)


def test_a_field_and_an_id_may_be_refused_together() -> None:
    ids = [str(each) for each in range(100)]
    client = lookups(PickyApi("people", "42"))
    found = client.look_up(ids, asset_type="Image")
    assert (len(found.found), found.unanswered, client.refused_fields) == (
        99,
        frozenset({"42"}),
        frozenset({"images.people"}),
    )


def test_a_sentence_that_names_nearly_all_says_nothing() -> None:
    api = PickyApi("people", sentence=lambda _: f"Allowed: {', '.join(field for field in IMAGE_FIELDS)}")
    client = lookups(api)
    client.look_up(["1"], asset_type="Image")
    assert client.refused_fields == {"images.people"}


def test_where_all_is_refused_the_lookup_ends() -> None:
    api = PickyApi("everything")
    client = lookups(api)
    with pytest.raises(RequestRefused, match=r"lookup of 100 images \(400, 'InvalidParameterValue'\).*LANGUAGE"):
        client.look_up([str(each) for each in range(100)], asset_type="Image")
    assert len(api.calls) <= 40
    assert client.refused_fields == frozenset()


# Of when an answer is.

HOUR = timedelta(hours=1)


def http(time: datetime) -> str:
    """Return a time as a header has it."""
    return format_datetime(time, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "age", "lives"),
    [
        ({}, 0, 0),
        ({"Date": http(NOON)}, 0, 0),
        ({"Date": http(NOON), "Age": "60"}, 60, 0),  # the cache's own Date
        ({"Date": http(NOON - HOUR), "Age": "3600", "Cache-Control": "max-age=86400"}, 3600, 86400),  # Getty's Date
        ({"Date": http(NOON - HOUR)}, 3600, 0),
        ({"Date": http(NOON + HOUR)}, 0, 0),
        ({"Age": "60", "Cache-Control": "public, Max-Age=300"}, 60, 300),
        ({"Cache-Control": "s-maxage=9, max-age=\"300\""}, 0, 300),
        ({"Cache-Control": "no-store, max-age=300"}, 0, 0),
        ({"Cache-Control": "private,no-cache,max-age=300"}, 0, 0),
        ({"Cache-Control": "max-age=soon", "Age": "old", "Date": "yesterday"}, 0, 0),
        ({"Age": "5, 7"}, 7, 0),
        ({"Age": "9" * 40, "Cache-Control": f"max-age={'9' * 40}"}, 7 * 86400, 7 * 86400),
        ({"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0, 0),
    ],
    ids=repr,
)  # fmt: skip
def test_an_answer_is_as_old_as_it_can_be(headers: dict[str, str], age: int, lives: int) -> None:
    found = look_up(Answer(200, answer("1").body, headers))
    assert found.as_of == NOON - timedelta(seconds=age)
    assert found.expires_at - found.as_of == timedelta(seconds=lives)
    assert found.as_of.tzinfo is UTC


def test_an_answer_is_not_newer_than_its_question() -> None:
    """Getty may change the asset while the answer is on its way; the limiter's wait comes before the question."""
    times = [NOON]

    def pass_time() -> None:
        times[0] += timedelta(seconds=10)

    class SlowApi(CannedApi):
        def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]
            pass_time()
            return super().send(request, **more)

    api = SlowApi(answer("1", Date=http(NOON + HOUR)))
    found = lookups(api, clock=lambda: times[0], before_call=pass_time).look_up(["1"], asset_type="Image")
    assert found.as_of == NOON + timedelta(seconds=30)  # waited, token, waited


def test_several_answers_are_as_old_as_the_oldest() -> None:
    ids = ["a" * 255 + "", *("é" * 250 + str(each) for each in range(5))]
    api = CannedApi(
        answer(ids[:2], Age="60", Cache_Control="max-age=100"), answer(ids[2:], Age="10", Cache_Control="max-age=100")
    )
    found = lookups(api).look_up(ids, asset_type="Image")
    assert len(api.calls) > 1
    assert (found.as_of, found.expires_at) == (NOON - timedelta(seconds=60), NOON + timedelta(seconds=90))
