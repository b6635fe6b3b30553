"""The guarded load: whatever order sets arrive in, the tables end the same, and the dead stay dead."""

import itertools
import random
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from asset_changes.archive import Archive
from asset_changes.errors import WarehouseUnavailable
from asset_changes.getty_api.parsing import parse_archived
from asset_changes.models import ChangeSetRef, Channel, Delivery
from asset_changes.pipeline.context import ChannelContext, already_archived
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.transform import transform
from asset_changes.warehouse import ledger
from asset_changes.warehouse.loader import KnownSet, load_again, load_first
from asset_changes.warehouse.states import _COLUMNS, _UPSERT
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, Engine, text

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, SCHEMA
from tests.core.doubles import (
    NOON,
    STATE,
    ScriptedGetty,
    body_of,
    change,
    deadlocks,
    delivery,
    execute,
    ledger_row,
    live,
    rows,
    states,
    value,
)
from tests.waiting import wait_for_lock_waits

Set = tuple[Channel, str, list[dict[str, object]]]
"""A channel, the id of a change set and its messages."""


def arrive(warehouse: Engine, archive: Archive, *sets: Set, received_at: datetime = NOON) -> None:
    """Let sets be fetched and loaded, one after the other."""
    for channel, change_set_id, messages in sets:
        getty = ScriptedGetty([delivery(body_of(change_set_id, *messages), received_at=received_at)])
        context = ChannelContext(channel=channel, source=getty, archive=archive, warehouse=warehouse)
        found = fetch(context, batch_size=2200)
        assert found is not None
        load(context, found)


def images(change_set_id: str, *messages: dict[str, object]) -> Set:
    return (EDITORIAL_IMAGES, change_set_id, list(messages))


def films(change_set_id: str, *messages: dict[str, object]) -> Set:
    return (EDITORIAL_FILM, change_set_id, list(messages))


def empty(warehouse: Engine) -> None:
    execute(
        warehouse,
        "TRUNCATE asset_states, asset_metadata, asset_changes, deletions, rejected_changes, change_sets, channels",
    )


# One asset.


@pytest.mark.parametrize(
    ("sets", "is_live"),
    [
        ([images("1", change("a", "New", 0))], True),
        ([images("1", change("a", "Update", 0))], True),
        ([images("1", change("a", "Delete", 0))], False),
        ([images("1", change("a", "New", 0)), images("2", change("a", "Delete", 1))], False),
        ([images("1", change("a", "New", 0), change("a", "Delete", 1)), images("3", change("a", "New", 2))], True),
        ([images("1", change("a", "Delete", 1)), images("2", change("a", "Update", 0))], False),
        ([images("1", change("a", "New", 1)), films("2", change("a", "Delete", 2, asset_type=None))], False),
        ([films("1", change("a", "Delete", 2)), images("2", change("a", "New", 1), change("a", "Update", 1.5))], False),
        ([images("1", change("a", "New", 1)), images("2", change("a", "Delete", 1))], False),
        ([images("1", change("a", "Delete", 1)), images("2", change("a", "New", 1))], False),
        ([images("1", change("a", "Delete", 1), change("a", "New", 1))], False),
        ([images("1", change("a", "Delete", 1), change("a", "New", 1.00001))], True),
    ],
)  # fmt: skip
def test_an_asset_is_live_while_its_upsert_is_newer(
    sets: list[Set], is_live: bool, warehouse: Engine, archive: Archive
) -> None:
    """It is live only while its newest upsert is newer than its newest Delete."""
    arrive(warehouse, archive, *sets)
    assert live(warehouse) == (["a"] if is_live else [])
    assert value(warehouse, "SELECT count(*) FROM deleted_assets") == (0 if is_live else 1)


