"""The pipeline of a channel: archive first, commit once, confirm last, whatever happens in between."""

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import NotLoaded, SchemaMismatch, UnreadableChangeSet
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.models import ChangeSetRef, Confirmation, Delivery
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch, request_and_archive
from asset_changes.pipeline.load import load
from asset_changes.warehouse.engine import connect
from getty_sandbox.sandbox import Sandbox
from local_stack.stack import free_port
from sqlalchemy import Engine
from upath import UPath

from tests.conftest import EDITORIAL_IMAGES, credentials_for
from tests.core.doubles import (
    NOON,
    ScriptedGetty,
    at,
    body_of,
    change,
    delivery,
    execute,
    ledger_row,
    live,
    rows,
    states,
    value,
)

SET = body_of("7", change("1", "New", 0), change("2", "New", 1), change("2", "Delete", 2), change("", "New", 3))


@pytest.fixture
def getty() -> ScriptedGetty:
    """A Getty that hands out what the test gives it."""
    return ScriptedGetty()


@pytest.fixture
def context(getty: ScriptedGetty, archive: Archive, warehouse: Engine) -> ChannelContext:
    """Channel 3001 with a scripted Getty."""
    return ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)


def fetch_ref(context: ChannelContext) -> ChangeSetRef:
    ref = fetch(context, batch_size=2200)
    assert ref is not None
    return ref


def by_task(context: ChannelContext) -> None:
    """Do what the tasks of one run do, but for catch_up."""
    ref = fetch(context, batch_size=2200)
    if ref is not None:
        load(context, ref)
        confirm(context, ref)


def at_once(context: ChannelContext) -> None:
    """Do what the task catch_up does."""
    catch_up(context, batch_size=2200, minutes=1)


BOTH_WAYS = pytest.mark.parametrize("run", [by_task, at_once])


# The order of things.


@BOTH_WAYS
def test_the_load_is_visible_before_getty_is_asked_to_confirm(
    run: Callable[[ChannelContext], None],
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
    archive: Archive,
) -> None:
    seen = []

    def look(change_set_id: str) -> None:
        row = ledger_row(warehouse, change_set_id)
        seen.append((bool(row["loaded_at"]), bool(row["confirm_tried_at"]), row["confirmed_at"], live(warehouse)))
        assert archive.read_one(row["archive_uri"]) == SET

    getty.on_confirm, getty.deliveries = look, [delivery(SET)]
    run(context)
    assert seen == [(True, True, None, ["1"])]
    assert ledger_row(warehouse, "7")["confirmed_at"] is not None


@pytest.mark.usefixtures("own_database")
@BOTH_WAYS
def test_a_load_that_fails_is_not_confirmed(
    run: Callable[[ChannelContext], None], context: ChannelContext, getty: ScriptedGetty, warehouse: Engine
) -> None:
    execute(warehouse, "ALTER TABLE asset_states ADD CONSTRAINT refused CHECK (asset_id <> '1')")
    getty.deliveries = [delivery(SET)]
    with pytest.raises(Exception, match="refuses a statement"):
        run(context)
    assert getty.confirmed == []
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 0
    assert value(warehouse, "SELECT count(*) FROM change_sets WHERE loaded_at IS NOT NULL") == 0


@pytest.mark.usefixtures("own_database")
def test_the_body_is_archived_before_the_ledger_knows_of_it(
    context: ChannelContext, getty: ScriptedGetty, warehouse: Engine, archive: Archive
) -> None:
    execute(warehouse, "ALTER TABLE change_sets ADD CONSTRAINT refused CHECK (change_set_id <> '7')")
    getty.deliveries = [delivery(SET)]
    with pytest.raises(Exception, match="refuses a statement"):
        fetch(context, batch_size=5)
    [found] = archive.sets(3001)
    assert archive.read(found.uri) == [Delivery(body=SET, received_at=NOON)]


def test_a_run_counts_what_the_set_came_to(context: ChannelContext, getty: ScriptedGetty, warehouse: Engine) -> None:
    getty.deliveries = [delivery(SET)]
    by_task(context)
    row = ledger_row(warehouse, "7")
    counts = [row[f"{name}_count"] for name in ("change", "new", "update", "delete", "superseded", "rejected")]
    assert counts == [4, 1, 0, 1, 1, 1]
    assert (row["oldest_change_at"], row["newest_change_at"]) == (NOON, NOON)
    assert (row["redelivered_count"], row["is_confirm_implied"]) == (0, False)
    assert row["channel_seq"] == value(warehouse, "SELECT last_channel_seq FROM channels")
    assert row["loaded_at"] < row["committed_at"] <= row["confirmed_at"]


