"""The client at the wire: what it sends, what it makes of each answer, and what it never says."""

import json
import logging
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from asset_changes.errors import (
    AccessDenied,
    ApiUnavailable,
    AssetChangesError,
    ConfigurationError,
    CredentialsRefused,
    RateLimited,
    RequestRefused,
    TerminalError,
    TransientError,
    UnexpectedRedirect,
    UnknownChannel,
)
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.session import GettySession
from asset_changes.getty_api.timeouts import BoundedAdapter
from getty_sandbox.sandbox import Sandbox

from tests.conftest import credentials_for
from tests.core.doubles import CANNED, NOON, SECRET, TOKEN, Answer, CannedApi, body_of, change, client_of, served, token

SET = Answer(201, body_of("7", change("1", "New", 0)))


def chained(error: BaseException | None) -> str:
    """Return the text of an error and of all that it was raised from."""
    said = []
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(said)


# What it sends.


def test_each_call_carries_the_api_key_and_the_token(sandbox: Sandbox, client: AssetChangesClient) -> None:
    sandbox.append(3001, [change("1", "New", 0)])
    client.get_channels()
    change_set = client.get_change_set(3001, batch_size=5)
    client.confirm_change_set(change_set.document["change_set_id"])
    token_request, *calls = sandbox.requests
    assert [call.method for call in calls] == ["GET", "PUT", "DELETE"]
    assert {call.headers["api-key"] for call in calls} == {sandbox.client_id}
    [bearer] = {call.headers["authorization"] for call in calls}
    assert bearer.startswith("Bearer ")
    assert "authorization" not in token_request.headers


def test_a_put_without_a_body_says_that_its_length_is_zero(sandbox: Sandbox, client: AssetChangesClient) -> None:
    client.get_change_set(3001, batch_size=5)
    put = sandbox.requests[-1]
    assert put.headers["content-length"] == "0"
    assert put.query == {"channel_id": "3001", "batch_size": "5"}


def test_the_secret_is_form_encoded_whatever_its_characters() -> None:
    api = CannedApi(SET)
    client_of(api).get_change_set(1, batch_size=1)
    [post] = [request for request in api.requests if request.method == "POST"]
    assert post.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    form = dict(parse_qsl(post.body if isinstance(post.body, str) else post.body.decode(), strict_parsing=True))
    assert form == {"grant_type": "client_credentials", "client_id": "the-key", "client_secret": SECRET}
    assert urlsplit(post.url).query == ""
    assert "Api-Key" not in post.headers or post.headers["Api-Key"] == "the-key"


def test_an_odd_secret_is_accepted_by_the_token_address() -> None:
    with Sandbox(changes_per_channel=0, client_secret=SECRET) as sandbox:
        client = AssetChangesClient(credentials_for(sandbox), retry_seconds=0)
        assert len(client.get_channels()) == 4


def test_an_older_account_logs_in_with_its_user_too() -> None:
    with Sandbox(changes_per_channel=0, password="p&ss=wörd") as sandbox:
        credentials = credentials_for(
            sandbox, grant_type="password", username=sandbox.options.username, user_password="p&ss=wörd"
        )
        assert len(AssetChangesClient(credentials, retry_seconds=0).get_channels()) == 4


# The token's life.


@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
def test_one_token_serves_all_calls_until_it_ends(as_text: bool) -> None:
    with Sandbox(changes_per_channel=0, expires_in_as_text=as_text) as sandbox:
        client = AssetChangesClient(credentials_for(sandbox), retry_seconds=0)
        for _ in range(3):
            client.get_change_set(3001, batch_size=5)
        assert [request.method for request in sandbox.requests] == ["POST", "PUT", "PUT", "PUT"]


@pytest.mark.parametrize(("minutes", "second"), [(24, "first"), (25, "second")])
def test_a_token_is_renewed_five_minutes_before_it_ends(minutes: int, second: str) -> None:
    api = CannedApi(SET, tokens=[token("first", expires_in=1800), token("second")])
    times = [NOON, *[NOON + timedelta(minutes=minutes)] * 2]
    session = GettySession(CANNED, name="getty", allowed={"GET": "/"}, clock=lambda: times.pop(0), adapter=api)
    session.send("GET", "/")
    session.send("GET", "/")
    assert [call.headers["Authorization"] for call in api.calls] == ["Bearer first", f"Bearer {second}"]