def test_a_delete_for_an_unknown_asset_leaves_a_tombstone(warehouse: Engine, archive: Archive) -> None:
    arrive(warehouse, archive, images("1", change("a", "Delete", 0, asset_type=None)))
    assert states(warehouse) == [
        {
            "asset_id": "a",
            "asset_type": None,
            "asset_family": "Editorial",
            "channel_id": 3001,
            "asset_lifecycle": None,
            "upserted_at": None,
            "upsert_change_set_id": None,
            "upsert_position": None,
            "deleted_at": NOON,
            "delete_change_set_id": "1",
            "delete_position": 0,
        }
    ]
    assert live(warehouse) == []


def test_an_old_update_of_another_channel_undoes_no_delete(warehouse: Engine, archive: Archive) -> None:
    arrive(warehouse, archive, images("1", change("a", "New", 0)), films("2", change("a", "Delete", 10)))
    arrive(warehouse, archive, images("3", change("a", "Update", 9)))
    assert live(warehouse) == []
    [state] = states(warehouse)
    assert state["upserted_at"] == NOON + timedelta(minutes=9)


def test_what_is_older_than_what_is_held_changes_nothing(warehouse: Engine, archive: Archive) -> None:
    arrive(warehouse, archive, images("2", change("a", "Update", 5), change("b", "Delete", 5)))
    before = rows(warehouse, "SELECT * FROM asset_states")
    arrive(warehouse, archive, images("1", change("a", "New", 4, asset_type="Film"), change("b", "Delete", 4)))
    assert rows(warehouse, "SELECT * FROM asset_states") == before


def test_on_equal_times_the_later_set_then_position_wins(warehouse: Engine, archive: Archive) -> None:
    """On equal times the longer set id wins, then the greater one, then the later position."""
    for first, second in (("9", "10"), ("10", "11"), ("B", "a")):
        for order in ((first, second), (second, first)):
            empty(warehouse)
            for change_set_id in order:
                arrive(warehouse, archive, images(change_set_id, change("a", "New", 0), change("a", "Update", 0)))
            [state] = states(warehouse)
            assert (state["upsert_change_set_id"], state["upsert_position"]) == (second, 1)


def test_type_family_and_channel_come_with_the_newest_upsert(warehouse: Engine, archive: Archive) -> None:
    arrive(
        warehouse,
        archive,
        films("1", change("a", "New", 1, asset_type="Film")),
        images("2", change("a", "Delete", 2, asset_type=None)),
    )
    [state] = states(warehouse)
    assert (state["asset_type"], state["channel_id"], state["asset_lifecycle"]) == ("Film", 3003, "New")


# Any order.


def random_sets(seed: int) -> list[Set]:
    """Return a few sets of two channels that speak of the same few assets, times close together."""
    rng = random.Random(seed)
    return [
        (
            rng.choice([EDITORIAL_IMAGES, EDITORIAL_FILM]),
            str(98 + number),
            [
                change(
                    rng.choice("abcd"),
                    rng.choice(["New", "Update", "Delete"]),
                    rng.randrange(4),
                    asset_type=rng.choice(["Image", "Film", None]),
                )
                for _ in range(rng.randrange(1, 6))
            ],
        )
        for number in range(4)
    ]


def ready_to_load(channel: Channel, change_set_id: str, messages: list[dict[str, object]]) -> Any:
    """Return what a load takes, without its way through Getty and ledger."""
    ref = ChangeSetRef(
        channel_id=channel.channel_id,
        change_set_id=change_set_id,
        fetched_at=NOON,
        archive_uri="",
    )
    bodies = [Delivery(body=body_of(change_set_id, *messages), received_at=NOON)]
    return ref, transform(parse_archived(bodies, change_set_id=change_set_id), channel=channel, ref=ref)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_arrival_ends_in_the_same_rows(seed: int, warehouse: Engine) -> None:
    sets = [ready_to_load(*each) for each in random_sets(seed)]
    query = text(STATE)
    found: list[Any] = []
    with warehouse.begin() as connection:
        for channel in (EDITORIAL_IMAGES, EDITORIAL_FILM):
            ledger.lock_channel(connection, channel)

    def load_in(order: Iterable[Any], *, at_once: bool) -> None:
        with warehouse.connect() as connection, connection.begin() as transaction:
            if at_once:  # as a replay does, all sets of a channel
                for channel in (EDITORIAL_IMAGES, EDITORIAL_FILM):
                    mine = [each for each in order if each[0].channel_id == channel.channel_id]
                    known = [KnownSet(ref=ref, prepared=prepared) for ref, prepared in mine]
                    load_again(connection, known, wait=already_archived)
                    connection.execute(text("DROP TABLE pg_temp.staged"))
            else:
                for ref, prepared in order:
                    load_first(connection, ref, prepared, wait=already_archived)
            found.append(connection.execute(query).all())
            transaction.rollback()

    for order in itertools.permutations(sets):
        load_in(order, at_once=False)
    load_in(sets, at_once=True)
    assert len(found) == 25
    assert all(each == found[0] for each in found)
    assert len(found[0]) > 1


