"""The one place where Airflow's connections, paths and Variables become what the core works with."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from airflow.sdk import BaseHook, ObjectStoragePath, Variable
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from asset_changes import channel_registry
from asset_changes.archive import Archive
from asset_changes.errors import ConfigurationError
from asset_changes.settings import Settings
from asset_changes.warehouse.engine import connect
from asset_changes.warehouse.migrate import migrate as migrate_schema
from sqlalchemy import URL, Engine
from upath import UPath

WAREHOUSE_CONN_ID = "warehouse_default"
_FOLDERS = ("file:", "local:")


def migrate() -> None:
    """Bring the warehouse's schema to the version of this code."""
    settings = Settings.from_environment()
    with warehouse_of(settings) as engine:
        migrate_schema(engine, schema=settings.schema)


def archive_of(settings: Settings) -> Archive:
    """Return the archive that the settings name; a folder that other workers would not find is refused."""
    executors = str(conf.get("core", "executor"))
    if settings.archive_uri.startswith(_FOLDERS) and not settings.archive_is_shared and _may_be_remote(executors):
        raise ConfigurationError(
            f"The archive {settings.archive_uri} is a folder of one machine, but [core] executor = {executors} may run "
            "the next task on another. Set ASSET_CHANGES_ARCHIVE_URI to an object store such as s3://bucket/prefix; "
            "or, if every machine sees the same folder there, set ASSET_CHANGES_ARCHIVE_IS_SHARED=on."
        )
    return Archive(cast(UPath, ObjectStoragePath(settings.archive_uri)))


def _may_be_remote(executors: str) -> bool:
    """Whether one of the executors may use other machines: `CeleryExecutor`, `team=alias:module.Executor;...`."""
    names = {re.split(r"[=:.]", each)[-1].strip() for each in re.split(r"[,;]", executors)}
    return not names <= {"LocalExecutor", ""}


@contextmanager
def warehouse_of(settings: Settings) -> Iterator[Engine]:
    """Give an engine on the warehouse that the connection names."""
    connection = BaseHook.get_connection(WAREHOUSE_CONN_ID)
    options = {key: str(value) for key, value in connection.extra_dejson.items() if key.startswith("ssl")}
    url = URL.create(
        "postgresql+psycopg",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
        query=options,
    )
    engine = connect(url, schema=settings.schema)
    try:
        yield engine
    finally:
        engine.dispose()


def channel_variable() -> str | None:
    """Return the list of channels as it stands, or None where discovery has not written it yet."""
    return variable(channel_registry.VARIABLE)


def write_channel_variable(text: str) -> None:
    """Write the list of channels; one that cannot be read back is an error that names what wins over it."""
    name = channel_registry.VARIABLE
    Variable.set(
        name, text, description="Channels of the Asset Changes API; schedule, batch_size and conn_id are yours to set"
    )
    read_back = channel_variable()
    if read_back == text:
        return
    environment = f"AIRFLOW_VAR_{name.upper()}"
    backend = conf.get("workers", "secrets_backend", fallback="") or conf.get("secrets", "backend", fallback="")
    if os.environ.get(environment) == read_back:
        winner = f"the environment variable {environment}"
    elif backend:
        winner = f"the secrets backend {backend}"
    else:
        winner = f"{environment} or a secrets backend of the API server"
    raise ConfigurationError(
        f"The Variable {name} was written, and something else is read: {winner} wins over it. Remove the list there; "
        "or keep it there yourself, as follows, and discovery has nothing to write: "
        f"{json.dumps(json.loads(text))}"
    )


def variable(name: str) -> str | None:
    """Return a Variable, or None where there is none; one that cannot be read is an error, not none."""
    try:
        return str(Variable.get(name))
    except AirflowRuntimeError as error:
        if error.error.error == ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise
