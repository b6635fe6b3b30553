"""The sandbox in a process of its own, for lookups: it knows all assets that a warehouse was made with.

`python -m benchmarks.sandbox <settings as JSON>` serves until its standard input ends.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from getty_sandbox.options import Channel
from getty_sandbox.sandbox import Sandbox

from benchmarks.feed import FIRST_ID

CHANNEL_ID = 3001


def main() -> None:
    """Serve, and print the address."""
    settings = json.loads(sys.argv[1])
    channel = Channel(CHANNEL_ID, "Editorial", "Image")
    with Sandbox(channels=[channel], changes_per_channel=0, token_lifetime=86_400) as sandbox:
        sandbox.append(
            CHANNEL_ID,
            [
                {
                    "id": str(FIRST_ID + number),
                    "asset_lifecycle": "New",
                    "asset_type": "Image",
                    "asset_changed_utc_datetime": "2026-01-01T00:00:00Z",
                }
                for number in range(settings["assets"])
            ],
        )
        print(
            json.dumps(
                {
                    "api_url": sandbox.url,
                    "token_url": sandbox.token_url,
                    "api_key": sandbox.client_id,
                    "secret": sandbox.client_secret,
                }
            ),
            flush=True,
        )
        sys.stdin.read()


@contextmanager
def serving_lookups(assets: int) -> Iterator[dict[str, str]]:
    """Serve what the first assets are; gives the settings that a program needs to reach it."""
    command = [sys.executable, "-m", "benchmarks.sandbox", json.dumps({"assets": assets})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            reached: dict[str, str] = json.loads(process.stdout.readline())
            yield reached
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
