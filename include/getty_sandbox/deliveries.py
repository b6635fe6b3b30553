"""The change sets of the API: per channel one feed, and at most one set that waits for its confirmation."""

from __future__ import annotations

import bisect
import contextlib
import json
import random
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from getty_sandbox.backlog import make_backlog, resolve_origin
from getty_sandbox.channel_state import ChannelState
from getty_sandbox.decode import DeliveredSet, read_time
from getty_sandbox.encode import Message, MessageEncoder, microseconds
from getty_sandbox.feed import trickle_draft
from getty_sandbox.options import MAXIMUM_BATCH_SIZE, Channel, Options, SandboxError
from getty_sandbox.store import Appended, ChangeSet, Store

_GROWTH = 3  # messages that a redelivery holds more than the delivery before it, where it may differ


@dataclass(frozen=True)
class Delivery:
    """What a PUT hands out: a set and its messages, and whether it was handed out before."""

    change_set: ChangeSet
    bodies: list[bytes]
    is_redelivery: bool


@dataclass(frozen=True)
class Additions:
    """What came to a channel's feed: messages, as if they were one set, and sets."""

    message_count: int  # of the whole feed
    unread: list[int]  # the positions of new messages that were not handed out
    published: DeliveredSet | None  # these messages
    confirmed: list[ChangeSet]
    outstanding: ChangeSet | None


