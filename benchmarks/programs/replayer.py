"""A replay of everything that the archive holds of one channel: a rebuild where the warehouse is empty."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from asset_changes.pipeline.replay import replay

from benchmarks.programs.ours import context_of
from benchmarks.programs.rounds import DoSets, serve


def setup(settings: dict[str, Any]) -> DoSets:
    """Return the replay; the number of sets it is asked for is what it must find."""
    logging.basicConfig(filename=settings["log"], level=logging.INFO)
    context = context_of(settings)

    def run(sets: int) -> int:
        now = datetime.now(UTC)
        done = replay(
            context.channel,
            archive=context.archive,
            warehouse=context.warehouse,
            since=now - timedelta(days=3),
            until=now,
        )
        if done.sets != sets:
            raise RuntimeError(f"{done.sets} sets instead of {sets} were replayed")
        return done.changes

    return run


if __name__ == "__main__":
    serve(setup)
