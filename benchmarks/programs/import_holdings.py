"""Import of a list of held assets."""

from datetime import UTC, datetime
from typing import Any

from asset_changes.removal.holdings import HoldingsList
from asset_changes.removal.import_list import import_list
from asset_changes.warehouse.engine import connect
from upath import UPath

from benchmarks.programs.rounds import DoSets, serve


def setup(settings: dict[str, Any]) -> DoSets:
    """Return the import; what it is given is the number of lists, which is one."""
    engine = connect(settings["warehouse"], schema="getty_images")

    def run(_lists: int) -> int:
        path = UPath(settings["list"])
        return import_list(engine, lambda: HoldingsList(path), source="dam", now=datetime.now(UTC)).row_count

    return run


if __name__ == "__main__":
    serve(setup)
