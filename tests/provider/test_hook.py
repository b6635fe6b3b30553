"""The hook, on a connection from the environment, against a local Getty over HTTP."""

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from getty_sandbox import Sandbox

from tests.core.doubles import served
from tests.dags.installation import GETTY, Installation, getty_connection
from tests.provider import inside_hook as inside

CHANNELS = [
    (3001, "Editorial", "Image"),
    (3002, "Creative", "Image"),
    (3003, "Editorial", "Film"),
    (3004, "Creative", "Film"),
]
MESSAGE = {
    "id": "1",
    "asset_lifecycle": "New",
    "asset_type": "Image",
    "asset_changed_utc_datetime": "2026-01-01T00:00:00Z",
}


def as_uri(sandbox: Sandbox, **extras: str) -> str:
    """Return the connection as a URI: `http` is where Airflow keeps the scheme of the host."""
    host = urlsplit(sandbox.url)
    query = "&".join(
        f"{key}={quote(value, safe='')}" for key, value in {"token_url": sandbox.token_url, **extras}.items()
    )
    login = f"{quote(sandbox.client_id, safe='')}:{quote(sandbox.client_secret, safe='')}"
    return f"getty-images://{login}@{host.hostname}:{host.port}/http?{query}"


@pytest.mark.parametrize("spelling", ["json", "uri"])
def test_the_hook_lists_reads_and_confirms(airflow: Installation, sandbox: Sandbox, spelling: str) -> None:
    """Its connection is one of the environment."""
    airflow.environment[GETTY] = getty_connection(sandbox) if spelling == "json" else as_uri(sandbox)
    sandbox.append(3001, [MESSAGE, MESSAGE, MESSAGE])

    assert airflow.run(inside.channels) == CHANNELS
    assert airflow.run(inside.read_channel, 3001, [2, 2, 2]) == [(201, 2), (201, 1), (200, 0)]
    assert len(sandbox.confirmed_ids(3001)) == 2
    assert sandbox.outstanding(3001) is None


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        (None, 443, "https://api.gettyimages.com"),
        ("https://api.gettyimages.com", 443, "https://api.gettyimages.com"),
        ("api.gettyimages.com/", 443, "https://api.gettyimages.com"),
        ("https://getty.example:8443", 443, "https://getty.example:8443"),
        ("https://getty.example:8443", 8443, "https://getty.example:8443"),
        ("https://getty.example/images", 8443, "https://getty.example:8443/images"),
        ("http://127.0.0.1", 8080, "http://127.0.0.1:8080"),
        ("http://127.0.0.1", 0, "http://127.0.0.1"),
    ],
)
def test_a_port_counts_once_in_the_host_or_in_its_own_field(
    airflow: Installation, sandbox: Sandbox, host: str | None, port: int, address: str
) -> None:
    airflow.environment[GETTY] = getty_connection(sandbox, host=host, port=port)
    assert airflow.run(inside.api_url) == address


def test_one_hook_takes_one_token(airflow: Installation, sandbox: Sandbox) -> None:
    airflow.environment[GETTY] = getty_connection(sandbox)
    sandbox.append(3001, [MESSAGE, MESSAGE])

    airflow.run(inside.read_channel, 3001, [1, 1, 1])

    assert [each.method for each in sandbox.requests].count("POST") == 1


def test_an_older_account_comes_in_by_the_password_grant(airflow: Installation, sandbox: Sandbox) -> None:
    options = sandbox.options
    user = {"grant_type": "password", "username": options.username, "user_password": options.password}
    airflow.environment[GETTY] = getty_connection(sandbox, extra={"token_url": sandbox.token_url, **user})
    assert airflow.run(inside.channels) == CHANNELS

    airflow.environment[GETTY] = as_uri(sandbox, **(user | {"user_password": "wrong"}))
    message = airflow.run(inside.failure, "get_channels")
    assert message.startswith(
        "CredentialsRefused: The list of channels: Getty does not accept the credentials of connection"
    )


@pytest.mark.parametrize(("asset_type", "kind"), [("Film", "videos"), (None, "images")])
def test_the_hook_looks_assets_up(airflow: Installation, sandbox: Sandbox, asset_type: str | None, kind: str) -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = {"access_token": "a-token", "expires_in": 1800}
        if request.command == "GET":
            asked.append((request.path.partition("?")[0], request.headers["Accept-Language"]))
            body = {kind: [{"id": "1", "title": "t"}], f"{kind}_not_found": ["2"]}
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        request.send_response(200)
        request.end_headers()
        request.wfile.write(json.dumps(body).encode())

    with served(answer) as url:
        airflow.environment[GETTY] = getty_connection(sandbox, host=url, extra={"token_url": f"{url}/token"})
        found = airflow.run(inside.look_up, ["1", "2", "3"], asset_type)
    assert found == {
        "found": {"1": {"id": "1", "title": "t"}},
        "not_found": ["2"],
        "unanswered": ["3"],
        "tokens": 2,
        "calls": 2,
    }
    assert asked == [(f"/v3/{kind}", language) for language in ("en-US", "de", "en-US")]


def test_too_many_ids_are_refused_before_any_call(airflow: Installation, sandbox: Sandbox) -> None:
    airflow.environment[GETTY] = getty_connection(sandbox)
    message = airflow.run(inside.failure, "look_up", [str(each) for each in range(101)])
    assert message.startswith("ConfigurationError: 101 ids in one lookup: Getty allows 100")
    assert sandbox.requests == []


