"""Lists of what the company holds: how they are read, what they change, which are refused; on a real warehouse."""

import gzip
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asset_changes.errors import ArchiveUnavailable, ConfigurationError, HoldingsRefused
from asset_changes.removal.holdings import HoldingsList, read_id
from asset_changes.removal.import_list import ImportRunning, import_list, summary
from asset_changes.settings import Settings
from asset_changes.warehouse import holdings
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.holdings import HoldingImport
from sqlalchemy import Engine, text
from upath import UPath

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
Import = Callable[..., HoldingImport]


@pytest.fixture
def bring(tmp_path: Path, warehouse: Engine) -> Import:
    """Import a list of this content as the source `dam`."""

    def bring(content: str | bytes, *, day: int = 0, column: str | int | None = None, **more: Any) -> HoldingImport:
        file = tmp_path / "list.csv"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        source, now = more.pop("source", "dam"), NOON + timedelta(days=day)
        return import_list(warehouse, lambda: HoldingsList(UPath(file), column=column), source=source, now=now, **more)

    return bring


def rows(warehouse: Engine, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with warehouse.begin() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def held_ids(warehouse: Engine) -> list[str]:
    """Return the ids that are held."""
    return [row[0] for row in rows(warehouse, "SELECT asset_id FROM held_assets WHERE held_until IS NULL ORDER BY 1")]


def listed(*ids: int) -> str:
    """Return a list of these ids."""
    return "asset_id\n" + "".join(f"{each}\n" for each in ids)


@pytest.mark.parametrize(
    ("cell", "asset_id"),
    [
        ("123456789", "123456789"),
        ("GettyImages-123456789.jpg", "123456789"),
        ("s3/images/gettyimages-123456789-612x612.JPG", "123456789"),
        ("GettyImages-123456789 (1).jpg", "123456789"),
        ("GettyImages-sb10069764aj-001.jpg", "sb10069764aj-001"),
        ("sb10069764aj-001", "sb10069764aj-001"),
        ("C:\\photos\\GettyImages-1.mp4", "1"),
        ("images%2Fa+b%2FGettyImages-77.jpg", "77"),
        ("images/123.jpg", "123"),
        ("asset_id", None),
        ("1.23E+09", None),
        ("", None),
        ("12 34", None),
        ("h\udce9 1", None),
    ],
)
def test_an_id_is_read_from_a_cell(cell: str, asset_id: str | None) -> None:
    assert read_id(cell) == asset_id


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("asset_id\n1\n2\n3\n", None),
        ("1\n2\n3", None),
        ("\ufeffName;Asset_ID\r\na;1\r\nb;2\r\n\r\nc;3\r\n", None),
        ('name\tgetty\na\t1\nb\t2\n"c\nd"\t3\n', "Getty"),
        (
            '"bucket","images/GettyImages-1.jpg"\n"bucket","images/GettyImages-2.jpg"\n"bucket","a+b/GettyImages-3.jpg"',
            2,
        ),
        ('"bucket","images/GettyImages-1.jpg"\n"bucket","2.jpg"\n"bucket","3"', "2"),
        (gzip.compress(b"asset_id\n1\n2\n3\n", mtime=0), None),
        ("name;id\nK\xf6ln;1\nBonn;2\nM\xfcnchen;3\n".encode("latin-1"), None),
    ],
)
def test_a_list_is_read_in_its_form(
    content: str | bytes, column: str | int | None, bring: Import, warehouse: Engine
) -> None:
    done = bring(content, column=column)
    assert held_ids(warehouse) == ["1", "2", "3"]
    assert (done.row_count, done.unreadable_count, done.new_held_count, done.held_count) == (3, 0, 3, 3)
    assert done.sha256
    assert done.byte_count == len(content.encode() if isinstance(content, str) else content)


def test_type_and_location_come_along(bring: Import, warehouse: Engine) -> None:
    bring("asset_type,file\nImage,x/GettyImages-1.jpg\n,2\n")
    assert rows(warehouse, "SELECT asset_id, asset_type, location FROM held_assets ORDER BY 1") == [
        ("1", "Image", "x/GettyImages-1.jpg"),
        ("2", None, None),
    ]


def test_a_sound_file_without_a_type_is_music(bring: Import, warehouse: Engine) -> None:
    bring("asset_type,file\nImage,x/GettyImages-1.mp3\n,GettyImages-2.WAV\n,3.jpg\n")
    found = rows(warehouse, "SELECT asset_id, asset_type FROM held_assets ORDER BY 1")
    assert found == [("1", "Image"), ("2", "Music"), ("3", None)]


