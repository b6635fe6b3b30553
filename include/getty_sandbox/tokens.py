"""The token endpoint: client credentials, and the password grant of older accounts."""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qs, unquote

from getty_sandbox.options import Options
from getty_sandbox.wire import JSON, Reply, to_json


class Tokens:
    """Hands out tokens and knows which are valid; a restart forgets them all."""

    def __init__(self, options: Options) -> None:
        """Tokens for the one client of these options."""
        self._options = options
        self._expiries: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def answer(self, body: bytes, authorization: str | None) -> Reply:
        """The answer to POST /oauth2/token."""
        form = {key: values[-1] for key, values in parse_qs(body.decode(errors="replace")).items()}
        options = self._options
        if _client(form, authorization) != (options.client_id, options.client_secret):
            return _error(401, "invalid_client", "The client credentials are not valid.")
        grant = form.get("grant_type")
        if grant is None:
            return _error(400, "invalid_request", "The grant_type is missing.")
        if grant not in ("client_credentials", "password"):
            return _error(400, "unsupported_grant_type", "The grant type is not supported.")
        account = (form.get("username"), form.get("password"))
        if grant == "password" and account != (options.username, options.password):
            return _error(400, "invalid_grant", "The user name or the password is not valid.")
        lifetime = options.token_lifetime
        answer: dict[str, object] = {
            "access_token": self._issue(),
            "token_type": "Bearer",
            "expires_in": str(lifetime) if options.expires_in_as_text else lifetime,
        }
        if grant == "password":
            answer["refresh_token"] = secrets.token_urlsafe(24)
        return Reply(200, to_json(answer), JSON, {"Cache-Control": "no-store"})

    def _issue(self) -> str:
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._expiries[token] = self._options.clock() + timedelta(seconds=self._options.token_lifetime)
        return token

    def is_valid(self, authorization: str | None) -> bool:
        """Whether this Authorization header carries a valid token."""
        with self._lock:
            expiry = self._expiries.get(_bearer(authorization))
        return expiry is not None and self._options.clock() < expiry

    def revoke(self, authorization: str | None = None) -> None:
        """Revokes one token, or all."""
        with self._lock:
            if authorization is None:
                self._expiries.clear()
            else:
                self._expiries.pop(_bearer(authorization), None)


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _client(form: Mapping[str, str], authorization: str | None) -> tuple[str | None, str | None]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id"), form.get("client_secret")
    try:
        key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    return unquote(key), unquote(secret)


def _error(status: int, error: str, description: str) -> Reply:
    headers = {"WWW-Authenticate": 'Basic realm="sandbox"'} if status == 401 else {}
    return Reply(status, to_json({"error": error, "error_description": description}), JSON, headers)
