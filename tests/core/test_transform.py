"""From messages to rows: which time a change has, which change wins, and that the counts add up."""

import csv
import io
import itertools
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import UnreadableChangeSet
from asset_changes.getty_api.content import PARSER_VERSION
from asset_changes.getty_api.parsing import parse_archived
from asset_changes.models import LOG_COLUMNS, ChangeSetRef, Delivery, PreparedSet
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.transform import transform
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.conftest import EDITORIAL_IMAGES
from tests.core.doubles import NOON, ScriptedGetty, at, body_of, change, delivery, rows


def prepared(*messages: object, fetched_at: datetime = NOON) -> PreparedSet:
    """Return the prepared set of these messages."""
    return prepared_from((fetched_at, *messages))


def prepared_from(*deliveries: tuple[Any, ...]) -> PreparedSet:
    """Return the prepared set of deliveries: when each came, then its messages."""
    bodies = [Delivery(body=body_of("7", *messages), received_at=received_at) for received_at, *messages in deliveries]
    return transformed(*bodies)


def transformed(*bodies: Delivery) -> PreparedSet:
    """Return the prepared set of these bodies of set 7."""
    ref = ChangeSetRef(channel_id=3001, change_set_id="7", fetched_at=bodies[0].received_at, archive_uri="file:///7")
    return transform(parse_archived(bodies, change_set_id="7"), channel=EDITORIAL_IMAGES, ref=ref)


def changes(found: PreparedSet) -> list[dict[str, str]]:
    """Return the valid changes as the log would hold them."""
    return list(csv.DictReader(io.StringIO(found.rows.decode(), newline=""), fieldnames=LOG_COLUMNS))


def times(*messages: object, fetched_at: datetime = NOON) -> list[tuple[str, str]]:
    """Return the time of each change and whether it is inferred."""
    found = changes(prepared(*messages, fetched_at=fetched_at))
    return [(each["changed_at"], each["is_time_inferred"]) for each in found]


def untimed(asset_id: str, lifecycle: str = "New", said: object = None) -> dict[str, object]:
    return change(asset_id, lifecycle) | {"asset_changed_utc_datetime": said}


# Times.


def test_a_message_without_a_time_takes_that_of_the_one_before() -> None:
    found = times(change("1", "New", 1), untimed("2"), untimed("3"), change("4", "New", 9))
    assert found == [(at(1), "False"), (at(1), "True"), (at(1), "True"), (at(9), "False")]


@pytest.mark.parametrize("said", [None, "", "soon", "0001-01-01T00:00:00", "23:59:60Z", at(61), 5])
def test_a_delete_without_a_time_takes_the_next_one(said: object) -> None:
    found = times(change("1", "New", 1), untimed("2", "Delete", said), change("3", "New", 4))
    assert found == [(at(1), "False"), (at(4), "True"), (at(4), "False")]


def test_the_last_delete_without_a_time_takes_its_deliverys() -> None:
    assert times(change("1", "New", -9), untimed("2", "Delete")) == [(at(-9), "False"), (at(0), "True")]


@pytest.mark.parametrize("said", [None, "", "soon", "0001-01-01T00:00:00", at(61)])
def test_an_upsert_with_no_time_before_it_is_rejected(said: object) -> None:
    found = prepared(untimed("1", "Update", said), untimed("2", "New", said), change("3", "New", 5))
    assert [(each.position, each.reason) for each in found.rejected] == [(0, "no_time"), (1, "no_time")]
    assert [each["asset_id"] for each in changes(found)] == ["3"]


def test_a_rejected_neighbour_still_has_a_time() -> None:
    found = prepared(change("", "New", 4), untimed("2"), untimed("3", "Delete"), change("", "New", 5))
    assert [each["changed_at"] for each in changes(found)] == [at(4), at(5)]


def test_getty_s_clock_decides_what_lies_in_the_future() -> None:
    delete = change("1", "Delete", 60 * 20)
    body = body_of("7", change("0", "New", 0), delete)
    ahead = Delivery(body=body, received_at=NOON, server_time=NOON + timedelta(hours=20))
    assert [each["is_time_inferred"] for each in changes(transformed(ahead))] == ["False", "False"]
    assert [each["changed_at"] for each in changes(transformed(replace(ahead, server_time=None)))] == [at(0), at(0)]


def test_without_any_time_an_upsert_is_rejected() -> None:
    """A Delete takes the time of the delivery."""
    found = prepared(untimed("1", "Delete"), untimed("2", "New"), untimed("3", "Update"))
    [delete] = changes(found)
    assert (delete["asset_id"], delete["changed_at"], delete["is_time_inferred"]) == ("1", at(0), "True")
    assert [(each.position, each.reason, each.asset_id) for each in found.rejected] == [
        (1, "no_time", "2"), (2, "no_time", "3"),
    ]  # fmt: skip
    assert [json.loads(each.raw)["id"] for each in found.rejected] == ["2", "3"]


