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
    _stored: set[int] = field(default_factory=set)

    def warehouse_with(self, count: int) -> str:
        """Return the database with so many assets and their log; made the first time, then only read."""
        name = f"stored_{count}"
        if count not in self._stored:
            self.server.make_warehouse(name, stored=count)
            self._stored.add(count)
        return name

    def warehouse_copy(self, count: int, database: str) -> str:
        """Return a database of one's own with so many assets."""
        self.server.copy(self.warehouse_with(count), database)
        return database

    def ours(self, database: str, api: dict[str, Any], *, channel_id: int) -> dict[str, Any]:
        """Return the settings of a program that runs the core."""
        return {
            **api,
            "folder": str(self.folder),
            "channel_id": channel_id,
            "warehouse": self.server.warehouse(database),
            "archive_uri": f"file://{self.folder}/archive/{database}",
            "log": f"{self.folder}/ours.log",
        }
