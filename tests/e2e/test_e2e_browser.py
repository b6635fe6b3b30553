"""A person with a browser: logs in to the real stack, sees the numbers of the warehouse, follows a link to a run."""

import json
import os
import re
import subprocess
import sys
import time
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
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, expect, sync_playwright
from sqlalchemy import create_engine, text

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-sandbox")  # fmt: skip
# Without a trickle the numbers stand still while they are compared.
SANDBOX_OPTIONS = "--changes-per-channel 3000 --trickle-per-minute 0"
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
IMAGES, BROKEN = "asset_changes_editorial_image_3001", "asset_changes_creative_image_3002"


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
    """The stack, as `make run LOGIN=1` starts it."""
    state_dir, port = tmp_path_factory.mktemp("browser") / "state", str(free_port())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ASSET_"))}
    wanted = {"STATE_DIR": str(state_dir), "PORT": port, "LOGIN": "1", "SANDBOX_OPTIONS": SANDBOX_OPTIONS}
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
        deadline = time.monotonic() + 400
        while "It stays up" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.5)
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
        page.goto(f"{stack.address}/", timeout=PATIENCE)
        page.fill("input[name=username]", "admin", timeout=PATIENCE)
        page.fill("input[name=password]", stack.password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/auth/" not in url, timeout=PATIENCE)
        return context.storage_state()


@contextmanager
def looking(browser: Browser, stack: RunningStack, login: Any = None, **more: Any) -> Iterator[Page]:
    """A page in which no error shows in the console and nothing is asked of another host."""
    complaints: list[str] = []
    foreign: list[str] = []
    context: BrowserContext = browser.new_context(storage_state=login, **more)
    context.set_default_timeout(PATIENCE)
    context.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("request", lambda request: foreign.append(request.url) if _is_foreign(request.url, stack) else None)
    with context:
        yield context.new_page()
        assert foreign == []
        if login is not None:
            assert complaints == []


def _is_foreign(url: str, stack: RunningStack) -> bool:
    return not url.startswith((f"{stack.address}/", "data:", f"blob:{stack.address}/"))


def number(place: Any) -> int:
    """A number as the page writes it."""
    return int(place.inner_text().replace(",", ""))


def test_an_anonymous_visitor_gets_nothing(stack: RunningStack, browser: Browser) -> None:
    with looking(browser, stack) as page:
        for path in ("", f"channels/{IMAGES}", "compliance", "compliance.csv", "tab.js"):
            answer = page.request.get(f"{stack.address}/asset-changes/{path}")
            assert answer.status == 401
            assert "3001" not in answer.text()
        page.goto(f"{stack.address}/asset-changes/")
        expect(page.get_by_role("link", name="Log in to Airflow")).to_be_visible()


def test_the_navigation_leads_to_the_numbers_of_the_warehouse(
    stack: RunningStack, browser: Browser, login: Any
) -> None:
    with looking(browser, stack, login, viewport={"width": 1400, "height": 1000}) as page:
        page.goto(f"{stack.address}/")
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Asset changes").click()
        status = page.frame_locator("iframe[title='Asset changes']")
        expect(status.get_by_role("heading", level=1)).to_have_text("The copy is up to date")
        counted = stack.rows(
            "SELECT channel_id, sum(new_count) AS new, sum(update_count) AS update, sum(delete_count) AS delete"
            " FROM change_sets GROUP BY 1"
        )
        assert len(counted) == 4
        for row in counted:
            card = status.locator(f"[data-channel='{row['channel_id']}']")
            for lifecycle in ("new", "update", "delete"):
                assert number(card.locator(f"[data-total={lifecycle}]")) == row[lifecycle]
        received = {row["channel_id"]: row["n"] for row in stack.rows(
            "SELECT channel_id, count(*) AS n FROM deletions GROUP BY 1")}  # fmt: skip
        for channel_id, deletes in received.items():
            assert number(status.locator(f"[data-channel='{channel_id}'] [data-deletes]")) == deletes


def test_the_tab_of_a_dag_shows_its_channel_and_a_link_leads_to_the_run(
    stack: RunningStack, browser: Browser, login: Any
) -> None:
    [newest] = stack.rows("SELECT * FROM change_sets WHERE channel_id = 3001 ORDER BY channel_seq DESC LIMIT 1")
    with looking(browser, stack, login, viewport={"width": 1400, "height": 1000}) as page:
        page.goto(f"{stack.address}/dags/{IMAGES}")
        page.get_by_role("link", name="Asset changes").click()
        tab: FrameLocator = page.frame_locator("iframe[title='Asset changes']")
        expect(tab.get_by_role("heading", level=1)).to_have_text("Editorial Image (3001)")
        expect(tab.locator("[data-channel]")).to_have_count(1)
        line = tab.locator("[data-table=sets] tr", has_text=newest["change_set_id"])
        cells = [cell.replace(",", "") for cell in line.locator("td").all_inner_texts()]
        counts = ("change_count", "new_count", "update_count", "delete_count", "superseded_count", "rejected_count")
        assert cells[-6:] == [str(newest[name]) for name in counts]
        line.get_by_role("link", name=newest["change_set_id"]).click()
        page.wait_for_url(re.compile(rf"/dags/{IMAGES}/runs/{re.escape(newest['run_id'].split('+')[0][:20])}"))
        expect(page.get_by_text("catch_up").first).to_be_visible()


def test_a_narrow_window_in_the_dark_shows_it_all_without_scrolling_sideways(
    stack: RunningStack, browser: Browser, login: Any
) -> None:
    narrow = {"viewport": {"width": 400, "height": 800}, "color_scheme": "dark"}
    with looking(browser, stack, login, **narrow) as page:
        for path in ("", "?span=14d", "compliance"):
            page.goto(f"{stack.address}/asset-changes/{path}")
            assert page.evaluate("document.documentElement.scrollWidth") == 400
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert max(int(part) for part in re.findall(r"\d+", colour)[:3]) < 60


def test_the_report_counts_every_delete_and_its_csv_has_them_all(
    stack: RunningStack, browser: Browser, login: Any
) -> None:
    [row] = stack.rows("SELECT count(*) AS n FROM deletions")
    with looking(browser, stack, login) as page:
        page.goto(f"{stack.address}/asset-changes/compliance")
        expect(page.get_by_text(f"All {row['n']:,} Deletes were applied within 1 h")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        assert len(download.value.path().read_text().splitlines()) == row["n"] + 1
        page.emulate_media(media="print")
        expect(page.get_by_role("button", name="Show")).to_be_hidden()


def test_a_channel_that_breaks_is_named_first_with_the_reason_and_the_next_step(
    stack: RunningStack, browser: Browser, login: Any
) -> None:
    requests.post(f"{stack.sandbox}/_sandbox/retire", json={"channel_id": 3002}, timeout=30).raise_for_status()
    run_id = stack.api("POST", f"dags/{BROKEN}/dagRuns", {"logical_date": None})["dag_run_id"]
    deadline = time.monotonic() + 180
    while stack.api("GET", f"dags/{BROKEN}/dagRuns/{run_id}")["state"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(1)
    with looking(browser, stack, login, viewport={"width": 1280, "height": 720}) as page:
        page.goto(f"{stack.address}/asset-changes/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Creative Image (3002) is broken")
        problem = page.get_by_role("alert").first
        expect(problem).to_contain_text("Its newest run has failed in the task fetch: ")
        expect(problem).to_contain_text("Getty does not know this channel")
        expect(problem).to_contain_text("Next: Trigger asset_changes_discovery: it asks Getty")
        expect(problem).to_be_in_viewport()
        problem.get_by_role("link", name="The task").click()
        page.wait_for_url(re.compile(rf"/dags/{BROKEN}/runs/.*/tasks/fetch"))
        expect(page.get_by_text("fetch").first).to_be_visible()
