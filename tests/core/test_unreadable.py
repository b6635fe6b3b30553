"""Bodies that were not understood when they came: a replay by newer code reads them."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import ArchiveUnavailable, UnreadableChangeSet
from asset_changes.models import Delivery
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse import findings
from asset_changes.warehouse.engine import transaction
from sqlalchemy import Engine
from upath import UPath

from tests.conftest import EDITORIAL_IMAGES
from tests.core.doubles import NOON, ScriptedGetty, body_of, change, delivery, execute, ledger_row, live, rows, value
from tests.core.test_broken_archive import archive_set, compare, found, replay_all

HOUR = timedelta(hours=1)
# As an older parser left it: today's understands the body that it did not.
SET_1, SET_2 = body_of("1", change("a", "New", 0), change("b", "New", 0)), body_of("2", change("a", "Delete", 1))


def unread(archive: Archive, body: bytes, *, at: datetime = NOON + HOUR) -> str:
    return archive.write_unreadable(3001, body, received_at=at)


def test_a_body_that_is_understood_now_is_loaded(archive: Archive, warehouse: Engine) -> None:
    archive_set(archive, 1, change("a", "New", 0), change("b", "New", 0))
    uri = unread(archive, SET_2)
    archive_set(archive, 3, change("c", "New", 2), minutes=90)
    assert compare(archive, warehouse) == [("not_in_ledger", "1"), ("unreadable", None), ("not_in_ledger", "3")]
    assert replay_all(archive, warehouse) == 3
    assert live(warehouse) == ["b", "c"]
    assert ledger_row(warehouse, "2")["is_confirm_implied"]  # the archive holds a later set
    assert ("unreadable", None, "read") in found(warehouse)
    assert compare(archive, warehouse) == []
    assert archive.exists(uri)  # as received
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


def test_a_rebuild_reads_the_body_from_its_place(archive: Archive, warehouse: Engine) -> None:
    unread(archive, SET_1)
    replay_all(archive, warehouse)
    execute(warehouse, "TRUNCATE asset_states, asset_metadata, asset_changes, deletions, change_sets, archive_findings")
    assert replay_all(archive, warehouse) == 1
    assert live(warehouse) == ["a", "b"]
    assert len([each for each in archive.sets(3001) for _ in each.objects]) == 1
    assert found(warehouse) == [("unreadable", None, "read")]


def test_a_body_of_a_known_set_is_one_more_delivery(archive: Archive, warehouse: Engine) -> None:
    uri = archive_set(archive, 1, change("a", "New", 0))
    replay_all(archive, warehouse)
    unread(archive, SET_1, at=NOON)
    unread(archive, SET_1, at=NOON + HOUR)
    replay_all(archive, warehouse)
    logged = rows(warehouse, "SELECT position, asset_id FROM asset_changes ORDER BY position")
    assert [tuple(row.values()) for row in logged] == [(0, "a"), (1, "b")]
    [archived] = archive.sets(3001)
    assert [each.is_first for each in archived.in_order()] == [True, False]
    assert archived.uri == uri
    assert {how for _, _, how in found(warehouse)} == {"read"}


def test_a_body_that_a_later_delivery_repeats_is_archived_once(archive: Archive, warehouse: Engine) -> None:
    unread(archive, SET_1, at=NOON)
    uri = archive.uri_for(3001, "1", fetched_at=NOON + HOUR)
    archive.write(uri, SET_1)  # handed out again, to newer code
    replay_all(archive, warehouse)
    [archived] = archive.sets(3001)
    assert [each.uri for each in archived.objects] == [uri]
    assert found(warehouse) == [("unreadable", None, "read")]


@pytest.mark.parametrize("body", [b"{}", b"null"])
def test_a_body_without_a_change_set_is_read_too(body: bytes, archive: Archive, warehouse: Engine) -> None:
    unread(archive, body)
    assert replay_all(archive, warehouse) == 0
    assert found(warehouse) == [("unreadable", None, "read")]


def test_what_is_still_not_understood_is_red_in_its_span_alone(archive: Archive, warehouse: Engine) -> None:
    uri = unread(archive, b"[1]")
    archive_set(archive, 5)
    with pytest.raises(UnreadableChangeSet, match=r"unreadable\.gz is still not understood.*the rest is loaded"):
        replay_all(archive, warehouse)
    assert live(warehouse) == ["a5"]
    since, until = NOON + 24 * HOUR, NOON + 48 * HOUR
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=since, until=until)
    with transaction(warehouse) as connection:
        findings.dismiss(connection, uri, by="ann")
    replay_all(archive, warehouse)
    assert found(warehouse) == [("unreadable", None, "dismissed")]


def test_the_nightly_replay_reads_bodies_of_older_days(archive: Archive, warehouse: Engine) -> None:
    unread(archive, SET_1)
    compare(archive, warehouse)
    since, until = NOON + 48 * HOUR, NOON + 72 * HOUR
    done = replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, since=since, until=until)
    assert live(warehouse) == ["a", "b"]
    assert done.changed - done.waited == 0  # it was known to be due
    assert found(warehouse) == [("unreadable", None, "read")]


def test_a_body_that_a_person_dismissed_is_read_once_it_can_be(archive: Archive, warehouse: Engine) -> None:
    uri = unread(archive, SET_1)
    compare(archive, warehouse)
    with transaction(warehouse) as connection:
        findings.dismiss(connection, uri, by="ann")
    replay_all(archive, warehouse)
    assert live(warehouse) == ["a", "b"]


def test_a_set_that_comes_again_after_the_replay_is_confirmed(
    context: ChannelContext, archive: Archive, warehouse: Engine
) -> None:
    unread(archive, SET_1)
    replay_all(archive, warehouse)
    getty = ScriptedGetty([delivery(SET_1, status=200, received_at=NOON + 2 * HOUR)])
    catch_up(
        ChannelContext(channel=context.channel, source=getty, archive=archive, warehouse=warehouse),
        batch_size=9,
        minutes=1,
    )
    assert getty.confirmed == ["1"]
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 2
    assert archive.read(ledger_row(warehouse, "1")["archive_uri"]) == [Delivery(body=SET_1, received_at=NOON + HOUR)]


def test_a_read_only_archive_is_replayed_without_such_bodies(
    archive: Archive, warehouse: Engine, tmp_path: Path
) -> None:
    class ReadOnly(Archive):
        def write(self, uri: str, body: bytes, **more: object) -> None:
            raise ArchiveUnavailable(f"The archive cannot be written at {uri}.") from PermissionError()

    unread(archive, SET_1)
    archive_set(archive, 5)
    with pytest.raises(ArchiveUnavailable, match=r"cannot be written.*the rest is loaded"):
        replay_all(ReadOnly(UPath(f"file://{tmp_path}/archive")), warehouse)
    assert live(warehouse) == ["a5"]
    replay_all(archive, warehouse)
    assert live(warehouse) == ["a", "a5", "b"]


def test_a_replay_that_reads_an_object_ends_its_finding(archive: Archive, warehouse: Engine) -> None:
    uri = archive_set(archive, 5)
    of_older_code = findings.ArchiveFinding(
        channel_id=3001, archive_uri=uri, kind=findings.FindingKind.UNREADABLE, received_at=NOON
    )
    with transaction(warehouse) as connection:
        findings.note(connection, [of_older_code])
    replay_all(archive, warehouse)
    assert found(warehouse) == [("unreadable", None, "read")]
