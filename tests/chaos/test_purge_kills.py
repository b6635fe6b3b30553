"""Purges that are killed, raced and refused: no live or held file goes, none is called gone while it can be read."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from asset_changes.errors import PurgeRefused
from asset_changes.pipeline.context import ChannelContext
from asset_changes.removal.purge import PurgeRunning
from asset_changes.removal.stores.store import StoredFile
from asset_changes.warehouse import holds
from asset_changes.warehouse.engine import transaction
from sqlalchemy import text

from tests.core.doubles import NOON
from tests.core.doubles import quiet_context as quiet_context
from tests.core.purge_doubles import Company, MemoryStore

HOOKS = ("before_list", "after_list", "before_delete", "after_each", "after_delete")


class Killed(BaseException):
    """The worker dies here."""


@pytest.fixture
def company(quiet_context: ChannelContext) -> Company:
    """A company that holds assets 1 to 3, of which Getty deleted 1 and 2."""
    company = Company(quiet_context)
    company.holds("1", "2", "3")
    company.changes("New", "1", "2", "3")
    company.changes("Delete", "1", "2", minute=5)
    return company


def on_nth(n: int, act: Callable[[], object]) -> Callable[[], None]:
    """Return a hook that acts at its n-th call."""
    calls = 0

    def hook() -> None:
        nonlocal calls
        calls += 1
        if calls == n:
            act()

    return hook


def execute(company: Company, statement: str) -> None:
    """Execute a statement in a transaction of its own."""
    with transaction(company.warehouse) as connection:
        connection.execute(text(statement))


def die() -> None:
    """Die."""
    raise Killed


@pytest.mark.parametrize(
    ("hook", "n"),
    [
        ("before_list", 1), ("after_list", 1), ("before_delete", 1), ("after_each", 1), ("after_each", 2),
        ("after_delete", 1), ("before_list", 2), ("after_list", 2),
    ],
)  # fmt: skip
def test_a_killed_purge_is_continued_with_its_plan(hook: str, n: int, company: Company) -> None:
    """What it deleted without a receipt gets it then: of the same plan, as missing, and gone."""
    plan = company.plan()
    setattr(company.store, hook, on_nth(n, die))
    with pytest.raises(Killed):
        company.purge(plan)
    setattr(company.store, hook, lambda: None)
    was_deleted = {asset_id for asset_id, _ in company.store.deleted}
    assert company.receipts() == []
    company.next_run("run-2")
    again = company.plan()
    assert again.plan_id == plan.plan_id
    company.purge(again)
    results = {asset_id: result for asset_id, _, result, _ in company.receipts()}
    assert results == {each: "missing" if each in was_deleted else "deleted" for each in ("1", "2")}
    assert company.rows("SELECT DISTINCT plan_id, is_gone FROM purges") == [(plan.plan_id, True)]
    assert company.open() == []


def test_a_kill_whose_plan_expired_ends_in_receipts_too(company: Company) -> None:
    company.store.after_delete = die
    plan = company.plan()
    with pytest.raises(Killed):
        company.purge(plan)
    company.store.after_delete = lambda: None
    with transaction(company.warehouse) as connection:
        connection.execute(text("UPDATE purge_plans SET expires_at = now() WHERE mode = 'on'"))
    company.purge()
    assert company.receipts() == [("1", None, "nothing_found", True), ("2", None, "nothing_found", True)]


def test_a_new_between_plan_and_purge_keeps_the_file(company: Company) -> None:
    plan = company.plan()
    company.changes("New", "1", minute=10)
    done = company.purge(plan)
    assert (done.left, done.gone, company.store.has("1")) == (1, 1, True)
    assert [each[0] for each in company.receipts()] == ["2"]


def test_a_new_right_after_the_listing_keeps_the_file(company: Company) -> None:
    """The look at the asset comes after the listing."""
    plan = company.plan()
    company.store.after_list = on_nth(1, lambda: company.changes("New", "1", minute=10))
    assert company.purge(plan).left == 1
    assert company.store.has("1")


def test_a_hold_between_plan_and_purge_keeps_the_file(company: Company) -> None:
    plan = company.plan()
    company.decide("hold", "1")
    assert company.purge(plan).left == 1
    assert company.store.has("1")


def test_a_hold_right_after_the_listing_keeps_the_file(company: Company) -> None:
    plan = company.plan()
    company.store.after_list = on_nth(1, lambda: company.decide("hold", "1"))
    assert company.purge(plan).left == 1
    assert company.store.has("1")


def test_a_hold_returns_once_it_counts(company: Company) -> None:
    """One that comes while a chunk is being deleted waits for it, and says of what it came too late."""
    plan, ended = company.plan(), threading.Event()
    made: list[Any] = []

    def hold() -> None:
        made.append(company.decide("hold", "1", "3"))
        ended.set()

    thread = threading.Thread(target=hold)
    company.store.before_delete = thread.start
    company.store.after_delete = lambda: made.append(ended.wait(1.5))
    company.purge(plan)
    thread.join(20)
    waited, done = made
    assert waited is False
    assert (done.changed, done.too_late) == (2, 1)


@pytest.mark.parametrize("hook", ["before_list", "after_list", "before_delete", "after_delete"])
def test_what_is_stored_again_meanwhile_stays(hook: str, company: Company) -> None:
    """It is not what was planned, and the asset is not called gone."""
    plan = company.plan()
    setattr(company.store, hook, on_nth(1, lambda: company.store.put("1")))
    company.purge(plan)
    assert company.store.has("1")
    assert [(row[0], row[3]) for row in company.receipts()] == [("1", False), ("2", True)]
    assert company.open() == ["1"]
    setattr(company.store, hook, lambda: None)
    company.purge()
    assert not company.store.has("1")


def test_a_newer_delete_waits_for_its_own_plan(company: Company) -> None:
    plan = company.plan()
    company.changes("Delete", "1", minute=10)
    assert company.purge(plan).left == 1
    assert company.store.has("1")
    assert company.purge().gone == 1


def test_a_key_that_cannot_be_deleted_stops_nothing(company: Company) -> None:
    """It has a receipt with the error, and is tried again."""
    company.store.put("1", key="images/1.tif")
    company.store.locked = {"images/1.tif"}
    done = company.purge()
    assert (done.deleted, done.failed, done.gone, done.is_done) == (2, 1, 1, True)
    assert company.receipts() == [
        ("1", "images/1.jpg", "deleted", False),
        ("1", "images/1.tif", "error", False),
        ("2", "images/2.jpg", "deleted", True),
    ]
    assert company.rows("SELECT error, request_id FROM purges WHERE result = 'error'") == [("AccessDenied", "R1")]
    assert company.open() == ["1"]
    company.store.locked = set()
    assert company.purge().gone == 1
    assert company.open() == []


def test_all_ten_versions_and_the_mark_go(company: Company) -> None:
    company.store.files["1"] = []
    for version in range(10):
        company.store.put("1", version_id=f"v{version}")
    company.store.put("1", version_id="mark", marker=True)
    company.decide("hold", "2")
    done = company.purge()
    assert (done.deleted, done.gone) == (11, 1)
    assert company.rows("SELECT count(DISTINCT version_id), bool_and(is_gone) FROM purges") == [(11, True)]


def test_one_version_that_is_left_makes_nothing_gone(company: Company) -> None:
    plan = company.plan()
    company.store.put("1", version_id="newer")
    assert company.purge(plan).gone == 1
    assert ("1", "images/1.jpg", "deleted", False) in company.receipts()


def test_a_store_that_fails_after_deleting_gives_receipts(company: Company) -> None:
    """What it deleted is kept; that it is gone is not known, and the next run finds it."""
    plan = company.plan()
    company.store.after_delete = lambda: setattr(company.store, "is_down", True)
    done = company.purge(plan)
    assert (done.deleted, done.gone, len(done.problems), done.unfinished_assets) == (2, 0, 1, 2)
    assert {row[3] for row in company.receipts()} == {False}
    company.store.is_down = False
    company.store.after_delete = lambda: None
    assert company.purge().gone == 2
    assert company.open() == []


def test_a_store_that_fails_in_the_middle_keeps_its_plan(company: Company) -> None:
    """A retry of the task does what is left, with the same approval; a file that was stored again stays."""
    company.holds(*(f"b{each}" for each in range(150)), of=100)
    company.changes("Delete", *(f"b{each}" for each in range(150)), minute=6)
    plan = company.plan()
    company.store.before_list = on_nth(3, lambda: setattr(company.store, "is_down", True))
    done = company.purge(plan)
    assert (done.gone, done.unfinished_assets, done.is_done) == (100, 52, False)
    assert done.unfinished == {"dam": (2, "The store dam does not answer.")}
    company.store.is_down = False
    company.store.put("b99")
    again = company.purge(plan)
    assert (again.gone, again.deleted, again.is_done) == (51, 51, True)
    assert company.open() == ["b99"]
    found = "SELECT plan_id, outcome, approved_by, unfinished FROM purge_plans WHERE mode = 'on'"
    assert company.rows(found) == [(plan.plan_id, "purged", "bea", {})]


@pytest.mark.parametrize("is_later", [False, True])
def test_files_that_were_not_tried_are_tried_again(is_later: bool, company: Company) -> None:
    """The store failed while it deleted, and no listing showed what it did: so says the plan, by its next run too."""
    plan = company.plan()
    company.store.after_each = lambda: setattr(company.store, "is_down", True)
    done = company.purge(plan)
    assert (done.deleted, done.failed, done.unfinished_assets) == (1, 0, 2)
    company.store.is_down, company.store.after_each = False, lambda: None
    if is_later:
        company.next_run("run-2")
        assert company.plan(is_approved=False).plan_id == plan.plan_id
    assert company.purge(plan).gone == 2
    assert [(row[0], row[2], row[3]) for row in company.receipts()] == [
        ("1", "deleted", False), ("1", "missing", True), ("2", "deleted", True)
    ]  # fmt: skip


def test_an_unfinished_plan_ends_with_its_approval(company: Company) -> None:
    plan = company.plan()
    company.store.after_list = on_nth(1, lambda: setattr(company.store, "is_down", True))
    company.store.before_delete = lambda: execute(company, "UPDATE purge_plans SET expires_at = now()")
    assert company.purge(plan).unfinished_assets == 2
    company.store.is_down, company.store.before_delete = False, lambda: None
    with pytest.raises(PurgeRefused, match="expired at"):
        company.purge(plan)
    again = company.plan(is_approved=False)
    assert (again.plan_id > plan.plan_id, again.outcome) == (True, "waiting")


def test_two_runs_at_once_delete_once(company: Company) -> None:
    """The second is refused while the first deletes, and its plan is empty then."""
    plan = company.plan()
    refused: list[str] = []

    def second() -> None:
        other = Company(company.channel, company.stores)
        other.next_run("run-2")
        with pytest.raises(PurgeRunning) as running:
            other.purge(plan)
        refused.append(str(running.value))

    company.store.before_delete = second
    assert company.purge(plan).deleted == 2
    assert len(refused) == 1
    assert len(company.receipts()) == 2


def test_a_run_that_lost_its_store_deletes_no_more(company: Company) -> None:
    """Another took the lease over while it listed; what is in the plan is done by that one."""
    plan = company.plan()

    def take_over() -> None:
        with transaction(company.warehouse) as connection:
            connection.execute(text("UPDATE file_stores SET lease_id = 'another'"))

    company.store.after_list = take_over
    done = company.purge(plan)
    assert (done.deleted, done.is_done) == (0, False)
    assert company.store.has("1")


def test_a_hold_in_the_middle_of_many_files_counts(company: Company) -> None:
    """And what was deleted before it has its receipts."""
    for n in range(1500):
        company.store.put("1", key=f"renditions/1/{n}.jpg")
    plan = company.plan()
    hold = "INSERT INTO purge_holds (asset_id, owner, reason) VALUES ('1', 'legal', 'a case')"
    company.store.after_delete = on_nth(1, lambda: execute(company, hold))
    assert company.purge(plan).deleted == 1001
    assert len(company.store.files["1"]) == 501
    assert company.rows("SELECT count(*) FROM purges WHERE asset_id = '1' AND NOT is_gone") == [(1000,)]


def test_a_store_lost_in_the_middle_gives_receipts(company: Company) -> None:
    for n in range(1500):
        company.store.put("1", key=f"renditions/1/{n}.jpg")
    plan = company.plan()
    take_over = "UPDATE file_stores SET lease_id = 'another'"
    company.store.after_delete = on_nth(1, lambda: execute(company, take_over))
    done = company.purge(plan)
    assert (done.deleted, done.gone, done.is_done) == (1000, 0, False)
    assert company.rows("SELECT result, is_gone, count(*) FROM purges GROUP BY 1, 2") == [("deleted", False, 1000)]


def test_a_cleared_old_run_deletes_nothing(company: Company) -> None:
    plan = company.plan()
    company.purge(plan)
    company.changes("New", "1", minute=10)
    company.store.put("1")
    done = company.purge(plan)
    assert (done.deleted, done.gone) == (0, 0)
    assert company.store.has("1")
    assert len(company.receipts()) == 2


@dataclass
class Chaos:
    """Kills, changes and holds at random; `wrong` has what broke an invariant."""

    company: Company
    random: random.Random
    live: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    minute: int = 10
    kills: int = 0
    wrong: list[str] = field(default_factory=list)

    def run_once(self) -> None:
        """Change something, plan, change something more, and purge until killed or done."""
        store = self.company.store
        for hook in HOOKS:
            setattr(store, hook, lambda: None)
        self.change_something()
        self.company.next_run(f"run-{self.kills}")
        kill = self.random.choice(HOOKS)
        setattr(store, kill, on_nth(self.random.randint(1, 4), die))
        if self.random.random() < 0.5:
            other = self.random.choice(
                [each for each in HOOKS if each in ("before_list", "after_list") and each != kill]
            )
            setattr(store, other, self.change_something)
        try:
            plan = self.company.plan()
            store_before = {key: list(files) for key, files in store.files.items()}
            self.planned = {
                (row[0], row[1], row[2])
                for row in self.company.rows(
                    f"SELECT asset_id, key, identity FROM purge_plan_files WHERE plan_id = {plan.plan_id}"
                )
            }
            assert store_before == store.files
            self.company.purge(plan)
        except Killed:
            self.kills += 1

    def change_something(self) -> None:
        """Let Getty delete or restore an asset, hold one back, release one, or store one again."""
        store, asset_id = self.company.store, str(self.random.randrange(12))
        self.minute += 1
        match self.random.randrange(5):
            case 0 | 1:
                self.live.discard(asset_id)
                self.company.changes("Delete", asset_id, minute=self.minute, received_at=NOON + timedelta(days=1))
            case 2:
                self.live.add(asset_id)
                self.company.changes("New", asset_id, minute=self.minute, received_at=NOON + timedelta(days=1))
                store.put(asset_id)
            case 3 if asset_id not in self.kept:
                self.kept.add(asset_id)
                self.hold(asset_id)
            case _ if asset_id in self.kept:
                self.kept.discard(asset_id)
                self.company.decide("release", asset_id)

    def hold(self, asset_id: str) -> None:
        """Hold an asset back, without waiting for the chunk that this very thread may be deleting."""
        with transaction(self.company.warehouse) as connection:
            holds.hold(connection, [asset_id], owner="legal", reason="a case", until=None, by="cas")

    def check_each_deletion(self) -> None:
        """Look, as each file goes, whether it may."""
        asset_id, file = self.company.store.deleted[-1]
        if asset_id in self.live or asset_id in self.kept:
            self.wrong.append(f"{asset_id} was deleted while live or held back")
        if (asset_id, file.key, file.identity) not in self.planned:
            self.wrong.append(f"{file.key} was deleted without a plan")


class WatchedDeletions(list[tuple[str, StoredFile]]):
    """Calls back at each file that goes."""

    def __init__(self, watch: Callable[[], object]) -> None:
        super().__init__()
        self._watch = watch

    def append(self, each: tuple[str, StoredFile]) -> None:
        """Keep what went, and look at it."""
        super().append(each)
        self._watch()


@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_break_no_invariant(seed: int, quiet_context: ChannelContext) -> None:
    """About a hundred over all seeds: nothing live or held back goes, nothing outside the plan, no false receipt."""
    company = Company(quiet_context, {"dam": MemoryStore("dam")})
    ids = [str(each) for each in range(12)]
    company.holds(*ids, of=100_000)
    company.changes("New", *ids)
    chaos = Chaos(company, random.Random(seed), live=set(ids))
    company.store.deleted = WatchedDeletions(chaos.check_each_deletion)
    while chaos.kills < 25:
        chaos.run_once()
        latest = company.rows(
            "SELECT DISTINCT ON (asset_id) asset_id, is_gone FROM purges ORDER BY asset_id, receipt_id DESC"
        )
        open_now = set(company.open())
        readable = [each for each, is_gone in latest if is_gone and company.store.has(each) and each not in chaos.live]
        assert [each for each in readable if each not in open_now] == []
    assert chaos.wrong == []
    for hook in HOOKS:
        setattr(company.store, hook, lambda: None)
    for asset_id in sorted(chaos.kept):
        company.decide("release", asset_id)
    while company.open():
        company.purge()
    assert {each for each in ids if company.store.has(each)} == chaos.live
