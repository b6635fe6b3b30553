"""The real DAGs, as Airflow runs them: mail that arrives, assets that consumers wake on, metrics that are sent."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asset_changes.metrics import METRICS
from asset_changes.models import Channel
from asset_changes.monitoring.conditions import CONDITIONS
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import connect, transaction
from asset_changes.warehouse.migrate import migrate
from asset_changes.warehouse.schema import VERSION
from getty_sandbox.sandbox import Sandbox
from local_stack.postgres import EmbeddedPostgres
from sqlalchemy import Engine, text

from tests.dags.installation import (
    GETTY,
    WAREHOUSE,
    Installation,
    JobFailed,
    base_environment,
    getty_connection,
    warehouse_connection,
)
from tests.watch import inside
from tests.watch.collector import Collector
from tests.watch.mail import MailServer, text_of

ENTRY = {"channel_id": 3001, "asset_family": "Editorial", "asset_type": "Image"}
CHANNEL = "asset_changes_editorial_image_3001"
SMTP = json.dumps(
    {
        "notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
        "to": "oncall@example.com",
        "from_email": "airflow@example.com",
        "subject": "{{ alert.subject }}",
        "html_content": "{{ alert.html }}",
    }
)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def installed(airflow: Installation, sandbox: Sandbox, warehouse: Engine) -> Installation:
    """Airflow with both connections and channel 3001."""
    airflow.environment = {GETTY: getty_connection(sandbox), WAREHOUSE: warehouse_connection(warehouse.url)}
    airflow.set_channels(json.dumps([ENTRY]))
    return airflow


@pytest.fixture
def mailing(installed: Installation, mail: MailServer) -> Installation:
    """The same, with mail as the notifier."""
    installed.environment["ASSET_CHANGES_NOTIFIER"] = SMTP
    installed.environment["AIRFLOW_CONN_SMTP_DEFAULT"] = json.dumps(
        {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": mail.port,
            "extra": {"disable_ssl": True, "disable_tls": True, "retry_limit": 1},
        }
    )
    return installed


def watch(airflow: Installation) -> str:
    state, _ = airflow.run(inside.run_dag, "watch.py", "asset_changes_watch")
    return str(state)


def take_note(airflow: Installation, channel_id: int) -> tuple[str, str]:
    """Trigger the watchdog as a person does who knows that a channel is gone; its state and its log."""
    job = airflow.start(inside.note_gone_channel, channel_id)
    return str(job.result()), job.log


def metadata(airflow: Installation, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(airflow.database)) as connection:
        return connection.execute(query).fetchall()


def change(number: int, lifecycle: str = "New") -> dict[str, Any]:
    at = f"2026-01-01T00:{number:02}:00Z"
    return {"id": str(number), "asset_lifecycle": lifecycle, "asset_type": "Image", "asset_changed_utc_datetime": at}


def test_one_mail_when_a_condition_comes_and_one_when_it_goes(
    mailing: Installation, mail: MailServer, context: ChannelContext
) -> None:
    with transaction(context.warehouse) as connection:
        ledger.upsert_channels(connection, [context.channel])
        connection.execute(text("UPDATE channels SET discovered_at = now() - interval '2 hours'"))

    assert [watch(mailing), watch(mailing)] == ["success", "success"]
    (letter,) = mail.letters
    assert letter["Subject"] == "No answer, Channel 3001 (Editorial Image)"
    assert letter["To"] == "oncall@example.com"
    assert "has given no answer for 2 hours" in text_of(letter)
    assert "What to do: Open the channel&#x27;s DAG" in text_of(letter)

    with transaction(context.warehouse) as connection:
        ledger.mark_checked(connection, context.channel, is_caught_up=True, gap=timedelta(hours=1))
    assert [watch(mailing), watch(mailing)] == ["success", "success"]
    assert [each["Subject"] for each in mail.letters[1:]] == ["All clear: No answer, Channel 3001 (Editorial Image)"]


def test_mail_that_was_refused_arrives_with_the_next_watch(
    mailing: Installation, mail: MailServer, context: ChannelContext
) -> None:
    mail.is_away = True
    with transaction(context.warehouse) as connection:
        ledger.retire_channels(connection, [])
        ledger.upsert_channels(connection, [context.channel])
        ledger.retire_channels(connection, [3001])
    job = mailing.start(inside.run_dag, "watch.py", "asset_changes_watch")
    state, _ = job.result()
    assert state == "failed"
    assert "The alert 'Channel vanished, Channel 3001 (Editorial Image)' was not sent" in job.log

    mail.is_away = False
    assert watch(mailing) == "success"
    assert [each["Subject"] for each in mail.letters] == ["Channel vanished, Channel 3001 (Editorial Image)"]


def test_a_message_leads_to_the_channel_on_the_status_page(
    mailing: Installation, mail: MailServer, context: ChannelContext
) -> None:
    mailing.environment["AIRFLOW__API__BASE_URL"] = "https://airflow.example.com/"
    with transaction(context.warehouse) as connection:
        ledger.upsert_channels(connection, [context.channel])
        ledger.retire_channels(connection, [3001])
    assert watch(mailing) == "success"
    (letter,) = mail.letters
    address = f"https://airflow.example.com/asset-changes/channels/{CHANNEL}"
    assert f'See: <a href="{address}">{address}</a>' in text_of(letter)
    assert "More: docs/operations.md#vanished" in text_of(letter)


def test_a_delisted_channel_is_an_alert_until_it_is_noted(
    mailing: Installation, mail: MailServer, sandbox: Sandbox
) -> None:
    """Getty takes it off its list; the alert ends when somebody takes note."""
    mailing.test_dag("asset_changes_discovery")
    sandbox.retire(3001)
    mailing.test_dag(CHANNEL)  # Getty does not know it either
    mailing.test_dag("asset_changes_discovery")
    assert [watch(mailing), watch(mailing)] == ["success", "success"]
    assert [each["Subject"] for each in mail.letters] == ["Channel vanished, Channel 3001 (Editorial Image)"]

    for channel_id, says in (
        (3002, "Channel 3002 is read: Getty lists it"),
        (9, "Channel 9 is not a retired channel"),
    ):
        state, log = take_note(mailing, channel_id)
        assert (state, says in log) == ("failed", True)
    assert [take_note(mailing, 3001)[0], watch(mailing)] == ["success", "success"]
    assert [each["Subject"] for each in mail.letters[1:]] == [
        "All clear: Channel vanished, Channel 3001 (Editorial Image)"
    ]


def test_a_channel_lost_from_the_variable_ends_by_taking_note(
    mailing: Installation, mail: MailServer, context: ChannelContext
) -> None:
    with transaction(context.warehouse) as connection:
        ledger.upsert_channels(connection, [replace(context.channel, channel_id=3009)])
        connection.execute(text("UPDATE channels SET discovered_at = now() - interval '2 hours'"))
    assert watch(mailing) == "success"
    assert [take_note(mailing, 3009)[0], watch(mailing)] == ["success", "success"]
    assert [each["Subject"] for each in mail.letters] == [
        "No answer, Channel 3009 (Editorial Image)",
        "All clear: No answer, Channel 3009 (Editorial Image)",
    ]


def test_a_finding_is_dismissed_by_the_watchdogs_parameter(
    mailing: Installation, mail: MailServer, sandbox: Sandbox, warehouse: Engine
) -> None:
    sandbox.append(3001, [change(1), change(2, "Removed")])
    mailing.test_dag(CHANNEL)
    assert watch(mailing) == "success"
    set_id = sandbox.confirmed_ids(3001)[0]
    job = mailing.start(inside.dismiss, f"3001/{set_id}/1")
    assert job.result() == "success"
    assert f"1 rejected changes of 3001/{set_id}/1 are dismissed, by " in job.log
    assert [each["Subject"] for each in mail.letters if "Rejected" in str(each["Subject"])] == [
        "Rejected changes, Channel 3001 (Editorial Image)",
        "All clear: Rejected changes, Channel 3001 (Editorial Image)",
    ]
    with transaction(warehouse) as connection:
        assert connection.scalar(text("SELECT dismissed_by FROM rejected_changes"))
    job = mailing.start(inside.dismiss, "3001/no-such-set")
    assert (job.result(), "There is nothing to dismiss at '3001/no-such-set'" in job.log) == ("failed", True)


@pytest.mark.parametrize(
    ("notifier", "says"),
    [
        ("to whom?", "is no JSON object with a notifier"),
        ('{"notifier": "nowhere.Notifier", "text": "{{ alert.text }}"}', "which cannot be imported"),
        ('{"notifier": "json.JSONDecoder", "text": "{{ alert.text }}"}', "which is no Airflow notifier"),
        (SMTP.replace("alert.", "alarm."), "never names the alert"),
    ],
)
def test_a_notifier_that_cannot_work_is_refused_early(notifier: str, says: str, installed: Installation) -> None:
    """It is refused before anything breaks."""
    job = installed.start(inside.run_dag, "watch.py", "asset_changes_watch", ASSET_CHANGES_NOTIFIER=notifier)
    assert job.result()[0] == "failed"
    assert says in job.log


def test_a_new_installation_without_tables_is_no_failure(
    mailing: Installation, mail: MailServer, warehouse: Engine
) -> None:
    with transaction(warehouse) as connection:
        connection.execute(text("DROP SCHEMA getty_images CASCADE"))
    mailing.set_channels("[]")
    assert (watch(mailing), mail.letters) == ("success", [])
    mailing.set_channels(json.dumps([ENTRY]))
    assert watch(mailing) == "failed"
    (letter,) = mail.letters
    assert "The warehouse has no schema" in text_of(letter)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop."""
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as server:
        yield server


