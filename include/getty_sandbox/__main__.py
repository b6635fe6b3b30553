"""`python -m getty_sandbox`: serve a local Getty, or ask a running one."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

from getty_sandbox.catalogue import ASSET_TYPES
from getty_sandbox.faults import MODES, OPERATIONS
from getty_sandbox.options import (
    CHANNELS_SHAPES,
    DEFAULT_CHANNELS,
    EMPTY_SHAPES,
    KEYS,
    NONE_FOUND,
    OVER_MAXIMUM,
    REFUSALS,
    Channel,
    Options,
    SandboxError,
)
from getty_sandbox.sandbox import Sandbox

_EPILOGUE = """examples:
  python -m getty_sandbox serve --port 8090
  python -m getty_sandbox serve --port 8090 --state-dir .local/sandbox --trickle-per-minute 60
  python -m getty_sandbox serve --keys camel --channels-shape wrapped --empty 204 --fault-rate 0.1
  python -m getty_sandbox truth --url http://127.0.0.1:8090 > truth.json
  python -m getty_sandbox progress --url http://127.0.0.1:8090
  python -m getty_sandbox fail lost_put_response --channel-id 3001 --times 2 --url http://127.0.0.1:8090
  python -m getty_sandbox append 3001 '{"id": "42", "asset_lifecycle": "Misplaced"}' --url http://127.0.0.1:8090
  python -m getty_sandbox delete --count 3 --url http://127.0.0.1:8090
  python -m getty_sandbox vanish 1176000012 1176000019 --url http://127.0.0.1:8090
  python -m getty_sandbox unlicense 1176000026 --url http://127.0.0.1:8090
  python -m getty_sandbox verdicts 1176000012 1176000026 --url http://127.0.0.1:8090
  python -m getty_sandbox metadata 1176000012 '{"caption": "", "keywords": null}' --url http://127.0.0.1:8090

