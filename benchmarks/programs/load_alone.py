"""Our `load` of one set alone: the steps of a run, timed is only the transaction that loads."""

import logging
import time
from typing import Any

from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.transform import transform_archived

from benchmarks.programs.ours import context_of
from benchmarks.programs.rounds import DoSets, Timed, serve


def setup(settings: dict[str, Any]) -> DoSets:
    """Return the loop of fetch, transform, load (timed) and confirm."""
    logging.basicConfig(filename=settings["log"], level=logging.INFO)
    context = context_of(settings)

    def run(sets: int) -> Timed:
        changes, seconds = 0, 0.0
        for _ in range(sets):
            ref = fetch(context, batch_size=2200)
            assert ref is not None
            prepared = transform_archived(context.archive, channel=context.channel, ref=ref)
            started = time.perf_counter()
            row = load(context, ref, prepared)
            seconds += time.perf_counter() - started
            confirm(context, ref)
            changes += row.counts.changes
        return Timed(changes, seconds)

    return run


if __name__ == "__main__":
    serve(setup)
