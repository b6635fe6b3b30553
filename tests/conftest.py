"""What all tests share: one real Postgres per session, one empty warehouse per test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.models import Channel
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse.engine import connect
from asset_changes.warehouse.migrate import migrate
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, Engine, text
from upath import UPath

SCHEMA = "getty_images"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A real server; without fsync: no test sees the difference."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    with server:
        yield server


@pytest.fixture(scope="session")
def _template(postgres: EmbeddedPostgres) -> str:
    postgres.create_database("template_warehouse")
    engine = connect(postgres.url("template_warehouse"), schema=SCHEMA)
    migrate(engine, schema=SCHEMA)
    engine.dispose()
    return "template_warehouse"


@pytest.fixture
def warehouse_url(postgres: EmbeddedPostgres, _template: str) -> URL:
    """An empty, migrated warehouse of the test's own."""
    name = f"warehouse_{next(_numbers)}"
    admin = connect(postgres.url("postgres"), schema="public").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {_template} STRATEGY file_copy"))
    admin.dispose()
    return postgres.url(name)


@pytest.fixture
def warehouse(warehouse_url: URL) -> Iterator[Engine]:
    """An engine on the test's own warehouse."""
    engine = connect(warehouse_url, schema=SCHEMA)
    yield engine
    engine.dispose()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive of the test's own."""
    return Archive(UPath(f"file://{tmp_path}/archive"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A local Getty with four channels and no changes."""
    with Sandbox(changes_per_channel=0) as sandbox:
        yield sandbox


def credentials_for(sandbox: Sandbox, **changes: object) -> Credentials:
    """Return credentials that the sandbox accepts."""
    given = {
        "api_key": sandbox.client_id,
        "secret": sandbox.client_secret,
        "api_url": sandbox.url,
        "token_url": sandbox.token_url,
        "timeout_seconds": 60.0,
    }
    return Credentials(**(given | changes))  # type: ignore[arg-type]


EDITORIAL_IMAGES = Channel(channel_id=3001, asset_family="Editorial", asset_type="Image")
EDITORIAL_FILM = Channel(channel_id=3003, asset_family="Editorial", asset_type="Film")


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[AssetChangesClient]:
    """A client of the sandbox."""
    client = AssetChangesClient(credentials_for(sandbox))
    yield client
    client.close()


@pytest.fixture
def context(client: AssetChangesClient, archive: Archive, warehouse: Engine) -> ChannelContext:
    """What the steps of channel 3001 work with."""
    return ChannelContext(channel=EDITORIAL_IMAGES, source=client, archive=archive, warehouse=warehouse)