@pytest.mark.parametrize("minutes", [60, 59.9, 0])
def test_up_to_an_hour_ahead_of_the_delivery_a_time_is_believed(minutes: float) -> None:
    assert times(change("1", "New", minutes)) == [(at(minutes), "False")]


@pytest.mark.parametrize("said", [at(60.01), at(60 * 24), "9999-12-31T23:59:59.9999999Z"])
def test_beyond_an_hour_ahead_a_time_is_none(said: str) -> None:
    assert times(change("0", "New", 1), untimed("1", said=said)) == [(at(1), "False"), (at(1), "True")]


@pytest.mark.parametrize("said", [at(61), "9999-12-31T23:59:59Z"])
def test_an_upsert_with_an_absurd_time_is_rejected(said: str) -> None:
    """The raw text is kept."""
    found = prepared(untimed("1", said=said))
    [rejected] = found.rejected
    assert (rejected.reason, rejected.asset_id) == ("no_time", "1")
    assert json.loads(rejected.raw) == untimed("1", said=said)


# Types.


def test_an_upsert_without_a_type_has_that_of_its_channel() -> None:
    """A Delete without a type has none."""
    found = changes(prepared(change("1", "New", 0, asset_type=None), change("2", "Delete", 0, asset_type=None)))
    assert [each["asset_type"] for each in found] == ["Image", ""]


# Outcomes.


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([change("1", "New", 0), change("1", "Update", 1), change("1", "Delete", 2)], "1 deleted, 2 superseded"),
        ([change("1", "Delete", 2), change("1", "New", 1)], "1 deleted, 1 superseded"),
        ([change("1", "Delete", 1), change("1", "New", 2)], "1 new, 1 superseded"),
        ([change("1", "New", 1), change("1", "Delete", 1)], "1 deleted, 1 superseded"),
        ([change("1", "Delete", 1), change("1", "New", 1)], "1 deleted, 1 superseded"),
        ([change("1", "New", 0), change("2", "Update", 0), change("3", "Delete", 0)], "1 new, 1 updated, 1 deleted"),
        ([change("1", "New", 0), change(1, "Update", 0), change(" 1 ", "Update", 0)], "1 updated, 2 superseded"),
        ([change("", "New", 0), change("1", "Nonsense", 0), 7], "3 rejected"),
        ([], ""),
    ],
)
def test_each_message_comes_to_one_thing(messages: list[object], expected: str) -> None:
    counts = prepared(*messages).counts
    named = {"new": counts.new, "updated": counts.update, "deleted": counts.delete}
    named |= {"superseded": counts.superseded, "rejected": counts.rejected}
    assert ", ".join(f"{count} {name}" for name, count in named.items() if count) == expected
    assert counts.changes == len(messages)


def test_rows_stay_in_order_and_keep_their_positions() -> None:
    found = changes(prepared(change("b", "New", 5), change("", "New", 0), change("a", "New", 1)))
    assert [(each["asset_id"], each["position"]) for each in found] == [("b", "0"), ("a", "2")]


def test_the_oldest_and_newest_change_are_of_valid_messages() -> None:
    found = prepared(change("1", "New", -5), change("2", "New", -3), change("", "New", -1))
    assert found.oldest_change_at == NOON - timedelta(minutes=5)
    assert found.newest_change_at == NOON - timedelta(minutes=3)
    assert prepared().oldest_change_at is None


def test_a_time_that_is_inferred_or_ahead_hides_no_lag() -> None:
    assert prepared(untimed("1", "Delete")).newest_change_at is None  # it takes that of the delivery
    found = prepared(change("1", "New", -90), change("2", "New", 30))
    assert (found.oldest_change_at, found.newest_change_at) == (NOON - timedelta(minutes=90), NOON)


# The same said otherwise.


def test_the_hash_is_that_of_the_content_not_of_the_spelling() -> None:
    plain = prepared(change("1", "New", 0), change("2", "Delete", 1))
    camel = json.dumps(
        {
            "changeSetId": 7,
            "changedAssetList": [
                {"assetChangedUtcDateTime": at(0)[:-1], "assetLifecycle": "new", "assetType": "image", "id": 1},
                {"assetChangedUtcDateTime": at(1), "assetLifecycle": "Deleted", "assetType": "Image", "id": " 2"},
            ],
        }
    ).encode()
    other = transformed(Delivery(body=camel, received_at=NOON))
    assert other == plain
    assert prepared(change("1", "New", 0)).content_hash != plain.content_hash
    assert prepared(change("2", "Delete", 1), change("1", "New", 0)).content_hash == plain.content_hash  # nor the order
    assert (
        prepared(change("1", "New", 0), change("1", "New", 0)).content_hash
        != prepared(change("1", "New", 0)).content_hash
    )


def test_the_hash_leaves_out_the_address_and_names_the_parser() -> None:
    said = [change("1", "New", 0, uri=f"https://x/{number}") for number in range(2)]
    one, other = (prepared(each).content_hash for each in said)
    assert one == other
    assert one.startswith(f"{PARSER_VERSION}:")


