"""The real PgBouncer of Debian's package, on a port of the loopback address, in front of the tests' server."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local_stack.postgres_home import ELSEWHERE, Account
from local_stack.stack import free_port
from sqlalchemy import URL

from tests.waiting import wait_until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: URL, **settings: object) -> Iterator[URL]:
    """Give the URL of `server` through a pooler with these settings."""
    if PROGRAM is None:
        raise RuntimeError("There is no pgbouncer here: install it with `apt-get install pgbouncer`, as .ci/run does.")
    account, port = Account.choose(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir=ELSEWHERE))
    account.owns(folder)
    given = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "logfile": folder / "log",
        **settings,
    }
    lines = "\n".join(f"{name} = {value}" for name, value in given.items())
    place = f"host={server.query['host']} user={server.username}"
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(f"[databases]\n* = {place}\n[pgbouncer]\n{lines}\n")
    configuration.chmod(0o644)
    identity = {"user": account.uid, "group": account.gid, "extra_groups": []} if account.is_lent else {}
    process = subprocess.Popen(
        [PROGRAM, "-q", str(configuration)],
        cwd="/",
        stderr=subprocess.DEVNULL,
        **identity,  # type: ignore[call-overload]
    )
    try:
        _wait_until_it_listens(process, port, folder / "log")
        yield server.set(host="127.0.0.1", port=port, query={})
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    def listens() -> bool:
        assert process.poll() is None, f"pgbouncer did not start: {written()}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
            return True
        return False

    def written() -> str:
        return log.read_text() if log.exists() else "it left no log"

    wait_until(listens, what="pgbouncer", details=written)
