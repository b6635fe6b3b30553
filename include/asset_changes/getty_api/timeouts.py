"""Answers that end: a time limit for the whole of an answer, not for each byte of it.

The timeout of requests limits the wait for the next bytes only: a server that trickles would never end.
"""

import http.client
import io
import socket
import time
from functools import cache
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

TIMEOUTS_PER_ANSWER = 4
"""How many timeouts an answer may take, from its first byte awaited to its last one read."""


class TotalTimeout(TimeoutError):
    """An answer was not whole when its time was over."""

    @classmethod
    def is_behind(cls, error: BaseException | None) -> bool:
        """Say whether this is what an error of requests came of."""
        while error is not None and not isinstance(error, cls):
            error = error.__cause__ or error.__context__
        return error is not None


class _BoundedReads(io.RawIOBase):
    """Reads from a socket until a deadline; the wait for the next bytes gets shorter towards it."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, *, timeout: float, total: float) -> None:
        self._raw, self._connection, self._timeout = raw, connection, timeout
        self._deadline = time.monotonic() + total

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TotalTimeout
        self._connection.settimeout(min(left, self._timeout))
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            if left < self._timeout:
                raise TotalTimeout from None
            raise

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedAnswer(http.client.HTTPResponse):
    timeouts: float

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if timeout := sock.gettimeout():
            self.fp = io.BufferedReader(
                _BoundedReads(self.fp.detach(), sock, timeout=timeout, total=self.timeouts * timeout)
            )


@cache
def _bounded(connection: type[HTTPConnection], *, timeouts: float) -> type[HTTPConnection]:
    answer = type("BoundedAnswer", (_BoundedAnswer,), {"timeouts": timeouts})
    return type(f"Bounded{connection.__name__}", (connection,), {"response_class": answer})


class BoundedAdapter(HTTPAdapter):
    """What a session sends through so that each answer ends, of whatever host and whatever proxy."""

    def __init__(self, *, timeouts_per_answer: float = TIMEOUTS_PER_ANSWER) -> None:
        super().__init__()
        self._timeouts = timeouts_per_answer

    def get_connection_with_tls_context(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the pool as requests finds it, with connections whose answers end."""
        pool: Any = super().get_connection_with_tls_context(request, *args, **kwargs)
        pool.ConnectionCls = _bounded(type(pool).ConnectionCls, timeouts=self._timeouts)
        return pool
