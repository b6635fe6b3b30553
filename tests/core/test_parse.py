"""What Getty's bodies say, in every spelling and in none."""

import string
from codecs import BOM_UTF8
from datetime import UTC, datetime

import pytest
from asset_changes.errors import UnreadableChangeSet
from asset_changes.getty_api.fields import as_json, canonical, parse_time
from asset_changes.getty_api.parsing import parse_change_set, parse_channels, read_json
from asset_changes.models import Channel, Delivery, Message
from hypothesis import given
from hypothesis import strategies as st

from tests.core.doubles import NOON, body_of, change, parsed

SNAKE = ("change_set_id", "changed_assets", "id", "asset_lifecycle", "asset_type", "asset_changed_utc_datetime", "uri")
ALIASES = {
    "change_set_id": ["change_set_id", "changeSetId", "ChangeSetId", "CHANGE_SET_ID", "TransactionId", "change-set-id"],
    "changed_assets": ["changed_assets", "changedAssets", "ChangedAssets", "changedAssetList", "changed_asset_list"],
    "id": ["id", "Id", "ID", "asset_id", "assetId"],
    "asset_lifecycle": ["asset_lifecycle", "assetLifecycle", "AssetLifecycle"],
    "asset_type": ["asset_type", "assetType", "AssetType"],
    "asset_changed_utc_datetime": [
        "asset_changed_utc_datetime",
        "assetChangedUtcDateTime",
        "AssetChangedUtcDatetime",
        "AssetChangedDateTimeUtc",
    ],
    "uri": ["uri", "Uri", "URI", "Url"],
}


def messages(*items: object) -> list[Message]:
    """Return what the parser makes of these messages."""
    found = parsed({"change_set_id": "7", "changed_assets": list(items)})
    assert found is not None
    return found.messages.rows


def only(**said: object) -> Message:
    """Return what the parser makes of one message that is sound but for what is said."""
    [message] = messages(change("1", "New", 0) | said)
    return message


# Spellings.


@given(names=st.fixed_dictionaries({name: st.sampled_from(spellings) for name, spellings in ALIASES.items()}))
def test_every_spelling_says_the_same(names: dict[str, str]) -> None:
    def spelled(named: dict[str, object]) -> dict[str, object]:
        return {names.get(key, key): value for key, value in named.items()}

    said = [change("1", "New", 0, uri="https://x"), change("2", "Delete", 1, asset_type=None)]
    plain = parsed({"change_set_id": "7", "changed_assets": said})
    other = parsed(spelled({"change_set_id": "7", "changed_assets": [spelled(each) for each in said], "extra": 1}))
    assert other is not None
    assert plain is not None
    assert other.change_set_id == plain.change_set_id
    assert other.messages[:6] == plain.messages[:6]
    assert plain.messages.reason == [None, None]


def test_messages_of_one_set_may_differ_in_their_spelling() -> None:
    first, second = messages(change("1", "New", 0), {"Id": "1", "AssetLifecycle": "New", "AssetType": "Image"})
    assert (first.asset_id, first.lifecycle, first.asset_type) == (second.asset_id, second.lifecycle, second.asset_type)


def test_a_null_does_not_hide_another_spelling_of_a_field() -> None:
    assert only(assetId=None).asset_id == "1"
    assert only(id=None, assetId="2").asset_id == "2"


def test_unknown_keys_are_left_alone() -> None:
    assert only(metadata={"a": [1]}, priority=3)[:6] == only()[:6]


# The set itself.


@pytest.mark.parametrize(
    "nothing",
    [
        None, {}, {"changed_assets": []}, {"changed_assets": None}, {"change_set_id": None},
        {"change_set_id": "", "changed_assets": []}, {"changeSetId": None, "changedAssetList": None},
        {"change_set_id": None, "changed_assets": None, "links": [], "next": None, "count": 0, "status": "ok"},
    ],
)  # fmt: skip
def test_neither_id_nor_assets_means_caught_up(nothing: object) -> None:
    assert parsed(nothing) is None


@pytest.mark.parametrize("blank", [b"", b" \r\n", BOM_UTF8, BOM_UTF8 + b"\r\n"])
def test_a_body_of_blanks_or_a_mark_alone_means_caught_up(blank: bytes) -> None:
    """.NET writes a byte order mark before nothing, too."""
    assert parse_change_set(Delivery(body=blank, received_at=NOON)) is None