def test_a_token_of_a_minute_is_used_for_most_of_it() -> None:
    api = CannedApi(SET, tokens=[token("first", expires_in=60), token("second", expires_in=60)])
    client = client_of(api)
    client.get_change_set(1, batch_size=1)
    client.get_change_set(1, batch_size=1)
    assert [call.headers["Authorization"] for call in api.calls] == ["Bearer first", "Bearer first"]


def test_a_revoked_token_is_renewed_once_and_nobody_notices(sandbox: Sandbox, client: AssetChangesClient) -> None:
    sandbox.append(3001, [change("1", "New", 0)])
    first = client.get_change_set(3001, batch_size=5).document
    sandbox.revoke_tokens()
    assert client.get_change_set(3001, batch_size=5).document == first
    assert [request.status for request in sandbox.requests] == [200, 201, 401, 200, 200]


def test_a_fresh_token_that_is_refused_ends_the_call_for_good(sandbox: Sandbox) -> None:
    client = AssetChangesClient(credentials_for(sandbox, api_key=sandbox.client_id), name="getty_images_default")
    sandbox.fail_next("token_revoked", times=2)
    with pytest.raises(CredentialsRefused, match=r"(?s)'getty_images_default'.*nothing was confirmed"):
        client.get_change_set(3001, batch_size=5)
    assert [request.method for request in sandbox.requests] == ["POST", "PUT", "POST", "PUT"]
    assert sandbox.delete_count == 0


def test_each_new_token_is_passed_on_so_that_logs_can_mask_it() -> None:
    seen: list[str] = []
    api = CannedApi(Answer(401), Answer(201, b"{}"), tokens=[token("first"), token("second")])
    client_of(api, on_token=seen.append).get_change_set(1, batch_size=1)
    assert seen == ["first", "second"]


@pytest.mark.parametrize(("key", "secret"), [("wrong-key", None), (None, "wrong-secret")])
def test_wrong_credentials_fail_at_once_and_name_the_connection(
    sandbox: Sandbox, key: str | None, secret: str | None
) -> None:
    given = credentials_for(sandbox, api_key=key or sandbox.client_id, secret=secret or sandbox.client_secret)
    with pytest.raises(CredentialsRefused, match=r"'getty_images_default'.*API key.*secret.*nothing was confirmed"):
        AssetChangesClient(given, name="getty_images_default").get_channels()
    assert [request.method for request in sandbox.requests] == ["POST"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>"),
        Answer(200, b""),
        Answer(200, b"[]"),
        Answer(200, b'{"token_type": "Bearer"}'),
        Answer(200, b'{"access_token": null, "expires_in": 1800}'),
        Answer(200, b'{"access_token": "t", "expires_in": 1800, "token_type": "mac"}'),
        Answer(200, b'{"access_token": "t", "token_type": "Bearer", "expires_in": "soon"}'),
        Answer(200, b'{"access_token": "two\\nlines", "expires_in": 1800, "token_type": "Bearer"}'),
        Answer(200, b'{"access_token": "", "token_type": "Bearer", "expires_in": 1800}'),
        Answer(200, b'{"access_token": "\\u20ac", "token_type": "Bearer", "expires_in": 1800}'),
        Answer(500),
        Answer(408),
        requests.ConnectTimeout("no answer"),
    ],
    ids=repr,
)
def test_a_token_answer_that_holds_no_token_may_be_better_later(answer: Answer | Exception) -> None:
    api = CannedApi(SET, tokens=[answer])
    with pytest.raises(ApiUnavailable):
        client_of(api).get_change_set(1, batch_size=1)
    assert api.calls == []


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"expires_in": None},
        {"expires_in": ""},
        {"expires_in": 900.5},
        {"expires_in": "900"},
        {"error": None},
        {"error": "", "error_description": None},
        {"error": "none"},
        {"token_type": "bearer"},
        {"token_type": "BEARER"},
        {"token_type": None},
        {"expires_at": 0},
        {"expires_at": "soon", "scope": ["a"], "refresh_token": 7, "new": {"deep": []}},
    ],
    ids=repr,
)
def test_of_a_token_answer_three_members_are_read(rest: dict[str, object], status: int) -> None:
    api = CannedApi(SET, SET, tokens=[Answer(status, json.dumps({"access_token": "sparse", **rest}).encode())])
    client = client_of(api)
    for _ in range(2):
        client.get_change_set(1, batch_size=1)
    assert [call.headers["Authorization"] for call in api.calls] == ["Bearer sparse"] * 2


