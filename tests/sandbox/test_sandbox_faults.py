"""Each mishap, as a reader meets it on the wire, and that it leaves no damage behind."""

import time
from typing import Any

import pytest
import requests
from getty_sandbox import SandboxError
from getty_sandbox.faults import MODES

from tests.sandbox.conftest import MakeChange, OpenSandbox, Reader

WIRE_ERRORS = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@pytest.fixture
def reader(opened: OpenSandbox, change: MakeChange) -> Reader:
    reader = opened(slow_body_seconds=0.2)
    reader.sandbox.append(3001, [change(str(n)) for n in range(5)])
    return reader


def test_after_a_lost_put_answer_the_set_is_redelivered(reader: Reader) -> None:
    reader.sandbox.fail_next("lost_put_response", channel_id=3001)
    with pytest.raises(WIRE_ERRORS):
        reader.put()
    assert reader.sandbox.outstanding(3001) is not None
    assert reader.put().status_code == 200


def test_after_a_lost_delete_answer_the_set_is_confirmed(reader: Reader) -> None:
    change_set_id = reader.put().json()["change_set_id"]
    reader.sandbox.fail_next("lost_delete_response")
    with pytest.raises(WIRE_ERRORS):
        reader.delete(change_set_id)
    assert reader.delete(change_set_id).status_code == 404
    assert reader.sandbox.confirmed_ids(3001) == [change_set_id]
    assert reader.sandbox.requests[-2].status == 0


def test_a_connection_cut_before_anything_happens_does_nothing(reader: Reader) -> None:
    reader.sandbox.fail_next("connection_cut")
    with pytest.raises(WIRE_ERRORS):
        reader.put()
    assert reader.sandbox.outstanding(3001) is None
    assert reader.put().status_code == 201


@pytest.mark.parametrize("mode", ["500", "502", "503"])
def test_a_server_error_speaks_like_the_edge(reader: Reader, mode: str) -> None:
    reader.sandbox.fail_next(mode, times=2)
    for _ in range(2):
        answer = reader.put()
        assert answer.status_code == int(mode)
        assert list(answer.json()) == ["message"]
    assert reader.put().status_code == 201


def test_throttling_comes_with_and_without_a_time_to_wait(reader: Reader) -> None:
    reader.sandbox.fail_next("429")
    reader.sandbox.fail_next("429_retry_after")
    without, with_time = reader.put(), reader.put()
    assert (without.status_code, with_time.status_code) == (429, 429)
    assert "Queries Per Second" in without.headers["X-Error-Detail"]
    assert "Retry-After" not in without.headers
    assert with_time.headers["Retry-After"] == "0"


def test_throttling_of_older_accounts_is_a_403(reader: Reader) -> None:
    reader.sandbox.fail_next("403_throttle")
    answer = reader.put()
    assert (answer.status_code, answer.json()["message"]) == (403, answer.headers["X-Error-Detail"])


def test_a_revoked_token_stays_revoked_and_a_new_one_is_good(reader: Reader) -> None:
    reader.sandbox.fail_next("token_revoked")
    assert [reader.put().status_code for _ in range(2)] == [401, 401]
    reader.login()
    assert reader.put().status_code == 201


def test_half_a_body_may_come_under_an_honest_length(reader: Reader) -> None:
    reader.sandbox.fail_next("half_json")
    answer = reader.put()
    assert len(answer.content) == int(answer.headers["Content-Length"])
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert len(reader.put().json()["changed_assets"]) == 5


@pytest.mark.parametrize("empty", ["body", "204", "null", "whitespace"])
def test_half_of_nothing_is_no_json_either(opened: OpenSandbox, empty: Any) -> None:
    reader = opened(empty=empty)
    reader.sandbox.fail_next("half_json")
    with pytest.raises(requests.JSONDecodeError):
        reader.put().json()
    assert reader.put().status_code in (200, 204)


