"""What `dags/channels.py` costs beyond importing Airflow, in a fresh process: milliseconds and Variable reads."""

import json
import runpy
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow import sdk
from airflow.sdk import exceptions  # noqa: F401 - what any DAG file has paid for already

FILE = Path(__file__).resolve().parents[2] / "dags" / "channels.py"


def import_airflow() -> None:
    """Let Airflow import what it imports late, for any DAG with a cron schedule, a task and a Variable."""
    sdk.Variable.get("asset_changes_channels")
    sdk.get_parsing_context()

    @sdk.dag(schedule="*/5 * * * *", start_date=datetime(2026, 1, 1, tzinfo=UTC), params={"any": sdk.Param(1)})
    def smallest() -> None:
        sdk.task(task_id="empty")(lambda: None)()

    smallest().validate()  # type: ignore[no-untyped-call]


def main() -> None:
    """Parse the file once."""
    import_airflow()
    reads: list[object] = []
    get = sdk.Variable.get

    def counted(*args: Any, **kwargs: Any) -> Any:
        reads.append(args)
        return get(*args, **kwargs)

    sdk.Variable.get = counted  # type: ignore[method-assign]
    started = time.perf_counter()
    found = runpy.run_path(str(FILE))
    milliseconds = (time.perf_counter() - started) * 1000
    dags = sum(isinstance(value, sdk.DAG) for value in found.values())
    sys.stdout.write(json.dumps({"milliseconds": milliseconds, "reads": len(reads), "dags": dags}) + "\n")


if __name__ == "__main__":
    main()