@pytest.mark.parametrize(
    "answer",
    [Answer(404, b'{"message": "no such path"}'), Answer(403, b"<html>Forbidden</html>"), Answer(405, b"")],
    ids=repr,
)
def test_what_is_no_token_address_is_not_the_keys_fault(answer: Answer) -> None:
    with pytest.raises(ConfigurationError, match=r"Correct token_url in connection 'getty'"):
        client_of(CannedApi(SET, tokens=[answer])).get_change_set(1, batch_size=1)


def test_a_password_in_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.test login me password mine\nmachine auth.test login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    api = CannedApi(SET)
    client_of(api).get_change_set(1, batch_size=1)
    assert [request.headers.get("Authorization") for request in api.requests] == [None, f"Bearer {TOKEN}"]


def test_an_account_without_channels_has_an_empty_list() -> None:
    assert client_of(CannedApi(Answer(404, b'{"ErrorCode": "ChannelsNotFound"}'))).get_channels() == []


def test_a_throttled_token_address_asks_for_patience() -> None:
    with pytest.raises(RateLimited):
        client_of(CannedApi(SET, tokens=[Answer(429)])).get_change_set(1, batch_size=1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_token_address_is_never_followed(status: int) -> None:
    api = CannedApi(SET, tokens=[Answer(status, headers={"Location": "https://auth.test/elsewhere"})])
    with pytest.raises(UnexpectedRedirect, match="token_url in connection 'getty'"):
        client_of(api).get_change_set(1, batch_size=1)
    assert len(api.requests) == 1


# What each answer means.

MEANINGS = [
    (Answer(200, b"half a {"), ApiUnavailable),
    (Answer(200, b"<!DOCTYPE html><p>Sorry</p>"), ApiUnavailable),
    (Answer(200, b"\xff\xfe{"), ApiUnavailable),
    (Answer(408), ApiUnavailable),
    (Answer(500, b'{"message": "Internal Server Error"}'), ApiUnavailable),
    (Answer(502, b"<html>"), ApiUnavailable),
    (Answer(503), ApiUnavailable),
    (Answer(599), ApiUnavailable),
    (Answer(429), RateLimited),
    (Answer(403, headers={"X-Error-Detail": "Account Over Queries Per Second Limit"}), RateLimited),
    (Answer(403, b'{"message": "Account Over Qps"}'), RateLimited),
    (Answer(403, b'{"message": "Account Over Rate Limit"}'), RateLimited),
    (Answer(403, b'{"message": "Forbidden"}'), AccessDenied),
    (Answer(403, b'{"message": "Missing Authentication Token"}'), AccessDenied),
    (Answer(400, b'{"ErrorCode": "InvalidChannelIdException"}'), UnknownChannel),
    (Answer(404, b'{"ErrorCode": "ChannelsNotFound"}'), UnknownChannel),
    (Answer(400, b'{"ErrorCode": "InvalidParameterValue", "ErrorMessage": "batch_size > 500"}'), ConfigurationError),
    (Answer(401), CredentialsRefused),
    (Answer(405), RequestRefused),
    (Answer(410), RequestRefused),
    (Answer(418), RequestRefused),
]


@pytest.mark.parametrize(("answer", "error"), MEANINGS, ids=repr)
def test_each_answer_to_a_put_has_one_meaning(answer: Answer, error: type[AssetChangesError]) -> None:
    api = CannedApi(answer)
    with pytest.raises(error) as caught:
        client_of(api).get_change_set(3001, batch_size=1)
    assert type(caught.value) is error
    assert isinstance(caught.value, TerminalError) != isinstance(caught.value, TransientError)
    assert str(caught.value).endswith((".", "."))


@pytest.mark.parametrize("body", [b"", b" \r\n ", b"null", b"{}"])
@pytest.mark.parametrize("status", [200, 201])
def test_every_shape_of_nothing_is_an_answer(status: int, body: bytes) -> None:
    answer = client_of(CannedApi(Answer(status, body))).get_change_set(1, batch_size=1)
    assert answer.document in (None, {})
    assert answer.body == body


@pytest.mark.parametrize(("status", "is_known"), [(200, True), (201, True), (202, True), (204, True), (404, False)])
def test_a_confirmation_is_known_or_not(status: int, is_known: bool) -> None:
    answer = client_of(CannedApi(Answer(status, b"" if status == 204 else b"<html>"))).confirm_change_set("7")
    assert (answer.is_known, answer.tries) == (is_known, 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(400, b'{"ErrorCode": "InvalidChangeSetId"}'), RequestRefused),
        (Answer(403), AccessDenied),
        (Answer(500), ApiUnavailable),
        (Answer(429), RateLimited),
    ],
)
def test_a_refused_confirmation_is_an_error(answer: Answer, error: type[AssetChangesError]) -> None:
    with pytest.raises(error):
        client_of(CannedApi(answer)).confirm_change_set("7")


