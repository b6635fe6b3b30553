"""Every command of docs/connection.md does what the paper says, with a local Getty in place of the real one."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from getty_sandbox import Sandbox

from tests.dags.installation import GETTY, PROJECT, Installation, base_environment, getty_connection
from tests.provider import inside_hook as inside

PAPER = (PROJECT / "docs/connection.md").read_text()
CONNECTED = "Connected. Channels: 3001 (Editorial Image), 3002 (Creative Image), 3003 (Editorial Film), 3004"


def blocks() -> dict[str, str]:
    """Return the commands of the paper, by the section they stand in and their place there."""
    found: dict[str, str] = {}
    for section in PAPER.split("\n## ")[1:]:
        for number, block in enumerate(re.findall(r"```sh\n(.*?)```", section, re.DOTALL), start=1):
            found[f"{section.splitlines()[0]} {number}"] = block
    return found


def against(sandbox: Sandbox, block: str) -> str:
    """Return the commands with the sandbox in Getty's place."""
    host, options = urlsplit(sandbox.url), sandbox.options
    for written, meant in {
        "@api.gettyimages.com/https?": f"@{host.hostname}:{host.port}/http?",
        "https://api.gettyimages.com": sandbox.url,
        "https://authentication.gettyimages.com/oauth2/token": sandbox.token_url,
        "https%3A%2F%2Fauthentication.gettyimages.com%2Foauth2%2Ftoken": quote(sandbox.token_url, safe=""),
        "YOUR_API_KEY": options.client_id,
        "YOUR_SECRET": options.client_secret,
        "YOUR_USER": options.username,
        "YOUR_PASSWORD": options.password,
    }.items():
        block = block.replace(written, meant)
    return block


def do(airflow: Installation, block: str, folder: Path) -> str:
    """Do the commands in a process of Airflow; return what they printed."""
    commands = [shlex.split(line) for line in block.splitlines()]
    job = airflow.start(inside.do_commands, commands, str(folder))
    job.result()
    return job.log


def test_the_page_has_commands_for_each_place_and_for_a_test() -> None:
    assert list(blocks()) == [
        "In the UI 1",
        "In the environment 1",
        "In the environment 2",
        "In a secrets backend 1",
        "The password grant 1",
        "Try it 1",
    ]


@pytest.mark.parametrize(
    "place",
    ["In the environment 1", "In the environment 2", "In a secrets backend 1", "The password grant 1"],
)
def test_a_connection_of_environment_or_backend_works(
    airflow: Installation, sandbox: Sandbox, tmp_path: Path, place: str
) -> None:
    printed = do(airflow, against(sandbox, blocks()[place]), tmp_path)
    assert f"(True, '{CONNECTED}" in printed


@pytest.mark.parametrize("port", ['"port": 443, ', ""])
def test_airflows_command_tests_a_connection_added_by_a_shell(
    airflow: Installation, sandbox: Sandbox, tmp_path: Path, port: str
) -> None:
    """It does so with or without a port."""
    added = do(airflow, against(sandbox, blocks()["In the UI 1"].replace('"port": 443, ', port)), tmp_path)
    assert "Successfully added" in added
    (_, setting), (_, *words) = (shlex.split(line) for line in blocks()["Try it 1"].splitlines())
    # In a process of its own: a fork of the tests' Airflow believes to be in a task, which sees no database.
    tested = subprocess.run(
        [sys.executable, "-m", "airflow", *words],
        env=base_environment(airflow.home) | dict([setting.split("=")]),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "Connection success!" in tested.stdout
    assert tested.returncode == 0


def test_airflows_command_tests_one_of_the_environment(airflow: Installation, sandbox: Sandbox, tmp_path: Path) -> None:
    airflow.environment = {GETTY: getty_connection(sandbox)}
    assert "Connection success!" in do(airflow, blocks()["Try it 1"], tmp_path)
    assert sandbox.put_count == 0


def test_the_table_of_the_paper_names_the_fields_of_the_form(airflow: Installation) -> None:
    form = airflow.run(inside.connection_types)["getty_images"]
    for field in form["extra_fields"]:
        assert f"`{field}`" in PAPER
