"""One message to a person, for whatever carries it: what is, since when, what to do, where to look."""

import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from asset_changes.errors import NotificationFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A message of the watchdog; one with `until` says that its condition is over.

    `link` is the status page of the channel. `channel_id` is None where the condition is the watchdog's own.
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
            return [self.what, f"It lasted from {_moment(self.since)} to {_moment(self.until)} UTC", *see]
        to_do = [f"Since: {_moment(self.since)} UTC", f"What to do: {self.next_step}"]
        return [self.what, *to_do, *see, f"More: {self.entry}"]


def deliver(alert: Alert, tell: Callable[[Alert], None]) -> None:
    """Tell an alert, or raise NotificationFailed: a notifier may fail in any way, and the other alerts must go out."""
    try:
        tell(alert)
    except Exception as error:
        # Its own words may hold what it carries, such as the address of a webhook: they stand in the log alone.
        log.warning("Not told: %s", alert.subject, exc_info=True)
        why = f"the notifier failed with {type(error).__name__}, see the log"
        raise NotificationFailed(f"Not told {alert.subject!r}, tried again by the next watch: {why}.") from error


def span(value: timedelta) -> str:
    """Return a span as a person says it."""
    seconds = max(value.total_seconds(), 0)
    units: Sequence[tuple[str, float]] = (("days", 86400), ("hours", 3600), ("minutes", 60))
    name, size = next(((name, size) for name, size in units if seconds >= 2 * size), ("minutes", 60))
    return f"{seconds / size:.0f} {name}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
