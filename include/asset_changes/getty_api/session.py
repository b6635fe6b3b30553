"""One HTTP session with Getty: both credentials on every call, one token, redirects kept within the host."""

import json
import logging
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from requests.adapters import BaseAdapter

from asset_changes.errors import ApiUnavailable, ConfigurationError, CredentialsRefused, UnexpectedRedirect
from asset_changes.getty_api import responses
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.timeouts import BoundedAdapter, TotalTimeout

log = logging.getLogger(__name__)

_MAX_REDIRECTS = 3
_RENEW_EARLY_SECONDS = 300  # Getty's SDKs renew five minutes before a token ends
_UNSENDABLE = (
    requests.URLRequired,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
)


class Transport:
    """Sends requests with both credentials; knows tokens and redirects, and nothing of change sets.

    `name` stands in error sentences for what a person must correct; `on_token` is told each new
    token; `adapter` stands in for the network where a test wants to be the API.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        name: str,
        on_token: Callable[[str], None] | None,
        adapter: BaseAdapter | None,
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
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter or BoundedAdapter())
        self._session.register_compliance_hook("access_token_response", self._check_token_answer)

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def send(self, method: str, path: str, params: dict[str, int] | None, *, what: str) -> requests.Response:
        """Return the answer to one request, whatever its status; its body is read whole.

        `what` begins the sentence of whatever goes wrong. The token is fetched when it is missing or
        about to end, and once more where Getty refuses it.
        """
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
        try:
            response: requests.Response = self._session.request(method, url, params=params, allow_redirects=False)
        except (requests.RequestException, ValueError) as error:
            raise _no_answer(error, f"{what}: no whole answer from Getty") from _tellable(error)
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
            # Not the address itself: Airflow takes every extra with `token` in its name for a secret.
            raise _no_answer(
                error, f"No token: no whole answer from token_url of connection {self._name!r}"
            ) from _tellable(error)
        except OAuthError as error:
            raise CredentialsRefused(responses.refused_login(self._name, detail=error.error)) from error
        if self._on_token is not None:
            self._on_token(token["access_token"])

    def _check_token_answer(self, response: requests.Response) -> requests.Response:
        response._content = json.dumps(responses.check_token(response, name=self._name)).encode()
        return response


def _no_answer(error: Exception, what: str) -> ConfigurationError | ApiUnavailable:
    """Return what an error of the wire means."""
    if _is_unsendable(error):
        return ConfigurationError(
            f"{what}: an address cannot be used ({type(error).__name__}). Correct the addresses of the connection "
            "and of the proxy."
        )
    return ApiUnavailable(f"{what} ({'too slow' if TotalTimeout.is_behind(error) else type(error).__name__}).")


def _is_unsendable(error: Exception) -> bool:
    # A bare ValueError is about an address or a header: urllib and http.client know no better.
    from_the_wire = isinstance(error, requests.RequestException)
    return isinstance(error, _UNSENDABLE) or not from_the_wire


def _tellable(error: Exception) -> Exception | None:
    """Return an error as a cause that a log may show: one about a header quotes it, token and all."""
    return None if _is_unsendable(error) else error
