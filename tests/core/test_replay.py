"""Replay: the archive loaded again, into a live warehouse or into an empty one."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from random import Random

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import ArchiveDamaged
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.models import Channel, Delivery
from asset_changes.pipeline.archive_check import lacking
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import Replayed, replay
from asset_changes.warehouse.engine import connect
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, Engine, text
from upath import UPath

from tests.conftest import EDITORIAL_IMAGES, SCHEMA, credentials_for
from tests.core.doubles import ScriptedGetty, body_of, change, deadlocks, delivery, execute, ledger_row, live, rows

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
CONTENT = {
    "asset_states": "asset_id, asset_type, asset_family, channel_id, asset_lifecycle, upserted_at, "
    "upsert_change_set_id, upsert_position, deleted_at, delete_change_set_id, delete_position",
    "asset_changes": "fetched_at, channel_id, change_set_id, position, asset_id, asset_lifecycle, asset_type, "
    "changed_at, is_time_inferred, uri",
    "rejected_changes": "channel_id, change_set_id, position, reason, asset_id, asset_lifecycle, raw",
    "deletions": "channel_id, change_set_id, position, asset_id, deleted_at, received_at",
    "change_sets": "channel_id, change_set_id, archive_uri, content_hash, fetched_at, change_count, new_count, "
    "update_count, delete_count, superseded_count, rejected_count, oldest_change_at, newest_change_at",
}
EVERYTHING = dict.fromkeys(CONTENT, "*")


def contents(warehouse: Engine, columns: dict[str, str] = CONTENT) -> dict[str, list[tuple[object, ...]]]:
    with warehouse.connect() as connection:
        return {
            table: sorted((tuple(row) for row in connection.execute(text(f"SELECT {names} FROM {table}"))), key=str)
            for table, names in columns.items()
        }


def at_minute(minutes: int) -> datetime:
    return LONG_AGO + timedelta(minutes=minutes)


def later() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


@pytest.fixture
def channels(archive: Archive, warehouse: Engine) -> list[Channel]:
    """Four channels that are caught up: some 50 sets."""
    with Sandbox(changes_per_channel=2500) as sandbox:
        client = AssetChangesClient(credentials_for(sandbox))
        found = client.get_channels()
        for channel in found:
            catch_up(
                ChannelContext(channel=channel, source=client, archive=archive, warehouse=warehouse),
                batch_size=200,
                minutes=1,
            )
    return found


def test_replaying_what_is_loaded_changes_no_row(channels: list[Channel], archive: Archive, warehouse: Engine) -> None:
    before = contents(warehouse, EVERYTHING)
    for channel in channels:
        done = replay(channel, archive=archive, warehouse=warehouse, since=LONG_AGO, until=later())
        assert (done.sets, done.changes, done.changed, done.rebuilt) == (13, 2500, 0, 0)
    assert contents(warehouse, EVERYTHING) == before


@pytest.mark.parametrize(
    "lost",
    [
        "asset_states, asset_metadata, asset_changes, rejected_changes, deletions, change_sets, channels",
        "asset_states, asset_metadata, asset_changes, rejected_changes, deletions",
        "asset_states, asset_metadata",
        "change_sets",
        "asset_changes",
    ],
)
def test_a_replay_brings_back_what_was_truncated(
    lost: str, channels: list[Channel], archive: Archive, warehouse: Engine
) -> None:
    before = contents(warehouse)
    with warehouse.begin() as connection:
        connection.execute(text(f"TRUNCATE {lost}"))
    for channel in reversed(channels):
        done = replay(channel, archive=archive, warehouse=warehouse, since=LONG_AGO, until=later())
        assert done.rebuilt == (13 if "change_sets" in lost else 0)
    assert contents(warehouse) == before
    again = [replay(each, archive=archive, warehouse=warehouse, since=LONG_AGO, until=later()) for each in channels]
    assert sum(each.changed for each in again) == 0


def test_rebuilt_rows_are_confirmed_if_a_later_set_is_archived(
    channels: list[Channel], archive: Archive, warehouse: Engine
) -> None:
    """They are marked as rebuilt."""
    with warehouse.begin() as connection:
        connection.execute(text("TRUNCATE change_sets"))
    replay(channels[0], archive=archive, warehouse=warehouse, since=LONG_AGO, until=later())
    with warehouse.connect() as connection:
        rows = connection.execute(
            text("SELECT confirmed_at, is_confirm_implied, rebuilt_at FROM change_sets ORDER BY fetched_at")
        ).all()
    assert all(row.rebuilt_at for row in rows)
    assert [row.is_confirm_implied for row in rows] == [True] * 12 + [False]
    assert rows[-1].confirmed_at is None


def missing_ids(
    *, archive: Archive, warehouse: Engine, since: datetime | None = None, until: datetime | None = None
) -> list[str]:
    archived = archive.sets(EDITORIAL_IMAGES.channel_id, since=since, until=until)
    return [each.change_set_id for each in lacking(archived, warehouse=warehouse, archive=archive)]


def test_a_set_that_was_never_loaded_is_found_and_loaded(
    context: ChannelContext, sandbox: Sandbox, archive: Archive, warehouse: Engine
) -> None:
    sandbox.append(3001, [{"id": "1", "asset_lifecycle": "New", "asset_changed_utc_datetime": "2026-03-01T10:00:00Z"}])
    ref = fetch(context, batch_size=10)
    span = {"archive": archive, "warehouse": warehouse, "since": LONG_AGO, "until": later()}
    assert missing_ids(**span) == [ref.change_set_id]
    assert replay(EDITORIAL_IMAGES, **span).changed > 0
    assert missing_ids(**span) == []
    assert contents(warehouse)["asset_states"][0][0] == "1"


def test_a_span_without_archived_sets_is_fine(archive: Archive, warehouse: Engine) -> None:
    done = replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=LONG_AGO, until=later())
    assert done == Replayed()


# After a restore.


def copied(postgres: EmbeddedPostgres, source: URL, name: str) -> URL:
    """Return a copy of a warehouse that nobody is connected to: what a backup would bring back."""
    admin = connect(postgres.url("postgres"), schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {source.database} STRATEGY file_copy"))
    admin.dispose()
    return postgres.url(name)


@pytest.mark.usefixtures("own_database")
def test_a_restored_warehouse_gets_only_what_it_lacks(
    postgres: EmbeddedPostgres, warehouse: Engine, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    with Sandbox(changes_per_channel=900) as sandbox:
        client = AssetChangesClient(credentials_for(sandbox))
        context = ChannelContext(channel=EDITORIAL_IMAGES, source=client, archive=archive, warehouse=warehouse)
        left = iter(range(3))
        catch_up(context, batch_size=100, minutes=1, stops=lambda: next(left, None) is None)
        warehouse.dispose()
        restored = connect(copied(postgres, warehouse.url, "restored"), schema=SCHEMA)
        catch_up(context, batch_size=100, minutes=1)
        sandbox.append(3001, [change("after the restore", "New")])
        catch_up(replace(context, warehouse=restored), batch_size=100, minutes=1)
    lacking = missing_ids(archive=archive, warehouse=restored)
    assert len(lacking) == 6
    with caplog.at_level(logging.WARNING):
        done = replay(EDITORIAL_IMAGES, archive=archive, warehouse=restored, only_missing=True)
    assert (done.sets, done.rebuilt) == (6, 6)
    assert all(f"change set {each}, fetched at" in caplog.text for each in lacking)
    assert missing_ids(archive=archive, warehouse=restored) == []
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=restored, only_missing=True) == Replayed()
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, only_missing=True)  # the set after the restore
    assert contents(restored) == contents(warehouse)
    restored.dispose()


def change_after(asset_id: str, lifecycle: str, seconds: float) -> dict[str, object]:
    changed_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds - 60)
    return change(asset_id, lifecycle, asset_changed_utc_datetime=changed_at.isoformat())


SHORT = [change_after("a", "New", 0)]
LONG = [*SHORT, change_after("b", "Delete", 1), change_after("c", "New", 2)]


def test_a_warehouse_from_before_a_longer_delivery_lacks_it(
    context: ChannelContext, archive: Archive, warehouse: Engine
) -> None:
    came = datetime.now(UTC)
    getty = ScriptedGetty([delivery(body_of("7", *SHORT), received_at=came)])
    catch_up(replace(context, source=getty), batch_size=9, minutes=1)
    [kept] = archive.sets(3001)
    archive.write_later(kept.uri, Delivery(body=body_of("7", *LONG), received_at=came + timedelta(minutes=1)))
    assert missing_ids(archive=archive, warehouse=warehouse) == ["7"]
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, only_missing=True)
    assert live(warehouse) == ["a", "c"]
    assert ledger_row(warehouse, "7")["change_count"] == 3
    assert missing_ids(archive=archive, warehouse=warehouse) == []


def test_a_damaged_longer_delivery_is_not_called_missing(
    context: ChannelContext, archive: Archive, warehouse: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves open whether its set is missing."""
    came = datetime.now(UTC)
    getty = ScriptedGetty([delivery(body_of("7", *SHORT), received_at=came)])
    catch_up(replace(context, source=getty), batch_size=9, minutes=1)
    [kept] = archive.sets(3001)
    longer = archive.write_later(kept.uri, Delivery(body=body_of("7", *LONG), received_at=came + timedelta(minutes=1)))
    Path(longer.removeprefix("file://")).write_bytes(b"damaged")
    assert missing_ids(archive=archive, warehouse=warehouse) == []
    assert "Could not check whether change set 7 is loaded as a whole" in caplog.text