def test_the_last_line_of_a_load_has_its_numbers(
    context: ChannelContext, getty: ScriptedGetty, caplog: pytest.LogCaptureFixture
) -> None:
    getty.deliveries = [delivery(SET)]
    with caplog.at_level(logging.INFO):
        load(context, fetch_ref(context))
    assert (
        "Loaded change set 7: channel=3001 changes=4 new=1 updates=0 deletes=1 superseded=1 rejected=1" in caplog.text
    )
    assert caplog.records[-1].levelno == logging.WARNING  # for something was rejected


def test_caught_up_says_so_once_and_stamps_the_channel(
    context: ChannelContext, warehouse: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert fetch(context, batch_size=5) is None
    assert [r.message for r in caplog.records if "Caught up" in r.message] == [
        "Caught up: channel=3001 has no change to hand out"
    ]
    [channel] = rows(warehouse, "SELECT * FROM channels")
    assert channel["caught_up_at"] is not None
    assert channel["last_checked_at"] == channel["caught_up_at"]


@BOTH_WAYS
def test_a_set_without_changes_goes_all_the_way(
    run: Callable[[ChannelContext], None], context: ChannelContext, getty: ScriptedGetty, warehouse: Engine
) -> None:
    getty.deliveries = [delivery(body_of("7"))]
    run(context)
    assert getty.confirmed == ["7"]
    assert ledger_row(warehouse, "7")["change_count"] == 0


# What is refused.


def test_a_set_that_is_not_loaded_is_never_confirmed(context: ChannelContext, getty: ScriptedGetty) -> None:
    getty.deliveries = [delivery(SET)]
    ref = fetch_ref(context)
    with pytest.raises(NotLoaded, match="is not loaded, so it is not confirmed"):
        confirm(context, ref)
    with pytest.raises(NotLoaded):
        confirm(context, replace(ref, change_set_id="8"))
    assert getty.confirmed == []


def test_a_set_that_the_ledger_does_not_know_is_not_loaded(context: ChannelContext, getty: ScriptedGetty) -> None:
    getty.deliveries = [delivery(SET)]
    with pytest.raises(NotLoaded, match="run the channel again from `fetch`"):
        load(context, replace(fetch_ref(context), change_set_id="8"))


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize("version", [None, "0000", "9999"])
@pytest.mark.parametrize("run", [by_task, at_once])
def test_another_schema_version_is_refused_before_any_call(
    run: Callable[[ChannelContext], None],
    version: str | None,
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
) -> None:
    execute(
        warehouse, f"UPDATE schema_version SET version_num = '{version}'" if version else "DROP TABLE schema_version"
    )
    with pytest.raises(
        SchemaMismatch, match=rf"version {version or 'none'}.*`airflow dags trigger asset_changes_discovery`"
    ):
        run(context)
    assert getty.asked == 0


NOT_UNDERSTOOD = [b"[]", b"7", b'"text"', b'{"status": "ok"}', b'{"change_set_id": "../7", "changed_assets": [1]}']


@BOTH_WAYS
@pytest.mark.parametrize("body", NOT_UNDERSTOOD)
def test_an_unknown_structure_is_archived_and_not_confirmed(
    body: bytes,
    run: Callable[[ChannelContext], None],
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
    tmp_path: Path,
) -> None:
    getty.deliveries = [delivery(body)]
    with pytest.raises(UnreadableChangeSet, match=r"Channel 3001: .*\.unreadable\.gz") as caught:
        run(context)
    [path] = tmp_path.rglob("*.gz")
    assert str(path) in str(caught.value)
    assert context.archive.read_one(str(caught.value).rpartition(" ")[2]) == body
    assert value(warehouse, "SELECT count(*) FROM change_sets") == 0
    assert value(warehouse, "SELECT archive_uri FROM archive_findings WHERE kind = 'unreadable'").endswith(path.name)
    assert getty.confirmed == []


def test_a_warehouse_that_is_away_hides_no_unreadable_body(
    context: ChannelContext, getty: ScriptedGetty, warehouse: Engine, tmp_path: Path
) -> None:
    """Its finding cannot be written: the task still fails with the body's own error, and the archive has the body."""
    getty.deliveries = [delivery(b"[]")]
    away = connect(warehouse.url.set(host="127.0.0.1", port=free_port(), query={}), schema="getty_images")
    with pytest.raises(UnreadableChangeSet, match=r"Channel 3001: .*\.unreadable\.gz"):
        request_and_archive(replace(context, warehouse=away), batch_size=5)
    assert len([*tmp_path.rglob("*.unreadable.gz")]) == 1


def test_with_confirm_off_a_set_is_loaded_and_stays_with_getty(
    context: ChannelContext, getty: ScriptedGetty, warehouse: Engine
) -> None:
    looking = replace(context, confirms=False)
    getty.deliveries = [delivery(SET)]
    by_task(looking)
    assert catch_up(looking, batch_size=5, minutes=1).sets == 0
    assert (getty.asked, getty.confirmed, live(warehouse)) == (1, [], ["1"])
    row = ledger_row(warehouse, "7")
    assert (row["confirm_tried_at"], row["confirmed_at"]) == (None, None)


# Confirmations.


def test_what_is_confirmed_is_not_confirmed_again(
    context: ChannelContext, getty: ScriptedGetty, warehouse: Engine
) -> None:
    getty.deliveries = [delivery(SET)]
    ref = fetch_ref(context)
    load(context, ref)
    assert confirm(context, ref) is True
    before = ledger_row(warehouse, "7")
    assert confirm(context, ref) is False
    assert getty.confirmed == ["7"]
    assert ledger_row(warehouse, "7") == before


@BOTH_WAYS
def test_a_confirmed_set_that_comes_again_is_confirmed_again(
    run: Callable[[ChannelContext], None], context: ChannelContext, getty: ScriptedGetty, warehouse: Engine
) -> None:
    """It is not loaded again."""
    getty.deliveries = [delivery(SET)]
    run(context)
    before, row = states(warehouse), ledger_row(warehouse, "7")
    getty.deliveries = [delivery(SET, status=200, received_at=NOON + timedelta(hours=1))]
    run(context)
    assert getty.confirmed == ["7", "7"]
    assert states(warehouse) == before
    again = ledger_row(warehouse, "7")
    assert (again["redelivered_count"], again["loaded_at"]) == (1, row["loaded_at"])
    assert again["confirmed_at"] > row["confirmed_at"]


@pytest.mark.parametrize(("tries", "earlier_try", "warns"), [(1, False, True), (2, False, False), (1, True, False)])
@BOTH_WAYS
def test_an_unknown_set_counts_as_confirmed(
    run: Callable[[ChannelContext], None],
    tries: int,
    earlier_try: bool,
    warns: bool,
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It warns where nobody here tried to confirm it."""
    getty.deliveries = [delivery(SET)]
    if earlier_try:
        getty.on_confirm = lambda change_set_id: (_ for _ in ()).throw(ConnectionError("lost"))
        with pytest.raises(ConnectionError):
            run(context)
        assert ledger_row(warehouse, "7")["confirm_tried_at"] is not None
        getty.on_confirm, getty.deliveries = lambda change_set_id: None, [delivery(SET, status=200)]
    getty.answers = [Confirmation(is_known=False, tries=tries)]
    with caplog.at_level(logging.WARNING):
        run(context)
    row = ledger_row(warehouse, "7")
    assert row["confirmed_at"] is not None
    assert row["is_confirm_implied"] is warns
    assert ("another consumer may be reading channel 3001" in caplog.text) is warns


@pytest.mark.parametrize(
    "following", [delivery(body_of("8", change("9", "New", 5))), None], ids=["another set", "nothing"]
)
@BOTH_WAYS
def test_the_next_answer_proves_a_confirmation_that_was_lost(
    run: Callable[[ChannelContext], None],
    following: object,
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
) -> None:
    getty.deliveries = [delivery(SET)]
    load(context, fetch_ref(context))
    getty.deliveries = [following] if following else []  # type: ignore[list-item]
    run(context)
    row = ledger_row(warehouse, "7")
    assert row["confirmed_at"] is not None
    assert row["is_confirm_implied"] is True
    assert "7" not in getty.confirmed


@BOTH_WAYS
def test_a_set_that_another_consumer_confirmed_is_loaded(
    run: Callable[[ChannelContext], None],
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is loaded from the archive."""
    getty.deliveries = [delivery(SET)]
    fetch_ref(context)
    getty.deliveries = [delivery(body_of("8", change("9", "New", 5)))]
    with caplog.at_level(logging.WARNING):
        run(context)
    assert live(warehouse) == ["1", "9"]
    assert ledger_row(warehouse, "7")["is_confirm_implied"] is True
    assert getty.confirmed == ["8"]
    assert "another consumer seems to confirm sets of this channel" in caplog.text


# Redeliveries.


def loaded(context: ChannelContext, getty: ScriptedGetty, body: bytes, **more: object) -> None:
    """Let a body be fetched and loaded."""
    getty.deliveries = [delivery(body, **more)]  # type: ignore[arg-type]
    load(context, fetch_ref(context))


def test_loading_again_changes_nothing(context: ChannelContext, getty: ScriptedGetty, warehouse: Engine) -> None:
    """It returns the counts of the ledger."""
    getty.deliveries = [delivery(SET)]
    ref = fetch_ref(context)
    first = load(context, ref)
    tables = ("asset_states", "asset_changes", "deletions", "rejected_changes", "change_sets")
    before = {name: rows(warehouse, f"SELECT * FROM {name}") for name in tables}
    again = load(context, ref)
    assert again.counts == first.counts
    assert {name: rows(warehouse, f"SELECT * FROM {name}") for name in tables} == before


def test_the_same_set_in_another_spelling_changes_nothing(
    context: ChannelContext, getty: ScriptedGetty, warehouse: Engine, archive: Archive
) -> None:
    plain = body_of("7", change("1", "New", 0), change("2", "Delete", 1))
    camel = json.dumps(
        {
            "changeSetId": 7,
            "changedAssetList": [
                {"id": 1, "assetLifecycle": "NEW", "assetType": "image", "assetChangedUtcDateTime": at(0)},
                {"id": "2", "assetLifecycle": "Deleted", "assetType": "Image", "assetChangedUtcDateTime": at(1)},
            ],
        }
    ).encode()
    loaded(context, getty, plain)
    before = states(warehouse)
    loaded(context, getty, camel, status=200, received_at=NOON + timedelta(minutes=9))
    assert states(warehouse) == before
    row = ledger_row(warehouse, "7")
    assert (row["redelivered_count"], row["change_count"]) == (1, 2)
    [kept] = archive.sets(3001)
    assert archive.read(kept.uri) == [Delivery(body=plain, received_at=NOON)]


@pytest.mark.parametrize("was_loaded", [True, False])
def test_a_longer_delivery_adds_messages_at_the_next_positions(
    was_loaded: bool,
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
    archive: Archive,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, two, three = change("1", "New", 0), change("2", "New", 1), change("", "New", 2)
    if was_loaded:
        loaded(context, getty, body_of("7", one))
    else:
        getty.deliveries = [delivery(body_of("7", one))]
        fetch_ref(context)
    before = ledger_row(warehouse, "7")["channel_seq"]
    with caplog.at_level(logging.WARNING):
        loaded(context, getty, body_of("7", one, two, three), status=200, received_at=NOON + timedelta(minutes=9))
    assert "with 2 messages more" in caplog.text
    assert rows(warehouse, "SELECT position, asset_id, fetched_at FROM asset_changes ORDER BY position") == [
        {"position": 0, "asset_id": "1", "fetched_at": NOON},
        {"position": 1, "asset_id": "2", "fetched_at": NOON},
    ]
    assert value(warehouse, "SELECT position FROM rejected_changes") == 2
    row = ledger_row(warehouse, "7")
    assert (row["change_count"], row["new_count"], row["rejected_count"]) == (3, 2, 1)
    assert row["channel_seq"] > (before or 0)  # a consumer that has read the shorter set reads it again
    [kept] = archive.sets(3001)
    assert [each.received_at for each in kept.objects[1:]] == [NOON + timedelta(minutes=9)]


def test_a_shorter_delivery_takes_nothing_away(
    context: ChannelContext, getty: ScriptedGetty, warehouse: Engine, archive: Archive
) -> None:
    one, two = change("1", "New", 0), change("2", "New", 1)
    loaded(context, getty, body_of("7", one, two))
    before = ledger_row(warehouse, "7")["channel_seq"]
    loaded(context, getty, body_of("7", two), status=200)
    loaded(context, getty, body_of("7"), status=200)
    assert live(warehouse) == ["1", "2"]
    row = ledger_row(warehouse, "7")
    assert (row["change_count"], row["redelivered_count"], row["channel_seq"]) == (2, 2, before)
    [kept] = archive.sets(3001)
    assert len(kept.objects) == 1


def test_deliveries_that_differ_again_and_again_add_up(
    context: ChannelContext, getty: ScriptedGetty, warehouse: Engine, archive: Archive
) -> None:
    asset = [change(str(number), "New", number) for number in range(5)]
    for numbers in ([0, 1], [1, 2], [0, 1, 2], [3], [0, 1, 2, 3, 4], [4]):
        loaded(context, getty, body_of("7", *(asset[number] for number in numbers)), status=200)
    assert live(warehouse) == ["0", "1", "2", "3", "4"]
    assert value(warehouse, "SELECT string_agg(asset_id, '' ORDER BY position) FROM asset_changes") == "01234"
    assert ledger_row(warehouse, "7")["change_count"] == 5


def test_an_object_that_the_archive_lost_is_written_again(
    context: ChannelContext, getty: ScriptedGetty, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(context, getty, SET)
    [kept] = archive.sets(3001)
    archive.remove(kept.uri)
    with caplog.at_level(logging.WARNING):
        loaded(context, getty, SET, status=200)
    assert "was lost or damaged: it is written again" in caplog.text
    assert archive.read(kept.uri) == [Delivery(body=SET, received_at=NOON)]


@BOTH_WAYS
def test_what_a_worker_left_in_the_archive_when_it_died_is_used(
    run: Callable[[ChannelContext], None],
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
    archive: Archive,
) -> None:
    earlier = datetime.now(UTC) - timedelta(minutes=5)
    uri = archive.uri_for(3001, "7", fetched_at=earlier)
    archive.write(uri, SET)
    getty.deliveries = [delivery(SET, status=200, received_at=earlier + timedelta(minutes=5))]
    run(context)
    row = ledger_row(warehouse, "7")
    assert (row["archive_uri"], row["fetched_at"]) == (uri, earlier)
    assert len(list(archive.sets(3001))) == 1
    assert value(warehouse, "SELECT count(DISTINCT fetched_at) FROM asset_changes") == 1


# Two of everything.


def test_two_workers_on_one_channel_load_each_set_once(archive: Archive, warehouse: Engine) -> None:
    with Sandbox(changes_per_channel=1500, nastiness=1) as sandbox:
        start = threading.Barrier(2)

        def work() -> None:
            client = AssetChangesClient(credentials_for(sandbox), retry_seconds=60)
            context = ChannelContext(channel=EDITORIAL_IMAGES, source=client, archive=archive, warehouse=warehouse)
            start.wait()
            catch_up(context, batch_size=100, minutes=1)

        with ThreadPoolExecutor(2) as workers:
            for done in [workers.submit(work) for _ in range(2)]:
                done.result()
        truth = sandbox.truth()
    assert sorted(row["asset_id"] for row in states(warehouse)) == sorted(r["asset_id"] for r in truth["asset_states"])
    assert live(warehouse) == sorted((row["asset_id"] for row in truth["assets"]), key=str.encode)
    found = rows(warehouse, "SELECT change_set_id, channel_seq, confirmed_at, change_count FROM change_sets")
    assert len({row["channel_seq"] for row in found}) == 15
    assert all(row["confirmed_at"] for row in found)
    assert sum(row["change_count"] for row in found) == 1500
    assert sorted(each.change_set_id for each in archive.sets(3001)) == sorted(row["change_set_id"] for row in found)
    assert value(warehouse, "SELECT count(*) FROM asset_changes") + value(
        warehouse, "SELECT count(*) FROM rejected_changes"
    ) == 1500  # fmt: skip


@pytest.mark.parametrize(("status", "fetched_at"), [(200, NOON), (201, NOON + timedelta(seconds=1))])
def test_a_worker_that_was_overtaken_in_its_fetch_adds_nothing(
    status: int,
    fetched_at: datetime,
    context: ChannelContext,
    getty: ScriptedGetty,
    warehouse: Engine,
    archive: Archive,
    tmp_path: Path,
) -> None:
    class Overtaken(Archive):
        """An archive on which another worker fetches and loads the set once this one has written.

        A redelivery is looked for in the archive, and found; a 201 says that there is none.
        """

        def write(self, uri: str, body: bytes, **more: Any) -> None:
            super().write(uri, body, **more)
            rival = ScriptedGetty([delivery(SET, status=status, received_at=NOON + timedelta(seconds=1))])
            other = replace(context, source=rival)
            load(other, fetch_ref(other))

    getty.deliveries = [delivery(SET)]
    slow = replace(context, archive=Overtaken(UPath(f"file://{tmp_path}/archive")))
    ref = fetch_ref(slow)
    assert load(slow, ref).counts.changes == 4
    row = ledger_row(warehouse, "7")
    assert (row["fetched_at"], row["redelivered_count"]) == (fetched_at, 1)
    assert ref.archive_uri == row["archive_uri"]
    assert [each.uri for each in archive.sets(3001)] == [row["archive_uri"]]
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 3
