"""The alerts that are open: which condition holds for which channel, and whether somebody was told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, text, update

from asset_changes.warehouse.schema import alerts, channels


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A condition that holds for a channel now; `count` is how many, where it counts something."""

    channel_id: int
    condition: str
    since: datetime
    says: str
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class OpenAlert:
    """An alert that has not cleared."""

    channel_id: int
    condition: str
    since: datetime
    notified_at: datetime | None
    notified_count: int | None = None

    @property
    def key(self) -> tuple[int, str]:
        """What there is at most one open alert of."""
        return (self.channel_id, self.condition)

    def has_grown(self, now: Finding, *, times: float) -> bool:
        """Whether somebody was told, and there is so many times as much by now."""
        if self.notified_at is None or self.notified_count is None or now.count is None:
            return False
        return now.count >= times * self.notified_count


# What falls is told again from there: a flood that ebbed leaves no high mark behind which the next one hides.
_STILL_HOLDS = text("""
UPDATE alerts SET says = :says, notified_count = least(notified_count, CAST(:count AS integer))
WHERE channel_id = :channel_id AND condition = :condition AND cleared_at IS NULL
""")
# The same condition since the same moment, once cleared, has come back.
_RAISE = text("""
INSERT INTO alerts (channel_id, condition, since, says) VALUES (:channel_id, :condition, :since, :says)
ON CONFLICT (channel_id, condition, since) DO UPDATE
SET says = excluded.says, cleared_at = NULL, notified_at = NULL, notified_count = NULL
""")


def open_alerts(connection: Connection) -> list[OpenAlert]:
    """Return the alerts that have not cleared, the oldest first."""
    c = alerts.c
    rows = connection.execute(
        select(c.channel_id, c.condition, c.since, c.notified_at, c.notified_count)
        .where(c.cleared_at.is_(None))
        .order_by(c.since, c.channel_id)
    )
    return [OpenAlert(**row._mapping) for row in rows]


def raise_alerts(connection: Connection, raised: Sequence[Finding]) -> None:
    """Open an alert for each that has none; of one that is open already, keep what it says now."""
    if not raised:
        return
    connection.execute(text("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE"))  # a second watch may run beside this
    for values in map(asdict, raised):
        if not connection.execute(_STILL_HOLDS, values).rowcount:
            connection.execute(_RAISE, values)


def mark_notified(connection: Connection, alert: OpenAlert, *, count: int | None) -> None:
    """Stamp that somebody was told of an alert, and of how many."""
    connection.execute(update(alerts).where(_is(alert)).values(notified_at=func.now(), notified_count=count))


def mark_cleared(connection: Connection, alert: OpenAlert) -> None:
    """Stamp that an alert is over; it is told before, if the alert itself was."""
    connection.execute(update(alerts).where(_is(alert)).values(cleared_at=func.now()))


def note_nightly_replay(connection: Connection, channel_id: int, *, changed: int, begins: bool = False) -> None:
    """Add to what the last nightly replay of a channel changed: anything but 0 raises an alert.

    Each of its transactions does, for what it mends is no more to be found should it be tried again.
    """
    before = 0 if begins else func.coalesce(channels.c.replay_changed_count, 0)
    connection.execute(
        update(channels)
        .where(channels.c.channel_id == channel_id)
        .values(replayed_at=func.now(), replay_changed_count=before + changed)
    )


def note_retirement(connection: Connection, channel_id: int) -> bool:
    """Keep that a person knows that Getty no longer lists a channel; False where there is no such channel.

    One that discovery could not retire, because the Variable had lost it, is retired by this.
    """
    known = (
        update(channels)
        .where(channels.c.channel_id == channel_id)
        .values(retired_at=func.coalesce(channels.c.retired_at, func.now()), retirement_known_at=func.now())
    )
    return connection.execute(known).rowcount == 1


def _is(alert: OpenAlert):  # type: ignore[no-untyped-def]  # SQLAlchemy's own expression type
    return (
        (alerts.c.channel_id == alert.channel_id)
        & (alerts.c.condition == alert.condition)
        & (alerts.c.since == alert.since)
    )
