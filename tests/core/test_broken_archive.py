"""A replay of an archive in which something is wrong: all else is loaded, what is wrong is named and kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import ArchiveDamaged, ArchiveUnavailable, UnreadableChangeSet
from asset_changes.models import Delivery
from asset_changes.pipeline.archive_check import compare_archive
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse import findings
from asset_changes.warehouse.engine import connect, transaction
from sqlalchemy import URL, Engine
from upath import UPath

from tests.conftest import EDITORIAL_IMAGES, SCHEMA
from tests.core.doubles import NOON, body_of, change, execute, live, rows, value

SETS = 6
DAYS = timedelta(days=1)
FINDINGS = "SELECT kind, change_set_id, settled_how FROM archive_findings ORDER BY received_at, kind, settled_how"


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def archive_set(archive: Archive, number: int, *messages: object, minutes: float | None = None) -> str:
    """Archive a first delivery; by default of one New, in the minute of its number."""
    came = NOON + timedelta(minutes=number if minutes is None else minutes)
    uri = archive.uri_for(3001, str(number), fetched_at=came)
    archive.write(uri, body_of(number, *(messages or [change(f"a{number}", "New", 0)])))
    return uri


def archive_longer(archive: Archive, uri: str, number: int, *messages: object, minutes: float = 60) -> str:
    return archive.write_later(
        uri, Delivery(body=body_of(number, *messages), received_at=NOON + timedelta(minutes=minutes))
    )


def replay_all(archive: Archive, warehouse: Engine, *, only_missing: bool = False) -> int:
    return replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse, only_missing=only_missing).sets


def compare(archive: Archive, warehouse: Engine) -> list[tuple[str, str | None]]:
    with transaction(warehouse) as connection:
        return [(each.kind, each.change_set_id) for each in compare_archive(connection, archive, 3001)]


def found(warehouse: Engine) -> list[tuple[str, str | None, str | None]]:
    return [tuple(row.values()) for row in rows(warehouse, FINDINGS)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def hold_another_set(path: Path) -> None:
    path.write_bytes(next(path.parent.glob("*Z-1.json.gz")).read_bytes())


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ACCIDENTS = {
    "cut": (cut, "damaged"),
    "empty": (empty, "damaged"),
    "gone between listing and reading": (dangle, "missing"),
    "of another set": (hold_another_set, "damaged"),
    "a folder": (become_a_folder, "damaged"),
}


@pytest.mark.parametrize("only_missing", [False, True], ids=["all", "only missing"])
@pytest.mark.parametrize(("happen", "kind"), ACCIDENTS.values(), ids=ACCIDENTS)
def test_one_bad_object_holds_up_no_other_set(
    happen: Callable[[Path], None], kind: str, only_missing: bool, archive: Archive, warehouse: Engine
) -> None:
    uris = [archive_set(archive, number) for number in range(SETS)]
    happen(path_of(uris[3]))
    with pytest.raises(ArchiveDamaged, match=r"Z-3\.json\.gz.*In all 1 archived objects cannot be read"):
        replay_all(archive, warehouse, only_missing=only_missing)
    assert live(warehouse) == [f"a{number}" for number in range(SETS) if number != 3]
    assert (kind, "3", None) in found(warehouse)


def test_an_object_that_may_not_be_read_holds_up_no_other_set(archive: Archive, warehouse: Engine) -> None:
    uris = [archive_set(archive, number) for number in range(SETS)]
    path_of(uris[3]).unlink()
    path_of(uris[3]).symlink_to(path_of(uris[3]))  # what not even root can read
    with pytest.raises(ArchiveUnavailable, match=r"Z-3\.json\.gz.*the rest is loaded"):
        replay_all(archive, warehouse)
    assert live(warehouse) == [f"a{number}" for number in range(SETS) if number != 3]


def test_a_store_that_is_away_ends_a_replay_early(tmp_path: Path, warehouse: Engine) -> None:
    class Away(Archive):
        tries = 0

        def read_delivery(self, uri: str, *, received_at: datetime) -> Delivery:
            self.tries += 1
            raise ArchiveUnavailable("The archive does not answer.")

    archive = Away(UPath(f"file://{tmp_path}/archive"))
    for number in range(SETS):
        archive_set(archive, number)
    with pytest.raises(ArchiveUnavailable, match="does not answer"):
        replay_all(archive, warehouse)
    assert archive.tries == 3


def test_made_up_names_are_passed_over(archive: Archive, warehouse: Engine) -> None:
    folder = path_of(archive_set(archive, 1)).parent
    (folder.parent / "fetched_date=2026-03-02").write_bytes(b"a file in the place of a day")
    (folder / "20260301T120000000000Z-8.json.gz.bak").write_bytes(b"a copy")
    (folder / "20260301T120000000000Z-8.20261399T120000000000Z.json.gz").write_bytes(b"a month that is none")
    for name in ("channel_id=x", "channel_id=0", "channel_id=99999999999", "prepared"):
        (folder.parents[1] / name).mkdir()
    assert archive.channel_ids() == [3001]
    assert replay_all(archive, warehouse) == 1


def test_a_set_whose_first_object_is_gone_is_loaded_in_part(archive: Archive, warehouse: Engine) -> None:
    for number in range(SETS):
        archive_set(archive, number)
    uri = archive_set(archive, 9, change("b", "New", 0))
    archive_longer(archive, uri, 9, change("b", "New", 0), change("a1", "Delete", 5))
    archive.remove(uri)
    with pytest.raises(ArchiveDamaged, match=r"Z-9\.json\.gz is missing"):
        replay_all(archive, warehouse)
    assert live(warehouse) == ["a0", "a2", "a3", "a4", "a5", "b"]
    assert found(warehouse) == [("missing", "9", None)]


def test_a_loaded_set_is_not_replaced_by_a_part_of_it(archive: Archive, warehouse: Engine) -> None:
    uri = archive_set(archive, 1, change("a", "Delete", 0))
    archive_longer(archive, uri, 1, change("b", "Delete", 0), change("a", "Delete", 0))
    replay_all(archive, warehouse)
    cut(path_of(uri))
    with pytest.raises(ArchiveDamaged, match="is damaged"):
        replay_all(archive, warehouse)
    registers = rows(warehouse, "SELECT asset_id, delete_position FROM asset_states ORDER BY asset_id")
    assert [tuple(row.values()) for row in registers] == [("a", 0), ("b", 1)]


def test_only_missing_is_green_where_only_a_loaded_set_is_hurt(archive: Archive, warehouse: Engine) -> None:
    uris = [archive_set(archive, number) for number in range(3)]
    longer = archive_longer(archive, uris[0], 0, change("a0", "New", 0), change("b", "New", 1))
    replay_all(archive, warehouse)
    cut(path_of(longer))
    path_of(uris[1]).unlink()
    assert replay_all(archive, warehouse, only_missing=True) == 0


# What becomes of a finding.


def test_what_is_dismissed_makes_no_replay_red(archive: Archive, warehouse: Engine) -> None:
    uris = [archive_set(archive, number) for number in range(3)]
    cut(path_of(uris[1]))
    with pytest.raises(ArchiveDamaged):
        replay_all(archive, warehouse)
    with transaction(warehouse) as connection:
        assert findings.dismiss(connection, uris[1], by="ann") == 2
    assert replay_all(archive, warehouse) == 2
    kept = rows(warehouse, "SELECT settled_by, settled_at IS NOT NULL AS is_over FROM archive_findings")
    assert kept == [{"settled_by": "ann", "is_over": True}] * 2


def test_a_restored_object_ends_its_finding_and_is_loaded(archive: Archive, warehouse: Engine) -> None:
    path = path_of([archive_set(archive, number) for number in range(3)][1])
    whole = path.read_bytes()
    cut(path)
    with pytest.raises(ArchiveDamaged):
        replay_all(archive, warehouse)
    path.write_bytes(whole)
    assert replay_all(archive, warehouse, only_missing=True) == 1
    assert live(warehouse) == ["a0", "a1", "a2"]
    assert found(warehouse) == [("damaged", "1", "restored"), ("not_in_ledger", "1", "loaded")]
    cut(path)
    with pytest.raises(ArchiveDamaged):
        replay_all(archive, warehouse)
    assert ("damaged", "1", None) in found(warehouse)


def test_a_finding_is_the_same_after_the_archive_moved(archive: Archive, warehouse: Engine, tmp_path: Path) -> None:
    uri = archive_set(archive, 1)
    cut(path_of(uri))
    with pytest.raises(ArchiveDamaged):
        replay_all(archive, warehouse)
    with transaction(warehouse) as connection:
        findings.dismiss(connection, uri, by="ann")
    (tmp_path / "archive").rename(tmp_path / "moved")
    assert replay_all(Archive(UPath(f"file://{tmp_path}/moved")), warehouse) == 0


# The comparison by name, as the watchdog makes it.


def test_the_comparison_finds_each_kind_and_sees_it_end(archive: Archive, warehouse: Engine) -> None:
    uris = [archive_set(archive, number) for number in range(3)]
    replay_all(archive, warehouse)
    assert compare(archive, warehouse) == []
    whole = path_of(uris[1]).read_bytes()
    path_of(uris[1]).unlink()
    archive_set(archive, 7)
    archive_longer(archive, uris[2], 2, change("a2", "New", 0), change("b", "Delete", 1))
    archive.write_unreadable(3001, b"[1]", received_at=NOON + timedelta(hours=2))
    assert compare(archive, warehouse) == [
        ("missing", "1"), ("not_in_ledger", "7"), ("not_in_ledger", "2"), ("unreadable", None)
    ]  # fmt: skip
    path_of(uris[1]).write_bytes(whole)
    with pytest.raises(UnreadableChangeSet):
        replay_all(archive, warehouse)
    assert compare(archive, warehouse) == [("unreadable", None)]
    assert {how for _, _, how in found(warehouse)} == {None, "restored", "loaded"}
    assert value(warehouse, "SELECT archive_checked_at > now() - interval '1 minute' FROM channels")


def test_the_comparison_sees_findings_of_other_days_end(archive: Archive, warehouse: Engine) -> None:
    path = path_of(archive_set(archive, 1))
    replay_all(archive, warehouse)
    path.rename(path.with_name("away"))
    assert compare(archive, warehouse) == [("missing", "1")]
    path.with_name("away").rename(path)
    with transaction(warehouse) as connection:
        assert compare_archive(connection, archive, 3001, since=NOON + 9 * DAYS, until=NOON + 10 * DAYS) == []


def test_another_roots_objects_are_not_missing_here(archive: Archive, warehouse: Engine, tmp_path: Path) -> None:
    archive_set(archive, 1)
    replay_all(archive, warehouse)
    assert compare(Archive(UPath(f"file://{tmp_path}/new")), warehouse) == []


def test_a_damaged_object_may_be_removed_once_its_set_is_loaded(archive: Archive, warehouse: Engine) -> None:
    uri = archive_set(archive, 1)
    replay_all(archive, warehouse)
    cut(path_of(uri))
    with pytest.raises(ArchiveDamaged):
        replay_all(archive, warehouse)
    archive.remove(uri)
    assert compare(archive, warehouse) == [("missing", "1")]
    assert found(warehouse) == [("damaged", "1", "removed"), ("missing", "1", None)]


# Several first objects of one change set.


def test_first_objects_of_several_days_are_one_set(archive: Archive, warehouse: Engine) -> None:
    first, second = change("a", "New", 0), change("b", "Delete", 1)
    archive_set(archive, 7, first, second, minutes=0)
    archive_set(archive, 7, first, change("c", "New", 2), minutes=3 * 24 * 60)
    archive_set(archive, 8, minutes=4 * 24 * 60)
    assert [len(each.objects) for each in archive.sets(3001)] == [2, 1]
    assert replay_all(archive, warehouse) == 2
    logged = rows(warehouse, "SELECT position, asset_id FROM asset_changes WHERE change_set_id = '7' ORDER BY position")
    assert [tuple(row.values()) for row in logged] == [(0, "a"), (1, "b"), (2, "c")]
    assert value(warehouse, "SELECT count(*) FROM deletions") == 1
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


@pytest.mark.parametrize("lost", ["nothing", "change_sets"])
def test_the_ledgers_own_object_is_the_first_else_the_logs(lost: str, archive: Archive, warehouse: Engine) -> None:
    own = archive_set(archive, 7, change("a", "Delete", 0), change("b", "Delete", 0), minutes=30)
    replay_all(archive, warehouse)
    archive_set(archive, 7, change("b", "Delete", 0), change("a", "Delete", 0), minutes=0)  # a worker died; equal times
    if lost == "change_sets":
        execute(warehouse, "TRUNCATE change_sets")
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0
    assert (
        value(warehouse, "SELECT count(*) FROM deletions")
        == value(warehouse, "SELECT count(*) FROM asset_changes")
        == 2
    )
    assert value(warehouse, "SELECT archive_uri FROM change_sets") == own


def test_a_span_finds_a_set_by_any_of_its_deliveries(archive: Archive) -> None:
    uri = archive_set(archive, 7, minutes=0)
    archive_longer(archive, uri, 7, change("b", "New", 1), minutes=24 * 60)
    archive_set(archive, 7, minutes=3 * 24 * 60)
    for day, count in ((0, 1), (1, 1), (2, 0), (3, 1)):
        sets = list(archive.sets(3001, since=NOON + day * DAYS, until=NOON + (day + 1) * DAYS))
        assert [len(each.objects) for each in sets] == [3] * count


def test_a_listing_forgets_what_is_out_of_reach(archive: Archive) -> None:
    for day in (0, 20, 40, 200):
        archive_set(archive, 7, minutes=day * 24 * 60)
    assert [len(each.objects) for each in archive.sets(3001)] == [2, 3, 1]


def test_an_object_out_of_reach_of_the_ledgers_own_adds_nothing(archive: Archive, warehouse: Engine) -> None:
    archive_set(archive, 7, change("a", "Delete", 0), change("b", "Delete", 0))
    replay_all(archive, warehouse)
    archive_set(archive, 7, change("b", "Delete", 0), change("a", "Delete", 0), minutes=200 * 24 * 60)
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


def test_two_replays_at_once_end_in_the_same_tables(archive: Archive, warehouse_url: URL, warehouse: Engine) -> None:
    for number in range(30):
        archive_set(
            archive, number, change(f"a{number % 7}", "New" if number % 3 else "Delete", number), minutes=number
        )
        archive_set(archive, number, change(f"b{number}", "Delete", number), minutes=number + 0.5)  # an orphan
        archive.write_unreadable(
            3001, body_of(100 + number, change(f"c{number}", "New", 0)), received_at=NOON + number * DAYS
        )
    engines = [connect(warehouse_url, schema=SCHEMA) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(replay_all, archive), engines))
    for engine in engines:
        engine.dispose()
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 90
    assert value(warehouse, "SELECT count(*) FROM deletions") == 40
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


# Evidence.


def test_a_rebuild_does_not_claim_to_know_what_was_held(archive: Archive, warehouse: Engine) -> None:
    archive_set(archive, 1, change("a", "New", 0))
    archive_set(archive, 2, change("a", "Delete", 1))
    replay_all(archive, warehouse)
    assert rows(warehouse, "SELECT was_held, is_rebuilt FROM deletions") == [{"was_held": None, "is_rebuilt": True}]
    execute(warehouse, "TRUNCATE asset_changes, deletions, asset_states, asset_metadata")  # the ledger stays
    replay_all(archive, warehouse)
    assert rows(warehouse, "SELECT was_held, is_rebuilt FROM deletions") == [{"was_held": None, "is_rebuilt": True}]
