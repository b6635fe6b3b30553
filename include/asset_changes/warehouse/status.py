"""What the status page shows of the channels, read from ledger, channels, deletions and rejected changes alone.

No query touches the log or counts assets, so that the page is as quick with a hundred million
changes as on the first day.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.models import Channel
from asset_changes.warehouse.channel_health import ChannelHealth, read_channel_health
from asset_changes.warehouse.compliance import REMOVED_BY

LAST_SETS = 8
LAST_REJECTED = 10
# Sets with rejected changes that are looked into for their reasons: a broken feed may have many.
_REJECTED_SETS = 200


@dataclass(frozen=True, kw_only=True)
class HourCounts:
    """The changes that arrived on a channel in one hour, as the ledger counts them."""

    hour: datetime
    sets: int
    changes: int
    new: int
    update: int
    delete: int
    superseded: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class RemovalTimes:
    """How long Deletes took from their arrival to their removal; every value is one that occurred."""

    deletes: int
    median: timedelta
    p99: timedelta
    worst: timedelta


@dataclass(frozen=True, kw_only=True)
class SetRow:
    """One change set of the ledger, as a line of a table."""

    change_set_id: str
    fetched_at: datetime
    loaded_at: datetime | None
    confirmed_at: datetime | None
    rebuilt_at: datetime | None
    changes: int
    new: int
    update: int
    delete: int
    superseded: int
    rejected: int
    dag_id: str | None
    run_id: str | None


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """One rejected change with its reason."""

    change_set_id: str
    position: int
    reason: str
    asset_id: str | None
    asset_lifecycle: str | None
    raw: str
    rejected_at: datetime


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert of the watchdog that has not cleared."""

    condition: str
    since: datetime
    says: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChannelStatus:
    """All that the page says of one channel."""

    health: ChannelHealth
    hours: tuple[HourCounts, ...] = ()
    removals: RemovalTimes | None = None
    rebuilt_deletes: int = 0
    sets: tuple[SetRow, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    alerts: tuple[Alert, ...] = ()

    @property
    def channel(self) -> Channel:
        """The channel itself."""
        return self.health.channel

    @property
    def dag_id(self) -> str:
        """The id of the channel's DAG."""
        return self.health.dag_id

    @property
    def name(self) -> str:
        """The channel as people call it."""
        return self.health.name


_HOURS = text("""
SELECT channel_id, date_trunc('hour', fetched_at, 'UTC') AS hour, count(*) AS sets, sum(change_count) AS changes,
       sum(new_count) AS new, sum(update_count) AS update, sum(delete_count) AS delete,
       sum(superseded_count) AS superseded, sum(rejected_count) AS rejected
FROM change_sets
WHERE fetched_at >= :since
GROUP BY 1, 2
ORDER BY 1, 2
""")

# The Deletes of a set share their times, so they are counted before they are sorted.
_REMOVALS = text(f"""
WITH removals AS (
    SELECT channel_id, change_set_id, received_at, applied_at, bool_or(is_rebuilt) AS is_rebuilt, count(*) AS deletes
    FROM deletions WHERE received_at >= :since
    GROUP BY 1, 2, 3, 4
), timed AS (
    SELECT d.channel_id, d.is_rebuilt, d.deletes, {REMOVED_BY} - d.received_at AS took
    FROM removals AS d LEFT JOIN change_sets AS s USING (channel_id, change_set_id)
), ranked AS (
    SELECT *, sum(deletes) OVER (PARTITION BY channel_id, is_rebuilt ORDER BY took) AS rank,
           sum(deletes) OVER (PARTITION BY channel_id, is_rebuilt) AS of
    FROM timed
)
SELECT channel_id, is_rebuilt, max(of) AS deletes, min(took) FILTER (WHERE rank >= 0.5 * of) AS median,
       min(took) FILTER (WHERE rank >= 0.99 * of) AS p99, max(took) AS worst
FROM ranked
GROUP BY 1, 2
""")

_LAST_SETS = text(f"""
SELECT latest.* FROM channels CROSS JOIN LATERAL (
    SELECT channel_id, change_set_id, fetched_at, loaded_at, confirmed_at, rebuilt_at, change_count AS changes,
           new_count AS new, update_count AS update, delete_count AS delete, superseded_count AS superseded,
           rejected_count AS rejected, dag_id, run_id
    FROM change_sets
    WHERE change_sets.channel_id = channels.channel_id
    ORDER BY fetched_at DESC
    LIMIT {LAST_SETS}
) AS latest
ORDER BY latest.fetched_at DESC
""")

_SETS_WITH_REJECTED = f"""
    SELECT channel_id, change_set_id FROM change_sets
    WHERE fetched_at >= :since AND rejected_count > 0
    ORDER BY fetched_at DESC LIMIT {_REJECTED_SETS}
"""
_REASONS = text(f"""
SELECT channel_id, reason, count(*) AS changes
FROM ({_SETS_WITH_REJECTED}) AS s JOIN rejected_changes USING (channel_id, change_set_id)
GROUP BY 1, 2 ORDER BY 3 DESC, 2
""")
_REJECTED = text(f"""
SELECT channel_id, change_set_id, position, reason, asset_id, asset_lifecycle, left(raw, 200) AS raw, rejected_at
FROM (
    SELECT r.*, row_number() OVER (PARTITION BY channel_id ORDER BY rejected_at DESC, position) AS nth
    FROM ({_SETS_WITH_REJECTED}) AS s JOIN rejected_changes AS r USING (channel_id, change_set_id)
) AS newest
WHERE nth <= {LAST_REJECTED}
ORDER BY channel_id, nth
""")

_ALERTS = text("""
SELECT channel_id, condition, since, says FROM alerts
WHERE cleared_at IS NULL
ORDER BY since
""")


def channel_statuses(connection: Connection, *, since: datetime) -> tuple[ChannelStatus, ...]:
    """Return the status of all channels; pictures, times and reasons go back to `since`."""
    values = {"since": since}

    def grouped(query: Any) -> dict[int, list[dict[str, Any]]]:
        by_channel = defaultdict(list)
        for row in connection.execute(query, values).mappings():
            by_channel[row["channel_id"]].append({name: row[name] for name in row if name != "channel_id"})
        return by_channel

    hours, removals, sets = grouped(_HOURS), grouped(_REMOVALS), grouped(_LAST_SETS)
    reasons, rejected, alerts = grouped(_REASONS), grouped(_REJECTED), grouped(_ALERTS)
    return tuple(
        ChannelStatus(
            health=health,
            hours=tuple(HourCounts(**each) for each in hours[number]),
            removals=next(
                (
                    RemovalTimes(**{name: each[name] for name in ("deletes", "median", "p99", "worst")})
                    for each in removals[number]
                    if not each["is_rebuilt"]
                ),
                None,
            ),
            rebuilt_deletes=sum(each["deletes"] for each in removals[number] if each["is_rebuilt"]),
            sets=tuple(SetRow(**each) for each in sets[number]),
            rejected=tuple(RejectedRow(**each) for each in rejected[number]),
            reasons=tuple((each["reason"], each["changes"]) for each in reasons[number]),
            alerts=tuple(Alert(**each) for each in alerts[number]),
        )
        for health in read_channel_health(connection)
        for number in [health.channel.channel_id]
    )
