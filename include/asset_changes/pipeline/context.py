"""What the steps of one channel work with, and what they hand to each other in memory."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from sqlalchemy import Engine

from asset_changes.archive import Archive
from asset_changes.clock import Clock, system_clock
from asset_changes.getty_api.content import combined_hash
from asset_changes.models import ChangeSet, ChangeSetRef, Channel, Confirmation, Delivery
from asset_changes.warehouse.ledger import LedgerRow, RunRef


class ChangeSetSource(Protocol):
    """Whoever hands out change sets and takes confirmations: the client, or a double of it."""

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Return the next delivery of a channel."""
        ...

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm a set."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChannelContext:
    """What the steps of one channel work with; `clock` is that of the source, too.

    A channel that was not asked for longer than `gap` has a gap in its feed, which is kept.
    """

    channel: Channel
    source: ChangeSetSource
    archive: Archive
    warehouse: Engine
    confirms: bool = True
    run: RunRef = field(default_factory=RunRef)
    clock: Clock = system_clock
    gap: timedelta = timedelta(hours=1)


class DeliveryKind(enum.Enum):
    """What a delivery is to those before it of the same change set."""

    NEW = "new"
    SAME = "same"
    EXTENDED = "extended"


def already_archived() -> None:
    """Return at once: the body was in the archive before."""


@dataclass(frozen=True, kw_only=True)
class ReceivedSet:
    """A change set that Getty handed out and that is in the archive, or on the way there.

    `deliveries` is all that is known of it, oldest first; `row` is the ledger's row where it has one.
    Nothing may be committed before `wait_until_archived` has returned.
    """

    ref: ChangeSetRef
    kind: DeliveryKind
    delivery: Delivery
    deliveries: tuple[ChangeSet, ...]
    row: LedgerRow | None = None
    wait_until_archived: Callable[[], None] = already_archived

    @property
    def content_hash(self) -> str:
        """The hash of all messages together."""
        return combined_hash(self.deliveries)

    @property
    def is_loaded(self) -> bool:
        """Whether all that is known of it was loaded when it was received."""
        return self.row is not None and self.row.loaded_at is not None and self.row.content_hash == self.content_hash
