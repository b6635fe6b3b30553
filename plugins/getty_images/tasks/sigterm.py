"""Ending a loop in good order: TaskFlow tasks do nothing about SIGTERM on their own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_sigterm() -> Iterator[list[int]]:
    """Collect SIGTERMs instead of dying of them: what is in work can end well before the loop does."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    try:
        yield signals
    finally:
        signal.signal(signal.SIGTERM, before)
