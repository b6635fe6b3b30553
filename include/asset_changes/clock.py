"""What time it is."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present, in UTC."""


def system_clock() -> datetime:
    """Return what this machine takes for the present."""
    return datetime.now(UTC)
