"""The three calls of the Asset Changes API, each retried for as long as another try may help.

Getty's OpenAPI file names the paths under `/v3/asset-changes/`; its prose guide once writes
`/v3/assets/asset-changes/`, which the API does not know.
"""

import logging
import re
from collections.abc import Callable
from datetime import datetime, timedelta

import requests
from requests.adapters import BaseAdapter

from asset_changes.clock import Clock, system_clock
from asset_changes.errors import ApiUnavailable, ConfigurationError, UnknownChannel
from asset_changes.getty_api import responses
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.parsing import parse_channels
from asset_changes.getty_api.retries import RETRY_SECONDS, Retries
from asset_changes.getty_api.session import GettySession
from asset_changes.models import Channel, Confirmation, Delivery

log = logging.getLogger(__name__)

_CHANNELS = "/v3/asset-changes/channels"
_CHANGE_SETS = "/v3/asset-changes/change-sets"
_CHANGE_SET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ALLOWED = {"GET": _CHANNELS, "PUT": _CHANGE_SETS, "DELETE": f"{_CHANGE_SETS}/{_CHANGE_SET_ID.pattern}"}
_BATCH_SIZE = re.compile(r"batch.?size|max(imum)? ?exceeded|too many items", re.IGNORECASE)
_CLOCK_TOLERANCE = timedelta(minutes=1)
_CLOCK_LIMIT = timedelta(days=1)


class AssetChangesClient:
    """A session with the Asset Changes API: one connection pool, one token.

    `name` says in error sentences what a person must correct (the connection id); `on_token` gets
    each new token, so that the caller can mask it in its logs; `clock` says when an answer came;
    `adapter` replaces the network where a test is the API.
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
        self._clock = clock
        self._session = GettySession(credentials, name=name, allowed=_ALLOWED, on_token=on_token, adapter=adapter)
        self._retries = Retries(seconds=retry_seconds)

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def get_channels(self) -> list[Channel]:
        """Return the account's channels; Getty asks to call this rarely and to cache the answer."""

        def once(_: int) -> list[Channel]:
            response = self._session.send("GET", _CHANNELS)
            if response.status_code == 404 and "ChannelsNotFound" in response.text[:500]:
                return []  # of an account without any
            responses.raise_for_status(response, connection=self._session.name, product="Asset Changes")
            return parse_channels(responses.document(response))

        return self._retries.call(once, what="The list of channels")

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Return what the channel hands out next: a new set, the unconfirmed one again, or nothing.

        Safe to repeat: Getty hands out the same set until it is confirmed.
        """

        def once(_: int) -> Delivery:
            asked = {"channel_id": channel_id, "batch_size": batch_size}
            response = self._session.send("PUT", _CHANGE_SETS, params=asked)
            received_at = self._clock()
            if response.status_code in (400, 404):
                raise _refused_channel(response)
            responses.raise_for_status(response, connection=self._session.name, product="Asset Changes")
            return Delivery(
                status=response.status_code,
                body=response.content,
                document=responses.document(response),
                received_at=received_at,
                server_time=_server_time(response, now=received_at),
            )

        return self._retries.call(once, what=f"The next change set of channel {channel_id}")

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm a change set; a set that Getty does not know (404) is an answer, not an error."""
        if not _CHANGE_SET_ID.fullmatch(change_set_id):
            raise ConfigurationError(f"{change_set_id[:80]!r} is no change set id: nothing was confirmed.")

        def once(try_number: int) -> Confirmation:
            response = self._session.send("DELETE", f"{_CHANGE_SETS}/{change_set_id}")
            if response.status_code == 404:
                return Confirmation(is_known=False, tries=try_number)
            # Its body does not matter: Getty documents none.
            responses.raise_for_status(response, connection=self._session.name, product="Asset Changes")
            return Confirmation(is_known=True, tries=try_number)

        return self._retries.call(once, what=f"The confirmation of change set {change_set_id}")


def _refused_channel(response: requests.Response) -> ConfigurationError | UnknownChannel:
    """Return what a 400 or 404 means to a PUT: the size of the set, or else the channel."""
    status, detail = response.status_code, responses.detail(response)
    if status == 400 and _BATCH_SIZE.search(response.text[:500]):
        return ConfigurationError(
            f"Getty refuses the batch size (400, {detail}). Older agreements allow 500: set it as "
            "ASSET_CHANGES_BATCH_SIZE, or as batch_size of the channel."
        )
    return UnknownChannel(
        f"Getty does not know this channel ({status}, {detail}). Run asset_changes_discovery to read the channels "
        "anew; a channel that Getty removed comes back only through its sales team."
    )


def _server_time(response: requests.Response, *, now: datetime) -> datetime | None:
    """Return the answer's own time where it is ahead of ours, else None.

    By it a fresh change is known from one of the future, should our clock be behind; nothing else goes by
    it, for a proxy may have written it. Where both differ by a day, it is not known which one is wrong.
    """
    server_time = responses.http_date(response.headers.get("Date"))
    if server_time is None or server_time - now <= _CLOCK_TOLERANCE:
        return None
    ahead = server_time - now
    if ahead >= _CLOCK_LIMIT:
        raise ApiUnavailable(
            f"Getty's clock is {ahead} ahead of the warehouse's. A new Delete would count as old, so nothing was "
            "loaded or confirmed. Set the warehouse's clock right, or that of a proxy that answers."
        )
    log.warning(
        "Getty's clock is %s ahead of the warehouse's: changes up to Getty's time are accepted, our own times are the "
        "warehouse's. Set the clock right that is wrong, the warehouse's or that of a proxy.",
        ahead,
    )
    return server_time
