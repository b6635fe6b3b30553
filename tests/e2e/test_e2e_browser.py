"""A person with a browser: logs in to the real stack, sees the numbers of the warehouse, follows a link to a run."""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.e2e import purging
from tests.e2e.browser import RunningStack, browser, login, looking, stack
from tests.e2e.purging import Purged
from tests.waiting import wait_until

__all__ = ["browser", "login", "stack"]
pytestmark = pytest.mark.e2e

IMAGES, BROKEN = "asset_changes_editorial_image_3001", "asset_changes_creative_image_3002"
LOOKUP = "asset_changes_lookup"


# The words of the tables that break over more than one line.
BROKEN_WORDS = """() => {
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (!node.parentElement.closest("table")) continue;
    for (const word of node.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(each => each.top)).size > 1) found.push(word[0]);
    }
  }
  return found;
}"""


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


def test_a_dags_tab_shows_its_channel_and_links_to_the_run(stack: RunningStack, browser: Browser, login: Any) -> None:
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


def test_the_panel_of_the_lookups_has_the_warehouses_numbers(stack: RunningStack, browser: Browser, login: Any) -> None:
    [known] = stack.rows(
        "SELECT count(*) AS live, count(as_of) AS known, (SELECT sum(calls) FROM lookup_calls"
        " WHERE hour >= date_trunc('day', now(), 'UTC')) AS calls FROM assets_with_metadata"
    )
    with looking(browser, stack, login, viewport={"width": 1400, "height": 1000}) as page:
        page.goto(f"{stack.address}/asset-changes/")
        expect(page.locator("[data-capability=feed]")).to_contain_text("on, 4 channels, confirming")
        expect(page.locator("[data-capability=metadata]")).to_contain_text(re.compile(r"Metadata on [\d,]+ calls"))
        panel = page.locator("[data-panel=lookups]")
        share = f"{known['known'] / known['live']:.1%}".replace("%", " %")
        expect(panel).to_contain_text(f"{share}{known['known']:,} of {known['live']:,}")
        expect(panel.locator("[data-label='Calls today']")).to_have_text(f"{known['calls']:,} of 10,000")
        expect(panel.get_by_role("alert")).to_have_count(0)


def test_a_paused_lookup_has_its_next_step(stack: RunningStack, browser: Browser, login: Any) -> None:
    with looking(browser, stack, login, viewport={"width": 1400, "height": 1000}) as page:
        stack.api("PATCH", f"dags/{LOOKUP}", {"is_paused": True})
        page.goto(f"{stack.address}/asset-changes/")
        metadata = page.locator("[data-capability=metadata]")
        expect(metadata).to_contain_text("paused")
        expect(metadata).to_contain_text("Next: Unpause Look up assets")
        metadata.get_by_role("link", name="Look up assets").click()
        page.wait_for_url(f"{stack.address}/dags/{LOOKUP}")
        expect(page.get_by_text("look_up").first).to_be_visible()
        stack.api("PATCH", f"dags/{LOOKUP}", {"is_paused": False})
        page.goto(f"{stack.address}/asset-changes/")
        expect(metadata).not_to_contain_text("paused")


def test_a_narrow_dark_window_needs_no_sideways_scrolling(stack: RunningStack, browser: Browser, login: Any) -> None:
    narrow = {"viewport": {"width": 400, "height": 800}, "color_scheme": "dark"}
    with looking(browser, stack, login, **narrow) as page:
        for path in ("", "?span=14d", "compliance"):
            page.goto(f"{stack.address}/asset-changes/{path}")
            assert page.evaluate("document.documentElement.scrollWidth") == 400
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert float(colour.removeprefix("oklch(").split()[0]) < 0.3  # its lightness


