"""A plain client of the sandbox, and sandboxes to point it at."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from getty_sandbox import Sandbox

PATH = "/v3/asset-changes"
MakeChange = Callable[..., dict[str, Any]]


class Reader:
    """A plain client of the API with the right credentials."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.headers["Api-Key"] = sandbox.client_id
        self.login()

    def login(self) -> None:
        answer = self.token(grant_type="client_credentials")
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def token(self, **form: str) -> requests.Response:
        client = {"client_id": self.sandbox.client_id, "client_secret": self.sandbox.client_secret}
        return requests.post(self.sandbox.token_url, data=client | form, timeout=60)

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.sandbox.url + path, timeout=60, allow_redirects=False, **options)

    def channels(self) -> requests.Response:
        return self.send("GET", f"{PATH}/channels")

    def put(self, channel_id: object = 3001, batch_size: object = None) -> requests.Response:
        query = {"channel_id": channel_id, "batch_size": batch_size}
        return self.send("PUT", f"{PATH}/change-sets", params={k: v for k, v in query.items() if v is not None})

    def delete(self, change_set_id: object) -> requests.Response:
        return self.send("DELETE", f"{PATH}/change-sets/{change_set_id}")

    def read(self, channel_id: int = 3001, batch_size: int = 2200) -> list[Any]:
        """Fetches and confirms one set; its messages."""
        answer = self.put(channel_id, batch_size)
        if not answer.content:
            return []
        change_set = answer.json()
        assert self.delete(change_set["change_set_id"]).status_code == 200
        return list(change_set["changed_assets"])


OpenSandbox = Callable[..., Reader]


@pytest.fixture
def opened() -> Iterator[OpenSandbox]:
    """Opens a sandbox with these options and gives a reader of it; an empty feed by default."""
    with ExitStack() as stack:

        def open_sandbox(**options: Any) -> Reader:
            sandbox = Sandbox(**{"changes_per_channel": 0, "retry_after_seconds": 0} | options)
            return Reader(stack.enter_context(sandbox))

        yield open_sandbox


def change(
    asset_id: object = "1", lifecycle: object = "New", at: object = "2026-01-01T00:00:00Z", **rest: Any
) -> dict[str, Any]:
    """A message as the wire knows it."""
    message = {"asset_changed_utc_datetime": at, "asset_lifecycle": lifecycle, "asset_type": "Image"}
    return message | {"id": asset_id, "uri": None} | rest


@pytest.fixture(name="change")
def change_maker() -> MakeChange:
    return change


@pytest.fixture
def reader(opened: OpenSandbox, change: MakeChange) -> Reader:
    """A reader of three images, two of them with ids that are no numbers, and one film."""
    reader = opened()
    reader.sandbox.append(3001, [change(each) for each in ("1", "200559768-001", "sb10064292t-001")])
    reader.sandbox.append(3003, [change("9", asset_type="Film")])
    reader.read(3001)
    reader.read(3003)
    return reader
