"""What an HTTP answer means: a document, or the error that says what to do.

Only what all endpoints have in common; what a status means to one endpoint alone is with its method
in the client. Statuses and bodies as in Getty's OpenAPI file and its error pages: services answer
`{"ErrorCode", "ErrorMessage"}`, the edge `{"message"}`. Throttling is 429 today and was 403 with
`X-Error-Detail: Account Over Queries Per Second Limit` before 2020.
"""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import requests

from asset_changes.errors import AccessDenied, ApiUnavailable, RateLimited, RequestRefused
from asset_changes.getty_api.parsing import content, read_json

_RATE = re.compile(r"over (queries per second|qps|rate)|too many requests|rate limit", re.IGNORECASE)
NO_REASON = "no reason given"


def is_success(response: requests.Response) -> bool:
    """Say whether the request was carried out; a part of an answer (206) was not asked for."""
    return 200 <= response.status_code < 300 and response.status_code != HTTPStatus.PARTIAL_CONTENT


def raise_for_status(
    response: requests.Response, *, connection: str, product: str, effect: str = "nothing was confirmed"
) -> None:
    """Raise what an answer means that is no success.

    `connection` is the id of the connection to correct, `product` what the account needs the right to use,
    `effect` what the error leaves undone.
    """
    raise_if_passing(response)
    status = response.status_code
    if status == HTTPStatus.FORBIDDEN:
        raise AccessDenied(
            f"Getty denies access (403, {detail(response)}). Check the host of connection {connection!r} and ask "
            f"Getty whether the account may use {product}; {effect}."
        )
    if not is_success(response):
        raise RequestRefused(
            f"Getty refuses the {response.request.method} ({status}, {detail(response)}). Another try cannot repair "
            "this: report it to Getty."
        )


def raise_if_passing(response: requests.Response) -> None:
    """Raise where the same request may work later: throttled, or a failure on Getty's side."""
    status = response.status_code
    hint = f"{response.headers.get('X-Error-Detail', '')} {response.text[:500] if status == 403 else ''}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.FORBIDDEN and _RATE.search(hint)):
        raise RateLimited(f"Getty asks for fewer calls ({status}).", retry_after=_retry_after(response))
    if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
        raise ApiUnavailable(f"Getty answers {status}.", retry_after=_retry_after(response))


def document(response: requests.Response) -> Any:
    """Return the JSON document of an answer, None where its body is empty."""
    body = content(response.content)
    if not body:
        return None
    try:
        return read_json(body)
    except (ValueError, RecursionError) as error:
        raise ApiUnavailable(f"The body of {len(body)} bytes is not JSON (cut off, or an error page).") from error


def detail(response: requests.Response) -> str:
    """Return the answer's own words, short, on one line."""
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        for key in ("ErrorCode", "error", "message", "ErrorMessage", "error_description"):
            if isinstance(answer.get(key), str) and answer[key].strip():
                return repr(answer[key].strip()[:120])
    return NO_REASON


def http_date(text: str | None) -> datetime | None:
    """Return the time that a header names (RFC 9110), in UTC; None where it names none."""
    try:
        time = parsedate_to_datetime(text or "")
        # Without a zone it is UTC, not the time of the place where this machine is.
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _retry_after(response: requests.Response) -> float | None:
    """Return how many seconds the answer asks to wait: `Retry-After` is a number or a date (RFC 9110)."""
    asked = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", asked):
        return float(asked)
    until = http_date(asked)
    return None if until is None else max(0.0, (until - datetime.now(UTC)).total_seconds())
