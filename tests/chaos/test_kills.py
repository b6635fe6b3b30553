"""A small share of `make chaos`: every required kind of kill hits a worker, and the tables are right."""

from pathlib import Path

from tests.chaos.scenario import run_scenarios
from tests.chaos.workers import Tally


def test_workers_killed_anywhere_leave_the_same_tables(tmp_path: Path) -> None:
    tally = Tally()
    comparison = run_scenarios(tally, kills=30, seed=1, folder=tmp_path, changes_per_channel=800)
    assert (tally.failures, tally.missing) == ([], [])
    assert tally.kills >= 30
    assert comparison.redelivered > 0
    assert comparison.is_clean, comparison.examples
