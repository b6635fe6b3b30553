"""The setting FILE_STORES: what is taken, and that each refusal names the store and says what to write instead."""

import json
from typing import Any

import pytest
from asset_changes.errors import ConfigurationError
from asset_changes.settings import FileStoreSetting, Settings, file_stores

KEYS = ["images/{asset_id}.jpg"]
FOLDER = {"name": "share", "uri": "file:///srv/getty", "keys": KEYS}
BUCKET = {"name": "cdn", "uri": "s3://company-media/getty/", "keys": KEYS, "conn_id": "aws_purge"}


def read(*entries: Any, archive: str = "file:///var/lib/archive") -> tuple[FileStoreSetting, ...]:
    """Return the stores of a setting with these entries."""
    return file_stores(json.dumps(entries), archive_uri=archive)


def test_stores_are_read_from_the_environment() -> None:
    environment = {
        "ASSET_CHANGES_ARCHIVE_URI": "file:///var/lib/archive",
        "ASSET_CHANGES_FILE_STORES": json.dumps([FOLDER, BUCKET]),
    }
    assert Settings.from_environment(environment).file_stores == (
        FileStoreSetting(name="share", uri="file:///srv/getty", keys=tuple(KEYS)),
        FileStoreSetting(name="cdn", uri="s3://company-media/getty", keys=tuple(KEYS), conn_id="aws_purge"),
    )
    assert Settings(archive_uri="file:///a").file_stores == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{", "FILE_STORES is not JSON"),
        ("{}", "FILE_STORES is not a list"),
        ('["file:///srv"]', "entry 1 of ASSET_CHANGES_FILE_STORES is not of the form"),
        (json.dumps([{**FOLDER, "uris": 1}]), "entry 1 .* is not of the form"),
        (json.dumps([FOLDER, {**FOLDER, "name": "a b"}]), "entry 2 .* has a `name`"),
        (json.dumps([FOLDER, {**FOLDER, "uri": "file:///srv/other"}]), "names share twice: give each a name"),
    ],
)
def test_what_is_no_list_of_stores_is_refused(value: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        file_stores(value, archive_uri="file:///var/lib/archive")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({**FOLDER, "keys": []}, "has no `keys`: write templates such as"),
        ({**FOLDER, "keys": "images/{asset_id}.jpg"}, "has no `keys`"),
        ({**FOLDER, "keys": [1]}, "has no `keys`"),
        ({**FOLDER, "conn_id": ""}, "not the id of an Airflow connection"),
        ({**FOLDER, "conn_id": "aws"}, "needs no connection: take `conn_id` out"),
        ({**FOLDER, "uri": "/srv/getty"}, "is no address: write file:///folder"),
        ({**FOLDER, "uri": "file://srv/getty"}, "three slashes"),
        ({**FOLDER, "uri": "file:///"}, "not a folder below /"),
        ({**FOLDER, "uri": "file:///srv/.."}, "not a folder below /"),
        ({**BUCKET, "conn_id": None}, "without one the worker's own role would delete. Name an Airflow connection"),
        ({**BUCKET, "uri": "s3://aws_purge@company-media/getty"}, "before an @ .*name that as `conn_id`"),
        ({**BUCKET, "uri": "s3://KEY:secret@company-media/getty"}, "before an @"),
        ({**BUCKET, "uri": "s3://company-media/a/../b"}, "not of the form s3://bucket/prefix"),
        ({**BUCKET, "uri": "s3://Company/b"}, "not of the form s3://bucket/prefix"),
        ({**BUCKET, "uri": "s3a://company-media"}, "s3a://, which is not supported"),
        ({**BUCKET, "uri": "gs://company-media"}, "gs://, which is not supported.* a receipt would be false"),
        ({**BUCKET, "uri": "abfs://company-media"}, "abfs://, which is not supported"),
        ({**BUCKET, "uri": "https://cdn.example.com"}, "https://, which is not supported"),
    ],
)
def test_a_wrong_store_is_refused_by_its_name(entry: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        read(entry)
    assert f"entry 1 of ASSET_CHANGES_FILE_STORES ({entry['name']})" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("archive", "store"),
    [
        ("file:///srv/getty", FOLDER),
        ("file:///srv/getty/archive", FOLDER),
        ("file:///srv", FOLDER),
        ("file:///srv/x/../getty/./archive", FOLDER),
        ("file://///srv//getty", FOLDER),
        ("local:///srv/getty", FOLDER),
        ("file:///", FOLDER),
        ("s3://aws_default@company-media/getty/archive", BUCKET),
        ("s3://company-media", BUCKET),
        ("s3a://company-media/getty", BUCKET),
        ("s3://company-media/getty/", {**BUCKET, "uri": "s3://company-media"}),
    ],
)
def test_a_store_around_the_archive_is_refused(archive: str, store: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"the store '{store['name']}' is in the archive.*contains it"):
        read(store, archive=archive)


@pytest.mark.parametrize("uri", ["file:///srv/getty", "file:///srv", "file:///srv/getty/images", "file:///srv//getty/"])
def test_two_stores_of_one_place_are_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'other' is in the store 'share', contains it.* make one"):
        read(FOLDER, {**FOLDER, "name": "other", "uri": uri})


def test_stores_next_to_each_other_are_taken() -> None:
    found = read(
        FOLDER,
        {**FOLDER, "name": "other", "uri": "file:///srv/getty2"},
        BUCKET,
        {**BUCKET, "name": "more", "uri": "s3://company-media/getty-thumbs"},
        archive="s3://company-media/gett",
    )
    assert [each.uri for each in found] == [
        "file:///srv/getty",
        "file:///srv/getty2",
        "s3://company-media/getty",
        "s3://company-media/getty-thumbs",
    ]