def test_a_warehouse_that_is_down_is_sent_once(
    mailing: Installation, mail: MailServer, own_postgres: EmbeddedPostgres
) -> None:
    """That it is back is sent once, too."""
    url = own_postgres.create_database("warehouse")
    engine = connect(url, schema="getty_images")
    migrate(engine, schema="getty_images")
    engine.dispose()
    mailing.environment[WAREHOUSE] = warehouse_connection(url)
    assert watch(mailing) == "success"

    own_postgres.stop()
    assert [watch(mailing), watch(mailing), watch(mailing)] == ["failed"] * 3
    (letter,) = mail.letters
    assert letter["Subject"] == "Watchdog blind"
    assert "The watchdog cannot check, so no other alert is sent: The warehouse does not answer" in text_of(letter)
    assert "What to do: Look whether the database is up" in text_of(letter)
    assert "More: docs/operations.md#blind" in text_of(letter)

    own_postgres.start()
    assert [watch(mailing), watch(mailing)] == ["success", "success"]
    (all_clear,) = mail.letters[1:]
    assert all_clear["Subject"] == "All clear: Watchdog blind"
    assert "It lasted from " in text_of(all_clear)

    own_postgres.stop()
    assert watch(mailing) == "failed"
    assert [each["Subject"] for each in mail.letters[2:]] == ["Watchdog blind"]


