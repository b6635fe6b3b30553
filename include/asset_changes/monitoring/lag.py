"""How far a channel is behind Getty, as far as the ledger can know: one rule for the page and for the metrics."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

FRESH = timedelta(minutes=15)
"""How long an empty answer proves that nothing waits: three runs at the usual schedule."""


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How old the oldest unconfirmed change is; `is_at_most` where only a bound is known."""

    value: timedelta
    is_at_most: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a channel that Getty lists stands; None is what cannot be known of one that was never read."""

    channel_id: int
    lag_seconds: float | None
    unchecked_seconds: float | None


_READINGS = text("""
SELECT channel_id, coalesce(last_checked_at, discovered_at) AS checked_at, caught_up_at, last_change_at, oldest_open_at,
       coalesce(caught_up_at >= last_checked_at, false) AND oldest_open_at IS NULL AS is_caught_up
FROM channels
CROSS JOIN LATERAL (
    SELECT min(coalesce(oldest_change_at, fetched_at)) AS oldest_open_at FROM change_sets
    WHERE change_sets.channel_id = channels.channel_id AND confirmed_at IS NULL
) AS open
WHERE retired_at IS NULL
ORDER BY channel_id
""")


def lag_of(
    *,
    now: datetime,
    is_caught_up: bool,
    oldest_open_at: datetime | None,
    caught_up_at: datetime | None,
    last_change_at: datetime | None,
) -> Lag | None:
    """Return the age of the oldest change that is not confirmed, 0 for none; None where nothing is known yet."""
    if oldest_open_at is not None:
        return Lag(value=now - oldest_open_at)
    # What Getty holds by now came after its last empty answer. Without one, the feed ascends: it is newer than what
    # was handed out.
    read_until = caught_up_at if is_caught_up else last_change_at
    if read_until is None:
        return None
    if is_caught_up and now - read_until <= FRESH:
        return Lag(value=timedelta())
    return Lag(value=max(now - read_until, timedelta()), is_at_most=True)


def readings(connection: Connection, *, now: datetime) -> tuple[Reading, ...]:
    """Return how the channels stand that Getty lists."""
    read = []
    for row in connection.execute(_READINGS).mappings():
        known = {name: row[name] for name in ("is_caught_up", "oldest_open_at", "caught_up_at", "last_change_at")}
        lag, checked_at = lag_of(now=now, **known), row["checked_at"]
        read.append(
            Reading(
                channel_id=row["channel_id"],
                lag_seconds=None if lag is None else lag.value.total_seconds(),
                unchecked_seconds=None if checked_at is None else (now - checked_at).total_seconds(),
            )
        )
    return tuple(read)
