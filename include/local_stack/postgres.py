"""A PostgreSQL server out of a wheel, reached through a unix socket that only its owner can open."""

import re
import shutil
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg import sql
from sqlalchemy import URL

from local_stack.errors import StackError
from local_stack.postgres_home import SOCKET_NAME, Account, find_programs, place_data, place_socket

USER = "postgres"

# (name, value, why): written into the server's own configuration, reasons included.
SETTINGS = (
    ("listen_addresses", "''", "no TCP port: nothing to collide with, nothing to reach from outside"),
    ("fsync", "on", "a confirmed change set is gone at Getty: a commit must survive a power cut"),
    ("synchronous_commit", "on", "the same: `loaded` has to mean `on disk` before anything is confirmed"),
    ("wal_compression", "pglz", "full-page images of scattered upserts shrink; this build has no lz4"),
    ("shared_buffers", "'128MB'", "holds the whole demo, and leaves a small machine its memory"),
    ("max_wal_size", "'2GB'", "a catch-up writes a lot: few checkpoints, so few full-page images"),
    ("checkpoint_completion_target", "0.9", "spread the checkpoint, do not stall a load on it"),
    ("max_connections", "120", "five Airflow services with their pools, and the tasks"),
    ("timezone", "'UTC'", "what psql shows equals what the logs say"),
    ("log_min_duration_statement", "'1s'", "a slow statement names itself in the log"),
    ("log_parameter_max_length", "0", "without its values: captions and names of people are no log's"),
)
# A test's server lives for seconds and is thrown away: there is nothing to save on disk.
THROW_AWAY_SETTINGS = (
    ("fsync", "off", "a test's data need not survive a power cut"),
    ("full_page_writes", "off", "the same"),
)


class EmbeddedPostgres:
    """One server with its data in `data_dir`; `durable=False` is for tests alone: fast, thrown away.

    Use it as a context manager, or with `start` and `stop`; both may be called again.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._durable = durable
        self._account = Account.choose()
        self._programs = find_programs(self._account)
        self._wanted = data_dir.absolute()
        self.home = place_data(self._wanted, self._account)
        self.socket_dir = place_socket(self.home, self._account)
        self._data = self.home / "data"
        self._log_read_to = 0

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def socket(self) -> Path:
        """There while the server is up."""
        return self.socket_dir / SOCKET_NAME

    @property
    def psql(self) -> Path:
        """The psql that came in the same wheel."""
        return self._programs / "psql"

    def start(self) -> "EmbeddedPostgres":
        """Come up, or find the server up already; the first time, make the cluster."""
        self._log_read_to = self.log.stat().st_size if self.log.exists() else 0
        if self.is_running():
            return self
        if not self._data.exists():
            self._initialize()
        self._configure()
        done = self._account.run(
            [self._programs / "pg_ctl", "start", "-w", "-t", "60", "-s", "-D", self._data, "-l", self.log]
        )
        if done.returncode != 0:
            raise StackError(f"PostgreSQL did not start. {self._last_error() or done.stdout.strip()}")
        return self

    def stop(self) -> None:
        """Close all connections and end the server, with its data safe on disk."""
        if not self.is_running():
            return
        done = self._account.run(
            [self._programs / "pg_ctl", "stop", "-w", "-t", "60", "-m", "fast", "-s", "-D", self._data]
        )
        if done.returncode != 0 and self.is_running():
            raise StackError(f"PostgreSQL in {self.home} did not stop: {done.stdout.strip()}")

    def is_running(self) -> bool:
        if not (self._data / "postmaster.pid").exists():
            return False
        return self._account.run([self._programs / "pg_ctl", "status", "-D", self._data]).returncode == 0

    def failure_since_start(self) -> str | None:
        """What failed in the server since its start, in a sentence; None if nothing did."""
        if not self.is_running():
            return f"PostgreSQL is gone: it was killed, or died. See its log: {self.log}."
        with self.log.open("rb") as log:
            log.seek(self._log_read_to)
            if b"reinitializing" in log.read():
                return f"PostgreSQL lost one of its processes and closed all connections. See its log: {self.log}."
        return None

    def remove(self) -> None:
        """Stop, and delete the data."""
        self.stop()
        for folder in {self.home, self.socket_dir, self._wanted}:
            shutil.rmtree(folder, ignore_errors=True)

    def create_database(self, name: str) -> URL:
        """The URL of the database `name`, made if there is none."""
        with psycopg.connect(host=str(self.socket_dir), user=USER, dbname="postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def url(self, database: str, *, driver: str = "psycopg") -> URL:
        """The SQLAlchemy URL of one database, over the unix socket."""
        return URL.create(
            f"postgresql+{driver}", username=USER, database=database, query={"host": str(self.socket_dir)}
        )

    def __enter__(self) -> "EmbeddedPostgres":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._durable:
            self.stop()
        else:
            self.remove()

    def _initialize(self) -> None:
        """Make the cluster under another name first: one that was cut off half-way is never used."""
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        command: list[str | Path] = [self._programs / "initdb", "-D", unfinished, "-U", USER, "-A", "trust"]
        # Trust is safe here: the socket lies in a folder that only its owner can enter.
        command += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        done = self._account.run(command if self._durable else [*command, "--no-sync"])
        if done.returncode != 0:
            raise StackError(f"PostgreSQL's initdb failed in {self.home}: {done.stdout.strip()}")
        unfinished.rename(self._data)
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude 'local_stack.conf'\n")

    def _configure(self) -> None:
        """Write the settings anew at each start, so that a changed reason or value takes effect."""
        quoted = str(self.socket_dir).replace("'", "''")
        settings = [
            *SETTINGS,
            *(() if self._durable else THROW_AWAY_SETTINGS),
            ("unix_socket_directories", f"'\"{quoted}\"'", "the owner's folder, mode 0700"),
            ("unix_socket_permissions", "0700", "the owner alone"),
        ]
        lines = "".join(f"{name} = {value}  # {why}\n" for name, value, why in settings)
        configuration = self._data / "local_stack.conf"
        configuration.write_text(lines)
        configuration.chmod(0o644)  # whatever the umask: the server reads it as another account

    def _last_error(self) -> str:
        """The newest error in the server's log."""
        if not self.log.exists():
            return ""
        errors = re.findall(r"(?:FATAL|ERROR|PANIC):\s+(.*)", self.log.read_text(errors="replace"))
        return f"Its log {self.log} says: {errors[-1]}" if errors else f"See its log: {self.log}"
