"""What an HTTP answer means: a document, or the error that says what to do.

Statuses and bodies as in Getty's OpenAPI file and its error pages: services answer
`{"ErrorCode", "ErrorMessage"}`, the edge `{"message"}`. Throttling is 429 today and was 403 with
`X-Error-Detail: Account Over Queries Per Second Limit` before 2020.
"""

import json
import re
from codecs import BOM_UTF8
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import requests

from asset_changes.errors import (
    AccessDenied,
    ApiUnavailable,
    AssetChangesError,
    ConfigurationError,
    CredentialsRefused,
    RateLimited,
    RequestRefused,
    UnexpectedRedirect,
    UnknownChannel,
)
from asset_changes.getty_api.parsing import read_json

_RATE = re.compile(r"over (queries per second|qps|rate)|too many requests|rate limit", re.IGNORECASE)
_TOKEN_SECONDS = 1800
_NO_REASON = "no reason given"
_SIZE = re.compile(r"batch.?size|max(imum)? ?exceeded|too many items", re.IGNORECASE)
_OK = frozenset({200, 201, 202, 204})


def check(response: requests.Response, *, method: str, what: str, name: str, channel_id: int | None = None) -> Any:
    """Return the answer's JSON document (None where the body is empty), or raise what it means."""
    status = response.status_code
    if status in _OK:
        # A confirmation has no body that matters: Getty documents none.
        return None if method == "DELETE" else _document(response, what=what)
    if method == "DELETE" and status == HTTPStatus.NOT_FOUND:
        return None
    if method == "GET" and status == HTTPStatus.NOT_FOUND and "ChannelsNotFound" in response.text[:500]:
        return []  # of an account without any
    raise (
        _throttled(response, what)
        or _unavailable(response, what)
        or _refused(response, method=method, what=what, name=name, channel_id=channel_id)
    )


def check_token(response: requests.Response, *, name: str) -> dict[str, Any]:
    """Return what the answer says of a token, what it leaves out filled in, else raise what it means.

    `expires_in` came as text and as a number; a token of Getty's lives for half an hour.
    """
    what = "The access token"
    status = response.status_code
    error = _throttled(response, what) or _unavailable(response, what)
    if error:
        raise error
    if status in (301, 302, 303, 307, 308):
        raise UnexpectedRedirect(
            f"{what}: the token address redirects, which is not followed because the request carries the "
            f"secret. Correct token_url in connection {name!r}."
        )
    if status not in _OK:
        detail = _detail(response)
        if status != HTTPStatus.UNAUTHORIZED and (status == HTTPStatus.NOT_FOUND or detail == _NO_REASON):
            raise ConfigurationError(
                f"{what}: what answers at token_url is no token address ({status}). Correct token_url in connection "
                f"{name!r}, or leave it out for Getty's own."
            )
        raise CredentialsRefused(refused_login(name, detail=detail))
    document = _document(response, what=what)
    said = document if isinstance(document, dict) else {}
    # What stands in a header is visible ASCII; a token that is not would be quoted by the error it makes.
    if not re.fullmatch(r"[\x21-\x7e]+", str(said.get("access_token") or "")) or not _is_bearer(said):
        raise ApiUnavailable(f"{what}: the answer holds no token.")
    lifetime = said.get("expires_in")
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", str(_TOKEN_SECONDS if lifetime is None else lifetime)):
        raise ApiUnavailable(f"{what}: the answer does not say how long the token is valid.")
    return {**said, "token_type": "Bearer", "expires_in": _TOKEN_SECONDS if lifetime is None else int(float(lifetime))}


def _is_bearer(said: dict[str, Any]) -> bool:
    return str(said.get("token_type") or "bearer").lower() == "bearer"


def refused_login(name: str, *, detail: str) -> str:
    """Return the sentence for a key or secret that Getty does not accept."""
    return (
        f"Getty does not accept the credentials of connection {name!r} ({detail}). Correct the API key (login) "
        f"and the secret (password), then run asset_changes_discovery again; nothing was confirmed."
    )


def _document(response: requests.Response, *, what: str) -> Any:
    body = response.content.removeprefix(BOM_UTF8).strip()
    if not body:
        return None
    try:
        return read_json(body)
    except (ValueError, RecursionError) as error:
        raise ApiUnavailable(
            f"{what}: the body of {len(body)} bytes is not JSON (cut off, or an error page)."
        ) from error


def _throttled(response: requests.Response, what: str) -> RateLimited | None:
    status = response.status_code
    said = f"{response.headers.get('X-Error-Detail', '')} {response.text[:500] if status == 403 else ''}"
    if status != HTTPStatus.TOO_MANY_REQUESTS and not (status == HTTPStatus.FORBIDDEN and _RATE.search(said)):
        return None
    return RateLimited(f"{what}: Getty asks for fewer calls ({status}).", retry_after=_retry_after(response))


def _unavailable(response: requests.Response, what: str) -> ApiUnavailable | None:
    status = response.status_code
    if status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
        return None
    return ApiUnavailable(f"{what}: Getty answers {status}.", retry_after=_retry_after(response))


def _retry_after(response: requests.Response) -> float | None:
    """Return how many seconds the answer asks to wait: `Retry-After` is a number or a date (RFC 9110)."""
    asked = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", asked):
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _refused(
    response: requests.Response, *, method: str, what: str, name: str, channel_id: int | None
) -> AssetChangesError:
    status, detail = response.status_code, _detail(response)
    if status == HTTPStatus.FORBIDDEN:
        return AccessDenied(
            f"{what}: Getty denies access (403, {detail}). Check the host of connection {name!r} and ask Getty "
            "whether the account may use Asset Changes; nothing was confirmed."
        )
    if status == HTTPStatus.BAD_REQUEST and _SIZE.search(response.text[:500]):
        return ConfigurationError(
            f"{what}: Getty refuses the batch size (400, {detail}). Older agreements allow 500: set it as "
            "ASSET_CHANGES_BATCH_SIZE, or as batch_size of the channel."
        )
    if channel_id is not None and status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
        return UnknownChannel(
            f"{what}: Getty does not know this channel ({status}, {detail}). Run asset_changes_discovery to "
            "read the channels anew; a channel that Getty removed comes back only through its sales team."
        )
    return RequestRefused(
        f"{what}: Getty refuses the {method} ({status}, {detail}). Another try cannot mend this: report it to Getty."
    )


def _detail(response: requests.Response) -> str:
    """Return the answer's own words, short, on one line."""
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if isinstance(document, dict):
        for key in ("ErrorCode", "error", "message", "ErrorMessage", "error_description"):
            if isinstance(document.get(key), str) and document[key].strip():
                return repr(document[key].strip()[:120])
    return _NO_REASON
