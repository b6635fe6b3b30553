"""A server that hands out change sets that were made beforehand, so that it costs almost nothing.

`python -m benchmarks.getty <settings as JSON>` serves until its standard input ends. It keeps to the
protocol: a token, PUT 201 (200 again), DELETE 200 (404 for a set that is not out), an empty body
at the end. Each channel reads the same feed at its own pace.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from benchmarks.feed import FIRST_ID, bodies

_PATH = "/v3/asset-changes/change-sets"
_TOKEN = b'{"access_token":"benchmark","token_type":"Bearer","expires_in":86400}'
_IDS_PER_CHANNEL = 1_000_000


class Getty(asyncio.Protocol):
    """One connection, kept alive; requests come one after the other."""

    def __init__(self, feed: list[bytes], taken: dict[int, tuple[int, bool]], latency: float) -> None:
        self._feed, self._taken, self._latency = feed, taken, latency
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once a request is whole."""
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields[1:])}
        if len(rest) < int(headers.get("content-length", 0)):
            return
        self._received = b""
        method, target, _ = fields[0].split(" ")
        answer = self._answer(method, target, is_known="authorization" in headers)
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._send, answer)
        else:
            self._send(answer)

    def _send(self, parts: tuple[bytes, ...]) -> None:
        if self._transport is not None:
            self._transport.writelines(parts)

    def _answer(self, method: str, target: str, *, is_known: bool) -> tuple[bytes, ...]:
        path, _, query = target.partition("?")
        if method == "POST":
            return _reply(200, _TOKEN)
        if not is_known:
            return _reply(401, b'{"message":"Unauthorized"}')
        if method == "PUT":
            return self._hand_out(int(parse_qs(query)["channel_id"][0]))
        return self._confirm(int(path.removeprefix(f"{_PATH}/")))

    def _hand_out(self, channel_id: int) -> tuple[bytes, ...]:
        number, is_out = self._taken.get(channel_id, (0, False))
        if number >= len(self._feed):
            return _reply(200)
        self._taken[channel_id] = (number, True)
        head = b'{"change_set_id":"%d","changed_assets":[' % (channel_id * _IDS_PER_CHANNEL + number)
        return _reply(200 if is_out else 201, head, self._feed[number], b"]}")

    def _confirm(self, change_set_id: int) -> tuple[bytes, ...]:
        channel_id, number = divmod(change_set_id, _IDS_PER_CHANNEL)
        if self._taken.get(channel_id) != (number, True):
            return _reply(404, b'{"ErrorCode":"ChangeSetNotFound"}')
        self._taken[channel_id] = (number + 1, False)
        return _reply(200)


def _reply(status: int, *parts: bytes) -> tuple[bytes, ...]:
    length = sum(map(len, parts))
    head = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, length)
    return (head, *parts)


async def _serve(settings: dict[str, Any]) -> None:
    feed = bodies(**settings["feed"])
    taken: dict[int, tuple[int, bool]] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Getty(feed, taken, settings["latency"]), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def serving(
    sets: int, *, stored: int, spread: str = "newest", latency: float = 0.0, seed: int = 1, first: int = FIRST_ID
) -> Iterator[dict[str, Any]]:
    """Serve such a feed in a process of its own; gives the settings that a program needs to reach it."""
    feed = {"sets": sets, "stored": stored, "spread": spread, "seed": seed, "first": first}
    command = [sys.executable, "-m", "benchmarks.getty", json.dumps({"feed": feed, "latency": latency})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            yield {
                "api_url": url,
                "token_url": f"{url}/oauth2/token",
                "change_sets_url": url + _PATH,
                "api_key": "benchmark",
            }
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
