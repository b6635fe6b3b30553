"""The API without its sockets: a request in, an answer and perhaps a fault out."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from getty_sandbox import lookup, wire
from getty_sandbox.deliveries import Deliveries
from getty_sandbox.faults import CHANNELS, DELETE, LOOKUP, PUT, TOKEN, Fault, Faults, replacement_reply
from getty_sandbox.options import MAXIMUM_BATCH_SIZE, Options
from getty_sandbox.tokens import Tokens
from getty_sandbox.wire import Reply

_ROOT = "/v3/asset-changes"
_INT32 = 2**31


@dataclass(frozen=True)
class ApiRequest:
    """A request as it came in."""

    method: str
    target: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case
    body: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What goes back: the right answer or another, and the fault that shapes how it is sent."""

    reply: Reply
    fault: Fault | None = None
    operation: str | None = None
    channel_id: int | None = None


@dataclass
class Service:
    """Answers as Getty does, with the faults that were asked for."""

    options: Options
    deliveries: Deliveries
    tokens: Tokens
    faults: Faults
    lookups: lookup.Lookups
    raw: dict[int, deque[Reply]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: ApiRequest) -> Outcome:
        """The outcome of one request: the edge first, then faults, then the service."""
        operation, channel_id = self._operation(request)
        if operation is None:
            return Outcome(wire.edge_error(403, "Missing Authentication Token"))
        if operation != TOKEN:
            if request.headers.get("api-key") != self.options.client_id:
                return Outcome(wire.edge_error(401, "Unauthorized"), None, operation, channel_id)
            needs_token = operation != LOOKUP or "authorization" in request.headers
            if needs_token and not self.tokens.is_valid(request.headers.get("authorization")):
                return Outcome(wire.invalid_token(), None, operation, channel_id)
        if operation == LOOKUP and (refusal := self.lookups.refusal(request.target)):
            return Outcome(refusal, None, operation)
        fault = self.faults.next(operation, channel_id, is_redirected="redirected" in request.query)
        reply = self._fault_reply(fault, request) if fault else None
        return Outcome(reply or self._serve(operation, request, fault), fault, operation, channel_id)

    def raw_next(self, channel_id: int, reply: Reply) -> None:
        """The next PUT for a channel that gets through is answered with exactly this."""
        with self.lock:
            self.raw.setdefault(channel_id, deque()).append(reply)

    def _fault_reply(self, fault: Fault, request: ApiRequest) -> Reply | None:
        if fault.mode == "connection_cut":
            return Reply(0)
        if fault.mode == "token_revoked" and "authorization" in request.headers:
            self.tokens.revoke(request.headers.get("authorization"))
            return wire.invalid_token()
        return replacement_reply(fault, path=request.target, retry_after=self.options.retry_after_seconds)

    def _operation(self, request: ApiRequest) -> tuple[str | None, int | None]:
        match request.method, request.path:
            case "POST", "/oauth2/token":
                return TOKEN, None
            case "GET", "/v3/asset-changes/channels":
                return CHANNELS, None
            case "GET", path if path in lookup.PATHS:
                return LOOKUP, None
            case "PUT", "/v3/asset-changes/change-sets":
                return PUT, _int32(request.query.get("channel_id", []))
            case "DELETE", path if re.fullmatch(_ROOT + r"/change-sets/[^/]+", path):
                set_id = _change_set_id(path)
                return DELETE, None if set_id is None else self.deliveries.channel_of(set_id)
        return None, None

    def _serve(self, operation: str, request: ApiRequest, fault: Fault | None) -> Reply:
        if operation == TOKEN:
            return self.tokens.answer(request.body, request.headers.get("authorization"))
        if operation == CHANNELS:
            return self._channels()
        if operation == LOOKUP:
            adds_unasked = fault is not None and fault.mode == "unasked_asset"
            has_token = "authorization" in request.headers
            return self.lookups.answer(request.path, request.query, has_token=has_token, adds_unasked=adds_unasked)
        return self._put(request) if operation == PUT else self._delete(request)

    def _channels(self) -> Reply:
        listed = [
            wire.ListedChannel(c, self.deliveries.start, *self.deliveries.pending(c.channel_id))
            for c in self.deliveries.channels()
        ]
        if not listed:
            return wire.service_error(404, "ChannelsNotFound", "No channels were found")
        return wire.channels_reply(listed, keys=self.options.keys, shape=self.options.channels_shape)

    def _put(self, request: ApiRequest) -> Reply:
        channel_id = _int32(request.query.get("channel_id", []))
        if channel_id is None:
            return wire.service_error(400, "InvalidChannelIdException", "The channel id is missing or invalid")
        with self.lock:
            if queue := self.raw.get(channel_id):
                return queue.popleft()
        batch_size = _int32(request.query.get("batch_size", [str(MAXIMUM_BATCH_SIZE)]))
        refuses = self.options.over_maximum == "refuse"
        if batch_size is None or batch_size < 1 or (refuses and batch_size > MAXIMUM_BATCH_SIZE):
            text = f"batch_size must be an integer from 1 to {MAXIMUM_BATCH_SIZE}"
            return wire.service_error(400, "InvalidParameterValue", text)
        try:
            delivery = self.deliveries.next_set(channel_id, batch_size)
        except KeyError:
            return wire.service_error(404, "ChannelsNotFound", f"Channel {channel_id} does not exist")
        if delivery is None:
            return wire.empty_reply(self.options.empty, self.options.keys)
        return wire.change_set_reply(
            delivery.change_set.change_set_id,
            delivery.bodies,
            keys=self.options.keys,
            is_redelivery=delivery.is_redelivery,
        )

    def _delete(self, request: ApiRequest) -> Reply:
        set_id = _change_set_id(request.path)
        if set_id is None:
            return wire.service_error(400, "InvalidChangeSetId", "The change set id is invalid")
        if not self.deliveries.confirm(set_id):
            return wire.service_error(404, "TransactionNotFound", "Transaction was not found")
        return Reply(200)


def _int32(values: list[str]) -> int | None:
    if len(values) != 1 or not re.fullmatch(r"-?[0-9]{1,10}", values[0]):
        return None
    value = int(values[0])
    return value if -_INT32 <= value < _INT32 else None


def _change_set_id(path: str) -> int | None:
    text = unquote(path.rpartition("/")[2])
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= 2**63:
        return None
    return int(text)
