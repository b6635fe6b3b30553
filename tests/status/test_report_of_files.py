"""The compliance report on files: receipts per store, what is open and held back, and what is not covered."""

from asset_changes.removal.policy import StoreEntry
from asset_changes.warehouse.removals import count_holdings
from sqlalchemy import text

from tests.core.doubles import quiet_context as quiet_context
from tests.core.purge_doubles import Company, MemoryStore
from tests.status.conftest import AirflowServer, words
from tests.status.test_purge_pages import company as company
from tests.status.test_purge_pages import counted, lines

DAYS = "from=2026-02-01&to=2027-12-31"


def configure(company: Company, *names: str) -> None:
    """Make one more store of each name."""
    for name in names:
        company.stores[name] = MemoryStore(name)
        company.context.stores[name] = StoreEntry(uri=f"memory://{name}", store_hash=name)  # type: ignore[index]


def test_the_numbers_equal_a_count_by_sql(page: AirflowServer, company: Company) -> None:
    configure(company, "print")
    company.dry_run()
    company.changes("Delete", "50", "51", minute=9, received_at=company.rows("SELECT now() + interval '1 s'")[0][0])
    company.store.put("1", key="images/1.jpg", version_id="v2")
    company.store.locked.add("images/2.jpg")
    company.purge()
    counted(company)
    by_evidence = company.rows(
        "SELECT store, count(*) FILTER (WHERE gone_at IS NOT NULL), sum(removed_count),"
        " count(*) FILTER (WHERE gone_at IS NULL AND held_back_by IS NULL AND NOT is_live_again),"
        " count(*) FILTER (WHERE gone_at IS NULL AND held_back_by IS NOT NULL), sum(failed_count)"
        " FROM removal_evidence WHERE store IS NOT NULL GROUP BY store ORDER BY store"
    )
    assert by_evidence == [("dam", 3, 2, 1, 1, 1), ("print", 2, 0, 0, 0, 0)]
    shown = words(page.get(f"compliance?{DAYS}").text)
    assert "dam 3 2 2 1 1 " in shown
    assert "legal <b>: 1" in shown
    assert "print 2 0 2 0 0 – none" in shown
    counts = {row["says"].split(", counted")[0]: row["count"] for row in lines(page, f"compliance.csv?{DAYS}")}
    assert counts["dam: assets gone, once per plan"] == "3"
    assert counts["dam: must go"] == "1"
    assert counts["dam: held back by legal <b>"] == "1"
    assert counts["print: nothing found"] == "2"


def test_the_csv_of_files_begins_with_what_is_open(page: AirflowServer, company: Company) -> None:
    company.store.locked.add("images/2.jpg")
    company.purge()
    rows = lines(page, f"files.csv?{DAYS}")
    assert [(row["asset_id"], bool(row["gone_at"]), row["held_back_by"], row["failed_count"]) for row in rows] == [
        ("2", False, "", "1"),
        ("3", False, "legal <b>", "0"),
        ("1", True, "", "0"),
    ]
    assert all(row["received_at"] and row["applied_at"] for row in rows)
    company.changes("New", "2", minute=20)
    assert [row["asset_id"] for row in lines(page, f"files.csv?{DAYS}")] == ["3", "1", "2"]


def test_the_verdict_names_what_speaks_against_files(page: AirflowServer, company: Company) -> None:
    before = words(page.get(f"compliance?{DAYS}").text)
    assert "files_" not in before.split("The queries behind")[0]
    assert "Not covered: no store of files is configured" in before
    company.dry_run()
    assert "files_open unknown It is not known what must still go from dam" in words(page.get("compliance").text)
    company.lists("1", "9", source="tape")
    company.store.locked.add("images/2.jpg")
    company.purge()
    counted(company)
    with company.warehouse.begin() as connection:
        count_holdings(connection)
    shown = words(page.get(f"compliance?{DAYS}").text)
    for sentence in (
        "files_open 1 Files of 1 assets must still go from dam.",
        "files_held_back 1 Files of 1 assets that must go are held back: dam, by legal <b>.",
        "files_failed 1 1 files could not be deleted from dam, and are not known to be gone since.",
        "files_not_covered 2 tape holds 2 assets and is not a store of files",
        "Not covered: tape holds 2 assets",
        "replicas that are not named as stores, caches (CDN, browsers), snapshots and backups",
    ):
        assert sentence in shown


def test_the_oldest_that_must_go_are_named(page: AirflowServer, company: Company) -> None:
    company.dry_run()
    counted(company)
    html = page.get(f"compliance?{DAYS}").text
    assert 'receipts?asset_id=1"' in html
    shown = words(html)
    assert shown.index("dam 1 deleted by Getty") < shown.index("dam 2 deleted by Getty")
    assert shown.index("dam 2 deleted by Getty") < shown.index("dam 3 deleted by Getty")
    times = company.rows("SELECT deleted_at, received_at, applied_at FROM deletions WHERE asset_id = '3'")[0]
    said = " ".join(f"{time:%Y-%m-%d %H:%M:%S}" for time in times)
    assert f"dam 3 deleted by Getty {said} no, held back by legal <b>" in shown


def test_files_of_a_clean_span_leave_it_clean(page: AirflowServer, company: Company) -> None:
    company.decide("waive", "3")
    company.decide("release", "3", owner="legal <b>")
    company.purge()
    counted(company)
    shown = words(page.get(f"compliance?{DAYS}").text).split("The queries behind")[0]
    assert "files_" not in shown
    assert "dam 2 2 0 0 0 – none" in shown


def test_the_query_of_files_finds_its_index(company: Company) -> None:
    """The evidence of one asset must not read all Deletes."""
    with company.warehouse.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.scalars(text("EXPLAIN SELECT * FROM removal_evidence WHERE asset_id = '1'")))
    assert "deletions_asset_id" in plan
