"""Getty in memory, and one client of it for each worker."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from asset_changes.models import Channel, Confirmation, Delivery

from tests.model.reference import DAY, HandedOut, Message

_KEYS = {
    "snake": ("change_set_id", "changed_assets", "id", "asset_lifecycle", "asset_type", "asset_changed_utc_datetime"),
    "camel": ("changeSetId", "changedAssetList", "id", "assetLifecycle", "assetType", "assetChangedUtcDateTime"),
    "pascal": ("ChangeSetId", "ChangedAssets", "Id", "AssetLifecycle", "AssetType", "AssetChangedUtcDateTime"),
}
_LIFECYCLES = {"snake": {}, "camel": {"Update": "Updated", "Delete": "deleted"}, "pascal": {"New": "NEW"}}
SPELLINGS = tuple(_KEYS)


def wire_document(each: HandedOut, *, asset_type: str, spelling: str) -> dict[str, Any]:
    """Return a change set as a JSON document: its id, then its changes."""
    set_key, list_key, id_key, lifecycle_key, type_key, time_key = _KEYS[spelling]
    changes = [
        {
            id_key: asset_id and (f" {asset_id} " if spelling == "pascal" else asset_id),
            lifecycle_key: _LIFECYCLES[spelling].get(lifecycle, lifecycle),
            type_key: None if lifecycle == "Delete" else asset_type,
            time_key: (DAY + timedelta(seconds=second)).isoformat(),
        }
        for asset_id, lifecycle, second in each.messages
    ]
    return {set_key: each.change_set_id, list_key: changes}


@dataclass
class InMemoryGetty:
    """Getty as its guide describes it: a channel hands out one set until that is confirmed.

    `on_confirm` is called before one of our confirmations takes effect, with the number of messages of the set that the
    worker had received; `meanwhile` runs once, during a call. `ahead` is how far its clock, which dates its answers, is
    ahead of ours.
    """

    channels: dict[int, Channel]
    on_confirm: Callable[[HandedOut, int], None]
    sets: dict[str, HandedOut] = field(default_factory=dict)
    spelling: str = "snake"
    grows: bool = False
    never_grows: bool = False
    meanwhile: Callable[[], object] | None = None
    time_passed: timedelta = timedelta()
    ahead: timedelta = timedelta()
    _outstanding: dict[int, HandedOut] = field(default_factory=dict)
    _feeds: dict[int, list[Message]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(8))  # soon a digit more

    def now(self) -> datetime:
        """The current time of the history."""
        return datetime.now(UTC) + self.time_passed

    def append(self, channel_id: int, messages: list[Message]) -> None:
        """Put messages at the end of a channel's feed."""
        self._feeds.setdefault(channel_id, []).extend(messages)

    def hand_out(self, channel_id: int, batch_size: int) -> Delivery:
        """Hand out the outstanding set, with newer messages if it grows, or the next one."""
        each, is_redelivery = self._next(channel_id, batch_size)
        asset_type, document = self.channels[channel_id].asset_type, None
        if each is not None:
            each.sizes.add(len(each.messages))
            document = wire_document(each, asset_type=asset_type, spelling=self.spelling)
        self._run_meanwhile()
        body = json.dumps(document).encode() if document else b""
        status, received_at = 200 if is_redelivery else 201, self.now() + self.ahead
        return Delivery(status=status, body=body, document=document, received_at=received_at)

    def confirm(self, change_set_id: str, *, received: int) -> Confirmation:
        """Take our confirmation."""
        self._run_meanwhile()
        each = self.sets[change_set_id]
        is_known = self.is_outstanding(change_set_id)
        if is_known:
            self.on_confirm(each, received)
            del self._outstanding[each.channel_id]
        return Confirmation(is_known=is_known, tries=1)

    def is_outstanding(self, change_set_id: str) -> bool:
        """Say whether a set waits for its confirmation."""
        each = self.sets[change_set_id]
        return self._outstanding.get(each.channel_id) is each

    def confirm_by_other_consumer(self, channel_id: int) -> None:
        """Take somebody else's confirmation, also of a set that we never received."""
        self.grows = False
        self._next(channel_id, 2)
        if each := self._outstanding.pop(channel_id, None):
            each.is_taken = True

    def _run_meanwhile(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()

    def _next(self, channel_id: int, batch_size: int) -> tuple[HandedOut | None, bool]:
        feed, each = self._feeds.get(channel_id, []), self._outstanding.get(channel_id)
        is_redelivery = each is not None
        if feed and each is None:
            each = HandedOut(channel_id, str(next(self._ids)))
            self.sets[each.change_set_id] = self._outstanding[channel_id] = each
        if feed and each is not None and (not is_redelivery or (self.grows and not self.never_grows)):
            size = len(feed) if is_redelivery else batch_size
            each.messages += feed[:size]
            del feed[:size]
        return each, is_redelivery


@dataclass
class WorkerClient:
    """One worker's client, which counts the messages that it received of each set."""

    getty: InMemoryGetty
    received: dict[str, int] = field(default_factory=dict)

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Ask for the channel's next set."""
        delivery = self.getty.hand_out(channel_id, batch_size)
        if delivery.document:
            change_set_id, changes = delivery.document.values()
            self.received[change_set_id] = len(changes)
        return delivery

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm a set."""
        return self.getty.confirm(change_set_id, received=self.received.get(change_set_id, 0))
