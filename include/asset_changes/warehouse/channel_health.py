"""How each channel is: one rule, the view `channel_health`, for page, watchdog, metrics, report and `make run`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from asset_changes.channel_registry import ChannelEntry
from asset_changes.models import Channel

FRESH = timedelta(minutes=15)
"""How long an empty answer proves that nothing waits: three runs at the usual schedule."""
UNREAD_KEPT = timedelta(days=14)
"""How long Getty keeps notifications that nobody reads (its Asset Changes guide)."""
IS_POSSIBLE_LOSS = f"unread_to - unread_from > interval '{UNREAD_KEPT.days} days'"
"""Of a row of `feed_gaps`: Deletes that came meanwhile may never have arrived."""
REPLAY_DUE_SINCE = """coalesce(replayed_at, discovered_at, (
    SELECT min(loaded_at) FROM change_sets WHERE change_sets.channel_id = channel_health.channel_id))"""
"""Of a row of `channel_health`: since when its next nightly replay is due; no discovery may have seen the channel."""
SILENT_KEPT = timedelta(days=120)
"""After how long without a request Getty has removed channels (an older edition of the same guide)."""


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How old the oldest unconfirmed change is; `is_at_most` where only a bound is known."""

    value: timedelta
    is_at_most: bool = False


@dataclass(frozen=True, kw_only=True)
class ChannelHealth:
    """A row of the view `channel_health`; docs/warehouse.md says what each column means."""

    channel: Channel
    discovered_at: datetime | None
    last_checked_at: datetime | None
    caught_up_at: datetime | None
    last_change_at: datetime | None
    missing_since: datetime | None
    retired_at: datetime | None
    retirement_known_at: datetime | None
    replayed_at: datetime | None
    is_vanished: bool
    is_caught_up: bool
    open_sets: int
    oldest_open_change_at: datetime | None
    not_loaded_since: datetime | None
    not_confirmed_since: datetime | None
    unchecked_since: datetime | None
    unread_since: datetime | None
    lag_since: datetime | None

    @property
    def dag_id(self) -> str:
        """The id of the channel's DAG."""
        return ChannelEntry(channel=self.channel).dag_id

    @property
    def name(self) -> str:
        """The channel as people call it."""
        return f"{self.channel.asset_family} {self.channel.asset_type} ({self.channel.channel_id})"

    def lag(self, now: datetime) -> Lag | None:
        """Return the age of the oldest change that is not confirmed, 0 for none; None where nothing is known yet."""
        if self.lag_since is None:
            return None
        if self.is_caught_up and now - self.lag_since <= FRESH:
            return Lag(value=timedelta())
        return Lag(value=max(now - self.lag_since, timedelta()), is_at_most=self.open_sets == 0)


_QUERY = text("SELECT * FROM channel_health ORDER BY retired_at IS NOT NULL, channel_id")


def read_channel_health(connection: Connection) -> tuple[ChannelHealth, ...]:
    """Return the health of all channels, those that Getty lists first."""
    health = []
    for row in connection.execute(_QUERY).mappings():
        facts = dict(row)
        channel = Channel(**{name: facts.pop(name) for name in ("channel_id", "asset_family", "asset_type")})
        health.append(ChannelHealth(channel=channel, **facts))
    return tuple(health)
