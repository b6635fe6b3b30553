"""What another worker, another deployment or an accident left behind: the channel continues, and nothing is wrong."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.models import Delivery
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch, record_in_ledger, request_and_archive
from asset_changes.pipeline.load import load
from asset_changes.warehouse.engine import in_transaction
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine
from upath import UPath

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, credentials_for
from tests.core.doubles import (
    NOON,
    ScriptedGetty,
    body_of,
    change,
    delivery,
    execute,
    fetch_delivery,
    ledger_row,
    live,
    quiet_context,
    rows,
    run,
    value,
)

SET = body_of("7", change("1", "New", 0), change("2", "New", 1), change("2", "Delete", 2), change("", "New", 3))

context = quiet_context


def test_a_delete_of_a_later_delivery_keeps_its_time(context: ChannelContext, warehouse: Engine) -> None:
    """A Delete that comes hours after the first delivery of its set keeps its own time."""
    fetch_delivery(context, body_of("7", change("x", "New", 0)))  # and the worker dies
    sibling = replace(context, channel=EDITORIAL_FILM)
    run(sibling, body_of("8", change("a", "Update", 60)), received_at=NOON + timedelta(minutes=61))
    longer = body_of("7", change("x", "New", 0), change("a", "Delete", 150))
    run(context, longer, status=200, received_at=NOON + timedelta(hours=3))
    assert live(warehouse) == ["x"]


@pytest.mark.parametrize("accident", ["lost", "damaged"])
def test_a_lost_set_of_another_consumer_blocks_no_other(
    accident: str, context: ChannelContext, warehouse: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else confirmed the set and the archive cannot give it; the sets after it are loaded."""
    kept = Path(fetch_delivery(context, body_of("7", change("a", "New", 0))).archive_uri.removeprefix("file://"))
    kept.write_bytes(b"damaged") if accident == "damaged" else kept.unlink()
    run(context, body_of("8", change("b", "New", 1)))
    assert live(warehouse) == ["b"]
    assert [row["loaded_at"] is None for row in (ledger_row(warehouse, "7"), ledger_row(warehouse, "8"))] == [
        True,
        False,
    ]
    [error] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert "Change set 7 of channel 3001" in error
    assert accident in error


@pytest.mark.parametrize("later", [change("b", "New", 1), None])
def test_a_damaged_object_is_replaced_by_the_next_delivery(
    later: dict[str, object] | None, context: ChannelContext, warehouse: Engine, archive: Archive
) -> None:
    first = change("a", "New", 0)
    uri = fetch_delivery(context, body_of("7", first)).archive_uri
    Path(uri.removeprefix("file://")).write_bytes(b"damaged")
    body = body_of("7", *filter(None, (first, later)))
    run(context, body, status=200)
    assert live(warehouse) == ["a", *(["b"] if later else [])]
    if later:
        assert archive.read_one(uri) == body


def test_two_deployments_with_own_archives_share_a_warehouse(warehouse: Engine, tmp_path: Path) -> None:
    def read(number: int) -> None:
        archive = Archive(UPath(f"file://{tmp_path}/archive-{number}"))
        client = AssetChangesClient(credentials_for(sandbox), retry_seconds=60)
        context = ChannelContext(channel=EDITORIAL_IMAGES, source=client, archive=archive, warehouse=warehouse)
        while not catch_up(context, batch_size=50, minutes=1).is_caught_up:
            pass
        client.close()

    with Sandbox(changes_per_channel=900) as sandbox, ThreadPoolExecutor(2) as deployments:
        for done in [deployments.submit(read, number) for number in range(2)]:
            done.result()
        truth = [row for row in sandbox.truth()["change_sets"] if row["channel_id"] == 3001]
    assert {each["change_count"] for each in truth} == {50}
    found = rows(warehouse, "SELECT change_set_id, rejected_count, confirmed_at FROM change_sets ORDER BY fetched_at")
    assert [row["change_set_id"] for row in found] == [row["change_set_id"] for row in truth]
    assert all(row["confirmed_at"] for row in found)
    logged = value(warehouse, "SELECT count(*) FROM asset_changes")
    assert logged + sum(row["rejected_count"] for row in found) == 900


def test_an_archive_that_moved_gets_the_outstanding_set_again(
    context: ChannelContext, warehouse: Engine, tmp_path: Path
) -> None:
    fetch_delivery(context, SET)
    moved = replace(context, archive=Archive(UPath(f"file://{tmp_path}/moved")))
    run(moved, SET, status=200)
    assert ledger_row(warehouse, "7")["confirmed_at"]
    [kept] = moved.archive.sets(3001)
    assert moved.archive.read(kept.uri) == [Delivery(body=SET, received_at=NOON)]


def test_a_set_that_only_the_ledger_has_lost_is_taken_again(context: ChannelContext, warehouse: Engine) -> None:
    run(context, SET)
    execute(warehouse, "DELETE FROM change_sets")
    run(context, SET, status=200)
    assert ledger_row(warehouse, "7")["change_count"] == 4
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 3


def test_an_orphan_with_two_addresses_stays(warehouse: Engine, tmp_path: Path) -> None:
    """Two deployments reach the same object by different addresses; neither removes it."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "mount").symlink_to(tmp_path / "archive")
    archives = [Archive(UPath(f"file://{tmp_path}/{name}")) for name in ("archive", "mount")]
    archives[0].write(archives[0].uri_for(3001, "7", fetched_at=NOON), SET)  # and the worker died
    getty = [ScriptedGetty([delivery(SET, status=200)]) for _ in archives]
    both = [
        ChannelContext(channel=EDITORIAL_IMAGES, source=source, archive=archive, warehouse=warehouse)
        for source, archive in zip(getty, archives, strict=True)
    ]
    for context, received in [(context, request_and_archive(context, batch_size=9)) for context in both]:
        in_transaction(warehouse, partial(record_in_ledger, context=context, received=received))
    assert archives[0].exists(ledger_row(warehouse, "7")["archive_uri"])


def test_a_set_that_grew_after_its_load_is_not_confirmed(context: ChannelContext, warehouse: Engine) -> None:
    """It grew between its load and its confirmation, so it waits for the next answer."""
    grown = body_of("7", change("a", "New", 0), change("b", "New", 1))
    source = ScriptedGetty(
        [delivery(body_of("7", change("a", "New", 0)))], on_confirm=lambda _: fetch_delivery(context, grown, status=200)
    )
    mine = replace(context, source=source)
    ref = fetch(mine, batch_size=2200)
    assert ref is not None
    load(mine, ref)
    confirm(mine, ref)
    assert ledger_row(warehouse, "7")["confirmed_at"] is None
    fetch(replace(context, source=ScriptedGetty()), batch_size=2200)
    assert live(warehouse) == ["a", "b"]