def test_half_a_body_may_come_under_the_length_of_the_whole(reader: Reader) -> None:
    reader.sandbox.fail_next("cut_body")
    with pytest.raises(WIRE_ERRORS):
        reader.put()
    assert reader.put().status_code == 200


@pytest.mark.parametrize("status", [200, 502])
def test_a_page_for_people_comes_with_a_good_or_a_bad_status(reader: Reader, status: int) -> None:
    reader.sandbox.fail_next(f"html_{status}")
    answer = reader.put()
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html")
    assert answer.content.startswith(b"<!DOCTYPE html>")
    assert reader.put().status_code == 201


def test_a_slow_body_is_right_in_the_end(reader: Reader) -> None:
    reader.sandbox.fail_next("slow_body")
    began = time.monotonic()
    assert len(reader.put().json()["changed_assets"]) == 5
    assert time.monotonic() - began > 0.15


def test_a_redirect_stays_on_the_host_and_keeps_the_question(reader: Reader) -> None:
    reader.sandbox.fail_next("redirect", times=2)
    answer = reader.put()
    assert answer.status_code == 302
    assert reader.send("PUT", answer.headers["Location"]).status_code == 201


def test_a_redirect_can_lead_elsewhere(reader: Reader) -> None:
    reader.sandbox.fail_next("redirect", location="http://elsewhere.invalid/")
    assert reader.put().headers["Location"] == "http://elsewhere.invalid/"


def test_a_forced_fault_waits_for_its_channel_and_operation(reader: Reader) -> None:
    reader.sandbox.fail_next("503", channel_id=3003)
    reader.sandbox.fail_next("500", operation="token")
    assert reader.put(3001).status_code == 201
    assert reader.put(3003).status_code == 503
    assert reader.token(grant_type="client_credentials").status_code == 500


def test_a_fault_can_be_forced_over_http(reader: Reader) -> None:
    url = f"{reader.sandbox.url}/_sandbox/faults"
    assert requests.post(url, json={"mode": "503", "channel_id": 3001, "times": 1}, timeout=60).ok
    assert reader.put().status_code == 503
    refused = requests.post(url, json={"mode": "gremlins"}, timeout=60)
    assert refused.status_code == 400
    assert "gremlins" in refused.json()["message"]


def test_an_unknown_fault_is_refused(opened: OpenSandbox) -> None:
    with pytest.raises(SandboxError, match="gremlins"):
        opened(faults=["gremlins"])


def test_drawn_faults_follow_the_seed_and_the_rate(opened: OpenSandbox) -> None:
    def statuses() -> list[str | None]:
        reader = opened(fault_rate=0.3, faults=["500", "429"], seed=4)
        for _ in range(60):
            reader.put()
        return [request.fault for request in reader.sandbox.requests if request.method == "PUT"]

    first, second = statuses(), statuses()
    assert first == second
    assert {"500", "429", None} == set(first)
    assert 8 <= sum(fault is not None for fault in first) <= 30


def test_a_reader_that_retries_gets_everything_once(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=60, fault_rate=0.5, slow_body_seconds=0)
    seen, met, done = [], set(), False
    while not done:
        try:
            answer = reader.put(3001, 2)
            if answer.status_code == 401:
                reader.login()
            done = answer.status_code == 200 and not answer.content
            messages = answer.json()["changed_assets"]
            while (status := confirmed_status(reader, answer.json()["change_set_id"])) not in (200, 404):
                assert status != 400
            seen += messages
        except (*WIRE_ERRORS, requests.JSONDecodeError, KeyError, TypeError):
            continue
        finally:
            met = {request.fault for request in reader.sandbox.requests}
    assert len(seen) == 60
    assert len(met - {None}) > len(MODES) * 0.7


def confirmed_status(reader: Reader, change_set_id: object) -> int:
    try:
        status = reader.delete(change_set_id).status_code
    except WIRE_ERRORS:
        return 0
    if status == 401:
        reader.login()
    return status