# The evidence.


def test_each_delete_shows_whether_the_asset_was_held(warehouse: Engine, archive: Archive) -> None:
    arrive(warehouse, archive, images("1", change("held", "New", 0)))
    arrive(warehouse, archive, images("2", change("held", "Delete", 1), change("unknown", "Delete", 1)))
    arrive(warehouse, archive, films("3", change("held", "Delete", 2)), received_at=NOON + timedelta(hours=1))
    assert rows(
        warehouse, "SELECT change_set_id, asset_id, deleted_at, received_at, was_held FROM deletions ORDER BY 1, 2"
    ) == [
        {"change_set_id": set_id, "asset_id": asset, "deleted_at": NOON + timedelta(minutes=minutes),
         "received_at": NOON + timedelta(hours=hours), "was_held": was_held}
        for set_id, asset, minutes, hours, was_held in (
            ("2", "held", 1, 0, True), ("2", "unknown", 1, 0, False), ("3", "held", 2, 1, False))
    ]  # fmt: skip


def test_evidence_is_never_rewritten(warehouse: Engine, archive: Archive) -> None:
    one, two = change("a", "Delete", 0), change("b", "Delete", 1)
    arrive(warehouse, archive, images("1", one))
    before = rows(warehouse, "SELECT * FROM deletions")
    arrive(warehouse, archive, images("1", one, two))
    assert rows(warehouse, "SELECT * FROM deletions ORDER BY position")[:1] == before
    assert value(warehouse, "SELECT count(*) FROM deletions") == 2


def test_a_rejected_change_keeps_its_reason_and_its_raw_text(warehouse: Engine, archive: Archive) -> None:
    arrive(
        warehouse,
        archive,
        images(
            "1",
            change("12\x0034", "New", 0),
            change("a", "Archive", 0),
            change("b", "New", 0),
            change("x" * 10**6, "New", 0),
        ),
    )
    found = rows(warehouse, "SELECT position, reason, asset_id, raw FROM rejected_changes ORDER BY position")
    assert [(row["position"], row["reason"], row["asset_id"]) for row in found] == [
        (0, "unusable_id", None), (1, "unknown_lifecycle", "a"), (3, "unusable_id", None),
    ]  # fmt: skip
    assert '"id": "12\\u000034"' in found[0]["raw"]
    assert live(warehouse) == ["b"]


def test_history_follows_the_time_of_the_source(warehouse: Engine, archive: Archive) -> None:
    arrive(
        warehouse,
        archive,
        images("2", change("a", "Delete", 2)),
        images("1", change("a", "New", 0), change("a", "New", 2)),
    )
    assert rows(
        warehouse,
        "SELECT asset_lifecycle, valid_from, valid_to, is_current FROM asset_history ORDER BY valid_from, is_current",
    ) == [
        {"asset_lifecycle": word, "valid_from": NOON + timedelta(minutes=begin),
         "valid_to": None if end is None else NOON + timedelta(minutes=end), "is_current": end is None}
        for word, begin, end in (("New", 0, 2), ("New", 2, 2), ("Delete", 2, None))
    ]  # fmt: skip


# Many at once.