@pytest.mark.parametrize("odd", ["", "1/2", "../channels", "7?x=1", "7 ", "7\n", "a" * 65, "%31", "ä"])
def test_an_odd_change_set_id_never_becomes_an_address(odd: str) -> None:
    api = CannedApi(Answer(200))
    with pytest.raises(ConfigurationError, match="nothing was confirmed"):
        client_of(api).confirm_change_set(odd)
    assert api.requests == []


def test_an_unknown_channel_says_to_run_discovery(client: AssetChangesClient) -> None:
    with pytest.raises(UnknownChannel, match=r"channel 999.*asset_changes_discovery"):
        client.get_change_set(999, batch_size=5)


def test_a_number_of_thousands_of_digits_can_be_read() -> None:
    body = b'{"change_set_id": 7, "changed_assets": [{"id": ' + b"9" * 5000 + b', "asset_lifecycle": "New"}]}'
    document = client_of(CannedApi(Answer(201, body))).get_change_set(1, batch_size=1).document
    assert document["change_set_id"] == 7


# Trying again.

PASSING = [
    "lost_put_response", "connection_cut", "500", "502", "503", "429", "403_throttle", "half_json", "cut_body",
    "html_200", "html_502",
]  # fmt: skip


@pytest.mark.parametrize("mode", PASSING)
def test_what_passes_is_tried_again_and_the_same_set_comes(
    mode: str, sandbox: Sandbox, client: AssetChangesClient
) -> None:
    sandbox.append(3001, [change("1", "New", 0)])
    sandbox.fail_next(mode, channel_id=3001)
    assert [one["id"] for one in client.get_change_set(3001, batch_size=5).document["changed_assets"]] == ["1"]
    assert sandbox.put_count == 2


@pytest.mark.parametrize("status", [429, 503])
def test_getty_says_how_long_to_wait_and_is_obeyed(status: int, caplog: pytest.LogCaptureFixture) -> None:
    api = CannedApi(Answer(status, headers={"Retry-After": "1"}), SET)
    with caplog.at_level(logging.WARNING):
        client_of(api, retry_seconds=60).get_change_set(1, batch_size=1)
    [line] = [record for record in caplog.records if "Trying again" in record.message]
    assert line.args[1] >= 1.0


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        (timedelta(minutes=10), 500, 600),
        (timedelta(minutes=-10), 0, 0),
        ("soon", None, None),
        ("-5", None, None),
        ("\u00b2", None, None),
        ("1e999", None, None),
        ("", None, None),
    ],
)
def test_the_wait_that_getty_asks_for_is_read(asked: str | timedelta, least: float | None, most: float | None) -> None:
    if isinstance(asked, timedelta):
        asked = format_datetime(datetime.now(UTC) + asked, usegmt=True)
    with pytest.raises(RateLimited) as caught:
        client_of(CannedApi(Answer(429, headers={"Retry-After": asked}))).get_change_set(1, batch_size=1)
    found = caught.value.retry_after
    if least is None or most is None:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= most


def test_a_wait_beyond_the_limit_is_left_to_the_task() -> None:
    api = CannedApi(Answer(429, headers={"Retry-After": "600"}))
    with pytest.raises(RateLimited) as caught:
        client_of(api, retry_seconds=60).get_change_set(1, batch_size=1)
    assert caught.value.retry_after == 600
    assert len(api.calls) == 1


def test_trying_again_ends_within_its_limit(caplog: pytest.LogCaptureFixture) -> None:
    api = CannedApi(Answer(503))
    with pytest.raises(ApiUnavailable, match="503"), caplog.at_level(logging.WARNING):
        client_of(api, retry_seconds=3).get_change_set(1, batch_size=1)
    pauses = [record.args[1] for record in caplog.records if "Trying again" in record.message]  # type: ignore[index]
    assert sum(pauses) <= 3  # type: ignore[arg-type]
    assert len(api.calls) == len(pauses) + 1