def test_a_warehouse_that_hangs_is_sent_after_the_timeout(
    mailing: Installation, mail: MailServer, warehouse: Engine
) -> None:
    """The timeout is that of the watchdog."""
    with transaction(warehouse) as connection:
        connection.execute(text("LOCK TABLE channels IN ACCESS EXCLUSIVE MODE"))
        assert mailing.run(inside.watch_briefly, 4) == "failed"
    (letter,) = mail.letters
    assert letter["Subject"] == "Watchdog blind"
    assert watch(mailing) == "success"
    assert [each["Subject"] for each in mail.letters[1:]] == ["All clear: Watchdog blind"]


def test_a_failure_of_the_watchdog_is_tried_until_it_is_sent(
    mailing: Installation, mail: MailServer, warehouse: Engine
) -> None:
    def set_version(number: str) -> None:
        with transaction(warehouse) as connection:
            connection.execute(text(f"UPDATE schema_version SET version_num = '{number}'"))

    def subjects() -> list[str]:
        return [str(each["Subject"]) for each in mail.letters]

    set_version("0001")
    mail.is_away = True
    assert watch(mailing) == "failed"
    mail.is_away = False
    assert [watch(mailing), watch(mailing)] == ["failed", "failed"]
    assert subjects() == ["Watchdog blind"]
    assert "Trigger asset_changes_discovery, which migrates" in text_of(mail.letters[0])

    set_version(VERSION)
    mail.is_away = True
    assert watch(mailing) == "failed"
    mail.is_away = False
    assert [watch(mailing), watch(mailing)] == ["success", "success"]
    assert subjects() == ["Watchdog blind", "All clear: Watchdog blind"]


