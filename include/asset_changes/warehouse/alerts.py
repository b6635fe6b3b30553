"""The alerts that are open: which condition holds for which channel, and whether somebody was told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from asset_changes.warehouse.schema import alerts, channels


@dataclass(frozen=True, kw_only=True)
class OpenAlert:
    """An alert that has not cleared."""

    channel_id: int
    condition: str
    since: datetime
    notified_at: datetime | None

    @property
    def key(self) -> tuple[int, str]:
        """What there is at most one open alert of."""
        return (self.channel_id, self.condition)


def open_alerts(connection: Connection) -> list[OpenAlert]:
    """Return the alerts that have not cleared, the oldest first."""
    query = select(alerts.c.channel_id, alerts.c.condition, alerts.c.since, alerts.c.notified_at)
    rows = connection.execute(query.where(alerts.c.cleared_at.is_(None)).order_by(alerts.c.since, alerts.c.channel_id))
    return [OpenAlert(**row._mapping) for row in rows]


def raise_alerts(connection: Connection, raised: Sequence[tuple[int, str, datetime]]) -> None:
    """Open an alert per (channel, condition, since); one that is open already stays as it is."""
    if not raised:
        return
    connection.execute(text("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE"))  # a second watch may run beside this
    held = {alert.key for alert in open_alerts(connection)}
    for channel_id, condition, since in raised:
        if (channel_id, condition) in held:
            continue
        statement = insert(alerts).values(channel_id=channel_id, condition=condition, since=since)
        # The same condition since the same moment, once cleared, has come back.
        again = statement.on_conflict_do_update(
            index_elements=["channel_id", "condition", "since"],
            set_={"cleared_at": None, "notified_at": None},
            where=alerts.c.cleared_at.is_not(None),
        )
        connection.execute(again)


def mark_notified(connection: Connection, alert: OpenAlert) -> None:
    """Stamp that somebody was told of an alert."""
    connection.execute(update(alerts).where(_is(alert)).values(notified_at=func.now()))


def mark_cleared(connection: Connection, alert: OpenAlert) -> None:
    """Stamp that an alert is over; it is told before, if the alert itself was."""
    connection.execute(update(alerts).where(_is(alert)).values(cleared_at=func.now()))


def note_nightly_replay(connection: Connection, channel_id: int, *, changed: int) -> None:
    """Keep what the last nightly replay of a channel changed: anything but 0 raises an alert."""
    connection.execute(
        update(channels)
        .where(channels.c.channel_id == channel_id)
        .values(replayed_at=func.now(), replay_changed_count=changed)
    )


def note_retirement(connection: Connection, channel_id: int) -> bool:
    """Keep that a person knows that Getty no longer lists a channel; False where there is no such channel."""
    known = (
        update(channels)
        .where((channels.c.channel_id == channel_id) & channels.c.retired_at.is_not(None))
        .values(retirement_known_at=func.now())
    )
    return connection.execute(known).rowcount == 1


def _is(alert: OpenAlert):  # type: ignore[no-untyped-def]  # SQLAlchemy's own expression type
    return (
        (alerts.c.channel_id == alert.channel_id)
        & (alerts.c.condition == alert.condition)
        & (alerts.c.since == alert.since)
    )