def prepare(warehouse: Engine, archive: Archive, *sets: Set) -> list[tuple[ChannelContext, Any]]:
    """Fetch sets and return what loads them."""
    ready = []
    for channel, change_set_id, messages in sets:
        getty = ScriptedGetty([delivery(body_of(change_set_id, *messages))])
        context = ChannelContext(channel=channel, source=getty, archive=archive, warehouse=warehouse)
        ready.append((context, fetch(context, batch_size=2200)))
    return ready


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize("join", ["mergejoin", "hashjoin"])
def test_channels_with_the_same_assets_never_deadlock(
    join: str, postgres: EmbeddedPostgres, warehouse: Engine, warehouse_url: URL, archive: Archive
) -> None:
    """Whatever way Postgres joins the registers: rows are locked in the order of their ids."""
    other = "hashjoin" if join == "mergejoin" else "mergejoin"
    execute(warehouse, f"ALTER DATABASE {warehouse_url.database} SET enable_{other} = off")
    execute(warehouse, f"ALTER DATABASE {warehouse_url.database} SET deadlock_timeout = '20ms'")
    warehouse.dispose()
    before = deadlocks(postgres)
    low, high = ([f"{half}{number:03}" for number in range(300)] for half in "ab")
    for round_number in range(3):
        minutes = round_number * 10.0
        sets = []
        for channel, dead, alive in ((EDITORIAL_IMAGES, low, high), (EDITORIAL_FILM, high, low)):
            messages = [change(each, "Delete", minutes) for each in reversed(dead)]
            messages += [change(each, "New", minutes) for each in reversed(alive)]
            sets.append((channel, f"{round_number}-{channel.channel_id}", messages))
        start = threading.Barrier(2)

        def work(ready: tuple[ChannelContext, Any], start: threading.Barrier = start) -> None:
            start.wait()
            load(*ready)

        with ThreadPoolExecutor(2) as workers:
            list(workers.map(work, prepare(warehouse, archive, *sets)))
    assert deadlocks(postgres) == before
    assert value(warehouse, "SELECT count(*) FROM asset_states") == 600
    assert live(warehouse) == []


@contextmanager
def rival(warehouse_url: URL) -> Iterator[psycopg.Connection]:
    """Give a connection of somebody else to the warehouse."""
    host = warehouse_url.query["host"]
    with psycopg.connect(
        host=host if isinstance(host, str) else host[0], dbname=warehouse_url.database, user=warehouse_url.username
    ) as connection:
        connection.execute(f"SET search_path = {SCHEMA}")
        yield connection


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize("join", ["mergejoin", "hashjoin"])
def test_one_statement_locks_the_rows_in_the_order_of_their_ids(
    join: str, warehouse: Engine, warehouse_url: URL, archive: Archive
) -> None:
    """While it waits for `c` it holds all that comes before, upserts and Deletes alike, and nothing after."""
    arrive(warehouse, archive, images("1", *(change(each, "New", 0) for each in "abcdef")))
    other = "hashjoin" if join == "mergejoin" else "mergejoin"
    execute(warehouse, f"ALTER DATABASE {warehouse_url.database} SET enable_{other} = off")
    warehouse.dispose()
    messages = [change(each, "Delete" if each in "bdf" else "Update", 1) for each in "feadcb"]
    [ready] = prepare(warehouse, archive, images("2", *messages))
    with rival(warehouse_url) as holder, ThreadPoolExecutor(1) as worker:
        holder.execute("SELECT FROM asset_states WHERE asset_id = 'c' FOR UPDATE")
        done = worker.submit(load, *ready)
        wait_for_lock_waits(warehouse)
        free = rows(warehouse, "SELECT asset_id FROM asset_states ORDER BY asset_id FOR UPDATE SKIP LOCKED")
        holder.rollback()
        done.result()
    assert [row["asset_id"] for row in free] == ["d", "e", "f"]
    assert live(warehouse) == ["a", "c", "e"]


