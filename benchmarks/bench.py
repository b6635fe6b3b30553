"""What all measurements share: one server, one folder, one list of results, and how much is asked for."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.results import Results
from benchmarks.warehouse import Server


@dataclass
class Bench:
    """One run of the benchmarks."""

    server: Server
    folder: Path
    results: Results = field(default_factory=Results)
    is_quick: bool = os.environ.get("BENCH") == "quick"
    _held: set[int] = field(default_factory=set)

    def held(self, count: int) -> str:
        """Return the database that holds so many assets and their log; made the first time, then only read."""
        name = f"held_{count}"
        if count not in self._held:
            self.server.make_warehouse(name, held=count)
            self._held.add(count)
        return name

    def held_copy(self, count: int, database: str) -> str:
        """Return a database of one's own with so many assets."""
        self.server.copy(self.held(count), database)
        return database

    def ours(self, database: str, reach: dict[str, Any], *, channel_id: int) -> dict[str, Any]:
        """Return the settings of a side that runs the core."""
        return {
            **reach,
            "folder": str(self.folder),
            "channel_id": channel_id,
            "warehouse": self.server.warehouse(database),
            "archive_uri": f"file://{self.folder}/archive/{database}",
            "log": f"{self.folder}/ours.log",
        }