def test_a_lost_answer_is_not_taken_for_another_consumer(sandbox: Sandbox, client: AssetChangesClient) -> None:
    """The answer to a confirmation is lost: the 404 of the next try is ours, not that of another consumer."""
    sandbox.append(3001, [change("1", "New", 0)])
    change_set_id = client.get_change_set(3001, batch_size=5).document["change_set_id"]
    sandbox.fail_next("lost_delete_response")
    answer = client.confirm_change_set(change_set_id)
    assert (answer.is_known, answer.tries) == (False, 2)


@pytest.mark.parametrize(
    "answer", [Answer(400), Answer(403), Answer(404), Answer(410), Answer(302, headers={"Location": "https://b.test"})]
)
def test_what_a_person_must_repair_is_asked_once(answer: Answer) -> None:
    api = CannedApi(answer)
    with pytest.raises(TerminalError):
        client_of(api, retry_seconds=60).get_change_set(1, batch_size=1)
    assert len(api.calls) == 1


def test_no_answer_at_all_is_the_networks_fault() -> None:
    nowhere = Credentials(api_key="k", secret="s", api_url="http://127.0.0.1:9", token_url="http://127.0.0.1:9/token")
    with pytest.raises(ApiUnavailable, match="ConnectionError"):
        AssetChangesClient(nowhere, retry_seconds=0).get_channels()


def every_error_of_requests() -> list[type[Exception]]:
    """Return all exceptions that requests may raise."""
    found, to_visit = [], [requests.RequestException]
    while to_visit:
        kind = to_visit.pop()
        if kind not in found:
            found.append(kind)
            to_visit += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", every_error_of_requests(), ids=lambda kind: kind.__name__)
def test_every_error_of_requests_becomes_one_of_ours(kind: type[Exception]) -> None:
    error = kind("said so", "{", 0) if issubclass(kind, requests.JSONDecodeError) else kind("said so")
    for api in (CannedApi(error), CannedApi(SET, tokens=[error])):
        with pytest.raises(AssetChangesError) as caught:
            client_of(api).get_change_set(1, batch_size=1)
        is_configuration = issubclass(
            kind,
            (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL,
             requests.exceptions.InvalidHeader, requests.URLRequired),
        )  # fmt: skip
        assert isinstance(caught.value, ConfigurationError if is_configuration else ApiUnavailable)


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_host_keeps_the_method(status: int) -> None:
    api = CannedApi(Answer(status, headers={"Location": "/v3/asset-changes/change-sets/?channel_id=1"}), SET)
    client_of(api).get_change_set(1, batch_size=1)
    assert [(call.method, call.url) for call in api.calls] == [
        ("PUT", "https://api.test/v3/asset-changes/change-sets?channel_id=1&batch_size=1"),
        ("PUT", "https://api.test/v3/asset-changes/change-sets/?channel_id=1"),
    ]
    assert all(call.headers["Api-Key"] == "the-key" for call in api.calls)


def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    there = Answer(302, headers={"Location": "?again"})
    assert client_of(CannedApi(there, there, there, SET)).get_change_set(1, batch_size=1).status == 201
    api = CannedApi(there)
    with pytest.raises(UnexpectedRedirect, match="more than 3"):
        client_of(api).get_change_set(1, batch_size=1)
    assert len(api.calls) == 4


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.test/v3", "https://api.test:8443/v3", "http://api.test/v3", "//evil.test/v3",
        "https://api.test@evil.test/", "https://api.test.evil.test/", "ftp://api.test/", "http://[broken", "file:///etc",
    ],
)  # fmt: skip
def test_a_redirect_elsewhere_is_refused(location: str) -> None:
    api = CannedApi(Answer(307, headers={"Location": location}), SET)
    with pytest.raises((UnexpectedRedirect, ConfigurationError)):
        client_of(api).get_change_set(1, batch_size=1)
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v3/downloads/images/1", "/v3/asset-changes/channels", "/v4/asset-changes/change-sets", "/",
        "/v3/asset-changes/change-sets/7", "../downloads/images/1",
    ],
)  # fmt: skip
def test_a_redirect_to_what_may_not_be_called_is_refused(path: str) -> None:
    api = CannedApi(Answer(307, headers={"Location": path}), SET)
    with pytest.raises(UnexpectedRedirect, match=r"is not a call of this client.*'getty'"):
        client_of(api).get_change_set(1, batch_size=1)
    assert len(api.calls) == 1


