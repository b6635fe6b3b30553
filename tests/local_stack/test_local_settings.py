"""The imports that tasks inherit from the process that forks them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "config")}
WARNING = (
    "import warnings, airflow_local_settings; warnings.warn('GitWildMatchPattern (...) is deprecated', {category})"
)
READING = """
import os, sys
sys.argv = ["airflow", "scheduler"]
import airflow_local_settings
inherited = set(sys.modules)
from airflow.sdk.execution_time import task_runner
assert not hasattr(task_runner, "SUPERVISOR_COMMS"), "Airflow would take the scheduler for a task"
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk import ObjectStoragePath
bag = BundleDagBag({dags!r} + "/channels.py", safe_mode=False, bundle_path={dags!r}, bundle_name="dags-folder")
ObjectStoragePath("file:///archive")
assert len(bag.dags) == 1, bag.import_errors
print({{name for name in set(sys.modules) - inherited if not name.startswith("unusual_prefix_")}})
"""
PROBE = """
import sys
sys.argv = ["airflow", *{arguments!r}]
import airflow_local_settings
print("pandas" in sys.modules, airflow_local_settings.__all__)
"""


@pytest.mark.parametrize(
    ("arguments", "imports"),
    [
        (["scheduler", "--skip-serve-logs"], True),
        (["celery", "worker"], True),
        (["api-server"], False),
        (["celery", "flower"], False),
        (["dags", "list"], False),
        ([], False),
    ],
)
def test_only_processes_that_fork_tasks_import_what_tasks_need(arguments: list[str], imports: bool) -> None:
    program = [sys.executable, "-c", PROBE.format(arguments=arguments)]
    output = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    assert output == f"{imports} []\n"


def test_a_task_imports_nothing_more_to_read_its_dag(tmp_path: Path) -> None:
    """Each of them would be imported again by every task."""
    channels = '[{"channel_id": 3001, "asset_family": "editorial", "asset_type": "image"}]'
    environment = ENVIRONMENT | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW_VAR_ASSET_CHANGES_CHANNELS": channels}
    program = [sys.executable, "-c", READING.format(dags=str(Path(__file__).parents[2] / "dags"))]
    output = subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "set()"


@pytest.mark.parametrize(("category", "is_reported"), [("DeprecationWarning", False), ("UserWarning", True)])
def test_a_task_log_begins_without_airflows_deprecation(category: str, is_reported: bool) -> None:
    program = [sys.executable, "-W", "default", "-c", WARNING.format(category=category)]
    errors = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, check=True).stderr
    assert ("GitWildMatchPattern" in errors) is is_reported