@pytest.mark.parametrize("was_loaded", [True, False])
def test_a_longer_delivery_during_a_replay_is_loaded_first(
    was_loaded: bool, context: ChannelContext, warehouse: Engine, tmp_path: Path
) -> None:
    """It is loaded before it is confirmed."""
    root = UPath(f"file://{tmp_path}/archive")  # that of `context`
    came, received = datetime.now(UTC), []
    first = replace(context, source=ScriptedGetty([delivery(body_of("7", *SHORT), received_at=came)]))
    longer = delivery(body_of("7", *LONG), status=200, received_at=came + timedelta(minutes=1))
    live_run = replace(context, source=ScriptedGetty([longer]))

    class ArchiveDuringLiveRun(Archive):
        """While this archive is read, a live run fetches the longer delivery."""

        def read_delivery(self, uri: str, *, received_at: datetime) -> Delivery:
            found = super().read_delivery(uri, received_at=received_at)
            if not received:
                received.append(None)
                received[0] = fetch(live_run, batch_size=9)
            return found

    ref = fetch(first, batch_size=9)
    if was_loaded:
        load(first, ref)
    replay(EDITORIAL_IMAGES, archive=ArchiveDuringLiveRun(root), warehouse=warehouse, since=LONG_AGO, until=later())
    load(live_run, received[0])
    confirm(live_run, received[0])
    assert live_run.source.confirmed == ["7"]
    assert live(warehouse) == ["a", "c"]
    assert ledger_row(warehouse, "7")["change_count"] == 3


