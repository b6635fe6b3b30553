"""The bodies as Getty sent them, kept for good: `file://` or any object store.

    <root>/channel_id=<id>/fetched_date=<YYYY-MM-DD>/<YYYYMMDDTHHMMSSffffff>Z-<change_set_id>.json.gz

A redelivery that says more than the earlier ones stands beside the first with the time it came,
`...<change_set_id>.<YYYYMMDDTHHMMSSffffff>Z.json.gz`. A body whose structure is not understood is
kept as `...Z.unreadable.gz`.

An address in the ledger may name another root, from before the archive was moved or of another
deployment: its place below this root is meant.
"""

import gzip
import os
import re
import secrets
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from upath import UPath

from asset_changes.errors import ArchiveDamaged, ArchiveUnavailable
from asset_changes.models import Delivery

_STAMP = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(r"(?P<stamp>\d{8}T\d{12})Z-(?P<id>[A-Za-z0-9_-]{1,64})(?:\.(?P<later>\d{8}T\d{12})Z)?\.json\.gz")
_DAY = re.compile(r"fetched_date=(\d{4}-\d\d-\d\d)")
_PLACE = re.compile(r"/(channel_id=\d+/fetched_date=[\d-]+/[^/\s]+|prepared/[^/\s]+)$")
_REMEMBERED = timedelta(days=31)
_COMPRESSION = 1  # bodies shrink to a ninth at level 1; level 6 takes three times as long for a tenth less


@dataclass(frozen=True, kw_only=True, order=True)
class ArchivedSet:
    """One change set in the archive, in the order it was fetched.

    `later` are the times of the deliveries that said more.
    """

    fetched_at: datetime
    channel_id: int
    change_set_id: str
    uri: str
    later: tuple[datetime, ...] = ()


