"""The sockets: HTTP/1.1 with connections kept alive, one write per answer, and faults of the connection."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from getty_sandbox.faults import first_half
from getty_sandbox.options import SandboxError
from getty_sandbox.service import ApiRequest, Outcome

_CUT_BEFORE_ANSWER = ("lost_put_response", "lost_delete_response", "connection_cut")
_SLOW_PIECES = 10

Answer = Callable[[ApiRequest, bool], Outcome]  # the request, and whether it comes from this machine


class Server(http.server.ThreadingHTTPServer):
    """Serves in a thread of its own until it is closed, which also cuts open connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, answer: Answer, *, slow_body_seconds: float) -> None:
        """Listens at once; a port that is taken is an error with a sentence."""
        self.answer = answer
        self.slow_body_seconds = slow_body_seconds
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        try:
            super().__init__((host, port), _Connection)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SandboxError(
                f"The sandbox cannot listen on {host} port {port}: {reason}. Choose another --port, or 0."
            ) from error
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="getty-sandbox", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops listening and cuts the connections that are open."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remembers the connection, so that closing can end it."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forgets the connection."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Readers disconnect and tests kill them: not worth a stack trace."""


class _Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "GettySandbox"
    disable_nagle_algorithm = True
    server: Server

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(int(length)) if length.isdecimal() else b""
        url = urlsplit(self.path)
        request = ApiRequest(
            method=self.command,
            target=self.path,
            path=url.path,
            query=parse_qs(url.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )
        is_local = ipaddress.ip_address(self.client_address[0].partition("%")[0]).is_loopback
        self._send(self.server.answer(request, is_local))

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815 - names that http.server looks up

    def _send(self, outcome: Outcome) -> None:
        reply, mode = outcome.reply, outcome.fault.mode if outcome.fault else None
        if mode in _CUT_BEFORE_ANSWER:
            self._cut()
            return
        body, length = reply.body, len(reply.body)
        if mode == "half_json":
            body = first_half(body)
            length = len(body)
        elif mode == "cut_body":
            body = first_half(body)
            length = max(length, len(body) + 1)
        # A 204 has no body to cut in half: send the half with a 200.
        status = 200 if body and reply.status == 204 else reply.status
        head = self._head(status, reply.media_type, dict(reply.headers), length)
        if mode == "slow_body":
            self._trickle(head, body)
        else:
            self.wfile.write(head + body)
        if mode == "cut_body":
            self._cut()

    def _head(self, status: int, media_type: str, headers: dict[str, str], length: int) -> bytes:
        phrase = HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {phrase}", f"Server: {self.server_version}"]
        if status != 204:
            lines += [f"Content-Type: {media_type}", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _trickle(self, head: bytes, body: bytes) -> None:
        self.wfile.write(head)
        size = max(1, -(-len(body) // _SLOW_PIECES))
        for begin in range(0, len(body), size):
            time.sleep(self.server.slow_body_seconds / _SLOW_PIECES)
            self.wfile.write(body[begin : begin + size])

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the sandbox prints its own line per request."""
