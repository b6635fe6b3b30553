"""The default feed: the same every time, ascending, and as nasty as the guide and more."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from getty_sandbox import Options
from getty_sandbox.backlog import make_backlog
from getty_sandbox.decode import read_id, read_time
from getty_sandbox.encode import Message, microseconds, to_datetime

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=10)
SIBLINGS = {3001: 3003, 3003: 3001, 3002: 3004, 3004: 3002}
UPSERTS = ("New", "Update")
Backlog = dict[int, list[Message]]
Feed = dict[int, list[tuple[Any, datetime]]]


@pytest.fixture(scope="module")
def backlog() -> Backlog:
    return make_backlog(Options(start=START), START)


@pytest.fixture(scope="module")
def feed(backlog: Backlog) -> Feed:
    """Per channel the parsed messages, each with the time that it means."""
    return {
        channel_id: [(json.loads(m.body), to_datetime(m.published_us)) for m in messages]
        for channel_id, messages in backlog.items()
    }


def meaning(messages: Sequence[tuple[Any, datetime]]) -> Iterator[tuple[str, str, datetime]]:
    """What valid messages mean: asset id, lifecycle, time."""
    words = {"new": "New", "update": "Update", "updated": "Update", "delete": "Delete", "deleted": "Delete"}
    for message, at in messages:
        asset_id, lifecycle = read_id(message["id"]), words.get(message["asset_lifecycle"].lower())
        if asset_id and lifecycle:
            yield asset_id, lifecycle, at


def by_asset(messages: Sequence[tuple[Any, datetime]]) -> dict[str, list[tuple[str, datetime]]]:
    found: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
    for asset_id, lifecycle, at in meaning(messages):
        found[asset_id].append((lifecycle, at))
    return found


def test_the_same_seed_and_start_give_the_same_bytes() -> None:
    first, second = (make_backlog(Options(changes_per_channel=2500), START) for _ in range(2))
    assert first == second


def test_another_seed_gives_another_feed() -> None:
    first, second = (make_backlog(Options(changes_per_channel=500, seed=seed), START) for seed in (1, 2))
    assert first != second


def test_a_later_start_moves_the_feed_and_nothing_else(backlog: Backlog) -> None:
    small = Options(changes_per_channel=300)
    first, second = (make_backlog(small, START + timedelta(days=days)) for days in (0, 3))
    for one, other in zip(first[3001], second[3001], strict=True):
        assert other.published_us - one.published_us == timedelta(days=3).total_seconds() * 1e6


@pytest.mark.parametrize("size", [1, 7, 100, 2201])
def test_a_channel_has_exactly_as_many_changes_as_asked(size: int) -> None:
    made = make_backlog(Options(changes_per_channel=size), START)
    assert {len(messages) for messages in made.values()} == {size}


def test_times_ascend_within_a_channel_and_stay_in_the_span(backlog: Backlog) -> None:
    for messages in backlog.values():
        times = [m.published_us for m in messages]
        assert times == sorted(times)
        assert microseconds(START) - 1_000_000 <= times[0]
        assert times[-1] <= microseconds(END)


def test_a_time_that_can_be_read_says_what_was_meant(feed: Feed) -> None:
    read: Counter[bool] = Counter()
    for messages in feed.values():
        for message, at in messages:
            time = read_time(message.get("asset_changed_utc_datetime"), END)
            assert time in (None, at)
            read[time is not None] += 1
    assert read[False] < 0.01 * read[True]


def test_times_come_with_every_zone_and_every_number_of_digits(feed: Feed) -> None:
    texts = [m.get("asset_changed_utc_datetime") for messages in feed.values() for m, _ in messages]
    texts = [text for text in texts if isinstance(text, str)]
    digits = Counter(len(text[20:].rstrip("Z").split("+")[0].split("-")[0]) for text in texts if text[10:11] == "T")
    assert set(range(8)) <= set(digits)
    assert any(text.endswith("Z") for text in texts)
    assert any(text.endswith("+05:30") for text in texts)
    assert any(text.endswith("-08:00") for text in texts)
    assert any(text[19:] == "" for text in texts)


def test_some_times_are_missing_or_absurd(feed: Feed) -> None:
    prefixes = Counter(
        str(m.get("asset_changed_utc_datetime", "absent"))[:4] for messages in feed.values() for m, _ in messages
    )
    assert {"abse", "None", "", "yest", "0001", "1970", "9999"} <= set(prefixes)


def test_ids_come_in_every_form(feed: Feed) -> None:
    ids = [m["id"] for messages in feed.values() for m, _ in messages]
    texts = [i for i in ids if isinstance(i, str)]
    assert any(isinstance(i, int) for i in ids)
    assert sum(i.strip().replace("-", "").isdecimal() and "-" in i for i in texts) > 1000
    assert any(i != i.strip() and i.strip() for i in texts)
    assert any("drop table" in i for i in texts)
    assert any(not i.isascii() for i in texts)
    assert any(len(i) == 255 for i in texts)
    assert {"NA", "null", "\\N"} & set(texts)


def test_unusable_ids_and_unknown_lifecycles_are_rare_but_there(feed: Feed) -> None:
    messages = [m for changes in feed.values() for m, _ in changes]
    unusable = [m["id"] for m in messages if read_id(m["id"]) is None]
    assert {None, "", "   ", "\0"} <= set(unusable)
    assert any(len(i) > 255 for i in unusable if i)
    assert 10 < len(unusable) < 200
    assert 10 < sum(m["asset_lifecycle"] == "Archive" for m in messages) < 200


def test_lifecycles_and_types_are_spelled_in_several_ways(feed: Feed) -> None:
    messages = [m for changes in feed.values() for m, _ in changes]
    lifecycles = {m["asset_lifecycle"] for m in messages}
    assert {"New", "Update", "Delete", "Updated", "Deleted", "DELETE", "new"} <= lifecycles
    assert {"Image", "Film", "Music", None} == {m["asset_type"] for m in messages}
    assert any(m["asset_type"] is None and m["asset_lifecycle"] == "Update" for m in messages)


def test_addresses_come_mostly_with_new_assets(feed: Feed) -> None:
    messages = [m for changes in feed.values() for m, _ in changes]
    with_address = Counter(m["asset_lifecycle"] for m in messages if m["uri"])
    assert with_address["New"] > 0.9 * with_address.total()


def test_assets_come_back_and_change_before_they_are_new(feed: Feed) -> None:
    seen: Counter[str] = Counter()
    for messages in feed.values():
        for changes in by_asset(messages).values():
            lifecycles = [lifecycle for lifecycle, _ in changes]
            seen["update before new"] += lifecycles[:2] == ["Update", "New"]
            seen["unknown delete"] += lifecycles == ["Delete"]
            seen["back again"] += ("Delete", "New") in pairwise(lifecycles)
            seen["deleted twice"] += ("Delete", "Delete") in pairwise(lifecycles)
            ties = {at for lifecycle, at in changes if lifecycle == "Delete"}
            seen["tie"] += any(at in ties for lifecycle, at in changes if lifecycle in UPSERTS)
    assert all(seen[name] > 50 for name in seen), seen
    assert len(seen) == 5


def test_one_asset_changes_several_times_in_one_set(feed: Feed) -> None:
    for messages in feed.values():
        assert max(len(changes) for changes in by_asset(messages[:2200]).values()) >= 4


def test_the_sibling_repeats_deletes_with_a_null_type(feed: Feed) -> None:
    repeated = 0
    for channel_id, messages in feed.items():
        own = by_asset(messages)
        for message, _ in feed[SIBLINGS[channel_id]]:
            changes = own.get(read_id(message["id"]) or "", [])
            if message["asset_type"] is None and message["asset_lifecycle"].lower().startswith("delete"):
                repeated += any(lifecycle == "Delete" for lifecycle, _ in changes)
    assert repeated > 400


def test_a_siblings_deletes_are_read_before_older_updates(feed: Feed) -> None:
    """Reading the channels in turns, set by set: what a careless upsert would resurrect."""
    deleted, risen = {}, set()
    for first in range(0, 20_000, 2200):
        for channel_id, messages in feed.items():
            for asset_id, lifecycle, at in meaning(messages[first : first + 2200]):
                if lifecycle == "Delete":
                    deleted[asset_id] = (at, channel_id)
                elif asset_id in deleted and at < deleted[asset_id][0] and channel_id != deleted[asset_id][1]:
                    risen.add(asset_id)
    assert len(risen) > 100


def test_some_assets_move_to_the_channel_of_another_family(feed: Feed) -> None:
    upserted = {
        channel_id: {a for a, changes in by_asset(messages).items() if any(lc in UPSERTS for lc, _ in changes)}
        for channel_id, messages in feed.items()
    }
    assert len(upserted[3001] & upserted[3002]) > 50
    assert not upserted[3001] & upserted[3003]


def test_a_feed_without_nastiness_is_clean() -> None:
    made = make_backlog(Options(nastiness=0, changes_per_channel=3000), START)
    for messages in made.values():
        for message in map(json.loads, (m.body for m in messages)):
            assert message["asset_lifecycle"] in ("New", "Update", "Delete")
            assert message["id"].replace("-", "").isdecimal()
            assert read_time(message["asset_changed_utc_datetime"], END)
