"""The warehouse behind PgBouncer: everything in its schema, in every mode, whatever the pooler does to settings."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import AssetChangesError, WarehouseRefused, WarehouseUnavailable
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.lookup.enqueue import Scope, enqueue
from asset_changes.lookup.look_up import look_up
from asset_changes.models import Channel
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.replay import replay
from asset_changes.warehouse.engine import connect, transaction
from asset_changes.warehouse.migrate import migrate
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import URL, Engine, text

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, SCHEMA, credentials_for
from tests.core.doubles import NOON, ScriptedGetty, body_of, change, delivery, execute, rows, value
from tests.core.lookup_doubles import KnowingGetty, captions, lookups
from tests.core.pooler import pgbouncer

CHANNELS = [EDITORIAL_IMAGES, EDITORIAL_FILM, Channel(channel_id=3002, asset_family="Creative", asset_type="Image")]
_numbers = itertools.count()


@pytest.fixture
def bare(postgres: EmbeddedPostgres) -> URL:
    """A database with nothing in it."""
    return postgres.create_database(f"pooled_{next(_numbers)}")


def read_everything(channel: Channel, sandbox: Sandbox, archive: Archive, engine: Engine) -> int:
    """Catch one channel up, as a task of its own would, and return the sets."""
    client = AssetChangesClient(credentials_for(sandbox), retry_seconds=60)
    context = ChannelContext(channel=channel, source=client, archive=archive, warehouse=engine)
    try:
        return catch_up(context, batch_size=5, minutes=1).sets
    finally:
        client.close()


@pytest.mark.parametrize("settings", [{}, {"ignore_startup_parameters": "options"}], ids=["plain", "ignores_options"])
@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_three_channels_catch_up_at_once_behind_a_pooler(
    pool_mode: str, settings: dict[str, str], bare: URL, sandbox: Sandbox, archive: Archive
) -> None:
    for channel in CHANNELS:
        sandbox.append(channel.channel_id, [change(f"{channel.channel_id}{n}", "New", n) for n in range(60)])
    with pgbouncer(bare, pool_mode=pool_mode, default_pool_size=3, **settings) as url:
        engines = [connect(url, schema=SCHEMA) for _ in CHANNELS]
        migrate(engines[0], schema=SCHEMA)
        engines[0].dispose()
        with ThreadPoolExecutor(len(CHANNELS)) as workers:
            sets = list(workers.map(read_everything, CHANNELS, [sandbox] * 3, [archive] * 3, engines))
        for engine in engines:
            engine.dispose()
    straight = connect(bare, schema=SCHEMA)
    assert sets == [12, 12, 12]
    assert value(straight, "SELECT count(*) FROM assets") == 180
    assert rows(straight, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    straight.dispose()


@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_assets_are_looked_up_and_forgotten_behind_a_pooler(
    pool_mode: str, bare: URL, sandbox: Sandbox, archive: Archive
) -> None:
    sandbox.append(3001, [change("a", "New", 0), change("b", "New", 1)])
    with pgbouncer(bare, pool_mode=pool_mode, default_pool_size=2) as url:
        engine = connect(url, schema=SCHEMA)
        migrate(engine, schema=SCHEMA)
        read_everything(CHANNELS[0], sandbox, archive, engine)
        enqueue(engine, Scope(connections={"getty": frozenset((3001,))}))
        look_up(lookups(engine, KnowingGetty(captions("a", "b"))), minutes=1)
        sandbox.append(3001, [change("a", "Delete", 2)])
        read_everything(CHANNELS[0], sandbox, archive, engine)
        engine.dispose()
    straight = connect(bare, schema=SCHEMA)
    assert rows(straight, "SELECT asset_id FROM asset_metadata") == [{"asset_id": "b"}]
    assert value(straight, "SELECT count(*) FROM lookup_queue") == 0
    straight.dispose()


def test_a_task_is_seen_by_its_name_behind_a_pooler(bare: URL) -> None:
    with pgbouncer(bare, pool_mode="transaction") as url:
        engine = connect(url, schema="public", application_name="asset_changes channel=3001")
        seen = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        assert value(engine, seen) == "asset_changes channel=3001"
        engine.dispose()


def test_a_download_is_streamed_behind_a_pooler(bare: URL) -> None:
    with pgbouncer(bare, pool_mode="transaction") as url:
        engine = connect(url, schema="public")
        with transaction(engine) as connection:
            result = connection.execution_options(yield_per=100).execute(text("SELECT generate_series(1, 1000)"))
            assert sum(result.scalars()) == 500500
        engine.dispose()


def test_tables_left_in_a_poolers_session_do_no_harm(bare: URL, archive: Archive) -> None:
    """The pooler resets nothing, and hands a replay the session of somebody who made tables of the same names."""
    older = (
        "UPDATE change_sets SET content_hash = '1:x'; UPDATE asset_changes SET changed_at = changed_at - interval '1 h'"
    )
    with pgbouncer(bare, pool_mode="transaction", default_pool_size=1, server_reset_query="") as url:
        engine = connect(url, schema=SCHEMA)
        migrate(engine, schema=SCHEMA)
        getty = ScriptedGetty([delivery(body_of("1", change("a", "New", 0)))])
        context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=engine)
        catch_up(context, batch_size=5, minutes=1)
        execute(engine, older)
        for name in ("staged", "reread_assets", "asset_states", "asset_changes", "deletions"):
            execute(engine, f"CREATE TEMPORARY TABLE {name} AS SELECT 'x' AS asset_id")
        assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=engine).changed > 0
        assert value(engine, "SELECT changed_at FROM asset_changes") == NOON
        engine.dispose()


def open_both(first: Engine, second: Engine) -> None:
    """Have two transactions open at once."""
    with transaction(first), transaction(second):
        pass


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"max_client_conn": 1}, WarehouseUnavailable, "no more connections allowed"),
        ({"default_pool_size": 1, "query_wait_timeout": 1}, WarehouseUnavailable, "query_wait_timeout"),
        ({"pool_mode": "statement"}, WarehouseRefused, "statement pooling mode.*Set pool_mode"),
        ({"auth_type": "trust"}, WarehouseRefused, "no such user|authentication failed"),
        ({"client_tls_sslmode": "disable", "auth_type": "hba"}, WarehouseRefused, "rejected|authentication failed"),
    ],
    ids=lambda given: "" if not isinstance(given, dict) else next(iter(given)),
)
def test_what_a_pooler_refuses_names_the_pooler(
    settings: dict[str, object], error: type[AssetChangesError], words: str, bare: URL
) -> None:
    with pgbouncer(bare, **{"pool_mode": "session", **settings}) as url:
        first, second = connect(url, schema="public"), connect(url, schema="public")
        with pytest.raises(error, match=f"connection pooler \\(PgBouncer\\).*({words})"):
            open_both(first, second)
        first.dispose()
        second.dispose()


def test_a_pooler_without_its_server_is_a_passing_fault(bare: URL) -> None:
    nobody = bare.set(query={"host": "/nonexistent"})
    with pgbouncer(nobody, server_login_retry=1, query_wait_timeout=3) as url:
        engine = connect(url, schema="public")
        with pytest.raises(WarehouseUnavailable, match=r"connection pooler \(PgBouncer\)"), transaction(engine):
            pass
        engine.dispose()


def test_a_pooler_that_cannot_log_in_to_its_server_is_refused(bare: URL) -> None:
    with pgbouncer(bare.set(username="nobody_at_all"), query_wait_timeout=60) as url:
        engine = connect(url, schema="public")
        with pytest.raises(WarehouseRefused, match="nobody_at_all"), transaction(engine):
            pass
        engine.dispose()
