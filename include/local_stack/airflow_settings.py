"""How Airflow is set up for one machine and one person, each choice with its reason."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL

from local_stack.options import Options
from local_stack.state import Secrets, StateDir

PROJECT = Path(__file__).resolve().parents[2]


class Setting(NamedTuple):
    """One option of Airflow's configuration."""

    section: str
    key: str
    value: str
    why: str

    @property
    def variable(self) -> str:
        return f"AIRFLOW__{self.section.upper()}__{self.key.upper()}"


# Preferences: a value that is in the environment already wins over them.
PREFERENCES = (
    Setting("core", "dags_folder", str(PROJECT / "dags"), "the DAGs of this checkout, as they are"),
    Setting("core", "plugins_folder", str(PROJECT / "plugins"), "the plugins of this checkout"),
    Setting("core", "executor", "LocalExecutor", "tasks are forks of the scheduler: nothing else to run"),
    Setting("core", "parallelism", "8", "two tasks for each of four channels; 32 idle workers eat memory"),
    Setting("core", "load_examples", "False", "the home page shows this project alone"),
    Setting("core", "dags_are_paused_at_creation", "True", "no run before discovery has made the tables"),
    Setting("core", "test_connection", "Enabled", "the connection form's Test button works"),
    Setting("core", "hostname_callable", "platform.node", "no name look-up per task: slow on some laptops"),
    Setting("core", "min_serialized_dag_update_interval", "5", "what discovery changed shows at once"),
    Setting("scheduler", "scheduler_idle_sleep_time", "0.1", "the next task starts 0.1 s on, not 1 s"),
    Setting("scheduler", "orphaned_tasks_check_interval", "15", "after a crash, lost tasks return in seconds"),
    Setting("scheduler", "scheduler_health_check_threshold", "15", "the same: a dead scheduler shows sooner"),
    Setting("scheduler", "task_instance_heartbeat_timeout", "60", "a killed task is seen in 1 minute, not 5"),
    Setting("dag_processor", "min_file_process_interval", "15", "an edit shows soon, parsing stays cheap"),
    Setting("dag_processor", "refresh_interval", "30", "a new file in dags/ shows in half a minute"),
    Setting("dag_processor", "bundle_refresh_check_interval", "1", "a touched DAG file is read within 1 s"),
    Setting("dag_processor", "parsing_processes", "1", "leave the second core to the tasks"),
    Setting("api", "workers", "1", "it serves one person and eight tasks; a second costs 300 MB"),
    Setting("api", "instance_name", "Getty Asset Changes", "shows which Airflow this tab is"),
    Setting("workers", "execution_api_timeout", "30", "a busy two-core machine may need more than 5 s"),
)


def fixed_settings(options: Options, state: StateDir, secrets: Secrets, metadata: URL) -> tuple[Setting, ...]:
    """What connects the services to each other: never taken from the environment, or two stacks would mix."""
    address = f"http://127.0.0.1:{options.port}"
    database = metadata.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    asynchronous = metadata.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    return (
        Setting("database", "sql_alchemy_conn", database, "the embedded PostgreSQL: SQLite has no backfill"),
        Setting("database", "sql_alchemy_conn_async", asynchronous, "a driver that is installed"),
        Setting("core", "fernet_key", secrets.fernet_key, "connections are stored encrypted"),
        Setting("core", "execution_api_server_url", f"{address}/execution/", "tasks find this stack's server"),
        Setting("core", "simple_auth_manager_users", "admin:admin", "the one user"),
        Setting("core", "simple_auth_manager_all_admins", str(not options.login), "no login unless LOGIN=1"),
        Setting("core", "simple_auth_manager_passwords_file", str(password_file(state)), "the password we made"),
        Setting("api", "host", "127.0.0.1", "nobody else on the network sees it"),
        Setting("api", "port", str(options.port), "PORT"),
        Setting("api", "base_url", address, "links lead here"),
        Setting("api", "secret_key", secrets.session_key, "the same in all services"),
        Setting("api_auth", "jwt_secret", secrets.jwt_secret, "unset, each service invents its own"),
        Setting("api_auth", "jwt_issuer", "local-stack", "the same in all services"),
        Setting("logging", "base_log_folder", str(state.airflow_home / "logs"), "server and tasks share it"),
    )


def password_file(state: StateDir) -> Path:
    """Where Airflow's simple auth manager looks for the passwords."""
    return state.airflow_home / "passwords.json"


def airflow_environment(
    state: StateDir, settings: tuple[Setting, ...], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment of all services: the caller's own, our preferences below it, the fixed settings above it."""
    chosen = {setting.variable: setting.value for setting in PREFERENCES}
    fixed = {setting.variable: setting.value for setting in settings}
    return {
        **chosen,
        **environ,
        **fixed,
        "AIRFLOW_HOME": str(state.airflow_home),
        "AIRFLOW_CONFIG": str(state.airflow_home / "airflow.cfg"),
        # Behind the caller's own: whoever has an airflow_local_settings.py of theirs keeps it.
        "PYTHONPATH": os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), str(PROJECT / "config")))),
        # Calls to this machine must not go through a company's proxy.
        **{name: _without_proxy(environ.get(name, "")) for name in ("NO_PROXY", "no_proxy")},
        "PYTHONUNBUFFERED": "1",
    }


def _without_proxy(inherited: str) -> str:
    return ",".join(part for part in (inherited, "127.0.0.1", "localhost") if part)
