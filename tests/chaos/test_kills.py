"""A small share of `make chaos`: all that must befall some worker does, and the tables are right."""

from pathlib import Path

from tests.chaos.crew import Tally
from tests.chaos.story import play_stories


def test_workers_killed_anywhere_leave_the_same_tables(tmp_path: Path) -> None:
    tally = Tally()
    verdict = play_stories(tally, kills=30, seed=1, folder=tmp_path, changes_per_channel=800)
    assert (tally.failures, tally.missing) == ([], [])
    assert tally.kills >= 30
    assert verdict.redelivered > 0
    assert verdict.is_clean, verdict.examples
