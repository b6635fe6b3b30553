"""What the sandbox remembers across restarts: the feed's origin, change sets, messages after the backlog."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from getty_sandbox.encode import Message
from getty_sandbox.options import SandboxError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS origin (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS change_sets (
    change_set_id INTEGER PRIMARY KEY, channel_id INTEGER NOT NULL, first INTEGER NOT NULL,
    size INTEGER NOT NULL, fetched_at TEXT NOT NULL, confirmed_at TEXT);
CREATE TABLE IF NOT EXISTS messages (
    channel_id INTEGER NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL, published_us INTEGER NOT NULL,
    is_trickle INTEGER NOT NULL, PRIMARY KEY (channel_id, position));
CREATE TABLE IF NOT EXISTS cursors (
    channel_id INTEGER PRIMARY KEY, position INTEGER NOT NULL DEFAULT 0, retired INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS differences (
    kind TEXT NOT NULL, asset_id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, asset_id));
"""


@dataclass(frozen=True)
class ChangeSet:
    """A change set: `size` messages of a channel's feed from position `first` on."""

    change_set_id: int
    channel_id: int
    first: int
    size: int
    fetched_at: datetime
    confirmed_at: datetime | None = None


@dataclass(frozen=True)
class Appended:
    """A message that came after the backlog, by the trickle or by hand."""

    channel_id: int
    message: Message
    is_trickle: bool


class Store:
    """SQLite, in a file or in memory. Not thread-safe by itself: its owner holds a lock."""

    def __init__(self, state_dir: Path | None) -> None:
        """Opens the state, alone: a second sandbox in the same directory is refused."""
        self._lock_file = _lock(state_dir) if state_dir else None
        path = str(state_dir / "sandbox.sqlite") if state_dir else ":memory:"
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # A killed sandbox keeps what it wrote; only a machine that loses power does not, which is fine here.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file and releases its lock."""
        self._db.close()
        if self._lock_file:
            self._lock_file.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, or nothing."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def origin(self, wanted: dict[str, str]) -> dict[str, str]:
        """What the feed was first made from; it is written down if this is the first start."""
        self._db.executemany("INSERT OR IGNORE INTO origin VALUES (?, ?)", wanted.items())
        return dict(self._db.execute("SELECT name, value FROM origin"))

    def change_sets(self) -> list[ChangeSet]:
        """Every change set ever handed out, oldest first."""
        rows = self._db.execute(
            "SELECT change_set_id, channel_id, first, size, fetched_at, confirmed_at FROM change_sets"
            " ORDER BY change_set_id"
        )
        return [ChangeSet(*row[:4], *(at and datetime.fromisoformat(at) for at in row[4:])) for row in rows]

    def add_change_set(self, made: ChangeSet) -> None:
        """Stores a new set, before it is handed out."""
        self._db.execute(
            "INSERT INTO change_sets VALUES (?, ?, ?, ?, ?, NULL)",
            (made.change_set_id, made.channel_id, made.first, made.size, made.fetched_at.isoformat()),
        )

    def grow(self, grown: ChangeSet) -> None:
        """Remembers that an outstanding set holds more messages than before."""
        self._db.execute("UPDATE change_sets SET size = ? WHERE change_set_id = ?", (grown.size, grown.change_set_id))

    def confirm(self, change_set: ChangeSet, at: datetime) -> ChangeSet:
        """The set as confirmed."""
        self._db.execute(
            "UPDATE change_sets SET confirmed_at = ? WHERE change_set_id = ?",
            (at.isoformat(), change_set.change_set_id),
        )
        return replace(change_set, confirmed_at=at)

    def appended(self) -> list[Appended]:
        """The messages after the backlog, in feed order per channel."""
        rows = self._db.execute(
            "SELECT channel_id, body, published_us, is_trickle FROM messages ORDER BY channel_id, position"
        )
        return [Appended(row[0], Message(row[1], row[2]), bool(row[3])) for row in rows]

    def append(self, position: int, added: Appended) -> None:
        """Remembers one message at its position in the channel's feed."""
        self._db.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
            (added.channel_id, position, *added.message, added.is_trickle),
        )

    def cursors(self) -> dict[int, tuple[int, bool]]:
        """Per channel how far its feed was handed out or cut, and whether it is retired."""
        rows = self._db.execute("SELECT channel_id, position, retired FROM cursors")
        return {row[0]: (row[1], bool(row[2])) for row in rows}

    def set_cursor(self, channel_id: int, position: int, *, retired: bool) -> None:
        """Remembers both."""
        self._db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (channel_id, position, int(retired)))

    def differences(self, kind: str) -> dict[str, Any]:
        """How single assets differ from what the feed says of them, by id."""
        rows = self._db.execute("SELECT asset_id, value FROM differences WHERE kind = ?", (kind,))
        return {row[0]: json.loads(row[1]) for row in rows}

    def set_differences(self, kind: str, values: Mapping[str, object]) -> None:
        """Remembers these differences; None ends one."""
        kept = [(kind, asset_id, json.dumps(value)) for asset_id, value in values.items() if value is not None]
        self._db.executemany(
            "DELETE FROM differences WHERE kind = ? AND asset_id = ?", [(kind, each) for each in values]
        )
        self._db.executemany("INSERT INTO differences VALUES (?, ?, ?)", kept)


def _lock(state_dir: Path) -> IO[str]:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock_file = (state_dir / "sandbox.lock").open("w")
    except OSError as error:
        raise SandboxError(f"The state directory {state_dir} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock_file.close()
        raise SandboxError(f"Another sandbox runs in {state_dir}: stop it, or choose another --state-dir.") from None
    return lock_file
