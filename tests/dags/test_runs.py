"""Runs of the real DAGs, as Airflow runs them, against a local Getty and a real warehouse."""

import json
import os
import signal
from datetime import UTC, datetime
from typing import Any

import pytest
from asset_changes.archive import Archive
from getty_sandbox import Sandbox
from sqlalchemy import URL, Engine, text
from upath import UPath

from tests.dags import inside
from tests.dags.installation import GETTY, WAREHOUSE, Installation, getty_connection, warehouse_connection
from tests.waiting import wait_until

DISCOVERY, REPLAY = "asset_changes_discovery", "asset_changes_replay"
CHANNEL = "asset_changes_editorial_image_3001"
ENTRY = {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"}
STEPS = ["fetch", "transform", "load", "confirm", "catch_up"]
ALL_GREEN = dict.fromkeys(STEPS, "success")


@pytest.fixture
def connected(airflow: Installation, sandbox: Sandbox, warehouse_url: URL) -> Installation:
    """Airflow with both connections and one channel in the Variable."""
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse_url)}
    airflow.set_channels(json.dumps([ENTRY]))
    return airflow


def change(asset_id: object, lifecycle: str = "New", minute: int = 0) -> dict[str, Any]:
    """Return a message as Getty spells it."""
    at = f"2026-01-01T00:{minute:02}:00Z"
    return {"id": asset_id, "asset_lifecycle": lifecycle, "asset_type": "Image", "asset_changed_utc_datetime": at}


def rows(warehouse: Engine, query: str) -> list[tuple[Any, ...]]:
    """Return what the warehouse answers."""
    with warehouse.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def live(warehouse: Engine) -> list[str]:
    """Return the ids of the live assets."""
    return [asset_id for (asset_id,) in rows(warehouse, "SELECT asset_id FROM assets ORDER BY asset_id")]


def test_a_new_installation_discovers_loads_and_confirms(
    airflow: Installation, sandbox: Sandbox, postgres: Any, warehouse: Engine
) -> None:
    """In the end it is caught up."""
    with warehouse.begin() as connection:
        connection.execute(text("DROP SCHEMA getty_images CASCADE"))
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse.url)}

    discovery = airflow.test_dag(DISCOVERY)

    assert discovery.states() == {"migrate": "success", "discover": "success"}
    assert len(discovery.lines("Discovered: channels=[3001, 3002, 3003, 3004] retired=[]")) == 1
    assert [each["channel_id"] for each in airflow.channels()] == [3001, 3002, 3003, 3004]
    assert rows(warehouse, "SELECT count(*) FROM channels") == [(4,)]

    sandbox.append(3001, [change("1"), change("2"), change("1", "Delete", minute=1)])
    sandbox.append(3001, [change("3", minute=2)])
    first = airflow.test_dag(CHANNEL, {"batch_size": 3})

    assert first.states() == ALL_GREEN
    assert live(warehouse) == ["2", "3"]
    assert len(sandbox.confirmed_ids(3001)) == 2
    assert rows(warehouse, "SELECT count(*) FROM change_sets WHERE confirmed_at IS NULL") == [(0,)]
    assert (
        first.lines("Loaded change set")[0]
        .split("channel=")[1]
        .startswith("3001 changes=3 new=1 updates=0 deletes=1 superseded=1 rejected=0 lag_seconds=")
    )
    assert all(len(value) < 1024 for value in first.xcoms.values())
    assert "asset_lifecycle" not in "".join(first.xcoms.values())
    assert json.loads(first.xcoms["catch_up"]) == {"sets": 1, "changes": 1, "is_caught_up": True}
    assert not list((airflow.home / "archive" / "prepared").iterdir())

    second = airflow.test_dag(CHANNEL)

    assert second.state == "success"
    assert second.states() == dict.fromkeys(STEPS, "skipped")
    assert len(second.lines("Caught up: channel=3001")) == 1


def test_a_wrong_secret_fails_discovery_at_once(connected: Installation, sandbox: Sandbox) -> None:
    """The error names the connection."""
    wrong = getty_connection(sandbox, password="not-the-secret")

    run = connected.test_dag(DISCOVERY, **{GETTY: wrong})

    assert run.tasks == {"migrate": ("success", 1), "discover": ("failed", 1)}
    assert run.lines("Getty does not accept the credentials of connection 'getty_images_default'")
    assert "not-the-secret" not in run.log
    assert connected.channels() == [ENTRY]
    assert sandbox.put_count == sandbox.delete_count == 0


