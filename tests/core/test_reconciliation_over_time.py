"""Reconciliation on a real Postgres while settings, lists and people change: nothing is left out, no duty is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from asset_changes.errors import CanariesNotFound, CredentialsRefused
from asset_changes.lookup.enqueue import Scope, enqueue
from asset_changes.lookup.judge import judge
from asset_changes.lookup.look_up import look_up
from asset_changes.removal.holdings import HoldingsList
from asset_changes.removal.import_list import import_list
from asset_changes.warehouse import rechecks
from sqlalchemy import Engine
from upath import UPath

from tests.core.doubles import change, execute, rows, value
from tests.core.lookup_doubles import LATER, KnowingGetty, captions, lookups
from tests.core.test_lookups import MINUTE, feed, queue
from tests.core.test_reconciliation import (
    DAY,
    SCOPE,
    ask,
    canary,
    days_pass,
    due,
    getty_of,
    hold,
    many,
    run,
    to_remove,
    verdicts,
)

__all__ = ["canary", "feed"]


@pytest.mark.usefixtures("canary")
def test_no_duty_ends_where_its_list_ends(warehouse: Engine) -> None:
    """Also days later, when its last answer is among the oldest; and it takes no share of what is asked."""
    hold(warehouse, "vanished", *many(100))
    getty = getty_of("live", *many(100))
    for days in range(2):
        getty.as_of = LATER + days * MINUTE
        run(warehouse, getty)
        days_pass(warehouse)
    assert to_remove(warehouse) == {"vanished": "not_in_catalogue"}
    execute(warehouse, "UPDATE held_assets SET held_until = now() WHERE asset_id IN ('vanished', 'held-1')")
    days_pass(warehouse, 40)
    enqueue(warehouse, replace(SCOPE, clock=lambda: LATER))
    assert to_remove(warehouse) == {"vanished": "not_in_catalogue"}
    assert "held-1" not in verdicts(warehouse)


def test_what_is_left_out_takes_no_share(
    warehouse: Engine, feed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live assets that were asked about before only held ones were would be the oldest for ever."""
    monkeypatch.setattr(rechecks, "LEAST_PER_DAY", 5)
    ids = [f"live-{number}" for number in range(10)]
    feed("0", *(change(each, "New", 0) for each in ids))
    run(warehouse, getty_of(*ids))
    days_pass(warehouse)
    hold(warehouse, *many(5))
    run(warehouse, getty_of(*ids, *many(5)), replace(SCOPE, of_all=False))
    asked = set()
    for _ in range(3):
        days_pass(warehouse)
        enqueue(warehouse, replace(SCOPE, of_all=False, clock=lambda: LATER))
        asked |= set(queue(warehouse))
    assert asked == set(many(5))


def test_what_was_asked_before_an_upgrade_is_asked_again(warehouse: Engine, feed: Callable[..., None]) -> None:
    """Its metadata says when it was found last."""
    feed("0", change("a", "New", 0), change("b", "New", 1))
    ask(warehouse, getty_of("a", "b"))
    execute(warehouse, "TRUNCATE availability, availability_checks, reconciliations")
    execute(warehouse, f"UPDATE asset_metadata SET as_of = '{LATER - 40 * DAY}' WHERE asset_id = 'a'")
    due(warehouse)
    enqueue(warehouse, replace(SCOPE, clock=lambda: LATER))
    assert rows(warehouse, "SELECT asset_id, verdict, as_of FROM availability ORDER BY 1") == [
        {"asset_id": "a", "verdict": "available", "as_of": LATER - 40 * DAY},
        {"asset_id": "b", "verdict": "available", "as_of": LATER},
    ]
    assert queue(warehouse) == ["a"]


@pytest.mark.usefixtures("canary")
def test_without_metadata_changes_are_reconciled(warehouse: Engine, feed: Callable[..., None]) -> None:
    """Those that waited when it was switched off, of which no lookup would ask."""
    feed("1", change("a", "New", 1))
    enqueue(warehouse, SCOPE)
    assert value(warehouse, "SELECT reason FROM lookup_queue WHERE asset_id = 'a'") == "change"
    due(warehouse)
    run(warehouse, getty_of("live", "a"), replace(SCOPE, metadata=False))
    assert verdicts(warehouse) == {"live": "available", "a": "available"}


