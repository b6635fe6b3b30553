"""Files go whose Delete is the last word, with a receipt, and no others; on a store in memory and a real warehouse."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asset_changes.errors import ConfigurationError, PurgeRefused
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.replay import Replayed, replay
from asset_changes.removal.plan import make_plan
from asset_changes.removal.policy import StoreEntry
from asset_changes.removal.purge import PurgeRunning
from asset_changes.warehouse import duties, file_stores
from asset_changes.warehouse.engine import transaction
from sqlalchemy import Connection, text

from tests.core.doubles import quiet_context as quiet_context
from tests.core.purge_doubles import Company, MemoryStore


@pytest.fixture
def company(quiet_context: ChannelContext) -> Company:
    """A company that holds assets 1 to 3, of which Getty deleted 1 and 2."""
    company = Company(quiet_context)
    company.holds("1", "2", "3")
    company.changes("New", "1", "2", "3")
    company.changes("Delete", "1", "2", minute=5)
    return company


def test_what_getty_deleted_goes_with_a_receipt(company: Company) -> None:
    done = company.purge()
    assert (done.gone, done.deleted, done.deleted_bytes, done.failed, done.is_done) == (2, 2, 20, 0, True)
    assert company.receipts() == [("1", "images/1.jpg", "deleted", True), ("2", "images/2.jpg", "deleted", True)]
    assert company.store.has("3")
    assert company.open() == []
    assert company.rows(
        "SELECT DISTINCT plan_id, store, store_hash, reason, change_set_id, approved_by, run_id, triggered_by,"
        " code_version, request_id, removed_at > planned_at FROM purges"
    ) == [(done.plan_id, "dam", "hash-dam", "deleted", "set-2", "bea", "run-1", "ann", "1.0", "R0", True)]


def test_a_dry_run_lists_and_deletes_nothing(company: Company) -> None:
    plan = company.dry_run()
    assert (plan.mode, plan.outcome, plan.asset_count, plan.file_count, plan.file_bytes) == (
        "dry_run",
        "listed",
        2,
        2,
        20,
    )
    listed = "SELECT asset_id, reason, key, size FROM purge_plan_files ORDER BY line"
    assert company.rows(listed) == [("1", "deleted", "images/1.jpg", 10), ("2", "deleted", "images/2.jpg", 10)]
    with pytest.raises(PurgeRefused, match=f"plan {plan.plan_id} is of a dry run"):
        company.purge(plan)
    assert company.store.has("1")
    assert company.receipts() == []


def test_nothing_goes_without_a_dry_run(company: Company) -> None:
    """One under other stores does not count, nor one of more than a week ago."""
    refused = pytest.raises(PurgeRefused, match="no dry run under today's ASSET_CHANGES_FILE_STORES")
    with refused:
        make_plan(company.context, is_dry_run=False)
    company.dry_run()
    other = {"dam": StoreEntry(uri="memory://dam", store_hash="another")}
    with refused:
        make_plan(replace(company.context, stores=other), is_dry_run=False)
    with transaction(company.warehouse) as connection:
        connection.execute(text("UPDATE purge_plans SET ended_at = ended_at - interval '8 days'"))
    with refused:
        make_plan(company.context, is_dry_run=False)
    assert company.rows("SELECT DISTINCT mode FROM purge_plans") == [("dry_run",)]


def test_the_first_plan_waits_and_the_next_does_not(company: Company) -> None:
    plan = company.plan(is_approved=False)
    assert plan.outcome == "waiting"
    assert plan.brake == "It is the first plan that deletes from dam under these settings."
    with pytest.raises(PurgeRefused, match="waits for approval"):
        company.purge(plan)
    assert company.approve(plan)
    company.purge(plan)
    company.changes("Delete", "3", minute=9)
    plan = company.plan(is_approved=False)
    assert (plan.outcome, plan.brake) == ("ready", None)
    assert company.purge(plan).gone == 1


def test_the_first_plan_of_each_store_waits(quiet_context: ChannelContext) -> None:
    """What a person approved of one store says nothing of another."""
    company = Company(quiet_context, {"dam": MemoryStore("dam"), "print": MemoryStore("print")})
    company.holds("1")
    company.holds("1", source="print")
    company.changes("Delete", "1")
    both, company.context = company.context, replace(company.context, only_store="dam")
    company.purge()
    company.context = both
    plan = company.plan(is_approved=False)
    assert (plan.outcome, company.stores["print"].has("1")) == ("waiting", True)
    assert plan.brake == "It is the first plan that deletes from print under these settings."


@pytest.mark.parametrize(
    ("of", "most", "says"),
    [
        (99, 10_000, "It takes 2 assets, more than 2% of the 99 that dam holds."),
        (100, 1, "It has 2 files, more than ASSET_CHANGES_PURGE_MAX_FILES (1)."),
        (100, 2, None),
    ],
)
def test_much_at_once_waits_for_approval(of: int, most: int, says: str | None, company: Company) -> None:
    company.holds("9", of=of)
    company.changes("Delete", "9")
    company.decide("hold", "1", "2")
    company.purge()
    company.decide("release", "1", "2")
    company.context = replace(company.context, max_files=most)
    plan = company.plan(is_approved=False)
    assert plan.brake == says
    assert plan.outcome == ("waiting" if says else "ready")


@pytest.mark.parametrize("of", [None, 0])
@pytest.mark.parametrize("count", [100, 101])
def test_a_store_without_a_list_has_a_limit_too(of: int | None, count: int, company: Company) -> None:
    """What share of it a plan takes is not known; so it is with a list of nothing."""
    company.stores["print"] = MemoryStore("print")
    company.context = replace(
        company.context, stores={"print": StoreEntry(uri="memory://print", store_hash="hash")}, only_store="print"
    )
    if of is not None:
        company.lists("0", source="print", of=of)
    company.dry_run()
    for n, most in ((0, 1), (1, count)):
        ids = [f"{n}b{each}" for each in range(most)]
        for each in ids:
            company.stores["print"].put(each)
        later = datetime.now(UTC) + timedelta(seconds=1)
        company.changes("Delete", *ids, minute=6 + n, received_at=later)
        plan = company.plan(is_approved=n == 0)
        if n == 0:
            company.purge(plan)
    assert (plan.outcome, plan.brake) == (
        ("ready", None)
        if count == 100
        else ("waiting", "It takes 101 assets of print, more than 100: no list says how many it holds.")
    )


def test_an_approval_that_expired_deletes_nothing(company: Company) -> None:
    plan = company.plan()
    with transaction(company.warehouse) as connection:
        connection.execute(text("UPDATE purge_plans SET expires_at = now()"))
    with pytest.raises(PurgeRefused, match="expired at"):
        company.purge(plan)
    assert not company.approve(plan)
    assert company.store.has("1")
    assert company.rows(f"SELECT outcome FROM purge_plans WHERE plan_id = {plan.plan_id}") == [("expired",)]


def test_only_the_list_that_was_shown_is_approved(company: Company) -> None:
    plan = company.plan(is_approved=False)
    assert not company.approve(replace(plan, list_hash="another"))
    assert company.approve(plan)
    with transaction(company.warehouse) as connection:
        connection.execute(
            text(
                "INSERT INTO purge_plan_files SELECT plan_id, chunk, 99, store, '3', reason, due_since, channel_id,"
                " change_set_id, position, reconciliation_id, 'images/3.jpg', version_id, is_delete_marker, size,"
                " modified_at, 'identity-3' FROM purge_plan_files WHERE plan_id = :plan_id LIMIT 1"
            ),
            {"plan_id": plan.plan_id},
        )
    with pytest.raises(PurgeRefused, match="are not those that were planned"):
        company.purge(plan)
    assert company.store.has("1")


def test_settings_that_changed_meanwhile_delete_nothing(company: Company) -> None:
    plan = company.plan()
    company.context = replace(company.context, reasons=("deleted", "not_licensed"))
    with pytest.raises(PurgeRefused, match="changed after plan"):
        company.purge(plan)
    assert company.store.has("1")


def test_what_is_held_back_stays(company: Company) -> None:
    company.decide("hold", "1")
    done = company.purge()
    assert (done.gone, company.store.has("1"), company.store.has("2")) == (1, True, False)
    assert company.rows("SELECT asset_id, is_held_back, held_back_by FROM assets_to_remove") == [("1", True, "legal")]
    assert company.rows("SELECT stores -> 'dam' ->> 'held_back' FROM purge_plans WHERE mode = 'on'") == [("1",)]
    company.decide("release", "1")
    assert company.purge().gone == 1


def test_a_hold_ends_at_its_time(company: Company) -> None:
    company.decide("hold", "1", until=datetime.now(UTC) + timedelta(days=1))
    assert company.dry_run().asset_count == 1
    with transaction(company.warehouse) as connection:
        connection.execute(text("UPDATE purge_holds SET until = now()"))
    assert company.dry_run().asset_count == 2


def test_each_owner_releases_their_own_hold(company: Company) -> None:
    company.decide("hold", "1", owner="legal")
    company.decide("hold", "1", owner="print")
    with pytest.raises(ConfigurationError, match="None of these 1 assets has a hold of 'sales'"):
        company.decide("release", "1", owner="sales")
    company.decide("release", "1", owner="legal")
    assert company.rows("SELECT held_back_by FROM assets_to_remove WHERE asset_id = '1'") == [("print",)]
    assert company.rows("SELECT owner, held_by, released_by FROM purge_holds ORDER BY owner") == [
        ("legal", "cas", "cas"),
        ("print", "cas", None),
    ]


def test_a_waiver_ends_one_duty_and_not_the_next(company: Company) -> None:
    company.decide("waive", "1")
    company.purge()
    assert company.store.has("1")
    assert company.open() == []
    company.changes("New", "1", minute=10)
    company.changes("Delete", "1", minute=15)
    assert company.open() == ["1"]
    company.purge()
    assert not company.store.has("1")


def test_a_waiver_may_be_for_one_source(company: Company) -> None:
    company.stores["print"] = MemoryStore("print")
    company.holds("1", source="print")
    company.decide("waive", "1", source="print")
    assert company.rows("SELECT source FROM assets_to_remove WHERE asset_id = '1'") == [("dam",)]
    with pytest.raises(ConfigurationError, match="open duty to remove"):
        company.decide("waive", "1", source="print")


@pytest.mark.parametrize(
    ("action", "more", "says"),
    [
        ("hold", {"until": datetime(2020, 1, 1, tzinfo=UTC)}, "which is over"),
        ("release", {"until": datetime(2099, 1, 1, tzinfo=UTC)}, "the end of a hold"),
        ("hold", {"source": "dam"}, "limits a waiver"),
        ("keep", {}, "is not one of hold, release, waive"),
    ],
)
def test_a_decision_that_cannot_be_meant_is_refused(
    action: str, more: dict[str, Any], says: str, company: Company
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        company.decide(action, "1", **more)
    assert company.rows("SELECT count(*) FROM purge_holds") == [(0,)]


def test_after_a_new_delete_an_old_receipt_counts_no_more(company: Company) -> None:
    company.purge()
    company.changes("New", "1", minute=10)
    company.store.put("1")
    assert company.open() == []
    company.changes("Delete", "1", minute=15)
    assert company.open() == ["1"]
    assert company.purge().gone == 1


def test_other_templates_make_an_old_receipt_count_no_more(company: Company) -> None:
    """The receipt says nothing of keys that the store's entry did not name then."""
    company.purge()
    company.store.put("1", key="renditions/1/small.jpg")
    company.context = replace(company.context, stores={"dam": StoreEntry(uri="memory://dam", store_hash="with more")})
    company.purge()
    assert not company.store.has("1")
    assert company.receipts()[2:] == [
        ("1", "renditions/1/small.jpg", "deleted", True),
        ("2", None, "nothing_found", True),
    ]


