"""What is told when the watchdog itself cannot look.

Its alerts are remembered in the warehouse, which is what is away then. So this one is remembered in an Airflow
Variable, from the first look that failed to the first that did not.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from airflow.sdk import Variable
from asset_changes.errors import AssetChangesError
from asset_changes.monitoring.notifications import Alert, deliver

from getty_images.resources import variable

log = logging.getLogger(__name__)
VARIABLE = "asset_changes_watch_blind"
CONDITION = "blind"
_TITLE = "Watchdog blind"

Tell = Callable[[Alert], None]


@dataclass(frozen=True, kw_only=True)
class _Blindness:
    since: str
    is_told: bool = False

    def remember(self) -> None:
        about = "Since when asset_changes_watch cannot look, and whether somebody was told; it removes this by itself"
        Variable.set(VARIABLE, json.dumps(asdict(self)), description=about)


def begin(error: BaseException, *, tell: Tell | None, page: str | None) -> None:
    """Tell once that the watchdog cannot look; without `tell`, or when it fails, the next look tells it."""
    blindness = _remembered()
    if blindness is None:
        blindness = _Blindness(since=datetime.now(UTC).isoformat())
        blindness.remember()
    alert = _alert(error, since=datetime.fromisoformat(blindness.since), page=page)
    log.error("%s", alert.text.replace("\n", ". "))
    if tell is None or blindness.is_told:
        return
    deliver(alert, tell)
    _Blindness(since=blindness.since, is_told=True).remember()


def end(*, tell: Tell | None, page: str | None) -> None:
    """Tell that the watchdog sees again, to those who heard that it did not."""
    blindness = _remembered()
    if blindness is None:
        return
    if blindness.is_told and tell is not None:
        all_clear = Alert(
            condition=CONDITION,
            channel_id=None,
            subject=f"All clear: {_TITLE}",
            what="The watchdog can look again",
            since=datetime.fromisoformat(blindness.since),
            until=datetime.now(UTC),
            link=page,
        )
        deliver(all_clear, tell)
    Variable.delete(VARIABLE)


def _remembered() -> _Blindness | None:
    text = variable(VARIABLE)
    return None if text is None else _Blindness(**json.loads(text))


def _alert(error: BaseException, *, since: datetime, page: str | None) -> Alert:
    """Return the message, with the sentence of one of our errors; what others say may hold secrets."""
    is_ours = isinstance(error, AssetChangesError)
    return Alert(
        condition=CONDITION,
        channel_id=None,
        subject=_TITLE,
        what="The watchdog cannot look, so no other alert is told: "
        + (str(error) if is_ours else f"{type(error).__name__}, of which the log of asset_changes_watch says more"),
        since=since,
        next_step=(type(error) if isinstance(error, AssetChangesError) else AssetChangesError).next_step,
        link=page,
    )
