"""The time that the DAG processor spends on `dags/channels.py`."""

import json
import os
import subprocess
import sys

from benchmarks.bench import Bench
from benchmarks.measuring import PROJECT
from benchmarks.results import Budget

_CHANNELS = [{"channel_id": 3001 + number, "asset_family": "Editorial", "asset_type": "Image"} for number in range(4)]


def measure(bench: Bench) -> None:
    """Parse it with four channels, each time in a fresh process."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(bench.folder / "airflow"),
        "AIRFLOW_VAR_ASSET_CHANGES_CHANNELS": json.dumps(_CHANNELS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    found = []
    for _ in range(4 if bench.is_quick else 10):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.programs.parsing"],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    found = found[1:]  # the first has compiled the bytecode
    assert all(one["dags"] == len(_CHANNELS) for one in found)
    milliseconds = [one["milliseconds"] for one in found]
    bench.results.add("parsing dags/channels.py beyond importing Airflow", milliseconds, "ms", Budget(at_most=150))
    bench.results.add("Variable reads per parse", [one["reads"] for one in found], "", Budget(at_most=1))
