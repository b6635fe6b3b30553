"""Every fault of the wire, alone and mixed: what comes of it, and that the tables are right at the end."""

import os
import pwd
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import (
    ApiUnavailable,
    ArchiveUnavailable,
    AssetChangesError,
    CredentialsRefused,
    NotLoaded,
    RateLimited,
    UnexpectedRedirect,
    WarehouseUnavailable,
)
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.models import Channel
from asset_changes.pipeline.catch_up import CaughtUp, catch_up
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.warehouse.engine import connect, transaction
from asset_changes.warehouse.migrate import migrate
from getty_sandbox.faults import CHANNELS, DELETE, LOOKUP, MODES, PUT, TOKEN
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import Engine
from upath import UPath

from tests.chaos.comparison import compare
from tests.chaos.fault_points import FaultInjector, inject_into
from tests.chaos.workers import crash
from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, SCHEMA, credentials_for
from tests.core.doubles import change, value

# What a caller sees where the fault lasts for as long as it tries; None: it never notices.
OUTCOMES: dict[str, type[AssetChangesError] | None] = {
    "lost_put_response": ApiUnavailable,
    "lost_delete_response": None,  # the second try is answered 404: the first had confirmed the set
    "connection_cut": ApiUnavailable,
    "500": ApiUnavailable,
    "502": ApiUnavailable,
    "503": ApiUnavailable,
    "429": RateLimited,
    "429_retry_after": RateLimited,
    "403_throttle": RateLimited,
    "token_revoked": CredentialsRefused,
    "half_json": ApiUnavailable,
    "cut_body": ApiUnavailable,
    "html_200": ApiUnavailable,
    "html_502": ApiUnavailable,
    "slow_body": None,
    "redirect": None,
}
# Lost, yet there was nothing to lose: a connection that is cut looks the same in every operation.
SINGLE = [
    (mode, operation) for mode, (operations, _) in MODES.items() for operation in operations if operation != LOOKUP
]


def test_every_fault_of_the_feed_has_a_named_outcome() -> None:
    assert set(OUTCOMES) == {mode for mode, _ in SINGLE}


@pytest.fixture
def feed() -> Iterator[Sandbox]:
    """A Getty with three changes, two sets at a size of two."""
    with Sandbox(changes_per_channel=0, slow_body_seconds=0.05) as sandbox:
        sandbox.append(3001, [change("1", "New", 0), change("2", "New", 1), change("1", "Delete", 2)])
        yield sandbox


def context_of(
    sandbox: Sandbox, archive: Archive, warehouse: Engine, *, retry_seconds: float, channel: Channel = EDITORIAL_IMAGES
) -> ChannelContext:
    client = AssetChangesClient(credentials_for(sandbox), retry_seconds=retry_seconds)
    return ChannelContext(channel=channel, source=client, archive=archive, warehouse=warehouse)


def catching_up(context: ChannelContext) -> Callable[[], CaughtUp]:
    return partial(catch_up, context, batch_size=20, minutes=1)


def assert_in_step(warehouse: Engine, sandbox: Sandbox) -> None:
    """Every table is what the truth says of the confirmed sets, and nothing waits for its confirmation."""
    with transaction(warehouse) as connection:
        found = compare(connection, sandbox.truth())
    assert found.is_clean, found.examples
    assert value(warehouse, "SELECT count(*) FROM change_sets WHERE confirmed_at IS NULL") == 0
    assert [sandbox.outstanding(channel.channel_id) for channel in (EDITORIAL_IMAGES, EDITORIAL_FILM)] == [None, None]


@pytest.mark.parametrize(("mode", "operation"), SINGLE)
def test_a_fault_that_happens_once_costs_nothing(
    mode: str, operation: str, feed: Sandbox, archive: Archive, warehouse: Engine
) -> None:
    feed.fail_next(mode, operation=operation)
    context = context_of(feed, archive, warehouse, retry_seconds=60)
    if operation == CHANNELS:
        assert isinstance(context.source, AssetChangesClient)
        assert len(context.source.get_channels()) == 4
    done = catch_up(context, batch_size=2, minutes=1)
    assert (done.sets, done.is_caught_up) == (2, True)
    assert mode in {request.fault for request in feed.requests}
    assert_in_step(warehouse, feed)
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 3


@pytest.mark.parametrize(("mode", "operation"), [each for each in SINGLE if each[1] in (PUT, DELETE, TOKEN)])
def test_a_lasting_fault_ends_the_run_and_the_next_run_finishes(
    mode: str, operation: str, feed: Sandbox, archive: Archive, warehouse: Engine
) -> None:
    """A fault that lasts ends the run with its name."""
    feed.fail_next(mode, operation=operation, times=2)
    context = context_of(feed, archive, warehouse, retry_seconds=0)
    outcome = OUTCOMES[mode]
    if outcome is None and mode != "lost_delete_response":
        catch_up(context, batch_size=2, minutes=1)
    else:
        with pytest.raises(outcome or ApiUnavailable):
            catch_up(context, batch_size=2, minutes=1)
        # What is loaded is right already, and nothing is confirmed that is not loaded.
        assert value(warehouse, "SELECT count(*) FROM change_sets WHERE confirmed_at IS NOT NULL") == 0
    assert catch_up(context_of(feed, archive, warehouse, retry_seconds=60), batch_size=2, minutes=1).is_caught_up
    assert_in_step(warehouse, feed)
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 3


