"""Airflow imports this module at its start, in every process (its documented extension point).

It is found by path, as the folder `config` of AIRFLOW_HOME (image) or by PYTHONPATH (`make run`), and is in no wheel:
an Airflow may have a module of this name already, with policies of its own.

The scheduler and Celery's workers fork the processes that run tasks. What they have imported, the
tasks need not: without this, each task spends more than a second on importing the same libraries, and
25 ms on what Airflow itself imports only once it reads a DAG file, above all the decorators.

Every task's log would begin with the warning that Airflow itself uses a class that pathspec deprecates.
"""

import importlib
import sys
import warnings
from contextlib import suppress

FORKING_COMMANDS = (["scheduler"], ["celery", "worker"])
# And all that these import.
IMPORTED_BY_TASKS = (
    "psycopg",
    "asset_changes.pipeline.catch_up",
    "getty_images.tasks.channel",
    "getty_images.tasks.replay",
    "getty_images.defaults",
    "upath.implementations.local",
)
# What Airflow imports once it reads a DAG file: internal names, so one that a release lacks is left out.
IMPORTED_BY_AIRFLOW = (
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.dagbag",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.definitions.connection",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.timeout",
    "airflow.version",
    "jinja2.ext",
)

# Airflow copies the names of this module into its own settings: these stay here.
__all__: list[str] = []


def is_forking(arguments: list[str]) -> bool:
    """Whether a process started with these arguments forks tasks."""
    return any(arguments[: len(command)] == command for command in FORKING_COMMANDS)


warnings.filterwarnings("ignore", message="GitWildMatchPattern", category=DeprecationWarning)
if is_forking(sys.argv[1:]):
    for name in IMPORTED_BY_TASKS:
        importlib.import_module(name)
    for name in IMPORTED_BY_AIRFLOW:
        with suppress(ImportError):
            importlib.import_module(name)