class Archive:
    """The archive below one root."""

    def __init__(self, root: UPath) -> None:
        self._root = root

    def uri_for(self, channel_id: int, change_set_id: str, *, fetched_at: datetime) -> str:
        """Return where the first delivery of a change set is kept."""
        return str(self._folder(channel_id, fetched_at) / f"{_stamp(fetched_at)}Z-{change_set_id}.json.gz")

    def write(self, uri: str, body: bytes, *, server_time: datetime | None = None) -> None:
        """Keep a body at `uri`, durable when this returns; an object that is there is replaced whole.

        `server_time` is kept in the header of the gzip format: which times were believed depends on it.
        """
        made_at = int(server_time.timestamp()) if server_time else 0
        self._put(uri, gzip.compress(body, _COMPRESSION, mtime=made_at))

    def write_later(self, uri: str, delivery: Delivery) -> str:
        """Keep one more delivery of the set at `uri` beside the first; return where."""
        later = _later_uri(uri, delivery.received_at)
        self.write(later, delivery.body, server_time=delivery.server_time)
        return later

    def write_unreadable(self, channel_id: int, body: bytes, *, received_at: datetime) -> str:
        """Keep a body whose structure is not understood; return where."""
        path = self._folder(channel_id, received_at) / f"{_stamp(received_at)}Z.unreadable.gz"
        self.write(str(path), body)
        return str(path)

    def exists(self, uri: str) -> bool:
        """Say whether the archive holds an object at `uri`."""
        with _readable(uri):
            return bool(self._path(uri).exists())

    def read(self, uri: str, *, later: Sequence[datetime] | None = None) -> list[Delivery]:
        """Return the deliveries of a change set: the first, then those that said more, as they came.

        `later` are the times of these, where a listing has told them.
        """
        times = self._later(uri) if later is None else later
        return [
            self._delivery(uri, received_at=_fetched_at(uri)),
            *(self._delivery(_later_uri(uri, at), received_at=at) for at in times),
        ]

    def _delivery(self, uri: str, *, received_at: datetime) -> Delivery:
        body, server_time = self._read(uri)
        return Delivery(body=body, received_at=received_at, server_time=server_time)

    def read_one(self, uri: str) -> bytes:
        """Return what one object holds; raises ArchiveDamaged where it is not what was written."""
        return self._read(uri)[0]

    def _read(self, uri: str) -> tuple[bytes, datetime | None]:
        with _readable(uri):
            packed = self._path(uri).read_bytes()
        try:
            made_at = int.from_bytes(packed[4:8], "little")
            return _unpacked(packed), datetime.fromtimestamp(made_at, UTC) if made_at else None
        except (OSError, EOFError, zlib.error) as error:
            raise ArchiveDamaged(
                f"The archive's object {uri} is damaged ({error}). Bring it back from a backup of the archive; if "
                "there is none, remove it: what Getty still hands out is archived anew."
            ) from error

    def remove(self, uri: str) -> None:
        """Remove one object; that it is gone already is fine."""
        with _readable(uri):
            self._path(uri).unlink(missing_ok=True)

    def find(self, channel_id: int, change_set_id: str, *, before: datetime) -> ArchivedSet | None:
        """Return the first delivery of a change set among those of the month `before` a time, if there is one.

        Getty drops what is not read for 14 days, so what it hands out was not first fetched earlier.
        """
        found = self.sets(channel_id, since=before - _REMEMBERED)
        return next((each for each in found if each.change_set_id == change_set_id), None)

    def last(self, channel_id: int) -> ArchivedSet | None:
        """Return the set of a channel that was fetched last, if the archive holds any."""
        for _, folder in reversed(self._days(channel_id)):
            if sets := self._sets_of(folder, channel_id):
                return sets[-1]
        return None

    def sets(
        self, channel_id: int, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[ArchivedSet]:
        """Yield the sets of a channel with `since <= fetched_at < until`, oldest first, one day at a time."""
        for day, folder in self._days(channel_id):
            if (since and day < since.astimezone(UTC).date()) or (until and day > until.astimezone(UTC).date()):
                continue
            for each in self._sets_of(folder, channel_id):
                if (since is None or each.fetched_at >= since) and (until is None or each.fetched_at < until):
                    yield each

    def prepared_uri(self, name: str) -> str:
        """Return where a prepared set is kept: a cache that may vanish at any time."""
        return str(self._root / "prepared" / f"{name}.csv.gz")

    def _days(self, channel_id: int) -> list[tuple[date, UPath]]:
        """Return the days of a channel with their folders, oldest first; what is no day is left alone."""
        channel = self._root / f"channel_id={channel_id}"
        days = [(_day(found[1]), channel / name) for name in self._names(channel) if (found := _DAY.fullmatch(name))]
        return [(day, folder) for day, folder in days if day]

    def _sets_of(self, folder: UPath, channel_id: int) -> list[ArchivedSet]:
        deliveries: dict[tuple[datetime, str], list[datetime]] = {}
        for name in self._names(folder):
            if (found := _NAME.fullmatch(name)) and (fetched_at := _moment(found["stamp"])):
                later = deliveries.setdefault((fetched_at, found["id"]), [])
                later += [at for at in (_moment(found["later"]),) if at]
        return [
            ArchivedSet(
                fetched_at=fetched_at,
                channel_id=channel_id,
                change_set_id=change_set_id,
                uri=str(folder / f"{_stamp(fetched_at)}Z-{change_set_id}.json.gz"),
                later=tuple(sorted(later)),
            )
            for (fetched_at, change_set_id), later in sorted(deliveries.items())
        ]

    def _names(self, folder: UPath, prefix: str = "") -> list[str]:
        with _readable(str(folder)):
            if not folder.exists():
                return []
            return sorted(path.name for path in folder.iterdir() if path.name.startswith(prefix))

    def _later(self, uri: str) -> list[datetime]:
        """Return when the deliveries came that said more than the one at `uri`."""
        path = self._path(uri)
        found = (_NAME.fullmatch(name) for name in self._names(path.parent, prefix=f"{path.name.partition('.')[0]}."))
        return sorted(at for each in found if each and (at := _moment(each["later"])))

    def _folder(self, channel_id: int, at: datetime) -> UPath:
        day = at.astimezone(UTC).date().isoformat()
        return self._root / f"channel_id={channel_id}" / f"fetched_date={day}"

    def _path(self, uri: str) -> UPath:
        """Return the path of a URI below this root, with this archive's own connection."""
        place = _PLACE.search(uri)
        if not place:
            raise ArchiveUnavailable(
                f"{uri!r} is no place in the archive {str(self._root)!r}: was ASSET_CHANGES_ARCHIVE_URI changed?"
            )
        return self._root / place[1]

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


def _later_uri(uri: str, received_at: datetime) -> str:
    return f"{uri.removesuffix('.json.gz')}.{_stamp(received_at)}Z.json.gz"


def _fetched_at(uri: str) -> datetime:
    name = _NAME.fullmatch(uri.rpartition("/")[2])
    moment = _moment(name["stamp"]) if name else None
    if moment is None:
        raise ArchiveUnavailable(f"{uri!r} is not the name of a change set in the archive.")
    return moment


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_STAMP)


def _moment(stamp: str | None) -> datetime | None:
    """Return the time that a name tells; None where it tells none, as in a name that somebody else made up."""
    try:
        return datetime.strptime(stamp or "", _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except ArchiveUnavailable:
        raise
    except Exception as error:  # stores raise errors of their own, botocore's among them
        raise ArchiveUnavailable(f"The archive cannot be read at {uri} ({error}).") from error


def _write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut it is whole or absent: fsync, rename, fsync of the folders."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
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
    for folder in (path.parent, *(each.parent for each in made)):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
