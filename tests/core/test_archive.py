"""The archive: whole objects or none, the same on every store, found again in the order they came."""

import gzip
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import ArchiveDamaged, ArchiveObjectMissing, ArchiveUnavailable
from asset_changes.models import Delivery
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import Engine
from upath import UPath

from tests.conftest import EDITORIAL_IMAGES
from tests.core.doubles import NOON, ScriptedGetty, body_of, change, delivery, value


@pytest.fixture(params=["file", "plain", "memory"])
def any_archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    """An empty archive on each kind of store."""
    roots = {
        "file": f"file://{tmp_path}/archive",
        "plain": f"{tmp_path}/archive",
        "memory": "memory://archive-of-tests",
    }
    yield Archive(UPath(roots[request.param]))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def write(archive: Archive, change_set_id: str, body: bytes = b"{}", *, days: float = 0, channel_id: int = 3001) -> str:
    uri = archive.uri_for(channel_id, change_set_id, fetched_at=NOON + timedelta(days=days))
    archive.write(uri, body)
    return uri


# What is kept.


def test_a_body_is_kept_as_it_came(any_archive: Archive) -> None:
    body = b' {"change_set_id": "7"}\r\n\xff\x00'
    uri = write(any_archive, "7", body)
    assert any_archive.exists(uri)
    assert any_archive.read(uri) == [Delivery(body=body, received_at=NOON)]


def test_its_name_says_channel_day_time_and_set(any_archive: Archive) -> None:
    uri = write(any_archive, "a-B_7")
    assert uri.endswith("/channel_id=3001/fetched_date=2026-03-01/20260301T120000000000Z-a-B_7.json.gz")


def test_the_file_is_plain_gzip(tmp_path: Path) -> None:
    archive = Archive(UPath(f"file://{tmp_path}/archive"))
    write(archive, "7", b'{"a": 1}')
    [path] = tmp_path.rglob("*.gz")
    assert gzip.decompress(path.read_bytes()) == b'{"a": 1}'


def test_what_is_written_again_is_replaced_whole(any_archive: Archive) -> None:
    write(any_archive, "7", b"first, and longer")
    assert any_archive.read_one(write(any_archive, "7", b"second")) == b"second"


def test_later_deliveries_follow_the_first_in_their_order(any_archive: Archive) -> None:
    uri = write(any_archive, "7", b"0")
    write(any_archive, "77", b"another set")
    came = [Delivery(body=str(hour).encode(), received_at=NOON + timedelta(hours=hour)) for hour in (2, 11, 1)]
    names = [any_archive.write_later(uri, body) for body in came]
    assert names[0].endswith("/20260301T120000000000Z-7.20260301T140000000000Z.json.gz")
    in_order = sorted(came, key=lambda body: body.received_at)
    assert any_archive.read(uri) == [Delivery(body=b"0", received_at=NOON), *in_order]
    [found, _] = any_archive.sets(3001)
    assert found.uri == uri
    assert [each.received_at for each in found.objects] == [NOON, *(body.received_at for body in in_order)]


def test_a_body_that_is_not_understood_is_kept_but_is_no_set(any_archive: Archive) -> None:
    uri = any_archive.write_unreadable(3001, b"[1]", received_at=NOON)
    assert uri.endswith("/channel_id=3001/fetched_date=2026-03-01/20260301T120000000000Z.unreadable.gz")
    assert any_archive.exists(uri)
    assert list(any_archive.sets(3001)) == []


def test_removing_twice_is_fine(any_archive: Archive) -> None:
    uri = write(any_archive, "7")
    any_archive.remove(uri)
    any_archive.remove(uri)
    assert not any_archive.exists(uri)


# What is found.


def test_sets_come_in_the_order_they_were_fetched(any_archive: Archive) -> None:
    days = [0, 1.5, 0.1, 40, 3, 0.2]
    for number, day in enumerate(random.Random(1).sample(days, len(days))):
        write(any_archive, f"set-{number}", days=day)
    write(any_archive, "other", days=1, channel_id=3003)
    found = list(any_archive.sets(3001))
    assert [each.fetched_at - NOON for each in found] == [timedelta(days=day) for day in sorted(days)]
    assert {each.channel_id for each in found} == {3001}


