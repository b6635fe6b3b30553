"""The command line, as a person or a script meets it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from getty_sandbox import __main__ as command

from tests.sandbox.conftest import MakeChange, OpenSandbox


@contextmanager
def serving(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "getty_sandbox", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        [url] = re.findall(r"http://\S+", process.stdout.readline())
        yield process, url
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_says_where_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    with serving("--changes-per-channel", "10") as (process, url):
        assert process.stdout is not None
        assert process.stderr is not None
        [connection_text] = re.findall(r"'(.*)'", process.stdout.readline())
        connection = json.loads(connection_text)
        assert connection["host"] == url
        assert connection["extra"]["token_url"] == f"{url}/oauth2/token"
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_a_killed_sandbox_keeps_its_sets_and_confirmations(tmp_path: Path) -> None:
    arguments = ("--changes-per-channel", "10", "--trickle-per-minute", "0", "--state-dir", str(tmp_path))
    headers = {"Api-Key": "sandbox-key"}
    form = {"grant_type": "client_credentials", "client_id": "sandbox-key", "client_secret": "sandbox-secret"}
    path, asked = "/v3/asset-changes/change-sets", {"channel_id": 3001, "batch_size": 4}
    bodies = []
    for _ in range(3):
        with serving(*arguments) as (_process, url):  # ends with SIGKILL
            token = requests.post(f"{url}/oauth2/token", data=form, timeout=60).json()["access_token"]
            headers["Authorization"] = f"Bearer {token}"
            bodies.append(requests.put(url + path, params=asked, headers=headers, timeout=60).json())
            if len(bodies) == 2:
                gone = requests.delete(f"{url}{path}/{bodies[0]['change_set_id']}", headers=headers, timeout=60)
                assert gone.status_code == 200
    assert bodies[0] == bodies[1]
    assert int(bodies[2]["change_set_id"]) == int(bodies[0]["change_set_id"]) + 1
    assert len(bodies[2]["changed_assets"]) == 4


def test_truth_progress_and_faults_are_asked_for_by_command(
    opened: OpenSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = opened(changes_per_channel=10)
    reader.read()
    url = reader.sandbox.url
    assert command.main(["truth", "--url", url]) == 0
    assert json.loads(capsys.readouterr().out) == reader.sandbox.truth()
    assert command.main(["progress", "--url", url]) == 0
    assert json.loads(capsys.readouterr().out)["channels"][0]["confirmed"] == 10
    assert command.main(["fail", "503", "--url", url]) == 0
    assert reader.put().status_code == 503


def test_a_message_of_ones_own_is_handed_out_as_it_was_given(
    opened: OpenSandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = opened()
    monkeypatch.setenv("GETTY_SANDBOX", reader.sandbox.url)
    assert command.main(["append", "3001", '{"id": "42", "asset_lifecycle": "Misplaced"}', '"not even an object"']) == 0
    handed_out = reader.put().json()["changed_assets"]
    assert handed_out == [{"id": "42", "asset_lifecycle": "Misplaced"}, "not even an object"]
    assert command.main(["append", "1", "{}"]) == 1
    assert "There is no channel 1." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["append", "3001", "no JSON"])


def test_assets_are_deleted_vanish_and_change_by_command(
    opened: OpenSandbox, change: MakeChange, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = opened()
    monkeypatch.setenv("GETTY_SANDBOX", reader.sandbox.url)
    reader.sandbox.append(3001, [change("1"), change("2"), change("3")])
    reader.read()
    for arguments, result in [
        (["metadata", "1", '{"caption": "Mine"}'], None),
        (["vanish", "2"], ["2"]),
        (["delete", "3"], ["3"]),
        (["delete", "--count", "1"], ["1"]),
        (["vanish", "--back", "2"], ["2"]),
        (["unlicense", "2", "--share", "0"], ["2"]),
        (["add", "50", "51", "--asset-type", "Film"], ["50", "51"]),
        (["retype", "50", "--asset-type", "Image"], ["50"]),
        (["verdicts", "2", "50", "404"], {"2": "not_licensed", "50": "available", "404": "not_in_catalogue"}),
        (["unlicense", "2", "--back"], ["2"]),
        (["holdings", "--count", "5", "--added", "0"], []),
    ]:
        if arguments[0] == "delete" and "--count" in arguments:
            assert reader.sandbox.truth()["metadata"]["1"]["caption"] == "Mine"
            assert reader.sandbox.truth()["metadata"]["2"] is None
        assert command.main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["result"] == result
    assert [(each["id"], each["asset_lifecycle"]) for each in reader.read()] == [("3", "Delete"), ("1", "Delete")]
    assert reader.sandbox.truth()["metadata"]["2"]["id"] == "2"
    assert command.main(["delete", "1"]) == 1
    assert "There is no asset '1' to delete." in capsys.readouterr().err
    assert command.main(["fail", "503", "--operation", "lookup"]) == 0
    assert reader.channels().status_code == 200
    assert reader.send("GET", "/v3/images?ids=2").status_code == 503


def test_feeds_are_steered_over_http(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    steer = f"{reader.sandbox.url}/_sandbox"
    appended = {"channel_id": 3001, "messages": [change()]}
    assert requests.post(f"{steer}/append", json=appended, timeout=60).status_code == 200
    assert len(reader.read()) == 1
    assert requests.post(f"{steer}/retire", json={"channel_id": 3001}, timeout=60).status_code == 200
    assert reader.put().status_code == 404
    assert requests.post(f"{steer}/revoke", timeout=60).status_code == 200
    assert reader.channels().status_code == 401
    assert requests.get(f"{steer}/requests", timeout=60).json()[-1]["status"] == 401
    assert "GET /_sandbox/truth" in requests.get(f"{steer}/nothing", timeout=60).json()["message"]
    assert requests.post(f"{steer}/retire", json={"channel_id": 1}, timeout=60).json() == {
        "message": "There is no channel 1."
    }


def test_help_explains_switches_and_faults(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["serve", "--help"]):
        with pytest.raises(SystemExit) as ended:
            command.main(arguments)
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert "examples:" in text
        assert "lost_put_response" in text
    assert "--nastiness" in text


def test_mistakes_are_answered_with_sentences(opened: OpenSandbox, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(opened().sandbox.port)
    for arguments, sentence in [
        (["serve", "--port", port, "--changes-per-channel", "0"], "cannot listen on 127.0.0.1"),
        (["serve", "--faults", "gremlins"], "There is no fault mode 'gremlins'"),
        (["serve", "--start", "2026-01-01"], "needs a zone"),
        (["truth", "--url", "http://127.0.0.1:9"], "No sandbox answers at"),
    ]:
        assert command.main(arguments) == 1
        assert sentence in capsys.readouterr().err


def test_the_readme_names_every_switch() -> None:
    readme = Path(command.__file__).with_name("README.md").read_text()
    parsers: Any = command._parser()._subparsers
    for action in parsers._group_actions[0].choices["serve"]._actions:
        assert any(name in readme for name in action.option_strings), action.option_strings