@pytest.mark.parametrize("size", [0, 2201, "x", True])
def test_a_batch_size_out_of_range_is_refused_before_any_call(
    airflow: Installation, sandbox: Sandbox, size: object
) -> None:
    airflow.environment[GETTY] = getty_connection(sandbox)
    message = airflow.run(inside.failure, "get_change_set", 3001)
    assert message == ""
    before = len(sandbox.requests)

    message = airflow.run(inside.refused_batch_size, size)

    assert message.startswith("ConfigurationError: The batch size")
    assert "from 1 to 2200" in message
    assert len(sandbox.requests) == before


def test_what_is_no_id_of_a_change_set_is_not_sent(airflow: Installation, sandbox: Sandbox) -> None:
    airflow.environment[GETTY] = getty_connection(sandbox)
    message = airflow.run(inside.failure, "confirm_change_set", "../channels")
    assert message.startswith("ConfigurationError: '../channels' is no change set id")
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"login": ""}, "lacks the API key (login) or the secret (password)"),
        ({"password": None}, "lacks the API key (login) or the secret (password)"),
        ({"host": "ftp://example.com"}, "The API base URL 'ftp://example.com' is no http(s) address"),
        ({"host": "http://[half"}, "The API base URL 'http://[half' is no http(s) address"),
        ({"extra": {"token_url": "nowhere"}}, "The token_url 'nowhere' is no http(s) address"),
        ({"extra": {"token_url": 5}}, "The token_url '5' is no http(s) address"),
        ({"extra": {"grant_type": "magic"}}, "The grant type 'magic' is unknown: use client_credentials or password"),
        ({"extra": {"grant_type": "password"}}, "The password grant needs the extras username and user_password"),
        ({"extra": {"timeout_seconds": "soon"}}, "timeout_seconds is 'soon': give a number of seconds"),
        ({"extra": {"timeout_seconds": 0}}, "timeout_seconds must be above 0 and at most 600"),
        ({"extra": {"timeout_seconds": "nan"}}, "timeout_seconds must be above 0 and at most 600"),
    ],
)
def test_an_unusable_connection_is_named_with_what_to_correct(
    airflow: Installation, sandbox: Sandbox, changes: dict[str, Any], sentence: str
) -> None:
    airflow.environment["AIRFLOW_CONN_GETTY_OF_ANNA"] = getty_connection(sandbox, **changes)
    ok, message = airflow.run(inside.try_out, "getty_of_anna")
    assert not ok
    assert message.startswith("Connection 'getty_of_anna': ")
    assert sentence in message
    assert sandbox.client_secret not in message
    assert sandbox.requests == []


def test_a_good_connection_tests_well_and_names_the_channels(airflow: Installation, sandbox: Sandbox) -> None:
    airflow.environment[GETTY] = getty_connection(sandbox)
    assert airflow.run(inside.try_out) == (
        True,
        "Connected. Channels: 3001 (Editorial Image), 3002 (Creative Image), 3003 (Editorial Film), "
        "3004 (Creative Film).",
    )
    assert sandbox.put_count == sandbox.delete_count == 0


def test_a_wrong_secret_tests_false_with_the_sentence(airflow: Installation, sandbox: Sandbox) -> None:
    airflow.environment[GETTY] = getty_connection(sandbox, password="not-the-secret")
    ok, message = airflow.run(inside.try_out)
    assert not ok
    assert "Getty does not accept the credentials of connection 'getty_images_default'" in message
    assert "Correct the API key (login) and the secret (password) in it; nothing was confirmed." in message
    assert "not-the-secret" not in message


def test_a_host_without_an_answer_tests_false_within_seconds(airflow: Installation, sandbox: Sandbox) -> None:
    dead = "http://127.0.0.1:9"
    airflow.environment[GETTY] = getty_connection(sandbox, host=dead, extra={"token_url": f"{dead}/token"})
    job = airflow.start(inside.try_out)
    ok, message = job.result()
    assert not ok
    assert message == (
        "The list of channels: No whole answer from token_url of connection 'getty_images_default' (ConnectionError)."
    )
    pauses = [float(seconds) for seconds in re.findall(r"Trying again in ([\d.]+) s", job.log)]
    assert 0 < sum(pauses) < 6  # five seconds, and what rounding adds


def test_a_connection_that_is_not_there_tests_false(airflow: Installation) -> None:
    ok, message = airflow.run(inside.try_out, "nowhere_to_be_found")
    assert not ok
    assert "nowhere_to_be_found" in message


def test_token_and_secrets_are_in_no_log_and_no_representation(airflow: Installation, sandbox: Sandbox) -> None:
    options = sandbox.options
    user = {"grant_type": "password", "username": options.username, "user_password": options.password}
    airflow.environment[GETTY] = getty_connection(sandbox, extra={"token_url": sandbox.token_url, **user})

    job = airflow.start(inside.said_of_a_session, options.client_secret, options.password)
    said = job.result()

    token = sandbox.requests[-1].headers["authorization"].removeprefix("Bearer ")
    assert token in said["masked"]
    assert set(said["shown"]) == {"here is ***, see"}
    for secret in (token, options.client_secret, options.password):
        assert len(secret) > 10
        assert secret not in job.log
        assert secret not in said["representations"]


def test_the_connection_survives_airflows_own_json(airflow: Installation, sandbox: Sandbox) -> None:
    connection = json.loads(getty_connection(sandbox))
    connection["extra"] = json.dumps(connection["extra"])
    assert airflow.run(inside.try_out_in_the_server, connection)[0]