@pytest.mark.parametrize(
    "empty",
    [
        {"change_set_id": "7", "changed_assets": []}, {"changeSetId": 7},
        {"changeSetId": "7", "changedAssetList": None, "links": {}, "batch_size": 2200, "note": "none today"},
    ],
)  # fmt: skip
def test_an_id_with_an_empty_list_is_a_set(empty: object) -> None:
    found = parsed(empty)
    assert found is not None
    assert (found.change_set_id, found.messages.rows) == ("7", [])


NOT_UNDERSTOOD = [
    7, 1.5, True, "7", [], [{"id": "1"}], {"status": "ok"}, {"data": {"change_set_id": "7", "changed_assets": []}},
    {"change_set_id": "7", "changed_assets": {}}, {"change_set_id": "7", "changed_assets": "none"},
    {"change_set_id": "7", "changed_assets": 0}, {"change_set_id": None, "changed_assets": [1]},
    {"change_set_id": "../7", "changed_assets": []}, {"change_set_id": "7 8", "changed_assets": [1]},
    {"change_set_id": "a" * 65, "changed_assets": []}, {"change_set_id": True, "changed_assets": [1]},
    {"change_set_id": 7.5, "changed_assets": [1]}, {"change_set_id": ["7"], "changed_assets": [1]},
    {"change_set_id": "ä", "changed_assets": []}, {"changeSetId": "7", "changes": [{"id": "1"}]},
    {"change_set_id": "7", "changed_assets": None, "page": {"changed_assets": [{"id": "1"}]}},
    {"change_set_id": None, "items": [{"id": "1"}]},
    {"change_set_id": 1, "changed_assets": [], "changes": [{"id": "1"}]},
    {"change_set_id": 1, "changed_assets": None, "assets": {"1": {"asset_lifecycle": "Delete"}}},
    {"change_set_id": 1, "ids": ["1", "2"]}, {"change_set_id": None, "changed_assets": [], "deleted": [1]},
    {"change_set_id": 1, "changed_assets": [], "next": "/v3/asset-changes?page=2"},
    {"change_set_id": 1, "changed_assets": [], "more_at": "https://api.test/page/2"},
    {"change_set_id": 1, "changed_assets": [], "has_more": True}, {"change_set_id": 1, "total_count": 5},
    {"change_set_id": 1, "changed_assets": [], "a": {"b": {"c": [{"id": "1"}]}}},
    {"change_set_id": 1, "changed_assets": [change("1", "New", 0)], "deleted_assets": [change("2", "Delete", 0)]},
]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b'{"change_set_id": 1, "changed_assets": [{"id": "1", "asset_lifecycle": "Delete"}], "changed_assets": []}',
        b'{"change_set_id": 1, "changed_assets": [], "changed_assets": [{"id": "1", "asset_lifecycle": "New"}]}',
        b'{"change_set_id": 1, "change_set_id": 2, "changed_assets": [{"id": "1", "asset_lifecycle": "New"}]}',
    ],
)
def test_a_set_with_a_key_twice_is_not_understood(body: bytes) -> None:
    with pytest.raises(UnreadableChangeSet, match="more than once"):
        parse_change_set(Delivery(body=body, document=read_json(body), received_at=NOON))


def test_the_name_of_a_key_within_a_message_is_no_key_twice() -> None:
    body = body_of(1, change("1", "New", 0, changed_assets="changed_assets", uri="changed_assets"))
    found = parse_change_set(Delivery(body=body, received_at=NOON))
    assert found is not None
    assert len(found.messages.rows) == 1


@pytest.mark.parametrize("document", NOT_UNDERSTOOD, ids=repr)
def test_a_structure_that_is_not_understood_is_an_error(document: object) -> None:
    with pytest.raises(UnreadableChangeSet, match=r"nothing was confirmed.*parsing\.py"):
        parsed(document)


@pytest.mark.parametrize("change_set_id", ["7", 7, " 7 ", 2**63 - 1, "a-B_9", "a" * 64])
def test_a_change_set_id_is_text_or_a_whole_number(change_set_id: object) -> None:
    found = parsed({"change_set_id": change_set_id, "changed_assets": []})
    assert found is not None
    assert found.change_set_id == str(change_set_id).strip()


