"""Purge of objects from a versioned bucket: the store against a loop of boto3's bulk delete with its listings.

Both list each asset before and after; what the warehouse adds, plans and receipts, is not in it. The bucket is moto's,
in a process of its own, and most of the time is its: on S3 the calls that are made at once count for more.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3
from asset_changes.removal.stores.s3_store import BucketStore
from asset_changes.removal.stores.template import parse_templates
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from benchmarks.bench import Bench
from benchmarks.feed import FIRST_ID
from benchmarks.measuring import PROJECT
from benchmarks.results import Budget

_BUCKET = "company-media"
_VERSIONS = 2


def measure(bench: Bench) -> None:
    """Purge the same assets by turns; they are stored anew before each."""
    rounds, assets = (3, 60) if bench.is_quick else (7, 100)  # more fills the memory of moto
    ids = [str(FIRST_ID + number) for number in range(assets)]
    seconds: dict[str, list[float]] = {"ours": [], "loop": []}
    with _serving() as client:
        for number in range(rounds + 1):
            for name, purge in (("ours", _purge), ("loop", _purge_in_a_loop)):
                for key in [f"images/{each}.jpg" for each in ids] * _VERSIONS:
                    client.put_object(Bucket=_BUCKET, Key=key, Body=b"picture")
                started = time.perf_counter()
                deleted = purge(client, ids)
                if number:  # the first pays for connections
                    seconds[name].append(time.perf_counter() - started)
                if deleted != assets * _VERSIONS:
                    raise RuntimeError(f"The program {name} deleted {deleted} of {assets * _VERSIONS} versions")
    ratios = [ours / loop for ours, loop in zip(seconds["ours"], seconds["loop"], strict=True)]
    bench.results.add("purge of S3 objects: ours / a loop of boto3's bulk delete", ratios, "x", Budget(at_most=1.3))
    rates = [assets * _VERSIONS / each for each in seconds["ours"]]
    bench.results.add("purge of S3 objects, on moto", rates, "versions/s")


def _purge(client: Any, ids: list[str]) -> int:
    templates = parse_templates(("images/{asset_id}.jpg",), where="the benchmark")
    store = BucketStore(client, f"s3://{_BUCKET}", name="bench", templates=templates)
    files = [file for of_asset in store.list_files(ids).values() for file in of_asset]
    results = store.delete(files)
    return 0 if store.list_files(ids) else sum(each.result == "deleted" for each in results)


def _purge_in_a_loop(client: Any, ids: list[str]) -> int:
    deleted = 0
    for start in range(0, len(ids), 1000 // _VERSIONS):
        chunk = ids[start : start + 1000 // _VERSIONS]
        objects = [version for each in chunk for version in _versions(client, f"images/{each}.jpg")]
        deleted += len(client.delete_objects(Bucket=_BUCKET, Delete={"Objects": objects})["Deleted"])
        if any(_versions(client, f"images/{each}.jpg") for each in chunk):
            return 0
    return deleted


def _versions(client: Any, key: str) -> list[dict[str, str]]:
    pages = client.get_paginator("list_object_versions").paginate(Bucket=_BUCKET, Prefix=key)
    listed = [each for page in pages for kind in ("Versions", "DeleteMarkers") for each in page.get(kind, [])]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed if each["Key"] == key]


@contextmanager
def _serving() -> Iterator[Any]:
    """Give a client of an S3 that has an empty, versioned bucket."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            client = boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="us-east-1",
                aws_access_key_id="made-up",
                aws_secret_access_key="made-up",  # noqa: S106
                config=Config(retries={"total_max_attempts": 1}),
            )
            with closing(client):
                _make_bucket(client)
                yield client
        finally:
            server.terminate()


def _make_bucket(client: Any) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket=_BUCKET)
            break
        except EndpointConnectionError:
            if time.monotonic() > deadline:
                raise RuntimeError("moto's server did not start within a minute") from None
            time.sleep(0.2)
    client.put_bucket_versioning(Bucket=_BUCKET, VersioningConfiguration={"Status": "Enabled"})