def test_unreadable_lines_are_named_and_the_rest_is_loaded(bring: Import, warehouse: Engine) -> None:
    """A stray quote costs its own line, not all that follow."""
    done = bring('id,title\n1,a\n,none\n3,c\n4,"stray\n5,e\n6,"f"\n7.5,g\n8,h\n')
    assert held_ids(warehouse) == ["1", "3", "5", "6", "8"]
    assert done.unreadable_lines == (3, 5, 8)
    assert "unreadable=3 (lines 3, 5, 8)" in summary(done)
    assert rows(warehouse, "SELECT unreadable_count, unreadable_lines FROM holding_imports") == [(3, [3, 5, 8])]


@pytest.mark.parametrize(
    ("content", "column", "says"),
    [
        ("name,size\na,b\nc,d\n", "getty_id", "has no column 'getty_id': its columns are 1 'name', 2 'size'."),
        ("name,size\na,b\n", 3, "has no column 3: its columns are 1 'name', 2 'size'."),
        ("name,size\na,1\n", None, "does not show which column holds the ids: its columns are 1 'name', 2 'size'."),
        ("name,size\na,b\nc,d\n", "name", "column 1 has no id of an asset in 2 of 2 lines: its columns are 1 'name'"),
        (
            "id,name\n1,b\n".encode("utf-16"),
            None,
            "is in UTF-16: export it as UTF-8. Its columns are 1 'id', 2 'name'.",
        ),
        (b"PK\x03\x04\x00\x00xl/workbook", None, "is a binary file, without columns: export it as CSV in UTF-8."),
        (gzip.compress(b"asset_id\n" + bytes(range(48, 58)) * 999, mtime=0)[:-20], None, "is compressed and damaged"),
        (f"id,{'x' * 140_000}\n1,2\n", None, "The first line of the list"),
    ],
)
def test_what_is_no_list_is_refused_in_a_sentence(
    content: str | bytes, column: str | int | None, says: str, bring: Import, warehouse: Engine
) -> None:
    with pytest.raises(HoldingsRefused) as refused:
        bring(content, column=column)
    assert says in str(refused.value)
    assert rows(warehouse, "SELECT refused_why, held_count FROM holding_imports") == [(str(refused.value), 0)]
    assert held_ids(warehouse) == []


def test_only_differences_are_written(bring: Import, warehouse: Engine) -> None:
    bring("id,location\n" + "".join(f"{each},a\n" for each in range(100)))
    before = dict(rows(warehouse, "SELECT asset_id, xmin::text FROM held_assets"))
    done = bring(
        "id,location\n" + "".join(f"{each},{'b' if each == 7 else 'a'}\n" for each in [*range(1, 101), 5]), day=1
    )
    after = dict(rows(warehouse, "SELECT asset_id, xmin::text FROM held_assets"))
    assert {each for each in after if before.get(each) != after[each]} == {"0", "7", "100"}
    assert (done.new_held_count, done.changed_count, done.ended_count, done.unchanged_count) == (1, 1, 1, 98)
    assert (done.row_count, done.held_count) == (101, 100)
    again = bring("id,location\n" + "".join(f"{each},{'b' if each == 7 else 'a'}\n" for each in range(1, 101)), day=2)
    assert (again.new_held_count, again.changed_count, again.ended_count, again.unchanged_count) == (0, 0, 0, 100)


def test_an_asset_that_comes_back_begins_a_new_period(bring: Import, warehouse: Engine) -> None:
    query = "SELECT held_since, held_until FROM held_assets WHERE asset_id = '1'"
    bring(listed(*range(1, 41)))
    bring(listed(*range(2, 41)), day=1)
    assert rows(warehouse, query) == [(NOON, NOON + timedelta(days=1))]
    bring(listed(*range(1, 41)), day=2)
    assert rows(warehouse, query) == [(NOON + timedelta(days=2), None)]


