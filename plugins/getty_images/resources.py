"""The one place where Airflow's connections, paths and Variables become what the core works with."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from airflow.sdk import BaseHook, ObjectStoragePath, Variable
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError, ErrorType
from asset_changes import channel_registry
from asset_changes.archive import Archive
from asset_changes.errors import ConfigurationError
from asset_changes.settings import Settings
from asset_changes.warehouse.connection_url import connection_url
from asset_changes.warehouse.engine import APPLICATION_NAME, connect, transaction
from asset_changes.warehouse.migrate import migrate as migrate_schema
from asset_changes.warehouse.rights import check_rights
from sqlalchemy import URL, Engine
from upath import UPath

from getty_images.status import PREFIX

WAREHOUSE_CONN_ID = "warehouse_default"
MIGRATION_CONN_ID = "warehouse_migration"
"""Optional: who makes and changes the tables, where the user that loads must not."""
_FOLDERS = ("file:", "local:")


def migrate() -> None:
    """Bring the warehouse's schema to the version of this code.

    Connection `warehouse_migration` does it, where there is one: the user of `warehouse_default` then needs to own
    nothing, and gets the rights that loading needs.
    """
    settings = Settings.from_environment()
    if not _is_defined(MIGRATION_CONN_ID):
        with warehouse_of(settings) as engine:
            migrate_schema(engine, schema=settings.schema)
        return
    loading_role = BaseHook.get_connection(WAREHOUSE_CONN_ID).login
    with warehouse_of(settings, conn_id=MIGRATION_CONN_ID) as engine:
        migrate_schema(engine, schema=settings.schema, loading_role=loading_role)
    with warehouse_of(settings) as engine, transaction(engine) as connection:
        check_rights(connection, schema=settings.schema)


def _is_defined(conn_id: str) -> bool:
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return False
    return True


def archive_of(settings: Settings) -> Archive:
    """Return the archive that the settings name; a folder that other workers would not find is refused."""
    executors = str(conf.get("core", "executor"))  # `CeleryExecutor`, `team=alias:module.Executor;...`
    names = {re.split(r"[=:.]", each)[-1].strip() for each in re.split(r"[,;]", executors)}
    may_be_remote = not names <= {"LocalExecutor", ""}
    if settings.archive_uri.startswith(_FOLDERS) and not settings.archive_is_shared and may_be_remote:
        raise ConfigurationError(
            f"The archive {settings.archive_uri} is a folder of one machine, but [core] executor = {executors} may run "
            "the next task on another. Set ASSET_CHANGES_ARCHIVE_URI to an object store such as s3://bucket/prefix; "
            "or, if every machine sees the same folder there, set ASSET_CHANGES_ARCHIVE_IS_SHARED=on."
        )
    return Archive(cast(UPath, ObjectStoragePath(settings.archive_uri)))


@contextmanager
def warehouse_of(
    settings: Settings, *, application_name: str = APPLICATION_NAME, conn_id: str = WAREHOUSE_CONN_ID
) -> Iterator[Engine]:
    """Give an engine on the warehouse that the connection names; `application_name` is seen in pg_stat_activity."""
    engine = connect(warehouse_url(conn_id), schema=settings.schema, application_name=application_name)
    try:
        yield engine
    finally:
        engine.dispose()


def warehouse_url(conn_id: str) -> URL:
    """Return the URL of a warehouse's connection; an extra that cannot be used is a ConfigurationError."""
    connection = BaseHook.get_connection(conn_id)
    return connection_url(
        host=connection.host,
        port=connection.port,
        login=connection.login,
        password=connection.password,
        database=connection.schema,
        extra=connection.extra_dejson,
        conn_id=conn_id,
    )


def channel_variable() -> str | None:
    """Return the list of channels as it is, or None where discovery has not written it yet."""
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


def status_page() -> str | None:
    """Return the address of the status page, None where Airflow does not know its own address."""
    root = conf.get("api", "base_url", fallback="")
    return f"{root.rstrip('/')}{PREFIX}" if root else None
