"""How far the channels are: read from a real warehouse, drawn on a terminal, printed into a log."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from local_stack.postgres import EmbeddedPostgres
from local_stack.progress import Channel, Warehouse
from local_stack.screen import Screen
from rich.console import Console
from sqlalchemy import URL, Engine, text

from tests.local_stack.doubles import CapturedScreen

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
CHANNEL = Channel(
    3001, "Editorial", "Image", STARTED, None, sets=2, changes=4400, recent_changes=4400, recent_seconds=2
)
CAUGHT_UP = replace(CHANNEL, caught_up_at=STARTED + timedelta(seconds=9), has_caught_up=True)


def test_before_discovery_there_are_no_channels(postgres: EmbeddedPostgres) -> None:
    warehouse = Warehouse(postgres.create_database("untouched"), schema="getty_images", since=STARTED)
    assert warehouse.channels() == []
    warehouse.close()


def test_counts_come_from_the_ledger_without_retired_channels(warehouse: Engine, warehouse_url: URL) -> None:
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO channels (channel_id, asset_family, asset_type, discovered_at, retired_at) VALUES"
                " (3001, 'Editorial', 'Motion Clip', now(), NULL), (3002, 'Creative', 'Image', now(), now())"
            )
        )
    reader = Warehouse(warehouse_url, schema="getty_images", since=STARTED)
    (channel,) = reader.channels()
    assert (channel.dag_id, channel.sets, channel.rate) == ("asset_changes_editorial_motion_clip_3001", 0, 0.0)
    assert not channel.is_caught_up(STARTED)
    assert reader.live_assets() == {}
    reader.close()


def test_what_waits_for_a_reconciliation_is_not_waited_for(warehouse: Engine, warehouse_url: URL) -> None:
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO lookup_queue (asset_id, channel_id, reason, enqueued_at, not_before) VALUES"
                " ('1', 3001, 'recheck', now(), now() + interval '1 hour'), ('2', 3001, 'recheck', now(), now()),"
                " ('3', 3001, 'change', now(), now() + interval '1 minute')"
            )
        )
    reader = Warehouse(warehouse_url, schema="getty_images", since=STARTED)
    assert reader.lookups().waiting == 1
    reader.close()


def test_held_assets_are_those_of_the_newest_list(warehouse: Engine, warehouse_url: URL) -> None:
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO held_assets (source, asset_id, held_since, held_until) VALUES"
                " ('example', '1', now(), NULL), ('example', '2', now(), now()), ('dam', '3', now(), NULL)"
            )
        )
    reader = Warehouse(warehouse_url, schema="getty_images", since=STARTED)
    assert reader.held_assets("example") == 1
    reader.close()


def test_caught_up_means_an_empty_answer_and_all_confirmed() -> None:
    assert CAUGHT_UP.is_caught_up(STARTED)
    assert not CAUGHT_UP.is_caught_up(STARTED + timedelta(minutes=1))
    assert not replace(CAUGHT_UP, has_caught_up=False).is_caught_up(STARTED)


def test_looking_without_consuming_is_done_with_one_set_loaded() -> None:
    checked = replace(CHANNEL, last_checked_at=STARTED + timedelta(seconds=1), sets=1)
    assert checked.is_looked_at(STARTED)
    assert not replace(checked, sets=0).is_looked_at(STARTED)
    assert not checked.is_looked_at(STARTED + timedelta(seconds=2))


def test_a_log_gets_plain_lines_and_the_whole_table() -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, highlight=False, soft_wrap=True))
    screen.show([replace(CHANNEL, expected=20_000)], STARTED)
    screen.summary([CAUGHT_UP], {3001: 1234})
    lines = output.getvalue().splitlines()
    assert lines[0] == "editorial image 3001: 4,400 of 20,000 changes, 2,200/s"
    assert any("editorial image 3001" in line and "1,234" in line and "2,200" in line for line in lines[1:])


def test_a_terminal_gets_one_bar_per_channel() -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, force_terminal=True, width=120))
    screen.show([replace(CHANNEL, expected=20_000), replace(CHANNEL, channel_id=3002)], STARTED)
    screen.show([replace(CHANNEL, expected=0, changes=0), replace(CAUGHT_UP, channel_id=3002)], STARTED)
    screen.end_bars()
    assert "editorial image 3001" in output.getvalue()
    assert "caught up" in output.getvalue()


def test_findings_are_open_alerts_and_foreign_confirmations(warehouse: Engine, warehouse_url: URL) -> None:
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO channels (channel_id, asset_family, asset_type, discovered_at)"
                " VALUES (3001, 'Editorial', 'Image', now());"
                "INSERT INTO alerts (channel_id, condition, since, says, cleared_at) VALUES"
                " (0, 'metadata_backlog', now(), 'has kept an asset waiting', NULL),"
                " (3001, 'rejected', now(), 'had rejected changes: 3', NULL), (3001, 'behind', now(), 'is', now()),"
                # As the watchdog last found it; the stack counts now.
                " (3001, 'other_consumer', now(), 'had change sets confirmed by somebody else: 1', NULL);"
            )
        )
        for number, (implied, tried, confirmed) in enumerate(
            [("true", "NULL", "now()")] * 2
            + [
                ("false", "now()", "now()"),  # ours
                ("true", "now()", "now()"),  # ours, whose answer was lost
                ("true", "NULL", "now() - interval '2 days'"),  # long ago
            ]
        ):
            connection.execute(
                text(
                    "INSERT INTO change_sets (channel_id, change_set_id, archive_uri, content_hash, fetched_at,"
                    " loaded_at, channel_seq, is_confirm_implied, confirm_tried_at, confirmed_at)"
                    f" VALUES (3001, '{number}', 'file:///x', 'x', now(),"
                    f" now(), {number}, {implied}, {tried}, {confirmed})"
                )
            )
    reader = Warehouse(warehouse_url, schema="getty_images", since=STARTED)
    late = "metadata_backlog: look up assets has kept an asset waiting"
    assert reader.findings(confirms=True) == [
        late,
        "other_consumer: editorial image 3001 had change sets confirmed by somebody else: 2",
        "rejected: editorial image 3001 had rejected changes: 3",
    ]
    assert reader.findings(confirms=False) == [late, "rejected: editorial image 3001 had rejected changes: 3"]
    reader.close()


def test_the_summary_shows_findings_only_if_there_are_any() -> None:
    screen = CapturedScreen()
    screen.summary([CAUGHT_UP], {3001: 1234})
    assert "Findings" not in "".join(screen.lines)
    screen.summary([CAUGHT_UP], {3001: 1234}, ["behind: editorial image 3001 is behind"])
    assert "docs/operations.md" in screen.lines[-2]
    assert screen.lines[-1] == "  behind: editorial image 3001 is behind"