def test_within_airflow_the_page_takes_its_colours(stack: RunningStack, browser: Browser, login: Any) -> None:
    with looking(browser, stack, login, viewport={"width": 1280, "height": 900}) as page:
        page.goto(f"{stack.address}/plugin/asset-changes")
        body = page.frame_locator("iframe[title='Asset changes']").locator("body")
        for choice in ("Dark Mode", "Light Mode"):
            page.get_by_role("button", name="User").click()
            page.get_by_role("menuitem", name="Appearance").click()
            page.get_by_role("menuitemradio", name=choice).click()
            around = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            expect(body).to_have_css("background-color", around)


@pytest.mark.parametrize(("width", "path"), [(1280, "plugin/asset-changes"), (400, "asset-changes/")])
def test_no_column_of_the_change_sets_is_cut_off(
    stack: RunningStack, browser: Browser, login: Any, width: int, path: str
) -> None:
    with looking(browser, stack, login, viewport={"width": width, "height": 900}) as page:
        page.goto(f"{stack.address}/{path}")
        shown = page.frame_locator("iframe[title='Asset changes']") if "plugin" in path else page
        tables = shown.locator(".scroll:has([data-table=sets])")
        expect(tables).to_have_count(4)
        for table in tables.all():
            assert table.evaluate("each => each.scrollWidth - each.clientWidth") == 0


def test_an_open_list_stays_open_when_the_page_reloads(stack: RunningStack, browser: Browser, login: Any) -> None:
    with looking(browser, stack, login) as page:
        page.goto(f"{stack.address}/plugin/asset-changes")
        status = page.frame_locator("iframe[title='Asset changes']")
        status.get_by_role("link", name="Show the newest").first.click()
        expect(status.get_by_role("columnheader", name="Message")).to_be_visible()
        status.locator("body").evaluate("body => { body.dataset.old = true; setTimeout(() => location.reload()); }")
        expect(status.locator("body[data-old]")).to_have_count(0)
        expect(status.get_by_role("columnheader", name="Message")).to_be_visible()


def test_the_report_breaks_no_word_in_print(stack: RunningStack, browser: Browser, login: Any) -> None:
    paper = {"width": 718, "height": 1000}  # A4 without its margins
    with looking(browser, stack, login, viewport=paper) as page:
        page.goto(f"{stack.address}/asset-changes/compliance")
        page.emulate_media(media="print")
        assert page.evaluate(BROKEN_WORDS) == []


def test_the_report_and_its_csv_count_every_delete(stack: RunningStack, browser: Browser, login: Any) -> None:
    [row] = stack.rows("SELECT count(*) AS n FROM deletions")
    with looking(browser, stack, login) as page:
        page.goto(f"{stack.address}/asset-changes/compliance")
        # Clean or not: the watchdog may not have compared the archive yet.
        expect(page.get_by_text(re.compile(f"{row['n']:,} Deletes were (applied within 1 h|received)"))).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV, one line per Delete").click()
        lines = csv.DictReader(download.value.path().read_text().splitlines())
        assert [line["record"] for line in lines].count("delete") == row["n"]
        page.emulate_media(media="print")
        expect(page.get_by_role("button", name="Show")).to_be_hidden()


@contextmanager
def approving(stack: RunningStack, browser: Browser, login: Any, subject: str, reason: str) -> Iterator[None]:
    """A person who opens the required action of this subject, reads the reason and clicks Approve."""
    with looking(browser, stack, login, viewport={"width": 1400, "height": 1000}) as page:
        page.goto(f"{stack.address}/")
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Required Actions").click()
        page.get_by_role("link", name=subject).click()
        expect(page.get_by_text(reason)).to_be_visible()
        page.get_by_role("button", name="Approve").click()
        yield


@pytest.fixture(scope="module")
def purged(stack: RunningStack, browser: Browser, login: Any) -> Purged:
    """A purge of many files that waited for a person, who read the question and clicked Approve."""
    purging.delete_many(stack)
    before, run_id = purging.files(stack), purging.ask(stack)
    refused = purging.answer(stack, run_id, user="bea")
    with approving(stack, browser, login, "These files would be deleted for good", "It is the first plan that deletes"):
        assert purging.end_of(stack, purging.PURGE, run_id) == "success"
    return Purged(before=before, after=purging.files(stack), run_id=run_id, refused=refused)


