"""The watchdog: look for every condition, tell each one once, and once more when it is over.

Tell first, stamp after: a message whose stamp is lost is told again, one that could not be told is
tried again by the next watch.
"""

import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, select

from asset_changes.archive import Archive
from asset_changes.errors import ArchiveUnavailable, NotTold
from asset_changes.lag import Reading, readings
from asset_changes.warehouse import alerts
from asset_changes.warehouse.alerts import OpenAlert
from asset_changes.warehouse.connection import transaction
from asset_changes.warehouse.migrate import check_version
from asset_changes.warehouse.schema import channels
from asset_changes.watch_conditions import CONDITIONS, Condition, Look, Row
from asset_changes.watch_settings import WatchSettings

log = logging.getLogger(__name__)
_BY_NAME = {condition.name: condition for condition in CONDITIONS}


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One message to a person: what is, since when, what to do."""

    condition: str
    channel_id: int
    subject: str
    what: str
    since: datetime
    next_step: str
    is_over: bool = False

    @property
    def text(self) -> str:
        """The message as plain text."""
        return "\n".join([self.what, f"Since: {self.since:%Y-%m-%d %H:%M} UTC", f"What to do: {self.next_step}"])

    @property
    def html(self) -> str:
        """The message as HTML, escaped: part of it came from outside."""
        return "<br>\n".join(html.escape(line) for line in self.text.splitlines())


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What one watch saw and told; `failures` are the sentences of what it could not."""

    open: dict[tuple[int, str], Alert] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    told: int = 0
    cleared: int = 0
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Seen:
    holds: dict[tuple[int, str], tuple[Condition, Row]]
    unlooked: dict[str, str]
    names: dict[int, str]
    readings: tuple[Reading, ...]


def watch(
    warehouse: Engine,
    *,
    archive: Archive,
    settings: WatchSettings,
    now: datetime,
    tell: Callable[[Alert], None] | None,
    confirms: bool = True,
) -> Watched:
    """Look once; tell what is new and what is over. What fails is kept for the end, so that the rest goes on.

    Without `tell` alerts stand in the log and in the table alone, and are told once there is one.
    """
    with transaction(warehouse) as connection:
        check_version(connection)
        seen = _look(Look(connection=connection, archive=archive, settings=settings, now=now), confirms=confirms)
    with transaction(warehouse) as connection:
        alerts.raise_alerts(connection, [(*key, row["since"]) for key, (_, row) in seen.holds.items()])
        known = alerts.open_alerts(connection)
    failures = list(seen.unlooked.values())
    standing: dict[tuple[int, str], Alert] = {}
    told = cleared = 0
    for alert in known:
        if alert.condition in seen.unlooked:
            continue
        message = _message(alert, seen, now=now)
        if not message.is_over:
            standing[alert.key] = message
            log.warning("%s", message.text.replace("\n", ". "))
        try:
            told += _settle(warehouse, alert, message, tell)
        except NotTold as error:
            failures.append(str(error))
        else:
            cleared += message.is_over
    log.info("Watched: channels=%d open=%d told=%d cleared=%d", len(seen.names), len(standing), told, cleared)
    return Watched(open=standing, readings=seen.readings, told=told, cleared=cleared, failures=tuple(failures))


def _look(look: Look, *, confirms: bool) -> _Seen:
    holds: dict[tuple[int, str], tuple[Condition, Row]] = {}
    unlooked: dict[str, str] = {}
    for condition in CONDITIONS:
        if condition.needs_confirming and not confirms:
            continue
        try:
            rows = condition.look(look)
        except ArchiveUnavailable as error:
            unlooked[condition.name] = f"Not looked for {condition.title!r}: {error}"
            continue
        holds |= {(row["channel_id"], condition.name): (condition, row) for row in rows}
    return _Seen(
        holds=holds,
        unlooked=unlooked,
        names=_names(look.connection),
        readings=readings(look.connection, now=look.now),
    )


def _settle(warehouse: Engine, alert: OpenAlert, message: Alert, tell: Callable[[Alert], None] | None) -> bool:
    """Tell what is to be told of an alert, then stamp it; True when somebody was told."""
    was_told = alert.notified_at is not None
    if message.is_over == was_told and tell is not None:
        try:
            tell(message)
        except Exception as error:  # a notifier may fail in any way, and the other alerts must go out
            raise NotTold(f"Not told {message.subject!r}, tried again by the next watch: {error}") from error
    elif not message.is_over:
        return False
    with transaction(warehouse) as connection:
        (alerts.mark_cleared if message.is_over else alerts.mark_notified)(connection, alert)
    return message.is_over == was_told and tell is not None


def _message(alert: OpenAlert, seen: _Seen, *, now: datetime) -> Alert:
    condition, row = seen.holds.get(alert.key) or (_BY_NAME.get(alert.condition), None)
    title = condition.title if condition else alert.condition
    channel = seen.names.get(alert.channel_id, f"Channel {alert.channel_id}")
    if condition is None or row is None:
        return Alert(
            condition=alert.condition,
            channel_id=alert.channel_id,
            subject=f"All clear: {title}, {channel}",
            what=f"{channel}: {title!r} {condition.over if condition else 'is over'}",
            since=alert.since,
            next_step="Nothing.",
            is_over=True,
        )
    return Alert(
        condition=alert.condition,
        channel_id=alert.channel_id,
        subject=f"{title}, {channel}",
        what=f"{channel} {condition.says.format(**row, span=_span(now - row['since']))}",
        since=alert.since,
        next_step=condition.next_step,
    )


def _names(connection: Connection) -> dict[int, str]:
    rows = connection.execute(select(channels.c.channel_id, channels.c.asset_family, channels.c.asset_type))
    return {row.channel_id: f"Channel {row.channel_id} ({row.asset_family} {row.asset_type})" for row in rows}


def _span(span: timedelta) -> str:
    """Return a span as a person says it."""
    seconds = max(span.total_seconds(), 0)
    units: Sequence[tuple[str, float]] = (("days", 86400), ("hours", 3600), ("minutes", 60))
    name, size = next(((name, size) for name, size in units if seconds >= 2 * size), ("minutes", 60))
    return f"{seconds / size:.0f} {name}"