def test_a_failure_that_was_never_sent_needs_no_all_clear(mailing: Installation, mail: MailServer) -> None:
    """The failure is that of the watchdog itself."""

    def watch_blindly(**environment: str) -> str:
        run = (inside.run_dag, "watch.py", "asset_changes_watch")
        return str(mailing.run(*run, ASSET_CHANGES_WATCH_LAG_MINUTES="soon", **environment)[0])

    assert watch_blindly(ASSET_CHANGES_NOTIFIER="") == "failed"
    assert (watch(mailing), mail.letters) == ("success", [])
    assert watch_blindly() == "failed"
    (letter,) = mail.letters
    assert "ASSET_CHANGES_WATCH_LAG_MINUTES is &#x27;soon&#x27;" in text_of(letter)


def test_consumers_wake_when_something_was_loaded(installed: Installation, sandbox: Sandbox, warehouse: Engine) -> None:
    events = "SELECT asset.name, source_task_id, asset_event.extra FROM asset_event JOIN asset ON asset.id = asset_id"

    def follow() -> dict[str, Any]:
        _, run_id = installed.run(inside.run_dag, "example_downstream.py", "asset_changes_example_downstream")
        ((result,),) = metadata(installed, f"SELECT value FROM xcom WHERE run_id = '{run_id}' AND key = 'return_value'")
        return dict(json.loads(result))

    def numbers() -> list[int]:
        with transaction(warehouse) as connection:
            return [*connection.scalars(text("SELECT channel_seq FROM change_sets ORDER BY 1"))]

    def kept() -> Any:
        ((value,),) = metadata(installed, "SELECT val FROM variable WHERE key = 'asset_changes_example_cursors'")
        return json.loads(value)

    sandbox.append(3001, [change(1), change(2), change(2, "Delete"), change(3)])
    installed.test_dag(CHANNEL, {"batch_size": 2})
    first, second = numbers()
    assert [(name, task, json.loads(extra)) for name, task, extra in metadata(installed, events)] == [
        (
            "asset_changes_3001",
            "load",
            {"channel_id": 3001, "change_set_id": sandbox.confirmed_ids(3001)[0], "changes": 2, "channel_seq": first},
        ),
        ("asset_changes_3001", "catch_up", {"channel_id": 3001, "sets": 1, "changes": 2, "channel_seq": second}),
    ]
    assert follow() == {"sets": 2, "cursors": {"3001": second}}
    assert follow() == {"sets": 0, "cursors": {"3001": second}}
    assert kept()["3001"]["sets"] == {
        sandbox.confirmed_ids(3001)[0]: {"live": 1, "gone": 1},
        sandbox.confirmed_ids(3001)[1]: {"live": 1, "gone": 1},
    }

    sandbox.append(3001, [change(4)])
    installed.test_dag(CHANNEL)
    assert [task for _, task, _ in metadata(installed, events)[2:]] == ["load"]
    third = numbers()[-1]
    assert follow() == {"sets": 1, "cursors": {"3001": third}}

    installed.test_dag(CHANNEL)
    assert len(metadata(installed, events)) == 3


