"""The watchdog: look for every condition, tell each one once, and once more when it is over.

Tell first, stamp after: a message whose stamp is lost is told again, one that could not be told is
tried again by the next watch.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, select

from asset_changes.archive import Archive
from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import ArchiveUnavailable, NotificationFailed
from asset_changes.models import Channel
from asset_changes.monitoring import alerts
from asset_changes.monitoring.alerts import Finding, OpenAlert
from asset_changes.monitoring.conditions import CONDITIONS, CheckContext, Condition, Row
from asset_changes.monitoring.lag import Reading, readings
from asset_changes.monitoring.notifications import Alert, deliver, span
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.migrate import check_version
from asset_changes.warehouse.schema import channels

log = logging.getLogger(__name__)
_BY_NAME = {condition.name: condition for condition in CONDITIONS}
Key = tuple[int, str]
"""Channel and condition: what there is at most one open alert of."""


@dataclass(frozen=True, kw_only=True)
class MonitorResult:
    """What one watch saw and told; `failures` are the sentences of what it could not."""

    channels: tuple[int, ...] = ()
    open: frozenset[Key] = frozenset()
    readings: tuple[Reading, ...] = ()
    told: int = 0
    cleared: int = 0
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Seen:
    holds: dict[Key, Finding]
    unlooked: dict[str, str]
    channels: dict[int, Channel]
    readings: tuple[Reading, ...]


def watch(
    warehouse: Engine,
    *,
    archive: Archive,
    settings: WatchSettings,
    now: datetime,
    tell: Callable[[Alert], None] | None,
    confirms: bool = True,
    page: str | None = None,
) -> MonitorResult:
    """Look once; tell what is new, what has grown and what is over.

    What fails is kept for the end, so that the rest goes on. Without `tell` alerts stand in the log and in the table
    alone, and are told once there is one. `page` is the address of the status page, for the messages to lead to.
    """
    with transaction(warehouse) as connection:
        check_version(connection)
        seen = _look(
            CheckContext(connection=connection, archive=archive, settings=settings, now=now), confirms=confirms
        )
    with transaction(warehouse) as connection:
        alerts.raise_alerts(connection, list(seen.holds.values()))
        known = alerts.open_alerts(connection)
    failures = list(seen.unlooked.values())
    told = cleared = 0
    for alert in known:
        if alert.condition in seen.unlooked:
            continue
        held = seen.holds.get(alert.key)
        grown = held is not None and alert.has_grown(held, times=settings.again_times)
        message = _message(alert, held, seen.channels.get(alert.channel_id), now=now, page=page, grown=grown)
        if held is not None:
            log.warning("%s", message.text.replace("\n", ". "))
        is_due = grown or (alert.notified_at is None) == (held is not None)
        try:
            told += _settle(warehouse, alert, held, tell=tell if is_due else None, message=message)
        except NotificationFailed as error:
            failures.append(str(error))
        else:
            cleared += held is None
    standing = frozenset(each.key for each in known if each.key in seen.holds or each.condition in seen.unlooked)
    log.info("Watched: channels=%d open=%d told=%d cleared=%d", len(seen.channels), len(standing), told, cleared)
    return MonitorResult(
        channels=tuple(seen.channels),
        open=standing,
        readings=seen.readings,
        told=told,
        cleared=cleared,
        failures=tuple(failures),
    )


def _look(look: CheckContext, *, confirms: bool) -> _Seen:
    holds: dict[Key, Finding] = {}
    unlooked: dict[str, str] = {}
    for condition in CONDITIONS:
        if condition.needs_confirming and not confirms:
            continue
        try:
            rows = condition.look(look)
        except ArchiveUnavailable as error:
            unlooked[condition.name] = f"Not looked for {condition.title!r}: {error}"
            continue
        holds |= {(row["channel_id"], condition.name): _raised(condition, row, now=look.now) for row in rows}
    return _Seen(
        holds=holds,
        unlooked=unlooked,
        channels=_channels(look.connection),
        readings=readings(look.connection, now=look.now),
    )


def _raised(condition: Condition, row: Row, *, now: datetime) -> Finding:
    return Finding(
        channel_id=row["channel_id"],
        condition=condition.name,
        since=row["since"],
        says=condition.says.format(**row, span=span(now - row["since"])),
        count=row.get("count"),
    )


def _settle(
    warehouse: Engine,
    alert: OpenAlert,
    held: Finding | None,
    *,
    message: Alert,
    tell: Callable[[Alert], None] | None,
) -> bool:
    """Tell an alert, if there is something to tell and somebody to tell it to, then stamp it; True when it was told."""
    if tell is not None:
        deliver(message, tell)
    with transaction(warehouse) as connection:
        if held is None:
            alerts.mark_cleared(connection, alert)
        elif tell is not None:
            alerts.mark_notified(connection, alert, count=held.count)
    return tell is not None


def _message(
    alert: OpenAlert, held: Finding | None, channel: Channel | None, *, now: datetime, page: str | None, grown: bool
) -> Alert:
    condition = _BY_NAME.get(alert.condition)
    title = condition.title if condition else alert.condition
    name = f"Channel {alert.channel_id}" + (f" ({channel.asset_family} {channel.asset_type})" if channel else "")
    if held is None or condition is None:
        subject, what = f"All clear: {title}, {name}", f"{name}: {title!r} {condition.over if condition else 'is over'}"
    else:
        told = f"; {alert.notified_count:,} when this was last told" if grown else ""
        subject, what = f"{title}, {name}", f"{name} {held.says}{told}"
    return Alert(
        condition=alert.condition,
        channel_id=alert.channel_id,
        subject=subject,
        what=what,
        since=alert.since,
        until=now if held is None else None,
        next_step=condition.next_step if condition and held else "Nothing.",
        link=f"{page}/channels/{ChannelEntry(channel=channel).dag_id}" if page and channel else None,
    )


def _channels(connection: Connection) -> dict[int, Channel]:
    c = channels.c
    rows = connection.execute(select(c.channel_id, c.asset_family, c.asset_type).order_by(c.channel_id))
    return {row.channel_id: Channel(**row._mapping) for row in rows}
