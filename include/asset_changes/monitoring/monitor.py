"""The watchdog: check every condition, notify once of each, and once more when it is over.

Notify first, write it down after: a message whose row is lost is sent again, one that could not be sent is
tried again by the next watch.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from asset_changes.clock import in_words
from asset_changes.errors import ArchiveUnavailable, NotificationFailed, WarehouseUnavailable
from asset_changes.monitoring import alerts
from asset_changes.monitoring.alerts import Alert, Finding, OpenAlert, deliver
from asset_changes.monitoring.condition import NO_CHANNEL, CheckContext
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.channel_health import ChannelHealth, read_channel_health
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)
_BY_NAME = {condition.name: condition for condition in CONDITIONS}
Key = tuple[int, str]
"""Channel and condition: what there is at most one open alert of."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How far a channel that Getty lists is behind; None is what cannot be known of one that was never read."""

    channel_id: int
    lag_seconds: float | None
    unchecked_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class MonitorResult:
    """What one watch found and sent; `failures` are the sentences of what it could not do."""

    channels: tuple[int, ...] = ()
    open: frozenset[Key] = frozenset()
    readings: tuple[Reading, ...] = ()
    notified: int = 0
    cleared: int = 0
    failures: tuple[str, ...] = ()


def watch(
    warehouse: Engine,
    *,
    compare_archive: Callable[[Connection], None],
    settings: WatchSettings,
    now: datetime,
    notify: Callable[[Alert], None] | None,
    confirms: bool = True,
    lookups_per_day: int | None = None,
    keeps_metadata: bool = True,
    page: str | None = None,
) -> MonitorResult:
    """Check everything once; notify of what is new, what has grown and what is over.

    What fails is kept for the end, so that the rest is done. Without `notify` alerts are in the log and in the table
    alone, and are sent once there is one. `page` is the address of the status page, for the messages to lead to.
    `lookups_per_day` is the limit in force, None where Getty is never asked about assets. `compare_archive` keeps what
    archive and ledger lack of each other as findings.
    """
    with transaction(warehouse) as connection:
        check_version(connection)
    failures = _compare_archive(warehouse, compare_archive)
    with transaction(warehouse) as connection:
        context = CheckContext(
            connection=connection,
            settings=settings,
            now=now,
            confirms=confirms,
            lookups_per_day=lookups_per_day,
            keeps_metadata=keeps_metadata,
        )
        findings = _findings(context)
        channels = {each.channel.channel_id: each for each in read_channel_health(connection)}
    with transaction(warehouse) as connection:
        alerts.raise_alerts(connection, list(findings.values()))
        known = alerts.open_alerts(connection)
    notified = cleared = 0
    for alert in known:
        finding = findings.get(alert.key)
        grown = finding is not None and alert.has_grown(finding, times=settings.again_times)
        message = _message(alert, finding, channels.get(alert.channel_id), now=now, page=page, grown=grown)
        try:
            notified += _notify(warehouse, alert, finding, message, notify, grown=grown)
            cleared += finding is None
        except NotificationFailed as error:
            failures.append(str(error))
    still_open = findings.keys() & {alert.key for alert in known}
    log.info("Watched: channels=%d open=%d notified=%d cleared=%d", len(channels), len(still_open), notified, cleared)
    return MonitorResult(
        channels=tuple(channels),
        open=frozenset(still_open),
        readings=tuple(_reading(each, now) for each in channels.values() if not each.retired_at),
        notified=notified,
        cleared=cleared,
        failures=tuple(failures),
    )


def _compare_archive(warehouse: Engine, compare_archive: Callable[[Connection], None]) -> list[str]:
    """Compare the archive with the ledger; return what prevented it. What was found before stays open."""
    try:
        with transaction(warehouse) as connection:
            # Whoever holds a channel's row must not delay the watchdog, which is there to name that session.
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            compare_archive(connection)
    except (ArchiveUnavailable, WarehouseUnavailable) as error:
        return [f"Could not check the archive, so it is not known what only the archive holds: {error}"]
    return []


def _notify(
    warehouse: Engine,
    alert: OpenAlert,
    finding: Finding | None,
    message: Alert,
    notify: Callable[[Alert], None] | None,
    *,
    grown: bool,
) -> bool:
    """Log an alert that is open and send its message if that is due, then write down what was sent or is over.

    Return whether it was sent.
    """
    if finding is not None:
        log.warning("%s", ". ".join(line.removesuffix(".") for line in message.text.split("\n")))
    is_due = grown or (alert.notified_at is None) == (finding is not None)
    sender = notify if is_due else None
    if sender is not None:
        deliver(message, sender)
    with transaction(warehouse) as connection:
        if finding is None:
            alerts.mark_cleared(connection, alert)
        elif sender is not None:
            alerts.mark_notified(connection, alert, count=finding.count)
    return sender is not None


def _findings(context: CheckContext) -> dict[Key, Finding]:
    return {
        (row["channel_id"], condition.name): Finding(
            channel_id=row["channel_id"],
            condition=condition.name,
            since=row["since"],
            says=condition.says.format(**row, span=in_words(context.now - row["since"])),
            count=row.get("count"),
        )
        for condition in CONDITIONS
        for row in condition.check(context)
    }


def _message(
    alert: OpenAlert,
    finding: Finding | None,
    channel: ChannelHealth | None,
    *,
    now: datetime,
    page: str | None,
    grown: bool,
) -> Alert:
    condition = _BY_NAME.get(alert.condition)
    title = condition.title if condition else alert.condition
    has_channel = alert.channel_id != NO_CHANNEL
    name = f"Channel {alert.channel_id}" if has_channel else condition.dag_name if condition else "Asset changes"
    if channel:
        name += f" ({channel.channel.asset_family} {channel.channel.asset_type})"
    if finding is None or condition is None:
        subject, what = f"All clear: {title}, {name}", f"{name}: {title!r} {condition.over if condition else 'is over'}"
    else:
        before = f"; {alert.notified_count:,} in the last message" if grown else ""
        subject, what = f"{title}, {name}", f"{name} {finding.says}{before}"
    return Alert(
        condition=alert.condition,
        channel_id=alert.channel_id if has_channel else None,
        subject=subject,
        what=what,
        since=alert.since,
        until=now if finding is None else None,
        next_step=condition.next_step if condition and finding else "Nothing.",
        link=_link(page, channel) if channel or not has_channel else None,
    )


def _link(page: str | None, channel: ChannelHealth | None) -> str | None:
    return f"{page}/channels/{channel.dag_id}" if page and channel else page


def _reading(channel: ChannelHealth, now: datetime) -> Reading:
    lag, since = channel.lag(now), channel.unchecked_since
    return Reading(
        channel_id=channel.channel.channel_id,
        lag_seconds=None if lag is None else lag.value.total_seconds(),
        unchecked_seconds=None if since is None else (now - since).total_seconds(),
    )
