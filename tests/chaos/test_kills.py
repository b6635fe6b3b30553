"""A small share of `make chaos`: some twenty workers die, and nothing is lost, doubled or resurrected."""

from pathlib import Path

from tests.chaos.story import play_stories


def test_workers_that_are_killed_anywhere_leave_the_same_tables(tmp_path: Path) -> None:
    tally, verdict = play_stories(kills=20, seed=1, folder=tmp_path, changes_per_channel=600)
    assert tally.failures == []
    assert tally.kills.total() >= 20
    assert verdict.redelivered > 0
    assert verdict.is_clean, verdict.examples