@pytest.mark.usefixtures("own_database")
def test_replays_at_once_may_begin_a_month_without_a_partition(archive: Archive, warehouse_url: URL) -> None:
    long_ago = datetime(2020, 5, 17, tzinfo=UTC)
    channels = [replace(EDITORIAL_IMAGES, channel_id=number) for number in range(3001, 3005)]
    for channel in channels:
        body = body_of(channel.channel_id, change(channel.channel_id, "New", asset_changed_utc_datetime="2020-05-16"))
        archive.write(archive.uri_for(channel.channel_id, str(channel.channel_id), fetched_at=long_ago), body)
    together = threading.Barrier(len(channels))

    def rebuild(channel: Channel) -> Replayed:
        warehouse = connect(warehouse_url, schema=SCHEMA)
        together.wait()
        try:
            return replay(channel, archive=archive, warehouse=warehouse, since=long_ago, until=later())
        finally:
            warehouse.dispose()

    with ThreadPoolExecutor(len(channels)) as workers:
        assert [done.rebuilt for done in workers.map(rebuild, channels)] == [1, 1, 1, 1]


def test_what_newer_code_can_read_is_no_longer_rejected(
    context: ChannelContext, archive: Archive, warehouse: Engine
) -> None:
    body = body_of("7", change("a", "Delete", 0), change("b", "New", 1), change("", "New", 2))
    catch_up(replace(context, source=ScriptedGetty([delivery(body)])), batch_size=9, minutes=1)
    as_older_code_left_it = """
        DELETE FROM asset_changes WHERE asset_id = 'a'; DELETE FROM asset_states WHERE asset_id = 'a';
        DELETE FROM deletions; UPDATE change_sets SET delete_count = 0, rejected_count = 2, content_hash = 'older';
        INSERT INTO rejected_changes (channel_id, change_set_id, position, reason, raw)
        VALUES (3001, '7', 0, 'unknown_lifecycle', '{}')"""
    loaded_at = ledger_row(warehouse, "7")["loaded_at"]
    for statement in as_older_code_left_it.split(";"):
        execute(warehouse, statement)
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 4
    row = ledger_row(warehouse, "7")
    assert (row["delete_count"], row["rejected_count"], row["loaded_at"]) == (1, 1, loaded_at)
    assert [each["position"] for each in rows(warehouse, "SELECT position FROM rejected_changes")] == [2]
    assert live(warehouse) == ["b"]
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