def test_a_nightly_replay_leaves_word_of_what_it_changed(
    installed: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    def left() -> Any:
        with transaction(warehouse) as connection:
            return connection.scalar(text("SELECT replay_changed_count FROM channels"))

    sandbox.append(3001, [change(1)])
    installed.test_dag(CHANNEL)
    assert left() is None
    installed.run(inside.nightly_replay, 3001)
    assert left() == 0
    with transaction(warehouse) as connection:
        connection.execute(text("DELETE FROM asset_states"))
    installed.run(inside.nightly_replay, 3001)
    assert left() == 1
    installed.run(inside.nightly_replay, 3001, 2)  # what the first try repaired is not found again
    assert left() == 1
    installed.run(inside.nightly_replay, 3001)
    assert left() == 0

    sandbox.append(3001, [change(2)])
    installed.run(inside.fetch_only, CHANNEL)
    installed.run(inside.nightly_replay, 3001)
    assert left() == 0  # that set waited for its load
    with transaction(warehouse) as connection:
        assert connection.scalar(text("SELECT count(*) FROM assets")) == 2


def test_a_nightly_replay_that_is_red_is_not_completed(
    installed: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    def completed_at() -> Any:
        with transaction(warehouse) as connection:
            return connection.scalar(text("SELECT replayed_at FROM channels"))

    sandbox.append(3001, [change(1)])
    installed.test_dag(CHANNEL)
    [body] = (installed.home / "archive").rglob("*.json.gz")
    kept = body.read_bytes()
    body.write_bytes(b"")
    with pytest.raises(JobFailed, match="damaged"):
        installed.run(inside.nightly_replay, 3001)
    assert completed_at() is None
    body.write_bytes(kept)
    installed.run(inside.nightly_replay, 3001)
    assert completed_at() is not None


def test_every_metric_reaches_the_backend_with_its_tags(
    airflow: Installation,
) -> None:
    """The metrics are those of the table, the backend is Airflow's."""
    kinds = ("loaded", "watched", "looked_up", "holdings", "purge")
    sent = [each for what in kinds for each in airflow.run(inside.sent_metrics, what)]
    metrics = {(name, kind, tuple(tags)) for kind, name, _, tags in sent}
    assert metrics == {(each.name, each.kind, each.tags) for each in METRICS}
    assert ("counter", "asset_changes.changes_loaded", 3, {"channel_id": "3001", "outcome": "new"}) in sent
    assert ("counter", "asset_changes.assets_looked_up", 300, {"outcome": "found"}) in sent
    assert ("gauge", "asset_changes.removals_due", 2, {"source": "dam", "reason": "deleted"}) in sent
    assert ("gauge", "asset_changes.purges_due", 3, {"store": "dam"}) in sent
    assert ("counter", "asset_changes.purge_receipts", 7, {"outcome": "deleted"}) in sent
    alerts = {tags["condition"]: value for _, name, value, tags in sent if name == "asset_changes.alert"}
    assert alerts == {each.name: float(each.name == "silent") for each in CONDITIONS}


def test_a_run_sends_what_it_loaded(installed: Installation, sandbox: Sandbox, warehouse: Engine) -> None:
    sandbox.append(3001, [change(1), change(2), change(2, "Delete"), change(3)])
    installed.environment["ASSET_CHANGES_BATCH_SIZE"] = "2"
    sent = installed.run(inside.sent_by_run, "channels.py", CHANNEL)
    channel = {"channel_id": "3001"}
    by_load, by_catch_up = sent[: len(sent) // 2], sent[len(sent) // 2 :]
    with transaction(warehouse) as connection:
        first, second = connection.scalars(text("SELECT channel_seq FROM change_sets ORDER BY 1"))
    for half, seq, deletes in ((by_load, first, 0), (by_catch_up, second, 1)):
        assert ("counter", "asset_changes.change_sets_loaded", 1, channel) in half
        assert ("counter", "asset_changes.changes_loaded", 2 - deletes, channel | {"outcome": "new"}) in half
        assert ("counter", "asset_changes.changes_loaded", deletes, channel | {"outcome": "delete"}) in half
        assert ("gauge", "asset_changes.channel_seq", seq, channel) in half


def test_the_watchdog_sends_the_alerts_of_every_channel(
    installed: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    """3001 vanished, 3002 never answered, 3003 is caught up."""
    installed.test_dag("asset_changes_discovery")
    sandbox.retire(3001)
    installed.test_dag(CHANNEL)  # Getty does not know it either
    installed.test_dag("asset_changes_discovery")
    with transaction(warehouse) as connection:
        connection.execute(text("UPDATE channels SET discovered_at = discovered_at - interval '2 hours'"))
        film = Channel(channel_id=3003, asset_family="Editorial", asset_type="Film")
        ledger.mark_checked(connection, film, is_caught_up=True, gap=timedelta(hours=1))
        connection.execute(text("INSERT INTO held_assets VALUES ('dam', '1', 'Image', NULL, now())"))
    sent = installed.run(inside.sent_by_run, "watch.py", "asset_changes_watch")
    assert ("gauge", "asset_changes.held_assets", 1, {"source": "dam"}) in sent  # it counts them

    open_alerts = {
        (int(tags["channel_id"]), tags["condition"])
        for _, name, value, tags in sent
        if name == "asset_changes.alert" and value
    }
    assert open_alerts == {(3001, "vanished"), (3002, "unchecked"), (3004, "unchecked")}
    assert ("gauge", "asset_changes.alerts_open", 3, {}) in sent
    closed = [tags for _, name, value, tags in sent if name == "asset_changes.alert" and not value]
    of_lookups = sum(not condition.has_channel for condition in CONDITIONS)
    assert len(closed) == 4 * (len(CONDITIONS) - of_lookups) + of_lookups - len(open_alerts)
    assert ("gauge", "asset_changes.lag_seconds", 0.0, {"channel_id": "3003"}) in sent
    unchecked = {tags["channel_id"] for _, name, _, tags in sent if name == "asset_changes.unchecked_seconds"}
    assert unchecked == {"3002", "3003", "3004"}


def test_the_mail_settings_of_the_docs_are_tested_here() -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    block = page.split("<!-- smtp -->\n```\n")[1].split("\n```")[0]
    assert json.loads(block.partition("=")[2].strip("'")) == json.loads(SMTP)


@pytest.mark.parametrize(
    ("host", "port", "place"),
    [
        ("db.example.com", 6543, "postgres://db.example.com:6543"),
        ("db.example.com", None, "postgres://db.example.com:5432"),
        ("/run/postgres", None, "postgres://localhost:5432"),
    ],
)
def test_lineage_has_the_archive_read_and_the_tables_written(
    airflow: Installation, host: str, port: int | None, place: str
) -> None:
    lineage = airflow.run(inside.lineage, host, port)
    tables = ("asset_states", "asset_changes", "deletions", "rejected_changes")
    assert lineage == {
        "read": [f"file://{airflow.home}/archive/channel_id=3001"],
        "written": [f"{place}/copy/getty_images/{table}" for table in tables],
    }


def test_load_and_catch_up_both_report_their_lineage(
    installed: Installation, sandbox: Sandbox, warehouse: Engine
) -> None:
    sandbox.append(3001, [change(1), change(2)])
    installed.environment["ASSET_CHANGES_BATCH_SIZE"] = "1"
    lineage = installed.run(inside.lineage_of_run, "channels.py", CHANNEL)
    written = f"postgres://localhost:5432/{warehouse.url.database}/getty_images"
    assert lineage == {
        "read": {f"file://{installed.home}/archive/channel_id=3001": 2},
        "written": {
            f"{written}/{table}": 2 for table in ("asset_states", "asset_changes", "deletions", "rejected_changes")
        },
    }


def test_a_collector_receives_every_metric_with_its_tags(airflow: Installation) -> None:
    with Collector() as collector:
        environment = base_environment(airflow.home) | {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        # An interpreter of its own: Airflow chooses its backend when it is imported.
        send = "import airflow; from tests.watch import inside; inside.export_metrics()"
        subprocess.run([sys.executable, "-c", send], env=environment, timeout=600, check=True)
    ours = {name: points for name, points in collector.points.items() if "asset_changes" in name}
    assert set(ours) == {f"airflow.{metric.name}" for metric in METRICS}
    for metric in METRICS:
        for tags in ours[f"airflow.{metric.name}"]:
            assert {name for name, _ in tags} == set(metric.tags), metric.name
    channel = ("channel_id", "3001")
    assert ours["airflow.asset_changes.channel_seq"] == {(channel,): 7}
    assert ours["airflow.asset_changes.changes_loaded"][channel, ("outcome", "new")] == 3
    assert ours["airflow.asset_changes.alert"][channel, ("condition", "silent")] == 1
