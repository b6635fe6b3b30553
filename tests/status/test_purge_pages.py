"""The panel of the purge, the plans and the receipts, as pages and as CSV."""

import csv
import io
import re
from datetime import timedelta

import pytest
from asset_changes.pipeline.context import ChannelContext
from asset_changes.removal.plan import make_plan
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.purge_counts import count_duties
from sqlalchemy import text

from tests.core.doubles import quiet_context as quiet_context
from tests.core.purge_doubles import Company
from tests.status import seeds
from tests.status.conftest import AirflowServer, words


@pytest.fixture
def company(quiet_context: ChannelContext) -> Company:
    """A company that holds assets 1 to 4: Getty deleted the first three, and 3 is held back."""
    company = Company(quiet_context)
    company.holds("1", "2", "3", "4")
    company.changes("New", "1", "2", "3", "4")
    company.changes("Delete", "1", "2", "3", minute=5)
    company.decide("hold", "3", owner="legal <b>")
    return company


def counted(company: Company) -> None:
    """Count the open duties, as the watchdog does."""
    with transaction(company.warehouse) as connection:
        count_duties(connection, stores=company.stores, reasons=["deleted"])


def lines(page: AirflowServer, path: str) -> list[dict[str, str]]:
    """The lines of a CSV."""
    answer = page.get(path)
    assert answer.headers["Content-Type"].startswith("text/csv"), answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_panel_shows_each_store(page: AirflowServer, company: Company) -> None:
    assert 'data-panel="purge"' not in page.get("").text
    plan = company.dry_run()
    assert "dry run" in words(page.get("").text)
    assert "not counted yet: the next run of the watchdog counts" in words(page.get("").text)
    counted(company)
    html = page.get("?theme=dark").text
    assert re.search(r"dam dry run, [<\d. ]+ s ago 2 2 0 0 legal <b>: 1 0 0 0 0", words(html))
    assert f"/plans/{plan.plan_id}?theme=dark" in html
    assert "legal <b>" not in html
    company.store.locked.add("images/2.jpg")
    company.purge()
    counted(company)
    html = page.get("").text
    assert re.search(r"dam purge, [<\d. ]+ s ago 1 1 0 0 legal <b>: 1 1 1 0 1", words(html))
    assert "dam could not delete a file: AccessDenied" in words(html)
    company.store.locked.clear()
    company.next_run("run-2")
    company.purge()
    assert "could not delete a file" not in words(page.get("").text)


def test_a_duty_ages_from_when_the_store_could_do_it(page: AirflowServer, company: Company) -> None:
    company.dry_run()
    for days, ages in ((0, "2 2 0 0"), (3, "2 0 2 0"), (30, "2 0 0 2")):
        with company.warehouse.begin() as connection:
            connection.execute(text("UPDATE file_stores SET configured_at = now() - :age"), {"age": days * seeds.DAY})
        counted(company)
        assert f"ago {ages} legal" in words(page.get("").text)


def test_a_store_that_is_no_longer_named_is_not_shown(page: AirflowServer, company: Company) -> None:
    company.dry_run()
    with company.warehouse.begin() as connection:
        connection.execute(text("INSERT INTO file_stores (store, uri, store_hash) VALUES ('old', 'file:///old', 'h')"))
    assert ">old<" in page.get("").text
    company.dry_run()
    assert ">old<" not in page.get("").text
    assert ">dam<" in page.get("").text


def test_a_store_that_is_down_says_so(page: AirflowServer, company: Company) -> None:
    company.store.is_down = True
    plan = company.dry_run()
    for path in ("", f"plans/{plan.plan_id}"):
        assert "The store dam does not answer." in words(page.get(path).text)


def test_what_an_unfinished_plan_left_is_shown(page: AirflowServer, company: Company) -> None:
    plan = company.plan()
    company.store.is_down = True
    company.purge(plan)
    for path in ("", f"plans/{plan.plan_id}"):
        shown = words(page.get(path).text)
        assert f"Not finished in dam: 2 assets of plan {plan.plan_id} are left. The store dam does not answer." in shown
        assert "The next run that can list the store continues the plan, until" in shown
    with company.warehouse.begin() as connection:
        connection.execute(text("UPDATE purge_plans SET expires_at = now()"))
    assert "Not finished" not in words(page.get("").text)
    assert "The plan has expired: they are planned anew." in words(page.get(f"plans/{plan.plan_id}").text)


def test_a_plan_that_waits_leads_to_its_answer(page: AirflowServer, company: Company) -> None:
    plan = company.plan(is_approved=False)
    for path in ("", f"plans/{plan.plan_id}"):
        html = page.get(path).text
        assert f"plan {plan.plan_id} would delete 2 files of 2 assets (20 bytes)" in words(html)
        assert "It is the first plan that deletes from dam under these settings." in words(html)
        assert "/dags/asset_changes_purge/required_actions" in html
    company.approve(plan)
    html = page.get(f"plans/{plan.plan_id}").text
    assert "approved, being carried out, approved by bea" in words(html)
    assert "required_actions" not in html


