"""Programs that are measured in turns: A B C, A B C, ..., so that a noisy machine is noisy for all."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.warehouse import Server

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Round:
    """What one program needed for some sets; `server_cpu_seconds` and `wal_bytes` are Postgres' meanwhile."""

    sets: int
    changes: int
    seconds: float
    cpu_seconds: float
    peak_mb_above_imports: float
    server_cpu_seconds: float = 0.0
    wal_bytes: float = 0.0

    @property
    def ms_per_set(self) -> float:
        """Wall time per change set."""
        return self.seconds / self.sets * 1000


class MeasuredProgram:
    """One measured process; a context manager."""

    def __init__(
        self, module: str, settings: Mapping[str, Any], *, name: str | None = None, python: str = sys.executable
    ) -> None:
        self.name = name or module
        folder = Path(settings["folder"])
        self._errors = (folder / f"{module}-{id(self)}.err").open("w+")
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.programs.{module}", json.dumps(settings)],
            cwd=PROJECT,
            env={**os.environ, "DLT_DATA_DIR": str(folder / "dlt")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        self._read_line()  # it is ready
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()
        self._errors.close()

    def start(self, sets: int) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{sets}\n")
        self._process.stdin.flush()

    def answer(self) -> Round:
        """Wait until it is done."""
        return Round(**self._read_line())

    def round(self, sets: int, server: Server) -> Round:
        """Let it do so many sets while no other program runs; with what Postgres spent on them."""
        cpu, wal = server.cpu_seconds(), server.wal_bytes()
        self.start(sets)
        cost = self._read_line()
        return Round(**cost, server_cpu_seconds=server.cpu_seconds() - cpu, wal_bytes=server.wal_bytes() - wal)

    def _read_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"The program {self.name} ended: {self._errors.read()[-2000:]}")
        cost: dict[str, Any] = json.loads(line)
        return {} if cost.pop("is_ready", False) else cost


def interleaved(programs: list[MeasuredProgram], server: Server, *, sets: int, rounds: int) -> dict[str, list[Round]]:
    """Return the rounds of each program by name; one more is done first, which pays for connections and plans."""
    done: dict[str, list[Round]] = {program.name: [] for program in programs}
    for number in range(rounds + 1):
        for program in programs:
            one = program.round(sets, server)
            if number:
                done[program.name].append(one)
    return done


def ratios(of: list[Round], to: list[Round]) -> list[float]:
    """Return the ratios of times per set, round by round."""
    return [one.ms_per_set / other.ms_per_set for one, other in zip(of, to, strict=True)]
