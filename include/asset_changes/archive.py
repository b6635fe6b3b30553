"""The bodies as Getty sent them, kept for good: `file://` or any object store.

    <root>/channel_id=<id>/fetched_date=<YYYY-MM-DD>/<YYYYMMDDTHHMMSSffffff>Z-<change_set_id>.json.gz

There are four kinds of objects. The first delivery of a change set has the name above. A longer
one, a redelivery that contains more, has the first one's name and the time it came,
`...<change_set_id>.<YYYYMMDDTHHMMSSffffff>Z.json.gz`. An orphan is one more first delivery of a set,
of a worker that died or was overtaken; its day may be another one. A body whose structure is not
understood is kept as `...Z.unreadable.gz`.

An address in the ledger may name another root, from before the archive was moved or of another
deployment: its place below this root is meant.
"""

import gzip
import os
import secrets
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path

from upath import UPath

from asset_changes import archived_sets as names
from asset_changes.archived_sets import REACH, ArchivedObject, ArchivedSet, UnreadableBody, archived_set, is_within
from asset_changes.errors import ArchiveDamaged, ArchiveObjectMissing, ArchiveUnavailable
from asset_changes.models import Delivery

_COMPRESSION = 1  # bodies shrink to a ninth at level 1; level 6 takes three times as long for a tenth less