def test_a_wrong_secret_fails_a_channel_at_once(connected: Installation, sandbox: Sandbox) -> None:
    """Nothing is confirmed."""
    sandbox.append(3001, [change("1")])

    run = connected.test_dag(CHANNEL, **{GETTY: getty_connection(sandbox, password="not-the-secret")})

    assert run.state == "failed"
    assert run.tasks["fetch"] == ("failed", 1)
    assert set(run.states().values()) == {"failed", "upstream_failed"}
    assert run.lines("Correct the API key (login)")
    assert sandbox.put_count == sandbox.delete_count == 0


def test_a_set_of_unknown_structure_is_red_and_archived(connected: Installation, sandbox: Sandbox) -> None:
    """It is not confirmed."""
    sandbox.raw_next(3001, b'{"surprise": [1, 2, 3]}')

    run = connected.test_dag(CHANNEL)

    assert run.tasks["fetch"] == ("failed", 1)
    assert run.lines("UnreadableChangeSet")
    assert sandbox.delete_count == 0
    (kept,) = (connected.home / "archive").glob("channel_id=3001/*/*.unreadable.gz")
    assert run.lines(kept.name)


def test_rejected_changes_leave_the_run_green_with_a_warning(
    connected: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    sandbox.append(3001, [change("1"), change(None), change("2", "Resurrected")])

    run = connected.test_dag(CHANNEL)

    assert run.states() == ALL_GREEN
    (line,) = run.lines("Loaded change set")
    assert "[warning" in line
    assert "changes=3 new=1 updates=0 deletes=0 superseded=0 rejected=2" in line
    assert live(warehouse) == ["1"]
    assert rows(warehouse, "SELECT count(*) FROM rejected_changes") == [(2,)]
    assert len(sandbox.confirmed_ids(3001)) == 1


def test_load_makes_the_rows_again_without_the_prepared_file(
    connected: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    sandbox.append(3001, [change("1"), change("2")])

    ref = connected.run(inside.do_task, CHANNEL, "fetch")
    prepared = connected.run(inside.do_task, CHANNEL, "transform", ref)
    for file in (connected.home / "archive" / "prepared").iterdir():
        file.unlink()
    loaded = connected.run(inside.do_task, CHANNEL, "load", prepared)

    assert loaded["changes"] == 2
    assert live(warehouse) == ["1", "2"]
    assert connected.run(inside.do_task, CHANNEL, "confirm", loaded)["is_confirmed"]


def test_with_confirm_off_the_next_run_gets_the_same_set(
    connected: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    """The set is loaded."""
    connected.environment["ASSET_CHANGES_CONFIRM"] = "off"
    sandbox.append(3001, [change("1"), change("2")])

    looks = [connected.test_dag(CHANNEL, {"batch_size": 1}) for _ in range(2)]

    assert [run.states() for run in looks] == [ALL_GREEN, ALL_GREEN]
    assert looks[0].lines("Not confirmed: ASSET_CHANGES_CONFIRM=off")
    assert looks[1].lines("redelivery=yes")
    assert live(warehouse) == ["1"]
    assert rows(warehouse, "SELECT count(*), max(redelivered_count) FROM change_sets") == [(1, 1)]
    assert sandbox.delete_count == 0


def test_a_sigterm_lets_catch_up_finish_its_set_and_end_green(
    connected: Installation, warehouse_url: URL, warehouse: Engine
) -> None:
    with Sandbox(changes_per_channel=3000, latency_ms=60, nastiness=0) as slow:
        connected.environment[GETTY] = getty_connection(slow)
        job = connected.start(inside.test_dag, CHANNEL, {"batch_size": 20})
        wait_until(lambda: len(slow.confirmed_ids(3001)) >= 4, what="a fourth confirmation", details=lambda: job.log)
        os.kill(job.pid, signal.SIGTERM)
        state, _ = job.result()
        confirmed = slow.confirmed_ids(3001)

    assert state == "success"
    assert "Stopped before the end: channel=3001" in job.log
    loaded = rows(warehouse, "SELECT change_set_id FROM change_sets WHERE confirmed_at IS NOT NULL ORDER BY fetched_at")
    assert [change_set_id for (change_set_id,) in loaded] == confirmed
    assert 4 <= len(confirmed) < 150
    assert rows(warehouse, "SELECT count(*) FROM change_sets WHERE confirmed_at IS NULL") == [(0,)]


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (0, "0 is less than the minimum of 1"),
        (5000, "5000 is greater than the maximum of 2200"),
        ("x", "'x' is not of type 'integer', 'null'"),
    ],
)
def test_airflow_refuses_a_batch_size_out_of_range(
    connected: Installation, sandbox: Sandbox, size: object, reason: str
) -> None:
    """The refusal names the range."""
    refusal = connected.run(inside.refusal_of_conf, CHANNEL, {"batch_size": size})

    assert refusal.startswith("ParamValidationError: Invalid input for param batch_size")
    assert reason in refusal
    assert sandbox.put_count == 0


@pytest.mark.parametrize("size", [0, 5000, "x", True, 1.5])
def test_a_batch_size_that_got_past_airflow_is_refused(connected: Installation, sandbox: Sandbox, size: object) -> None:
    """It is out of range, and refused before any call."""
    refusal = connected.run(inside.failure_of_task, CHANNEL, "fetch", {"batch_size": size})

    assert refusal.startswith("ConfigurationError: The batch size")
    assert "the run's parameter batch_size is refused: give a whole number from 1 to 2200" in refusal
    assert sandbox.requests == []


def test_a_run_takes_the_batch_size_of_its_params(connected: Installation, sandbox: Sandbox) -> None:
    """Without one it takes that of the channel."""
    connected.set_channels(json.dumps([{**ENTRY, "batch_size": 7}]))

    for params in ({"batch_size": None}, {"batch_size": 9}):
        assert "Caught up" in connected.run(inside.failure_of_task, CHANNEL, "fetch", params)

    assert [each.query["batch_size"] for each in sandbox.requests if each.method == "PUT"] == ["7", "9"]


def test_the_tasks_that_load_and_confirm_do_without_pandas(connected: Installation, sandbox: Sandbox) -> None:
    sandbox.append(3001, [change("1")])
    ref = connected.run(inside.do_task, CHANNEL, "fetch")
    prepared = connected.run(inside.do_task, CHANNEL, "transform", ref)

    imported = connected.run_afresh("imports_of_load_and_confirm", CHANNEL, prepared)

    assert imported == []
    assert len(sandbox.confirmed_ids(3001)) == 1


def test_transform_does_without_getty_and_the_warehouse(connected: Installation, sandbox: Sandbox) -> None:
    """Each connection is a call to Airflow's API server, and one more place for a secret."""
    sandbox.append(3001, [change("1")])
    ref = connected.run(inside.do_task, CHANNEL, "fetch")
    connected.environment = {}
    assert connected.run(inside.do_task, CHANNEL, "transform", ref)["counts"]["new"] == 1


def test_a_catch_up_transforms_no_set_that_is_loaded(connected: Installation, sandbox: Sandbox) -> None:
    """A run died before it confirmed; Getty hands the same set out again."""
    sandbox.append(3001, [change("1")])
    ref = connected.run(inside.do_task, CHANNEL, "fetch")
    connected.run(inside.do_task, CHANNEL, "load", connected.run(inside.do_task, CHANNEL, "transform", ref))

    imported = connected.run_afresh("imports_of_catch_up", CHANNEL)

    assert imported == []
    assert len(sandbox.confirmed_ids(3001)) == 1


@pytest.mark.parametrize("channel_ids", [[3001], ["3001"]])
def test_a_replay_takes_its_channels_as_numbers_or_as_lines(connected: Installation, channel_ids: list[object]) -> None:
    """A command gives numbers, the form gives lines."""
    connected.set_channels(json.dumps([ENTRY, ENTRY | {"channel_id": 3002}]))
    span = {"replay_from": "2026-11-01T00:00", "replay_to": "2026-11-02T00:00Z"}

    run = connected.test_dag(REPLAY, span | {"channel_ids": channel_ids})

    assert run.state == "success"
    assert len(run.lines("Nothing to replay: channel=3001")) == 1
    assert run.lines("channel=3002") == []


def archive_of(connected: Installation) -> Archive:
    return Archive(UPath(f"file://{connected.home}/archive"))


def archive_change(connected: Installation, channel_id: int, number: int, *changes: dict[str, Any]) -> None:
    """Archive a set of a channel, fetched in the second of its number."""
    archive = archive_of(connected)
    uri = archive.uri_for(channel_id, str(number), fetched_at=datetime(2026, 1, 1, 1, 0, number, tzinfo=UTC))
    archive.write(uri, json.dumps({"change_set_id": str(number), "changed_assets": changes}).encode())


@pytest.mark.parametrize("variable", ["the others", "unreadable"])
def test_a_rebuild_replays_a_channel_of_the_archive_alone(
    variable: str, connected: Installation, warehouse: Engine
) -> None:
    if variable == "unreadable":
        connected.set_channels("no list")
    archive_change(connected, 3001, 1, change("1"), change("2"))
    archive_change(connected, 3009, 2, change("1", "Delete", minute=1), change("3"))

    run = connected.test_dag(REPLAY, {"only_missing": True})

    assert run.state == "success"
    assert live(warehouse) == ["2", "3"]
    assert len(run.lines("Channel 3009 is in the archive, and nobody knows its family and type.")) == 1
    assert rows(warehouse, "SELECT asset_family, asset_type FROM channels WHERE channel_id = 3009") == [
        ("Unknown", "Unknown")
    ]


def test_a_replay_finds_the_family_and_type_of_its_channel(connected: Installation, warehouse: Engine) -> None:
    archive_change(connected, 3009, 2, change("3"))
    with warehouse.begin() as connection:
        connection.execute(text("INSERT INTO channels VALUES (3009, 'Creative', 'Film')"))
    connected.test_dag(REPLAY, {"only_missing": True})
    assert rows(warehouse, "SELECT asset_family FROM assets WHERE asset_id = '3'") == [("Creative",)]

    with warehouse.begin() as connection:
        connection.execute(text("UPDATE channels SET asset_family = 'Unknown', asset_type = 'Unknown'"))
    connected.set_channels(json.dumps([ENTRY | {"channel_id": 3009, "retired_at": "2026-01-01"}]))
    connected.test_dag(REPLAY, {"only_missing": True})
    assert rows(warehouse, "SELECT asset_family FROM channels WHERE channel_id = 3009") == [("Editorial",)]


def test_a_replay_with_a_damaged_object_loads_the_rest(connected: Installation, warehouse: Engine) -> None:
    """It is red."""
    for number in range(3):
        archive_change(connected, 3001, number, change(str(number)))
    (damaged,) = (connected.home / "archive").glob("channel_id=3001/*/*Z-1.json.gz")
    damaged.write_bytes(b"damaged")

    run = connected.test_dag(REPLAY, {"only_missing": True})

    assert run.state == "failed"
    assert run.tasks["replay"] == ("failed", 1)
    assert run.lines(f"{damaged} is damaged")
    assert live(warehouse) == ["0", "2"]


def test_a_failed_task_keeps_its_error_for_the_status_page(connected: Installation, sandbox: Sandbox) -> None:
    sandbox.retire(3001)
    run = connected.test_dag(CHANNEL)
    assert run.states()["fetch"] == "failed"
    kept = json.loads(run.xcoms["fetch"])
    assert kept["error"] == "UnknownChannel"
    assert "Getty does not know this channel" in kept["says"]


@pytest.mark.parametrize("task_id", ["transform", "load", "confirm"])
def test_after_a_task_marked_success_the_next_says_what_to_do(connected: Installation, task_id: str) -> None:
    with pytest.raises(Exception, match=r"marked as success and has handed nothing on.*Trigger the DAG"):
        connected.run(inside.do_task, CHANNEL, task_id, None)


def test_after_a_confirm_marked_success_the_channel_reads_on(
    connected: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    sandbox.append(3001, [change("1")])
    assert connected.run(inside.do_task, CHANNEL, "catch_up", None)["sets"] == 1
    assert live(warehouse) == ["1"]


@pytest.mark.parametrize(
    ("is_there", "retired_at"),
    [(True, None), (True, "2026-01-01T00:00:00Z"), (False, "2026-01-01T00:00:00Z")],
)
def test_an_ended_account_fails_discovery_while_it_is_read(
    connected: Installation, sandbox: Sandbox, is_there: bool, retired_at: str | None
) -> None:
    """It does so only while a channel of it is read."""
    if is_there:
        connected.environment["AIRFLOW_CONN_ENDED"] = getty_connection(sandbox, password="not-the-secret")
    other = {**ENTRY, "channel_id": 9, "conn_id": "ended"} | ({"retired_at": retired_at} if retired_at else {})
    connected.set_channels(json.dumps([ENTRY, other]))

    discovery = connected.test_dag(DISCOVERY)

    assert discovery.tasks["discover"] == ("success" if retired_at else "failed", 1)
    assert len(discovery.lines("Not asked: ended, of which all channels are retired")) == bool(retired_at)
