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


@pytest.mark.parametrize(("category", "is_reported"), [("DeprecationWarning", False), ("UserWarning", True)])
def test_a_task_log_begins_without_airflows_deprecation(category: str, is_reported: bool) -> None:
    program = [sys.executable, "-W", "default", "-c", WARNING.format(category=category)]
    errors = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, check=True).stderr
    assert ("GitWildMatchPattern" in errors) is is_reported