fault modes:
""" + "\n".join(f"  {mode:<22}{meaning}" for mode, (_, meaning) in MODES.items())

# What each command that changes something sends, and the pages that are not called as their command.
_ARGUMENTS = {
    "fail": ("mode", "channel_id", "operation", "times"),
    "append": ("channel_id", "messages"),
    "delete": ("asset_ids", "count"),
    "vanish": ("asset_ids", "back"),
    "unlicense": ("asset_ids", "share", "back"),
    "retype": ("asset_ids", "asset_type", "back"),
    "add": ("asset_ids", "asset_type", "asset_family"),
    "verdicts": ("asset_ids",),
    "holdings": ("count", "added"),
    "metadata": ("asset_id", "members"),
}
_PAGES = {"fail": "faults"}


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 1 after a sentence on stderr."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "serve":
            return _serve(_options(chosen))
        wanted = {name: getattr(chosen, name) for name in _ARGUMENTS.get(chosen.command, ())}
        page = _PAGES.get(chosen.command, chosen.command)
        print(_send_request(chosen.url, page, wanted if chosen.command in _ARGUMENTS else None))
    except SandboxError as error:
        print(f"getty_sandbox: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m getty_sandbox",
        description="A local Getty Images Asset Changes API with a deterministic, nasty feed, which knows"
        " what a warehouse must look like. `serve --help` lists every switch.",
        epilog=_EPILOGUE,
        formatter_class=raw,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve until SIGINT or SIGTERM", epilog=_EPILOGUE, formatter_class=raw)
    _add_place_and_feed(serve)
    _add_shapes(serve)
    _add_lookups(serve)
    _add_faults(serve)
    _add_access(serve)
    truth = commands.add_parser("truth", help="print what the warehouse must look like for the confirmed sets")
    progress = commands.add_parser("progress", help="print how far each channel was read")
    fail = commands.add_parser("fail", help="force a fault on the next requests")
    fail.add_argument("mode", choices=MODES, metavar="MODE", help=", ".join(MODES))
    fail.add_argument("--channel-id", type=int, help="only on requests of this channel")
    fail.add_argument("--operation", choices=OPERATIONS, help="only on requests of this kind")
    fail.add_argument("--times", type=int, default=1, help="on so many requests (default: 1)")
    steering = [truth, progress, fail, *_add_steering(commands)]
    address = os.environ.get("GETTY_SANDBOX", "http://127.0.0.1:8090")
    for reader in steering:
        reader.add_argument("--url", default=address, help="of the sandbox (default: $GETTY_SANDBOX or %(default)s)")
    return parser


def _add_steering(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """The commands that change what the sandbox says, and those that ask what is right."""
    append = commands.add_parser("append", help="put messages at the end of a channel's feed, right or wrong ones")
    append.add_argument("channel_id", type=int)
    append.add_argument("messages", type=_json, nargs="+", metavar="MESSAGE", help="as JSON, with the snake_case keys")
    delete = commands.add_parser("delete", help="append Deletes of live assets to the feed")
    delete.add_argument("asset_ids", nargs="*", metavar="ID", help="these assets, which are live")
    delete.add_argument("--count", type=int, default=0, help="so many of those that a reader has, last changed first")
    vanish = commands.add_parser("vanish", help="assets are not found any more, though no Delete is sent")
    vanish.add_argument("asset_ids", nargs="+", metavar="ID", help="these assets, which are live")
    vanish.add_argument("--back", action="store_true", help="they are found again")
    unlicense = commands.add_parser("unlicense", help="the agreement shrinks: assets are found only without a token")
    unlicense.add_argument("asset_ids", nargs="*", metavar="ID", help="these assets, which are live")
    unlicense.add_argument("--share", type=float, help="this share of all assets, 0 for none")
    unlicense.add_argument("--back", action="store_true", help="these assets are licensed again")
    retype = commands.add_parser("retype", help="assets are found as another type than the feed says")
    retype.add_argument("asset_ids", nargs="+", metavar="ID", help="these assets, which are live")
    retype.add_argument("--asset-type", choices=ASSET_TYPES, default="Film", help="(default: %(default)s)")
    retype.add_argument("--back", action="store_true", help="they have the type that the feed says")
    add = commands.add_parser("add", help="put assets into the catalogue that the feed never names")
    add.add_argument("asset_ids", nargs="+", metavar="ID", help="ids that are in no message")
    add.add_argument("--asset-type", choices=ASSET_TYPES, default="Image", help="(default: %(default)s)")
    add.add_argument("--asset-family", default="Creative", help="(default: %(default)s)")
    verdicts = commands.add_parser("verdicts", help="print what lookups can find out about ids, any ids")
    verdicts.add_argument("asset_ids", nargs="+", metavar="ID")
    holdings = commands.add_parser("holdings", help="print what a company may hold; adds what the feed does not name")
    holdings.add_argument("--count", type=int, default=2000, help="assets of the feed (default: %(default)s)")
    holdings.add_argument("--added", type=int, default=300, help="ids that it never names (default: %(default)s)")
    metadata = commands.add_parser("metadata", help="choose what lookups say of one asset")
    metadata.add_argument("asset_id", metavar="ID")
    metadata.add_argument(
        "members", type=_json, metavar="JSON", help="an object with the members to replace, or null to end this"
    )
    return [append, delete, vanish, unlicense, retype, add, verdicts, holdings, metadata]


def _add_place_and_feed(serve: argparse.ArgumentParser) -> None:
    place = serve.add_argument_group("place")
    place.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    place.add_argument("--port", type=int, default=8090, help="0 for any free port (default: %(default)s)")
    place.add_argument("--state-dir", type=Path, help="remember sets and ids across restarts here")
    place.add_argument("--verbose", action="store_true", help="one line per request on stderr")
    feed = serve.add_argument_group("feed")
    feed.add_argument("--seed", type=int, default=1, help="same seed and start, same feed (default: 1)")
    feed.add_argument(
        "--channels", type=_channels, default=DEFAULT_CHANNELS, metavar="ID:FAMILY:TYPE,...",
        help="default: the four of Editorial and Creative, Image and Film, as 3001 to 3004",
    )  # fmt: skip
    feed.add_argument(
        "--changes-per-channel", type=int, default=20_000, help="size of the backlog (default: %(default)s)"
    )
    feed.add_argument("--start", type=_time, help="time of the oldest change (default: --span-days ago)")
    feed.add_argument("--span-days", type=float, default=10.0, help="days the backlog covers (default: 10)")
    feed.add_argument(
        "--trickle-per-minute", type=float, default=20.0,
        help="changes per channel and minute after the backlog, 0 for none (default: %(default)s)",
    )  # fmt: skip
    feed.add_argument("--nastiness", type=float, default=1.0, help="multiplies all oddities (default: 1; 0: clean)")
    feed.add_argument("--retention-days", type=float, help="unread notifications vanish after so many days")
    feed.add_argument(
        "--first-change-set-id", type=int,
        help="default: 9990 with a state directory, else from the clock, so that ids never repeat",
    )  # fmt: skip


def _add_shapes(serve: argparse.ArgumentParser) -> None:
    shapes = serve.add_argument_group("shapes")
    shapes.add_argument("--keys", choices=KEYS, default="snake", help="spelling of keys (default: snake)")
    shapes.add_argument("--channels-shape", choices=CHANNELS_SHAPES, default="bare", help="of the channel list")
    shapes.add_argument("--empty", choices=EMPTY_SHAPES, default="body", help="answer when caught up")
    shapes.add_argument(
        "--redelivery", choices=("identical", "grows"), default="identical",
        help="whether a set that is handed out again may hold more messages than before",
    )  # fmt: skip
    shapes.add_argument("--over-maximum", choices=OVER_MAXIMUM, default="cap", help="what a batch_size above 2200 gets")


def _add_lookups(serve: argparse.ArgumentParser) -> None:
    lookups = serve.add_argument_group("lookups")
    lookups.add_argument(
        "--no-lookups", action="store_false", dest="lookups_allowed", help="the key may not look up: 403"
    )
    lookups.add_argument("--lookups-per-second", type=int, help="more are answered with 429 (default: no limit)")
    lookups.add_argument(
        "--lookup-max-age", type=int, default=0,
        help="answers are kept for so many seconds: they may be as old as Age says (default: %(default)s)",
    )  # fmt: skip
    lookups.add_argument(
        "--unlicensed-share", type=float, default=0.0, help="share of assets that are found only without a token"
    )
    lookups.add_argument(
        "--unanswered-share", type=float, default=0.0, help="share of ids in neither list, drawn for every call"
    )
    lookups.add_argument(
        "--refuse-field", action="append", default=[], dest="refuse_fields", metavar="NAME",
        help="400 for a call with this field, besides fields that are in no document; may be repeated",
    )  # fmt: skip
    lookups.add_argument(
        "--refusal", choices=REFUSALS, default="named", help="whether such a 400 names the field (default: named)"
    )
    lookups.add_argument(
        "--none-found", choices=NONE_FOUND, default="list",
        help="answer when no asset is found: an empty list, null in its place, or 404",
    )  # fmt: skip


def _add_faults(serve: argparse.ArgumentParser) -> None:
    faults = serve.add_argument_group("faults")
    faults.add_argument("--latency-ms", type=float, default=0.0, help="waited before every answer")
    faults.add_argument("--fault-rate", type=float, default=0.0, help="share of requests that meet a fault")
    faults.add_argument(
        "--faults", type=lambda text: tuple(text.split(",")), default=(), metavar="MODE,...",
        help="which ones (default: all; see below)",
    )  # fmt: skip
    faults.add_argument("--retry-after-seconds", type=int, default=1, help="of 429_retry_after (default: %(default)s)")
    faults.add_argument("--slow-body-seconds", type=float, default=0.3, help="length of slow_body (default: 0.3)")


def _add_access(serve: argparse.ArgumentParser) -> None:
    defaults = Options()
    access = serve.add_argument_group("access")
    access.add_argument("--client-id", default=defaults.client_id, help="API key (default: %(default)s)")
    access.add_argument("--client-secret", default=defaults.client_secret, help="(default: %(default)s)")
    access.add_argument("--username", default=defaults.username, help="of the password grant")
    access.add_argument("--password", default=defaults.password, help="of the password grant")
    access.add_argument("--token-lifetime", type=int, default=1800, help="in seconds (default: %(default)s)")
    access.add_argument(
        "--expires-in",
        choices=("integer", "text"),
        default="integer",
        help="type of expires_in in the answer",
    )


def _json(text: str) -> object:
    return json.loads(text)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _channels(text: str) -> tuple[Channel, ...]:
    parts = [part.split(":") for part in text.split(",")]
    return tuple(Channel(int(channel_id), family, kind) for channel_id, family, kind in parts)


def _options(chosen: argparse.Namespace) -> Options:
    given = dict(vars(chosen))
    del given["command"]
    return Options(
        identical_redelivery=given.pop("redelivery") == "identical",
        expires_in_as_text=given.pop("expires_in") == "text",
        **given,
    )


def _serve(options: Options) -> int:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Sandbox(options) as sandbox:
        connection = {
            "conn_type": "getty_images",
            "host": sandbox.url,
            "login": sandbox.client_id,
            "password": sandbox.client_secret,
            "extra": {"token_url": sandbox.token_url},
        }
        print(f"Getty sandbox: {sandbox.url}")
        print(f"For Airflow: export AIRFLOW_CONN_GETTY_IMAGES_DEFAULT='{json.dumps(connection)}'", flush=True)
        stop.wait()
    return 0


def _send_request(url: str, page: str, arguments: dict[str, object] | None = None) -> str:
    data = None if arguments is None else json.dumps(arguments).encode()
    if not url.startswith(("http://", "https://")):
        raise SandboxError(f"The URL begins with http://, unlike {url}.")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/_sandbox/{page}", data, timeout=120) as answer:  # noqa: S310
            return bytes(answer.read()).decode()
    except urllib.error.HTTPError as error:
        raise SandboxError(f"{url} answered {error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise SandboxError(f"No sandbox answers at {url}: {error}.") from error


if __name__ == "__main__":
    sys.exit(main())
