"""Connecting, with the server's own code for what it refuses.

libpq keeps the SQLSTATE of a failed login to itself, and its words may be in any language. Its trace shows the code.
"""

import os
import re
import select
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_attempts, make_conninfo
from psycopg.pq import PGconn, PollingStatus
from sqlalchemy import Engine, event

_SECONDS = 5.0
_NOT_LIBPQ = ("context", "autocommit", "prepare_threshold", "row_factory", "cursor_factory")
# `failed: FATAL:  words`: the two blanks are those of a server's error; libpq's own errors have none.
_SERVER_ANSWERED = re.compile(r": \S+:  \S")
_SQLSTATE = re.compile(rb'ErrorResponse\s.* C "([0-9A-Z]{5})"')
# Login and database that are refused; no right to connect; a database that takes no connections.
_REFUSED = re.compile(r"28|3D000|42501|55000|0A000")


def report_sqlstate_of_refused_logins(engine: Engine) -> None:
    """Give the errors of connecting their SQLSTATE, where a server answered; a refusal of any host comes first."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: object, arguments: Any, parameters: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **parameters)
        except psycopg.OperationalError as error:
            if error.sqlstate or not _SERVER_ANSWERED.search(str(error)):
                raise
            answers = list(_answers(parameters))
            state, words = next((each for each in answers if is_refused_login(each[0])), (answers or [("", "")])[0])
            if not state:
                raise
            refused = psycopg.OperationalError(words)
            refused.sqlstate = state
            raise refused from error


def is_refused_login(state: str) -> bool:
    """Whether a server that answers a login with this SQLSTATE will go on doing so."""
    return bool(_REFUSED.match(state))


def _answers(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Connect again to each address, and return SQLSTATE and words of those whose server answers with an error."""
    given = {name: value for name, value in parameters.items() if name not in _NOT_LIBPQ}
    for attempt in conninfo_attempts(given):
        with os.fdopen(os.memfd_create("libpq_trace"), "rb") as trace:  # never on a disk: it may hold the password
            try:
                words = _words(make_conninfo("", **attempt).encode(), trace.fileno())
            except psycopg.Error:
                continue  # libpq before 14 has no trace
            trace.seek(0)
            states = [each.decode() for each in _SQLSTATE.findall(trace.read())]
            if states:
                yield next(filter(is_refused_login, states), states[-1]), words


def _words(conninfo: bytes, trace: int) -> str:
    """What the server says to a login that is watched, or nothing."""
    connection = PGconn.connect_start(conninfo)
    deadline = time.monotonic() + _SECONDS
    try:
        connection.trace(trace)
        while (status := connection.connect_poll()) not in (PollingStatus.OK, PollingStatus.FAILED):
            sockets, seconds = [connection.socket], max(deadline - time.monotonic(), 0)
            reads, writes = (sockets, []) if status == PollingStatus.READING else ([], sockets)
            if not any(select.select(reads, writes, [], seconds)):
                return ""
        connection.untrace()
        return connection.get_error_message()
    finally:
        connection.finish()
