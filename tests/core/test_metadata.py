"""Reading one asset of an answer: each column, what does not fit, and that a real Postgres takes every row."""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from asset_changes.lookup.metadata import COLUMNS, READER_VERSION, TYPES, MetadataRow, read_metadata
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

# After the one complete answer that was ever recorded in public, with its traps.
IMAGE: dict[str, Any] = {
    "id": "200559768-001",
    "title": "Runner crosses the line",
    "caption": "LONDON, ENGLAND: a runner \u2013 crosses the line",
    "artist": "A. Photographer",
    "copyright": None,
    "object_name": "76543210",
    "credit_line": "Getty Images",
    "asset_family": "editorial",
    "collection_code": "GEP",
    "collection_id": 12,
    "collection_name": "Getty Images Europe",
    "license_model": "rightsmanaged",
    "date_created": "2016-03-05T00:30:00-07:00",
    "date_submitted": "2016-03-05T07:30:01",
    "date_camera_shot": "1936-08-01T00:00:00",
    "max_dimensions": {"width": 3000, "height": 2000},
    "orientation": "Square",
    "color_type": "color",
    "graphical_style": "photography",
    "city": "London",
    "state_province": "",
    "country": "  ",
    "editorial_segments": ["sport"],
    "people": ["Jane Doe", "", None],
    "product_types": [],
    "event_ids": [3000000000, "7"],
    "editorial_source": {"id": 5, "name": "Getty Images Sport"},
    "keywords": [
        {"keyword_id": "1", "text": "running", "type": "Unknown", "relevance": None},
        {"keyword_id": "2", "type": "Unknown"},
        {"keyword_id": "3", "text": ""},
        "4",
        None,
    ],
    "alternative_ids": {},
    "call_for_image": False,
    "quality_rank": 3,
    "allowed_use": {
        "how_can_i_use_it": "Available for all permitted uses.",
        "release_info": "Not released.",
        "usage_restrictions": ["No use in Germany"],
        "editorial_use_only": True,
    },
    "is_ai_editable": True,
    "clip_length": 12.5,
    "era": "2010s",
    "something_new": {"kept": ["in raw"]},
}


def read(**members: Any) -> MetadataRow:
    """Return the row of an object with these members alone."""
    return read_metadata(members)


def column(name: str, value: Any) -> Any:
    """Return what a column holds where its member has this value."""
    return read(**{name: value}).values[name]


def test_each_member_has_its_column() -> None:
    row = read_metadata(IMAGE)
    assert row.unfit == ()
    assert tuple(row.values) == COLUMNS == tuple(TYPES)
    values = {name: value for name, value in row.values.items() if value is not None}
    assert json.loads(values.pop("keywords")) == [IMAGE["keywords"][0]]
    assert json.loads(values.pop("alternative_ids")) == {}
    as_given = {name: IMAGE[name] for name in COLUMNS if isinstance(IMAGE.get(name), str | bool)}
    del as_given["state_province"], as_given["country"]  # they are blank
    assert values == as_given | {
        "collection_id": 12,
        "quality_rank": 3,
        "date_created": datetime(2016, 3, 5, 7, 30, tzinfo=UTC),
        "date_created_text": "2016-03-05T00:30:00-07:00",
        "date_submitted": datetime(2016, 3, 5, 7, 30, 1, tzinfo=UTC),
        "date_submitted_text": "2016-03-05T07:30:01",
        "date_camera_shot": datetime(1936, 8, 1, tzinfo=UTC),
        "date_camera_shot_text": "1936-08-01T00:00:00",
        "max_width": 3000,
        "max_height": 2000,
        "editorial_segments": ["sport"],
        "people": ["Jane Doe"],
        "product_types": [],
        "event_ids": [3000000000, 7],
        "editorial_source_id": 5,
        "editorial_source_name": "Getty Images Sport",
        "how_can_i_use_it": "Available for all permitted uses.",
        "release_info": "Not released.",
        "usage_restrictions": ["No use in Germany"],
        "editorial_use_only": True,
        "clip_length": "12.5",
    }
    assert json.loads(row.raw) == IMAGE


