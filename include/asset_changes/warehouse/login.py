"""Connecting, with the server's own code for what it refuses in a language that we do not know.

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

from asset_changes.warehouse.failures import is_refused_login, is_understood

_SECONDS = 5.0
_NOT_LIBPQ = ("context", "autocommit", "prepare_threshold", "row_factory", "cursor_factory")
# `failed: FATAL:  words`: the two blanks are those of a server's error; libpq's own errors have none.
_SERVER_ANSWERED = re.compile(r": \S+:  \S")
_SQLSTATE = re.compile(rb'ErrorResponse\s.* C "([0-9A-Z]{5})"')


def report_sqlstate_of_refused_logins(engine: Engine) -> None:
    """Give errors of connecting their SQLSTATE, where a server answers in other words than those of failures.py."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _connection: object, arguments: Any, parameters: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **parameters)
        except psycopg.OperationalError as error:
            words = str(error)
            if error.sqlstate or is_understood(words) or not _SERVER_ANSWERED.search(words):
                raise  # a second login would say no more
            try:
                answers = list(_answers(parameters))
            except (OSError, ValueError, psycopg.Error):
                answers = []  # no descriptor is free, or its number is too high for `select`
            state, words = next((each for each in answers if is_refused_login(each[0])), (answers or [("", "")])[0])
            if not state:
                raise
            refused = psycopg.OperationalError(words)
            refused.sqlstate = state
            raise refused from error


def _answers(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Connect again to each address, and return SQLSTATE and words of those whose server answers with an error."""
    if not hasattr(os, "memfd_create"):
        return  # not on macOS: the error keeps its own words, without the code
    given = {name: value for name, value in parameters.items() if name not in _NOT_LIBPQ}
    for attempt in conninfo_attempts(given):
        with os.fdopen(os.memfd_create("libpq_trace"), "rb") as trace:  # never on a disk: it may contain the password
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