def test_a_span_holds_its_beginning_and_not_its_end(any_archive: Archive) -> None:
    for day in (0, 1, 2, 3):
        write(any_archive, str(day), days=day)
    found = any_archive.sets(3001, since=NOON + timedelta(days=1), until=NOON + timedelta(days=3))
    assert [each.change_set_id for each in found] == ["1", "2"]


def test_a_channel_without_sets_has_none(any_archive: Archive) -> None:
    assert list(any_archive.sets(3001)) == []
    assert any_archive.find(3001, "7", before=NOON) is None


def test_what_others_left_in_the_folders_is_passed_over(tmp_path: Path) -> None:
    archive = Archive(UPath(f"file://{tmp_path}/archive"))
    uri = write(archive, "7")
    folder = Path(uri.removeprefix("file://")).parent
    half = "20260301T120000000000Z-8.json.gz"
    for name in (f".{half}.0a1b", "README", f"{half}.tmp", "x.json.gz"):
        (folder / name).write_bytes(b"half")
    (folder / "20261399T120000000000Z-8.json.gz").write_bytes(b"a month that is none")
    (folder.parent / ".DS_Store").touch()
    for name in ("fetched_date=backup", "fetched_date=2026-13-99"):
        (folder.parent / name).mkdir()
    assert [each.change_set_id for each in archive.sets(3001)] == ["7"]


def test_all_objects_of_a_set_are_found_on_any_store(any_archive: Archive) -> None:
    first, orphan = write(any_archive, "7", b"0"), write(any_archive, "7", b"1", days=2)
    longer = any_archive.write_later(first, Delivery(body=b"2", received_at=NOON + timedelta(days=3)))
    write(any_archive, "77", days=1)
    unreadable = any_archive.write_unreadable(3001, b"[1]", received_at=NOON)
    [found, _] = any_archive.sets(3001)
    assert found == any_archive.find(3001, "7", before=NOON + timedelta(days=9))
    assert [each.uri for each in found.in_order(NOON + timedelta(days=2))] == [orphan, first, longer]
    assert [each.uri for each in any_archive.unreadable(3001)] == [unreadable]
    assert any_archive.channel_ids() == [3001]
    any_archive.remove(first)
    [found, _] = any_archive.sets(3001)
    assert [each.uri for each in found.missing] == [first]
    with pytest.raises(ArchiveObjectMissing):
        any_archive.read_one(first)


def test_a_folder_of_many_objects_is_listed_once(tmp_path: Path) -> None:
    class Counting(Archive):
        listed = 0

        def _names(self, folder: UPath, prefix: str = "") -> list[str]:
            self.listed += 1
            if folder.name.startswith("channel_id="):
                return [f"fetched_date=2026-{month:02}-01" for month in range(1, 13)]
            day = folder.name.removeprefix("fetched_date=").replace("-", "")
            return [f"{day}T0000{number:08}Z-{day}{number}.json.gz" for number in range(20_000)]

    archive = Counting(UPath(f"file://{tmp_path}/archive"))
    sets = archive.sets(3001)
    assert next(sets).change_set_id == "202601010"
    assert archive.listed == 3  # the channel, its first day, and the one within reach
    assert sum(1 for _ in sets) == 12 * 20_000 - 1
    assert archive.listed == 13


# What goes wrong.


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Let every write beyond so many bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = Archive(UPath(f"file://{tmp_path}/archive"))
    body = random.Random(1).randbytes(100_000)
    with (
        disk_full_after(20_000),
        pytest.raises(ArchiveUnavailable, match=r"nothing was loaded or confirmed.*full disk"),
    ):
        write(archive, "7", body)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_failed_replacement_leaves_the_old_object_whole(tmp_path: Path) -> None:
    archive = Archive(UPath(f"file://{tmp_path}/archive"))
    uri = write(archive, "7", b"old")
    with disk_full_after(20_000), pytest.raises(ArchiveUnavailable):
        write(archive, "7", random.Random(1).randbytes(100_000))
    assert archive.read_one(uri) == b"old"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.fixture
