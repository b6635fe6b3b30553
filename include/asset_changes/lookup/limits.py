"""How often Getty is asked: so many calls per second, fewer while it asks for fewer, and so many per day."""

import time
from collections.abc import Callable

_LONGEST_INTERVAL = 10.0
_SLOWER, _FASTER = 2.0, 0.9


class DailyLimitReached(Exception):
    """All calls of the day are used."""


class RateLimit:
    """A fixed number of calls per second; slower after each refusal, and back to it with each answer."""

    def __init__(
        self,
        calls_per_second: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed = self._interval = 1 / calls_per_second
        self._sleep, self._monotonic = sleep, monotonic
        self._next_at = monotonic()

    @property
    def calls_per_second(self) -> float:
        """How many are allowed now."""
        return 1 / self._interval

    def wait(self) -> None:
        """Return once the next call may be made; what was not used before is not made up for."""
        early = self._next_at - self._monotonic()
        if early > 0:
            self._sleep(early)
        self._next_at = max(self._next_at, self._monotonic()) + self._interval

    def slow_down(self) -> None:
        """Halve the rate, down to one call in ten seconds or the fixed rate, whichever is less."""
        self._interval = max(self._fixed, min(self._interval * _SLOWER, _LONGEST_INTERVAL))

    def speed_up(self) -> None:
        """Bring the rate nearer to the fixed one."""
        self._interval = max(self._fixed, self._interval * _FASTER)
