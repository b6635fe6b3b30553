"""The bodies as Getty sent them, kept for good: `file://` or any object store.

    <root>/channel_id=<id>/fetched_date=<YYYY-MM-DD>/<YYYYMMDDTHHMMSSffffff>Z-<change_set_id>.json.gz

A redelivery that says more than the first delivery stands beside it as `...<change_set_id>.2.json.gz`,
then `.3` and so on. A body whose structure is not understood is kept as `...Z.unreadable.gz`.
"""

import gzip
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from upath import UPath

from asset_changes.errors import ArchiveUnavailable

_STAMP = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(r"(?P<stamp>\d{8}T\d{12})Z-(?P<id>[A-Za-z0-9_-]{1,64})(?:\.(?P<part>\d+))?\.json\.gz")
_REMEMBERED = timedelta(days=31)
_COMPRESSION = 1  # bodies shrink to a ninth at level 1; level 6 takes three times as long for a tenth less


@dataclass(frozen=True, kw_only=True, order=True)
class ArchivedSet:
    """One change set in the archive, in the order it was fetched."""

    fetched_at: datetime
    channel_id: int
    change_set_id: str
    uri: str
    parts: int = 1


class Archive:
    """The archive below one root."""

    def __init__(self, root: UPath) -> None:
        self._root = root

    def uri_for(self, channel_id: int, change_set_id: str, *, fetched_at: datetime) -> str:
        """Return where the first delivery of a change set is kept."""
        return str(self._folder(channel_id, fetched_at) / f"{_stamp(fetched_at)}Z-{change_set_id}.json.gz")

    def write(self, uri: str, body: bytes) -> None:
        """Keep a body at `uri`, durable when this returns; an object that is there is replaced whole."""
        self._put(uri, gzip.compress(body, _COMPRESSION, mtime=0))

    def write_part(self, uri: str, body: bytes) -> str:
        """Keep one more delivery of the set at `uri` beside the first; return where."""
        number = 2 + sum(1 for _ in self._parts(uri))
        part = _part_uri(uri, number)
        self.write(part, body)
        return part

    def write_unreadable(self, channel_id: int, body: bytes, *, received_at: datetime) -> str:
        """Keep a body whose structure is not understood; return where."""
        path = self._folder(channel_id, received_at) / f"{_stamp(received_at)}Z.unreadable.gz"
        self.write(str(path), body)
        return str(path)

    def exists(self, uri: str) -> bool:
        """Say whether the archive holds an object at `uri`."""
        with _readable(uri):
            return bool(self._path(uri).exists())

    def read(self, uri: str, *, parts: int | None = None) -> list[bytes]:
        """Return the bodies of a change set: the first delivery, then those that said more.

        `parts` tells how many there are, where a listing has told it.
        """
        others = self._parts(uri) if parts is None else (_part_uri(uri, n) for n in range(2, parts + 1))
        with _readable(uri):
            return [_unpacked(self._path(each).read_bytes()) for each in (uri, *others)]

    def remove(self, uri: str) -> None:
        """Remove one object; that it is gone already is fine."""
        with _readable(uri):
            self._path(uri).unlink(missing_ok=True)

    def find(self, channel_id: int, change_set_id: str) -> ArchivedSet | None:
        """Return the first delivery of a change set among those of the last month, if there is one.

        Getty drops what is not read for 14 days, so what it hands out now was not first fetched earlier.
        """
        since = datetime.now(UTC) - _REMEMBERED
        found = (each for each in self.sets(channel_id, since=since) if each.change_set_id == change_set_id)
        return next(found, None)

    def last(self, channel_id: int) -> ArchivedSet | None:
        """Return the set of a channel that was fetched last, if the archive holds any."""
        channel = self._root / f"channel_id={channel_id}"
        for day in reversed(self._names(channel, prefix="fetched_date=")):
            if sets := self._sets_of(channel / day, channel_id):
                return sets[-1]
        return None

    def sets(
        self, channel_id: int, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[ArchivedSet]:
        """Yield the sets of a channel with `since <= fetched_at < until`, oldest first, one day at a time."""
        channel = self._root / f"channel_id={channel_id}"
        for day in self._names(channel, prefix="fetched_date="):
            on = date.fromisoformat(day.partition("=")[2])
            if (since and on < since.astimezone(UTC).date()) or (until and on > until.astimezone(UTC).date()):
                continue
            for each in self._sets_of(channel / day, channel_id):
                if (since is None or each.fetched_at >= since) and (until is None or each.fetched_at < until):
                    yield each

    def prepared_uri(self, name: str) -> str:
        """Return where a prepared set is kept: a cache that may vanish at any time."""
        return str(self._root / "prepared" / f"{name}.csv.gz")

    def _sets_of(self, folder: UPath, channel_id: int) -> list[ArchivedSet]:
        first: dict[tuple[str, str], int] = {}
        for name in self._names(folder):
            if found := _NAME.fullmatch(name):
                key = (found["stamp"], found["id"])
                first[key] = first.get(key, 0) + 1
        return [
            ArchivedSet(
                fetched_at=datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC),
                channel_id=channel_id,
                change_set_id=change_set_id,
                uri=str(folder / f"{stamp}Z-{change_set_id}.json.gz"),
                parts=parts,
            )
            for (stamp, change_set_id), parts in sorted(first.items())
        ]

    def _names(self, folder: UPath, prefix: str = "") -> list[str]:
        with _readable(str(folder)):
            if not folder.exists():
                return []
            return sorted(path.name for path in folder.iterdir() if path.name.startswith(prefix))

    def _parts(self, uri: str) -> Iterator[str]:
        number = 2
        while self.exists(part := _part_uri(uri, number)):
            yield part
            number += 1

    def _folder(self, channel_id: int, at: datetime) -> UPath:
        day = at.astimezone(UTC).date().isoformat()
        return self._root / f"channel_id={channel_id}" / f"fetched_date={day}"

    def _path(self, uri: str) -> UPath:
        """Return the path of a URI with this archive's own connection."""
        root = str(self._root)
        if not uri.startswith(f"{root}/"):
            raise ArchiveUnavailable(f"{uri!r} is not in the archive {root!r}: was ASSET_CHANGES_ARCHIVE_URI changed?")
        return self._root / uri[len(root) + 1 :]

    def _put(self, uri: str, content: bytes) -> None:
        path = self._path(uri)
        try:
            if path.protocol in ("", "file", "local"):
                _write_durably(Path(path.path), content)
            else:
                path.write_bytes(content)  # one put: an object store shows an object whole or not at all
        except Exception as error:  # stores raise errors of their own, botocore's among them
            raise ArchiveUnavailable(
                f"The archive cannot be written at {uri} ({error}): nothing was loaded or confirmed. Look for a "
                "full disk, missing rights or an unreachable store."
            ) from error


def _unpacked(content: bytes) -> bytes:
    if not content:  # gzip takes it for the end of a file that had nothing in it
        raise EOFError("the object is empty")
    return gzip.decompress(content)


def _part_uri(uri: str, number: int) -> str:
    return f"{uri.removesuffix('.json.gz')}.{number}.json.gz"


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_STAMP)


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except ArchiveUnavailable:
        raise
    except Exception as error:  # stores raise errors of their own, botocore's among them
        raise ArchiveUnavailable(f"The archive cannot be read at {uri} ({error}).") from error


def _write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut it is whole or absent: fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