def test_later_deliveries_add_messages_at_the_next_positions() -> None:
    """They add what they alone hold."""
    one, two, three = change("1", "New", 0), change("2", "New", 1), change("3", "New", 2)
    found = prepared_from((NOON, one, two), (NOON, one, three), (NOON, three, one, one))
    assert [(each["asset_id"], each["position"]) for each in changes(found)] == [
        ("1", "0"), ("2", "1"), ("3", "2"), ("1", "3"),
    ]  # fmt: skip


def test_a_later_delivery_is_judged_by_the_time_it_came() -> None:
    deleted = change("2", "Delete", 150)
    found = changes(
        prepared_from((NOON, change("1", "New", 0)), (NOON + timedelta(hours=3), change("1", "New", 0), deleted))
    )
    assert [(each["asset_id"], each["changed_at"], each["is_time_inferred"]) for each in found] == [
        ("1", at(0), "False"), ("2", at(150), "False"),
    ]  # fmt: skip


def test_a_later_delivery_changes_nothing_of_the_first() -> None:
    first = (NOON, untimed("1", "Delete"), untimed("2"))
    alone, together = (
        prepared_from(first),
        prepared_from(first, (NOON, *first[1:], change("3", "New", -60), untimed("4"))),
    )
    assert changes(together)[: len(changes(alone))] == changes(alone)
    assert together.rejected == alone.rejected
    assert [(each["asset_id"], each["changed_at"]) for each in changes(together)[1:]] == [
        ("3", at(-60)),
        ("4", at(-60)),
    ]


@pytest.mark.parametrize(
    "others", [[], [(NOON,)], [(NOON, change("1", "New", 0))], [(NOON,), (NOON, change("1", "New", 0))]]
)
def test_deliveries_without_a_message_are_sets_too(others: list[tuple[Any, ...]]) -> None:
    found = prepared_from((NOON,), *others)
    assert found.counts.changes == sum(len(other) - 1 for other in others)
    assert prepared().deliveries == ((0, NOON),)
    assert prepared_from((NOON, untimed("1", "New"))).counts.rejected == 1


def test_each_message_keeps_the_time_of_its_delivery() -> None:
    later, last = NOON + timedelta(hours=3), NOON + timedelta(hours=4)
    first, second = change("1", "New", 0), change("2", "Delete", 150)
    found = prepared_from((NOON, first), (later, first, second), (last, second))
    assert found.deliveries == ((0, NOON), (1, later))


def test_an_archived_body_of_another_set_is_refused() -> None:
    with pytest.raises(UnreadableChangeSet, match="holds another set"):
        transformed(Delivery(body=body_of("8"), received_at=NOON))


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"null", b"[]"])
def test_an_archived_body_that_is_no_set_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableChangeSet):
        transformed(Delivery(body=body, received_at=NOON))


# Anything at all.

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(alphabet="\x00\ud800\"\\,;\n\r'"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
some_times = st.sampled_from(
    [at(0), at(-10), at(30), at(61), "2026-03-01", "9999-12-31T23:59:59.9999999Z", "0001-01-01", "", "soon", None]
)
plausible = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["1", "2", 3, " 1", "", "\x00", "a-1", "\\.", '"', "x" * 256]) | anything,
        "asset_lifecycle": st.sampled_from(["New", "Update", "Delete", "deleted", "Nope"]) | anything,
        "asset_type": st.sampled_from(["Image", "film", None, "\x00"]) | anything,
        "asset_changed_utc_datetime": some_times | anything,
        "uri": anything,
        "unknown": anything,
    },
)
nasty_sets = st.lists(plausible | anything, max_size=12)


@settings(max_examples=80, deadline=None)
@given(nasty_sets)
def test_whatever_the_messages_hold_their_counts_add_up(messages: list[Any]) -> None:
    found = prepared(*messages)
    assert found.counts.changes == len(messages)
    assert found.counts.rejected == len(found.rejected)
    positions = [int(each["position"]) for each in changes(found)] + [each.position for each in found.rejected]
    assert sorted(positions) == list(range(len(messages)))
    assert all(each.raw and each.raw.isascii() for each in found.rejected)


_numbers = itertools.count(1)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(plausible | anything, min_size=20, max_size=60))
def test_whatever_the_messages_hold_postgres_takes_them(
    warehouse: Engine, archive: Archive, messages: list[Any]
) -> None:
    messages = [change("sound", "New", 0), *messages]  # or the whole set might be taken for one of a new spelling
    change_set_id = f"any-{next(_numbers)}"
    source = ScriptedGetty([delivery(body_of(change_set_id, *messages))])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=source, archive=archive, warehouse=warehouse)
    ref = fetch(context, batch_size=100)
    assert ref is not None
    row = load(context, ref)
    [found] = rows(
        warehouse,
        "SELECT (SELECT count(*) FROM asset_changes WHERE change_set_id = :id) AS logged,"
        " (SELECT count(*) FROM rejected_changes WHERE change_set_id = :id) AS rejected",
        id=change_set_id,
    )
    assert row.counts.changes == len(messages) == found["logged"] + found["rejected"]
