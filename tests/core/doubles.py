"""Small doubles that are passed in: an API made of canned answers, a source of scripted deliveries; their steps."""

import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import urllib3
from asset_changes.archive import Archive
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.parsing import parse_change_set
from asset_changes.models import ChangeSet, ChangeSetRef, Confirmation, Delivery
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from local_stack.postgres import EmbeddedPostgres
from requests.adapters import HTTPAdapter
from sqlalchemy import Engine, text

from tests.conftest import EDITORIAL_IMAGES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When the deliveries of these tests arrive, unless a test says otherwise."""

SECRET = "s3cr3t/+&=%? ü€"
TOKEN = "t0ken-that-nobody-may-see"


def at(minutes: float, *, since: datetime = NOON) -> str:
    """Return a time of the feed, in minutes from noon, as Getty writes it."""
    return (since + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def change(asset_id: object, lifecycle: object, minutes: float | None = None, **more: object) -> dict[str, object]:
    """Return one message in the spelling of Getty's own sample; `minutes` from noon is its time."""
    message: dict[str, object] = {"id": asset_id, "asset_lifecycle": lifecycle, "asset_type": "Image", "uri": None}
    if minutes is not None:
        message["asset_changed_utc_datetime"] = at(minutes)
    return message | more


def body_of(change_set_id: object, *messages: object) -> bytes:
    """Return the body of a change set."""
    return json.dumps({"change_set_id": change_set_id, "changed_assets": list(messages)}).encode()


def delivery(body: bytes, *, status: int = 201, received_at: datetime = NOON) -> Delivery:
    """Return what the client makes of a body."""
    return Delivery(status=status, body=body, document=json.loads(body or b"null"), received_at=received_at)


def parsed(document: object) -> ChangeSet | None:
    """Return what the parser makes of a document that came at noon."""
    return parse_change_set(Delivery(body=b"", document=document, received_at=NOON))


NOTHING = delivery(b"", status=200)


@dataclass
class ScriptedGetty:
    """A double of the client: hands out the deliveries it was given, takes every confirmation.

    `on_confirm` is called before a confirmation is answered; `answers` are given in turn.
    """

    deliveries: list[Delivery] = field(default_factory=list)
    answers: list[Confirmation] = field(default_factory=list)
    on_confirm: Callable[[str], object] = lambda change_set_id: None
    asked: int = 0
    confirmed: list[str] = field(default_factory=list)

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        self.asked += 1
        return self.deliveries.pop(0) if self.deliveries else NOTHING

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        self.confirmed.append(change_set_id)
        self.on_confirm(change_set_id)
        return self.answers.pop(0) if self.answers else Confirmation(is_known=True, tries=1)


@pytest.fixture
def quiet_context(archive: Archive, warehouse: Engine) -> ChannelContext:
    """Channel 3001 with a Getty that hands out nothing; a module makes it its own by `context = quiet_context`."""
    return ChannelContext(channel=EDITORIAL_IMAGES, source=ScriptedGetty(), archive=archive, warehouse=warehouse)


def fetch_delivery(context: ChannelContext, body: bytes, **given: Any) -> ChangeSetRef:
    """Return what the first task of a run leaves to the next of this delivery."""
    ref = fetch(replace(context, source=ScriptedGetty([delivery(body, **given)])), batch_size=2200)
    assert ref is not None
    return ref


def run(context: ChannelContext, body: bytes, **given: Any) -> None:
    """Do what the tasks of one run do with this delivery."""
    ref = fetch_delivery(context, body, **given)
    load(context, ref)
    confirm(context, ref)


@dataclass(frozen=True)
class Answer:
    """One canned HTTP answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class CannedApi(HTTPAdapter):
    """Takes the place of the part of requests that opens a connection: answers in turn, remembers what was asked.

    A token is handed out on each POST unless `tokens` says otherwise; an exception in the list is
    raised in place of an answer. The last answer is given again when all are used up.
    """

    def __init__(self, *answers: Answer | Exception, tokens: list[Answer | Exception] | None = None) -> None:
        super().__init__()
        self.answers, self.tokens = list(answers), tokens or []
        self.requests: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        self.requests.append(request)
        if request.method == "POST":
            answer = self.tokens.pop(0) if self.tokens else token()
        else:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        raw = urllib3.HTTPResponse(
            io.BytesIO(answer.body), headers=answer.headers, status=answer.status, preload_content=False
        )
        return self.build_response(request, raw)

    @property
    def calls(self) -> list[requests.PreparedRequest]:
        """The requests but those for a token."""
        return [request for request in self.requests if request.method != "POST"]


def token(value: str = TOKEN, *, expires_in: object = 1800, **more: object) -> Answer:
    """Return the answer of the token address."""
    said = {"access_token": value, "token_type": "Bearer", "expires_in": expires_in} | more
    return Answer(200, json.dumps(said).encode())


CANNED = Credentials(api_key="the-key", secret=SECRET, api_url="https://api.test", token_url="https://auth.test/token")


def client_of(api: CannedApi, credentials: Credentials = CANNED, *, retry_seconds: float = 0, **more: Any):  # type: ignore[no-untyped-def]
    """Return a client whose connections are this double; it does not try again unless `retry_seconds` says so."""
    return AssetChangesClient(credentials, name="getty", retry_seconds=retry_seconds, adapter=api, **more)


@contextmanager
def served(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve PUT, POST and DELETE with a function; give the address."""

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            answer(self)

        do_PUT = do_POST = do_DELETE = do_GET = handle_any  # noqa: N815 - names that http.server looks up

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def rows(warehouse: Engine, query: str, **values: object) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with warehouse.connect() as connection:
        return [dict(row) for row in connection.execute(text(query), values).mappings()]


def value(warehouse: Engine, query: str, **values: object) -> Any:
    """Return the one value of a query."""
    [row] = rows(warehouse, query, **values)
    [found] = row.values()
    return found


def execute(warehouse: Engine, statement: str) -> None:
    """Do something to the warehouse behind the product's back."""
    with warehouse.begin() as connection:
        connection.execute(text(statement))


STATE = (
    "SELECT asset_id, asset_type, asset_family, channel_id, asset_lifecycle, upserted_at, upsert_change_set_id, "
    "upsert_position, deleted_at, delete_change_set_id, delete_position FROM asset_states ORDER BY asset_id"
)


def states(warehouse: Engine) -> list[dict[str, Any]]:
    """Return the state of every asset, without the time of its load."""
    return rows(warehouse, STATE)


def live(warehouse: Engine) -> list[str]:
    """Return the ids of the live assets."""
    return [row["asset_id"] for row in rows(warehouse, "SELECT asset_id FROM assets ORDER BY asset_id")]


def ledger_row(warehouse: Engine, change_set_id: str) -> dict[str, Any]:
    """Return the ledger's row of a set."""
    [row] = rows(warehouse, "SELECT * FROM change_sets WHERE change_set_id = :id", id=change_set_id)
    return row


def deadlocks(server: EmbeddedPostgres) -> int:
    """Return how many deadlocks the server has found so far."""
    return server.log.read_text().count("deadlock detected")
