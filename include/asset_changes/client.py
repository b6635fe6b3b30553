"""The three calls of the Asset Changes API, each retried for as long as another try may help.

Getty's OpenAPI file names the paths under `/v3/asset-changes/`; its prose guide once writes
`/v3/assets/asset-changes/`, which the API does not know.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from requests.adapters import BaseAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from asset_changes import answers
from asset_changes.errors import (
    ApiUnavailable,
    ConfigurationError,
    CredentialsRefused,
    TransientError,
    UnexpectedRedirect,
)
from asset_changes.model import Channel
from asset_changes.parse import parse_channels

log = logging.getLogger(__name__)

API_URL = "https://api.gettyimages.com"
TOKEN_URL = "https://authentication.gettyimages.com/oauth2/token"  # noqa: S105 - an address, no secret

RETRY_SECONDS = 60.0
"""How long one call is tried again; after that the task's own retries take over."""
_MAX_REDIRECTS = 3
_RENEW_EARLY_SECONDS = 300  # Getty's SDKs renew five minutes before a token ends
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_CHANGE_SET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNSENDABLE = (
    requests.URLRequired,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
)
_CLOCK_TOLERANCE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What Getty gave the customer; no secret shows in its repr."""

    api_key: str
    secret: str = field(repr=False)
    api_url: str = API_URL
    token_url: str = TOKEN_URL
    grant_type: str = "client_credentials"
    username: str | None = None
    user_password: str | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, url in (("API base URL", self.api_url), ("token_url", self.token_url)):
            if not _is_address(url):
                raise ConfigurationError(f"The {name} {url!r} is no http(s) address: correct the connection.")
        if self.grant_type not in ("client_credentials", "password"):
            raise ConfigurationError(
                f"The grant type {self.grant_type!r} is unknown: use client_credentials or password."
            )
        if not self.api_key or not self.secret:
            raise ConfigurationError("The connection lacks the API key (login) or the secret (password).")
        if not _VISIBLE.fullmatch(self.api_key):
            raise ConfigurationError("The API key (login) holds a blank or a character that no key has: copy it again.")
        if self.grant_type == "password" and not (self.username and self.user_password):
            raise ConfigurationError("The password grant needs the extras username and user_password.")
        if not 0 < self.timeout_seconds <= 600:
            raise ConfigurationError("timeout_seconds must be above 0 and at most 600.")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One answer to a PUT that was whole.

    `body` is what came over the wire, `document` the same read as JSON (None for an empty body).
    `received_at` is the later of this machine's clock and the server's: a clock that lags would
    make fresh changes look as if they came from the future.
    """

    status: int
    body: bytes
    document: Any
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Getty's answer to a confirmation.

    `is_known` is False where Getty does not know the set (404); `tries` counts the requests sent,
    for an earlier one may have confirmed the set although its answer was lost.
    """

    is_known: bool
    tries: int


class AssetChangesClient:
    """A session with the Asset Changes API: one connection pool, one token.

    `name` stands in error sentences for what a person must correct (the connection id);
    `on_token` is told each new token, so that the caller can mask it in its logs; `adapter` stands
    in for the network where a test wants to be the API.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        name: str = "the connection",
        on_token: Callable[[str], None] | None = None,
        retry_seconds: float = RETRY_SECONDS,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self._credentials = credentials
        self._name = name
        self._on_token = on_token
        self._session = OAuth2Session(
            client_id=credentials.api_key,
            client_secret=credentials.secret,
            token_endpoint_auth_method="client_secret_post",  # noqa: S106 - the method's name
            default_timeout=credentials.timeout_seconds,
            leeway=float("-inf"),  # when to renew is decided below: Authlib would refuse a token of a minute
        )
        self._session.headers["Api-Key"] = credentials.api_key
        if adapter is not None:
            self._session.mount("https://", adapter)
            self._session.mount("http://", adapter)
        self._session.register_compliance_hook("access_token_response", self._check_token_answer)
        self._retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=_wait,
            stop=lambda state: _gives_up(state, retry_seconds),
            before_sleep=_log_retry,
            reraise=True,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

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
            response = self._send_with_token(method, path, params, what=what)
            document = answers.check(response, method=method, what=what, name=self._name, channel_id=channel_id)
            return Delivery(
                status=response.status_code,
                body=response.content,
                document=document,
                received_at=_received_at(response),
            )

        return self._retrying(once)

    def _send_with_token(
        self, method: str, path: str, params: dict[str, int] | None, *, what: str
    ) -> requests.Response:
        for try_number in (1, 2):
            self._ensure_token()
            response = self._send(method, self._credentials.api_url.rstrip("/") + path, params, what=what)
            if response.status_code != 401:
                return response
            # Revoked early, or ended by a clock that differs: once more with a fresh one.
            self._session.token = None
            log.info("%s: token refused (401), try %d", what, try_number)
        raise CredentialsRefused(
            f"{what}: Getty refused a fresh token twice (401). Check the API key (login) and secret (password) "
            f"of connection {self._name!r}; nothing was confirmed."
        )

    def _send(self, method: str, url: str, params: dict[str, int] | None, *, what: str) -> requests.Response:
        """Send one request and follow redirects within the host, with the same method.

        requests itself would turn a redirected PUT into a GET and carry `Api-Key` to any host.
        """
        origin = urlsplit(url)[:2]
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._exchange(method, url, params, what=what)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            url, params = urljoin(response.url, response.headers.get("Location", "")), None
            if urlsplit(url)[:2] != origin:
                raise UnexpectedRedirect(
                    f"{what}: Getty redirects to another address ({'://'.join(urlsplit(url)[:2])!r}), which is "
                    f"not followed because the request carries the API key. If Getty moved its API, correct the "
                    f"host of connection {self._name!r}."
                )
        raise UnexpectedRedirect(f"{what}: more than {_MAX_REDIRECTS} redirects. Report this to Getty.")

    def _exchange(self, method: str, url: str, params: dict[str, int] | None, *, what: str) -> requests.Response:
        # `timeout` limits the wait for the next bytes only: a server that trickles would never end.
        deadline = time.monotonic() + 4 * self._credentials.timeout_seconds
        try:
            response: requests.Response = self._session.request(
                method, url, params=params, allow_redirects=False, stream=True
            )
            with response:
                parts = []
                # One read per arrival: iter_content would wait for a whole megabyte, past any deadline.
                while part := response.raw.read1(1 << 18, decode_content=True):
                    parts.append(part)
                    if time.monotonic() > deadline:
                        raise ApiUnavailable(f"{what}: the answer came too slowly and was cut off.")
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise _no_answer(error, f"{what}: no whole answer from Getty") from _tellable(error)
        response._content = b"".join(parts)  # the body, read under the deadline
        return response

    def _ensure_token(self) -> None:
        token = self._session.token
        if token:
            lifetime = int(token.get("expires_in") or 0)
            if not token.is_expired(leeway=min(_RENEW_EARLY_SECONDS, lifetime // 6)):
                return
        credentials = self._credentials
        user = {"username": credentials.username, "password": credentials.user_password}
        try:
            token = self._session.fetch_token(
                credentials.token_url,
                grant_type=credentials.grant_type,
                allow_redirects=False,
                **(user if credentials.grant_type == "password" else {}),
            )
        except requests.RequestException as error:
            raise _no_answer(error, f"No token from {credentials.token_url}") from _tellable(error)
        except OAuthError as error:
            raise CredentialsRefused(answers.refused_login(self._name, detail=error.error)) from error
        if self._on_token is not None:
            self._on_token(token["access_token"])

    def _check_token_answer(self, response: requests.Response) -> requests.Response:
        answers.check_token(response, name=self._name)
        return response


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _no_answer(error: Exception, what: str) -> ConfigurationError | ApiUnavailable:
    """Return what an error of the wire means."""
    if _is_unsendable(error):
        return ConfigurationError(
            f"{what}: an address cannot be used ({type(error).__name__}). Correct the addresses of the connection "
            "and of the proxy."
        )
    return ApiUnavailable(f"{what} ({type(error).__name__}).")


def _is_unsendable(error: Exception) -> bool:
    # A bare ValueError is about an address or a header: urllib and http.client know no better.
    from_the_wire = isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError)
    return isinstance(error, _UNSENDABLE) or not from_the_wire


def _tellable(error: Exception) -> Exception | None:
    """Return an error as a cause that a log may show: one about a header quotes it, token and all."""
    return None if _is_unsendable(error) else error


def _received_at(response: requests.Response) -> datetime:
    now = datetime.now(UTC)
    try:
        server = parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return now
    if server - now <= _CLOCK_TOLERANCE:
        return now
    log.warning("The clock of this worker is %s behind Getty's: set it right.", server - now)
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


__all__ = ["API_URL", "TOKEN_URL", "AssetChangesClient", "Confirmation", "Credentials", "Delivery"]