@pytest.mark.parametrize("field", ["id", "asset_lifecycle", "asset_changed_utc_datetime"])
def test_many_messages_without_a_field_are_a_new_spelling(field: str) -> None:
    """A few without it are bad messages."""
    renamed = [
        {f"{key}_v2" if key == field else key: value for key, value in change(str(number), "Delete", number).items()}
        for number in range(20)
    ]
    with pytest.raises(UnreadableChangeSet, match=rf'none of its 20 messages.*"{field}_v2".*nothing was confirmed'):
        messages(*renamed)
    assert len(messages(*renamed[:19])) == 19
    assert len(messages(*renamed, change("sound", "Delete", 0))) == 21


def test_many_messages_without_a_time_are_a_new_spelling() -> None:
    """None of them has a time that can be read."""
    unread = [change(str(number), "Delete", asset_changed_utc_datetime="01.03.2026 10:15") for number in range(20)]
    with pytest.raises(UnreadableChangeSet, match=r"none of its 20 messages has a changed_at.*01\.03\.2026 10:15"):
        messages(*unread)
    assert len(messages(*unread, change("sound", "Delete", 0))) == 21


def test_an_empty_list_does_not_hide_a_full_one() -> None:
    """The two have different names."""
    document = {"change_set_id": 1, "changed_assets": [change("a", "New", 0)], "changedAssetList": []}
    found = parsed(document)
    assert found is not None
    assert len(list(found.messages.rows)) == 1
    with pytest.raises(UnreadableChangeSet, match="more than one of its keys"):
        parsed({**document, "assetChanges": [change("b", "New", 0)]})


@pytest.mark.parametrize("asset_id", [b"a raw\nline break", b"\xe9 in latin-1"], ids=str)
def test_one_bad_byte_holds_up_no_set(asset_id: bytes) -> None:
    found = parsed(read_json(b'{"change_set_id":1,"changed_assets":[{"id":"%s"}]}' % asset_id))
    assert found is not None
    assert len(list(found.messages.rows)) == 1


# Asset ids.