def test_of_two_spellings_the_first_that_says_something_counts() -> None:
    found = {"title": None, "Title": "first", "TITLE": "second"}
    assert read_metadata(found).values["title"] == "first"


def test_another_spelling_of_the_members_says_the_same() -> None:
    def spelled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key.title().replace("_", ""): spelled(each) for key, each in value.items()}
        return value

    plain, other = read_metadata(IMAGE).values, read_metadata(spelled(IMAGE)).values
    assert other == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", {"text": "x"}), ("title", ["x"]), ("title", True),
        ("title", math.inf), ("title", 10**400),
        ("collection_id", 2**31), ("collection_id", "12a"), ("collection_id", 1.5), ("collection_id", True),
        ("collection_id", {}), ("collection_id", "9" * 400), ("collection_id", math.nan), ("collection_id", "\u00b2"),
        ("event_ids", [2**63]), ("event_ids", 5), ("event_ids", [None, {}]),
        ("people", "Jane"), ("people", {"a": "b"}), ("people", [["Jane"]]),
        ("keywords", {"text": "x"}), ("keywords", "x"), ("alternative_ids", []), ("alternative_ids", "x"),
        ("call_for_image", "true"), ("call_for_image", 1),
        ("date_created", "yesterday"), ("date_created", 5), ("date_created", "0001-01-01T00:00:00"),
        ("date_created", "9999-12-31T23:59:59-10:00"), ("date_created", ["2016-01-01"]),
    ],
    ids=repr,
)  # fmt: skip
def test_what_does_not_fit_is_null_and_named(name: str, value: Any) -> None:
    row = read(**{name: value, "city": "London"})
    assert row.values[name] is None
    assert name in row.unfit
    assert set(row.unfit) <= {name, f"{name}_text"}
    assert row.values["city"] == "London"
    assert name in json.loads(row.raw)


@pytest.mark.parametrize("member", ["max_dimensions", "allowed_use", "editorial_source"])
@pytest.mark.parametrize("value", [[], "x", 5, False])
def test_an_object_that_is_none_leaves_its_columns_null(member: str, value: object) -> None:
    row = read(**{member: value})
    assert set(row.values.values()) == {None}
    assert len(row.unfit) in (2, 4)