@pytest.mark.parametrize(("content", "ended"), [("", 20), ("asset_id\n", 20), (listed(*range(8)), 12)])
def test_a_list_that_is_too_short_is_refused(content: str, ended: int, bring: Import, warehouse: Engine) -> None:
    """It names the number that `accept_shrink` would need, and takes no other."""
    bring(listed(*range(20)))
    for given in (None, ended + 1):
        with pytest.raises(
            HoldingsRefused, match=rf"would end {ended} of 20 .*`accept_shrink` would need to be {ended}\."
        ):
            bring(content, accept_shrink=given)
    assert len(held_ids(warehouse)) == 20
    assert (
        rows(warehouse, "SELECT held_count, ended_count FROM holding_imports WHERE refused_why <> ''")
        == [(20, ended)] * 2
    )
    done = bring(content, accept_shrink=ended, day=1)
    assert (len(held_ids(warehouse)), done.held_count, done.accept_shrink) == (20 - ended, 20 - ended, ended)
    assert rows(warehouse, "SELECT count(*) FROM held_assets") == [(20,)]


def test_one_asset_in_twenty_may_end_at_once(bring: Import, warehouse: Engine) -> None:
    bring(listed(*range(20)))
    assert bring(listed(*range(19))).ended_count == 1


def test_sources_do_not_end_each_other(bring: Import, warehouse: Engine) -> None:
    bring(listed(1, 2))
    bring(listed(3), source="archive")
    assert held_ids(warehouse) == ["1", "2", "3"]
    with transaction(warehouse) as connection:
        assert [(each.source, each.held_count) for each in holdings.source_statuses(connection)] == [
            ("archive", 1),
            ("dam", 2),
        ]


def test_a_refused_list_is_shown_with_what_is_held(bring: Import, warehouse: Engine) -> None:
    bring(listed(1, 2))
    with pytest.raises(HoldingsRefused):
        bring("", day=1)
    with transaction(warehouse) as connection:
        (status,) = holdings.source_statuses(connection)
    assert (status.held_count, status.new_held_count) == (2, 2)
    assert "is empty" in (status.refused_why or "")


def test_a_second_import_of_a_source_does_not_wait(bring: Import, warehouse: Engine) -> None:
    with warehouse.begin() as first:
        assert holdings.lock_source(first, "dam")
        with pytest.raises(ImportRunning, match="Another import of 'dam'"):
            bring(listed(1))
        bring(listed(2), source="archive")
    assert held_ids(warehouse) == ["2"]


def test_a_store_that_does_not_answer_changes_nothing(bring: Import, warehouse: Engine, tmp_path: Path) -> None:
    bring(listed(1))
    with pytest.raises(ArchiveUnavailable, match="cannot be read"):
        import_list(warehouse, lambda: HoldingsList(UPath(tmp_path)), source="dam", now=NOON)
    with pytest.raises(HoldingsRefused, match="There is no list"):
        import_list(warehouse, lambda: HoldingsList(UPath(tmp_path / "none")), source="dam", now=NOON)
    assert held_ids(warehouse) == ["1"]


def test_reading_needs_the_same_memory_for_any_length(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        file = tmp_path / "long.csv.gz"
        file.write_bytes(gzip.compress(listed(*range(count)).encode(), 1))
        tracemalloc.start()
        assert sum(1 for _ in HoldingsList(UPath(file)).assets()) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(200_000) < peak(20_000) + 100_000


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("dam.csv", "is not JSON"),
        ('{"source": "dam"}', "is not a list"),
        ('[{"source": "dam"}]', "entry 1 of ASSET_CHANGES_HOLDINGS is not of the form"),
        ('[{"source": "dam", "uri": "file:///a", "row": 1}]', "is not of the form"),
        ('[{"source": "d m", "uri": "file:///a"}]', "`source`"),
        ('[{"source": "dam", "uri": "/a.csv"}]', "`uri` that is no address"),
        ('[{"source": "dam", "uri": "s3://key:secret@bucket/a"}]', "holds a password"),
        ('[{"source": "dam", "uri": "file:///a", "column": 0}]', "`column`"),
        ('[{"source": "dam", "uri": "file:///a", "column": true}]', "`column`"),
        ('[{"source": "dam", "uri": "file:///a", "conn_id": 1}]', "`conn_id`"),
        ('[{"source": "dam", "uri": "file:///a"}, {"source": "dam", "uri": "file:///b"}]', "names dam twice"),
    ],
)
def test_a_wrong_setting_of_holdings_is_named(value: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment({"ASSET_CHANGES_ARCHIVE_URI": "file:///a", "ASSET_CHANGES_HOLDINGS": value})
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_import_counts_what_is_held_and_must_be_removed(bring: Import, warehouse: Engine) -> None:
    bring(listed(1, 2))
    bring(listed(1, 2, 3), source="web")
    assert rows(warehouse, "SELECT source, held_count, deleted_count FROM holding_counts ORDER BY 1") == [
        ("dam", 2, 0),
        ("web", 3, 0),
    ]