def row_lock(asset_id: str) -> str:
    return f"SELECT FROM asset_states WHERE asset_id = '{asset_id}' FOR UPDATE"


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize(
    ("first", "second", "third"),
    [
        (row_lock("b"), row_lock("c"), row_lock("a")),
        ("SELECT FROM channels FOR UPDATE", "LOCK TABLE asset_changes", "LOCK TABLE channels"),
    ],
    ids=["upsert", "copy"],
)
def test_a_load_that_ends_in_a_deadlock_is_done_again(
    first: str, second: str, third: str, postgres: EmbeddedPostgres, warehouse: Engine, warehouse_url: URL,
    archive: Archive,
) -> None:  # fmt: skip
    """The load waits for `first`, meanwhile another waits for the load; then the load is who closes the circle."""
    arrive(warehouse, archive, images("1", *(change(each, "New", 0) for each in "abc")))
    execute(warehouse, f"ALTER DATABASE {warehouse_url.database} SET deadlock_timeout = '50ms'")
    warehouse.dispose()
    before = deadlocks(postgres)
    [ready] = prepare(warehouse, archive, images("2", *(change(each, "Update", 1) for each in "abc")))
    with rival(warehouse_url) as gate, rival(warehouse_url) as other, ThreadPoolExecutor(2) as workers:
        other.execute("SET deadlock_timeout = '1h'")  # so it is the load that finds the deadlock and gives up
        gate.execute(first)
        other.execute(second)
        done = workers.submit(load, *ready)
        wait_for_lock_waits(warehouse)
        granted = workers.submit(other.execute, third)
        wait_for_lock_waits(warehouse, sessions=2)
        gate.rollback()
        granted.result()
        other.commit()
        assert done.result().counts.update == 3
    assert deadlocks(postgres) == before + 1
    assert {state["asset_lifecycle"] for state in states(warehouse)} == {"Update"}
    assert value(warehouse, "SELECT count(*) FROM asset_changes WHERE change_set_id = '2'") == 3


@pytest.mark.parametrize("table", ["asset_changes", "asset_states"])
def test_a_cut_connection_in_mid_load_leaves_no_trace(
    table: str, warehouse: Engine, warehouse_url: URL, archive: Archive
) -> None:
    """With a lock on the log the load is cut within COPY, with one on the states within the upsert."""
    [ready] = prepare(warehouse, archive, images("1", change("a", "New", 0)))
    with rival(warehouse_url) as other, ThreadPoolExecutor(1) as worker:
        other.execute(f"LOCK TABLE {table}")
        done = worker.submit(load, *ready)
        wait_for_lock_waits(warehouse)
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with pytest.raises(WarehouseUnavailable, match="does not answer or gave up"):
            done.result()
        other.rollback()
    assert states(warehouse) == []
    assert ledger_row(warehouse, "1")["loaded_at"] is None
    assert load(*ready).counts.new == 1
    assert live(warehouse) == ["a"]


def test_no_sequence_number_appears_behind_a_cursor(warehouse: Engine, archive: Archive) -> None:
    ready = prepare(warehouse, archive, *(images(str(n), change(str(n), "New", n)) for n in range(30)))
    watched: list[list[int]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            watch_once()

    def watch_once() -> None:
        found = rows(warehouse, "SELECT channel_seq FROM change_sets WHERE channel_seq IS NOT NULL ORDER BY 1")
        watched.append([row["channel_seq"] for row in found])

    with ThreadPoolExecutor(4) as workers:
        watching = workers.submit(watch)
        loads = [workers.submit(load, *each) for each in random.Random(1).sample(ready, len(ready))]
        for each in loads:
            each.result()
        stop.set()
        watching.result()
    watch_once()
    # Whatever a reader sees is the beginning of what it sees later: nothing appears behind its cursor.
    assert all(later[: len(seen)] == seen for seen, later in itertools.pairwise(watched))
    assert len(set(watched[-1])) == 30


def test_each_column_of_a_state_is_updated() -> None:
    # What the statement inserts and leaves alone afterwards would keep the value of the first change for ever.
    inserted = set(_COLUMNS.split(", ")) - {"asset_id"}
    assert set(re.findall(r"(?m)^ +(\w+) =", _UPSERT)) == inserted | {"was_live", "loaded_at"}
