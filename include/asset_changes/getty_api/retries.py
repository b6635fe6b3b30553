"""Trying a call again for as long as another try may help; after that the task's own retries take over."""

import itertools
import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from asset_changes.errors import AssetChangesError, TransientError

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 60.0
"""How long one call is tried again."""

_backoff = wait_exponential_jitter(multiplier=0.5, max=10, jitter=0.5)


class Retries:
    """Repeats a call on transient errors, with growing pauses, until `seconds` are over."""

    def __init__(self, *, seconds: float = RETRY_SECONDS) -> None:
        self._retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=_wait,
            # Where the next try would begin after the limit: a long `Retry-After` is the task's to wait.
            stop=lambda state: (state.seconds_since_start or 0.0) + state.upcoming_sleep > seconds,
            before_sleep=_log_retry,
            reraise=True,
        )

    def call(self, once: Callable[[int], T], *, what: str) -> T:
        """Return what `once` returns; it gets the number of its try, from 1.

        `what` is what was asked for: it begins the sentence of whatever goes wrong.
        """
        numbers = itertools.count(1)

        def try_once() -> T:
            try:
                return once(next(numbers))
            except AssetChangesError as error:
                error.args = (f"{what}: {error}",)  # the one place that says it, so that nobody below needs to know it
                raise

        return self._retrying(try_once)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientError) else None
    return max(_backoff(state), asked or 0.0)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s Trying again in %.1f s (try %d).", error, state.upcoming_sleep, state.attempt_number + 1)
