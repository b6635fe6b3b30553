"""What Getty gave the customer, checked before any call."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from asset_changes.errors import ConfigurationError

API_URL = "https://api.gettyimages.com"
TOKEN_URL = "https://authentication.gettyimages.com/oauth2/token"  # noqa: S105 - an address, no secret

_VISIBLE = re.compile(r"[\x21-\x7e]+")


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


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
