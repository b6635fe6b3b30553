"""Where the time of a change set goes: our program with a timer in each stage.

Times are a stage's own: what a stage inside it takes is the inner one's. SQL is named by statement.
"""

import cProfile
import functools
import importlib
import io
import pstats
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import psycopg

from benchmarks.programs import ours
from benchmarks.programs.rounds import DoSets, Timed, serve

# Stage, module and function.
STAGES = (
    ("call PUT", "getty_api.client", "AssetChangesClient.get_change_set"),
    ("call PUT: read JSON", "getty_api.responses", "document"),
    ("call DELETE", "getty_api.client", "AssetChangesClient.confirm_change_set"),
    ("parse", "getty_api.parsing", "parse_change_set"),
    ("parse: content hash", "getty_api.content", "content_hash"),
    ("transform: other", "pipeline.transform", "transform"),
    ("transform: assess", "pipeline.transform", "assess"),
    ("transform: rows as CSV", "pipeline.transform", "_csv"),
    ("archive", "archive", "Archive.write"),
    ("archive: durable write", "archive", "_write_durably"),
    ("Python of request_and_archive", "pipeline.fetch", "request_and_archive"),
    ("Python of record_in_ledger", "pipeline.fetch", "record_in_ledger"),
    ("Python of load_in_transaction", "pipeline.load", "load_in_transaction"),
    ("Python of load_first", "warehouse.loader", "load_first"),
    ("Python of send_confirmation", "pipeline.confirm", "send_confirmation"),
    ("log line", "pipeline.load", "log_loaded"),
)
_INSERT = re.compile(r"(?i)\b(INSERT) INTO (\w+)")
_STATEMENT = re.compile(r"(?is)^\s*(?:(UPDATE) (\w+)|(SELECT).*?\bFROM\s+(\w+)|(COPY) (\w+)|(\w+)(?:\s+(\w+))?)")


class Inner(threading.local):
    """What the stages within the running ones took so far, by thread."""

    def __init__(self) -> None:
        self.seconds = [0.0]


class StageTimes:
    """Adds up own times by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._inner = Inner()

    def timed(self, function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        """Return the function with a timer."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            inner = self._inner.seconds
            inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - started
                stage = name(*args)
                self.seconds[stage] += took - inner.pop()
                self.calls[stage] += 1
                inner[-1] += took

        return wrapped

    def install(self) -> None:
        """Put a timer into each stage, into each statement and each commit."""
        for stage, module, path in STAGES:
            owner: Any = importlib.import_module(f"asset_changes.{module}")
            *owners, name = path.split(".")
            for each in owners:
                owner = getattr(owner, each)
            function = getattr(owner, name)
            _replace(function, self.timed(function, lambda *_, stage=stage: stage), owner)
        cursor: Any = psycopg.Cursor
        for owner, attribute, label in (
            (cursor, "execute", lambda _cursor, query, *_: statement(query)),
            (cursor, "executemany", lambda _cursor, query, *_: f"{statement(query)} (many)"),
            (psycopg.Copy, "write", lambda *_: "SQL: COPY, sending"),
            (psycopg.Copy, "finish", lambda *_: "SQL: COPY, finishing"),
            (psycopg.Connection, "commit", lambda *_: "SQL: COMMIT"),
            (Future, "result", lambda *_: "futures: waiting for the archive"),
        ):
            setattr(owner, attribute, self.timed(getattr(owner, attribute), label))


def statement(query: Any) -> str:
    """Return a statement's verb and table."""
    sent = query.decode() if isinstance(query, bytes) else str(query)
    found = _INSERT.search(sent) or _STATEMENT.match(sent)
    words = [each for each in found.groups() if each] if found else ["other"]
    return f"SQL: {' '.join(words)}"


def _replace(function: Any, by: Any, owner: Any) -> None:
    """Replace a function wherever the core has imported it to."""
    setattr(owner, function.__name__, by)
    for name, module in list(sys.modules.items()):
        if name.startswith("asset_changes"):
            for attribute, value in list(vars(module).items()):
                if value is function:
                    setattr(module, attribute, by)


def setup(settings: dict[str, Any]) -> DoSets:
    """Return our program, timed or, with `settings["deep"]`, under cProfile; the report goes to a file."""
    times = StageTimes()
    if not settings["deep"]:
        times.install()
    run = ours.setup(settings)
    run(3)  # the first sets pay for connections and plans
    times.seconds.clear()
    times.calls.clear()

    def reported(sets: int) -> int | Timed:
        profiler = cProfile.Profile()
        started = time.perf_counter()
        changes = profiler.runcall(run, sets) if settings["deep"] else run(sets)
        total = time.perf_counter() - started
        with open(settings["report"], "w") as report:  # noqa: PTH123 - one line
            report.write(_functions(profiler) if settings["deep"] else _stages(times, sets, total))
        return changes

    return reported


def _stages(times: StageTimes, sets: int, total: float) -> str:
    in_background = ("archive", "archive: durable write")  # in a thread of its own, while others run
    rest = total - sum(seconds for stage, seconds in times.seconds.items() if stage not in in_background)
    rows = sorted([*times.seconds.items(), ("everything else", rest)], key=lambda row: -row[1])
    lines = [
        f"{seconds / sets * 1000:8.2f} ms {seconds / total:6.1%} {times.calls.get(stage, 0) / sets:6.2f} calls  {stage}"
        f"{' (meanwhile, in a thread)' if stage in in_background else ''}"
        for stage, seconds in rows
    ]
    return "\n".join([f"{total / sets * 1000:8.2f} ms per set of 2,200, stages by their own time", *lines, ""])


def _functions(profiler: cProfile.Profile) -> str:
    out = io.StringIO()
    stats = pstats.Stats(profiler, stream=out)
    stats.strip_dirs().sort_stats("tottime").print_stats(30)
    stats.sort_stats("cumulative").print_stats(45)
    return out.getvalue()


if __name__ == "__main__":
    serve(setup)
