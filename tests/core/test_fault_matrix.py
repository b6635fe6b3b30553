"""Every fault of the wire, alone and mixed: what comes of it, and that the tables are right at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.catch_up import catch_up
from asset_changes.client import AssetChangesClient
from asset_changes.errors import ApiUnavailable, AssetChangesError, CredentialsRefused, RateLimited, UnexpectedRedirect
from asset_changes.model import Channel
from asset_changes.steps import Steps
from getty_sandbox.faults import CHANNELS, DELETE, MODES, PUT, TOKEN
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine

from tests.conftest import credentials_for
from tests.core.doubles import live, rows, states, told, value

# What a caller sees where the fault goes on for as long as it tries; None: it never notices.
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
# Lost, yet there was nothing to lose: a connection that is cut tells the same of every operation.
SINGLE = [(mode, operation) for mode, (operations, _) in MODES.items() for operation in operations]


def test_every_fault_mode_of_the_sandbox_has_a_named_outcome() -> None:
    assert set(OUTCOMES) == set(MODES)


@pytest.fixture
def feed() -> Iterator[Sandbox]:
    """A Getty with three changes, two sets at a size of two."""
    with Sandbox(changes_per_channel=0, slow_body_seconds=0.05) as sandbox:
        sandbox.append(3001, [told("1", "New", 0), told("2", "New", 1), told("1", "Delete", 2)])
        yield sandbox


def steps_of(sandbox: Sandbox, archive: Archive, warehouse: Engine, *, retry_seconds: float) -> Steps:
    client = AssetChangesClient(credentials_for(sandbox), retry_seconds=retry_seconds)
    [channel, *_] = [each for each in sandbox.options.channels if each.channel_id == 3001]
    return Steps(
        channel=Channel(
            channel_id=channel.channel_id, asset_family=channel.asset_family, asset_type=channel.asset_type
        ),
        source=client,
        archive=archive,
        warehouse=warehouse,
    )


def in_step(warehouse: Engine, sandbox: Sandbox) -> bool:
    """Say whether the tables are what the truth says of the confirmed sets."""
    truth = sandbox.truth()
    confirmed = rows(warehouse, "SELECT change_set_id FROM change_sets WHERE confirmed_at IS NOT NULL")
    return (
        [row["asset_id"] for row in states(warehouse)] == [row["asset_id"] for row in truth["asset_states"]]
        and live(warehouse) == [row["asset_id"] for row in truth["assets"]]
        and sorted(row["change_set_id"] for row in confirmed) == sorted(sandbox.confirmed_ids(3001))
    )


@pytest.mark.parametrize(("mode", "operation"), SINGLE)
def test_a_fault_that_happens_once_is_not_noticed(
    mode: str, operation: str, feed: Sandbox, archive: Archive, warehouse: Engine
) -> None:
    feed.fail_next(mode, operation=operation)
    steps = steps_of(feed, archive, warehouse, retry_seconds=5)
    if operation == CHANNELS:
        assert isinstance(steps.source, AssetChangesClient)
        assert len(steps.source.get_channels()) == 4
    done = catch_up(steps, batch_size=2, minutes=1)
    assert done.is_caught_up
    assert done.sets == 2
    assert mode in {request.fault for request in feed.requests}
    assert in_step(warehouse, feed)
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 3


@pytest.mark.parametrize(("mode", "operation"), [each for each in SINGLE if each[1] in (PUT, DELETE, TOKEN)])
def test_a_fault_that_goes_on_has_a_named_outcome_and_loses_nothing(
    mode: str, operation: str, feed: Sandbox, archive: Archive, warehouse: Engine
) -> None:
    feed.fail_next(mode, operation=operation, times=2)
    steps = steps_of(feed, archive, warehouse, retry_seconds=0)
    outcome = OUTCOMES[mode]
    if outcome is None and mode != "lost_delete_response":
        catch_up(steps, batch_size=2, minutes=1)
    else:
        with pytest.raises(outcome or ApiUnavailable):
            catch_up(steps, batch_size=2, minutes=1)
        # What is loaded is right already, and nothing is confirmed that is not loaded.
        assert value(warehouse, "SELECT count(*) FROM change_sets WHERE confirmed_at IS NOT NULL") == 0
    while True:
        try:
            if catch_up(steps_of(feed, archive, warehouse, retry_seconds=5), batch_size=2, minutes=1).is_caught_up:
                break
        except AssetChangesError:
            continue
    assert in_step(warehouse, feed)
    assert value(warehouse, "SELECT count(*) FROM asset_changes") == 3


def test_a_redirect_that_never_ends_is_terminal(feed: Sandbox, archive: Archive, warehouse: Engine) -> None:
    feed.fail_next("redirect", operation=PUT, location="http://127.0.0.1:9/", times=1)
    with pytest.raises(UnexpectedRedirect):
        catch_up(steps_of(feed, archive, warehouse, retry_seconds=5), batch_size=2, minutes=1)


@pytest.mark.parametrize("identical", [True, False], ids=["same redeliveries", "longer redeliveries"])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_mixed_faults_at_any_rate_end_in_the_truth(
    rate: float, identical: bool, archive: Archive, warehouse: Engine, tmp_path: Path
) -> None:
    options = {"fault_rate": rate, "slow_body_seconds": 0.01, "retry_after_seconds": 0, "seed": 5}
    with Sandbox(changes_per_channel=300, identical_redelivery=identical, **options) as sandbox:
        failures = 0
        is_caught_up = False
        while not is_caught_up:
            assert failures < 200, "it never came to an end"
            try:  # a short limit, so that faults end tasks too, and a new process takes up the work
                steps = steps_of(sandbox, archive, warehouse, retry_seconds=0.2)
                is_caught_up = catch_up(steps, batch_size=30, minutes=1).is_caught_up
            except AssetChangesError:
                failures += 1
        assert in_step(warehouse, sandbox)
        assert sandbox.outstanding(3001) is None
        told_counts = {row["change_set_id"]: row["change_count"] for row in sandbox.truth()["change_sets"]}
    held = rows(warehouse, "SELECT change_set_id, change_count FROM change_sets")
    assert {row["change_set_id"]: row["change_count"] for row in held} == told_counts
    assert sum(told_counts.values()) == 300
    logged = value(warehouse, "SELECT count(*) FROM asset_changes") + value(
        warehouse, "SELECT count(*) FROM rejected_changes"
    )
    assert logged == 300