@pytest.mark.parametrize(
    ("sent_id", "asset_id"),
    [
        ("1176628458", "1176628458"),
        (1176628458, "1176628458"),
        (0, "0"),
        (-5, "-5"),
        ("  42 ", "42"),
        ("\t42\n", "42"),
        ("0042", "0042"),
        ("200261415-001", "200261415-001"),
        ("a" * 255, "a" * 255),
        (" " + "a" * 255 + " ", "a" * 255),
        ("'; drop table asset_states; --", "'; drop table asset_states; --"),
        ('"quoted", and \\N', '"quoted", and \\N'),
        ("\\.", "\\."),
        ("日本", "日本"),
        ("null", "null"),
        ("nan", "nan"),
        (2**63, str(2**63)),
        ("9" * 255, "9" * 255),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_id_is_stripped_text(sent_id: object, asset_id: str) -> None:
    assert only(id=sent_id).asset_id == asset_id
    assert only(id=sent_id).reason is None


@pytest.mark.parametrize(
    "sent_id",
    [
        None, "", "   ", "\t", "a" * 256, "9" * 300, "x" * 1_000_000, "12\x0034", "\x00", "12\x0734", "12\x7f",
        "12\x85x",         "12\ud800", True, False, 1.5, 1e300, float("nan"), float("inf"), [], ["1"], {}, {"id": "1"},
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_no_id_is_rejected_with_its_raw_text(sent_id: object) -> None:
    message = only(id=sent_id)
    assert (message.asset_id, message.reason) == (None, "unusable_id")
    assert message.raw == change("1", "New", 0) | {"id": sent_id}
    assert as_json(message.raw).isascii()
    assert "\x00" not in as_json(message.raw)


def test_an_integer_of_any_length_is_read_without_a_float() -> None:
    usable, unusable = ("12345678901234567890123", "9" * 255), ("9" * 256, "9" * 5000)
    for written in (usable, usable + unusable):
        document = read_json(f"[{','.join(written)}]".encode())
        found = messages(*(change(each, "New", 0) for each in document))
        assert [message.asset_id for message in found[:2]] == [*usable]
        assert {message.reason for message in found[2:]} <= {"unusable_id"}


@pytest.mark.parametrize("item", [None, 1, "text", [], [change("1", "New", 0)], True, 1.5])
def test_a_message_that_is_no_object_is_rejected(item: object) -> None:
    [message] = messages(item)
    assert (message.reason, message.raw) == ("not_an_object", item)


@pytest.mark.parametrize("depth", [200, 700, 1000, 5000])
def test_a_deeply_nested_message_is_rejected_and_nothing_more(depth: int) -> None:
    nested: object = []
    for _ in range(depth):
        nested = [nested]
    found = messages(nested, change(nested, "New", 0), change("1", "New", 0, uri=nested, asset_type=nested))
    assert [message.reason for message in found] == ["not_an_object", "unusable_id", None]


# Lifecycles and types.


@pytest.mark.parametrize(
    ("word", "lifecycle"),
    [
        ("New", "New"), ("new", "New"), ("NEW", "New"), (" New ", "New"),
        ("Update", "Update"), ("Updated", "Update"), ("UPDATED", "Update"),
        ("Delete", "Delete"), ("deleted", "Delete"), ("DELETE", "Delete"),
    ],
)  # fmt: skip
def test_lifecycle_words_are_uniform(word: str, lifecycle: str) -> None:
    assert only(asset_lifecycle=word).lifecycle == lifecycle


@pytest.mark.parametrize("word", [None, "", "Archive", "News", 1, True, [], "De\x00lete", "x" * 10_000])
def test_an_unknown_lifecycle_is_rejected_and_keeps_its_id(word: object) -> None:
    message = only(asset_lifecycle=word)
    assert (message.asset_id, message.lifecycle, message.reason) == ("1", None, "unknown_lifecycle")


@pytest.mark.parametrize(
    ("word", "asset_type"),
    [("Image", "Image"), ("image", "Image"), (" FILM ", "Film"), ("Music", "Music"), ("Vector", "Vector"),
     (None, None), ("", None), ("  ", None), (7, "7"), ("a\x00b", "a\\u0000b"), ("\ud800", "\\ud800"),
     ("x" * 1000, "x" * 255)],
)  # fmt: skip
def test_types_take_gettys_capitals_and_unknown_ones_stay(word: object, asset_type: str | None) -> None:
    assert only(asset_type=word).asset_type == asset_type
    assert canonical(word) == asset_type


def test_an_address_may_hold_anything() -> None:
    assert only(uri="https://x/\x00\ud800?a='\"").uri == "https://x/\\u0000\\ud800?a='\""
    assert only(uri={"href": "x"}).uri == '{"href": "x"}'


# Times.


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-01T10:15:30Z", utc(2026, 3, 1, 10, 15, 30)),
        ("2026-03-01T10:15:30z", utc(2026, 3, 1, 10, 15, 30)),
        ("2026-03-01t10:15:30Z", utc(2026, 3, 1, 10, 15, 30)),
        ("2026-03-01 10:15:30", utc(2026, 3, 1, 10, 15, 30)),
        (" 2026-03-01T10:15:30 ", utc(2026, 3, 1, 10, 15, 30)),
        ("2026-03-01T10:15:30.1Z", utc(2026, 3, 1, 10, 15, 30, 100_000)),
        ("2026-03-01T10:15:30.12Z", utc(2026, 3, 1, 10, 15, 30, 120_000)),
        ("2026-03-01T10:15:30.123Z", utc(2026, 3, 1, 10, 15, 30, 123_000)),
        ("2026-03-01T10:15:30.1234Z", utc(2026, 3, 1, 10, 15, 30, 123_400)),
        ("2026-03-01T10:15:30.12345Z", utc(2026, 3, 1, 10, 15, 30, 123_450)),
        ("2026-03-01T10:15:30.123456Z", utc(2026, 3, 1, 10, 15, 30, 123_456)),
        ("2026-03-01T10:15:30.1234567Z", utc(2026, 3, 1, 10, 15, 30, 123_456)),
        ("2026-03-01T10:15:30.9999999Z", utc(2026, 3, 1, 10, 15, 30, 999_999)),
        ("2026-03-01T10:15:30.999999999999Z", utc(2026, 3, 1, 10, 15, 30, 999_999)),
        ("2026-03-01T10:15:30+02:00", utc(2026, 3, 1, 8, 15, 30)),
        ("2026-03-01T10:15:30.5-05:30", utc(2026, 3, 1, 15, 45, 30, 500_000)),
        ("2026-03-01T00:00:00+14:00", utc(2026, 2, 28, 10)),
        ("2026-03-01", utc(2026, 3, 1)),
        ("/Date(1772360130123)/", utc(2026, 3, 1, 10, 15, 30, 123_000)),
        ("/Date(1772360130123-0500)/", utc(2026, 3, 1, 10, 15, 30, 123_000)),
        ("2000-01-01T00:00:00Z", utc(2000, 1, 1)),
        ("9999-12-31T23:59:59.9999999Z", utc(9999, 12, 31, 23, 59, 59, 999_999)),
    ],
)
def test_a_time_is_utc_and_cut_to_microseconds(text: str, time: datetime) -> None:
    found = parse_time(text)
    assert found == time
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        None, "", " ", "yesterday", "null", 0, 1772360130, 1772360130.5, True, [], {},
        "0001-01-01T00:00:00", "1970-01-01T00:00:00Z", "1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00+01:00",
        "2026-13-45T10:00:00Z", "2026-02-30", "2026-03-01T25:00:00Z", "2026-03-01T10:15:60Z", "10:15:30",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00", "2026-03-01T10:15:30+99:00", "2026", "x" * 100_000,
        "/Date(-1)/", "/Date()/", "/Date(9999999999999999)/", "２０２６-03-01", "2026-03-01T10:15:30.１２Z",
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_names_no_usable_time_is_none(value: object) -> None:
    assert parse_time(value) is None


@given(st.text() | st.text(alphabet=string.digits + "-:T.Z+ "))
def test_no_text_is_more_than_a_time_or_none(text: str) -> None:
    found = parse_time(text)
    assert found is None or (found.tzinfo is UTC and found.year >= 2000)


# Channels.

PLAIN = Channel(channel_id=3, asset_family="Editorial", asset_type="Image")


@pytest.mark.parametrize(
    ("document", "lifecycles"),
    [
        ({"channels": [{"channel_id": 3, "asset_family": "editorial", "channel_type": "Deleted",
                        "start_date": "2018-01-01T00:00:00Z", "notification_count": 12, "asset_type": "image",
                        "oldest_notification_date_utc": "2018-05-01T00:00:00Z"}]}, "Deleted"),
        ([{"channel_id": 3, "asset_family": "Editorial", "channel_type": "New", "start_date": "2018-01-01",
           "notification_count": 12, "asset_type": "Image", "oldest_notification_date_utc": None}], "New"),
        ([{"ChannelId": 3, "AssetFamily": "Editorial", "AssetChangeType": "New", "CreateDateUtc": "2018-01-01T00:00:00",
           "NotificationCount": 12, "AssetType": "Image", "OldestChangeNotificationDateUtc": None,
           "Metadata": None}], "New"),
        ([{"assetFamily": "Editorial", "channelId": 3, "channelType": "New,Update,Delete",
           "startDate": "2018-01-01T00:00:00.0000000Z", "assetType": "Image"}], "New,Update,Delete"),
    ],
    ids=["2019 wrapped", "2022 bare", "2024 pascal", "2026 camel"],
)  # fmt: skip
def test_the_channel_list_is_understood_in_all_its_shapes(document: object, lifecycles: str) -> None:
    [channel] = parse_channels(document)
    assert (channel.channel_id, channel.asset_family, channel.asset_type) == (3, "Editorial", "Image")
    assert (channel.lifecycles, channel.started_at) == (lifecycles, utc(2018, 1, 1))


def test_channels_come_by_id_whatever_their_order() -> None:
    listed = [{"channelId": n, "assetFamily": "Creative", "assetType": "Film"} for n in (30, 4, "7")]
    assert [channel.channel_id for channel in parse_channels(listed)] == [4, 7, 30]
    assert parse_channels([]) == []
    assert parse_channels({"Channels": []}) == []


@pytest.mark.parametrize(
    "document",
    [
        None, {}, 7, "x", {"items": []}, {"channels": None}, {"channels": {}}, [7], [None], [{}], [[]],
        [{"channelId": 3}], [{"channelId": None, "assetFamily": "Editorial", "assetType": "Image"}],
        [{"channelId": "x", "assetFamily": "Editorial", "assetType": "Image"}],
        [{"channelId": -1, "assetFamily": "Editorial", "assetType": "Image"}],
        [{"channelId": 2**31, "assetFamily": "Editorial", "assetType": "Image"}],
        [{"channelId": "²", "assetFamily": "Editorial", "assetType": "Image"}],
        [{"channelId": 3, "assetFamily": "", "assetType": "Image"}],
    ],
    ids=repr,
)  # fmt: skip
def test_a_channel_list_that_is_not_understood_is_an_error(document: object) -> None:
    with pytest.raises(UnreadableChangeSet, match="not understood"):
        parse_channels(document)
