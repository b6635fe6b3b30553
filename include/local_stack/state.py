"""The folder of one stack: what it keeps between runs, and the lock that makes it the only one there."""

import fcntl
import json
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from local_stack.errors import StackError


@dataclass(frozen=True)
class Secrets:
    """Made once for each state folder, so that sessions and stored connections outlive a restart."""

    fernet_key: str
    jwt_secret: str
    session_key: str
    admin_password: str

    @classmethod
    def make(cls) -> "Secrets":
        return cls(
            fernet_key=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            jwt_secret=secrets.token_urlsafe(64),
            session_key=secrets.token_urlsafe(32),
            admin_password=secrets.token_urlsafe(12),
        )


class StateDir:
    """One STATE_DIR, with its places by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.airflow_home = path / "airflow"
        self.archive = path / "archive"
        self.commands = path / "bin"
        self.example_files = path / "files"
        self.example_list = path / "holdings.csv.gz"
        self.logs = path / "logs"
        self.postgres = path / "postgres"
        self.sandbox = path / "sandbox"
        self._lock: TextIO | None = None

    def take(self) -> None:
        """Make this process the folder's only stack, until it ends however it ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise StackError(f"STATE_DIR {self.path} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise StackError(
                f"A stack is running in {self.path} already (process {lock.read().strip() or 'unknown'}): "
                "stop it, or choose another STATE_DIR."
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock  # closing it, or the end of this process, gives the folder back
        for folder in (self.airflow_home, self.archive, self.logs, self.sandbox):
            folder.mkdir(exist_ok=True)

    def give_back(self) -> None:
        """Let another stack use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def secrets(self) -> Secrets:
        """The folder's secrets, made the first time."""
        path = self.path / "secrets.json"
        if path.exists():
            return Secrets(**json.loads(path.read_text()))
        made = Secrets.make()
        write_private(path, json.dumps(asdict(made)))
        return made


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.rename(path)
