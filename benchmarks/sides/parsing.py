"""What `dags/channels.py` costs beyond importing Airflow, in a fresh process: milliseconds and Variable reads."""

import json
import runpy
import sys
import time
from pathlib import Path

from airflow import sdk
from airflow.sdk import exceptions  # noqa: F401 - what any DAG file has paid for already

FILE = Path(__file__).resolve().parents[2] / "dags" / "channels.py"


def main() -> None:
    """Parse the file once."""
    for name in ("DAG", "Param", "Variable", "dag", "get_parsing_context", "task"):
        getattr(sdk, name)  # they are imported at their first use
    reads = []
    get = sdk.Variable.get
    sdk.Variable.get = lambda *args, **kwargs: reads.append(args) or get(*args, **kwargs)  # type: ignore[method-assign]
    started = time.perf_counter()
    found = runpy.run_path(str(FILE))
    milliseconds = (time.perf_counter() - started) * 1000
    dags = sum(isinstance(value, sdk.DAG) for value in found.values())
    sys.stdout.write(json.dumps({"milliseconds": milliseconds, "reads": len(reads), "dags": dags}) + "\n")


if __name__ == "__main__":
    main()
