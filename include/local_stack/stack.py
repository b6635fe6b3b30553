"""The whole stack: what it starts, in which order, and that all of it ends."""

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import URL

from local_stack.airflow_api import CHANNELS_VARIABLE, AirflowApi
from local_stack.airflow_settings import airflow_environment, fixed_settings, password_file
from local_stack.commands import AIRFLOW, write_commands
from local_stack.connections import GETTY, WAREHOUSE, Connection, postgres_connection, sandbox_connection
from local_stack.errors import StackError
from local_stack.example_files import name_example_files, write_example_files
from local_stack.example_list import name_example_list, write_example_list
from local_stack.failures import Failures
from local_stack.options import Options
from local_stack.postgres import EmbeddedPostgres
from local_stack.preflight import read_settings, run_preflight_checks
from local_stack.progress import Sandbox, Warehouse
from local_stack.screen import Screen
from local_stack.services import Services, marked_processes, stop_left_behind, wait_until
from local_stack.state import Secrets, StateDir, write_private


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack that is up."""

    started_at: datetime
    options: Options
    state: StateDir
    services: Services
    airflow: AirflowApi
    warehouse: Warehouse
    sandbox: Sandbox | None
    confirms: bool
    looks_up: bool
    imports_example: bool
    has_example_files: bool
    secrets: Secrets
    failures: Failures
    switched_on: set[str] = field(default_factory=set)
    """The DAGs that this start has unpaused."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.options.port}"


@contextmanager
def running_stack(options: Options, screen: Screen) -> Iterator[Stack]:
    """A stack that runs until the block ends, and leaves no process behind."""
    state = StateDir(options.state_dir)
    if not marked_processes(state.path):
        refuse_taken_port(options.port)  # before anything is touched
    state.take()
    with ExitStack() as ending:
        ending.callback(state.give_back)
        if count := stop_left_behind(state.path):
            screen.say(f"Stopped {count} processes that a killed stack had left behind in {state.path}.")
            refuse_taken_port(options.port)
        run_preflight_checks(os.environ | _our_archive(state, os.environ), screen)
        try:
            yield _start(options, state, screen, ending)
        finally:
            # A second Ctrl-C from here on would leave processes behind.
            for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(which, signal.SIG_IGN)
            screen.say("Stopping; running tasks finish their current change set ...")


def _start(options: Options, state: StateDir, screen: Screen, ending: ExitStack) -> Stack:
    """Start everything, and register in `ending` how to stop it."""
    started_at = datetime.now(UTC)
    postgres = _start_postgres(state, screen, ending)
    secrets = state.secrets()
    write_private(password_file(state), f'{{"admin": "{secrets.admin_password}"}}\n')

    environment = airflow_environment(
        state, fixed_settings(options, state, secrets, postgres.create_database("airflow"))
    )
    sandbox = _connect_getty(environment)
    _decide_confirmation(options, environment, screen)
    looks_up = decide_lookups(environment)
    imports_example = sandbox is not None and name_example_list(state.example_list, environment)
    has_example_files = imports_example and name_example_files(state.example_files, environment)
    warehouse_url = _connect_warehouse(environment, postgres)
    environment |= _our_archive(state, environment)
    settings = read_settings(environment)

    write_commands(state, environment, postgres=postgres, warehouse=warehouse_url, sandbox=sandbox)
    services = Services(state_dir=state.path, logs=state.logs, environment=environment)
    ending.callback(services.stop)
    airflow = AirflowApi(f"http://127.0.0.1:{options.port}", password=secrets.admin_password)
    warehouse = Warehouse(warehouse_url, schema=settings.schema, since=started_at)
    ending.callback(warehouse.close)
    ending.callback(airflow.close)
    if sandbox is not None:
        _start_sandbox(sandbox, options, state, services, screen)
        if imports_example:
            write_example_list(state.example_list, sandbox)
        if has_example_files:
            write_example_files(state.example_files, state.example_list)
    _start_airflow(airflow, services, screen)
    return Stack(
        started_at=started_at,
        options=options,
        state=state,
        services=services,
        airflow=airflow,
        warehouse=warehouse,
        sandbox=sandbox,
        confirms=settings.confirm,
        looks_up=looks_up and settings.metadata,
        imports_example=imports_example,
        has_example_files=has_example_files,
        secrets=secrets,
        failures=Failures(airflow, logs=state.airflow_home / "logs", since=started_at),
    )


