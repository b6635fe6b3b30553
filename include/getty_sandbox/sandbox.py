"""The sandbox as one object: start it, point a client at it, inject faults, ask it for the truth."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from getty_sandbox import control
from getty_sandbox.catalogue import Catalogue
from getty_sandbox.deliveries import Deliveries
from getty_sandbox.faults import DELETE, LOOKUP, PUT, Fault, Faults
from getty_sandbox.holdings import choose_holdings
from getty_sandbox.lookup import Lookups
from getty_sandbox.options import Options
from getty_sandbox.server import Server
from getty_sandbox.service import ApiRequest, Outcome, Service
from getty_sandbox.store import ChangeSet
from getty_sandbox.tokens import Tokens
from getty_sandbox.truth import truth_of
from getty_sandbox.wire import JSON, Reply, edge_error

_REMEMBERED_REQUESTS = 20_000


@dataclass(frozen=True)
class Request:
    """One request that was answered; status 0 where the connection was cut instead."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case; secrets are kept, for this is a test double
    channel_id: int | None
    status: int
    fault: str | None


class Sandbox:
    """A local Getty, serving from its creation until it is closed; also a context manager."""

    def __init__(self, options: Options | None = None, /, **changes: Any) -> None:
        """Takes `Options`, or their fields as keywords: `Sandbox(changes_per_channel=0, keys="camel")`."""
        self.options = options = replace(options or Options(), **changes)
        self._faults = Faults(rate=options.fault_rate, modes=options.faults, seed=options.seed)
        self._tokens = Tokens(options)
        self._deliveries = Deliveries(options)
        self._catalogue = Catalogue(options, self._deliveries)
        self._lookups = Lookups(options, self._catalogue)
        self._service = Service(options, self._deliveries, self._tokens, self._faults, self._lookups)
        self._requests: deque[Request] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._counts = {PUT: 0, DELETE: 0, LOOKUP: 0}
        self._lock = threading.Lock()
        try:
            self._server = Server(options.host, options.port, self._answer, slow_body_seconds=options.slow_body_seconds)
        except BaseException:
            self._deliveries.close()
            raise

    def __enter__(self) -> Self:
        """The sandbox, which already serves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Stops serving and closes the state."""
        self._server.close()
        self._deliveries.close()

    # Address and credentials.

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"http://{self.options.host}:{self.port}"

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.url}/oauth2/token"

    @property
    def client_id(self) -> str:
        """The API key."""
        return self.options.client_id

    @property
    def client_secret(self) -> str:
        """The API secret."""
        return self.options.client_secret

    # Control.

    def append(self, channel_id: int, messages: Iterable[object]) -> None:
        """Puts raw messages (dicts with snake_case keys, or any JSON) at the end of a channel's feed."""
        self._deliveries.append(channel_id, messages)

    def raw_next(self, channel_id: int, body: bytes, *, status: int = 201, media_type: str = JSON) -> None:
        """Answers the next PUT of a channel with just these bytes."""
        self._service.raw_next(channel_id, Reply(status, body, media_type))

    def fail_next(
        self,
        mode: str,
        *,
        channel_id: int | None = None,
        operation: str | None = None,
        times: int = 1,
        location: str | None = None,
    ) -> None:
        """Makes the next matching requests fail in this way; `location` is for redirects."""
        self._faults.force(Fault(mode, operation, channel_id, times, location))

    def revoke_tokens(self) -> None:
        """Revokes every token."""
        self._tokens.revoke()

    def retire(self, channel_id: int) -> None:
        """Takes a channel off the list; PUT answers 404 for it."""
        self._deliveries.retire(channel_id)

    def silence(self, channel_id: int | None = None, *, silent: bool = True) -> None:
        """Stops the feed of one channel, or of all: nothing new is handed out. `silent=False` ends it."""
        self._deliveries.silence(channel_id, silent=silent)

    def cut_retention(self, days: float) -> int:
        """Drops unread notifications older than so many days; how many were lost."""
        return self._deliveries.cut_retention(days)

    def delete(self, asset_ids: Iterable[str] = (), *, count: int = 0) -> list[str]:
        """Appends Deletes of these assets to the feed, or of so many that a reader has; their ids."""
        return self._catalogue.delete(asset_ids, count=count)

    def vanish(self, asset_ids: Iterable[str], *, back: bool = False) -> list[str]:
        """Lookups do not find these any more, though no Delete is sent; `back=True` ends that."""
        return self._catalogue.vanish(asset_ids, back=back)

    def unlicense(self, asset_ids: Iterable[str] = (), *, share: float | None = None, back: bool = False) -> list[str]:
        """Lookups with a token do not find these any more, nor this share of all; `back=True` ends it for ids."""
        return self._catalogue.unlicense(asset_ids, share=share, back=back)

    def retype(self, asset_ids: Iterable[str], *, asset_type: str = "Film", back: bool = False) -> list[str]:
        """Lookups find these as this type alone, whatever the feed says; `back=True` ends that."""
        return self._catalogue.retype(asset_ids, asset_type=asset_type, back=back)

    def add(self, asset_ids: Iterable[str], *, asset_type: str = "Image", asset_family: str = "Creative") -> list[str]:
        """Lookups find these, which the feed has never named, as those of years ago."""
        return self._catalogue.add(asset_ids, asset_type=asset_type, asset_family=asset_family)

    def example_holdings(self, *, count: int = 2000, added: int = 300) -> list[dict[str, str]]:
        """What a company may hold, by the seed: so many assets of the feed, and so many that are added for it."""
        known, unnamed = choose_holdings(self._deliveries.backlog(), seed=self.options.seed, count=count, added=added)
        for asset_type, asset_family in dict.fromkeys((each.asset_type, each.asset_family) for each in unnamed):
            ids = [each.asset_id for each in unnamed if each[1:] == (asset_type, asset_family)]
            self._catalogue.add(ids, asset_type=asset_type, asset_family=asset_family)
        return [{"asset_id": each.asset_id, "asset_type": each.asset_type} for each in (*known, *unnamed)]

    def override_metadata(self, asset_id: str, members: object) -> None:
        """Lookups say this of one asset: members to replace, or any other JSON in its place; None ends it."""
        self._catalogue.override(asset_id, members)

    # What happened, and the truth.

    @property
    def requests(self) -> list[Request]:
        """The latest 20,000 requests, oldest first."""
        with self._lock:
            return list(self._requests)

    @property
    def put_count(self) -> int:
        """How often change sets were asked for, whatever was answered."""
        return self._counts[PUT]

    @property
    def delete_count(self) -> int:
        """How often a confirmation was tried, whatever was answered."""
        return self._counts[DELETE]

    @property
    def lookup_count(self) -> int:
        """How often assets were looked up, whatever was answered."""
        return self._counts[LOOKUP]

    def outstanding(self, channel_id: int) -> ChangeSet | None:
        """The set of a channel that waits for its confirmation."""
        return self._deliveries.outstanding(channel_id)

    def confirmed_ids(self, channel_id: int) -> list[str]:
        """The confirmed sets of a channel, oldest first."""
        return self._deliveries.confirmed_ids(channel_id)

    def progress(self) -> dict[str, Any]:
        """Per channel how much there is, was delivered and confirmed."""
        return {"channels": self._deliveries.progress()}

    def truth(self) -> dict[str, Any]:
        """What a warehouse must look like now that these sets are confirmed, with what its live assets are."""
        truth = truth_of(self.options.channels, self._deliveries.confirmed_sets())
        live = [row["asset_id"] for row in truth["assets"]]
        verdicts = self.verdicts([*live, *self._catalogue.added])
        return truth | {"metadata": self._lookups.whole(live), "verdicts": verdicts}

    def verdicts(self, asset_ids: Iterable[str]) -> dict[str, str | None]:
        """What lookups can find out now about any ids: `available`, `not_licensed`, `not_in_catalogue` or nothing."""
        return self._lookups.verdicts(list(dict.fromkeys(asset_ids)))

    # Answering requests.

    def _answer(self, request: ApiRequest, is_local: bool) -> Outcome:
        if request.path.startswith(control.ROOT):
            if not is_local:
                return Outcome(edge_error(403, "Forbidden"))
            return Outcome(control.answer(self, method=request.method, path=request.path, body=request.body))
        if self.options.latency_ms:
            time.sleep(self.options.latency_ms / 1000)
        outcome = self._service.answer(request)
        self._remember(request, outcome)
        return outcome

    def _remember(self, request: ApiRequest, outcome: Outcome) -> None:
        fault = outcome.fault.mode if outcome.fault else None
        is_cut = fault in ("lost_put_response", "lost_delete_response", "connection_cut")
        answered = Request(
            method=request.method,
            path=request.path,
            query={name: ",".join(values) for name, values in request.query.items()},
            headers=request.headers,
            channel_id=outcome.channel_id,
            status=0 if is_cut else outcome.reply.status,
            fault=fault,
        )
        with self._lock:
            self._requests.append(answered)
            if outcome.operation in self._counts:
                self._counts[outcome.operation] += 1
        if self.options.verbose:
            print(f"{request.method} {request.target} -> {answered.status} {fault or ''}".rstrip(), file=sys.stderr)
