"""A bucket as a store, below a prefix: every version and delete marker is listed, and deleted by its id.

A delete without a version would leave the bytes on a versioned bucket, hidden behind a marker. A listing is what shows
what is there; S3 calls a key deleted that never existed.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError
from botocore.parsers import ResponseParserError

from asset_changes.errors import StoreRefused, StoreUnavailable
from asset_changes.removal.stores.store import UNREADABLE, DeleteResult, StoredFile, refusal_of
from asset_changes.removal.stores.template import KeyTemplate

CALLS_AT_ONCE = 8
MOST_PER_CALL = 1000  # of DeleteObjects
_ERRORS = (ClientError, BotoCoreError, ResponseParserError)
_PASSING = (HTTPClientError, ConnectionError, IncompleteReadError, ResponseParserError)
_PASSING_CODES = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestTimeout",
    "InternalError",
    "OperationAborted",
}
_MISSING_CODES = {"NoSuchKey", "NoSuchVersion"}
_UNVERSIONED = "null"
_NOT_TRIED = "Not tried: the store did not answer for another file. The next run tries again."
_NOT_IN_XML = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")  # one such key has the call for a thousand refused


class BucketStore:
    """The objects of one bucket below a prefix, by key templates; `client` is boto3's for S3."""

    def __init__(self, client: Any, uri: str, *, name: str, templates: Sequence[KeyTemplate]) -> None:
        self.name = name
        self.uri = uri
        self._client = client
        self._bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._templates = templates
        self._is_silent = False  # while files are deleted: a call got no answer

    def check(self) -> None:
        """Raise StoreRefused where the bucket cannot be listed by version, or a template's folder has nothing in it."""
        for folder in sorted({template.folder for template in self._templates}):
            place = self._prefix + (f"{folder}/" if folder else "")
            with self._explaining():
                page = self._client.list_object_versions(Bucket=self._bucket, Prefix=place, MaxKeys=1)
            if not page.get("Versions") and not page.get("DeleteMarkers"):
                raise StoreRefused(
                    f"There is nothing below s3://{self._bucket}/{place} of the store {self.name!r}, so nothing is "
                    "taken for gone: is the key template right? If it is meant to be empty, put an object of any name "
                    "there, such as .keep."
                )

    def list_files(self, asset_ids: Collection[str]) -> dict[str, list[StoredFile]]:
        """Return all versions and delete markers of these assets; one listing for each asset and template."""
        if reason := next(filter(None, map(refusal_of, asset_ids)), None):
            raise StoreRefused(f"The store {self.name!r} is not asked: {reason}")
        asked = [(asset_id, template) for asset_id in asset_ids for template in self._templates]
        found: dict[str, dict[StoredFile, None]] = {}  # in order; templates may share a key
        with self._explaining(), ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            for (asset_id, template), versions in zip(asked, pool.map(self._of_asset, asked), strict=True):
                for file in versions:
                    if template.id_of(file.key) == asset_id:
                        found.setdefault(asset_id, {})[file] = None
        return {asset_id: list(files) for asset_id, files in found.items()}

    def delete(self, files: Sequence[StoredFile]) -> list[DeleteResult]:
        """Delete exactly these versions, at most 1,000 per call; one result each, it never raises.

        Delete markers come last, and stay over a version that could not be deleted: it would come to light again.
        The `null` version, all that a bucket without versions has, is not one content: what is stored again has the
        same id. So it is looked at once more, alone, right before it is deleted. Once the store does not answer,
        nothing more is tried: it could answer when the run has lost its right to delete.
        """
        results: dict[int, DeleteResult] = {}
        self._is_silent = False
        for is_marker in (False, True):
            kept = {files[n].key for n, each in results.items() if each.result in ("error", "changed")}
            together: list[int] = []
            alone: list[int] = []
            for n, file in enumerate(files):
                if file.is_delete_marker != is_marker:
                    continue
                if error := self._why_not(file, kept):
                    results[n] = DeleteResult(file=file, result="error", error=error)
                elif file.version_id in (None, _UNVERSIONED) or _NOT_IN_XML.search(file.key):
                    alone.append(n)
                else:
                    together.append(n)
            with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
                results |= zip(alone, pool.map(self._delete_alone, [files[n] for n in alone]), strict=True)
            for start in range(0, len(together), MOST_PER_CALL):
                numbers = together[start : start + MOST_PER_CALL]
                results |= zip(numbers, self._delete_together([files[n] for n in numbers]), strict=True)
        return [results[n] for n in range(len(files))]

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _why_not(self, file: StoredFile, kept: Collection[str]) -> str | None:
        """Return why a version is not to be deleted, or None; `kept` are the keys of which a version is still there."""
        if not any(template.id_of(file.key) for template in self._templates):
            return "No key template of the store names it."
        if UNREADABLE in file.key:
            return "Its key has a character that cannot be kept, NUL or one that is no text: delete it by hand."
        if file.is_delete_marker and file.key in kept:
            return "It hides a version that could not be deleted."
        return None

    def _of_asset(self, asked: tuple[str, KeyTemplate]) -> list[StoredFile]:
        asset_id, template = asked
        return list(self._versions(template.prefix_of(asset_id)))

    def _versions(self, prefix: str) -> Iterator[StoredFile]:
        """Yield what the bucket has below a prefix, page by page; a listing that cannot be continued is an error."""
        after: dict[str, str] = {}
        while True:
            page = self._client.list_object_versions(Bucket=self._bucket, Prefix=self._prefix + prefix, **after)
            for kind in ("Versions", "DeleteMarkers"):
                for each in page.get(kind, ()):
                    yield self._file(each, is_delete_marker=kind == "DeleteMarkers")
            if not page.get("IsTruncated"):
                return
            marks = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}
            following = {name: mark for name, mark in marks.items() if mark}
            if not page.get("NextKeyMarker") or following == after:
                raise StoreRefused(
                    f"The bucket of the store {self.name!r} lists its versions in pages and does not say where the "
                    "next one begins, so nothing is taken for gone."
                )
            after = following

    def _file(self, listed: dict[str, Any], *, is_delete_marker: bool) -> StoredFile:
        version_id = listed.get("VersionId") or _UNVERSIONED
        content = f"{listed.get('ETag', '')} {listed['LastModified'].isoformat()}".strip()
        return StoredFile(
            key=listed["Key"].removeprefix(self._prefix).replace("\x00", UNREADABLE),  # no text of PostgreSQL has it
            version_id=version_id,
            is_delete_marker=is_delete_marker,
            size=listed.get("Size", 0),
            modified_at=listed["LastModified"],
            identity=content if version_id == _UNVERSIONED else version_id,
        )

    def _delete_alone(self, file: StoredFile) -> DeleteResult:
        if self._is_silent:
            return DeleteResult(file=file, result="error", error=_NOT_TRIED)
        try:
            if file.version_id in (None, _UNVERSIONED):
                of_key = [each for each in self._versions(file.key) if each.key == file.key]
                now = next((each for each in of_key if each.version_id == _UNVERSIONED), None)
                if now is None:
                    return DeleteResult(file=file, result="missing")
                if now.identity != file.identity or now.is_delete_marker != file.is_delete_marker:
                    return DeleteResult(
                        file=file, result="changed", error="Since it was listed, another has its place."
                    )
            answer = self._client.delete_object(
                Bucket=self._bucket, Key=self._prefix + file.key, VersionId=file.version_id or _UNVERSIONED
            )
        except StoreRefused as error:
            return DeleteResult(file=file, result="error", error=str(error))
        except _ERRORS as error:
            self._is_silent |= _is_passing(error)
            return _failed(file, error)
        return DeleteResult(file=file, result="deleted", request_id=answer["ResponseMetadata"].get("RequestId"))

    def _delete_together(self, files: Sequence[StoredFile]) -> Iterable[DeleteResult]:
        """Delete versions with one call; an error of one key comes within an answer of status 200."""
        if self._is_silent:
            return [DeleteResult(file=file, result="error", error=_NOT_TRIED) for file in files]
        objects = [{"Key": self._prefix + file.key, "VersionId": file.version_id} for file in files]
        try:
            answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects})
        except _ERRORS as error:
            self._is_silent |= _is_passing(error)
            return [_failed(file, error) for file in files]
        request_id = answer["ResponseMetadata"].get("RequestId")
        deleted = {(each["Key"], each.get("VersionId")) for each in answer.get("Deleted", ())}
        errors = {(each["Key"], each.get("VersionId")): each for each in answer.get("Errors", ())}
        results = []
        for file in files:
            key = self._prefix + file.key
            refused = errors.get((key, file.version_id)) or errors.get((key, None))
            if (key, file.version_id) in deleted:
                results.append(DeleteResult(file=file, result="deleted", request_id=request_id))
            elif refused and refused.get("Code") in _MISSING_CODES:
                results.append(DeleteResult(file=file, result="missing", request_id=request_id))
            else:
                said = f"{refused.get('Code')}: {refused.get('Message')}" if refused else "The answer does not name it."
                results.append(DeleteResult(file=file, result="error", error=said, request_id=request_id))
        return results

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            kind = StoreUnavailable if _is_passing(error) else StoreRefused
            raise kind(f"The bucket of the store {self.name!r} ({self.uri}) cannot be listed: {error}") from error


def _is_passing(error: Exception) -> bool:
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passing_status = status == 429 or (status >= 500 and status != 501)
        return passing_status or error.response.get("Error", {}).get("Code") in _PASSING_CODES
    return isinstance(error, _PASSING)


def _failed(file: StoredFile, error: Exception) -> DeleteResult:
    """Return the result of a version whose call failed."""
    answer = error.response if isinstance(error, ClientError) else {}
    if answer.get("Error", {}).get("Code") in _MISSING_CODES:
        return DeleteResult(file=file, result="missing")
    request_id = answer.get("ResponseMetadata", {}).get("RequestId")
    return DeleteResult(file=file, result="error", error=str(error), request_id=request_id)
