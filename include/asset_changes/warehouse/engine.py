"""Connections to the warehouse: the search path, errors as ours, transactions that are tried again."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from asset_changes.errors import WarehouseRefused, WarehouseUnavailable

Result = TypeVar("Result")

# Serialization failure and deadlock: Postgres rolled back, and the same work may go through now.
_COLLISIONS = ("40001", "40P01")
# What fails while connecting has no code: the driver knows the server's words alone.
_REFUSED_LOGIN = re.compile(
    r"FATAL:\s+(password authentication failed|no pg_hba\.conf entry|permission denied for database"
    r"|(role|database) .* does not exist|role .* is not permitted to log in)"
)
# Connection exceptions, a standby that is not the primary yet, insufficient resources, operator intervention, system
# errors.
_TRANSIENT = re.compile(r"08|25006|40|53|55P03|57|58")


def connect(url: URL | str, *, schema: str) -> Engine:
    """Return an engine whose connections see the tables of `schema`.

    One connection that stays open serves a whole task. Whatever the server's defaults are,
    `synchronous_commit` is on, because Getty forgets a set once it is confirmed, and a transaction
    sees what others committed before each of its statements, which the guarded load builds upon.
    """
    url = make_url(url).set(drivername="postgresql+psycopg")
    return create_engine(
        url,
        pool_size=1,
        max_overflow=4,
        pool_pre_ping=False,
        connect_args={
            "options": f'-c search_path="{schema}" -c synchronous_commit=on -c timezone=UTC -c client_encoding=UTF8'
            r" -c default_transaction_isolation=read\ committed -c default_transaction_read_only=off"
            # Without these, on both sides, a peer that vanished holds a task, or its locks, for two hours.
            " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
            "connect_timeout": 10,
            "application_name": "asset_changes",
        },
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Give a connection inside one transaction; raises our errors instead of the driver's."""
    with errors_as_ours(), engine.begin() as connection:
        yield connection


def in_transaction(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """Do `work` in one transaction, again from the start where Postgres gave it up for another."""
    retrying = Retrying(
        retry=retry_if_exception(_is_collision),
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
        state = _sqlstate(error)
        reason = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        if not state and _REFUSED_LOGIN.search(reason):
            raise WarehouseRefused(
                f"The warehouse refuses the login ({reason}). Correct user, password "
                "and database of connection warehouse_default."
            ) from error
        if error.connection_invalidated or not state or _TRANSIENT.match(state):
            raise WarehouseUnavailable(
                f"The warehouse does not answer or gave up ({reason}). Look at "
                "the database behind connection warehouse_default if this goes on."
            ) from error
        raise WarehouseRefused(
            f"The warehouse refuses a statement ({state}: {reason}). Check the rights "
            "of the warehouse's user and whether its tables were changed by hand."
        ) from error
    except SQLAlchemyError as error:
        raise WarehouseUnavailable(f"The warehouse cannot be used ({type(error).__name__}).") from error


def _is_collision(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and _sqlstate(error) in _COLLISIONS


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