def test_a_purge_approved_in_the_browser_deletes_what_it_lists(stack: RunningStack, purged: Purged) -> None:
    """Receipts, warehouse and a listing of its own agree: what is called gone is gone, all else is there."""
    receipts = stack.rows("SELECT asset_id, key, result, is_gone, approved_by FROM purges")
    deleted = [each["key"] for each in receipts if each["result"] == "deleted"]
    gone = {each["asset_id"] for each in receipts if each["is_gone"]}
    assert purged.before - purged.after == {*deleted}
    assert len(deleted) == len({*deleted}) > 80
    assert {each["approved_by"] for each in receipts} == {"admin"}
    assert {each for each in purged.before if purging.asset_of(each) not in gone} == purged.after
    [held_back] = stack.rows("SELECT asset_id FROM purge_holds")
    live = {each["asset_id"] for each in stack.rows("SELECT asset_id FROM assets")}
    assets_before, assets_after = ({*map(purging.asset_of, found)} for found in (purged.before, purged.after))
    assert held_back["asset_id"] in assets_after
    assert assets_before & live <= assets_after
    assert stack.rows("SELECT asset_id, held_back_by FROM assets_to_remove") == [held_back | {"held_back_by": "legal"}]
    # An asset that was deleted twice is in it twice, each time with all its receipts.
    evidence = stack.rows("SELECT DISTINCT asset_id, removed_count FROM removal_evidence WHERE gone_at IS NOT NULL")
    assert {each["asset_id"] for each in evidence} == gone
    assert sum(each["removed_count"] for each in evidence) == len(deleted)
    newest = stack.rows("SELECT max(receipt_id) AS n FROM purges WHERE result = 'deleted'")[0]["n"]
    wait_until(lambda: purging.cdn_cursor(stack) == newest, what="the example of a CDN", seconds=60)


def test_the_report_counts_the_files_that_a_listing_misses(
    stack: RunningStack, browser: Browser, login: Any, purged: Purged
) -> None:
    with looking(browser, stack, login) as page:
        page.goto(f"{stack.address}/asset-changes/compliance")
        line = page.locator("[data-table=files] tbody tr", has_text="example")
        assert number(line.locator("[data-label=Deleted]")) == len(purged.before - purged.after)
        [gone] = stack.rows("SELECT count(DISTINCT asset_id) AS n FROM purges WHERE is_gone")
        assert number(line.locator("[data-label=Gone]")) == gone["n"]


def test_only_an_approver_answers_and_only_once(stack: RunningStack, purged: Purged) -> None:
    assert purged.refused == 403
    assert purging.answer(stack, purged.run_id, user="bea") == 409
    assert purging.answer(stack, purged.run_id, user="admin") == 409


@pytest.mark.parametrize("task_id", ["purge", "approve"])
def test_what_is_cleared_does_nothing_again(stack: RunningStack, purged: Purged, task_id: str) -> None:
    """The plan in the warehouse decides, not the old answer."""
    [receipts] = stack.rows("SELECT count(*) AS n FROM purges")
    purging.clear(stack, purged.run_id, task_id)
    assert purging.end_of(stack, purging.PURGE, purged.run_id) == "success"
    assert stack.rows("SELECT count(*) AS n FROM purges") == [receipts]
    assert purging.files(stack) == purged.after


