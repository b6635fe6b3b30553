"""What the fork server does besides importing `inside`: nearly all of the time that `dag.test()` takes."""

from importlib import import_module

import getty_images.resources  # noqa: F401
from airflow.sdk.execution_time.supervisor import in_process_api_server

# Three seconds of building routes, before any thread or connection exists: forks inherit them.
getattr(in_process_api_server().app, "_cadwyn_initialize", lambda: None)()

# Airflow's own; importing it runs `file`, which is none of a DAG's doing.
import_module("croniter")
