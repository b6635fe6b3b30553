"""The time that a run may take: it ends by itself, whatever hangs."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

MINUTES = 10.0


class OutOfTime(BaseException):
    """The time is over; an error that nothing but the one who set the limit catches."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise OutOfTime when the time is over: at the second that UNTIL names, else after ten minutes."""

    def end(*_: object) -> None:
        raise OutOfTime

    left = float(os.environ.get("UNTIL") or time.time() + 60 * MINUTES) - time.time()
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
