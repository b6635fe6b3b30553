"""What was measured: medians with their quartiles, compared with the budgets; as JSON and as a table."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Budget:
    """A limit that a median must keep: `at_least` or `at_most`."""

    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return f"at most {self.at_most:,g}" if self.at_least is None else f"at least {self.at_least:,g}"

    def is_met(self, value: float) -> bool:
        """Say whether a value keeps it."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Result:
    """One line of the table; `spread` is the first and third quartile, None for a single measurement."""

    name: str
    value: float | str | None
    unit: str
    spread: list[float] | None = None
    budget: str | None = None
    met: bool | None = None


class Results:
    """The lines of one run."""

    def __init__(self) -> None:
        self.lines: list[Result] = []

    def add(self, name: str, values: Sequence[float], unit: str, budget: Budget | None = None) -> None:
        """Add the median of repeated measurements."""
        value = statistics.median(values)
        spread = None
        if len(values) > 1:
            first, _, third = statistics.quantiles(values, n=4, method="inclusive")
            spread = [_rounded(first), _rounded(third)]
        self._add(
            Result(
                name,
                _rounded(value),
                unit,
                spread,
                str(budget) if budget else None,
                budget.is_met(value) if budget else None,
            )
        )

    def add_missing(self, name: str, why: str, budget: Budget | None = None) -> None:
        """Add what could not be measured."""
        self._add(Result(name, None, f"not measured: {why}", budget=str(budget) if budget else None))

    def add_fact(self, name: str, fact: str) -> None:
        """Add a circumstance."""
        self._add(Result(name, fact, ""))

    def write(self) -> None:
        """Write `results.json`."""
        RESULTS.write_text(json.dumps([asdict(line) for line in self.lines], indent=1, ensure_ascii=False) + "\n")

    def _add(self, line: Result) -> None:
        self.lines.append(line)
        print(_row(line), flush=True)


def table() -> str:
    """Return `results.json` as a Markdown table."""
    lines = [Result(**line) for line in json.loads(RESULTS.read_text())]
    return "\n".join([HEADER, *map(_row, lines)])


HEADER = "| what | median | quartiles | budget | met |\n| --- | ---: | ---: | --- | --- |"


def _row(line: Result) -> str:
    value = line.unit if line.value is None else f"{_text(line.value)} {line.unit}".strip()
    spread = " to ".join(map(_text, line.spread)) if line.spread else ""
    met = {None: "", True: "yes", False: "**missed**"}[line.met]
    return f"| {line.name} | {value} | {spread} | {line.budget or ''} | {met} |"


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,g}" if value < 10_000 else f"{value:,.0f}"


def _rounded(value: float) -> float:
    """Return three digits of a small value, whole numbers of a large one."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.3g}")