@pytest.mark.parametrize(
    ("name", "value", "read_as"),
    [
        ("title", None, None), ("title", "", None), ("title", " \n", None), ("title", 5, "5"),
        ("title", "tab\there", "tab\there"), ("title", "a\x00b", "a\ufffdb"), ("title", "cut \ud83d", "cut \ufffd"),
        ("people", ["Jane", "a\x00"], ["Jane", "a\ufffd"]),
        ("collection_id", "12", 12), ("collection_id", "", None), ("collection_id", 12.0, 12),
        ("collection_id", -1, -1),
        ("keywords", None, None), ("keywords", [], "[]"), ("keywords", [{"Text": "x"}], '[{"Text":"x"}]'),
        ("keywords", [{"text": "a\x00"}, {"text": {}}], '[{"text":"a\ufffd"}]'),
        ("people", [], []), ("people", [1], ["1"]), ("date_created", "", None),
        ("date_created", "2016-02-30T00:00:00", None),
        ("date_created", "2016-01-01T00:00:00.1234567Z", datetime(2016, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
        ("date_created", "2016-01-01", datetime(2016, 1, 1, tzinfo=UTC)),
    ],
    ids=repr,
)  # fmt: skip
def test_odd_values_are_read(name: str, value: Any, read_as: Any) -> None:
    assert column(name, value) == read_as


def test_the_text_of_a_date_that_cannot_be_read_is_kept() -> None:
    row = read(date_created="circa 1900")
    assert (row.values["date_created"], row.values["date_created_text"]) == (None, "circa 1900")
    assert row.unfit == ("date_created",)


def test_raw_is_what_jsonb_can_hold() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    row = read(
        **{
            "a\x00": "b\x00\ud800c",
            "pair": "\ud83d\ude00",
            "number": math.nan,
            "big": 10**5000,
            "deep": deep,
            "n": 10**30,
        }
    )
    raw = json.loads(row.raw)
    assert raw.pop("deep") != deep
    assert raw == {"a\ufffd": "b\ufffd\ufffdc", "pair": "\U0001f600", "number": "\ufffd", "big": "\ufffd", "n": 10**30}


def test_no_depth_is_too_deep() -> None:
    deep: Any = "x"
    for _ in range(1100):
        deep = {"text": deep}
        assert read(alternative_ids=deep, keywords=[deep]).raw


def test_the_hash_is_of_the_content() -> None:
    one = read(title="t", keywords=[{"text": "a", "keyword_id": 1}, {"text": "b"}])
    same = read(keywords=[{"text": "b"}, {"keyword_id": 1, "text": "a"}], title="t")
    assert one.content_hash == same.content_hash
    assert one.content_hash.startswith(f"{READER_VERSION}:")
    others = [read(title="u"), read(title="t"), read(title="t", something_new=1), read(title="t", people=["b", "a"])]
    assert len({one.content_hash, *(other.content_hash for other in others)}) == 5


# On a real Postgres.


@pytest.fixture
def table(warehouse: Engine) -> Iterator[Connection]:
    """A connection with a table of these columns."""
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    with warehouse.connect() as connection:
        connection.execute(text(f"CREATE TEMPORARY TABLE metadata ({columns}, raw jsonb)"))
        yield connection


def stored(connection: Connection, row: MetadataRow) -> dict[str, Any]:
    """Insert a row and return it."""
    connection.execute(text("TRUNCATE metadata"))
    values = ", ".join(f"CAST(:{name} AS {kind})" for name, kind in TYPES.items())
    connection.execute(
        text(f"INSERT INTO metadata VALUES ({values}, CAST(:raw AS jsonb))"), {**row.values, "raw": row.raw}
    )
    return dict(connection.execute(text("SELECT * FROM metadata")).mappings().one())


def test_postgres_holds_what_was_read(table: Connection) -> None:
    row = read_metadata(IMAGE)
    found = stored(table, row)
    assert found.pop("raw") == IMAGE
    as_json = {name: json.loads(row.values[name]) for name in ("keywords", "alternative_ids")}
    assert found == {**row.values, **as_json}


def test_a_caption_of_a_megabyte_is_kept(table: Connection) -> None:
    caption = "\u00e9x" * 500_000
    found = stored(table, read(caption=caption, keywords=[{"text": caption}]))
    assert found["caption"] == caption
    assert found["keywords"] == [{"text": caption}]


def test_postgres_takes_a_deep_nest(table: Connection) -> None:
    deep: Any = "x"
    for _ in range(800):
        deep = [deep]
    assert stored(table, read(alternative_ids={"a": deep}))["alternative_ids"] is not None


any_text = st.text(st.characters() | st.sampled_from("\x00\ud800\udfff\ufffd0-:"), max_size=20)
any_leaf = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | any_text
    | st.sampled_from([2**31, 2**63, 10**4000, "", "0001-01-01", "9999-12-31T23:59:59-23:59", "2016-01-01T24:00"])
    | st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-14))])).map(datetime.isoformat)
)  # fmt: skip
MEMBERS = sorted(
    {*IMAGE, "id", "width", "height", "text", "name", "keyword_id", "usage_restrictions", "Title", "TITLE", "x"}
)
any_json = st.recursive(
    any_leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS) | any_text, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.dictionaries(st.sampled_from(MEMBERS) | any_text, any_json, max_size=8))
@example(found={"keywords": None, "allowed_use": [], "max_dimensions": {"width": {}}})
def test_any_object_is_a_row_that_postgres_takes(table: Connection, found: Mapping[str, Any]) -> None:
    row = read_metadata(found)
    kept = stored(table, row)
    for name, value in row.values.items():
        if TYPES[name] == "jsonb" and value is not None:
            value = json.loads(value)
        elif isinstance(value, datetime):
            assert kept[name] is not None
            continue
        if TYPES[name] != "jsonb":
            assert kept[name] == value
    assert not set(row.unfit) & {name for name, value in row.values.items() if value is not None}
    assert read_metadata(json.loads(row.raw)).content_hash == row.content_hash
