"""Reconciliation on a real Postgres: what is asked again, what the answers come to, and what must be removed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asset_changes.errors import ApiUnavailable, CanariesNotFound
from asset_changes.lookup.enqueue import Scope, enqueue
from asset_changes.lookup.judge import Judged, approve, judge, refuse
from asset_changes.lookup.look_up import LookedUp, look_up
from asset_changes.warehouse import rechecks, reconciliations
from sqlalchemy import Engine

from tests.conftest import EDITORIAL_FILM
from tests.core.doubles import change, execute, rows, value
from tests.core.lookup_doubles import LATER, EveryAsset, KnowingGetty, captions, lookups
from tests.core.test_lookups import MINUTE, feed, known, queue

__all__ = ["feed"]

SCOPE = Scope(connections={"getty": frozenset((3001, 3003))})
DAY = timedelta(days=1)


def hold(warehouse: Engine, *asset_ids: str, source: str = "dam", asset_type: str | None = None) -> None:
    """Let the company hold these."""
    kind = f"'{asset_type}'" if asset_type else "NULL"
    for asset_id in asset_ids:
        execute(
            warehouse,
            "INSERT INTO held_assets (source, asset_id, asset_type, held_since)"
            f" VALUES ('{source}', '{asset_id}', {kind}, '2026-01-01Z')",
        )


def due(warehouse: Engine) -> None:
    """Let the slice of a day and the sweep be due."""
    execute(warehouse, "DELETE FROM consumers WHERE name IN ('reconciliation', 'lookup_sweep')")


def days_pass(warehouse: Engine, days: float = 1.01) -> None:
    """Move what was asked back, as if it were asked so many days earlier."""
    due(warehouse)
    execute(
        warehouse,
        f"UPDATE availability SET as_of = as_of - interval '{days} days',"
        f" first_gone_as_of = first_gone_as_of - interval '{days} days'",
    )


def ask(warehouse: Engine, getty: KnowingGetty, scope: Scope = SCOPE, **more: Any) -> LookedUp:
    """Do what `enqueue` and `look_up` do in a run."""
    enqueue(warehouse, scope, not_asked_since=more.pop("not_asked_since", None))
    context = lookups(warehouse, getty, reconciles=scope.reconcile_days > 0, metadata=scope.metadata, **more)
    return look_up(replace(context, connections=scope.connections), minutes=50)


def run(warehouse: Engine, getty: KnowingGetty, scope: Scope = SCOPE, **more: Any) -> Judged:
    """Do what a run of the DAG does."""
    ask(warehouse, getty, scope, **more)
    return judge(warehouse, clock=lambda: LATER)


def verdicts(warehouse: Engine) -> dict[str, str]:
    """Return the verdicts by asset."""
    return {row["asset_id"]: row["verdict"] for row in rows(warehouse, "SELECT asset_id, verdict FROM availability")}


def to_remove(warehouse: Engine) -> dict[str, str]:
    """Return the reasons by asset."""
    return {row["asset_id"]: row["reason"] for row in rows(warehouse, "SELECT * FROM assets_to_remove")}


def outcomes(warehouse: Engine) -> list[str | None]:
    """Return what came of each round."""
    return [row["outcome"] for row in rows(warehouse, "SELECT outcome FROM reconciliations ORDER BY 1")]


def many(count: int) -> list[str]:
    """Return so many ids."""
    return [f"held-{number}" for number in range(count)]


def getty_of(*asset_ids: str, **more: Any) -> KnowingGetty:
    """Return a Getty that has these."""
    return KnowingGetty(captions(*asset_ids), **more)


@pytest.fixture
def canary(feed: Callable[..., None]) -> None:
    """Let there be a live asset that Getty finds."""
    feed("0", change("live", "New", 0))


@pytest.mark.usefixtures("canary")
def test_three_questions_find_the_reason(warehouse: Engine) -> None:
    ids = many(200)
    hold(warehouse, *ids, "film", "licensed elsewhere", "vanished")
    getty = getty_of("live", *ids, "film", "licensed elsewhere", videos=frozenset({"film"}))
    getty.unlicensed = frozenset({"licensed elsewhere"})
    judged = run(warehouse, getty)
    assert (judged.counted, judged.waiting) == (1, ())
    found = verdicts(warehouse)
    assert found.pop("licensed elsewhere") == "not_licensed"
    assert found.pop("vanished") == "not_in_catalogue"
    assert found == dict.fromkeys(["live", "film", *ids], "available")
    assert value(warehouse, "SELECT asset_type FROM availability WHERE asset_id = 'film'") == "Video"


@pytest.mark.usefixtures("canary")
def test_a_wrong_type_is_corrected(warehouse: Engine) -> None:
    """The next time it is asked as what it was found as, at once."""
    hold(warehouse, "film", asset_type="Image")
    run(warehouse, getty_of("live", "film", videos=frozenset({"film"})))
    days_pass(warehouse, 2)
    getty = getty_of("live", "film", videos=frozenset({"film"}))
    run(warehouse, getty)
    asked = [asset_type for asset_type, ids in getty.asked if "film" in ids]
    assert set(asked) == {"Video"}


@pytest.mark.usefixtures("canary")
def test_gone_is_said_twice_a_day_apart(warehouse: Engine) -> None:
    hold(warehouse, "vanished", *many(100))
    getty = getty_of("live", *many(100))
    run(warehouse, getty)
    assert to_remove(warehouse) == {}
    due(warehouse)
    run(warehouse, getty)  # again within the day
    assert to_remove(warehouse) == {}
    days_pass(warehouse)
    run(warehouse, getty)
    assert to_remove(warehouse) == {"vanished": "not_in_catalogue"}
    assert value(warehouse, "SELECT count(*) FROM availability_checks WHERE asset_id = 'vanished'") == 3


@pytest.mark.usefixtures("canary")
def test_the_same_answer_from_a_cache_counts_once(warehouse: Engine) -> None:
    hold(warehouse, "vanished", *many(100))
    getty = getty_of("live", *many(100), as_of=LATER)
    run(warehouse, getty)
    execute(warehouse, f"UPDATE availability SET first_gone_as_of = '{LATER - 2 * DAY}', as_of = '{LATER}'"
                       " WHERE verdict <> 'available'")  # fmt: skip
    due(warehouse)
    run(warehouse, getty)
    assert value(warehouse, "SELECT checks FROM availability WHERE asset_id = 'vanished'") == 1


@pytest.mark.usefixtures("canary")
def test_found_in_between_it_begins_anew(warehouse: Engine) -> None:
    hold(warehouse, "back", *many(100))
    run(warehouse, getty_of("live", *many(100)))
    days_pass(warehouse)
    run(warehouse, getty_of("live", "back", *many(100)))
    assert verdicts(warehouse)["back"] == "available"
    days_pass(warehouse)
    run(warehouse, getty_of("live", *many(100)))
    assert (verdicts(warehouse)["back"], to_remove(warehouse)) == ("not_in_catalogue", {})
    assert value(warehouse, "SELECT count(*) FROM availability_checks WHERE asset_id = 'back'") == 2


def test_a_new_message_makes_the_verdict_void(warehouse: Engine, feed: Callable[..., None]) -> None:
    """Also one that Getty made before the verdict and handed out after it."""
    feed("1", change("live", "New", 0), change("back", "New", 1))
    hold(warehouse, "back", *many(100))
    getty = getty_of("live", *many(100))
    enqueue(warehouse, SCOPE)
    execute(warehouse, "UPDATE lookup_queue SET reason = 'recheck' WHERE asset_id = 'back'")
    for _ in range(2):
        run(warehouse, getty)
        days_pass(warehouse)
    assert to_remove(warehouse) == {"back": "not_in_catalogue"}
    feed("2", change("back", "Update", 2))
    assert to_remove(warehouse) == {}


def test_a_delete_is_the_first_reason(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", change("a", "New", 0), change("a", "Delete", 1), change("never named", "Delete", 2))
    hold(warehouse, "a", "never named")
    assert to_remove(warehouse) == {"a": "deleted", "never named": "deleted"}
    assert queue(warehouse) == []
    enqueue(warehouse, SCOPE)
    assert queue(warehouse) == []  # a Delete is final: nobody asks


def test_a_shorter_list_ends_no_duty(warehouse: Engine, feed: Callable[..., None]) -> None:
    """What was dropped before Getty deleted it was no longer held then."""
    feed("1", change("a", "Delete", 1), change("b", "Delete", 1))
    hold(warehouse, "a", "b")
    execute(warehouse, "UPDATE held_assets SET held_until = now() WHERE asset_id = 'a'")
    execute(warehouse, "UPDATE held_assets SET held_until = '2026-01-02Z' WHERE asset_id = 'b'")
    assert to_remove(warehouse) == {"a": "deleted"}


@pytest.mark.usefixtures("canary")
def test_too_many_gone_wait_for_approval(warehouse: Engine) -> None:
    """As with a token of another agreement; nothing counts before a person has approved it, and then all does."""
    hold(warehouse, *many(100))
    getty = getty_of("live", *many(100), unlicensed=frozenset(many(50)))
    judged = run(warehouse, getty)
    assert [each.first_gone_count for each in judged.waiting] == [50]
    assert set(verdicts(warehouse).values()) == {"available"}
    assert approve(warehouse, judged.waiting, name="Ada", clock=lambda: LATER) == 1
    assert list(verdicts(warehouse).values()).count("not_licensed") == 50
    assert value(warehouse, "SELECT approved_by FROM reconciliations") == "Ada"
    days_pass(warehouse)
    assert run(warehouse, getty).waiting == ()  # they were approved the first time
    assert set(to_remove(warehouse).values()) == {"not_licensed"}


@pytest.mark.usefixtures("canary")
def test_a_refused_round_voids_its_verdicts(warehouse: Engine) -> None:
    hold(warehouse, *many(100))
    judged = run(warehouse, getty_of("live", *many(50)))
    refuse(warehouse, judged.waiting, name="Ada")
    assert outcomes(warehouse) == ["refused"]
    assert approve(warehouse, judged.waiting, name="Bob", clock=lambda: LATER) == 0
    assert set(verdicts(warehouse).values()) == {"available"}
    due(warehouse)
    assert run(warehouse, getty_of("live", *many(100))).waiting == ()  # all are asked again
    assert verdicts(warehouse) == dict.fromkeys(["live", *many(100)], "available")


@pytest.mark.usefixtures("canary")
def test_an_approval_after_its_time_counts_nothing(warehouse: Engine) -> None:
    hold(warehouse, *many(100))
    judged = run(warehouse, getty_of("live"))
    later = judged.waiting[0].expires_at
    assert later is not None
    assert approve(warehouse, judged.waiting, name="Ada", clock=lambda: later) == 0
    assert outcomes(warehouse) == ["expired"]
    assert set(verdicts(warehouse)) == {"live"}


@pytest.mark.usefixtures("canary")
def test_other_checks_than_those_shown_do_not_count(warehouse: Engine) -> None:
    hold(warehouse, *many(100))
    judged = run(warehouse, getty_of("live"))
    execute(
        warehouse,
        "INSERT INTO availability_checks (reconciliation_id, asset_id, verdict, conn_id, as_of, checked_at)"
        " SELECT reconciliation_id, 'another', 'not_licensed', 'getty', now(), now() FROM reconciliations",
    )
    assert approve(warehouse, judged.waiting, name="Ada", clock=lambda: LATER) == 0
    assert outcomes(warehouse) == ["void"]


def test_empty_answers_are_not_believed(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", *(change(f"live {number}", "New", number) for number in range(20)))
    hold(warehouse, *many(100))
    with pytest.raises(CanariesNotFound, match="finds only 0 of 10 assets that are live"):
        ask(warehouse, KnowingGetty())
    assert rows(warehouse, "SELECT * FROM availability_checks") == []
    assert verdicts(warehouse) == {}
    live = [f"live {number}" for number in range(20)]
    assert run(warehouse, getty_of(*live, *many(100))).counted == 1  # and it continues


def test_answers_that_become_empty_void_the_round(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", change("live", "New", 0))
    hold(warehouse, *many(100))
    getty = getty_of("live", *many(100))

    def fail_later() -> None:
        if len(getty.asked) == 2:
            getty.known = {}

    getty.meanwhile = fail_later
    with pytest.raises(CanariesNotFound):
        ask(warehouse, getty)
    assert outcomes(warehouse) == ["void"]
    assert judge(warehouse, clock=lambda: LATER).counted == 0
    assert "not_in_catalogue" not in verdicts(warehouse).values()


def test_canaries_outside_the_agreement_are_found(warehouse: Engine, feed: Callable[..., None]) -> None:
    """An agreement that ended is no broken Getty: a person decides."""
    feed("1", change("live", "New", 0))
    hold(warehouse, *many(100))
    ids = ["live", *many(100)]
    judged = run(warehouse, getty_of(*ids, unlicensed=frozenset(ids)))
    assert len(judged.waiting) == 1


@pytest.mark.usefixtures("canary")
def test_killed_in_the_middle_it_continues(warehouse: Engine) -> None:
    """The second run finds the same round, and asks only what is left."""
    hold(warehouse, *many(250))
    getty = getty_of("live", *many(250))
    enqueue(warehouse, SCOPE)
    look_up(lookups(warehouse, getty, reconciles=True), minutes=50, stops=lambda: len(getty.asked) > 2)
    assert judge(warehouse, clock=lambda: LATER) == Judged(counted=0, waiting=())
    before = len(getty.asked)
    run(warehouse, getty)
    asked = [id_ for _, ids in getty.asked[before:] for id_ in ids if id_ != "live"]
    assert 0 < len(asked) < 250
    assert outcomes(warehouse) == ["counted"]
    assert value(warehouse, "SELECT asked_count FROM reconciliations") == 250


@pytest.mark.usefixtures("canary")
def test_a_judge_that_was_killed_continues(warehouse: Engine) -> None:
    hold(warehouse, "gone", *many(100))
    ask(warehouse, getty_of("live", *many(100)))
    execute(warehouse, "UPDATE reconciliations SET outcome = 'counted'")
    assert judge(warehouse, clock=lambda: LATER).counted == 1
    assert verdicts(warehouse)["gone"] == "not_in_catalogue"
    assert judge(warehouse, clock=lambda: LATER).counted == 0


@pytest.mark.usefixtures("canary")
def test_everything_is_asked_within_the_days(warehouse: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest first, and nothing twice before the rest was asked once."""
    monkeypatch.setattr(rechecks, "LEAST_PER_DAY", 1)
    scope = replace(SCOPE, reconcile_days=4, clock=lambda: LATER + 30 * DAY)
    hold(warehouse, *many(20))
    run(warehouse, getty_of("live", *many(20)), scope)
    asked: list[str] = []
    for day in range(4):
        days_pass(warehouse)
        getty = getty_of("live", *many(20), as_of=LATER + (day + 1) * MINUTE)
        run(warehouse, getty, scope)
        calls = zip(getty.asked, getty.ids_only, strict=True)
        of_day = {id_ for (_, ids), of_canaries in calls if not of_canaries for id_ in ids} - {"live"}
        assert len(of_day) <= 6
        asked += of_day
        assert len(asked) == len(set(asked)) or day == 3
    assert set(asked) == set(many(20))


