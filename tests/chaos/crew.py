"""Workers and what befalls them: SIGKILL at a named point or at any time, SIGTERM, a server that crashes."""

import multiprocessing
import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

from local_stack.postgres import EmbeddedPostgres

from tests.chaos.worker import Orders, work

_PATIENCE = 120.0  # seconds after which a worker that does not end is a failure

_context = multiprocessing.get_context("forkserver")
# Imported once; each worker is a fork of a process that has no thread, no connection and no lock.
_context.set_forkserver_preload(["tests.chaos.worker"])


@dataclass(kw_only=True)
class Tally:
    """What befell the workers; `kills` by way and point."""

    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    terms: int = 0
    crashes: int = 0
    interrupted: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Fate:
    """A worker's orders and what its parent does to it, so many seconds after it has started; None is nothing."""

    orders: Orders
    sends: signal.Signals | None = None
    after: float = 0.0


class Crew:
    """Starts workers, lets their fates befall them, and counts."""

    def __init__(self, tally: Tally, rng: random.Random) -> None:
        self._tally = tally
        self._rng = rng

    def shift(self, fates: Sequence[Fate], *, crashes: EmbeddedPostgres | None = None) -> None:
        """Run workers beside each other until all have ended; `crashes` is a server that crashes meanwhile."""
        workers = [(fate, _started(fate.orders)) for fate in fates]
        began = time.monotonic()
        if crashes:
            time.sleep(self._rng.uniform(0.0, 0.3))  # any moment will do
            crash(crashes)
            crashes.start()
            self._tally.crashes += 1
        for fate, worker in sorted(workers, key=lambda pair: pair[0].after):
            if fate.sends:
                worker.join(max(0.0, fate.after - (time.monotonic() - began)))
                if worker.pid and worker.is_alive():
                    os.kill(worker.pid, fate.sends)
        for fate, worker in workers:
            worker.join(_PATIENCE)
            self._count(fate, worker, is_excused=crashes is not None)

    def _count(self, fate: Fate, worker: BaseProcess, *, is_excused: bool) -> None:
        name = f"{fate.orders.way}: {fate.orders.point or 'at random'}"
        if worker.exitcode is None:
            worker.kill()
            self._tally.failures.append(f"{name}: a worker did not end within {_PATIENCE:.0f} s")
        elif worker.exitcode == -signal.SIGKILL:
            self._tally.kills[name] += 1
        elif worker.exitcode == 0:
            self._tally.ended += 1
            self._tally.terms += fate.sends == signal.SIGTERM
        elif is_excused:
            self._tally.interrupted += 1
        else:
            self._tally.failures.append(f"{name}: a worker ended with status {worker.exitcode}")


def crash(server: EmbeddedPostgres) -> None:
    """End a server at once, without a checkpoint; return when it is gone."""
    pid = int((server.home / "data" / "postmaster.pid").read_text().split()[0])
    gone = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGQUIT)  # PostgreSQL's immediate shutdown: the next start recovers from the log
        select.select([gone], [], [], 60)
    finally:
        os.close(gone)


def _started(orders: Orders) -> BaseProcess:
    """Return a worker that has its connections made ready and begins now."""
    told, tells = _context.Pipe(duplex=False)
    worker = _context.Process(target=work, args=(orders, tells), daemon=True)
    worker.start()
    tells.close()
    try:
        told.recv_bytes()
    except EOFError:  # it died before: its exit status says how
        pass
    finally:
        told.close()
    return worker
