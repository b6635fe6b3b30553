"""What is checked before Airflow starts, so that what cannot work ends with one sentence within a second."""

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import requests
from asset_changes.errors import ConfigurationError, WarehouseRefused, WarehouseUnavailable
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.settings import Settings
from asset_changes.warehouse.engine import connect, errors_as_ours
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
    """Connect once, as the tasks do, to a warehouse that was given: a server may still come up, a refusal ends it."""
    where = f"{url.host or url.query.get('host', 'localhost')}:{url.port or 5432}"
    deadline = time.monotonic() + seconds
    engine = connect(url, schema="public").execution_options(isolation_level="AUTOCOMMIT")
    is_reported = False
    while True:
        try:
            with errors_as_ours(), engine.connect():
                return
        except WarehouseRefused as error:
            raise StackError(
                f"The warehouse at {where} does not let user {url.username!r} into database {url.database!r} "
                f"({_server_message(error)}). Correct {WAREHOUSE}, or create there what is missing."
            ) from error
        except WarehouseUnavailable as error:
            if time.monotonic() > deadline:
                raise StackError(
                    f"The warehouse at {where} (database {url.database!r}) has not answered for {seconds:.0f} seconds "
                    f"({_server_message(error)}). Start it, or correct host and port in {WAREHOUSE}."
                ) from error
        if not is_reported:
            screen.say(f"The warehouse at {where} does not answer yet: waiting for it, {seconds:.0f} seconds at most.")
            is_reported = True
        time.sleep(0.5)


def _server_message(error: Exception) -> str:
    """Return what the server itself said, without the words of driver and library around it."""
    words = str(getattr(error.__cause__, "orig", error))
    _, is_servers, answer = words.rpartition("FATAL:")
    line = (answer.strip() or type(error).__name__).splitlines()[0]
    return line.strip() if is_servers else line.rpartition("failed: ")[2]


def warn_if_getty_is_silent(connection: Connection, screen: Screen) -> None:
    """Warn that a Getty that was given does not answer; it may start later, so nothing ends."""
    if silent := silent_addresses(connection):
        screen.say(f"Getty does not answer yet at {silent}; Airflow keeps trying. If it lasts, {CORRECT_GETTY}.")


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