def test_a_redirect_without_a_target_leads_nowhere() -> None:
    with pytest.raises(UnexpectedRedirect):
        client_of(CannedApi(Answer(302))).get_change_set(1, batch_size=1)


def test_another_host_never_sees_a_request(sandbox: Sandbox, client: AssetChangesClient) -> None:
    with Sandbox(changes_per_channel=0) as stranger:
        sandbox.fail_next("redirect", location=f"{stranger.url}/v3/asset-changes/channels", times=3)
        for call in (
            client.get_channels,
            lambda: client.get_change_set(3001, batch_size=5),
            lambda: client.confirm_change_set("7"),
        ):
            with pytest.raises(UnexpectedRedirect, match="not followed because the request carries the API key"):
                call()
        assert stranger.requests == []


def test_a_redirect_of_the_sandbox_is_followed(sandbox: Sandbox, client: AssetChangesClient) -> None:
    sandbox.append(3001, [change("1", "New", 0)])
    sandbox.fail_next("redirect", channel_id=3001)
    assert client.get_change_set(3001, batch_size=5).status == 201
    assert [request.method for request in sandbox.requests][1:] == ["PUT", "PUT"]


# Time.


@pytest.mark.parametrize("slow", ["token", "token's headers", "headers", "body"])
def test_a_server_that_trickles_is_left(slow: str) -> None:
    def trickle(request: BaseHTTPRequestHandler) -> None:
        is_token = request.command == "POST"
        body = (token().body if is_token else b"{}").ljust(1000)
        head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        if is_token != slow.startswith("token"):
            request.wfile.write(head + body)
            return
        at_once, slowly = (b"", head + body) if slow.endswith("headers") else (head, body)
        with suppress(OSError):  # the other side hangs up
            request.wfile.write(at_once)
            for byte in slowly:
                request.wfile.write(bytes([byte]))
                time.sleep(0.05)

    with served(trickle) as url:
        patient = Credentials(api_key="k", secret="s", api_url=url, token_url=f"{url}/token", timeout_seconds=20)
        # An answer may take one second; no pause within it is as long as the timeout, however busy the machine is.
        client = AssetChangesClient(patient, retry_seconds=0, adapter=BoundedAdapter(timeouts_per_answer=0.05))
        with pytest.raises(ApiUnavailable, match="too slow"):
            client.get_change_set(1, batch_size=1)  # which has its answer after a minute, if it waits so long


def test_a_server_that_says_nothing_is_left() -> None:
    is_over = threading.Event()

    def wait_for_the_end(_: BaseHTTPRequestHandler) -> None:
        is_over.wait()

    with served(wait_for_the_end) as url:
        deaf = Credentials(api_key="k", secret="s", api_url=url, token_url=f"{url}/token", timeout_seconds=0.2)
        with pytest.raises(ApiUnavailable, match="ReadTimeout"):
            AssetChangesClient(deaf, retry_seconds=0).get_change_set(1, batch_size=1)
        is_over.set()


def test_our_clock_says_when_an_answer_came(caplog: pytest.LogCaptureFixture) -> None:
    ahead = NOON + timedelta(hours=20)
    api = CannedApi(Answer(201, SET.body, {"Date": format_datetime(ahead, usegmt=True)}))
    delivery = client_of(api, clock=lambda: NOON).get_change_set(1, batch_size=1)
    assert (delivery.received_at, delivery.server_time) == (NOON, ahead)
    assert "Getty's clock is 20:00:00 ahead of the warehouse's" in caplog.text