def test_a_plan_shows_its_files_and_what_became_of_them(page: AirflowServer, company: Company) -> None:
    company.store.put("1", key="images/1.jpg", version_id="v2")
    plan = company.plan()
    company.store.locked.add("images/2.jpg")
    company.purge(plan)
    html = page.get(f"plans/{plan.plan_id}?theme=dark").text
    shown = words(html)
    assert "dam 1,000 2 3 30 bytes 0 1 0 0 0 0 none" in shown
    assert "dam 1 2 0 0 1" in shown
    assert "images/1.jpg version v2 10 bytes" in shown
    assert str(plan.list_hash) in shown
    assert "receipts?asset_id=1&amp;theme=dark" in html
    files = lines(page, f"plans/{plan.plan_id}.csv")
    assert [(each["asset_id"], each["key"], each["version_id"], each["size"], each["reason"]) for each in files] == [
        ("1", "images/1.jpg", "", "10", "deleted"),
        ("1", "images/1.jpg", "v2", "10", "deleted"),
        ("2", "images/2.jpg", "", "10", "deleted"),
    ]


def test_a_long_plan_shows_its_first_files(page: AirflowServer, company: Company) -> None:
    for number in range(300):
        company.store.put("1", key=f"images/1/{number}.jpg")
    plan = company.dry_run()
    html = page.get(f"plans/{plan.plan_id}").text
    assert html.count("images/1/") == 199
    assert "The first 200." in words(html)
    assert len(lines(page, f"plans/{plan.plan_id}.csv")) == plan.file_count == 302


def test_the_list_of_plans_is_newest_first(page: AirflowServer, company: Company) -> None:
    assert "No plan was made yet." in words(page.get("plans").text)
    dry, plan = company.dry_run(), company.plan()
    company.purge(plan)
    html = page.get("plans").text
    assert html.index(f"/plans/{plan.plan_id}") < html.index(f"/plans/{dry.plan_id}")
    assert "carried out, approved by bea" in words(html)
    assert "listed only, nothing is deleted" in words(html)
    with company.warehouse.begin() as connection:
        connection.execute(text("DELETE FROM purge_plan_files"))
    assert "Its list is no longer kept" in words(page.get(f"plans/{dry.plan_id}").text)


def test_the_receipts_say_what_happened_to_an_asset(page: AirflowServer, company: Company) -> None:
    assert "No Delete, no receipt" in words(page.get("receipts?asset_id=999").text)
    company.store.locked.add("images/2.jpg")
    plan = company.plan()
    company.purge(plan)
    company.decide("waive", "2")
    shown = words(page.get("receipts?asset_id=2").text)
    parts = ["Delete received", "removed from the warehouse", "not deleted: AccessDenied request R1", "waived"]
    assert [shown.index(step) for step in parts] == sorted(shown.index(step) for step in parts)
    story = lines(page, "receipts.csv?asset_id=1")
    assert [(each["what"], each["store"], each["key"], each["result"], each["is_gone"]) for each in story] == [
        ("received", "", "", "", ""),
        ("removed from the warehouse", "", "", "", ""),
        ("receipt", "dam", "images/1.jpg", "deleted", "true"),
    ]
    assert (story[2]["approved_by"], story[2]["triggered_by"], story[2]["said_by"]) == (
        "bea",
        "ann",
        "change set set-2 of channel 3001, position 0",
    )


def test_no_name_of_a_file_is_a_formula_or_a_tag(page: AirflowServer, company: Company) -> None:
    company.store.put("1", key="=cmd|<b>1</b>.jpg")
    plan = company.plan()
    company.purge(plan)
    assert lines(page, f"plans/{plan.plan_id}.csv")[1]["key"] == "'=cmd|<b>1</b>.jpg"
    assert "'=cmd" in page.get("receipts.csv?asset_id=1").text
    for path in (f"plans/{plan.plan_id}", "receipts?asset_id=1"):
        assert "&lt;b&gt;1&lt;/b&gt;.jpg" in page.get(path).text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("plans/0", 422),
        ("plans/x", 422),
        (f"plans/{2**63}", 422),
        ("plans/-1.csv", 422),
        ("plans/1", 404),
        ("plans/1.csv", 404),
        ("receipts?asset_id=%00", 422),
        (f"receipts?asset_id={'a' * 256}", 422),
        ("receipts.csv", 422),
        ("receipts.csv?asset_id=%0a", 422),
    ],
)
def test_what_is_no_plan_and_no_asset_gets_a_page(path: str, status: int, page: AirflowServer) -> None:
    answer = page.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")


def test_a_plan_that_expired_says_so(page: AirflowServer, company: Company) -> None:
    plan = company.plan(is_approved=False)
    with company.warehouse.begin() as connection:
        connection.execute(text("UPDATE purge_plans SET expires_at = now() - :age"), {"age": timedelta(minutes=1)})
    html = page.get(f"plans/{plan.plan_id}").text
    assert "expired, no more of it is deleted" in words(html)
    assert "A person must decide" not in words(page.get("").text)
    assert make_plan(company.context, is_dry_run=True).outcome == "listed"
