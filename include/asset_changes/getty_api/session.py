"""One HTTP session with Getty: the API key and the token on every call, redirects kept within the host.

Three hands share the work. A client (`client.py`, `lookup.py`) has one method per endpoint and handles the
statuses of that endpoint. This session knows tokens, redirects and timeouts, and sends only what its client
is allowed to call. `responses.py` reads what all answers have in common. `retries.py` repeats a call.

The token call is plain requests: one POST of a form, of whose answer three members are read. An OAuth
library would read more than that (an `"error": null` next to a good token was a refusal to it) and decide
by itself when a token has ended.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase

from asset_changes.clock import Clock, system_clock
from asset_changes.errors import ApiUnavailable, ConfigurationError, CredentialsRefused, UnexpectedRedirect
from asset_changes.getty_api import responses
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.timeouts import BoundedAdapter, TotalTimeout

log = logging.getLogger(__name__)

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_TOKEN_SECONDS = 1800  # what a token of Getty's lives where its answer does not say it
_RENEW_EARLY_SECONDS = 300  # Getty's SDKs renew five minutes before a token ends
_UNSENDABLE = (
    requests.URLRequired,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
)


@dataclass(frozen=True, kw_only=True)
class Token:
    """An access token and when to fetch the next one."""

    value: str = field(repr=False)
    renew_at: datetime


class _TokenAuth(AuthBase):
    """Puts a token into a request, or nothing at all.

    An explicit one always: without, requests looks for a password in ~/.netrc and sends that instead.
    """

    def __init__(self, token: Token | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token.value}"
        return request


class GettySession:
    """Sends requests with the API key and a token; one connection pool, one token at a time.

    `allowed` has for each method a pattern of the paths that may be called with it. Everything else is
    refused before it is sent, redirects too: a POST to `/v3/downloads` counts as a licence, and the `uri` of
    a change leads there.

    `name` says in error sentences what a person must correct (the connection id), `effect` what a refused
    key leaves undone; `on_token` gets each new token, so that the caller can mask it in its logs;
    `before_call` is called before every exchange, that of a token included: all of them count against Getty's
    limit; `adapter` replaces the network where a test wants to be the API.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        name: str,
        allowed: Mapping[str, str],
        effect: str = "nothing was confirmed",
        on_token: Callable[[str], None] | None = None,
        before_call: Callable[[], None] | None = None,
        clock: Clock = system_clock,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self.name = name
        self.effect = effect
        self._credentials = credentials
        self._allowed = allowed
        self._on_token = on_token
        self._before_call = before_call
        self._clock = clock
        self._token: Token | None = None
        self._session = requests.Session()
        self._session.headers["Api-Key"] = credentials.api_key
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter or BoundedAdapter())

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        with_token: bool = True,
    ) -> requests.Response:
        """Return the answer to one request, whatever its status but 401; its body is read whole.

        The token is fetched when it is missing or about to end, and once more where Getty refuses it. Without a token
        the API key alone is sent: Getty then answers whatever the account has licensed.
        """
        url = self._credentials.api_url.rstrip("/") + path
        if not self._may_call(method, url):
            raise ConfigurationError(f"{method} {path[:80]!r} is not a call of this client: nothing was sent.")
        if not with_token:
            response = self._follow(method, url, params=params, headers=headers, auth=_TokenAuth(None))
            if response.status_code == 401:
                raise CredentialsRefused(
                    f"Getty refuses a call with the API key of connection {self.name!r} alone (401); {self.effect}."
                )
            return response
        for try_number in (1, 2):
            if self._token is None or self._clock() >= self._token.renew_at:
                self._token = self._fetch_token()
            response = self._follow(method, url, params=params, headers=headers, auth=_TokenAuth(self._token))
            if response.status_code != 401:
                return response
            # Revoked early, or ended by a clock that differs: once more with a fresh one.
            self._token = None
            log.info("%s %s: token refused (401), try %d", method, path, try_number)
        raise CredentialsRefused(
            "Getty refused a fresh token twice (401). Check the API key (login) and secret (password) "
            f"of connection {self.name!r}; {self.effect}."
        )

    def _follow(
        self, method: str, url: str, *, params: Mapping[str, str | int] | None, **options: Any
    ) -> requests.Response:
        """Send one request and follow redirects within the host, with the same method, to a path that may be called.

        requests itself would turn a redirected PUT into a GET and carry `Api-Key` to any host.
        """
        origin = urlsplit(url)[:2]
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._exchange(method, url, whose="Getty", params=params, **options)
            if response.status_code not in _REDIRECTS:
                return response
            try:
                url, params = urljoin(response.url, response.headers.get("Location", "")), None
                target = urlsplit(url)[:2]
            except ValueError as error:
                raise UnexpectedRedirect("Getty redirects to something that is no address.") from error
            if target != origin:
                raise UnexpectedRedirect(
                    f"Getty redirects to another address ({'://'.join(target)!r}), which is not followed because "
                    "the request carries the API key. If Getty moved its API, correct the host of connection "
                    f"{self.name!r}."
                )
            if not self._may_call(method, url):
                raise UnexpectedRedirect(
                    f"Getty redirects to another path ({urlsplit(url).path[:80]!r}), which is not followed because it "
                    "is not a call of this client. If Getty moved its API, correct the host of connection "
                    f"{self.name!r}."
                )
        raise UnexpectedRedirect(f"Getty answers with more than {_MAX_REDIRECTS} redirects. Report this to Getty.")

    def _may_call(self, method: str, url: str) -> bool:
        base, pattern = urlsplit(self._credentials.api_url), self._allowed.get(method)
        try:
            asked = urlsplit(url)
        except ValueError:
            return False
        # A gateway in between may add a slash at the end.
        is_allowed = pattern and re.fullmatch(f"{re.escape(base.path.rstrip('/'))}(?:{pattern})/?", asked.path)
        return bool(is_allowed) and asked[:2] == base[:2]

    def _exchange(self, method: str, url: str, *, whose: str, **options: Any) -> requests.Response:
        if self._before_call is not None:
            self._before_call()
        try:
            return self._session.request(
                method, url, allow_redirects=False, timeout=self._credentials.timeout_seconds, **options
            )
        except (requests.RequestException, ValueError) as error:
            # A bare ValueError is about an address or a header: urllib and http.client know no better.
            is_unsendable = isinstance(error, _UNSENDABLE) or not isinstance(error, requests.RequestException)
            if is_unsendable:
                # Without its cause: an error about a header quotes it, token and all.
                raise ConfigurationError(
                    f"No whole answer from {whose}: an address cannot be used ({type(error).__name__}). Correct "
                    "the addresses of the connection and of the proxy."
                ) from None
            why = "too slow" if TotalTimeout.is_behind(error) else type(error).__name__
            raise ApiUnavailable(f"No whole answer from {whose} ({why}).") from error

    def _fetch_token(self) -> Token:
        given = self._credentials
        form = {"grant_type": given.grant_type, "client_id": given.api_key, "client_secret": given.secret}
        if given.grant_type == "password":
            form |= {"username": given.username or "", "password": given.user_password or ""}
        # Not the address itself: Airflow takes every extra with `token` in its name for a secret.
        whose = f"token_url of connection {self.name!r}"
        response = self._exchange("POST", given.token_url, whose=whose, data=form, auth=_TokenAuth(None))
        responses.raise_if_passing(response)
        if response.status_code in _REDIRECTS:
            raise UnexpectedRedirect(
                "The token address redirects, which is not followed because the request carries the secret. "
                f"Correct token_url in connection {self.name!r}."
            )
        if not responses.is_success(response):
            raise self._refused_token(response)
        token = _read_token(responses.document(response), now=self._clock())
        if self._on_token is not None:
            self._on_token(token.value)
        return token

    def _refused_token(self, response: requests.Response) -> ConfigurationError | CredentialsRefused:
        status, detail = response.status_code, responses.detail(response)
        if status == 404 or (status != 401 and detail == responses.NO_REASON):
            return ConfigurationError(
                f"What answers at token_url is no token address ({status}). Correct token_url in connection "
                f"{self.name!r}, or leave it out for Getty's own."
            )
        return CredentialsRefused(
            f"Getty does not accept the credentials of connection {self.name!r} ({detail}). Correct the API key "
            f"(login) and the secret (password) in it; {self.effect}."
        )


def _read_token(document: Any, *, now: datetime) -> Token:
    """Return the token that an answer contains; only token, type and lifetime are read, whatever else is there.

    `expires_in` came as text and as a number.
    """
    answer = document if isinstance(document, dict) else {}
    # Headers take visible ASCII; any other token would be quoted by the error it makes.
    is_token = re.fullmatch(r"[\x21-\x7e]+", str(answer.get("access_token") or ""))
    if not is_token or str(answer.get("token_type") or "bearer").lower() != "bearer":
        raise ApiUnavailable("The answer of the token address holds no token.")
    lifetime = answer.get("expires_in")
    seconds = str(_TOKEN_SECONDS if lifetime in (None, "") else lifetime).strip()
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", seconds, re.ASCII):
        raise ApiUnavailable("The answer of the token address does not say how long the token is valid.")
    valid_for = float(seconds)
    early = min(_RENEW_EARLY_SECONDS, valid_for / 6)
    return Token(value=answer["access_token"], renew_at=now + timedelta(seconds=valid_for - early))