@pytest.mark.usefixtures("canary")
def test_by_hand_all_that_was_not_asked_since_is_asked(warehouse: Engine) -> None:
    """It closes the gaps of the feed that end before that time."""
    hold(warehouse, *many(30))
    run(warehouse, getty_of("live", *many(30)))
    execute(
        warehouse,
        f"INSERT INTO feed_gaps (channel_id, unread_from, unread_to) VALUES (3001, '{LATER - 40 * DAY}',"
        f" '{LATER - DAY}'), (3001, '{LATER - DAY}', '{LATER + DAY}')",
    )
    getty = getty_of("live", *many(30), as_of=LATER + MINUTE)
    run(warehouse, getty, not_asked_since=LATER + MINUTE)
    assert {id_ for _, ids in getty.asked for id_ in ids} == {"live", *many(30)}
    reconciled = rows(warehouse, "SELECT unread_to FROM feed_gaps WHERE reconciled_at IS NOT NULL")
    assert [row["unread_to"] for row in reconciled] == [LATER - DAY]


@pytest.mark.usefixtures("canary")
def test_confirmed_verdicts_forget_the_metadata(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", change("a", "New", 1))
    hold(warehouse, *many(100))
    run(warehouse, getty_of("live", "a", *many(100)))
    assert "a" in known(warehouse)
    getty = getty_of("live", *many(100))
    for _ in range(2):
        days_pass(warehouse)
        getty.as_of += MINUTE
        run(warehouse, getty)
    assert set(known(warehouse)) == {"live"}
    due(warehouse)
    enqueue(warehouse, SCOPE)
    assert value(warehouse, "SELECT reason FROM lookup_queue WHERE asset_id = 'a'") == "recheck"  # not what it is


@pytest.mark.usefixtures("canary")
def test_a_change_that_is_not_found_waits_for_a_round(warehouse: Engine, feed: Callable[..., None]) -> None:
    """For most of these a Delete is on its way."""
    feed("1", change("deleted soon", "New", 1))
    done = ask(warehouse, getty_of("live"))
    assert (done.not_found, queue(warehouse)) == (1, ["deleted soon"])
    assert rows(warehouse, "SELECT * FROM availability_checks") == []
    feed("2", change("deleted soon", "Delete", 2))
    ask(warehouse, getty_of("live"))
    assert value(warehouse, "SELECT count(*) FROM availability_checks") == 0


@pytest.mark.usefixtures("canary")
def test_an_unnamed_asset_is_asked_with_each_connection(warehouse: Engine) -> None:
    """It is available if one of them finds it."""
    scope = Scope(connections={"a": frozenset((3001,)), "b": frozenset((3003,))})
    hold(warehouse, "of b", "of none", *many(100))
    of_connection = {"a": getty_of("live", *many(100)), "b": getty_of("of b")}

    def client(conn_id: str, /, **callbacks: Callable[[], None]) -> KnowingGetty:
        for name, callback in callbacks.items():
            setattr(of_connection[conn_id], name, callback)
        return of_connection[conn_id]

    for _ in range(3):
        enqueue(warehouse, scope)
        context = replace(lookups(warehouse, getty_of(), reconciles=True), connections=scope.connections, client=client)
        look_up(context, minutes=50)
        judge(warehouse, clock=lambda: LATER)
    found = {row["asset_id"]: (row["verdict"], row["conn_id"]) for row in rows(warehouse, "SELECT * FROM availability")}
    assert (found["of b"], found["held-0"]) == (("available", "b"), ("available", "a"))
    checks = rows(warehouse, "SELECT asset_id, conn_id FROM availability_checks")
    assert [(row["asset_id"], row["conn_id"]) for row in checks] == [("of none", "b")]


@pytest.mark.usefixtures("canary")
def test_without_metadata_all_is_asked_by_its_id_alone(warehouse: Engine) -> None:
    hold(warehouse, *many(3))
    run(warehouse, getty_of("live", *many(3)), replace(SCOPE, metadata=False))
    assert verdicts(warehouse) == dict.fromkeys(["live", *many(3)], "available")
    assert known(warehouse) == {}


def test_of_live_assets_only_held_ones_are_asked(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", change("a", "New", 0), change("b", "New", 1))
    hold(warehouse, "b", "c")
    getty = KnowingGetty(EveryAsset())
    run(warehouse, getty, replace(SCOPE, of_all=False))
    canaries = {"a", "b"}
    assert known(warehouse).keys() == {"b"}
    assert {id_ for _, ids in getty.asked for id_ in ids} - canaries == {"c"}


def test_music_gets_no_verdict(warehouse: Engine, feed: Callable[..., None]) -> None:
    """Getty has no lookup for it, so that it is not found says nothing."""
    feed("1", change("live", "New", 0), change("song", "New", 0, asset_type="Music"))
    hold(warehouse, "song", "other song", asset_type="Music")
    run(warehouse, getty_of("live"))
    assert verdicts(warehouse) == {"live": "available"}
    days_pass(warehouse)
    getty = getty_of("live")
    run(warehouse, getty)
    assert {id_ for _, ids in getty.asked for id_ in ids} == {"live"}  # nor is it asked about every day


def test_music_is_never_asked_about(warehouse: Engine, feed: Callable[..., None]) -> None:
    """It would be asked about anew each day, since no answer finds it."""
    feed("1", change("live", "New", 0), change("song", "New", 0, asset_type="Music"))
    hold(warehouse, "other song", asset_type=" AUDIO ")
    getty = getty_of("live")
    run(warehouse, getty)
    due(warehouse)
    assert enqueue(warehouse, replace(SCOPE, metadata=False), asset_ids=["song"]).unknown == 1
    run(warehouse, getty)
    assert {asset_id for _, ids in getty.asked for asset_id in ids} == {"live"}


@pytest.mark.usefixtures("canary")
def test_an_asset_that_getty_fails_for_gets_no_verdict(warehouse: Engine) -> None:
    hold(warehouse, "bad", *many(20))
    getty = getty_of("live", *many(20), fails_for={"bad": ApiUnavailable("down")})
    ask(warehouse, getty)
    assert judge(warehouse, clock=lambda: LATER).counted == 1
    assert "bad" not in verdicts(warehouse)
    assert queue(warehouse) == ["bad"]


@pytest.mark.usefixtures("canary")
def test_an_end_of_a_connection_ends_its_round(warehouse: Engine) -> None:
    hold(warehouse, *many(3))
    enqueue(warehouse, Scope(connections={"old": frozenset((3001,))}))
    due(warehouse)
    run(warehouse, getty_of("live", *many(3)))
    assert outcomes(warehouse) == ["counted", "void"]


def test_the_removals_of_given_assets_use_the_keys(warehouse: Engine) -> None:
    """Its keys are reached, however many assets are held."""
    execute(
        warehouse,
        "INSERT INTO held_assets (source, asset_id, held_since) SELECT 'dam', n::text, now()"
        " FROM generate_series(1, 20000) AS n",
    )
    execute(warehouse, "ANALYZE held_assets")
    plan = rows(warehouse, "EXPLAIN SELECT * FROM assets_to_remove WHERE asset_id = ANY (ARRAY['1', '2'])")
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Seq Scan on held_assets" not in text
    assert "Index" in text


def test_channels_without_an_upsert_have_no_canary(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", change("live", "New", 0))
    feed("2", change("gone", "New", 0), change("gone", "Delete", 1), channel=EDITORIAL_FILM)
    hold(warehouse, *many(3))
    assert run(warehouse, getty_of("live", *many(3))).counted == 1


def test_the_shown_counts_are_those_of_the_checks(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", change("live", "New", 0))
    hold(warehouse, *many(120))
    getty = getty_of("live", *many(110), unlicensed=frozenset(many(4)))
    ask(warehouse, getty)
    with warehouse.connect() as connection:
        connection.exec_driver_sql("SET search_path TO getty_images")
        (found,) = reconciliations.undecided(connection)
    assert (found.asked_count, found.available_count, found.not_licensed_count, found.not_in_catalogue_count) == (
        120, 106, 4, 10,
    )  # fmt: skip
    assert (found.first_asked_count, found.first_gone_count) == (120, 14)
