"""Workers and their faults: a signal at a named point or at any time, a server that crashes under them."""

import multiprocessing
import os
import random
import select
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, Signals

from local_stack.postgres import EmbeddedPostgres

from tests.chaos.fault_points import POINTS_OF
from tests.chaos.worker import Job, Kind, work

_TIMEOUT = 120.0  # seconds after which a worker that does not end is a failure

LIVE = ("steps", "catch_up")
REQUIRED = (
    *(Kind(way, point, SIGKILL) for way, points in POINTS_OF.items() for point in points),
    *(Kind(way, "after put", SIGTERM) for way in LIVE),
    *(Kind(way, "before load", SIGSTOP) for way in LIVE),
)
"""What hits some worker in every run, however short.

A SIGTERM comes between PUT and load; at a SIGSTOP the server crashes, with the load written and not committed.
"""

_context = multiprocessing.get_context("forkserver")
# Imported once; each worker is a fork of a process that has no thread, no connection and no lock.
_context.set_forkserver_preload(["tests.chaos.worker"])


@dataclass(kw_only=True)
class Tally:
    """What hit the workers, by kind; a signal counts if the worker was alive."""

    counts: Counter[Kind] = field(default_factory=Counter)
    ended: int = 0
    crashes: int = 0
    interrupted: int = 0
    failures: list[str] = field(default_factory=list)

    def signals(self, sent: Signals) -> int:
        """How often a signal hit."""
        return sum(count for kind, count in self.counts.items() if kind.signal_sent == sent)

    @property
    def kills(self) -> int:
        """How many workers were killed."""
        return self.signals(SIGKILL)

    @property
    def missing(self) -> list[Kind]:
        """What must hit some worker and has not yet."""
        return [kind for kind in REQUIRED if not self.counts[kind]]


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A worker's job; a signal without a point comes `after` seconds."""

    job: Job
    after: float = 0.0


@dataclass(kw_only=True)
class _Worker:
    planned: PlannedJob
    process: BaseProcess
    receiver: Connection
    was_hit: bool = False

    @property
    def kind(self) -> Kind:
        return self.planned.job.kind

    def send(self, sent: Signals) -> bool:
        """Send a signal; False if it has ended already."""
        if not (self.process.pid and self.process.is_alive()):
            return False
        os.kill(self.process.pid, sent)
        return True

    def listen(self, seconds: float) -> None:
        """Wait until it reports that it reached its point, or ends."""
        with suppress(EOFError):
            self.was_hit |= self.receiver.poll(seconds) and self.receiver.recv_bytes() == b"failing"


class WorkerPool:
    """Starts workers, sends their signals, and counts."""

    def __init__(self, tally: Tally, rng: random.Random) -> None:
        self._tally = tally
        self._rng = rng

    def run(self, plan: Sequence[PlannedJob], *, crashes: EmbeddedPostgres | None = None) -> None:
        """Run workers in parallel until all have ended; `crashes` is a server that crashes meanwhile."""
        workers = [_start(planned) for planned in plan]
        began = time.monotonic()
        if crashes:
            self._crash(crashes, [each for each in workers if each.kind.signal_sent == SIGSTOP])
        for each in sorted(workers, key=lambda each: each.planned.after):
            if each.kind.signal_sent and each.kind.point is None:
                each.process.join(max(0.0, each.planned.after - (time.monotonic() - began)))
                each.was_hit = each.send(each.kind.signal_sent)
        for each in workers:
            each.process.join(_TIMEOUT)
            each.listen(0)
            self._count(each, may_be_interrupted=crashes is not None)
            each.receiver.close()

    def _crash(self, server: EmbeddedPostgres, frozen: Sequence[_Worker]) -> None:
        """Crash the server while stopped workers are in a load; without any, at a random time."""
        for each in frozen:
            each.listen(_TIMEOUT)
        if not frozen:
            time.sleep(self._rng.uniform(0.0, 0.3))
        crash(server)
        server.start()
        self._tally.crashes += 1
        for each in frozen:
            each.send(SIGCONT)

    def _count(self, each: _Worker, *, may_be_interrupted: bool) -> None:
        kind, status = each.kind, each.process.exitcode
        is_frozen = kind.signal_sent == SIGSTOP and each.was_hit
        if status is None:
            each.process.kill()
            self._tally.failures.append(f"{kind}: a worker did not end within {_TIMEOUT:.0f} s")
        elif (status == -SIGKILL and kind.signal_sent == SIGKILL) or (
            status == 0 and kind.signal_sent == SIGTERM and each.was_hit
        ):
            self._tally.counts[kind] += 1
        elif status == 1 and may_be_interrupted:
            self._tally.interrupted += 1
            self._tally.counts.update([kind] if is_frozen else [])
        elif status == 0 and not is_frozen:  # which cannot have committed
            self._tally.ended += 1
        else:
            self._tally.failures.append(f"{kind}: a worker ended with status {status}")


def crash(server: EmbeddedPostgres) -> None:
    """End a server at once, without a checkpoint; return when it is gone."""
    pid = int((server.home / "data" / "postmaster.pid").read_text().split()[0])
    gone = os.pidfd_open(pid)
    try:
        os.kill(pid, SIGQUIT)  # PostgreSQL's immediate shutdown: the next start recovers from the log
        select.select([gone], [], [], 60)
    finally:
        os.close(gone)


def _start(planned: PlannedJob) -> _Worker:
    """Return a worker that has its connections and starts its job now."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=work, args=(planned.job, sender), daemon=True)
    process.start()
    sender.close()
    with suppress(EOFError):  # it died before: its exit status says how
        receiver.recv_bytes()
    return _Worker(planned=planned, process=process, receiver=receiver)
