"""The two connections: read as Airflow reads them, or made for what the stack starts itself."""

import json
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from asset_changes.errors import ConfigurationError
from asset_changes.getty_api.credentials import API_URL, TOKEN_URL
from asset_changes.warehouse.connection_url import connection_url
from sqlalchemy import URL

from local_stack.errors import StackError

GETTY = "AIRFLOW_CONN_GETTY_IMAGES_DEFAULT"
WAREHOUSE = "AIRFLOW_CONN_WAREHOUSE_DEFAULT"
# What Airflow and SQLAlchemy call a PostgreSQL; one without a type is taken for it, as our tasks do.
POSTGRES = ("postgres", "postgresql", "postgresql+psycopg", "")


@dataclass(frozen=True)
class Connection:
    """An Airflow connection out of an environment variable."""

    kind: str = ""
    host: str = ""
    login: str = ""
    password: str = field(default="", repr=False)
    port: int | None = None
    schema: str = ""
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, variable: str, text: str) -> "Connection":
        """The connection written in `text`, JSON or URI."""
        try:
            return cls._from_json(text) if text.lstrip().startswith("{") else cls._from_uri(text)
        except (ValueError, TypeError, AttributeError) as error:
            # The text holds a password, and so may the error: neither is shown.
            raise StackError(
                f"{variable} is neither an Airflow connection in JSON nor a URI. In a URI, the characters "
                "@ : / ? # [ ] % of a user or password are written as %40 (@), %2F (/) and so on; in JSON as they are."
            ) from error

    @classmethod
    def _from_json(cls, text: str) -> "Connection":
        given = json.loads(text)
        extra = given.get("extra") or {}
        return cls(
            kind=str(given.get("conn_type") or ""),
            host=str(given.get("host") or ""),
            login=str(given.get("login") or ""),
            password=str(given.get("password") or ""),
            port=int(given["port"]) if given.get("port") else None,
            schema=str(given.get("schema") or ""),
            extra=json.loads(extra) if isinstance(extra, str) else dict(extra),
        )

    @classmethod
    def _from_uri(cls, text: str) -> "Connection":
        parts = urlsplit(text.strip())
        if not parts.scheme:
            raise ValueError("no connection type")
        if "@" in parts.path + parts.fragment or ("@" in parts.query and "@" not in parts.netloc):
            # A / ? or # of the password has cut it: read on, parts of it would be shown as host and database.
            raise ValueError("a password that is not percent-encoded")
        query = dict(parse_qsl(parts.query))
        return cls(
            kind=parts.scheme,
            host=unquote(parts.hostname or ""),
            login=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            port=parts.port,
            schema=unquote(parts.path.lstrip("/")),
            extra=json.loads(query["__extra__"]) if "__extra__" in query else query,  # as Airflow reads it
        )

    def warehouse_url(self) -> URL:
        """The SQLAlchemy URL of this Postgres connection; another database is refused."""
        if self.kind not in POSTGRES:
            raise StackError(
                f"{WAREHOUSE} is a connection of type {self.kind[:40]!r}, but the warehouse is a PostgreSQL: "
                "write postgresql://user:password@host:5432/database."
            )
        try:
            return connection_url(
                host=self.host,
                port=self.port,
                login=self.login,
                password=self.password,
                database=self.schema,
                extra=self.extra,
                conn_id=WAREHOUSE,
            )
        except ConfigurationError as error:
            raise StackError(str(error)) from error

    def getty_addresses(self) -> tuple[str, str]:
        """Where the API and the token of this Getty connection are asked for, as the hook reads it."""
        host = self.host.strip().rstrip("/") or API_URL
        if "://" not in host:
            host = f"{self.schema or 'https'}://{host}"
        try:
            parts = urlsplit(host)
            if self.port and not parts.port:
                parts = parts._replace(netloc=f"{parts.netloc}:{self.port}")
        except ValueError as error:
            raise StackError(f"{GETTY}: its host {self.host[:60]!r} is no address.") from error
        return parts.geturl(), str(self.extra.get("token_url") or TOKEN_URL)

    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        name = urlsplit(self.getty_addresses()[0]).hostname or ""
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return name == "localhost"


def sandbox_connection(address: str) -> str:
    """The `getty_images` connection to a sandbox at `address`, as JSON."""
    return json.dumps(
        {
            "conn_type": "getty_images",
            "host": address,
            "login": "sandbox-key",
            "password": "sandbox-secret",
            "extra": {"token_url": f"{address}/oauth2/token"},
        }
    )


def postgres_connection(url: URL) -> str:
    """The `postgres` connection to an embedded database, as JSON."""
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": url.query["host"],
            "login": url.username,
            "schema": url.database,
        }
    )