@pytest.mark.usefixtures("canary")
def test_questions_that_were_not_believed_are_asked_anew(warehouse: Engine) -> None:
    """What an empty answer did not find with a token is found without one, which means nothing."""
    hold(warehouse, *many(100))
    enqueue(warehouse, SCOPE)
    getty = getty_of()
    context = lookups(warehouse, getty, reconciles=True)
    getty.meanwhile = lambda: getty.known.update(captions("live")) if not getty.asked[1:] else getty.known.clear()
    look_up(context, minutes=50, stops=lambda: len(getty.asked) > 3)
    assert value(warehouse, "SELECT max(question) FROM lookup_queue") == 3
    with pytest.raises(CanariesNotFound):
        look_up(lookups(warehouse, getty_of(), reconciles=True), minutes=50)
    run(warehouse, getty_of("live", *many(100)))
    assert rows(warehouse, "SELECT * FROM availability_checks") == []
    assert set(verdicts(warehouse)) >= set(many(100))


@pytest.mark.usefixtures("canary")
def test_another_connection_asks_from_the_start(warehouse: Engine, feed: Callable[..., None]) -> None:
    """What one agreement lacks, another may have: a channel that moved begins with the first question."""
    feed("1", change("moved", "New", 1))
    enqueue(warehouse, SCOPE)
    execute(warehouse, "UPDATE lookup_queue SET reason = 'recheck', question = 3, conn_id = 'old'")
    due(warehouse)
    ask(warehouse, getty_of("live", "moved"))
    assert verdicts(warehouse) == {"live": "available", "moved": "available"}


@pytest.mark.usefixtures("canary")
def test_a_connection_does_not_wait_for_those_after_it(warehouse: Engine) -> None:
    """What it did not find waits for the next one, which is refused; what it did find counts."""
    scope = Scope(connections={"a": frozenset((3001,)), "b": frozenset((3003,))})
    hold(warehouse, "of none", *many(100))
    enqueue(warehouse, scope)
    execute(
        warehouse,
        "INSERT INTO lookup_connections (conn_id, lease_id, leased_by, leased_until)"
        " VALUES ('b', 'x', 'another', now() + interval '1 hour')",
    )
    context = replace(lookups(warehouse, getty_of("live", *many(100)), reconciles=True), connections=scope.connections)
    look_up(context, minutes=50)
    assert value(warehouse, "SELECT conn_id FROM lookup_queue") == "b"
    assert rows(warehouse, "SELECT conn_id FROM reconciliations WHERE asked_at IS NOT NULL") == [{"conn_id": "a"}]


@pytest.mark.usefixtures("canary")
def test_a_connection_waits_for_no_refused_one(warehouse: Engine, feed: Callable[..., None]) -> None:
    """What only the refused one is asked about stays; what the other one was asked about counts."""
    scope = Scope(connections={"a": frozenset((3003,)), "b": frozenset((3001,))})
    feed("1", *(change(each, "New", 1) for each in many(100)))
    hold(warehouse, "in no channel")
    enqueue(warehouse, scope)
    refused = getty_of(errors=[CredentialsRefused("Getty does not accept the credentials.")] * 2)
    works = getty_of("live", *many(100))

    def client(conn_id: str, /, **callbacks: Callable[[], None]) -> KnowingGetty:
        for name, callback in callbacks.items():
            setattr(works if conn_id == "b" else refused, name, callback)
        return works if conn_id == "b" else refused

    context = replace(lookups(warehouse, works, reconciles=True), connections=scope.connections, client=client)
    for _ in range(2):
        with pytest.raises(CredentialsRefused):
            look_up(context, minutes=50)
    assert rows(warehouse, "SELECT conn_id FROM reconciliations WHERE asked_at IS NOT NULL") == [{"conn_id": "b"}]
    assert value(warehouse, "SELECT error FROM lookup_connections WHERE conn_id = 'a'") is not None
    assert queue(warehouse) == ["in no channel"]


