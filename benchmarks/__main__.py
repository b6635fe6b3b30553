"""`python -m benchmarks`: measure everything; `profile` and `table` as an argument do just that.

BENCH=quick finishes within 5 minutes. ONLY=catch_up,history measures these alone and writes nothing.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    catch_up,
    channel_dag,
    history,
    holdings,
    load_by_size,
    lookups,
    memory,
    parsing,
    purge,
    replays,
    status_page,
)
from benchmarks.bench import Bench
from benchmarks.measuring import PROJECT
from benchmarks.results import HEADER, table
from benchmarks.stages import print_profile
from benchmarks.warehouse import running_server

SECTIONS: dict[str, Callable[[Bench], None]] = {
    "parsing": parsing.measure,
    "channel_dag": channel_dag.measure,
    "catch_up": catch_up.measure,
    "memory": memory.measure,
    "replays": replays.measure,
    "load_by_size": load_by_size.measure,
    "lookups": lookups.measure,
    "history": history.measure,
    "holdings": holdings.measure,
    "purge": purge.measure,
    "status_page": status_page.measure,
}


def main() -> None:
    """Do what the argument says."""
    match sys.argv[1:]:
        case ["profile"]:
            print_profile()
        case ["table"]:
            print(table())
        case []:
            measure_all(os.environ.get("ONLY", ""))
        case _:
            raise SystemExit(__doc__)


def measure_all(only: str) -> None:
    """Measure, print line by line, and write `results.json` where nothing was left out."""
    wanted = only.split(",") if only else list(SECTIONS)
    folder = PROJECT / ".local" / "bench"
    _prepare_environment(folder)
    failed: list[str] = []
    print(HEADER)
    with running_server(folder) as server:
        bench = Bench(server, server.postgres.home)
        _add_facts(bench)
        for name in wanted:
            started = time.monotonic()
            try:
                SECTIONS[name](bench)
            except (RuntimeError, subprocess.SubprocessError) as error:
                failed.append(name)
                bench.results.add_missing(name, str(error).strip().splitlines()[-1])
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if not only:
        bench.results.write()
    if failed:
        raise SystemExit(f"Not measured, because of an error: {', '.join(failed)}")


def _prepare_environment(folder: Path) -> None:
    """Let all measured programs start as an installed one does: with its bytecode compiled."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM"))  # so that servers are stopped
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder.with_name("bench-bytecode"))


def _add_facts(bench: Bench) -> None:
    facts = bench.results.add_fact
    facts("measured on", f"{datetime.now(UTC):%Y-%m-%d}, {'BENCH=quick' if bench.is_quick else 'in full'}")
    version = bench.server.query_number("postgres", "SELECT current_setting('server_version_num')::int / 10000")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts(
        "machine",
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, PostgreSQL {version:.0f}",
    )
    facts("load average of the machine just before", f"{os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