class Archive:
    """The archive below one root."""

    def __init__(self, root: UPath) -> None:
        self._root = root

    def uri_for(self, channel_id: int, change_set_id: str, *, fetched_at: datetime) -> str:
        """Return where the first delivery of a change set is kept."""
        return str(self._root / f"{_folder(channel_id, fetched_at)}/{names.stamp(fetched_at)}Z-{change_set_id}.json.gz")

    def write(self, uri: str, body: bytes, *, server_time: datetime | None = None) -> None:
        """Keep a body at `uri`, durable when this returns; an object that is there is replaced whole.

        `server_time` is kept in the header of the gzip format: which times are believed depends on it.
        """
        made_at = int(server_time.timestamp()) if server_time else 0
        self._put(uri, gzip.compress(body, _COMPRESSION, mtime=made_at))

    def write_later(self, uri: str, delivery: Delivery) -> str:
        """Keep one more delivery of the set at `uri` next to the first; return where."""
        later = _later_uri(uri, delivery.received_at)
        self.write(later, delivery.body, server_time=delivery.server_time)
        return later

    def write_unreadable(self, channel_id: int, body: bytes, *, received_at: datetime) -> str:
        """Keep a body whose structure is not understood; return where."""
        uri = str(self._root / f"{_folder(channel_id, received_at)}/{names.stamp(received_at)}Z.unreadable.gz")
        self.write(uri, body)
        return uri

    def exists(self, uri: str) -> bool:
        """Say whether the archive has an object at `uri`."""
        with _readable(uri):
            return bool(self._path(uri).exists())

    def read(self, uri: str) -> list[Delivery]:
        """Return the first delivery at `uri`, then the longer ones of the same name, as they came."""
        path = self._path(uri)  # refuses what is no place in this archive, before its name is read
        name = names.NAME.fullmatch(path.name)
        fetched_at = names.time_of(name["stamp"]) if name else None
        if fetched_at is None:
            raise ArchiveUnavailable(f"{uri!r} is not the name of a change set in the archive.")
        first = self.read_delivery(uri, received_at=fetched_at)
        others = map(names.NAME.fullmatch, self._names(path.parent, prefix=f"{path.name.partition('.')[0]}."))
        later = sorted(at for each in others if each and (at := names.time_of(each["later"])))
        return [first, *(self.read_delivery(_later_uri(uri, at), received_at=at) for at in later)]

    def read_one(self, uri: str) -> bytes:
        """Return the body that one object contains; raises as `read_delivery` does."""
        return self.read_delivery(uri, received_at=datetime.min.replace(tzinfo=UTC)).body

    def read_delivery(self, uri: str, *, received_at: datetime) -> Delivery:
        """Return what one object contains as the delivery that came at `received_at`.

        Raises ArchiveDamaged where it is not what was written, ArchiveObjectMissing where there is none.
        """
        try:
            with _readable(uri):
                packed = self._path(uri).read_bytes()
            if not packed:  # gzip takes it for the end of a file that had nothing in it
                raise EOFError("the object is empty")
            body, made_at = gzip.decompress(packed), int.from_bytes(packed[4:8], "little")
            server_time = datetime.fromtimestamp(made_at, UTC) if made_at else None
            return Delivery(body=body, received_at=received_at, server_time=server_time)
        except (OSError, EOFError, zlib.error) as error:
            raise ArchiveDamaged(
                f"The archive's object {uri} is damaged ({error}). Bring it back from a backup of the archive; if "
                "there is none, remove it: what Getty still hands out is archived anew."
            ) from error

    def remove(self, uri: str) -> None:
        """Remove one object; that it is gone already is fine."""
        with _readable(uri):
            self._path(uri).unlink(missing_ok=True)

    def channel_ids(self) -> list[int]:
        """Return the channels that have a folder, whether anybody else knows them or not."""
        found = (names.CHANNEL.fullmatch(name) for name in self._names(self._root))
        return sorted(int(each[1]) for each in found if each and int(each[1]) < 2**31)

    def find(self, channel_id: int, change_set_id: str, *, before: datetime) -> ArchivedSet | None:
        """Return a change set with all of its objects, if one is within reach of the time `before`."""
        found: list[ArchivedObject] = []
        for _, folder in self._days(channel_id, since=before, until=before, reach=REACH):
            found += self._objects_of(folder, change_set_id).get(change_set_id, [])
        return archived_set(channel_id, change_set_id, found) if found else None

    def last(self, channel_id: int) -> ArchivedSet | None:
        """Return the set of a channel that was fetched last, with its objects of that day, if there is any."""
        for _, folder in reversed(self._days(channel_id)):
            if objects := self._objects_of(folder):
                change_set_id = max(objects, key=lambda each: max(each.first_at for each in objects[each]))
                return archived_set(channel_id, change_set_id, objects[change_set_id])
        return None

    def sets(
        self, channel_id: int, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[ArchivedSet]:
        """Yield each change set of which a delivery came with `since <= received_at < until`, the oldest first.

        It has all of its objects, those of other days too: folders are listed one by one, as far
        ahead as the objects of one set may be apart, and forgotten as far behind.
        """
        days = self._days(channel_id, since=since, until=until, reach=REACH)
        ahead = deque(days)
        listed: deque[tuple[date, list[str]]] = deque()
        behind: deque[tuple[date, list[str]]] = deque()
        objects: dict[str, list[ArchivedObject]] = {}
        last_days: dict[str, date] = {}
        yielded: dict[str, int] = {}
        for day, _ in days:
            while behind and behind[0][0] < day - REACH:
                for change_set_id in behind.popleft()[1]:
                    if last_days.get(change_set_id, day) < day - REACH:
                        del objects[change_set_id], last_days[change_set_id], yielded[change_set_id]
            while ahead and ahead[0][0] <= day + REACH:
                coming, folder = ahead.popleft()
                of_day = self._objects_of(folder)
                for change_set_id, found in of_day.items():
                    objects.setdefault(change_set_id, []).extend(found)
                    last_days[change_set_id] = coming
                listed.append((coming, list(of_day)))
            behind.append(listed.popleft())
            for change_set_id in behind[-1][1]:
                found = objects[change_set_id]
                if len(found) > yielded.get(change_set_id, 0):
                    yielded[change_set_id] = len(found)
                    archived = archived_set(channel_id, change_set_id, found)
                    if archived.has_object_in(since, until):
                        yield archived

    def unreadable(
        self, channel_id: int, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[UnreadableBody]:
        """Yield the bodies that were not understood and came with `since <= received_at < until`, the oldest first."""
        for _, folder in self._days(channel_id, since=since, until=until):
            for name in self._names(folder):
                found = names.UNREADABLE.fullmatch(name)
                at = names.time_of(found["stamp"]) if found else None
                if at and is_within(at, since, until):
                    yield UnreadableBody(channel_id=channel_id, received_at=at, uri=str(folder / name))

    def is_below(self, uri: str) -> bool:
        """Say whether an address is one of this root, not of another deployment's or of a place before."""
        return uri.startswith(f"{str(self._root).rstrip('/')}/")

    def prepared_uri(self, name: str) -> str:
        """Return where a prepared set is kept: a cache that may vanish at any time."""
        return str(self._root / "prepared" / f"{name}.csv.gz")

    def _days(
        self,
        channel_id: int,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        reach: timedelta = timedelta(0),
    ) -> list[tuple[date, UPath]]:
        """Return the days of a channel with their folders, oldest first; what is no day is left alone."""
        channel = self._root / f"channel_id={channel_id}"
        days = [
            (names.day_of(found[1]), channel / found[0])
            for found in map(names.DAY.fullmatch, self._names(channel))
            if found
        ]
        first, last = (at and at.astimezone(UTC).date() for at in (since, until))
        return [
            (day, folder)
            for day, folder in days
            if day and (first is None or first - day <= reach) and (last is None or day - last <= reach)
        ]

    def _objects_of(self, folder: UPath, change_set_id: str | None = None) -> dict[str, list[ArchivedObject]]:
        """Return the objects of a day by their change set, or those of one set, in the order they came."""
        objects: dict[str, list[ArchivedObject]] = {}
        place = str(folder)  # joining paths object by object would take longer than all else
        for name in self._names(folder):
            found = names.NAME.fullmatch(name)
            if not found or change_set_id not in (None, found["id"]):
                continue
            first_at, later_at = names.time_of(found["stamp"]), names.time_of(found["later"])
            if first_at and (later_at or not found["later"]):
                objects.setdefault(found["id"], []).append(
                    ArchivedObject(
                        first_at=first_at,
                        received_at=later_at or first_at,
                        is_first=later_at is None,
                        uri=f"{place}/{name}",
                    )
                )
        return objects

    def _names(self, folder: UPath, prefix: str = "") -> list[str]:
        with _readable(str(folder)):
            try:
                return sorted(path.name for path in folder.iterdir() if path.name.startswith(prefix))
            except (FileNotFoundError, NotADirectoryError):  # somebody else's file may have a folder's name
                return []

    def _path(self, uri: str) -> UPath:
        """Return the path of a URI below this root, with this archive's own connection."""
        place = names.PLACE.search(uri)
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


def _folder(channel_id: int, at: datetime) -> str:
    return f"channel_id={channel_id}/fetched_date={at.astimezone(UTC).date().isoformat()}"


def _later_uri(uri: str, received_at: datetime) -> str:
    return f"{uri.removesuffix('.json.gz')}.{names.stamp(received_at)}Z.json.gz"


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except (ArchiveUnavailable, IsADirectoryError):
        raise
    except FileNotFoundError as error:
        raise ArchiveObjectMissing(
            f"The archive cannot be read at {uri}: there is no such object. Bring it back from a backup of the archive."
        ) from error
    except Exception as error:  # stores raise errors of their own, botocore's among them
        raise ArchiveUnavailable(f"The archive cannot be read at {uri} ({error}).") from error


def _write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut it is whole or absent: fsync, rename, fsync of the folders."""
    made = [*takewhile(lambda folder: not folder.exists(), path.parents)]
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
