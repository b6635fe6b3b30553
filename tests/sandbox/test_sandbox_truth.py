"""The truth, on examples small enough to work out by hand."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from getty_sandbox import Channel
from getty_sandbox.decode import DeliveredSet, read_id, read_time
from getty_sandbox.truth import truth_of

from tests.sandbox.conftest import MakeChange, OpenSandbox

IMAGES = Channel(3001, "Editorial", "Image")
FILMS = Channel(3003, "Editorial", "Film")
FETCHED = datetime(2026, 2, 1, 12, tzinfo=UTC)
DAY = "2026-01-01T00:00:0"


def given(*messages: Any, change_set_id: str = "10", channel: Channel = IMAGES) -> DeliveredSet:
    return DeliveredSet(channel, change_set_id, FETCHED, json.dumps(messages).encode())


def after(*sets: DeliveredSet) -> dict[str, Any]:
    truth = truth_of([IMAGES, FILMS], sets)
    return truth | {"states": {row["asset_id"]: row for row in truth["asset_states"]}}


def live(truth: dict[str, Any]) -> list[str]:
    return [row["asset_id"] for row in truth["assets"]]


def counts(truth: dict[str, Any], channel_id: str = "3001") -> dict[str, int]:
    return {name: n for name, n in truth["channels"][channel_id].items() if n}


@pytest.mark.parametrize(
    ("value", "asset_id"),
    [
        ("1", "1"), (" 1-a ", "1-a"), (17, "17"), (0, "0"), ("x" * 255, "x" * 255),
        ("'; drop table", "'; drop table"),
        (None, None), ("", None), ("  ", None), ("x" * 256, None), ("a\0b", None),
        ("a\x07", None), ("a\tb", None),
        (True, None), (1.5, None), (["1"], None),
    ],
)  # fmt: skip
def test_an_id_is_stripped_text_without_control_characters(value: Any, asset_id: Any) -> None:
    assert read_id(value) == asset_id


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-01-01T10:00:00", "2026-01-01T10:00:00.000000"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00.000000"),
        ("2026-01-01T10:00:00.1Z", "2026-01-01T10:00:00.100000"),
        ("2026-01-01T10:00:00.9999999Z", "2026-01-01T10:00:00.999999"),
        ("2026-01-01T10:00:00+05:30", "2026-01-01T04:30:00.000000"),
        ("2025-12-31T22:00:00-08:00", "2026-01-01T06:00:00.000000"),
        ("2026-02-01T13:00:00Z", "2026-02-01T13:00:00.000000"),
        ("2026-02-01T13:00:00.000001Z", None),
        ("1999-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("2026-13-45T10:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (0, None),
    ],
)
def test_a_time_is_cut_to_microseconds_and_utc_without_a_zone(text: Any, read: Any) -> None:
    time = read_time(text, FETCHED)
    assert (time and time.isoformat(timespec="microseconds")) == (read and read + "+00:00")


def test_an_asset_is_live_if_its_upsert_beats_its_delete(change: MakeChange) -> None:
    new, delete, again = change(at=DAY + "1"), change("1", "Delete", DAY + "2"), change(at=DAY + "3")
    assert live(after(given(new))) == ["1"]
    assert live(after(given(new, delete))) == []
    assert live(after(given(new, delete, again))) == ["1"]


def test_on_equal_times_the_delete_wins(change: MakeChange) -> None:
    update, delete = change("1", "Update", DAY + "1.1234567"), change("1", "Delete", DAY + "1.1234561")
    assert live(after(given(update, delete))) == live(after(given(delete, update))) == []


def test_an_older_update_does_not_undo_a_siblings_delete(change: MakeChange) -> None:
    deleted = given(change("1", "Delete", DAY + "5", asset_type=None), change_set_id="11", channel=FILMS)
    updated = given(change("1", "Update", DAY + "4"), change_set_id="12")
    assert after(deleted, updated)["asset_states"] == after(updated, deleted)["asset_states"]
    truth = after(deleted, updated)
    assert live(truth) == []
    assert truth["states"]["1"] == {
        "asset_id": "1", "asset_type": "Image", "asset_family": "Editorial", "channel_id": 3001,
        "asset_lifecycle": "Update",
        "upserted_at": "2026-01-01T00:00:04.000000+00:00", "upsert_change_set_id": "12", "upsert_position": 0,
        "deleted_at": "2026-01-01T00:00:05.000000+00:00", "delete_change_set_id": "11", "delete_position": 0,
    }  # fmt: skip


def test_equal_times_go_by_id_length_id_text_and_position(change: MakeChange) -> None:
    sets = [
        given(change(at=DAY + "1", asset_type=name), change(at=DAY + "1", asset_type=name), change_set_id=name)
        for name in ("9", "10", "11")
    ]
    state = after(*reversed(sets))["states"]["1"]
    assert (state["upsert_change_set_id"], state["upsert_position"]) == ("11", 1)


def test_a_delete_of_an_unknown_asset_is_a_tombstone(change: MakeChange) -> None:
    truth = after(given(change("1", "Deleted", DAY + "1", asset_type=None), channel=FILMS))
    state = truth["states"]["1"]
    assert (state["asset_type"], state["channel_id"], state["asset_lifecycle"]) == (None, 3003, None)
    assert [row["asset_id"] for row in truth["deleted_assets"]] == ["1"]
    assert counts(truth, "3003") == {"sets": 1, "changes": 1, "delete": 1}


def test_a_null_type_of_an_upsert_is_its_channels(change: MakeChange) -> None:
    truth = after(given(change("1", asset_type=None), change("2", asset_type="Music")))
    assert [row["asset_type"] for row in truth["assets"]] == ["Image", "Music"]


def test_unusable_messages_are_rejected_and_the_rest_counts(change: MakeChange) -> None:
    messages = [change(None), change("1", "Archive"), "text", 7, change("2"), change("3", "UPDATED")]
    truth = after(given(*messages))
    assert counts(truth) == {"sets": 1, "changes": 6, "new": 1, "update": 1, "rejected": 4}
    assert live(truth) == ["2", "3"]
    assert [row["upsert_position"] for row in truth["asset_states"]] == [4, 5]


def test_one_change_per_asset_and_set_wins(change: MakeChange) -> None:
    truth = after(
        given(change(at=DAY + "1"), change("1", "Update", DAY + "2"), change("1", "Delete", DAY + "2")),
        given(change("1", "Update", DAY + "0"), change_set_id="11"),
    )
    assert counts(truth) == {"sets": 2, "changes": 4, "update": 1, "delete": 1, "superseded": 2}
    assert [row["superseded_count"] for row in truth["change_sets"]] == [2, 0]


def test_a_message_without_a_time_takes_that_of_its_neighbour(change: MakeChange) -> None:
    truth = after(given(change("1", at=None), change("2", at=DAY + "3"), change("3", at="1970-01-01T00:00:00Z")))
    assert {row["changed_at"] for row in truth["assets"]} == {"2026-01-01T00:00:03.000000+00:00"}


def test_without_any_time_only_a_delete_is_accepted(change: MakeChange) -> None:
    truth = after(given(change("1", at=""), change("2", "Delete", at=None)))
    assert counts(truth) == {"sets": 1, "changes": 2, "delete": 1, "rejected": 1}
    assert truth["states"]["2"]["deleted_at"] == "2026-02-01T12:00:00.000000+00:00"


def test_the_log_has_valid_messages_and_rejects_their_reasons(change: MakeChange) -> None:
    untimed = change("4", "Delete", at=None, asset_type=None)
    rejected = ["text", change(None), change("3", "Archive")]
    truth = after(given(change("1", "Updated", DAY + "1", uri="https://e/1"), untimed, *rejected))
    where = {"channel_id": 3001, "change_set_id": "10"}
    names = ("position", "asset_id", "asset_lifecycle", "asset_type", "changed_at", "is_time_inferred", "uri")
    rows = [
        (0, "1", "Update", "Image", DAY + "1.000000+00:00", False, "https://e/1"),
        (1, "4", "Delete", None, DAY + "0.000000+00:00", True, None),  # the next time, that of a rejected message
    ]
    assert truth["asset_changes"] == [where | dict(zip(names, row, strict=True)) for row in rows]
    reasons = [tuple(row.values())[2:6] for row in truth["rejected_changes"]]
    assert reasons == [
        (2, "not_an_object", None, None), (3, "unusable_id", None, "New"), (4, "unknown_lifecycle", "3", None),
    ]  # fmt: skip
    assert [json.loads(row["raw"]) for row in truth["rejected_changes"]] == rejected


def test_was_held_is_given_only_where_it_is_certain(change: MakeChange) -> None:
    sets = [
        given(change("1", at=DAY + "1"), change("2", at=DAY + "1"), change("3", at=DAY + "1")),
        given(
            change("1", "Delete", DAY + "2"), change("1", "Delete", DAY + "2"), change("3", "Delete", DAY + "2"),
            change("4", "Delete", DAY + "2"), change_set_id="11",
        ),
        given(change("1", "Delete", DAY + "3"), change_set_id="12"),
        given(change("3", "Delete", DAY + "1"), change_set_id="13", channel=FILMS),
    ]  # fmt: skip
    deletions = after(*sets)["deletions"]
    assert [(row["change_set_id"], row["position"], row["asset_id"], row["was_held"]) for row in deletions] == [
        ("11", 0, "1", True), ("11", 1, "1", True), ("11", 2, "3", None), ("11", 3, "4", False),
        ("12", 0, "1", False), ("13", 0, "3", None),
    ]  # fmt: skip
    assert {row["deleted_at"] for row in deletions[:4]} == {DAY + "2.000000+00:00"}


def test_counts_add_up_over_the_confirmed_sets(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=3000)
    for channel_id in (3001, 3002, 3003, 3004):
        reader.read(channel_id, 2200)
        reader.put(channel_id, 500)
    truth = reader.sandbox.truth()
    assert len(truth["change_sets"]) == 4
    for row in [*truth["channels"].values()]:
        assert row["changes"] == 2200
        assert row["changes"] == sum(row[n] for n in ("new", "update", "delete", "superseded", "rejected"))
    assert len(truth["assets"]) + len(truth["deleted_assets"]) == len(truth["asset_states"])
    ids = [row["asset_id"] for row in truth["asset_states"]]
    assert ids == sorted(set(ids))


def test_progress_has_total_delivered_confirmed_and_pending(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=100)
    reader.read(3001, 30)
    reader.put(3001, 20)
    row = reader.sandbox.progress()["channels"][0]
    assert row["oldest_pending_at"]
    kept = ("channel_id", "total", "delivered", "confirmed", "pending")
    assert [row[name] for name in kept] == [3001, 100, 50, 30, 70]


def test_what_has_no_time_errs_towards_removal(change: Any) -> None:
    truth = after(
        given(change("1", at=None), change("2", at=DAY + "1"), change("3", at=None), change("4", "Delete", None))
    )
    assert [row["asset_id"] for row in truth["rejected_changes"]] == ["1"]
    times = {row["asset_id"]: row["changed_at"] for row in truth["asset_changes"]}
    assert times["3"] == DAY + "1.000000+00:00"
    assert times["4"] == FETCHED.isoformat(timespec="microseconds")