def archive_update(archive: Archive, channel: Channel, number: int, *asset_ids: str) -> None:
    """Archive a set of a channel, of updates in its minute."""
    change_set_id = f"{channel.channel_id}{number}"
    messages = [change(each, "Update", asset_changed_utc_datetime=at_minute(number).isoformat()) for each in asset_ids]
    uri = archive.uri_for(channel.channel_id, change_set_id, fetched_at=at_minute(number))
    archive.write(uri, body_of(change_set_id, *messages))


def test_rebuilds_of_the_same_assets_never_deadlock(
    archive: Archive, warehouse_url: URL, postgres: EmbeddedPostgres
) -> None:
    random = Random(1)
    four = [replace(EDITORIAL_IMAGES, channel_id=3001 + number) for number in range(4)]
    for channel, number in product(four, range(60)):
        archive_update(archive, channel, number, *(str(random.randrange(300)) for _ in range(60)))

    def rebuild(channel: Channel) -> Replayed:
        return replay(channel, archive=archive, warehouse=connect(warehouse_url, schema=SCHEMA))

    before = deadlocks(postgres)
    with ThreadPoolExecutor(4) as pool:
        assert [done.rebuilt for done in pool.map(rebuild, four)] == [60] * 4
    assert deadlocks(postgres) == before
    assert len(live(connect(warehouse_url, schema=SCHEMA))) == 300


def test_a_damaged_object_holds_up_no_other_set(archive: Archive, warehouse: Engine) -> None:
    for number in range(45):
        archive_update(archive, EDITORIAL_IMAGES, number, f"a{number}")
    damaged = next(each.uri for each in archive.sets(3001) if each.change_set_id == "30015")
    Path(damaged.removeprefix("file://")).write_bytes(b"damaged")
    with pytest.raises(ArchiveDamaged, match="In all 1 archived objects cannot be read; the rest is loaded"):
        replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    assert live(warehouse) == sorted(f"a{number}" for number in range(45) if number != 5)
