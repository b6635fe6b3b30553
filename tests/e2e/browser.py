"""A person with a browser before the real stack: the stack, Chromium, a login, and a page that is watched."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from local_stack.postgres import EmbeddedPostgres
from local_stack.services import marked_processes
from local_stack.stack import free_port
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import create_engine, text

from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-sandbox")  # fmt: skip
# Without a trickle the numbers do not change while they are compared.
SANDBOX_OPTIONS = "--changes-per-channel 3000 --trickle-per-minute 0"
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)


@dataclass(frozen=True)
class RunningStack:
    """The real stack, up and caught up, with logins on."""

    address: str
    state_dir: Path
    sandbox: str

    @property
    def password(self) -> str:
        secrets: dict[str, str] = json.loads((self.state_dir / "secrets.json").read_text())
        return secrets["admin_password"]

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What the warehouse says."""
        engine = create_engine(EmbeddedPostgres(self.state_dir / "postgres").url("warehouse"))
        with engine.connect() as connection:
            connection.execute(text("SET search_path = getty_images"))
            found = [dict(row) for row in connection.execute(text(query)).mappings()]
        engine.dispose()
        return found

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call Airflow's API as the admin."""
        login = {"username": "admin", "password": self.password}
        token = requests.post(f"{self.address}/auth/token", json=login, timeout=60).json()["access_token"]
        answer = requests.request(
            method, f"{self.address}/api/v2/{path}", json=body, timeout=60, headers={"Authorization": f"Bearer {token}"}
        )
        answer.raise_for_status()
        return answer.json()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The stack, as `make run LOGIN=1 ASSET_CHANGES_PURGE=on ASSET_CHANGES_APPROVERS=admin` starts it."""
    state_dir, port = tmp_path_factory.mktemp("browser") / "state", str(free_port())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ASSET_"))}
    wanted = {"STATE_DIR": str(state_dir), "PORT": port, "LOGIN": "1", "SANDBOX_OPTIONS": SANDBOX_OPTIONS}
    wanted |= {"ASSET_CHANGES_PURGE": "on", "ASSET_CHANGES_APPROVERS": "admin"}
    output = state_dir.with_suffix(".log")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "local_stack"],
            cwd=PROJECT,
            env=inherited | wanted,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:

        def is_up() -> bool:
            assert process.poll() is None, output.read_text()
            return "It stays up" in output.read_text()

        wait_until(is_up, what="the stack", seconds=600, pause=0.5, details=output.read_text)
        [sandbox] = re.findall(r"a local Getty, at (\S+) \.\.\.", output.read_text())
        yield RunningStack(f"http://127.0.0.1:{port}", state_dir, sandbox)
    finally:
        process.terminate()
        process.wait(timeout=120)
        left = marked_processes(state_dir)
        EmbeddedPostgres(state_dir / "postgres").remove()
        assert left == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium from the system's package."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: install it with `apt-get install -y chromium`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def login(stack: RunningStack, browser: Browser) -> Any:
    """The cookies of somebody who has logged in through the form."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{stack.address}/", timeout=TIMEOUT_MS)
        page.fill("input[name=username]", "admin", timeout=TIMEOUT_MS)
        page.fill("input[name=password]", stack.password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/auth/" not in url, timeout=TIMEOUT_MS)
        return context.storage_state()


@contextmanager
def looking(browser: Browser, stack: RunningStack, login: Any = None, **more: Any) -> Iterator[Page]:
    """A page in which no error shows in the console and nothing is asked of another host."""
    console_errors: list[str] = []
    foreign: list[str] = []
    context: BrowserContext = browser.new_context(storage_state=login, **more)
    context.set_default_timeout(TIMEOUT_MS)
    context.on("console", lambda message: console_errors.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: console_errors.append(str(error.error)))
    context.on("request", lambda request: foreign.append(request.url) if _is_foreign(request.url, stack) else None)
    with context:
        yield context.new_page()
        assert foreign == []
        if login is not None:
            assert console_errors == []


def _is_foreign(url: str, stack: RunningStack) -> bool:
    return not url.startswith((f"{stack.address}/", "data:", f"blob:{stack.address}/"))