class Deliveries:
    """All channels of one sandbox, safe for many threads, durable where a state directory is given."""

    def __init__(self, options: Options) -> None:
        """Makes the feed, or makes it again and continues from the stored state."""
        self._options = options
        self._lock = threading.RLock()
        self._store = Store(options.state_dir)
        try:
            start, self._next_id = resolve_origin(options, self._store)
        except SandboxError:
            self._store.close()
            raise
        self.start = start
        self._opened_at = options.clock()
        backlog = make_backlog(options, start)
        self._feeds = {c.channel_id: ChannelState(c, backlog[c.channel_id]) for c in options.channels}
        self._restore()

    def _restore(self) -> None:
        for added in self._store.appended():
            feed = self._feeds[added.channel_id]
            feed.messages.append(added.message)
            feed.trickled += added.is_trickle
        for feed in self._feeds.values():
            feed.trickled_before = feed.trickled
        for change_set in self._store.change_sets():
            self._next_id = change_set.change_set_id + 1
            feed = self._feeds[change_set.channel_id]
            feed.last = change_set
            if change_set.confirmed_at:
                feed.confirmed.append(change_set)
        for channel_id, (position, retired) in self._store.cursors().items():
            feed = self._feeds[channel_id]
            feed.next_position, feed.retired = position, retired
            handed_out = sum(s.size for s in feed.confirmed) + (feed.outstanding.size if feed.outstanding else 0)
            feed.lost = position - handed_out

    def close(self) -> None:
        """Closes the state."""
        with self._lock:
            self._store.close()

    @contextlib.contextmanager
    def storing(self) -> Iterator[Store]:
        """The stored state, for what else the sandbox remembers: all of it is written, or nothing."""
        with self._lock, self._store.transaction():
            yield self._store

    def channels(self) -> list[Channel]:
        """The channels that Getty would list now."""
        return [feed.channel for feed in self._feeds.values() if not feed.retired]

    def next_set(self, channel_id: int, batch_size: int) -> Delivery | None:
        """The outstanding set, or a new one, or None when caught up; KeyError for an unknown channel."""
        with self._lock:
            feed = self._feeds[channel_id]
            if feed.retired:
                raise KeyError(channel_id)
            with self._store.transaction():
                self._advance(feed)
                outstanding = feed.outstanding
                is_redelivery = outstanding is not None
                if outstanding is None:
                    outstanding = self._new_set(feed, min(batch_size, MAXIMUM_BATCH_SIZE))
                elif not self._options.identical_redelivery:
                    outstanding = self._grow(feed, outstanding)
            if outstanding is None:
                return None
            bodies = [m.body for m in feed.slice(outstanding)]
            return Delivery(outstanding, bodies, is_redelivery)

    def _new_set(self, feed: ChannelState, batch_size: int) -> ChangeSet | None:
        size = 0 if feed.silent else min(batch_size, len(feed.messages) - feed.next_position)
        if not size and (self._options.empty != "id-empty-list" or (feed.last and not feed.last.size)):
            # One set with an empty list says so once; repeating it would keep a reader busy forever.
            return None
        now = self._options.clock()
        made = ChangeSet(self._next_id, feed.channel.channel_id, feed.next_position, size, now)
        self._store.add_change_set(made)
        self._next_id += 1
        self._move(feed, size)
        feed.last = made
        return made

    def _grow(self, feed: ChannelState, outstanding: ChangeSet) -> ChangeSet:
        room = min(MAXIMUM_BATCH_SIZE - outstanding.size, len(feed.messages) - feed.next_position, _GROWTH)
        if feed.silent or room <= 0 or feed.next_position != outstanding.first + outstanding.size:
            return outstanding
        grown = replace(outstanding, size=outstanding.size + room)
        self._store.grow(grown)
        self._move(feed, room)
        feed.last = grown
        return grown

    def _move(self, feed: ChannelState, count: int) -> None:
        feed.next_position += count
        self._store.set_cursor(feed.channel.channel_id, feed.next_position, retired=feed.retired)

    def confirm(self, change_set_id: int) -> bool:
        """True where the set was outstanding and no longer is."""
        with self._lock:
            for feed in self._feeds.values():
                outstanding = feed.outstanding
                if outstanding and outstanding.change_set_id == change_set_id:
                    feed.last = self._store.confirm(outstanding, self._options.clock())
                    feed.confirmed.append(feed.last)
                    return True
            return False

    def channel_of(self, change_set_id: int) -> int | None:
        """The channel whose outstanding set this is."""
        with self._lock:
            for channel_id, feed in self._feeds.items():
                if feed.outstanding and feed.outstanding.change_set_id == change_set_id:
                    return channel_id
            return None

    def append(self, channel_id: int, messages: Iterable[object]) -> None:
        """Puts messages by hand at the end of a channel's feed."""
        with self._lock, self._store.transaction():
            feed = self._feed(channel_id)
            self._advance(feed)
            now = self._options.clock()
            for raw in messages:
                time_text = raw.get("asset_changed_utc_datetime") if isinstance(raw, dict) else None
                published = microseconds(read_time(time_text, now) or now)
                body = json.dumps(raw, separators=(",", ":")).encode()
                self._add(feed, Appended(channel_id, Message(body, published), is_trickle=False))

    def _add(self, feed: ChannelState, added: Appended) -> None:
        self._store.append(len(feed.messages), added)
        feed.messages.append(added.message)

    def _advance(self, feed: ChannelState) -> None:
        """Brings the feed up to now: adds the trickle that is due, and drops what is too old."""
        rate = self._options.trickle_per_minute
        if rate and not feed.silent:
            began = microseconds(self._opened_at)
            elapsed = microseconds(self._options.clock()) - began
            due = feed.trickled_before + int(elapsed * rate / 60_000_000)
            while feed.trickled < due:
                nth = feed.trickled - feed.trickled_before + 1
                self._trickle(feed, began + int(nth * 60_000_000 / rate))
        if self._options.retention_days is not None:
            self._cut(feed, self._options.retention_days)

    def _trickle(self, feed: ChannelState, at_us: int) -> None:
        own, seed = feed.channel, self._options.seed
        siblings = (c for c in self._options.channels if c.asset_family == own.asset_family and c != own)
        draft = trickle_draft(seed=seed, own=own, sibling=next(siblings, None), index=feed.trickled, at_us=at_us)
        rng = random.Random(f"trickle spelling {seed} {own.channel_id} {feed.trickled}")
        # A set of the trickle may hold a single message: a missing time would have no neighbour to take one from.
        [message] = MessageEncoder(rng, nastiness=self._options.nastiness).encode([draft], may_spoil=False)
        self._add(feed, Appended(own.channel_id, message, is_trickle=True))
        feed.trickled += 1

    def _cut(self, feed: ChannelState, days: float) -> int:
        oldest = microseconds(self._options.clock() - timedelta(days=days))
        kept_from = bisect.bisect_left(
            feed.messages, oldest, lo=feed.next_position, key=lambda message: message.published_us
        )
        gone = kept_from - feed.next_position
        if gone:
            feed.lost += gone
            self._move(feed, gone)
        return gone

    def cut_retention(self, days: float) -> int:
        """Unread notifications older than so many days vanish; how many did."""
        with self._lock, self._store.transaction():
            return sum(self._cut(feed, days) for feed in self._feeds.values())

    def retire(self, channel_id: int) -> None:
        """The channel leaves the list, and PUT no longer knows it."""
        with self._lock:
            feed = self._feed(channel_id)
            feed.retired = True
            self._store.set_cursor(channel_id, feed.next_position, retired=True)

    def silence(self, channel_id: int | None, *, silent: bool) -> None:
        """Stops one channel's feed, or all feeds, from handing out new sets, or lets them continue."""
        with self._lock:
            for feed in [self._feed(channel_id)] if channel_id is not None else self._feeds.values():
                feed.silent = silent

    def _feed(self, channel_id: int) -> ChannelState:
        if channel_id not in self._feeds:
            raise SandboxError(f"There is no channel {channel_id}.")
        return self._feeds[channel_id]

    def outstanding(self, channel_id: int) -> ChangeSet | None:
        """The set of a channel that waits for its confirmation."""
        with self._lock:
            return self._feed(channel_id).outstanding

    def confirmed_ids(self, channel_id: int) -> list[str]:
        """The confirmed sets of a channel, oldest first."""
        with self._lock:
            return [str(s.change_set_id) for s in self._feed(channel_id).confirmed]

    def confirmed_sets(self) -> list[DeliveredSet]:
        """Everything confirmed so far, as it was handed out."""
        with self._lock:
            confirmed = [(feed, s) for feed in self._feeds.values() for s in feed.confirmed]
        confirmed.sort(key=lambda pair: pair[1].change_set_id)
        return [self._delivered(feed, s) for feed, s in confirmed]

    def backlog(self) -> list[DeliveredSet]:
        """Each channel's feed as it was first made, as if it were one set."""
        with self._lock:
            size, now = self._options.changes_per_channel, self._options.clock()
            return [DeliveredSet(f.channel, "1", now, _array(f.messages[:size])) for f in self._feeds.values()]

    def _delivered(self, feed: ChannelState, made: ChangeSet) -> DeliveredSet:
        return DeliveredSet(
            feed.channel,
            str(made.change_set_id),
            made.fetched_at,
            _array(feed.slice(made)),
            keys=self._options.keys,
            may_have_grown=not self._options.identical_redelivery,
        )

    def since(self, channel_id: int, *, message_count: int, confirmed_count: int) -> Additions:
        """What a channel's feed has more than so many messages and confirmed sets, and its outstanding set."""
        with self._lock:
            feed = self._feed(channel_id)
            confirmed, outstanding = feed.confirmed[confirmed_count:], feed.outstanding
            if len(feed.messages) == message_count:
                return Additions(message_count, [], None, confirmed, outstanding)
            sets = [*confirmed, outstanding] if outstanding else confirmed
            handed_out = {position for s in sets for position in range(s.first, s.first + s.size)}
            unread = [n for n in range(message_count, len(feed.messages)) if n not in handed_out]
            messages = _array(feed.messages[n] for n in unread)
            published = DeliveredSet(feed.channel, "", self._options.clock(), messages)
            return Additions(len(feed.messages), unread, published, confirmed, outstanding)

    def delivered(self, change_set: ChangeSet) -> DeliveredSet:
        """A set as it was handed out."""
        with self._lock:
            return self._delivered(self._feed(change_set.channel_id), change_set)

    def pending(self, channel_id: int) -> tuple[int, datetime | None]:
        """How many messages are unconfirmed, and when the oldest of them was published."""
        with self._lock:
            return self._feed(channel_id).pending()

    def progress(self) -> list[dict[str, Any]]:
        """Per channel how much there is, was handed out and confirmed."""
        with self._lock:
            with self._store.transaction():
                for feed in self._feeds.values():
                    self._advance(feed)
            return [feed.progress() for feed in self._feeds.values()]


def _array(messages: Iterable[Message]) -> bytes:
    return b"[" + b",".join(message.body for message in messages) + b"]"
