"""The protocol of a measured program: a number of sets in, one line of JSON with their cost out.

Standard library only: dlt's own environment runs it as well.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Timed(NamedTuple):
    """What a round did where only a part of it is to be measured."""

    changes: int
    seconds: float


DoSets = Callable[[int], int | Timed]
"""Does so many change sets and returns how many changes they had."""


def serve(setup: Callable[[dict[str, Any]], DoSets]) -> None:
    """Set up once, then do one round for each line that comes in."""
    imported = _peak()
    run = setup(json.loads(sys.argv[1]))
    _write_line(is_ready=True)
    for line in sys.stdin:
        cpu, started = _cpu(), time.perf_counter()
        done = run(int(line))
        timed = done if isinstance(done, Timed) else Timed(done, time.perf_counter() - started)
        _write_line(
            sets=int(line),
            changes=timed.changes,
            seconds=timed.seconds,
            cpu_seconds=_cpu() - cpu,
            peak_mb_above_imports=(_peak() - imported) / 1024,
        )


def _write_line(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _cpu() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak() -> int:
    """Return the most memory this program has used, in KiB.

    Linux' own mark first: `ru_maxrss` counts the process that started this one, too.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
