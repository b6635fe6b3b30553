"""Alerts: the rows of those that are open, and the message that a notifier carries."""

import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select, text, update

from asset_changes.errors import NotificationFailed
from asset_changes.warehouse.schema import alerts

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A message of the watchdog; one with `until` says that its condition is over.

    `link` is the status page, of the channel if there is one. `channel_id` is None where the condition is not that of a
    channel.
    """

    condition: str
    channel_id: int | None
    subject: str
    what: str
    since: datetime
    next_step: str = "Nothing."
    until: datetime | None = None
    link: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether this is the all-clear."""
        return self.until is not None

    @property
    def entry(self) -> str:
        """Where the docs say more."""
        return f"docs/operations.md#{self.condition}"

    @property
    def text(self) -> str:
        """The message as plain text."""
        return "\n".join(self._lines())

    @property
    def html(self) -> str:
        """The message as HTML, escaped: part of it came from outside."""
        lines = "<br>\n".join(html.escape(line) for line in self._lines())
        address = html.escape(self.link or "")
        return lines.replace(f"See: {address}", f'See: <a href="{address}">{address}</a>')

    def _lines(self) -> list[str]:
        see = [f"See: {self.link}"] if self.link else []
        if self.until is not None:
            return [self.what, f"It lasted from {_minute(self.since)} to {_minute(self.until)} UTC", *see]
        to_do = [f"Since: {_minute(self.since)} UTC", f"What to do: {self.next_step}"]
        return [self.what, *to_do, *see, f"More: {self.entry}"]


def deliver(alert: Alert, notify: Callable[[Alert], None]) -> None:
    """Send an alert, or raise NotificationFailed: a notifier may fail in any way, and the other alerts must go out."""
    try:
        notify(alert)
    except Exception as error:
        # Its own words may contain what it carries, such as the address of a webhook: they are in the log alone.
        log.warning("Not sent: %s", alert.subject, exc_info=True)
        raise NotificationFailed(
            f"The alert {alert.subject!r} was not sent: the notifier failed with {type(error).__name__}, see the log. "
            "The next watch tries again."
        ) from error


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A condition that is true for a channel now; `count` is how many, where it counts something."""

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
        """Whether somebody was notified, and there is so many times as much by now."""
        if self.notified_at is None or self.notified_count is None or now.count is None:
            return False
        return now.count >= times * self.notified_count


# A count that falls is the new base: after a flood that ebbed, the next one is as new as the first.
_UPDATE_OPEN = text("""
UPDATE alerts SET says = :says, notified_count = least(notified_count, CAST(:count AS integer))
WHERE channel_id = :channel_id AND condition = :condition AND cleared_at IS NULL
""")
# The same condition with the same start, once cleared, has come back.
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


def raise_alerts(connection: Connection, findings: Sequence[Finding]) -> None:
    """Open an alert for each finding that has none; where one is open already, keep what it says now."""
    if not findings:
        return
    connection.execute(text("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE"))  # a second watch may run at the same time
    for values in map(asdict, findings):
        if not connection.execute(_UPDATE_OPEN, values).rowcount:
            connection.execute(_RAISE, values)


def mark_notified(connection: Connection, alert: OpenAlert, *, count: int | None) -> None:
    """Mark that somebody was notified of an alert, and of how many."""
    connection.execute(update(alerts).where(_is(alert)).values(notified_at=func.now(), notified_count=count))


def mark_cleared(connection: Connection, alert: OpenAlert) -> None:
    """Mark that an alert is over; the all-clear goes out before, if the alert itself did."""
    connection.execute(update(alerts).where(_is(alert)).values(cleared_at=func.now()))


def _is(alert: OpenAlert) -> ColumnElement[bool]:
    c = alerts.c
    return (c.channel_id == alert.channel_id) & (c.condition == alert.condition) & (c.since == alert.since)


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
