"""Nothing that a whole run leaves behind has a secret: files, both databases, the list of processes."""

import gzip
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import psutil
import pytest
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres
from local_stack.services import marked_processes
from local_stack.stack import free_port
from sqlalchemy import create_engine, inspect, text

from tests.e2e.test_e2e_sync import MAKE, PROJECT

pytestmark = pytest.mark.e2e

SECRET = "what-only-the-connection-may-know"
# For their owner alone, and made to hold the stack's secrets.
KEPT = ("secrets.json", "bin/", "airflow/passwords.json")


@pytest.fixture
def getty() -> Iterator[Sandbox]:
    """A Getty whose answers go wrong now and then: errors are where secrets leak."""
    with Sandbox(changes_per_channel=2500, client_secret=SECRET, fault_rate=0.1, token_lifetime=5) as sandbox:
        sandbox.fail_next("token_revoked")
        yield sandbox


def test_no_secret_is_written_anywhere(getty: Sandbox, tmp_path: Path) -> None:
    state_dir, output = tmp_path / "state", tmp_path / "make.log"
    sizes: dict[str, int] = {}
    found: set[str] = set()
    try:
        seen = run(getty, state_dir, output)
        secrets = {SECRET, *tokens(getty), *json.loads((state_dir / "secrets.json").read_text()).values()}
        assert len(secrets) > 6  # several tokens were used up
        printed = [("make", output.read_bytes()), ("processes", "\n".join(seen).encode())]
        for place, content in chain(printed, files(state_dir), tables(state_dir), server_files(state_dir)):
            sizes[place] = len(content)
            found |= {place for secret in secrets if secret.encode() in content}
    finally:
        EmbeddedPostgres(state_dir / "postgres").remove()
    assert found == set()
    assert sizes["airflow: xcom"] > 500
    assert any(place.endswith("fetch/attempt=1.log") for place in sizes)
    assert sizes["server: postgres.log"]
    assert sum(size for place, size in sizes.items() if "/pg_wal/" in place) > 1_000_000


def run(getty: Sandbox, state_dir: Path, output: Path) -> set[str]:
    """Catch up once, with logs at their most talkative; return the command lines of all processes meanwhile."""
    extra = {"token_url": getty.token_url}
    connection = {"conn_type": "getty_images", "host": getty.url, "login": getty.client_id, "extra": extra}
    variables = {
        "STATE_DIR": str(state_dir),
        "PORT": str(free_port()),
        "UNTIL_CAUGHT_UP": "1",
        "AIRFLOW_CONN_GETTY_IMAGES_DEFAULT": json.dumps({**connection, "password": SECRET}),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    }
    seen: set[str] = set()
    with output.open("wb") as log:
        job = subprocess.Popen([MAKE, "run"], cwd=PROJECT, env=os.environ | variables, stdout=log, stderr=log)
        until = time.monotonic() + 600
        while job.poll() is None and time.monotonic() < until:
            seen |= {" ".join(command) for command in commands(job.pid, state_dir)}
            time.sleep(0.2)
        job.terminate()
    assert job.wait() == 0, output.read_text()
    return seen


def commands(pid: int, state_dir: Path) -> Iterator[list[str]]:
    """The command lines of the stack's processes."""
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True), *marked_processes(state_dir)]:
        try:
            yield process.cmdline()
        except psutil.NoSuchProcess:
            continue


def tokens(getty: Sandbox) -> set[str]:
    """The tokens that came with the calls."""
    headers = (request.headers.get("authorization", "") for request in getty.requests)
    return {header.removeprefix("Bearer ") for header in headers if header.startswith("Bearer ")}


def files(state_dir: Path) -> Iterator[tuple[str, bytes]]:
    """What each file holds, but for those of the server and those that are made to keep secrets."""
    for path in state_dir.rglob("*"):
        name = str(path.relative_to(state_dir))
        if not path.is_file() or name.startswith("postgres/"):
            continue
        if name.startswith(KEPT):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, f"{name} can be read by others"
            continue
        content = path.read_bytes()
        yield name, gzip.decompress(content) if name.endswith(".gz") else content


def tables(state_dir: Path) -> Iterator[tuple[str, bytes]]:
    """All rows of all tables of both databases, as text."""
    with EmbeddedPostgres(state_dir / "postgres") as postgres:
        for name in databases(postgres):
            yield from ((f"{name}: {table}", rows) for table, rows in contents(postgres, name))


def server_files(state_dir: Path) -> Iterator[tuple[str, bytes]]:
    """The server's log, and what it has written: rows that were deleted meanwhile are there too."""
    home = EmbeddedPostgres(state_dir / "postgres").home
    for path in home.rglob("*"):
        if path.is_file():
            yield f"server: {path.relative_to(home)}", path.read_bytes()


def databases(postgres: EmbeddedPostgres) -> list[str]:
    engine = create_engine(postgres.url("postgres"))
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT datname FROM pg_database WHERE datname !~ '^(template|postgres)'")))


def contents(postgres: EmbeddedPostgres, database: str) -> Iterator[tuple[str, bytes]]:
    """All rows of all tables of a database, as text."""
    engine = create_engine(postgres.url(database))
    with engine.connect() as connection:
        inspector = inspect(connection)
        for schema in ("public", "getty_images"):
            for table in inspector.get_table_names(schema=schema):
                rows = connection.scalars(text(f'SELECT row_to_json(t)::text FROM "{schema}"."{table}" AS t')).all()
                yield table, "\n".join(rows).encode()
    engine.dispose()
