"""How far each channel is: read from the warehouse, and from the sandbox where there is one."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import WarehouseRefused, WarehouseUnavailable
from asset_changes.models import Channel as GettyChannel
from asset_changes.warehouse.engine import connect, errors_as_ours
from asset_changes.warehouse.session import MAY_LACK_SCHEMA
from sqlalchemy import URL, Engine, text

from local_stack.errors import StackError


@dataclass(frozen=True)
class Channel:
    """One channel's progress; the counts are those of its ledger."""

    channel_id: int
    asset_family: str
    asset_type: str
    last_checked_at: datetime | None
    caught_up_at: datetime | None
    has_caught_up: bool = False
    sets: int = 0
    changes: int = 0
    new: int = 0
    updates: int = 0
    deletes: int = 0
    superseded: int = 0
    rejected: int = 0
    newest_change_at: datetime | None = None
    recent_changes: int = 0
    recent_seconds: float = 0.0
    expected: int | None = None

    @property
    def name(self) -> str:
        return f"{self.asset_family} {self.asset_type} {self.channel_id}".lower()

    @property
    def dag_id(self) -> str:
        channel = GettyChannel(channel_id=self.channel_id, asset_family=self.asset_family, asset_type=self.asset_type)
        return ChannelEntry(channel=channel).dag_id

    @property
    def rate(self) -> float:
        """Changes per second since the stack's start, from the first answer to the last commit."""
        return self.recent_changes / self.recent_seconds if self.recent_seconds else 0.0

    def is_caught_up(self, since: datetime) -> bool:
        """Whether Getty has had nothing more since then, and everything loaded is confirmed."""
        return self.has_caught_up and self.caught_up_at is not None and self.caught_up_at > since

    def is_looked_at(self, since: datetime) -> bool:
        """The most there is while nothing may be confirmed: one set loaded, or nothing to load."""
        checked = self.last_checked_at is not None and self.last_checked_at > since
        return checked and (self.sets > 0 or self.caught_up_at is not None)


@dataclass(frozen=True)
class Lookups:
    """How far the lookups are."""

    live: int
    with_metadata: int
    waiting: int


# One row for each channel that Getty lists. `:since` is the stack's start.
PROGRESS = """
SELECT c.channel_id, c.asset_family, c.asset_type, c.last_checked_at, c.caught_up_at, c.is_caught_up AS has_caught_up,
       count(s.loaded_at) AS sets,
       coalesce(sum(s.change_count), 0) AS changes, coalesce(sum(s.new_count), 0) AS new,
       coalesce(sum(s.update_count), 0) AS updates, coalesce(sum(s.delete_count), 0) AS deletes,
       coalesce(sum(s.superseded_count), 0) AS superseded, coalesce(sum(s.rejected_count), 0) AS rejected,
       max(s.newest_change_at) AS newest_change_at,
       coalesce(sum(s.change_count) FILTER (WHERE s.loaded_at > :since), 0) AS recent_changes,
       coalesce(extract(epoch FROM max(s.loaded_at) FILTER (WHERE s.loaded_at > :since)
                                 - min(s.fetched_at) FILTER (WHERE s.loaded_at > :since)), 0)
           AS recent_seconds
FROM {schema}.channel_health c
LEFT JOIN {schema}.change_sets s USING (channel_id)
WHERE c.retired_at IS NULL
GROUP BY c.channel_id, c.asset_family, c.asset_type, c.last_checked_at, c.caught_up_at, c.is_caught_up
ORDER BY c.channel_id
"""
# What the watchdog has found, and what it may find at its next run; an alert of the lookups has 0 for its channel.
FINDINGS = """
SELECT CASE channel_id WHEN 0 THEN 'look up assets' ELSE lower(concat_ws(' ', asset_family, asset_type, channel_id))
       END AS channel, condition, says
FROM (SELECT channel_id, condition, coalesce(says, 'is to be looked at') AS says FROM {schema}.alerts
      WHERE cleared_at IS NULL AND condition <> 'other_consumer'
      UNION ALL
      SELECT channel_id, 'other_consumer', 'had change sets confirmed by somebody else: ' || count(*)
      FROM {schema}.confirmed_elsewhere
      WHERE :confirms AND confirmed_at > now() - interval '1 day'
      GROUP BY channel_id) AS found
LEFT JOIN {schema}.channels USING (channel_id)
WHERE asset_family IS NOT NULL OR channel_id = 0
ORDER BY condition, channel_id
"""
LIVE = "SELECT channel_id, count(*) FROM {schema}.assets GROUP BY channel_id"
HELD = "SELECT count(*) FROM {schema}.held_assets WHERE source = :source AND held_until IS NULL"
# One that must go, while nobody has held anything back.
TO_HOLD = """
SELECT min(asset_id) AS asset_id FROM {schema}.assets_to_remove
WHERE source = :source AND NOT EXISTS (SELECT FROM {schema}.purge_holds)
"""
# What is not found waits for the next reconciliation, which may be tomorrow: no run before then gets further with it.
LOOKUPS = """
SELECT (SELECT count(*) FROM {schema}.assets) AS live,
       (SELECT count(*) FROM {schema}.assets_with_metadata WHERE as_of IS NOT NULL) AS with_metadata,
       (SELECT count(*) FROM {schema}.lookup_queue WHERE reason <> 'recheck') AS waiting
"""


