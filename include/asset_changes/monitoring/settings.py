"""The thresholds of the watchdog; read from the environment and checked at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Self

from asset_changes.errors import ConfigurationError

PREFIX = "ASSET_CHANGES_WATCH_"


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """The thresholds of one installation.

    Each field is the environment variable of the same name with the prefix `ASSET_CHANGES_WATCH_`.
    """

    unchecked_minutes: float = 60
    """A channel has given no answer for so long, or lookups none but errors."""
    lag_minutes: float = 120
    """A channel that is not caught up lags for so long: by its oldest unconfirmed change, else by its last one."""
    unread_days: float = 10
    """Notifications are unread for so long; Getty drops them after 14 days."""
    dormant_days: float = 90
    """A channel was not asked for so long; Getty has removed channels after 120 days."""
    delete_minutes: float = 60
    """The limit for applying a Delete, from its arrival."""
    unconfirmed_minutes: float = 30
    """A set is loaded and yet not confirmed for so long."""
    blocked_minutes: float = 10
    """A session that loads waits for a lock, or inside its transaction for the archive, for so long."""
    replay_hours: float = 36
    """No nightly replay of a channel was completed for so long."""
    silent_hours: float = 24
    """A channel that is caught up has had no change for so long, at the least."""
    silent_times: float = 2
    """And for so many times its longest pause of the last 30 days."""
    metadata_hours: float = 26
    """A live asset waits for its metadata for so long; Getty may repeat an old answer for a day."""
    approval_hours: float = 4
    """A limit is exceeded, and a person was asked whether that is right, for so long without an answer."""
    purge_hours: float = 24
    """Files that must go are still there for so long, while ASSET_CHANGES_PURGE=on."""
    recent_hours: float = 24
    """How long what is past (a late Delete, a rejected upsert, somebody else's confirmation) stays an alert."""
    listed_days: float = 7
    """How long a channel that appeared stays an alert."""
    again_times: float = 10
    """What is counted, as rejected changes are, is sent again at so many times the number that was sent."""
    archive_days: float = 14
    """How far back the archive is compared with the ledger."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the thresholds in force, or raise ConfigurationError naming the variable at fault."""
        given = {field.name: environment.get(PREFIX + field.name.upper(), "").strip() for field in fields(cls)}
        return cls(**{name: _number(name, text) for name, text in given.items() if text})

    def parameters(self) -> dict[str, timedelta | float]:
        """Return the thresholds for a query: spans as timedelta, by the name without its unit."""
        spans: dict[str, timedelta | float] = {}
        for field in fields(self):
            name, _, unit = field.name.rpartition("_")
            value = getattr(self, field.name)
            spans[name if unit != "times" else field.name] = value if unit == "times" else timedelta(**{unit: value})
        return spans


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number <= 10_000:
        unit = name.rpartition("_")[2]
        raise ConfigurationError(
            f"{PREFIX}{name.upper()} is {text!r:.60}: give a number of {unit} above 0 and at most 10000."
        )
    return number
