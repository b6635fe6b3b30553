"""`python -m benchmarks profile`: where the time of one change set of a catch-up goes."""

import tempfile
from pathlib import Path

from benchmarks.getty import serving
from benchmarks.measuring import MeasuredProgram
from benchmarks.warehouse import running_server

_STORED_ASSETS = 1_000_000
_SETS = 40


def print_profile() -> None:
    """Print own times by stage, then the functions as cProfile sees them."""
    with tempfile.TemporaryDirectory() as name, running_server(Path(name) / "postgres") as server:
        server.make_warehouse("profiled", stored=_STORED_ASSETS)
        for seed, deep in enumerate((False, True)):
            report = Path(name) / "report.txt"
            with serving(_SETS + 5, stored=_STORED_ASSETS, seed=seed) as api:
                settings = {
                    **api,
                    "folder": name,
                    "channel_id": 3001 + seed,
                    "warehouse": server.warehouse("profiled"),
                    "archive_uri": f"file://{name}/archive",
                    "log": f"{name}/ours.log",
                    "deep": deep,
                    "report": str(report),
                }
                with MeasuredProgram("stages", settings) as program:
                    program.start(_SETS)
                    program.answer()
            print(report.read_text())
