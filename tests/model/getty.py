"""Getty in memory, and the reference model: what the tables must hold after given change sets."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from asset_changes.model import Channel, Confirmation, Delivery

DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


class Message(NamedTuple):
    """A change as it is meant; one without an asset must be rejected."""

    asset_id: str | None
    lifecycle: str
    second: int


@dataclass
class HandedOut:
    """A change set at Getty.

    `is_grown` says that messages were added which no ledger may have heard of; `is_taken` that
    somebody else confirmed it.
    """

    channel_id: int
    change_set_id: str
    messages: list[Message] = field(default_factory=list)
    is_grown: bool = False
    is_taken: bool = False


# The reference model.


def registers(sets: Iterable[HandedOut]) -> dict[str, tuple[Any, Any]]:
    """Return the newest upsert and the newest Delete of each asset, whatever the order of arrival."""
    upserts: dict[str, Any] = {}
    deletes: dict[str, Any] = {}
    for each in sets:
        for position, (asset_id, lifecycle, second) in enumerate(each.messages):
            if asset_id is not None:
                register = deletes if lifecycle == "Delete" else upserts
                told = (second, len(each.change_set_id), each.change_set_id, position, each.channel_id, lifecycle)
                register[asset_id] = max(register.get(asset_id, told), told)
    return {asset_id: (upserts.get(asset_id), deletes.get(asset_id)) for asset_id in upserts | deletes}


def dead(sets: Iterable[HandedOut]) -> set[str]:
    """Return the assets whose newest message is a Delete; on equal times the Delete is the newest."""
    newest: dict[str, tuple[int, bool]] = {}
    for asset_id, lifecycle, second in (message for each in sets for message in each.messages):
        if asset_id is not None:
            newest[asset_id] = max(newest.get(asset_id, (0, False)), (second, lifecycle == "Delete"))
    return {asset_id for asset_id, (_, is_deleted) in newest.items() if is_deleted}


# Getty.

_KEYS = {
    "snake": ("change_set_id", "changed_assets", "id", "asset_lifecycle", "asset_type", "asset_changed_utc_datetime"),
    "camel": ("changeSetId", "changedAssetList", "id", "assetLifecycle", "assetType", "assetChangedUtcDateTime"),
    "pascal": ("ChangeSetId", "ChangedAssets", "Id", "AssetLifecycle", "AssetType", "AssetChangedUtcDateTime"),
}
_WORDS = {"snake": {}, "camel": {"Update": "Updated", "Delete": "deleted"}, "pascal": {"New": "NEW"}}
SPELLINGS = tuple(_KEYS)


def on_the_wire(each: HandedOut, *, asset_type: str, spelling: str) -> Any:
    """Return a change set as a JSON document."""
    set_key, list_key, id_key, lifecycle_key, type_key, time_key = _KEYS[spelling]
    changes = [
        {
            id_key: asset_id and (f" {asset_id} " if spelling == "pascal" else asset_id),
            lifecycle_key: _WORDS[spelling].get(lifecycle, lifecycle),
            type_key: None if lifecycle == "Delete" else asset_type,
            time_key: (DAY + timedelta(seconds=second)).isoformat(),
        }
        for asset_id, lifecycle, second in each.messages
    ]
    return {set_key: each.change_set_id, list_key: changes}


@dataclass
class Getty:
    """Getty as its guide describes it: a channel hands out one set until that is confirmed.

    `on_confirm` sees each confirmation of ours before it takes effect; `meanwhile` runs once, while
    a call is on its way.
    """

    channels: dict[int, Channel]
    on_confirm: Callable[[HandedOut], None]
    sets: dict[str, HandedOut] = field(default_factory=dict)
    spelling: str = "snake"
    grows: bool = False
    meanwhile: Callable[[], None] | None = None
    _outstanding: dict[int, HandedOut] = field(default_factory=dict)
    _feeds: dict[int, list[Message]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(8))  # soon a digit more

    def tell(self, channel_id: int, messages: list[Message]) -> None:
        """Put messages at the end of a channel's feed."""
        self._feeds.setdefault(channel_id, []).extend(messages)

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Hand out the outstanding set, perhaps with what came since, or the next one."""
        each, is_redelivery = self._next(channel_id, batch_size)
        self._let_others()
        asset_type = self.channels[channel_id].asset_type
        document = each and on_the_wire(each, asset_type=asset_type, spelling=self.spelling)
        body = json.dumps(document).encode() if document else b""
        status = 200 if is_redelivery else 201
        return Delivery(status=status, body=body, document=document, received_at=datetime.now(UTC))

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Take our confirmation."""
        self._let_others()
        each = self.sets[change_set_id]
        is_known = self.is_outstanding(change_set_id)
        if is_known:
            self.on_confirm(each)
            del self._outstanding[each.channel_id]
        return Confirmation(is_known=is_known, tries=1)

    def is_outstanding(self, change_set_id: str) -> bool:
        """Say whether a set waits for its confirmation."""
        each = self.sets[change_set_id]
        return self._outstanding.get(each.channel_id) is each

    def confirm_behind_our_back(self, channel_id: int) -> None:
        """Take somebody else's confirmation, perhaps of a set that we never saw."""
        self.grows = False
        self._next(channel_id, 2)
        if each := self._outstanding.pop(channel_id, None):
            each.is_taken = True

    def _let_others(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()

    def _next(self, channel_id: int, batch_size: int) -> tuple[HandedOut | None, bool]:
        feed, each = self._feeds.get(channel_id, []), self._outstanding.get(channel_id)
        is_redelivery = each is not None
        if feed and each is None:
            each = HandedOut(channel_id, str(next(self._ids)))
            self.sets[each.change_set_id] = self._outstanding[channel_id] = each
        if feed and each is not None and (self.grows or not is_redelivery):
            each.messages += feed[:batch_size]
            each.is_grown |= is_redelivery
            del feed[:batch_size]
        return each, is_redelivery
