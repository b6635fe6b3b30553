"""A bucket as a store, on moto: every version is listed and deleted by its id, and an error of one key is a result."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from asset_changes.errors import StoreRefused, StoreUnavailable
from asset_changes.removal.stores.s3_store import CALLS_AT_ONCE, BucketStore
from asset_changes.removal.stores.store import DeleteResult, FileStore, StoredFile
from asset_changes.removal.stores.template import parse_templates
from botocore.config import Config
from moto import mock_aws

TEMPLATES = ("images/{asset_id}.jpg", "renditions/{asset_id}/*")
BUCKET = "company-media"
NO_WAIT = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=1, read_timeout=1)


def new_client(endpoint_url: str | None = None) -> Any:
    """Return a client with made-up credentials."""
    return boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
        endpoint_url=endpoint_url,
        config=NO_WAIT,
    )


@pytest.fixture
def s3() -> Iterator[Any]:
    """A client of a mocked S3 with an empty bucket, not versioned."""
    with mock_aws():
        client = new_client()
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def versioned(s3: Any) -> Any:
    """The same with versions."""
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return s3


@pytest.fixture
def locked() -> Iterator[Any]:
    """The same with versions and object lock."""
    with mock_aws():
        client = new_client()
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        yield client


def put(client: Any, *keys: str, body: str = "picture") -> list[str]:
    """Store an object at each key below getty/; return the version ids."""
    answers = (client.put_object(Bucket=BUCKET, Key=f"getty/{key}", Body=body.encode()) for key in keys)
    return [answer.get("VersionId", "null") for answer in answers]


def store_of(client: Any, *templates: str, uri: str = f"s3://{BUCKET}/getty") -> BucketStore:
    """Return the store of a bucket."""
    return BucketStore(client, uri, name="cdn", templates=parse_templates(templates or TEMPLATES, where="the test"))


def everything(client: Any) -> set[tuple[str, str]]:
    """Return all keys and versions, as another client of S3 sees them."""
    pages = client.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
    listed = [each for page in pages for kind in ("Versions", "DeleteMarkers") for each in page.get(kind, [])]
    return {(each["Key"].removeprefix("getty/"), each["VersionId"]) for each in listed}


def results_of(done: list[DeleteResult]) -> list[tuple[str, str]]:
    """Return key and result."""
    return [(each.file.key, each.result) for each in done]


def test_a_bucket_lists_whole_keys_of_the_asset(s3: Any) -> None:
    put(s3, "images/123.jpg", "images/1234.jpg", "images/123-001.jpg", "images/123.jpg.bak", "images/123.JPG")
    put(s3, "renditions/123/web.jpg", "renditions/123/", "renditions/123/deep/x.jpg", "renditions/1234/web.jpg")
    s3.put_object(Bucket=BUCKET, Key="images/123.jpg", Body=b"outside of the prefix")
    store: FileStore = store_of(s3)
    store.check()
    found = store.list_files(["123", "999"])
    assert {id_: [file.key for file in files] for id_, files in found.items()} == {
        "123": ["images/123.jpg", "renditions/123/", "renditions/123/web.jpg"]
    }
    (image, *_) = found["123"]
    assert (image.size, image.version_id, image.is_delete_marker) == (7, "null", False)
    assert image.identity.startswith('"')
    assert datetime.now(UTC) - image.modified_at < timedelta(minutes=1)


def test_a_store_may_be_a_whole_bucket(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="images/123.jpg", Body=b"picture")
    store = store_of(s3, uri=f"s3://{BUCKET}")
    assert results_of(store.delete(store.list_files(["123"])["123"])) == [("images/123.jpg", "deleted")]
    assert everything(s3) == set()


def test_all_versions_and_markers_are_deleted(versioned: Any) -> None:
    versions = [put(versioned, "images/123.jpg", body=str(n))[0] for n in range(12)]
    marker = versioned.delete_object(Bucket=BUCKET, Key="getty/images/123.jpg")["VersionId"]
    others = {("images/1234.jpg", put(versioned, "images/1234.jpg")[0])}
    store = store_of(versioned)
    listed = store.list_files(["123"])["123"]
    assert {file.version_id for file in listed} == {*versions, marker}
    assert [file.version_id for file in listed if file.is_delete_marker] == [marker]
    assert all(file.identity == file.version_id for file in listed)
    done = store.delete(listed)
    assert [each.file for each in done] == listed
    assert {each.result for each in done} == {"deleted"}
    assert all(each.request_id for each in done)
    assert everything(versioned) == others
    assert store.list_files(["123"]) == {}


def test_a_version_stored_since_the_listing_stays(versioned: Any) -> None:
    put(versioned, "images/123.jpg")
    store = store_of(versioned)
    listed = store.list_files(["123"])["123"]
    new = put(versioned, "images/123.jpg")[0]
    assert results_of(store.delete(listed)) == [("images/123.jpg", "deleted")]
    assert everything(versioned) == {("images/123.jpg", new)}


def test_versions_before_versioning_are_deleted_too(s3: Any) -> None:
    put(s3, "images/123.jpg")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    put(s3, "images/123.jpg")
    store = store_of(s3)
    done = store.delete(store.list_files(["123"])["123"])
    assert {each.result for each in done} == {"deleted"}
    assert everything(s3) == set()


@pytest.mark.parametrize("body", ["another picture", "picture"])
def test_an_object_stored_again_without_versions_stays(s3: Any, body: str) -> None:
    """With the same bytes too: it was stored because somebody wants it."""
    put(s3, "images/123.jpg", "images/124.jpg")
    store = store_of(s3)
    listed = store.list_files(["123", "124"])
    earlier = replace(listed["123"][0], identity=listed["123"][0].identity.replace(" 20", " 19"))
    put(s3, "images/123.jpg", body=body)
    first = listed["123"][0] if body != "picture" else earlier  # moto's times are those of the same second
    assert results_of(store.delete([first, *listed["124"]])) == [
        ("images/123.jpg", "changed"),
        ("images/124.jpg", "deleted"),
    ]
    assert everything(s3) == {("images/123.jpg", "null")}
    s3.delete_object(Bucket=BUCKET, Key="getty/images/123.jpg")
    assert results_of(store.delete([first])) == [("images/123.jpg", "missing")]


def test_a_locked_version_is_an_error_of_its_own(locked: Any) -> None:
    first = put(locked, "images/123.jpg")[0]
    until = datetime.now(UTC) + timedelta(days=1)
    locked.put_object_retention(
        Bucket=BUCKET, Key="getty/images/123.jpg", Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
    )
    put(locked, "images/124.jpg")
    locked.delete_object(Bucket=BUCKET, Key="getty/images/123.jpg")
    store = store_of(locked)
    found = store.list_files(["123", "124"])
    done = store.delete([*found["124"], *found["123"]])
    assert {(each.file.key, each.file.is_delete_marker, each.result) for each in done} == {
        ("images/124.jpg", False, "deleted"),
        ("images/123.jpg", False, "error"),
        ("images/123.jpg", True, "error"),
    }
    errors = {each.file.is_delete_marker: each.error for each in done if each.result == "error"}
    assert "AccessDenied" in str(errors[False])
    assert errors[True] == "It hides a version that could not be deleted."
    assert ("images/123.jpg", first) in everything(locked)
    with pytest.raises(locked.exceptions.NoSuchKey):  # it is still hidden
        locked.get_object(Bucket=BUCKET, Key="getty/images/123.jpg")


def test_more_than_a_page_is_listed_and_deleted(versioned: Any) -> None:
    keys = [f"renditions/123/{n:04}.jpg" for n in range(1100)]
    put(versioned, *keys, keys[0], keys[0])
    store = store_of(versioned)
    listed = store.list_files(["123"])["123"]
    assert len(listed) == len(everything(versioned)) == 1102
    assert {each.result for each in store.delete(listed)} == {"deleted"}
    assert everything(versioned) == set()


def test_keys_with_odd_characters_are_deleted(versioned: Any) -> None:
    put(versioned, "renditions/123/a\nb.jpg", "renditions/123/ü &<>%20+.jpg")
    store = store_of(versioned)
    listed = store.list_files(["123"])["123"]
    assert len(listed) == 2
    assert {each.result for each in store.delete(listed)} == {"deleted"}
    assert everything(versioned) == set()


def test_a_key_outside_of_the_templates_is_left(versioned: Any) -> None:
    put(versioned, "secret.jpg", "images/123.jpg")
    (listed,) = store_of(versioned).list_files(["123"])["123"]
    version = next(version for key, version in everything(versioned) if key == "secret.jpg")
    forged = replace(listed, key="secret.jpg", version_id=version)
    (done,) = store_of(versioned).delete([forged])
    assert (done.result, done.error) == ("error", "No key template of the store names it.")
    assert len(everything(versioned)) == 2


def test_a_template_without_any_object_is_refused(s3: Any) -> None:
    put(s3, "images/123.jpg")
    with pytest.raises(StoreRefused, match=r"nothing below s3://company-media/getty/renditions/ of the store 'cdn'"):
        store_of(s3).check()
    put(s3, "renditions/.keep")
    store_of(s3).check()


def test_a_missing_bucket_is_refused(s3: Any) -> None:
    store = store_of(s3, uri="s3://company-medias/getty")
    for ask in (store.check, lambda: store.list_files(["123"])):
        with pytest.raises(StoreRefused, match=r"store 'cdn' \(s3://company-medias/getty\).*NoSuchBucket"):
            ask()


def test_a_bucket_is_not_asked_for_an_odd_id(s3: Any) -> None:
    with pytest.raises(StoreRefused, match=r"store 'cdn' is not asked.*'1/2'"):
        store_of(s3).list_files(["1/2"])


class Answers(BaseHTTPRequestHandler):
    """Answers what the server's list says, one after the other, the last one again and again."""

    def do_GET(self) -> None:
        """Answer."""
        self.server.methods.append(self.command)  # type: ignore[attr-defined]
        answers: list[tuple[int, str]] = self.server.answers  # type: ignore[attr-defined]
        status, text = answers.pop(0) if len(answers) > 1 else answers[0]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def answering() -> Iterator[Any]:
    """A server of which the test sets the answers, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def at(server: Any, *answers: tuple[int, str]) -> BucketStore:
    """Return a store on the server, which gives these answers."""
    server.answers, server.methods = list(answers), []
    return store_of(new_client(f"http://127.0.0.1:{server.server_port}"))


DENIED = (403, "<Error><Code>AccessDenied</Code><Message>No rights.</Message></Error>")
SLOW_DOWN = (503, "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
LISTED = """<ListVersionsResult><IsTruncated>{}</IsTruncated><Version><Key>getty/images/123.jpg</Key>
<VersionId>v1</VersionId><ETag>"e"</ETag><Size>7</Size><LastModified>2026-11-28T10:00:00.000Z</LastModified>
</Version></ListVersionsResult>"""


def test_a_store_that_asks_for_fewer_calls_is_asked_again(answering: Any) -> None:
    store = at(answering, SLOW_DOWN, (200, LISTED.format("false")))
    store.check()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (403, "AccessDenied", StoreRefused),
        (403, "InvalidAccessKeyId", StoreRefused),
        (501, "NotImplemented", StoreRefused),
        (400, "RequestTimeout", StoreUnavailable),
    ],
)
def test_an_error_says_whether_to_try_again(answering: Any, status: int, code: str, kind: type[Exception]) -> None:
    store = at(answering, (status, f"<Error><Code>{code}</Code><Message>Said so.</Message></Error>"))
    for ask in (store.check, lambda: store.list_files(["123", "124"])):
        with pytest.raises(kind, match=rf"store 'cdn'.* cannot be listed: .*{code}.*Said so"):
            ask()


def test_a_garbled_listing_may_work_later(answering: Any) -> None:
    with pytest.raises(StoreUnavailable, match="store 'cdn'"):
        at(answering, (200, "<html>A proxy's page")).list_files(["123"])


def test_a_listing_that_cannot_be_continued_is_refused(answering: Any) -> None:
    with pytest.raises(StoreRefused, match="does not say where the next one begins"):
        at(answering, (200, LISTED.format("true"))).list_files(["123"])


FILE = StoredFile(
    key="images/123.jpg",
    version_id="v1",
    is_delete_marker=False,
    size=7,
    modified_at=datetime(2026, 11, 28, tzinfo=UTC),
    identity="v1",
)


@pytest.mark.parametrize(("answer", "code"), [(SLOW_DOWN, "SlowDown"), (DENIED, "AccessDenied")])
def test_a_delete_that_fails_whole_is_a_result_of_each(answering: Any, answer: tuple[int, str], code: str) -> None:
    store = at(answering, answer)
    done = store.delete([FILE]) + store.delete([replace(FILE, version_id="null", identity="e")])
    assert [each.result for each in done] == ["error", "error"]
    assert all(code in str(each.error) for each in done)


def test_a_bucket_that_went_silent_is_asked_no_more(answering: Any) -> None:
    """It could answer again when the run has lost its lease, and a hold counts."""
    many = [replace(FILE, key=f"renditions/123/{n}.jpg", version_id="null", identity="e") for n in range(40)]
    done = at(answering, SLOW_DOWN).delete([*many, FILE])
    assert {each.result for each in done} == {"error"}
    assert sum("Not tried" in str(each.error) for each in done) >= 41 - CALLS_AT_ONCE


def test_a_key_that_xml_cannot_name_is_deleted_alone(answering: Any) -> None:
    """In a call with others it would have all of them refused."""
    (done,) = at(answering, (204, "")).delete([replace(FILE, key="renditions/123/a\x01b.jpg")])
    assert (done.result, answering.methods) == ("deleted", ["DELETE"])


@pytest.mark.parametrize("spelled", ["%00", "%FF"], ids=["NUL", "not UTF-8"])
def test_a_key_that_no_text_can_hold_is_left(answering: Any, spelled: str) -> None:
    """It is shown with a mark in its place, and not asked for by that name: there may be another object there."""
    encoded = LISTED.format("false").replace("<IsTruncated>", "<EncodingType>url</EncodingType><IsTruncated>")
    store = at(answering, (200, encoded.replace("getty/images/123.jpg", f"getty/renditions/123/{spelled}%01.jpg")))
    (file,) = store.list_files(["123"])["123"]
    assert file.key == "renditions/123/\ufffd\x01.jpg"
    (done,) = store.delete([file])
    assert (done.result, done.error) == (
        "error",
        "Its key has a character that cannot be kept, NUL or one that is no text: delete it by hand.",
    )
    assert set(answering.methods) == {"GET"}


def test_a_version_that_the_answer_does_not_name_is_an_error(answering: Any) -> None:
    answer = """<DeleteResult><Deleted><Key>getty/images/123.jpg</Key><VersionId>v3</VersionId></Deleted><Error>
        <Key>getty/images/123.jpg</Key><VersionId>v2</VersionId><Code>NoSuchVersion</Code></Error></DeleteResult>"""
    done = at(answering, (200, answer)).delete([FILE, replace(FILE, version_id="v2")])
    assert [(each.result, each.error) for each in done] == [
        ("error", "The answer does not name it."),
        ("missing", None),
    ]
    assert answering.methods == ["POST"]


def test_a_store_that_is_down_may_work_later() -> None:
    store = store_of(new_client("http://127.0.0.1:9"))
    with pytest.raises(StoreUnavailable, match=r"store 'cdn'.* cannot be listed"):
        store.list_files(["123"])
    store.close()
