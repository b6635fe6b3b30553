"""The stores of the settings inside Airflow: a bucket by its connection and by no other identity."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.dags.installation import Installation
from tests.provider import inside_stores as inside

FOLDER = {"name": "share", "keys": ["images/{asset_id}.jpg"]}
BUCKET = {
    "name": "cdn",
    "uri": "s3://company-media/getty",
    "keys": ["GettyImages-{asset_id}.jpg"],
    "conn_id": "aws_purge",
}
CONNECTION = "AIRFLOW_CONN_AWS_PURGE"


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An S3 with a versioned bucket, which has two versions of asset 123."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    s3 = client(url)
    s3.create_bucket(Bucket="company-media")
    s3.put_bucket_versioning(Bucket="company-media", VersioningConfiguration={"Status": "Enabled"})
    for key in ("GettyImages-123.jpg", "GettyImages-123.jpg", "GettyImages-1234.jpg"):
        s3.put_object(Bucket="company-media", Key=f"getty/{key}", Body=b"picture")
    yield url
    server.stop()


def client(url: str) -> Any:
    """Return an independent client of S3."""
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="other", aws_secret_access_key="other"
    )


def connection(url: str, **changes: Any) -> str:
    """Return the connection to S3."""
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    return json.dumps({"conn_type": "aws", "login": "made-up", "password": "made-up", "extra": extra, **changes})


def configure(airflow: Installation, tmp_path: Path, *stores: dict[str, Any]) -> None:
    """Set the stores and an archive next to them."""
    airflow.environment["ASSET_CHANGES_ARCHIVE_URI"] = f"file://{tmp_path}/archive"
    airflow.environment["ASSET_CHANGES_FILE_STORES"] = json.dumps(stores)


def test_stores_are_opened_and_purged(airflow: Installation, tmp_path: Path, endpoint: str) -> None:
    share = tmp_path / "share/images"
    share.mkdir(parents=True)
    for name in ("123.jpg", "1234.jpg"):
        (share / name).write_text("picture")
    configure(airflow, tmp_path, {**FOLDER, "uri": f"file://{tmp_path}/share"}, BUCKET)
    airflow.environment[CONNECTION] = connection(endpoint)
    versions = ["GettyImages-123.jpg", "GettyImages-123.jpg"]
    assert airflow.run(inside.listed, ["123"]) == {"share": ["images/123.jpg"], "cdn": versions}
    airflow.run(inside.listed, ["123"], True)
    assert [path.name for path in share.iterdir()] == ["1234.jpg"]
    left = client(endpoint).list_object_versions(Bucket="company-media")
    assert [each["Key"] for each in left["Versions"]] == ["getty/GettyImages-1234.jpg"]
    assert "DeleteMarkers" not in left


@pytest.mark.parametrize(
    ("conn", "without", "says"),
    [
        (None, "", "names the connection 'aws_purge', which is not there: create it"),
        ('{"conn_type": "aws"}', "", "the worker's own role would delete. Enter an access key"),
        ('{"conn_type": "aws", "login": "x", "password": "y"}', "airflow.providers.amazon.aws.hooks.s3", "install it"),
    ],
)
def test_a_bucket_without_an_identity_is_refused(
    airflow: Installation, tmp_path: Path, conn: str | None, without: str, says: str
) -> None:
    configure(airflow, tmp_path, BUCKET)
    if conn:
        airflow.environment[CONNECTION] = conn
    error = str(airflow.run(inside.listed, ["123"], False, without))
    assert error.startswith("ConfigurationError: The store 'cdn' of ASSET_CHANGES_FILE_STORES ")
    assert says in error


def test_a_template_is_refused_before_any_store_is_opened(airflow: Installation, tmp_path: Path) -> None:
    configure(airflow, tmp_path, BUCKET, {**FOLDER, "uri": "file:///nowhere", "keys": ["{asset_id}*"]})
    error = str(airflow.run(inside.listed, ["123"]))
    assert "key template '{asset_id}*' in the store 'share' of ASSET_CHANGES_FILE_STORES is refused" in error


@pytest.mark.parametrize("is_archive_linked", [True, False])
def test_a_store_that_a_link_leads_into_the_archive_is_refused(
    airflow: Installation, tmp_path: Path, is_archive_linked: bool
) -> None:
    (tmp_path / "real/images").mkdir(parents=True)
    (tmp_path / "real/images/1.jpg").write_text("picture")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store, archive = ("real", "link") if is_archive_linked else ("link", "real")
    configure(airflow, tmp_path, {**FOLDER, "uri": f"file://{tmp_path}/{store}"})
    airflow.environment["ASSET_CHANGES_ARCHIVE_URI"] = f"file://{tmp_path}/{archive}/images"
    assert "the store 'share' is in the archive" in str(airflow.run(inside.listed, ["1"]))
