"""The spellings and shapes that the API has had, or may have."""

import json
from typing import Any

import pytest
from getty_sandbox import Options, SandboxError

from tests.sandbox.conftest import MakeChange, OpenSandbox

CHANGE_SET_KEYS = {
    "snake": (
        ["change_set_id", "changed_assets"],
        ["asset_changed_utc_datetime", "asset_lifecycle", "asset_type", "id", "uri"],
    ),
    "camel": (
        ["changeSetId", "changedAssetList"],
        ["assetChangedUtcDateTime", "assetLifecycle", "assetType", "id", "uri"],
    ),
    "pascal": (
        ["ChangeSetId", "ChangedAssets"],
        ["AssetChangedUtcDateTime", "AssetLifecycle", "AssetType", "Id", "Uri"],
    ),
}
CHANNEL_KEYS = {
    "snake": {
        "channel_id", "asset_family", "channel_type", "start_date", "notification_count", "asset_type",
        "oldest_notification_date_utc",
    },
    "camel": {"assetFamily", "channelId", "channelType", "startDate", "assetType"},
    "pascal": {
        "ChannelId", "AssetFamily", "AssetChangeType", "CreateDateUtc", "NotificationCount", "AssetType",
        "OldestChangeNotificationDateUtc", "Metadata",
    },
}  # fmt: skip


@pytest.mark.parametrize("keys", CHANGE_SET_KEYS)
def test_a_change_set_comes_in_the_spelling_that_was_chosen(opened: OpenSandbox, change: MakeChange, keys: str) -> None:
    reader = opened(keys=keys)
    tricky = 'an "id": and "asset_type":'
    reader.sandbox.append(3001, [change(tricky)])
    body = reader.put().json()
    of_set, of_message = CHANGE_SET_KEYS[keys]
    assert list(body) == of_set
    [message] = body[of_set[1]]
    assert sorted(message) == sorted(of_message)
    assert tricky in message.values()


@pytest.mark.parametrize("keys", CHANNEL_KEYS)
def test_the_channel_list_comes_in_the_spelling_that_was_chosen(opened: OpenSandbox, keys: str) -> None:
    assert {frozenset(channel) for channel in opened(keys=keys).channels().json()} == {frozenset(CHANNEL_KEYS[keys])}


@pytest.mark.parametrize("keys", ["snake", "camel", "pascal"])
def test_the_channel_list_may_be_wrapped(opened: OpenSandbox, keys: str) -> None:
    body = opened(keys=keys, channels_shape="wrapped").channels().json()
    assert [name.lower() for name in body] == ["channels"]


@pytest.mark.parametrize(
    ("shape", "status", "body"),
    [
        ("body", 200, b""),
        ("null", 200, b"null"),
        ("braces", 200, b"{}"),
        ("204", 204, b""),
        ("no-id", 200, b'{"changed_assets":[]}'),
        ("whitespace", 200, b" \r\n "),
    ],
)
def test_caught_up_looks_as_was_chosen(opened: OpenSandbox, shape: Any, status: int, body: Any) -> None:
    reader = opened(empty=shape)
    for _ in range(2):  # twice on one connection: the first answer ended where it said
        answer = reader.put()
        assert (answer.status_code, answer.content) == (status, body)


def test_an_id_with_an_empty_list_is_confirmed_once(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened(empty="id-empty-list")
    created = reader.put()
    assert (created.status_code, created.json()["changed_assets"]) == (201, [])
    assert reader.put().content == created.content
    assert reader.delete(created.json()["change_set_id"]).status_code == 200
    assert reader.put().content == b""
    reader.sandbox.append(3001, [change()])
    assert len(reader.read()) == 1
    assert reader.put().json()["changed_assets"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": "kebab"},
        {"empty": "nothing"},
        {"fault_rate": 1.5},
        {"changes_per_channel": -1},
        {"span_days": 0},
    ],
)
def test_options_that_cannot_work_are_refused_with_a_sentence(wrong: Any) -> None:
    with pytest.raises(SandboxError, match=r"\w+ \w+.*\.$"):
        Options(**wrong)


def test_messages_by_hand_may_be_any_json(opened: OpenSandbox) -> None:
    reader = opened()
    odd = ["text", 7, None, {"id": {"deep": [1]}}]
    reader.sandbox.append(3001, odd)
    body = reader.put().content
    assert json.loads(body)["changed_assets"] == odd
