"""Connections to the warehouse: one way to begin a transaction, errors as ours, collisions tried again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from psycopg.pq import Conninfo
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from asset_changes.errors import WarehouseUnavailable
from asset_changes.warehouse.failures import is_collision, warehouse_error
from asset_changes.warehouse.login import report_sqlstate_of_refused_logins
from asset_changes.warehouse.session import set_up_transactions

Result = TypeVar("Result")

APPLICATION_NAME = "asset_changes"
_SECRETS = {option.keyword.decode() for option in Conninfo.get_defaults() if option.dispchar == b"*"}
# What the URL says wins.
_OPTIONS = {
    # Without these a peer that vanished holds a task for two hours; session.py asks the server for the same.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "connect_timeout": "10",
}


def connect(url: URL | str, *, schema: str, application_name: str = APPLICATION_NAME) -> Engine:
    """Return an engine whose transactions see the tables of `schema`, through a pooler too.

    One connection that stays open serves a whole task. Nothing is asked for when it starts, since poolers refuse
    or drop that, and nothing is kept in it between transactions: no prepared statement, no setting.
    """
    url = make_url(url).set(drivername="postgresql+psycopg")
    secrets = {name: value for name, value in url.query.items() if name in _SECRETS}
    engine = create_engine(
        url.difference_update_query(secrets),  # an engine shows its URL
        pool_size=1,
        max_overflow=4,
        pool_pre_ping=False,
        hide_parameters=True,
        use_native_hstore=False,  # else it is looked up at the first connection
        connect_args={
            **{name: value for name, value in _OPTIONS.items() if name not in url.query},
            **secrets,
            "options": "",  # empty, so that PGOPTIONS of the environment is not used
            "client_encoding": "UTF8",
            "application_name": application_name,
            "prepare_threshold": None,
        },
    )
    report_sqlstate_of_refused_logins(engine)
    set_up_transactions(engine, schema=schema, application_name=application_name)
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Give a connection inside one transaction; raises our errors instead of the driver's."""
    with errors_as_ours(), engine.begin() as connection:
        yield connection


def in_transaction(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """Do `work` in one transaction, again from the start where Postgres gave it up for another."""
    retrying = Retrying(
        retry=retry_if_exception(is_collision),
        stop=stop_after_attempt(5),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        reraise=True,
    )

    def once() -> Result:
        with engine.begin() as connection:
            return work(connection)

    with errors_as_ours():
        return retrying(once)


@contextmanager
def errors_as_ours() -> Iterator[None]:
    """Turn the driver's errors into WarehouseUnavailable or WarehouseRefused."""
    try:
        yield
    except DBAPIError as error:
        raise warehouse_error(error) from error
    except SQLAlchemyError as error:
        raise WarehouseUnavailable(f"The warehouse cannot be used ({type(error).__name__}).") from error
