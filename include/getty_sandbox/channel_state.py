"""One channel's feed: its messages so far, what was handed out of them, and what was confirmed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from getty_sandbox.encode import Message, to_datetime
from getty_sandbox.options import Channel
from getty_sandbox.store import ChangeSet


@dataclass
class ChannelState:
    """One channel: its messages so far, and how far they were handed out."""

    channel: Channel
    messages: list[Message]
    next_position: int = 0
    retired: bool = False
    silent: bool = False
    trickled: int = 0
    trickled_before: int = 0
    lost: int = 0
    last: ChangeSet | None = None
    confirmed: list[ChangeSet] = field(default_factory=list)

    @property
    def outstanding(self) -> ChangeSet | None:
        """The set that waits for its confirmation, if there is one."""
        return self.last if self.last and self.last.confirmed_at is None else None

    def slice(self, change_set: ChangeSet) -> list[Message]:
        """The messages of a set of this channel."""
        return self.messages[change_set.first : change_set.first + change_set.size]

    def pending(self) -> tuple[int, datetime | None]:
        """How many messages are unconfirmed, and when the oldest of them was published."""
        waiting = self.outstanding.size if self.outstanding else 0
        # What vanished unread may lie between the outstanding set and the next position.
        first = self.outstanding.first if self.outstanding and waiting else self.next_position
        count = len(self.messages) - self.next_position + waiting
        return count, to_datetime(self.messages[first].published_us) if count else None

    def progress(self) -> dict[str, Any]:
        """How much there is, was handed out and confirmed, without what vanished unread."""
        count, oldest = self.pending()
        return {
            "channel_id": self.channel.channel_id,
            "asset_family": self.channel.asset_family,
            "asset_type": self.channel.asset_type,
            "total": len(self.messages) - self.lost,
            "delivered": self.next_position - self.lost,
            "confirmed": sum(s.size for s in self.confirmed),
            "pending": count,
            "oldest_pending_at": oldest.isoformat(timespec="microseconds") if oldest else None,
            "lost_to_retention": self.lost,
            "is_retired": self.retired,
        }
