"""How discovery keeps the list of channels: it adds, it marks, it never takes away."""

import json
from datetime import timedelta
from typing import Any

import pytest
from asset_changes.channel_registry import DEFAULT_CONN_ID, BadEntry, ChannelEntry, conn_ids, merge, read
from asset_changes.errors import ConfigurationError
from asset_changes.models import Channel
from hypothesis import given
from hypothesis import strategies as st

from tests.core.doubles import NOON

IMAGES = Channel(channel_id=3001, asset_family="Editorial", asset_type="Image")
FILM = Channel(channel_id=3003, asset_family="Editorial", asset_type="Film")
ENTRY = {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"}


def merged(
    entries: list[Any] | None,
    *found: Channel,
    asked: tuple[str, ...] = (DEFAULT_CONN_ID,),
    hours: float = 0,
    refused: tuple[int, ...] = (),
) -> list[Any]:
    """Return the list as discovery merges it, some hours after noon."""
    text = None if entries is None else json.dumps(entries)
    now = NOON + timedelta(hours=hours)
    return list(json.loads(merge(text, found=found, asked=asked, now=now, refused=refused)))


def test_a_first_discovery_writes_what_getty_lists_by_id() -> None:
    assert merged(None, FILM, IMAGES) == [ENTRY, {**ENTRY, "channel_id": 3003, "asset_type": "Film"}]


def test_what_a_user_set_survives_the_rest_is_renewed() -> None:
    mine = {"schedule": "0 * * * *", "batch_size": 100, "conn_id": "other"}
    entry = {**ENTRY, "asset_family": "Old name", **mine}
    assert merged([entry], IMAGES, asked=(DEFAULT_CONN_ID, "other")) == [{**ENTRY, **mine}]


def test_a_channel_that_one_list_lacks_is_missing_and_read() -> None:
    once = merged([ENTRY], FILM)
    assert once[0] == {**ENTRY, "missing_since": NOON.isoformat()}
    assert merged(once, FILM, hours=23.9) == once
    [entry, _] = read(json.dumps(once))
    assert isinstance(entry, ChannelEntry)
    assert (entry.missing_since, entry.retired_at) == (NOON.isoformat(), None)


def test_a_second_list_a_day_later_retires_a_channel() -> None:
    missing = merged([ENTRY], FILM)
    retired = merged(missing, FILM, hours=24)
    assert retired[0] == {**missing[0], "retired_at": "2026-03-02T12:00:00+00:00"}
    assert merged(retired, FILM, hours=100) == retired


def test_an_empty_list_makes_every_channel_missing() -> None:
    both = merged(None, IMAGES, FILM)
    assert merged(both) == [{**each, "missing_since": NOON.isoformat()} for each in both]


def test_a_refused_put_retires_a_channel_at_once() -> None:
    [entry] = merged([ENTRY], refused=(3001,))
    assert entry == {**ENTRY, "missing_since": NOON.isoformat(), "retired_at": NOON.isoformat()}


def test_a_refused_put_retires_no_channel_that_is_listed() -> None:
    assert merged([ENTRY], IMAGES, refused=(3001,)) == [ENTRY]


def test_a_channel_that_is_listed_again_is_read_again() -> None:
    marks = {"missing_since": "2026-01-31T00:00:00+00:00", "retired_at": "2026-02-01T00:00:00+00:00"}
    assert merged([{**ENTRY, **marks, "batch_size": 5}], IMAGES) == [{**ENTRY, "batch_size": 5}]


@pytest.mark.parametrize("written", ["yesterday", 5, "", ["x"], "0000-00-00"])
def test_a_missing_since_that_is_no_time_begins_anew(written: object) -> None:
    assert merged([{**ENTRY, "missing_since": written}], FILM)[0] == {**ENTRY, "missing_since": NOON.isoformat()}


def test_a_missing_since_without_a_zone_is_utc() -> None:
    assert "retired_at" in merged([{**ENTRY, "missing_since": "2026-03-01T12:00:00"}], FILM, hours=24)[0]


def test_a_connection_that_was_not_asked_misses_no_channel() -> None:
    other = {**ENTRY, "conn_id": "other"}
    assert merged([other], FILM)[0] == other
    assert "missing_since" in merged([other], FILM, asked=("other",))[0]


def test_an_entry_that_cannot_be_used_stays_as_it_is() -> None:
    bad = [None, "nonsense", {"channel_id": "x"}, {**ENTRY, "batch_size": "x"}]
    kept = merged(bad, IMAGES)
    assert all(each in kept for each in bad)
    assert len(kept) == 4


def test_merging_what_is_merged_changes_nothing() -> None:
    text = merge(None, found=[IMAGES, FILM], asked=[DEFAULT_CONN_ID], now=NOON)
    for written in (text, json.dumps(json.loads(text)), json.dumps(json.loads(text)[::-1])):
        assert merge(written, found=[IMAGES, FILM], asked=[DEFAULT_CONN_ID], now=NOON) == written


def test_a_list_that_is_none_is_not_overwritten() -> None:
    with pytest.raises(ConfigurationError, match="is no JSON list: correct it under Admin > Variables"):
        merge("nonsense", found=[IMAGES], asked=[DEFAULT_CONN_ID], now=NOON)


_values = st.none() | st.booleans() | st.integers(-5, 6) | st.sampled_from(["", "x", "0 * * * *", DEFAULT_CONN_ID])
_entries = st.dictionaries(
    st.sampled_from(
        [
            "channel_id",
            "asset_family",
            "asset_type",
            "missing_since",
            "retired_at",
            "schedule",
            "batch_size",
            "conn_id",
            "q",
        ]
    ),
    _values | st.lists(_values, max_size=2) | st.dictionaries(st.just("a"), _values, max_size=1),
)


@given(st.lists(_values | _entries, max_size=5), st.sets(st.integers(1, 6), max_size=3))
def test_whatever_the_list_holds_no_channel_is_lost(entries: list[Any], listed: set[int]) -> None:
    """Every other channel is read."""
    found = [Channel(channel_id=number, asset_family="Creative", asset_type="Film") for number in listed]
    kept = merged(entries, *found)

    numbers = {json.dumps(each.get("channel_id")) for each in entries if isinstance(each, dict)}
    assert {json.dumps(each.get("channel_id")) for each in kept if isinstance(each, dict)} >= numbers
    listed_again = read(json.dumps(kept))
    assert len(listed_again) == len(kept)
    assert {each.channel.channel_id for each in listed_again if isinstance(each, ChannelEntry)} <= {
        each["channel_id"] for each in kept if isinstance(each, dict) and isinstance(each.get("channel_id"), int)
    }
    assert all(each.reason for each in listed_again if isinstance(each, BadEntry))


def test_both_entries_of_a_channel_stay() -> None:
    """A channel that is in the list twice keeps both entries, for the user to choose."""
    twice = [{**ENTRY, "batch_size": 5}, {**ENTRY, "batch_size": 7}]
    kept = merged(twice, IMAGES)
    assert [each["batch_size"] for each in kept] == [5, 7]


def test_discovery_asks_the_default_connection_first() -> None:
    """Those of the entries follow."""
    entries = [{**ENTRY, "conn_id": "b"}, {**ENTRY, "channel_id": 1, "conn_id": "a"}, "nonsense"]
    assert list(conn_ids(json.dumps(entries))) == [DEFAULT_CONN_ID, "a", "b"]
    assert list(conn_ids(None)) == [DEFAULT_CONN_ID]


def test_a_connection_must_answer_while_its_channel_is_read() -> None:
    retired = {**ENTRY, "retired_at": "2026-01-01T00:00:00Z"}
    entries = [
        {**retired, "conn_id": "ended"},
        {**retired, "channel_id": 1, "conn_id": "mixed"},
        {**ENTRY, "channel_id": 2, "conn_id": "mixed"},
        {**retired, "channel_id": 3},
    ]
    assert conn_ids(json.dumps(entries)) == {DEFAULT_CONN_ID: True, "ended": False, "mixed": True}