def test_verdicts_approved_in_the_browser_count(stack: RunningStack, browser: Browser, login: Any) -> None:
    """An agreement that shrinks by more than 2 % waits for a person; nobody else may answer."""
    some = "SELECT asset_id FROM assets WHERE asset_type = 'Image' ORDER BY asset_id LIMIT 300"
    asset_ids = [each["asset_id"] for each in stack.rows(some)]
    body = {"asset_ids": asset_ids}
    requests.post(f"{stack.sandbox}/_sandbox/unlicense", json=body, timeout=30).raise_for_status()
    run_id = purging.trigger(stack, LOOKUP, {"not_asked_since": datetime.now(UTC).isoformat()})
    assert purging.waiting_run(stack, LOOKUP) == run_id
    assert stack.rows("SELECT count(*) AS n FROM availability WHERE verdict <> 'available'") == [{"n": 0}]
    assert purging.answer(stack, run_id, user="bea", dag_id=LOOKUP, task_id="judge") == 403
    with approving(stack, browser, login, "More assets than usual are gone", "300 are gone now"):
        assert purging.end_of(stack, LOOKUP, run_id) == "success"
    gone = stack.rows("SELECT asset_id, verdict FROM availability WHERE verdict <> 'available'")
    assert {each["asset_id"]: each["verdict"] for each in gone} == dict.fromkeys(asset_ids, "not_licensed")
    [decided] = stack.rows("SELECT approved_by FROM reconciliations WHERE outcome = 'approved'")
    assert decided["approved_by"] == "admin"


def test_a_broken_channel_comes_first_with_its_next_step(stack: RunningStack, browser: Browser, login: Any) -> None:
    requests.post(f"{stack.sandbox}/_sandbox/retire", json={"channel_id": 3002}, timeout=30).raise_for_status()
    run_id = stack.api("POST", f"dags/{BROKEN}/dagRuns", {"logical_date": None})["dag_run_id"]
    run = f"dags/{BROKEN}/dagRuns/{run_id}"
    wait_until(lambda: stack.api("GET", run)["state"] == "failed", what="the end of the run", seconds=600, pause=1)
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


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        ("sandbox-secret", "Connected. Channels: 3001 (Editorial Image)"),
        ("not-the-secret", "Correct the API key (login) and the secret (password)"),
    ],
)
def test_the_test_button_names_the_channels_or_says_what_to_fix(
    stack: RunningStack, browser: Browser, login: Any, secret: str, sentence: str
) -> None:
    with looking(browser, stack, login, viewport={"width": 1280, "height": 1000}) as page:
        page.goto(f"{stack.address}/connections")
        page.get_by_role("button", name="Add Connection").first.click()
        page.fill("input[name=connection_id]", secret)
        _choose_type(page, "Getty Images")
        page.fill("input[name=host]", stack.sandbox)
        page.fill("input[name=port]", stack.sandbox.rpartition(":")[2])
        page.fill("input[name=login]", "sandbox-key")
        page.fill("input[name=password]", secret)
        page.get_by_role("button", name="Extra Fields", exact=True).click()
        page.fill("#element_token_url", f"{stack.sandbox}/oauth2/token")
        expect(page.get_by_text("null", exact=True)).to_have_count(0)
        page.get_by_role("button", name="Save").click()
        page.get_by_role("row", name=secret).get_by_role("button", name="Test Connection").click()
        expect(page.get_by_text(sentence)).to_be_visible()


def _choose_type(page: Page, name: str) -> None:
    page.get_by_role("dialog").get_by_role("combobox").first.click()
    page.keyboard.type(name)
    page.get_by_role("option", name=name).click()


def test_the_form_of_a_replay_takes_the_channels_line_by_line(
    stack: RunningStack, browser: Browser, login: Any
) -> None:
    with looking(browser, stack, login, viewport={"width": 1280, "height": 1100}) as page:
        page.goto(f"{stack.address}/dags/asset_changes_replay")
        page.get_by_role("button", name="Trigger").first.click()
        page.locator("#element_channel_ids").click()
        page.keyboard.type("3001\n3003")
        with page.expect_response(lambda answer: answer.request.method == "POST" and "dagRuns" in answer.url) as made:
            page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
        run_id = made.value.json()["dag_run_id"]

    def is_done() -> bool:
        state = stack.api("GET", f"dags/asset_changes_replay/dagRuns/{run_id}")["state"]
        assert state in ("queued", "running", "success")
        return bool(state == "success")

    wait_until(is_done, what="the end of the replay", seconds=600, pause=1)
