"""Reading a list of held assets: CSV, plain or compressed, line by line, so that a million lines need little memory."""

import codecs
import csv
import gzip
import hashlib
import io
import re
import zlib
from collections import deque
from collections.abc import Iterator
from typing import IO, NamedTuple
from urllib.parse import unquote_plus

from upath import UPath

from asset_changes.errors import ArchiveUnavailable, HoldingsRefused
from asset_changes.models import MUSIC

MOST_LINES_NAMED = 20
"""How many unreadable lines are reported by number."""
_PROBED_ROWS = 1_000  # by then a wrong column shows
_NAMES_OF_ID = ("asset_id", "assetid", "getty_id", "id", "key", "file_name", "filename", "file", "path")
_FILE_NAME = re.compile(r"gettyimages-(.+)", re.IGNORECASE)
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}|\.mp4", re.IGNORECASE)
_SIZE = re.compile(
    r"([-_]\d{2,5}x\d{2,5}|[ _]\(\d+\)| ?- ?copy)+$", re.IGNORECASE
)  # of a preview, of a second download
_SOUND = re.compile(r"\.(mp3|wav|wave|aiff?|flac|m4a|aac|ogg)$", re.IGNORECASE)
_ID = re.compile(r"(?=.*\d)[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class HeldAsset(NamedTuple):
    """One line of a list."""

    asset_id: str
    asset_type: str | None
    location: str | None


class HoldingsList:
    """A list that is read once; its counts are complete when `assets` has ended."""

    def __init__(self, path: UPath, *, column: str | int | None = None) -> None:
        self.uri = str(path)
        self.row_count = 0
        self.unreadable_count = 0
        self.unreadable_lines: list[int] = []
        self.byte_count: int | None = None
        self.sha256: str | None = None
        self._path = path
        self._column = column

    def assets(self) -> Iterator[HeldAsset]:
        """Yield the assets of the list; raise HoldingsRefused where it is no such list."""
        try:
            with self._path.open("rb") as file:
                raw = _Counted(file)
                yield from self._read(_unzipped(raw))
                raw.read_rest()
                self.byte_count, self.sha256 = raw.count, raw.hash.hexdigest()
        except FileNotFoundError as error:
            raise HoldingsRefused(f"There is no list {self.uri}.") from error
        except csv.Error as error:
            raise HoldingsRefused(f"The first line of the list {self.uri} is no line of a CSV: {error}.") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise HoldingsRefused(f"The list {self.uri} is compressed and damaged or cut: {error}.") from error
        except OSError as error:
            raise ArchiveUnavailable(f"The list {self.uri} cannot be read ({type(error).__name__}).") from error

    def _read(self, file: io.BufferedIOBase) -> Iterator[HeldAsset]:
        start = file.read(4096)
        _refuse_other_encodings(start, uri=self.uri)
        joined = io.BufferedReader(_Joined(start, file), 1 << 16)
        lines = io.TextIOWrapper(joined, "utf-8-sig", errors="surrogateescape", newline="")
        first = lines.readline(1 << 20)
        delimiter = max(",;\t", key=first.count)
        head = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        if not head:
            return
        index, has_header = self._find_column(head)
        named = {name.lower(): position for position, name in enumerate(head)} if has_header else {}
        rows = _rows(lines, delimiter, first_line=2) if has_header else _rows(lines, delimiter, first=first)
        for number, row in rows:
            if not any(cell.strip() for cell in row) and row is not _UNREADABLE:
                continue  # an empty line
            cell = row[index].strip() if index < len(row) else ""
            asset_id = read_id(cell)
            if asset_id is None:
                self.unreadable_count += 1
                if len(self.unreadable_lines) < MOST_LINES_NAMED:
                    self.unreadable_lines.append(number)
            else:
                self.row_count += 1
                asset_type = _text(row, named.get("asset_type"))
                location = _text(row, named.get("location")) or (None if cell == asset_id else _text(row, index))
                if asset_type is None and location and _SOUND.search(location):
                    asset_type = MUSIC
                yield HeldAsset(asset_id, asset_type, location)
            if self.row_count + self.unreadable_count == _PROBED_ROWS:
                self._refuse_wrong_column(head, index)
        self._refuse_wrong_column(head, index)

    def _find_column(self, head: list[str]) -> tuple[int, bool]:
        """Return the position of the column with ids, and whether the first line is a header."""
        names = [name.lower() for name in head]
        if isinstance(self._column, int) or (self._column or "").isdigit():
            index = int(self._column or 0) - 1
            if 0 <= index < len(head):
                return index, read_id(head[index]) is None
        elif self._column:
            if self._column.strip().lower() in names:
                return names.index(self._column.strip().lower()), True
        elif len(head) == 1:
            return 0, read_id(head[0]) is None
        else:
            for name in _NAMES_OF_ID:
                if name in names:
                    return names.index(name), True
        asked = f"has no column {self._column!r}" if self._column else "does not show which column holds the ids"
        raise HoldingsRefused(f"The list {self.uri} {asked}: its columns are {_described(head)}.")

    def _refuse_wrong_column(self, head: list[str], index: int) -> None:
        if self.unreadable_count > self.row_count:
            raise HoldingsRefused(
                f"In the list {self.uri} column {index + 1} has no id of an asset in {self.unreadable_count} of "
                f"{self.row_count + self.unreadable_count} lines: its columns are {_described(head)}."
            )


def read_id(cell: str) -> str | None:
    """Return the id that a cell holds: itself, or in a path or file name such as `GettyImages-123456789.jpg`."""
    if not _ID.fullmatch(cell):
        decoded = unquote_plus(cell) if "%" in cell or "+" in cell else cell  # S3 Inventory encodes its keys
        cell = re.split(r"[/\\]", decoded)[-1].strip()
        stem, dot, suffix = cell.rpartition(".")
        if dot and _SUFFIX.fullmatch(dot + suffix):
            cell = stem
    if named := _FILE_NAME.fullmatch(cell):
        cell = _SIZE.sub("", named[1])
    return cell if _ID.fullmatch(cell) else None


_UNREADABLE: list[str] = []
"""The row of a line that is no CSV."""


def _rows(
    lines: Iterator[str], delimiter: str, *, first: str | None = None, first_line: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the number of their first line; a stray quote costs its own line, not the rest of the file."""
    waiting = deque([] if first is None else [first])
    used: list[str] = []

    def feed() -> Iterator[str]:
        while True:
            line = waiting.popleft() if waiting else next(lines, None)
            if line is None:
                return
            used.append(line)
            yield line

    reader, number = csv.reader(feed(), delimiter=delimiter, strict=True), first_line
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield number, _UNREADABLE
            number += 1
            waiting.extendleft(reversed(used[1:]))  # only the line that opened the quote is lost
            reader = csv.reader(feed(), delimiter=delimiter, strict=True)
        else:
            yield number, row
            number += len(used)
        used.clear()


def _text(row: list[str], index: int | None) -> str | None:
    """Return a cell as text that Postgres takes, or None where it is empty."""
    if index is None or index >= len(row):
        return None
    return row[index].strip().encode("utf-8", "replace").decode().replace("\0", "") or None


def _described(head: list[str]) -> str:
    shown = [f"{number} {cell[:40]!r}" for number, cell in enumerate(head[:30], start=1)]
    return ", ".join(shown) + (", ..." if len(head) > len(shown) else "")


def _refuse_other_encodings(start: bytes, *, uri: str) -> None:
    if start.startswith(_UTF_16):
        text = start[: len(start) // 2 * 2].decode("utf-16", "replace")
        first = (text.splitlines() or [""])[0]
        head = next(csv.reader([first], delimiter=max(",;\t", key=first.count)), [])
        raise HoldingsRefused(
            f"The list {uri} is in UTF-16: export it as UTF-8. Its columns are {_described([*map(str.strip, head)])}."
        )
    if b"\0" in start:
        raise HoldingsRefused(f"The list {uri} is a binary file, without columns: export it as CSV in UTF-8.")


class _Counted(io.RawIOBase):
    """A file that counts and hashes what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read_rest(self) -> None:
        while self._next(1 << 16):
            pass

    def _next(self, most: int) -> bytes:
        data = self._file.read(most)
        self.count += len(data)
        self.hash.update(data)
        return data


class _Joined(io.RawIOBase):
    """The start of a file that was read already, then the rest of it."""

    def __init__(self, start: bytes, rest: io.BufferedIOBase) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._start[: len(buffer)] if self._start else self._rest.read(len(buffer))
        self._start = self._start[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _unzipped(raw: io.RawIOBase) -> io.BufferedIOBase:
    """Return the file as bytes; what is compressed shows by its first bytes, whatever its name is."""
    buffered = io.BufferedReader(raw, 1 << 16)
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=buffered)
    return buffered
