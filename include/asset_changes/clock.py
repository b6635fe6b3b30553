"""What time it is, and spans of time in words."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present, in UTC."""


def system_clock() -> datetime:
    """Return what this machine takes for the present."""
    return datetime.now(UTC)


def in_words(span: timedelta) -> str:
    """Return a span as a person says it: `90 minutes`, `36 hours`, `11 days`."""
    seconds = max(span.total_seconds(), 0)
    units: Sequence[tuple[str, float]] = (("days", 86400), ("hours", 3600), ("minutes", 60))
    name, size = next(((name, size) for name, size in units if seconds >= 2 * size), ("minutes", 60))
    return f"{seconds / size:.0f} {name}"
