"""Replay: the archive loaded again, beside a live warehouse or into an empty one."""

from datetime import UTC, datetime, timedelta

import pytest
from asset_changes.archive import Archive
from asset_changes.catch_up import catch_up
from asset_changes.client import AssetChangesClient
from asset_changes.missing import missing_sets
from asset_changes.model import Channel
from asset_changes.replay import Replayed, replay
from asset_changes.steps import Steps, fetch
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine, text

from tests.conftest import EDITORIAL_IMAGES, credentials_for

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
                Steps(channel=channel, source=client, archive=archive, warehouse=warehouse), batch_size=200, minutes=1
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
        "asset_states, asset_changes, rejected_changes, deletions, change_sets, channels",
        "asset_states, asset_changes, rejected_changes, deletions",
        "asset_states",
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


def test_rebuilt_rows_are_marked_and_confirmed_where_a_later_set_is_archived(
    channels: list[Channel], archive: Archive, warehouse: Engine
) -> None:
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


def missing_ids(*, archive: Archive, warehouse: Engine, since: datetime, until: datetime) -> list[str]:
    with warehouse.connect() as connection:
        found = missing_sets(connection, EDITORIAL_IMAGES.channel_id, archive=archive, since=since, until=until)
        return [each.change_set_id for each in found]


def test_a_set_that_was_fetched_but_never_loaded_is_found_and_loaded(
    steps: Steps, sandbox: Sandbox, archive: Archive, warehouse: Engine
) -> None:
    sandbox.append(3001, [{"id": "1", "asset_lifecycle": "New", "asset_changed_utc_datetime": "2026-03-01T10:00:00Z"}])
    fetched = fetch(steps, batch_size=10)
    span = {"archive": archive, "warehouse": warehouse, "since": LONG_AGO, "until": later()}
    assert missing_ids(**span) == [fetched.change_set_id]
    assert replay(EDITORIAL_IMAGES, **span).changed > 0
    assert missing_ids(**span) == []
    assert contents(warehouse)["asset_states"][0][0] == "1"


def test_a_span_without_archived_sets_is_fine(archive: Archive, warehouse: Engine) -> None:
    done = replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=LONG_AGO, until=later())
    assert done == Replayed()
