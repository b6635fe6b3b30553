"""The API as Getty documents it: tokens, channels, change sets, and the errors of edge and service."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from getty_sandbox import Channel

from tests.sandbox.conftest import MakeChange, OpenSandbox

PATH = "/v3/asset-changes"
GETTY_ERROR = "application/vnd.getty.error+json"


def test_client_credentials_get_a_token_for_half_an_hour(opened: OpenSandbox) -> None:
    answer = opened().token(grant_type="client_credentials")
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["expires_in"] == 1800


def test_the_lifetime_of_a_token_can_be_text(opened: OpenSandbox) -> None:
    answer = opened(expires_in_as_text=True, token_lifetime=60).token(grant_type="client_credentials")
    assert answer.json()["expires_in"] == "60"


def test_credentials_may_come_as_basic_authentication(opened: OpenSandbox) -> None:
    sandbox = opened(client_secret="with:colon and %").sandbox
    answer = requests.post(
        sandbox.token_url,
        data={"grant_type": "client_credentials"},
        auth=(sandbox.client_id, "with%3Acolon%20and%20%25"),
        timeout=60,
    )
    assert answer.status_code == 200


def test_the_password_grant_of_older_accounts_wants_their_user(opened: OpenSandbox) -> None:
    reader = opened()
    good = reader.token(grant_type="password", username="sandbox-user", password="sandbox-password")
    assert good.json()["refresh_token"]
    bad = reader.token(grant_type="password", username="sandbox-user", password="wrong")
    assert (bad.status_code, bad.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "client_credentials", "client_secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "implicit"}, 400, "unsupported_grant_type"),
        ({}, 400, "invalid_request"),
    ],
)
def test_a_wrong_token_request_is_refused_in_the_words_of_oauth(
    opened: OpenSandbox, form: Any, status: int, error: Any
) -> None:
    answer = opened().token(**form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]


def test_every_call_needs_the_api_key(opened: OpenSandbox) -> None:
    reader = opened()
    reader.session.headers["Api-Key"] = "wrong"
    for answer in (reader.channels(), reader.put(), reader.delete(1)):
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})


def test_every_call_needs_a_token(opened: OpenSandbox) -> None:
    reader = opened()
    del reader.session.headers["Authorization"]
    answer = reader.put()
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_token_expires(opened: OpenSandbox) -> None:
    now = [datetime.now(UTC)]
    reader = opened(clock=lambda: now[0])
    now[0] += timedelta(seconds=1799)
    assert reader.channels().status_code == 200
    now[0] += timedelta(seconds=1)
    assert reader.channels().status_code == 401


def test_revoked_tokens_are_refused_until_the_next_login(opened: OpenSandbox) -> None:
    reader = opened()
    reader.sandbox.revoke_tokens()
    assert reader.channels().status_code == 401
    reader.login()
    assert reader.channels().status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v3/assets/asset-changes/change-sets"),
        ("GET", "/v3/asset-changes/change-sets"),
        ("DELETE", "/v3/asset-changes/change-sets/"),
        ("DELETE", "/v3/asset-changes/change-sets/1/2"),
        ("POST", "/v3/asset-changes/channels"),
        ("GET", "/"),
    ],
)
def test_an_unknown_path_is_a_missing_token_as_at_the_real_edge(opened: OpenSandbox, method: Any, path: Any) -> None:
    answer = opened().send(method, path)
    assert (answer.status_code, answer.json()) == (403, {"message": "Missing Authentication Token"})


def test_the_channels_are_the_four_of_the_guide(opened: OpenSandbox) -> None:
    listed = opened().channels().json()
    assert {(c["channel_id"], c["asset_family"], c["asset_type"]) for c in listed} == {
        (3001, "Editorial", "Image"),
        (3002, "Creative", "Image"),
        (3003, "Editorial", "Film"),
        (3004, "Creative", "Film"),
    }


def test_the_channel_list_shows_what_is_pending(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    reader.sandbox.append(3001, [change("1"), change("2")])
    listed = {c["channel_id"]: c for c in reader.channels().json()}
    assert listed[3001]["notification_count"] == 2
    assert listed[3001]["oldest_notification_date_utc"] == "2026-01-01T00:00:00Z"
    assert listed[3002]["notification_count"] == 0


def test_without_channels_the_list_is_not_found(opened: OpenSandbox) -> None:
    reader = opened(channels=[Channel(7, "Creative", "Image")])
    reader.sandbox.retire(7)
    answer = reader.channels()
    assert (answer.status_code, answer.json()["ErrorCode"]) == (404, "ChannelsNotFound")


def test_a_set_is_delivered_again_until_it_is_confirmed(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    reader.sandbox.append(3001, [change(str(n)) for n in range(3)])
    first = reader.put(batch_size=2)
    again = reader.put(batch_size=1)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.content == again.content
    assert isinstance(first.json()["change_set_id"], str)
    assert [m["id"] for m in first.json()["changed_assets"]] == ["0", "1"]
    assert reader.delete(first.json()["change_set_id"]).content == b""
    second = reader.put()
    assert second.status_code == 201
    assert int(second.json()["change_set_id"]) > int(first.json()["change_set_id"])
    assert [m["id"] for m in second.json()["changed_assets"]] == ["2"]


def test_channels_do_not_wait_for_each_other(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    for channel_id in (3001, 3002):
        reader.sandbox.append(channel_id, [change()])
    ids = {reader.put(channel_id).json()["change_set_id"] for channel_id in (3001, 3002)}
    assert len(ids) == 2
    outstanding = [reader.sandbox.outstanding(channel_id) for channel_id in (3001, 3002)]
    assert {str(each.change_set_id) for each in outstanding if each} == ids


def test_a_set_holds_2200_changes_at_most(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    reader.sandbox.append(3001, [change(str(n)) for n in range(2300)])
    assert len(reader.put(batch_size=5000).json()["changed_assets"]) == 2200


def test_a_batch_size_above_the_maximum_can_be_refused_instead(opened: OpenSandbox) -> None:
    answer = opened(over_maximum="refuse").put(batch_size=2201)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidParameterValue")


@pytest.mark.parametrize("batch_size", ["0", "-1", "x", ""])
def test_a_batch_size_that_is_none_is_refused(opened: OpenSandbox, batch_size: Any) -> None:
    assert opened().put(batch_size=batch_size).status_code == 400


@pytest.mark.parametrize("channel_id", [None, "", "x", "3001,3002", "99999999999"])
def test_a_channel_id_that_is_no_integer_is_invalid(opened: OpenSandbox, channel_id: Any) -> None:
    answer = opened().put(channel_id)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, GETTY_ERROR)
    assert answer.json()["ErrorCode"] == "InvalidChannelIdException"
    assert answer.json()["ErrorMessage"]


def test_an_unknown_channel_is_not_found(opened: OpenSandbox) -> None:
    answer = opened().put(4711)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, GETTY_ERROR)


@pytest.mark.parametrize("change_set_id", ["x", "1x", "-1", "99999999999999999999", "%20"])
def test_a_change_set_id_that_is_no_number_is_invalid(opened: OpenSandbox, change_set_id: Any) -> None:
    answer = opened().delete(change_set_id)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidChangeSetId")


def test_a_second_confirmation_finds_no_transaction(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    reader.sandbox.append(3001, [change()])
    change_set_id = reader.put().json()["change_set_id"]
    assert [reader.delete(change_set_id).status_code for _ in range(2)] == [200, 404]
    assert reader.delete(change_set_id).json()["ErrorMessage"] == "Transaction was not found"
    assert reader.sandbox.confirmed_ids(3001) == [change_set_id]
    assert reader.sandbox.outstanding(3001) is None


def test_many_readers_of_one_channel_all_get_the_same_set(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    reader.sandbox.append(3001, [change(str(n)) for n in range(100)])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: reader.put(batch_size=10), range(40)))
    assert sorted(a.status_code for a in answers) == [200] * 39 + [201]
    assert len({a.content for a in answers}) == 1


def test_a_retired_channel_leaves_the_list_and_is_not_found(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=5)
    reader.sandbox.retire(3001)
    assert 3001 not in [c["channel_id"] for c in reader.channels().json()]
    assert reader.put(3001).status_code == 404


def test_a_silent_feed_looks_caught_up_but_still_redelivers(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=5)
    first = reader.put(batch_size=2)
    reader.sandbox.silence(3001)
    assert reader.put().content == first.content
    reader.delete(first.json()["change_set_id"])
    assert reader.put().content == b""
    reader.sandbox.silence(3001, silent=False)
    assert reader.put().status_code == 201


def test_unread_notifications_vanish_after_the_retention(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    now = datetime.now(UTC)
    ages = (30, 20, 13, 1)
    reader.sandbox.append(3001, [change(str(days), at=(now - timedelta(days=days)).isoformat()) for days in ages])
    assert reader.sandbox.cut_retention(14) == 2
    assert [m["id"] for m in reader.read()] == ["13", "1"]
    [row, *_] = reader.sandbox.progress()["channels"]
    assert (row["total"], row["confirmed"], row["lost_to_retention"]) == (2, 2, 2)


def test_a_redelivery_may_hold_more_where_that_is_asked_for(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened(identical_redelivery=False)
    reader.sandbox.append(3001, [change(str(n)) for n in range(8)])
    first, second = (reader.put(batch_size=2).json() for _ in range(2))
    assert first["change_set_id"] == second["change_set_id"]
    assert [m["id"] for m in second["changed_assets"]] == ["0", "1", "2", "3", "4"]
    reader.delete(first["change_set_id"])
    assert reader.sandbox.truth()["channels"]["3001"]["changes"] == 5
    assert [m["id"] for m in reader.read()] == ["5", "6", "7"]


def test_the_trickle_follows_the_backlog_up_to_now(opened: OpenSandbox) -> None:
    now = [datetime.now(UTC)]
    reader = opened(clock=lambda: now[0], trickle_per_minute=60)
    assert reader.put().content == b""
    now[0] += timedelta(seconds=30)
    messages = reader.read()
    assert len(messages) == 30
    assert reader.sandbox.truth()["channels"]["3001"]["rejected"] == 0
    oldest = reader.sandbox.progress()["channels"][1]["oldest_pending_at"]
    assert datetime.fromisoformat(oldest) <= now[0]


def test_requests_and_their_answers_are_kept_for_tests(opened: OpenSandbox) -> None:
    reader = opened()
    reader.put(3002, 7)
    reader.delete("x")
    put, delete = reader.sandbox.requests[-2:]
    assert (put.method, put.path, put.status) == ("PUT", f"{PATH}/change-sets", 200)
    assert put.query == {"channel_id": "3002", "batch_size": "7"}
    assert put.headers["api-key"] == reader.sandbox.client_id
    assert delete.status == 400
    assert (reader.sandbox.put_count, reader.sandbox.delete_count) == (1, 1)


def test_the_next_answer_can_be_any_bytes(opened: OpenSandbox) -> None:
    reader = opened()
    reader.sandbox.raw_next(3001, b"[[1]]")
    assert reader.put(3002).content == b""
    assert reader.put(3001).content == b"[[1]]"
    assert reader.put(3001).content == b""
