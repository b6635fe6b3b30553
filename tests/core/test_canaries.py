"""Canaries on a real Postgres: which answers are believed, and that a few assets that are gone stop no verdicts."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from asset_changes.errors import CanariesNotFound
from asset_changes.warehouse import canaries
from sqlalchemy import Engine

from tests.conftest import EDITORIAL_FILM
from tests.core.doubles import change, execute, value
from tests.core.lookup_doubles import captions
from tests.core.test_lookups import feed
from tests.core.test_reconciliation import SCOPE, ask, days_pass, getty_of, hold, many, outcomes, run, verdicts

__all__ = ["feed"]


def news(*asset_ids: str, minute: int = 0) -> list[object]:
    """Return a New of each."""
    return [change(each, "New", minute) for each in asset_ids]


def draw(warehouse: Engine) -> set[str]:
    """Return the canaries of a run."""
    with warehouse.connect() as connection:
        connection.exec_driver_sql("SET search_path TO getty_images")
        return {each.asset_id for each in canaries.draw(connection, "getty", channel_ids=[3001, 3003])}


def test_newest_assets_that_are_gone_stop_nothing(warehouse: Engine, feed: Callable[..., None]) -> None:
    """All of a small channel, and the newest ones of a large one: their Deletes may come for days, or never."""
    feed("1", *news(*many(20)))
    feed("2", *news("newest 1", "newest 2", "newest 3", minute=1))
    feed("3", *news("film 1", "film 2"), channel=EDITORIAL_FILM)
    hold(warehouse, "gone")
    run(warehouse, getty_of(*many(20)))
    assert outcomes(warehouse) == ["waiting"]  # one of one is more than 2 %
    assert value(warehouse, "SELECT asset_id FROM availability_checks") == "gone"


def test_what_was_found_lately_is_asked_for(warehouse: Engine, feed: Callable[..., None]) -> None:
    """Where every live asset is gone, held ones that no channel names show that Getty answers."""
    feed("1", *news("live"))
    hold(warehouse, *many(50))
    run(warehouse, getty_of("live", *many(50)))
    days_pass(warehouse)
    assert run(warehouse, getty_of(*many(50))).counted == 1


def test_no_video_found_is_not_believed(warehouse: Engine, feed: Callable[..., None]) -> None:
    """However many images are found: videos are other calls."""
    feed("1", *news(*many(50)))
    films = [f"film {number}" for number in range(8)]
    feed("2", *(change(each, "New", 1, asset_type="Film") for each in films), channel=EDITORIAL_FILM)
    with pytest.raises(CanariesNotFound, match="among those missing are film"):
        ask(warehouse, getty_of(*many(50)), replace(SCOPE, metadata=False))
    assert verdicts(warehouse) == {}


def test_most_canaries_must_be_found(warehouse: Engine, feed: Callable[..., None]) -> None:
    feed("1", *news(*many(10)))
    hold(warehouse, "gone")
    with pytest.raises(CanariesNotFound, match="finds only 4 of 10"):
        ask(warehouse, getty_of(*many(4)))
    assert run(warehouse, getty_of(*many(5))).waiting != ()


def test_each_run_draws_others(warehouse: Engine, feed: Callable[..., None]) -> None:
    """Of the newest sets and of older ones."""
    for number in range(15):
        feed(str(number), *news(f"{number} a", f"{number} b", minute=number))
    for table in ("change_sets", "asset_changes"):  # each came an hour after the one before
        moved = "fetched_at + CAST(change_set_id AS integer) * interval '1 hour'"
        execute(warehouse, f"UPDATE {table} SET fetched_at = {moved}")
    drawn = [draw(warehouse) for _ in range(20)]
    assert {len(each) for each in drawn} == {canaries.PER_CHANNEL}
    assert len(set.union(*drawn)) > 2 * canaries.PER_CHANNEL


def test_what_is_gone_is_no_canary(warehouse: Engine, feed: Callable[..., None]) -> None:
    """Neither what Getty deleted, nor what it was said to have no longer."""
    feed("1", *news("live", "deleted", "gone"))
    hold(warehouse, *many(100))
    getty = getty_of("live", "deleted", "gone", *many(100))
    run(warehouse, getty)
    feed("2", change("deleted", "Delete", 2))
    assert "deleted" not in draw(warehouse)
    getty.known = captions("live", *many(100))
    days_pass(warehouse)
    run(warehouse, getty)
    assert verdicts(warehouse)["gone"] == "not_in_catalogue"
    execute(warehouse, "DELETE FROM availability WHERE asset_id LIKE 'held-%'")
    assert draw(warehouse) == {"live"}
