"""What is checked before Airflow starts, so that what cannot work ends with one sentence within a second."""

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import psycopg
import requests
from asset_changes.errors import ConfigurationError
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.settings import Settings
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from sqlalchemy import URL

from local_stack.connections import GETTY, WAREHOUSE, Connection
from local_stack.errors import StackError
from local_stack.screen import Screen

SERVER_SECONDS = 30.0
CALL_SECONDS = 5
CORRECT_GETTY = f"correct host or token_url in {GETTY}, or the proxy in between"


def run_preflight_checks(environment: Mapping[str, str], screen: Screen) -> None:
    """Refuse invalid settings, and try the warehouse and the Getty that were given from outside."""
    read_settings(environment)
    if text := environment.get(WAREHOUSE):
        reach_warehouse(Connection.read(WAREHOUSE, text).warehouse_url(), screen)
    if text := environment.get(GETTY):
        warn_if_getty_is_silent(Connection.read(GETTY, text), screen)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that the tasks will read; what they would refuse is refused now."""
    try:
        WatchSettings.from_environment(environment)
        return Settings.from_environment(environment)
    except ConfigurationError as error:
        raise StackError(str(error)) from error


def reach_warehouse(url: URL, screen: Screen, *, seconds: float = SERVER_SECONDS) -> None:
    """Connect once to a warehouse that was given: a server may still come up, a refusal ends it."""
    parts = {**url.translate_connect_args(username="user", database="dbname"), **url.query}
    conninfo = make_conninfo(**{"connect_timeout": str(CALL_SECONDS), **parts})
    where = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}"
    is_up = _wait_for_server(conninfo, where, screen, seconds=seconds)
    try:
        psycopg.connect(conninfo).close()
    except psycopg.Error as error:
        if is_up:
            raise StackError(
                f"The warehouse at {where} does not let user {url.username!r} into database {url.database!r} "
                f"({_server_message(error)}). Correct {WAREHOUSE}, or create there what is missing."
            ) from error
        raise StackError(
            f"The warehouse at {where} (database {url.database!r}) has not answered for {seconds:.0f} seconds "
            f"({_server_message(error)}). Start it, or correct host and port in {WAREHOUSE}."
        ) from error


def _server_message(error: psycopg.Error) -> str:
    """The server's own message, without what the driver puts around it."""
    _, is_servers, words = str(error).rpartition("FATAL:")
    line = (words.strip() or type(error).__name__).splitlines()[0]
    return line.strip() if is_servers else line.rpartition("failed: ")[2]


def _wait_for_server(conninfo: str, where: str, screen: Screen, *, seconds: float) -> bool:
    """Whether a server answers within the time, be it with a refusal."""
    deadline = time.monotonic() + seconds
    is_reported = False
    while PGconn.ping(conninfo.encode()) in (Ping.NO_RESPONSE, Ping.REJECT):
        if time.monotonic() > deadline:
            return False
        if not is_reported:
            screen.say(f"The warehouse at {where} does not answer yet: waiting for it, {seconds:.0f} seconds at most.")
            is_reported = True
        time.sleep(0.5)
    return True


def warn_if_getty_is_silent(connection: Connection, screen: Screen) -> None:
    """Warn that a Getty that was given does not answer; it may start later, so nothing ends."""
    if silent := silent_addresses(connection):
        screen.say(f"Getty does not answer yet at {silent}; Airflow goes on trying. If it lasts, {CORRECT_GETTY}.")


def silent_addresses(connection: Connection) -> str:
    """The addresses of this Getty at which nothing answers, each with the reason; asked without any credentials."""
    origins = dict.fromkeys("{0.scheme}://{0.netloc}".format(urlsplit(each)) for each in connection.getty_addresses())
    return " and ".join(f"{origin} ({reason})" for origin in origins if (reason := _why_silent(origin)))


def _why_silent(origin: str) -> str | None:
    try:
        requests.head(origin, timeout=CALL_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        inner: BaseException = error
        while deeper := inner.__cause__ or inner.__context__:
            inner = deeper
        return (isinstance(inner, OSError) and inner.strerror) or type(inner).__name__
    return None