def test_a_redirect_in_a_circle_is_terminal(feed: Sandbox, archive: Archive, warehouse: Engine) -> None:
    """It is followed three times."""
    circle = f"{feed.url}/v3/asset-changes/change-sets?channel_id=3001&batch_size=2"
    feed.fail_next("redirect", operation=PUT, location=circle, times=9)
    with pytest.raises(UnexpectedRedirect, match="more than 3 redirects"):
        catch_up(context_of(feed, archive, warehouse, retry_seconds=60), batch_size=2, minutes=1)
    assert [request.fault for request in feed.requests if request.method == "PUT"] == ["redirect"] * 4
    assert value(warehouse, "SELECT count(*) FROM change_sets") == 0


def test_a_redirect_to_another_host_is_terminal(feed: Sandbox, archive: Archive, warehouse: Engine) -> None:
    """That host gets no request."""
    with Sandbox(changes_per_channel=0) as other:
        feed.fail_next("redirect", operation=PUT, location=f"{other.url}/v3/asset-changes/change-sets?channel_id=3001")
        with pytest.raises(UnexpectedRedirect, match="another address"):
            catch_up(context_of(feed, archive, warehouse, retry_seconds=60), batch_size=2, minutes=1)
        assert other.requests == []
    assert catch_up(context_of(feed, archive, warehouse, retry_seconds=60), batch_size=2, minutes=1).is_caught_up
    assert_in_step(warehouse, feed)


@pytest.mark.parametrize("identical", [True, False], ids=["same redeliveries", "longer redeliveries"])
@pytest.mark.parametrize(("rate", "seed"), [(0.05, 5), (0.2, 6), (0.2, 7), (0.5, 8)])
def test_mixed_faults_at_any_rate_end_in_the_truth(
    rate: float, seed: int, identical: bool, archive: Archive, warehouse: Engine
) -> None:
    options = {"fault_rate": rate, "slow_body_seconds": 0.01, "retry_after_seconds": 0, "seed": seed}
    with Sandbox(changes_per_channel=240, identical_redelivery=identical, **options) as sandbox:
        behind, failures = [EDITORIAL_IMAGES, EDITORIAL_FILM], 0  # two that carry the same assets
        while behind:
            assert failures < 200, "it never came to an end"
            channel = behind.pop(0)
            try:  # a short limit, so that faults end tasks too, and a new process takes up the work
                context = context_of(sandbox, archive, warehouse, retry_seconds=0.2, channel=channel)
                assert catch_up(context, batch_size=20, minutes=1).is_caught_up
            except AssetChangesError:
                failures += 1
                behind.append(channel)
        assert_in_step(warehouse, sandbox)
        faults = Counter(request.fault for request in sandbox.requests if request.fault)
        handed_out = sum(row["change_count"] for row in sandbox.truth()["change_sets"])
    assert handed_out == 2 * 240
    assert faults.total() > rate * 50  # of at least 50 requests
    assert len(faults) > rate * 16, f"few kinds of faults came about: {faults}"


# The machines of ours.


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may pass, the account without rights too; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def forbidden(folder: Path, mode: int) -> Iterator[None]:
    """Take rights to a folder away; root, who has them all, works as `nobody` meanwhile."""
    before = folder.stat().st_mode
    folder.chmod(mode)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(before)


@pytest.mark.parametrize("way", [fetch, partial(catch_up, minutes=1)], ids=["fetch", "catch_up"])
def test_an_archive_that_may_not_be_written_is_an_error(
    way: Callable[..., object], feed: Sandbox, folder: Path, warehouse: Engine
) -> None:
    """Nothing is loaded or confirmed."""
    context = context_of(feed, Archive(UPath(f"file://{folder}")), warehouse, retry_seconds=60)
    with forbidden(folder, 0o555), pytest.raises(ArchiveUnavailable, match=r"cannot be written.*Permission denied"):
        way(context, batch_size=2)
    assert value(warehouse, "SELECT count(*) FROM change_sets") == 0
    assert feed.delete_count == 0
    assert catch_up(context, batch_size=2, minutes=1).is_caught_up
    assert_in_step(warehouse, feed)


def test_an_archive_that_may_not_be_read_is_an_error(feed: Sandbox, folder: Path, warehouse: Engine) -> None:
    """Nothing is loaded from it."""
    context = context_of(feed, Archive(UPath(f"file://{folder}")), warehouse, retry_seconds=60)
    ref = fetch(context, batch_size=2)
    assert ref is not None
    with forbidden(folder, 0o000), pytest.raises(ArchiveUnavailable, match=r"cannot be read.*Permission denied"):
        load(context, ref)
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 0
    with pytest.raises(NotLoaded):
        confirm(context, ref)
    assert catch_up(context, batch_size=2, minutes=1).is_caught_up
    assert_in_step(warehouse, feed)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that may crash."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("mortal"), durable=False) as server:
        yield server


@pytest.mark.parametrize("way", ["load", "catch_up"])
def test_a_crash_of_postgres_in_mid_load_costs_one_try(way: str, mortal: EmbeddedPostgres, archive: Archive) -> None:
    """It leaves no trace."""
    warehouse, faults = connect(mortal.create_database(way), schema=SCHEMA), FaultInjector(lambda: crash(mortal))
    migrate(warehouse, schema=SCHEMA)
    warehouse.dispose()
    inject_into(warehouse, faults)
    with Sandbox(changes_per_channel=60) as sandbox:
        context = context_of(sandbox, archive, warehouse, retry_seconds=60)
        ref = fetch(context, batch_size=20)
        assert ref is not None
        do = partial(load, context, ref) if way == "load" else catching_up(context)
        faults.arm("before load")  # all of it is written, and not committed
        with pytest.raises(WarehouseUnavailable):
            do()
        mortal.start()
        assert value(warehouse, "SELECT count(*) FROM asset_changes") == 0
        assert sandbox.delete_count == 0
        assert catching_up(context)().is_caught_up
        assert_in_step(warehouse, sandbox)
    warehouse.dispose()