def test_a_file_that_a_list_names_again_must_go_again(company: Company) -> None:
    company.purge()
    with transaction(company.warehouse) as connection:
        connection.execute(text("UPDATE held_assets SET held_since = clock_timestamp() WHERE asset_id = '1'"))
    assert company.open() == ["1"]


def test_a_delete_of_what_no_list_names_is_looked_for(company: Company) -> None:
    """From the first plan on, which makes the store known; then once."""
    company.dry_run()
    company.store.put("7")
    now = datetime.now(UTC)
    company.changes("Delete", "7", "8", minute=6, received_at=now + timedelta(seconds=1))
    company.purge()
    assert not company.store.has("7")
    assert company.receipts()[2:] == [("7", "images/7.jpg", "deleted", True), ("8", None, "nothing_found", True)]
    listings = company.store.listings
    company.purge()
    assert company.store.listings == listings
    assert len(company.receipts()) == 4


def test_verdicts_are_left_to_a_person(company: Company) -> None:
    """Unless PURGE_REASONS names them."""
    with transaction(company.warehouse) as connection:
        connection.execute(
            text(
                "INSERT INTO availability (asset_id, verdict, conn_id, as_of, first_gone_as_of, upserted_at,"
                " upsert_change_set_id, upsert_position) SELECT asset_id, 'not_licensed', 'c', now(),"
                " now() - interval '2 days', upserted_at, upsert_change_set_id, upsert_position"
                " FROM asset_states WHERE asset_id = '3'"
            )
        )
    assert company.open() == ["1", "2", "3"]
    company.purge()
    assert company.store.has("3")
    company.context = replace(company.context, reasons=("deleted", "not_licensed"))
    company.purge()
    assert not company.store.has("3")
    assert company.rows("SELECT reason FROM purges WHERE asset_id = '3'") == [("not_licensed",)]


