"""Workers and what befalls them: a signal at a named point or at any time, a server that crashes under them."""

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

from tests.chaos.perils import POINTS_OF
from tests.chaos.worker import Kind, Orders, work

_PATIENCE = 120.0  # seconds after which a worker that does not end is a failure

LIVE = ("steps", "catch_up")
MUST = (
    *(Kind(way, point, SIGKILL) for way, points in POINTS_OF.items() for point in points),
    *(Kind(way, "after put", SIGTERM) for way in LIVE),
    *(Kind(way, "before load", SIGSTOP) for way in LIVE),
)
"""What befalls some worker in every run, however short.

A SIGTERM comes while a set is in hand; at a SIGSTOP the server crashes, with all of the load written and not committed.
"""

_context = multiprocessing.get_context("forkserver")
# Imported once; each worker is a fork of a process that has no thread, no connection and no lock.
_context.set_forkserver_preload(["tests.chaos.worker"])


@dataclass(kw_only=True)
class Tally:
    """What befell the workers, by kind; a signal counts where it came to a worker that lived."""

    befell: Counter[Kind] = field(default_factory=Counter)
    ended: int = 0
    crashes: int = 0
    interrupted: int = 0
    failures: list[str] = field(default_factory=list)

    def signals(self, sent: Signals) -> int:
        """How often a signal came."""
        return sum(count for kind, count in self.befell.items() if kind.comes == sent)

    @property
    def kills(self) -> int:
        """How many workers were killed."""
        return self.signals(SIGKILL)

    @property
    def missing(self) -> list[Kind]:
        """What must befall some worker and has not yet."""
        return [kind for kind in MUST if not self.befell[kind]]


@dataclass(frozen=True, kw_only=True)
class Fate:
    """A worker's orders; a signal without a point comes so many seconds after it has started."""

    orders: Orders
    after: float = 0.0


@dataclass(kw_only=True)
class _Worker:
    fate: Fate
    process: BaseProcess
    told: Connection
    is_hit: bool = False

    @property
    def kind(self) -> Kind:
        return self.fate.orders.kind

    def send(self, sent: Signals) -> bool:
        """Send a signal; False if it has ended already."""
        if not (self.process.pid and self.process.is_alive()):
            return False
        os.kill(self.process.pid, sent)
        return True

    def listen(self, seconds: float) -> None:
        """Wait until it says that it has come to its point, or ends."""
        with suppress(EOFError):
            self.is_hit |= self.told.poll(seconds) and self.told.recv_bytes() == b"struck"


class Crew:
    """Starts workers, lets their fates befall them, and counts."""

    def __init__(self, tally: Tally, rng: random.Random) -> None:
        self._tally = tally
        self._rng = rng

    def shift(self, fates: Sequence[Fate], *, crashes: EmbeddedPostgres | None = None) -> None:
        """Run workers beside each other until all have ended; `crashes` is a server that crashes meanwhile."""
        workers = [_started(fate) for fate in fates]
        began = time.monotonic()
        if crashes:
            self._crash(crashes, [each for each in workers if each.kind.comes == SIGSTOP])
        for each in sorted(workers, key=lambda each: each.fate.after):
            if each.kind.comes and each.kind.point is None:
                each.process.join(max(0.0, each.fate.after - (time.monotonic() - began)))
                each.is_hit = each.send(each.kind.comes)
        for each in workers:
            each.process.join(_PATIENCE)
            each.listen(0)
            self._count(each, is_excused=crashes is not None)
            each.told.close()

    def _crash(self, server: EmbeddedPostgres, frozen: Sequence[_Worker]) -> None:
        """Crash the server while workers stand still in mid-load; without any at any moment."""
        for each in frozen:
            each.listen(_PATIENCE)
        if not frozen:
            time.sleep(self._rng.uniform(0.0, 0.3))
        crash(server)
        server.start()
        self._tally.crashes += 1
        for each in frozen:
            each.send(SIGCONT)

    def _count(self, each: _Worker, *, is_excused: bool) -> None:
        kind, status = each.kind, each.process.exitcode
        is_frozen = kind.comes == SIGSTOP and each.is_hit
        if status is None:
            each.process.kill()
            self._tally.failures.append(f"{kind}: a worker did not end within {_PATIENCE:.0f} s")
        elif (status == -SIGKILL and kind.comes == SIGKILL) or (status == 0 and kind.comes == SIGTERM and each.is_hit):
            self._tally.befell[kind] += 1
        elif status == 1 and is_excused:
            self._tally.interrupted += 1
            self._tally.befell.update([kind] if is_frozen else [])
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


def _started(fate: Fate) -> _Worker:
    """Return a worker that has its connections made ready and begins now."""
    told, tells = _context.Pipe(duplex=False)
    process = _context.Process(target=work, args=(fate.orders, tells), daemon=True)
    process.start()
    tells.close()
    with suppress(EOFError):  # it died before: its exit status says how
        told.recv_bytes()
    return _Worker(fate=fate, process=process, told=told)
