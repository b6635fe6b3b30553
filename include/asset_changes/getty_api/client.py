"""The three calls of the Asset Changes API, each retried for as long as another try may help.

Getty's OpenAPI file names the paths under `/v3/asset-changes/`; its prose guide once writes
`/v3/assets/asset-changes/`, which the API does not know.
"""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import requests
from requests.adapters import BaseAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from asset_changes.clock import Clock, system_clock
from asset_changes.errors import ApiUnavailable, ConfigurationError, TransientError
from asset_changes.getty_api import responses
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.parsing import parse_channels
from asset_changes.getty_api.session import Transport
from asset_changes.models import Channel, Confirmation, Delivery

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""How long one call is tried again; after that the task's own retries take over."""
_CHANGE_SET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLOCK_TOLERANCE = timedelta(minutes=1)
_CLOCK_CREDIT = timedelta(days=1)


class AssetChangesClient:
    """A session with the Asset Changes API: one connection pool, one token.

    `name` stands in error sentences for what a person must correct (the connection id);
    `on_token` is told each new token, so that the caller can mask it in its logs; `clock` tells when
    an answer came; `adapter` stands in for the network where a test wants to be the API.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        name: str = "the connection",
        on_token: Callable[[str], None] | None = None,
        retry_seconds: float = RETRY_SECONDS,
        clock: Clock = system_clock,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self._name = name
        self._clock = clock
        self._transport = Transport(credentials, name=name, on_token=on_token, adapter=adapter)
        self._retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=_wait,
            stop=lambda state: _gives_up(state, retry_seconds),
            before_sleep=_log_retry,
            reraise=True,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._transport.close()

    def get_channels(self) -> list[Channel]:
        """Return the account's channels; Getty asks to call this rarely and to cache the answer."""
        answer = self._call("GET", "/v3/asset-changes/channels", what="The list of channels")
        return parse_channels(answer.document)

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Return what the channel hands out next: a new set, the unconfirmed one again, or nothing.

        Safe to repeat: Getty hands out the same set until it is confirmed.
        """
        return self._call(
            "PUT",
            "/v3/asset-changes/change-sets",
            what=f"The next change set of channel {channel_id}",
            channel_id=channel_id,
            params={"channel_id": channel_id, "batch_size": batch_size},
        )

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm a change set; a set that Getty does not know (404) is an answer, not an error."""
        if not _CHANGE_SET_ID.fullmatch(change_set_id):
            raise ConfigurationError(f"{change_set_id[:80]!r} is no change set id: nothing was confirmed.")
        answer = self._call(
            "DELETE",
            f"/v3/asset-changes/change-sets/{change_set_id}",
            what=f"The confirmation of change set {change_set_id}",
        )
        return Confirmation(is_known=answer.status != 404, tries=self._retrying.statistics["attempt_number"])

    def _call(
        self,
        method: str,
        path: str,
        *,
        what: str,
        channel_id: int | None = None,
        params: dict[str, int] | None = None,
    ) -> Delivery:
        def once() -> Delivery:
            response = self._transport.send(method, path, params, what=what)
            document = responses.check(response, method=method, what=what, name=self._name, channel_id=channel_id)
            return Delivery(
                status=response.status_code,
                body=response.content,
                document=document,
                received_at=_received_at(response, now=self._clock(), what=what),
            )

        return self._retrying(once)


def _received_at(response: requests.Response, *, now: datetime, what: str) -> datetime:
    """Return when an answer came: by the server's clock where ours is behind, or fresh changes would lie ahead of it.

    Where they differ by a day, one of them is plainly wrong: which one, cannot be told.
    """
    try:
        server = parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return now
    if server - now <= _CLOCK_TOLERANCE:
        return now
    if server - now >= _CLOCK_CREDIT:
        raise ApiUnavailable(
            f"{what}: Getty's clock is {server - now} ahead of the warehouse's. A new Delete would count as old, so "
            "nothing was loaded or confirmed. Set the warehouse's clock right, or that of a proxy that responses."
        )
    log.warning(
        "Getty's clock is %s ahead of ours, and is followed: set the warehouse's clock right if it is wrong.",
        server - now,
    )
    return server


_backoff = wait_exponential_jitter(multiplier=0.5, max=10, jitter=0.5)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientError) else None
    return max(_backoff(state), asked or 0.0)


def _gives_up(state: RetryCallState, retry_seconds: float) -> bool:
    """Stop where the next try would begin after the limit: a long `Retry-After` is the task's to wait."""
    return (state.seconds_since_start or 0.0) + state.upcoming_sleep > retry_seconds


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s Trying again in %.1f s (try %d).", error, state.upcoming_sleep, state.attempt_number + 1)