def test_a_delete_without_a_time_waits_for_a_person(company: Company) -> None:
    """Its time errs towards removal, and an upsert was received after it."""
    with transaction(company.warehouse) as connection:
        connection.execute(text("UPDATE asset_changes SET is_time_inferred = true WHERE asset_lifecycle = 'Delete'"))
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    company.changes("New", "1", minute=3, received_at=noon + timedelta(minutes=7))
    done = company.purge()
    assert (done.gone, company.store.has("1"), company.store.has("2")) == (1, True, False)
    assert company.rows("SELECT stores -> 'dam' ->> 'unsure' FROM purge_plans WHERE mode = 'on'") == [("1",)]


def test_a_delete_waits_until_its_channel_is_read(company: Company) -> None:
    """A New may come after it; one that was read to the end once may be behind again."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    company.changes("Delete", "3", minute=6, is_caught_up=False, received_at=noon + timedelta(minutes=10))
    plan = company.plan()
    assert (plan.asset_count, plan.stores["dam"]["unread"]) == (2, 1)
    assert company.purge(plan).gone == 2
    company.changes("New", "3", minute=7, received_at=noon + timedelta(minutes=11))
    assert (company.plan().asset_count, company.store.has("3")) == (0, True)


@pytest.mark.parametrize("change", ["retired_at = now()", "last_checked_at = NULL"], ids=["retired", "archive alone"])
def test_a_channel_that_nobody_reads_is_not_waited_for(change: str, company: Company) -> None:
    for statement, unread in (("caught_up_at = NULL", 2), (change, 0)):
        with transaction(company.warehouse) as connection:
            connection.execute(text(f"UPDATE channels SET {statement}"))
        assert company.dry_run().stores["dam"]["unread"] == unread


def test_nothing_is_deleted_in_the_middle_of_a_replay(company: Company) -> None:
    """A file that its plan has is left too, until the replay has loaded the New that follows."""
    company.changes("New", "1", minute=9)
    noted: list[int] = []

    def look(connection: Connection, done: Replayed) -> None:
        rows = connection.execute(text("SELECT count(*) FROM channels WHERE rebuilding_since IS NOT NULL"))
        noted.append(int(rows.scalar_one()))

    plan = company.plan()
    with company.warehouse.begin() as connection:
        connection.execute(text("TRUNCATE asset_changes, asset_states, deletions, change_sets CASCADE"))
    channel = company.channel
    replay(channel.channel, archive=channel.archive, warehouse=channel.warehouse, note=look)
    assert ({*noted}, plan.asset_count) == ({1}, 1)
    assert company.rows("SELECT rebuilding_since FROM channels") == [(None,)]
    assert company.purge(plan).gone == 1
    with transaction(company.warehouse) as connection:
        connection.execute(text("UPDATE channels SET rebuilding_since = now()"))
    company.changes("Delete", "3", minute=9)
    plan = company.plan()
    assert (plan.stores["dam"]["unread"], plan.asset_count, company.purge(plan).deleted) == (1, 0, 0)
    assert company.store.has("3")


def test_what_is_held_back_takes_no_room_in_a_plan(company: Company) -> None:
    company.decide("hold", "1")
    company.changes("Delete", "3", minute=9)
    with transaction(company.warehouse) as connection:
        found = duties.duties_of_store(connection, "dam", reasons=("deleted",), most=2)
    assert [each.asset_id for each in found] == ["2", "3"]


def test_an_id_that_no_store_may_be_asked_for_is_counted(company: Company) -> None:
    company.lists("../x")
    company.changes("Delete", "../x")
    company.purge()
    assert company.rows("SELECT stores -> 'dam' ->> 'unsafe' FROM purge_plans WHERE mode = 'on'") == [("1",)]


def test_an_asset_that_cannot_be_listed_stops_no_other(company: Company) -> None:
    """It is named, and never taken for gone: by the plan, by the purge, by the listing that proves it."""
    company.store.unlistable = {"1"}
    plan = company.plan()
    assert {name: plan.stores["dam"][name] for name in ("assets", "unlisted", "unlisted_assets", "error")} == {
        "assets": 1, "unlisted": 1, "unlisted_assets": "1", "error": None,
    }  # fmt: skip
    assert (company.purge(plan).gone, company.open()) == (1, ["1"])
    company.changes("Delete", "3", minute=6)
    company.store.unlistable = set()
    plan = company.plan()
    company.store.unlistable = {"1"}
    done = company.purge(plan)
    assert (done.gone, done.is_done, company.open()) == (1, True, ["1"])
    assert done.problems == ["dam: the asset 1 cannot be listed: The store dam sends no listing that can be read."]
    company.store.unlistable = set()
    company.store.after_delete = lambda: company.store.unlistable.add("1")
    assert (company.purge().gone, company.open()) == (0, ["1"])
    company.store.unlistable, company.store.after_delete = set(), lambda: None
    assert (company.purge().gone, company.open()) == (1, [])


def test_a_store_of_which_many_fail_cannot_be_listed(company: Company) -> None:
    ids = [f"b{each}" for each in range(21)]
    company.holds(*ids)
    company.changes("Delete", *ids, minute=6)
    company.store.unlistable = {*ids}
    assert company.dry_run().stores["dam"]["error"] == "The store dam sends no listing that can be read."


def test_a_purge_stops_after_its_chunk_and_is_continued(company: Company) -> None:
    company.holds(*(f"b{each}" for each in range(150)), of=100_000)
    company.changes("Delete", *(f"b{each}" for each in range(150)), minute=6)
    plan = company.plan()
    asked = iter([False, True])
    done = company.purge(plan, stops=lambda: next(asked))
    assert (done.gone, done.is_done) == (100, False)
    company.next_run("run-2")
    again = company.plan()
    assert again.plan_id == plan.plan_id
    assert company.purge(again).gone == 52
    assert company.purge(again).gone == 0
    assert company.open() == []


def test_a_second_run_is_refused_while_one_deletes(company: Company) -> None:
    plan = company.plan()
    with transaction(company.warehouse) as connection:
        file_stores.take_lease(connection, "dam", holder="asset_changes_purge run-0")
    with pytest.raises(PurgeRunning, match="The store dam is worked on by asset_changes_purge run-0 until"):
        company.purge(plan)
    assert company.store.has("1")


def test_a_store_that_is_down_holds_no_other_up(quiet_context: ChannelContext) -> None:
    company = Company(quiet_context, {"dam": MemoryStore("dam"), "print": MemoryStore("print")})
    company.holds("1")
    company.holds("1", source="print")
    company.changes("Delete", "1")
    company.dry_run()
    company.stores["dam"].is_down = True
    plan = company.plan()
    assert plan.stores["dam"]["error"] == "The store dam does not answer."
    company.purge(plan)
    assert (company.stores["dam"].has("1"), company.stores["print"].has("1")) == (True, False)
    assert company.rows("SELECT source FROM assets_to_remove") == [("dam",)]
    company.stores["dam"].is_down = False
    plan = company.plan()
    company.stores["dam"].is_down = True
    assert company.purge(plan).problems == ["dam: The store dam does not answer."]
    company.holds("2", source="print")
    company.changes("Delete", "2", minute=1)
    other = company.plan()
    assert other.plan_id > plan.plan_id
    company.purge(other)
    assert not company.stores["print"].has("2")
    company.stores["dam"].is_down = False
    again = company.plan(is_approved=False)
    assert (again.plan_id, again.outcome, list(again.unfinished)) == (plan.plan_id, "approved", ["dam"])
    company.purge(again)
    assert company.open() == []


def test_the_evidence_leads_from_the_delete_to_each_store(company: Company) -> None:
    company.decide("hold", "2")
    company.purge()
    assert company.rows(
        "SELECT asset_id, store, received_at < applied_at, gone_at > applied_at, removed_count, failed_count,"
        " approved_by, held_back_by FROM removal_evidence ORDER BY asset_id"
    ) == [("1", "dam", True, True, 1, 0, "bea", None), ("2", "dam", True, None, 0, 0, None, "legal")]


@pytest.mark.parametrize(
    ("change", "open_again"),
    [
        ("UPDATE file_stores SET store_hash = 'more templates'", ["1", "2", "4"]),
        ("UPDATE held_assets SET held_since = now() WHERE asset_id = '2'", ["2"]),
        ("UPDATE asset_states SET upserted_at = now() WHERE asset_id = '2'", []),
        ("UPDATE deletions SET applied_at = now(), is_rebuilt = true", []),
    ],
    ids=["other templates", "listed anew", "live again", "rebuilt"],
)
def test_the_evidence_ends_where_the_receipt_does(change: str, open_again: list[str], company: Company) -> None:
    company.dry_run()
    company.changes("Delete", "4", minute=6, received_at=datetime.now(UTC))  # which no list names
    company.purge()
    gone = "SELECT asset_id FROM removal_evidence WHERE gone_at IS NULL ORDER BY asset_id"
    assert company.rows(gone) == []
    with transaction(company.warehouse) as connection:
        connection.execute(text(change))
    assert [row[0] for row in company.rows(gone)] == open_again


def test_a_waived_verdict_waives_no_delete(company: Company) -> None:
    with transaction(company.warehouse) as connection:
        connection.execute(
            text(
                "INSERT INTO purge_waivers (asset_id, reason, due_since, why)"
                " SELECT asset_id, CASE asset_id WHEN '1' THEN 'not_licensed' ELSE 'deleted' END, deleted_at, 'a case'"
                " FROM deletions"
            )
        )
    waived = "SELECT asset_id FROM removal_evidence WHERE waived_at IS NOT NULL"
    assert company.rows(waived) == [("2",)]


def test_what_must_go_is_found_by_its_keys(company: Company) -> None:
    """The view can be read for a few assets, however many are held."""
    with transaction(company.warehouse) as connection:
        connection.execute(
            text(
                "INSERT INTO held_assets (source, asset_id, held_since)"
                " SELECT 'dam', 'n' || n, now() FROM generate_series(1, 20000) AS n"
            )
        )
    company.rows("SELECT 1")
    with transaction(company.warehouse) as connection:
        connection.execute(text("ANALYZE held_assets"))
    plan = "\n".join(
        row[0]
        for row in company.rows(
            "EXPLAIN SELECT * FROM assets_to_remove WHERE source = 'dam' AND asset_id = ANY (ARRAY['1', '2'])"
        )
    )
    assert "held_assets_pkey" in plan
    assert "Seq Scan on held_assets" not in plan
