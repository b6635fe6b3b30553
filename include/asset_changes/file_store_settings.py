"""The setting FILE_STORES: where the company keeps its files, checked before anything is listed or deleted."""

import json
import posixpath
import re
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from asset_changes.errors import ConfigurationError

_VARIABLE = "ASSET_CHANGES_FILE_STORES"
_FORM = '{"name": ..., "uri": ..., "keys": [...], "conn_id": ...}, the last one for s3:// alone'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>[^\x00-\x1f?#]+)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDERS = ("file", "local")
_BUCKETS = ("s3", "s3a", "s3n")  # how an archive may be written


@dataclass(frozen=True, kw_only=True)
class FileStoreSetting:
    """One store: `keys` are templates of where the files of an asset are below `uri`."""

    name: str
    uri: str
    keys: tuple[str, ...]
    conn_id: str | None = None

    @property
    def path(self) -> str:
        """The folder's path; of a bucket `bucket/prefix`."""
        return self.uri.partition("://")[2]


def file_stores(value: str, *, archive_uri: str) -> tuple[FileStoreSetting, ...]:
    """Return the stores that the setting names, or raise ConfigurationError that says which entry is wrong."""
    try:
        entries = json.loads(value or "[]")
    except ValueError as error:
        raise ConfigurationError(f"{_VARIABLE} is not JSON ({error}): write a list of {_FORM}.") from error
    if not isinstance(entries, list):
        raise ConfigurationError(f"{_VARIABLE} is not a list: write a list of {_FORM}.")
    found = tuple(_file_store(entry, where=f"entry {n} of {_VARIABLE}") for n, entry in enumerate(entries, start=1))
    names = [each.name for each in found]
    if repeated := {each for each in names if names.count(each) > 1}:
        raise ConfigurationError(f"{_VARIABLE} names {', '.join(sorted(repeated))} twice: give each a name of its own.")
    refuse_overlaps({each.name: each.uri for each in found}, archive_uri=archive_uri)
    return found


def refuse_overlaps(uris: dict[str, str], *, archive_uri: str) -> None:
    """Raise ConfigurationError where a store contains or lies in the archive or another store."""
    archive = "the archive (ASSET_CHANGES_ARCHIVE_URI)"
    places = {archive: _place(archive_uri), **{f"the store {name!r}": _place(uri) for name, uri in uris.items()}}
    for (one, place), (other, other_place) in combinations(places.items(), 2):
        if place[0] == other_place[0] and (place[1].startswith(other_place[1]) or other_place[1].startswith(place[1])):
            raise ConfigurationError(
                f"In {_VARIABLE} {other} is in {one}, contains it or is the same place: a purge must reach neither the "
                "bodies as received nor a file by two stores. Name the folder of its files alone, outside of the "
                "other; of two stores make one with the `keys` of both."
            )


def is_folder(uri: str) -> bool:
    """Say whether an address is one of a folder."""
    return uri.partition("://")[0] in _FOLDERS


def _file_store(entry: Any, *, where: str) -> FileStoreSetting:
    known = {"name", "uri", "keys", "conn_id"}
    if not isinstance(entry, dict) or not {"name", "uri", "keys"} <= entry.keys() <= known:
        raise ConfigurationError(f"The {where} is not of the form {_FORM}.")
    name, uri, keys, conn_id = (entry.get(each) for each in ("name", "uri", "keys", "conn_id"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"The {where} has a `name` that is not of the form {_NAME.pattern}.")
    where = f"{where} ({name})"
    if not isinstance(keys, list) or not keys or not all(isinstance(each, str) and each for each in keys):
        raise ConfigurationError(
            f'The {where} has no `keys`: write templates such as ["images/{{asset_id}}.jpg", "web/{{asset_id}}/*"].'
        )
    if not (conn_id is None or (isinstance(conn_id, str) and conn_id)):
        raise ConfigurationError(f"The {where} has a `conn_id` that is not the id of an Airflow connection.")
    found = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if not found:
        raise ConfigurationError(
            f"The {where} has a `uri` that is no address: write file:///folder or s3://bucket/prefix."
        )
    if "@" in found["place"].partition("/")[0]:
        raise ConfigurationError(
            f"The {where} has something before an @ in its `uri`: put credentials into an Airflow connection and name "
            "that as `conn_id`."
        )
    check = {"file": _folder, "s3": _bucket}.get(found["scheme"])
    if check is None:
        raise ConfigurationError(
            f"The {where} is on {found['scheme']}://, which is not supported: what is deleted there is only hidden or "
            "kept for days, or cannot be listed by version, so a receipt would be false. Use file:// or s3://, or "
            "delete there yourself after the Asset asset_changes_files_purged."
        )
    return FileStoreSetting(name=name, uri=check(found["place"], conn_id, where), keys=tuple(keys), conn_id=conn_id)


def _folder(place: str, conn_id: str | None, where: str) -> str:
    path = posixpath.normpath(f"/{place.lstrip('/')}")
    if not place.startswith("/") or path == "/":
        raise ConfigurationError(
            f"The {where} is not a folder below /: write file:///, three slashes, and its whole path; a folder of "
            "another machine is mounted first."
        )
    if conn_id:
        raise ConfigurationError(f"The {where} is a folder, which needs no connection: take `conn_id` out.")
    return f"file://{path}"


def _bucket(place: str, conn_id: str | None, where: str) -> str:
    bucket, _, prefix = place.partition("/")
    if not conn_id:
        raise ConfigurationError(
            f"The {where} has no `conn_id`: without one the worker's own role would delete. Name an Airflow connection "
            "of type `aws` with the rights in docs/file_stores.md."
        )
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and {"", ".", ".."} & set(prefix.split("/"))):
        raise ConfigurationError(f"The {where} is not of the form s3://bucket/prefix, without //, . and .. in it.")
    return f"s3://{bucket}/{prefix}".rstrip("/")


def _place(uri: str) -> tuple[str, str]:
    """Return the kind of a place and its path with a `/` at the end; what is before an @ is left out."""
    scheme, _, place = uri.partition("://")
    first, slash, rest = place.partition("/")
    path = f"{first.rpartition('@')[2]}{slash}{rest}"
    if scheme in _FOLDERS:
        scheme, path = "file", "/" + path.lstrip("/")
    return "s3" if scheme in _BUCKETS else scheme, posixpath.normpath(path).rstrip("/") + "/"