class Warehouse:
    """The warehouse as the stack sees it: read only."""

    def __init__(self, url: URL, *, schema: str, since: datetime) -> None:
        # As the tasks do it, so that a pooler or a role's defaults make no difference here either.
        self._engine: Engine = connect(url, schema=schema).execution_options(**{MAY_LACK_SCHEMA: True})
        self._schema = self._engine.dialect.identifier_preparer.quote_identifier(schema)
        self._since = since

    def channels(self) -> list[Channel]:
        """Every channel that is not retired; none before discovery has made the tables."""
        try:
            rows = self._rows(PROGRESS, since=self._since)
        except (WarehouseRefused, WarehouseUnavailable):
            return []  # no tables yet, or a warehouse that is away: Airflow's tasks say so, and retry
        return [_channel(row) for row in rows]

    def live_assets(self) -> dict[int, int]:
        """The number of live assets of each channel."""
        return {row["channel_id"]: row["count"] for row in self._rows(LIVE)}

    def lookups(self) -> Lookups:
        """How many live assets were looked up, and how many wait."""
        return Lookups(**self._rows(LOOKUPS)[0])

    def held_assets(self, source: str) -> int:
        """The number of assets that the newest list of a source says are held."""
        return int(self._rows(HELD, source=source)[0]["count"])

    def asset_to_hold(self, source: str) -> str | None:
        """An asset of this source that must go; none where somebody has held one back before."""
        found: str | None = self._rows(TO_HOLD, source=source)[0]["asset_id"]
        return found

    def findings(self, *, confirms: bool) -> list[str]:
        """Open alerts and, if we confirm, confirmations by another consumer."""
        return ["{condition}: {channel} {says}".format(**row) for row in self._rows(FINDINGS, confirms=confirms)]

    def close(self) -> None:
        self._engine.dispose()

    def _rows(self, statement: str, **values: Any) -> Sequence[dict[str, Any]]:
        with errors_as_ours(), self._engine.begin() as connection:
            rows = connection.execute(text(statement.format(schema=self._schema)), values).mappings()
            return [dict(row) for row in rows]


def _channel(row: dict[str, Any]) -> Channel:
    counts = ("changes", "new", "updates", "deletes", "superseded", "rejected", "recent_changes")
    return Channel(
        **{
            **row,
            **{name: int(row[name]) for name in counts},
            "recent_seconds": float(row["recent_seconds"]),
        }
    )


class Sandbox:
    """The sandbox, asked how much there is to come."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._session = requests.Session()
        self._session.trust_env = False

    def is_up(self) -> bool:
        try:
            return self._session.get(f"{self.address}/_sandbox/progress", timeout=5).ok
        except requests.RequestException:
            return False

    def silence(self) -> None:
        """Let nothing new come; one that does not answer hands out nothing either."""
        with suppress(requests.RequestException):
            self._session.post(f"{self.address}/_sandbox/silence", json={}, timeout=5)

    def example_holdings(self) -> list[dict[str, str]]:
        """What a company may hold, each with `asset_id` and `asset_type`; some are in no message of the feed."""
        try:
            answer = self._session.post(f"{self.address}/_sandbox/holdings", json={}, timeout=60)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise StackError(f"The sandbox does not say what a company may hold: {error}") from error
        return list(answer.json()["result"])

    def totals(self) -> dict[int, int]:
        """The number of changes made so far, of each channel; empty if it does not answer."""
        try:
            answer = self._session.get(f"{self.address}/_sandbox/progress", timeout=5)
            answer.raise_for_status()
            return {int(channel["channel_id"]): int(channel["total"]) for channel in answer.json()["channels"]}
        except requests.RequestException:
            return {}