@pytest.mark.usefixtures("canary")
def test_calls_without_a_token_may_be_refused(warehouse: Engine) -> None:
    """What needs none is asked all the same, in a call for each hundred; the run is red, for nothing can be judged."""
    hold(warehouse, "a vanished", *many(6000))
    getty = getty_of("live", *many(6000))
    refused = [0]

    def refuse() -> None:
        if not getty.with_token[-1]:
            refused[0] += 1
            raise CredentialsRefused("Getty refuses a call with the API key of connection getty alone (401).")

    getty.meanwhile = refuse
    with pytest.raises(CredentialsRefused):
        ask(warehouse, getty)
    assert len(verdicts(warehouse)) == 6001
    assert (queue(warehouse), refused) == (["a vanished"], [1])
    assert rows(warehouse, "SELECT asked_at FROM reconciliations") == [{"asked_at": None}]
    assert value(warehouse, "SELECT error FROM lookup_connections") is not None


@pytest.mark.usefixtures("canary")
def test_a_list_may_call_types_as_it_likes(warehouse: Engine) -> None:
    """A word that Getty does not use must not keep a verdict from its asset; music has none in any case."""
    hold(warehouse, *many(100))
    hold(warehouse, "gone", asset_type="JPEG")
    hold(warehouse, "song", asset_type="Audio")
    run(warehouse, getty_of("live", *many(100)))
    found = verdicts(warehouse)
    assert (found.get("gone"), found.get("song")) == ("not_in_catalogue", None)


@pytest.mark.usefixtures("canary")
def test_the_last_connection_is_no_brake(warehouse: Engine) -> None:
    """It is asked only about what no other found; that all of this is gone is no large share of what is held."""
    scope = Scope(connections={"a": frozenset((3001,)), "b": frozenset((3003,))})
    hold(warehouse, "vanished", *many(100))
    of_connection = {"a": getty_of("live", *many(100)), "b": getty_of("live")}

    def client(conn_id: str, /, **callbacks: Callable[[], None]) -> KnowingGetty:
        for name, callback in callbacks.items():
            setattr(of_connection[conn_id], name, callback)
        return of_connection[conn_id]

    for _ in range(3):
        enqueue(warehouse, scope)
        context = replace(lookups(warehouse, getty_of(), reconciles=True), connections=scope.connections, client=client)
        look_up(context, minutes=50)
        assert judge(warehouse, clock=lambda: LATER).waiting == ()
    assert verdicts(warehouse)["vanished"] == "not_in_catalogue"
    assert value(warehouse, "SELECT conn_id FROM availability WHERE asset_id = 'vanished'") == "b"


@pytest.mark.usefixtures("canary")
def test_an_older_answer_that_it_is_there_counts(warehouse: Engine) -> None:
    """Out of a cache, after a newer one: between two answers that an asset is gone there was one that it is not."""
    hold(warehouse, "a", *many(100))
    getty = getty_of("live", *many(100))
    run(warehouse, getty)
    days_pass(warehouse, 2)
    run(warehouse, getty)
    assert to_remove(warehouse) == {"a": "not_in_catalogue"}
    getty = getty_of("live", "a", *many(100), as_of=LATER - DAY)
    enqueue(warehouse, SCOPE, asset_ids=["a"])
    look_up(lookups(warehouse, getty, reconciles=True), minutes=50)
    assert (verdicts(warehouse)["a"], to_remove(warehouse)) == ("not_in_catalogue", {})


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("metadata", [True, False])
def test_new_holdings_are_asked_with_the_next_run(warehouse: Engine, tmp_path: Path, metadata: bool) -> None:
    """Not a day later; what is not found waits for the reconciliation, as what changed does."""
    scope, getty = replace(SCOPE, metadata=metadata), getty_of("live", *many(20))
    run(warehouse, getty, scope)
    before = rows(warehouse, "SELECT * FROM reconciliations")
    file = UPath(tmp_path / "held.csv")
    file.write_text("".join(f"{each}\n" for each in ("gone-1", *many(20))))
    import_list(warehouse, lambda: HoldingsList(file), source="dam", now=LATER)
    assert enqueue(warehouse, scope).queued == 21
    ask(warehouse, getty, scope)
    assert verdicts(warehouse) == dict.fromkeys(["live", *many(20)], "available")
    assert rows(warehouse, "SELECT asset_id, reason FROM lookup_queue") == [{"asset_id": "gone-1", "reason": "recheck"}]
    assert rows(warehouse, "SELECT * FROM reconciliations") == before
    assert enqueue(warehouse, scope).queued == 0