@pytest.mark.parametrize("written", ["Sun, 01 Mar 2026 15:00:00 -0000", "Sun Mar  1 15:00:00 2026"])
def test_a_date_without_a_zone_is_utc_everywhere(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        api = CannedApi(Answer(201, SET.body, {"Date": written}))
        delivery = client_of(api, clock=lambda: NOON).get_change_set(1, batch_size=1)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert delivery.server_time == NOON + timedelta(hours=3)


def test_where_the_server_is_days_ahead_nothing_is_taken() -> None:
    api = CannedApi(Answer(201, SET.body, {"Date": "Mon, 02 Mar 2026 00:00:00 GMT"}))
    with pytest.raises(ApiUnavailable, match=r"1 day, 0:00:00 ahead.*nothing was loaded.*Set the warehouse's clock"):
        client_of(api, clock=lambda: datetime(2026, 3, 1, tzinfo=UTC)).get_change_set(1, batch_size=1)


@pytest.mark.parametrize(
    "written",
    [
        "", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Sat, 99 Xxx 2026 00:00:00 GMT", "2026-03-01T15:00:00Z",
        "1772377200", "Sun, 01 Mar 2026 12:00:59 GMT", "Sun, 01 Mar 2026 08:00:00 -2500", "\xff",
    ],
)  # fmt: skip
def test_an_odd_date_of_the_server_is_passed_over(written: str) -> None:
    api = CannedApi(Answer(201, SET.body, {"Date": written}))
    delivery = client_of(api, clock=lambda: NOON).get_change_set(1, batch_size=1)
    assert (delivery.received_at, delivery.server_time) == (NOON, None)


def test_an_error_says_once_what_was_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    api = CannedApi(Answer(503), Answer(403))
    with pytest.raises(AccessDenied) as caught:
        client_of(api, retry_seconds=60).get_change_set(3001, batch_size=1)
    for text in (str(caught.value), caplog.text):
        assert text.count("The next change set of channel 3001: ") == 1


# What it never says.


def test_credentials_hide_their_secrets() -> None:
    given = Credentials(
        api_key="key", secret="the-secret", grant_type="password", username="user", user_password="the-password"
    )
    assert "the-secret" not in repr(given) + str(given)
    assert "the-password" not in repr(given) + str(given)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"api_url": "ftp://x"}, "API base URL"),
        ({"api_url": "api.gettyimages.com"}, "API base URL"),
        ({"api_url": ""}, "API base URL"),
        ({"api_url": "http://[broken"}, "API base URL"),
        ({"token_url": "https://"}, "token_url"),
        ({"grant_type": "implicit"}, "grant type"),
        ({"api_key": ""}, "API key"),
        ({"api_key": "key\n"}, "API key"),
        ({"api_key": "k€y"}, "API key"),
        ({"secret": ""}, "secret"),
        ({"grant_type": "password"}, "user_password"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": 601}, "timeout_seconds"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds"),
    ],
    ids=repr,
)
def test_a_connection_that_cannot_work_says_what_to_correct(changes: dict[str, object], named: str) -> None:
    given = {"api_key": "key", "secret": "very-secret"} | changes
    with pytest.raises(ConfigurationError, match=named) as caught:
        Credentials(**given)  # type: ignore[arg-type]
    assert "very-secret" not in chained(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        *(answer for answer, _ in MEANINGS),
        SET,
        requests.ConnectionError("cut"),
        requests.exceptions.InvalidHeader("bad header 'Bearer " + TOKEN + "'"),
        Answer(302, headers={"Location": "https://evil.test/"}),
    ],
    ids=repr,
)
def test_neither_secret_nor_token_is_ever_said(
    answer: Answer | Exception, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    client = client_of(CannedApi(answer, answer))
    said = ""
    with caplog.at_level(logging.DEBUG):
        try:
            said = repr(client.get_change_set(1, batch_size=1))
        except AssetChangesError as error:
            said = chained(error)
    said += caplog.text + repr(client) + repr(CANNED) + "".join(capfd.readouterr())
    assert len(said) > 50
    assert SECRET not in said
    assert parse_qs(f"s={SECRET}")["s"][0] not in said
    assert TOKEN not in said


def test_at_the_chattiest_level_a_real_exchange_says_no_secret(
    sandbox: Sandbox, client: AssetChangesClient, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.append(3001, [change("1", "New", 0)])
    sandbox.fail_next("token_revoked")
    sandbox.fail_next("500")
    with caplog.at_level(logging.DEBUG):
        change_set_id = client.get_change_set(3001, batch_size=5).document["change_set_id"]
        client.confirm_change_set(change_set_id)
    tokens = {r.headers["authorization"].removeprefix("Bearer ") for r in sandbox.requests if r.method != "POST"}
    assert len(tokens) == 2
    assert "token refused (401)" in caplog.text
    assert not [secret for secret in (*tokens, sandbox.client_secret) if secret in caplog.text]
    assert "authorization" not in caplog.text.lower()
