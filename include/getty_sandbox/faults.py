"""What goes wrong on purpose: at a rate, from a seeded generator, or forced for the next request."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from getty_sandbox.options import SandboxError
from getty_sandbox.wire import JSON, OVER_QPS, Reply, edge_error

PUT, DELETE, CHANNELS, TOKEN, LOOKUP = "put", "delete", "channels", "token", "lookup"
OPERATIONS = (PUT, DELETE, CHANNELS, TOKEN, LOOKUP)
_SERVICE = (PUT, DELETE, CHANNELS, LOOKUP)
_WITH_BODY = (PUT, CHANNELS, LOOKUP)

# Mode: the operations that can fail in this way, and what a reader sees of it.
MODES: dict[str, tuple[tuple[str, ...], str]] = {
    "lost_put_response": ((PUT,), "the set is made, the connection is cut before the answer"),
    "lost_delete_response": ((DELETE,), "the set is confirmed, the connection is cut before the answer"),
    "connection_cut": (OPERATIONS, "the connection is cut before anything happens"),
    "500": (OPERATIONS, "500 with an edge error"),
    "502": (OPERATIONS, "502 with an edge error"),
    "503": (OPERATIONS, "503 with an edge error"),
    "429": (OPERATIONS, "429 without Retry-After"),
    "429_retry_after": (OPERATIONS, "429 with Retry-After"),
    "403_throttle": (_SERVICE, "the 403 that meant throttling until about 2020"),
    "token_revoked": (_SERVICE, "401, and the token is worth nothing from now on"),
    "half_json": (_WITH_BODY, "half the body, and a Content-Length that agrees with it"),
    "cut_body": (
        _WITH_BODY,
        "half the body under the Content-Length of the whole, then the connection is cut",
    ),
    "html_200": (_WITH_BODY, "an HTML page with status 200"),
    "html_502": (OPERATIONS, "an HTML page with status 502"),
    "slow_body": (_WITH_BODY, "the right answer, trickling"),
    "unasked_asset": ((LOOKUP,), "the answer contains an asset that was not asked for"),
    "redirect": (_SERVICE, "302 to the same path of the same host, or to a location of your choice"),
}
_HTML = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>We will be right back.</body></html>"


@dataclass(frozen=True)
class Fault:
    """A fault of one request."""

    mode: str
    operation: str | None = None
    channel_id: int | None = None
    times: int = 1
    location: str | None = None

    def fits(self, operation: str, channel_id: int | None) -> bool:
        """Whether the fault applies to this request."""
        return (
            operation in MODES[self.mode][0]
            and self.operation in (None, operation)
            and self.channel_id in (None, channel_id)
        )


class Faults:
    """Decides for every request which fault it meets, if any."""

    def __init__(self, *, rate: float, modes: Sequence[str], seed: int) -> None:
        """Chooses among `modes`, or among all of them where none is named."""
        for mode in modes:
            _known(mode)
        self._rate = rate
        self._modes = tuple(modes) or tuple(MODES)
        self._rng = random.Random(f"faults {seed}")
        self._forced: list[Fault] = []
        self._lock = threading.Lock()

    def force(self, fault: Fault) -> None:
        """The next requests that fit meet this fault, `times` times."""
        _known(fault.mode)
        if fault.operation not in (None, *OPERATIONS):
            raise SandboxError(f"An operation is one of {', '.join(OPERATIONS)}, not {fault.operation!r}.")
        if fault.times < 1:
            raise SandboxError("A fault happens at least once.")
        with self._lock:
            self._forced.append(fault)

    def next(self, operation: str, channel_id: int | None, *, is_redirected: bool) -> Fault | None:
        """The fault of this request: a forced one first, else perhaps a random one.

        Random faults spare the token endpoint, and no answer redirects what was redirected already.
        """
        with self._lock:
            for index, fault in enumerate(self._forced):
                if fault.fits(operation, channel_id) and not (is_redirected and fault.mode == "redirect"):
                    left = replace(fault, times=fault.times - 1)
                    self._forced[index : index + 1] = [left] if left.times else []
                    return fault
            if operation == TOKEN or self._rng.random() >= self._rate:
                return None
            fitting = [
                mode
                for mode in self._modes
                if operation in MODES[mode][0] and not (is_redirected and mode == "redirect")
            ]
            return Fault(self._rng.choice(fitting)) if fitting else None


def replacement_reply(fault: Fault, *, path: str, retry_after: int) -> Reply | None:
    """The answer that replaces the right one; None where the right one is needed."""
    if fault.mode in ("500", "502", "503"):
        texts = {"500": "Internal Server Error", "502": "Bad Gateway", "503": "Service Unavailable"}
        return edge_error(int(fault.mode), texts[fault.mode])
    if fault.mode in ("429", "429_retry_after"):
        waits = {"Retry-After": str(retry_after)} if fault.mode == "429_retry_after" else {}
        return edge_error(429, "Too Many Requests", {"X-Error-Detail": OVER_QPS} | waits)
    if fault.mode == "403_throttle":
        mashery = {"X-Error-Detail": OVER_QPS, "X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS"}
        return edge_error(403, OVER_QPS, mashery)
    if fault.mode in ("html_200", "html_502"):
        return Reply(int(fault.mode[-3:]), _HTML, "text/html")
    if fault.mode == "redirect":
        again = f"{path}{'&' if '?' in path else '?'}redirected=1"
        return Reply(302, b"", JSON, {"Location": fault.location or again})
    return None


def first_half(body: bytes) -> bytes:
    """The first half of a body; for an empty body, the beginning of a JSON object."""
    return body[: len(body) // 2] if len(body.strip()) > 1 else b'{"change_set_id":'


def _known(mode: str) -> None:
    if mode not in MODES:
        raise SandboxError(f"There is no fault mode {mode!r}; there are {', '.join(MODES)}.")
