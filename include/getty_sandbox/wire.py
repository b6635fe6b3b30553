"""How answers look on the wire: spellings of keys, shapes of lists and of nothing, error bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from getty_sandbox.options import Channel

JSON = "application/json"
GETTY_ERROR = "application/vnd.getty.error+json"
OVER_QPS = "Account Over Queries Per Second Limit"

# Keys of a change set by spelling: snake is the wire of all published clients, camel the schema of 2026,
# pascal the casing of the channel list of 2024, carried over.
_CAMEL = {
    b"change_set_id": b"changeSetId",
    b"changed_assets": b"changedAssetList",
    b"asset_changed_utc_datetime": b"assetChangedUtcDateTime",
    b"asset_lifecycle": b"assetLifecycle",
    b"asset_type": b"assetType",
}
_PASCAL = {
    b"change_set_id": b"ChangeSetId",
    b"changed_assets": b"ChangedAssets",
    b"asset_changed_utc_datetime": b"AssetChangedUtcDateTime",
    b"asset_lifecycle": b"AssetLifecycle",
    b"asset_type": b"AssetType",
    b"id": b"Id",
    b"uri": b"Uri",
}
_KEYS_BY_SPELLING: Mapping[str, Mapping[bytes, bytes]] = {"snake": {}, "camel": _CAMEL, "pascal": _PASCAL}


@dataclass(frozen=True)
class Reply:
    """One answer: status, body, media type and further headers."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def rename_keys(body: bytes, keys: str) -> bytes:
    """The same JSON with its keys spelled otherwise.

    Replacing bytes is safe and a hundred times faster than parsing: within a JSON string the quotes that
    surround a key cannot occur without a backslash.
    """
    for snake, other in _KEYS_BY_SPELLING[keys].items():
        body = body.replace(b'"' + snake + b'":', b'"' + other + b'":')
    return body


def change_set_reply(change_set_id: int, bodies: Sequence[bytes], *, keys: str, is_redelivery: bool) -> Reply:
    """A change set: 201 when it is new, 200 when it is handed out again."""
    body = b'{"change_set_id":"%d","changed_assets":[%s]}' % (change_set_id, b",".join(bodies))
    return Reply(200 if is_redelivery else 201, rename_keys(body, keys))


def empty_reply(shape: str, keys: str) -> Reply:
    """The answer to a reader that is caught up, in one of the shapes that have to be expected."""
    if shape == "204":
        return Reply(204)
    bodies = {"null": b"null", "braces": b"{}", "no-id": b'{"changed_assets":[]}', "whitespace": b" \r\n "}
    return Reply(200, rename_keys(bodies.get(shape, b""), keys))


@dataclass(frozen=True)
class ListedChannel:
    """A channel with the figures that older shapes of the list carry."""

    channel: Channel
    start: datetime
    pending: int
    oldest_pending_at: datetime | None


def channels_reply(listed: Sequence[ListedChannel], *, keys: str, shape: str) -> Reply:
    """The channel list in the names of 2019 (snake), 2024 (pascal) or 2026 (camel), bare or wrapped."""
    rows = [_channel_row(one, keys) for one in listed]
    wrapper = "Channels" if keys == "pascal" else "channels"
    return Reply(200, to_json({wrapper: rows} if shape == "wrapped" else rows))


def _channel_row(listed: ListedChannel, keys: str) -> dict[str, Any]:
    channel, lifecycles, start = listed.channel, "New,Update,Delete", _utc(listed.start)
    oldest = listed.oldest_pending_at and _utc(listed.oldest_pending_at)
    if keys == "camel":
        return {
            "assetFamily": channel.asset_family, "channelId": channel.channel_id, "channelType": lifecycles,
            "startDate": start, "assetType": channel.asset_type,
        }  # fmt: skip
    if keys == "pascal":
        return {
            "ChannelId": channel.channel_id, "AssetFamily": channel.asset_family,
            "AssetChangeType": lifecycles, "CreateDateUtc": start, "NotificationCount": listed.pending,
            "AssetType": channel.asset_type, "OldestChangeNotificationDateUtc": oldest, "Metadata": None,
        }  # fmt: skip
    return {
        "channel_id": channel.channel_id, "asset_family": channel.asset_family, "channel_type": lifecycles,
        "start_date": start, "notification_count": listed.pending, "asset_type": channel.asset_type,
        "oldest_notification_date_utc": oldest,
    }  # fmt: skip


def service_error(status: int, code: str, message: str) -> Reply:
    """An error of the service behind the edge."""
    return Reply(status, to_json({"ErrorCode": code, "ErrorMessage": message}), GETTY_ERROR)


def edge_error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error of the edge, which knows no error codes."""
    return Reply(status, to_json({"message": message}), JSON, headers or {})


def invalid_token() -> Reply:
    """The answer to a token that is missing, unknown, expired or revoked."""
    challenge = 'Bearer realm="Download",error="invalid_token",error_description="The token is not valid"'
    return edge_error(401, "Unauthorized", {"WWW-Authenticate": challenge})


def to_json(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def _utc(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
