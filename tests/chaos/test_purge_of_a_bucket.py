"""A purge of a versioned bucket with ten versions of a file, one of them locked, as an independent client sees it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from asset_changes.pipeline.context import ChannelContext
from asset_changes.removal.stores.s3_store import BucketStore
from asset_changes.removal.stores.template import parse_templates
from moto import mock_aws

from tests.core.doubles import quiet_context as quiet_context
from tests.core.purge_doubles import Company

BUCKET = "company"
_LOCK = datetime.now(UTC) + timedelta(days=365)


def new_client() -> Any:
    """Return a client of the mocked S3."""
    return boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


@pytest.fixture
def s3() -> Iterator[Any]:
    """A bucket with versions and object lock: ten versions of asset 1 and a delete marker, one each of 12 and 2."""
    with mock_aws():
        client = new_client()
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        for version in range(10):
            client.put_object(Bucket=BUCKET, Key="getty/images/1.jpg", Body=f"{version}".encode())
        client.delete_object(Bucket=BUCKET, Key="getty/images/1.jpg")
        for asset_id in ("12", "2"):
            client.put_object(Bucket=BUCKET, Key=f"getty/images/{asset_id}.jpg", Body=b"picture")
        yield client


@pytest.fixture
def company(quiet_context: ChannelContext, s3: Any) -> Company:
    """A company with that bucket; Getty deleted 1 and 2."""
    company = Company(quiet_context)
    company.lists("1", "12", "2")
    company.changes("New", "1", "12", "2")
    company.changes("Delete", "1", "2", minute=5)
    templates = parse_templates(("images/{asset_id}.jpg",), where="a test")
    company.context = replace(
        company.context,
        open_store=lambda name: BucketStore(new_client(), f"s3://{BUCKET}/getty", name="dam", templates=templates),
    )
    return company


def listed(client: Any) -> list[str]:
    """Return the key of each version and marker, as another client sees them."""
    page = client.list_object_versions(Bucket=BUCKET)
    return sorted(each["Key"] for kind in ("Versions", "DeleteMarkers") for each in page.get(kind, ()))


def test_no_version_is_left_of_what_is_called_gone(company: Company, s3: Any) -> None:
    done = company.purge()
    assert (done.deleted, done.gone, done.failed) == (12, 2, 0)
    assert listed(s3) == ["getty/images/12.jpg"]
    assert company.rows("SELECT count(*), count(DISTINCT version_id), bool_and(is_gone) FROM purges") == [
        (12, 12, True)
    ]


def test_a_locked_version_is_an_error_and_nothing_is_gone(company: Company, s3: Any) -> None:
    """The marker that hides it stays too. Both are tried again by the next run, and all else of the plan goes."""
    version = s3.list_object_versions(Bucket=BUCKET, Prefix="getty/images/1.jpg")["Versions"][4]["VersionId"]
    s3.put_object_retention(
        Bucket=BUCKET, Key="getty/images/1.jpg", VersionId=version,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": _LOCK},
    )  # fmt: skip
    done = company.purge()
    assert (done.deleted, done.gone, done.failed) == (10, 1, 2)
    assert listed(s3) == ["getty/images/1.jpg", "getty/images/1.jpg", "getty/images/12.jpg"]
    refused = "SELECT version_id, is_gone FROM purges WHERE result = 'error' AND NOT is_delete_marker"
    assert company.rows(refused) == [(version, False)]
    assert company.open() == ["1"]
    assert company.purge().failed == 2
    assert company.open() == ["1"]