def _start_postgres(state: StateDir, screen: Screen, ending: ExitStack) -> EmbeddedPostgres:
    """Start the embedded server; what fails later because of it is attributed to it."""
    screen.say(f"Starting PostgreSQL (data in {state.path}) ...")
    postgres = EmbeddedPostgres(state.postgres)
    if not postgres.home.is_relative_to(state.path):
        screen.say(f"PostgreSQL's account cannot get into {state.path}: its data is in {postgres.home}.")
    ending.callback(postgres.stop)
    postgres.start()
    ending.enter_context(attribute_to_postgres(postgres))
    return postgres


@contextmanager
def attribute_to_postgres(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Name PostgreSQL as the cause where it failed and other services failed with it."""
    try:
        yield
    except StackError as error:
        if failure := postgres.failure_since_start():
            noticed_by = str(error).partition(". ")[0]
            raise StackError(
                f"{failure} Noticed by: {noticed_by}.\nStart again: it continues where it stopped."
            ) from error
        raise


def _start_sandbox(sandbox: Sandbox, options: Options, state: StateDir, services: Services, screen: Screen) -> None:
    screen.say(f"Starting the sandbox, a local Getty, at {sandbox.address} ...")
    port = sandbox.address.rpartition(":")[2]
    command = [sys.executable, "-m", "getty_sandbox", "serve", "--port", port]
    services.start("sandbox", [*command, "--state-dir", str(state.sandbox), *options.sandbox_options])
    wait_until(sandbox.is_up, seconds=60, services=services, otherwise="The sandbox did not answer in 60 s.")


def _start_airflow(airflow: AirflowApi, services: Services, screen: Screen) -> None:
    """Start Airflow; the DAGs are read once the Variable that they need is there."""
    screen.say("Preparing Airflow's database ...")
    services.run("airflow-db-migrate", [*AIRFLOW, "db", "migrate"])
    screen.say("Starting Airflow ...")
    services.start("api-server", [*AIRFLOW, "api-server"])
    # The log servers would listen on every interface; logs are read from the common folder instead.
    services.start("scheduler", [*AIRFLOW, "scheduler", "--skip-serve-logs"])
    wait_until(airflow.is_up, seconds=120, services=services, otherwise="Airflow did not answer in 2 minutes.")
    airflow.seed_variable(CHANNELS_VARIABLE, "[]", "The channels that discovery has found; it writes this.")
    services.start("dag-processor", [*AIRFLOW, "dag-processor"])


def start_triggerer(stack: Stack) -> None:
    """Start Airflow's fourth service. No DAG of ours needs it: the others start first."""
    stack.services.start("triggerer", [*AIRFLOW, "triggerer", "--skip-serve-logs"])


def _connect_getty(environment: dict[str, str]) -> Sandbox | None:
    """The sandbox that will be started, or None where a connection to Getty is given."""
    if environment.get(GETTY):
        return None
    address = f"http://127.0.0.1:{free_port()}"
    environment[GETTY] = sandbox_connection(address)
    return Sandbox(address)


def _our_archive(state: StateDir, environment: Mapping[str, str]) -> dict[str, str]:
    """The archive within the state folder, unless there is another."""
    name = "ASSET_CHANGES_ARCHIVE_URI"
    return {name: environment.get(name) or f"file://{state.archive}"}


def _connect_warehouse(environment: dict[str, str], postgres: EmbeddedPostgres) -> URL:
    """The warehouse's URL: the given connection's, or a database of the embedded server."""
    if environment.get(WAREHOUSE):
        return Connection.read(WAREHOUSE, environment[WAREHOUSE]).warehouse_url()
    url = postgres.create_database("warehouse")
    environment[WAREHOUSE] = postgres_connection(url)
    return url


def _decide_confirmation(options: Options, environment: dict[str, str], screen: Screen) -> None:
    """Confirm nothing of a real account without CONFIRM=1: a try-out must not consume a company's notifications."""
    if not Connection.read(GETTY, environment[GETTY]).is_loopback() and not options.confirm:
        environment["ASSET_CHANGES_CONFIRM"] = "off"
        screen.say(
            "Looking without consuming: one change set per channel is loaded and nothing is confirmed. "
            "To consume for good: make run CONFIRM=1"
        )


def decide_lookups(environment: dict[str, str]) -> bool:
    """Look assets up where Getty is on this machine, and faster than an agreement may allow; else they stay paused."""
    if not Connection.read(GETTY, environment[GETTY]).is_loopback():
        return False
    environment.setdefault("ASSET_CHANGES_LOOKUPS_PER_SECOND", "50")
    return True


def refuse_taken_port(port: int) -> None:
    """Raise if something listens on the UI's port already."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise StackError(f"Port {port} is reserved for root: choose another, for example PORT=8090.") from error
        except OSError as error:
            raise StackError(
                f"Port {port} is taken by another program: stop it, or choose another, for example PORT=8090."
            ) from error


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
