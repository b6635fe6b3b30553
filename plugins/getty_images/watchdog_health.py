"""The alert of the watchdog about itself: that it cannot check.

Its other alerts are remembered in the warehouse, which is what is away then. So this one is remembered in an Airflow
Variable, from the first watch that failed to the first that did not.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow.sdk import Variable
from asset_changes.errors import AssetChangesError
from asset_changes.monitoring.alerts import Alert, deliver

from getty_images.resources import variable

log = logging.getLogger(__name__)
VARIABLE = "asset_changes_watch_blind"
CONDITION = "blind"
_TITLE = "Watchdog blind"

Notify = Callable[[Alert], None]


@dataclass(frozen=True, kw_only=True)
class _Outage:
    since: datetime
    was_sent: bool = False

    def remember(self) -> None:
        about = "Since when asset_changes_watch cannot check, and whether somebody was notified; it goes by itself"
        # The key's name is that of earlier versions: an upgrade may happen while the watchdog cannot check.
        kept = {"since": self.since.isoformat(), "is_told": self.was_sent}
        Variable.set(VARIABLE, json.dumps(kept), description=about)


def begin(error: BaseException, *, notify: Notify | None, page: str | None) -> None:
    """Notify once that the watchdog cannot check; without `notify`, or when it fails, the next watch does."""
    outage = _remembered()
    if outage is None:
        outage = _Outage(since=datetime.now(UTC))
        outage.remember()
    alert = _alert(error, since=outage.since, page=page)
    log.error("%s", alert.text.replace("\n", ". "))
    if notify is None or outage.was_sent:
        return
    deliver(alert, notify)
    _Outage(since=outage.since, was_sent=True).remember()


def end(*, notify: Notify | None, page: str | None) -> None:
    """Notify that the watchdog can check again, where somebody was notified that it could not."""
    outage = _remembered()
    if outage is None:
        return
    if outage.was_sent and notify is not None:
        all_clear = Alert(
            condition=CONDITION,
            channel_id=None,
            subject=f"All clear: {_TITLE}",
            what="The watchdog can check again",
            since=outage.since,
            until=datetime.now(UTC),
            link=page,
        )
        deliver(all_clear, notify)
    Variable.delete(VARIABLE)


def _remembered() -> _Outage | None:
    text = variable(VARIABLE)
    if text is None:
        return None
    kept = json.loads(text)
    return _Outage(since=datetime.fromisoformat(kept["since"]), was_sent=kept["is_told"])


def _alert(error: BaseException, *, since: datetime, page: str | None) -> Alert:
    """Return the message, with the sentence of one of our errors; what others say may contain secrets."""
    is_ours = isinstance(error, AssetChangesError)
    return Alert(
        condition=CONDITION,
        channel_id=None,
        subject=_TITLE,
        what="The watchdog cannot check, so no other alert is sent: "
        + (str(error) if is_ours else f"{type(error).__name__}, of which the log of asset_changes_watch says more"),
        since=since,
        next_step=(type(error) if isinstance(error, AssetChangesError) else AssetChangesError).next_step,
        link=page,
    )