def unusable(tmp_path: Path) -> Archive:
    """An archive below a regular file: nobody may write there, not even root."""
    (tmp_path / "file").touch()
    return Archive(UPath(f"file://{tmp_path}/file/archive"))


def context_with(archive: Archive, warehouse: Engine, getty: ScriptedGetty) -> ChannelContext:
    return ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)


@pytest.mark.parametrize("by_task", [True, False], ids=["fetch", "catch_up"])
def test_what_cannot_be_archived_is_not_loaded_or_confirmed(
    by_task: bool, unusable: Archive, warehouse: Engine
) -> None:
    getty = ScriptedGetty([delivery(body_of("7", change("1", "New", 0)))])
    context = context_with(unusable, warehouse, getty)
    with pytest.raises(ArchiveUnavailable, match=r"nothing was loaded or confirmed.*full disk, missing rights"):
        fetch(context, batch_size=5) if by_task else catch_up(context, batch_size=5, minutes=1)
    assert value(warehouse, "SELECT count(*) FROM change_sets") == 0
    assert value(warehouse, "SELECT count(*) FROM asset_states") == 0
    assert getty.confirmed == []


def test_an_unreadable_body_needs_an_archive(unusable: Archive, warehouse: Engine) -> None:
    """Where it cannot be archived, the error is that of the archive."""
    with pytest.raises(ArchiveUnavailable):
        fetch(context_with(unusable, warehouse, ScriptedGetty([delivery(b"[1]")])), batch_size=5)


@pytest.mark.parametrize(
    "damage",
    [lambda whole: whole[:-10], lambda whole: b"plain", lambda whole: b"", lambda whole: whole[:12] + b"xx" * 9],
    ids=["cut", "not packed", "empty", "overwritten"],
)
def test_a_damaged_object_is_an_error(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    archive = Archive(UPath(f"file://{tmp_path}/archive"))
    uri = write(archive, "7", b"a body of some length " * 9)
    [path] = tmp_path.rglob("*.gz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArchiveDamaged, match=r"is damaged.*from a backup"):
        archive.read(uri)


def test_a_missing_object_is_an_error(any_archive: Archive) -> None:
    with pytest.raises(ArchiveUnavailable, match="cannot be read"):
        any_archive.read(any_archive.uri_for(3001, "7", fetched_at=NOON))


def test_an_address_outside_of_the_archive_is_refused(any_archive: Archive) -> None:
    for uri in ("file:///etc/passwd", "/etc/passwd", "s3://bucket/x"):
        with pytest.raises(ArchiveUnavailable, match="ASSET_CHANGES_ARCHIVE_URI"):
            any_archive.read(uri)


def test_an_archive_that_moved_is_found_by_its_old_addresses(any_archive: Archive) -> None:
    uri = write(any_archive, "7", b"moved")
    old = "s3://old-bucket/prefix/" + uri.partition("/archive/" if "/archive/" in uri else "/archive-of-tests/")[2]
    assert any_archive.exists(old)
    assert any_archive.read(old) == [Delivery(body=b"moved", received_at=NOON)]


def test_a_store_that_does_not_answer_is_a_passing_fault() -> None:
    root = UPath(
        "s3://bucket/archive",
        key="key",
        secret="secret",
        client_kwargs={"endpoint_url": "http://127.0.0.1:9", "region_name": "nowhere"},
        config_kwargs={"retries": {"max_attempts": 0}, "connect_timeout": 1},
    )
    root.fs.retries = 1
    archive = Archive(root)
    uri = archive.uri_for(3001, "7", fetched_at=NOON)
    for act in (lambda: archive.write(uri, b"{}"), lambda: archive.read(uri), lambda: list(archive.sets(3001))):
        with pytest.raises(ArchiveUnavailable):
            act()
