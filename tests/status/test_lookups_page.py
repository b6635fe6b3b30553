"""The panel of the lookups, and what the page says of the whole installation."""

import re
from datetime import UTC, datetime, timedelta

from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.lookup_status import MOST_COUNTED, lookup_status
from sqlalchemy import Engine, text

from tests.status.conftest import AirflowServer, words
from tests.status.seeds import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    alert,
    channel,
    live_assets,
    lookup_calls,
    lookup_connection,
    queued,
)


def test_the_page_says_what_is_on_first(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    html = page.get("").text
    assert html.index("The copy is up to date") < html.index("What is on") < html.index('data-channel="3001"')
    assert "Feed on, 1 channel, confirming" in words(html)
    assert 'data-capability="metadata"' in html
    assert 'data-panel="lookups"' not in html  # nothing was ever looked up
    assert "What is on" not in page.get("channels/asset_changes_editorial_image_3001").text


def test_unpausing_the_dag_is_the_next_step_and_switches_it_on(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    live_assets(warehouse, 3, with_metadata=0)
    html = page.get("").text
    assert "Metadata paused, not begun about 1 call once (1 min at 1 per second)" in words(html)
    assert re.search(r'unpause Look up assets. <a href="/dags/asset_changes_lookup"', html)
    for is_paused, state in ((False, "Metadata on 0 calls in the last 24 hours"), (True, "Metadata paused, not begun")):
        assert page.ask("PATCH", "dags/asset_changes_lookup", {"is_paused": is_paused}).ok
        assert state in words(page.get("").text)


def test_the_panel_shows_the_numbers_of_the_lookups(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    live_assets(warehouse, 8, with_metadata=6)
    queued(warehouse, "asset-6", at=NOW - 3 * HOUR)
    queued(warehouse, "asset-7")
    lookup_calls(warehouse, "second_key", 1_200, at=datetime.now(UTC), throttled=3, answered=80_000)
    lookup_connection(
        warehouse,
        "second_key",
        refused_fields=["people"],
        error="Getty refused <b>it</b>.",
        error_at=NOW,
        leased_by="asset_changes_lookup, run 7",
        leased_until=datetime.now(UTC) + MINUTE,
    )
    alert(warehouse, "lookups_refused", says="has had no answer for 2 hours: second_key says no", channel_id=0)
    html = page.get("").text
    shown = words(html)
    assert "Live assets with metadata 75.0 % 6 of 8" in shown
    assert "Waiting 2 assets to ask about" in shown
    assert "The oldest waits 3 h" in shown or "The oldest waits 2 h" in shown or "The oldest waits 4 h" in shown
    assert "1,200 of 3,600 1,200 of 10,000 80,000 3 × asset_changes_lookup, run 7" in shown
    assert "second_key: Getty refused <b>it</b>." in shown
    assert "they stay empty: people." in shown
    assert "Lookups refused: it has had no answer for 2 hours" in shown
    assert "A caption" not in html
    assert "A Person" not in html


def test_what_getty_refuses_is_said_once(page: AirflowServer, warehouse: Engine) -> None:
    channel(warehouse)
    lookup_connection(warehouse, "second_key", error="Getty refuses it.", error_at=NOW)
    assert page.get("").text.count("Getty refuses it.") == 1
    alert(warehouse, "lookups_refused", says="has had no answer for 2 hours: Getty refuses it.", channel_id=0)
    assert page.get("").text.count("Getty refuses it.") == 1


def test_calls_of_yesterday_are_not_those_of_today(warehouse: Engine) -> None:
    noon = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)
    for at, calls in ((noon - DAY, 1), (noon - 12 * HOUR, 20), (noon, 300)):
        lookup_calls(warehouse, "second_key", calls, at=at)
    lookup_connection(warehouse, "first_key", leased_by="a dead run", leased_until=noon - MINUTE)
    with transaction(warehouse) as connection:
        status = lookup_status(connection, now=noon)
    first, second = status.connections
    assert (first.conn_id, first.calls_today, first.leased_until) == ("first_key", 0, None)
    assert (second.calls_this_hour, second.calls_today) == (300, 320)
    assert status.calls_last_day == 320


def test_of_many_assets_the_share_is_estimated(warehouse: Engine) -> None:
    """From a sample of blocks, which is the same each time."""
    with transaction(warehouse) as connection:
        connection.execute(text("""
            INSERT INTO asset_states (asset_id, asset_family, channel_id, upserted_at, deleted_at, loaded_at)
            SELECT n::text, 'Editorial', 3001, now(), CASE WHEN n % 10 = 0 THEN now() END, now()
            FROM generate_series(1, 100000) AS n"""))  # fmt: skip
        connection.execute(text("""
            INSERT INTO asset_metadata (asset_id, raw, as_of, fetched_at, language, content_hash)
            SELECT asset_id, '{}', now(), now(), 'en-US', '' FROM assets WHERE asset_id LIKE '%1'"""))  # fmt: skip
    with transaction(warehouse) as connection:
        first, second = (lookup_status(connection, now=NOW).live for _ in range(2))
    assert first == second
    assert first.is_estimate
    assert abs(first.count - 90_000) < 5_000
    assert abs(first.share - 1 / 9) < 0.02


def test_what_waits_is_counted_up_to_a_limit(warehouse: Engine) -> None:
    with transaction(warehouse) as connection:
        connection.execute(text("""
            INSERT INTO lookup_queue (asset_id, channel_id, reason, enqueued_at, not_before)
            SELECT n::text, 3001, 'change', now() - n * interval '1 second', now()
            FROM generate_series(1, :count) AS n"""), {"count": MOST_COUNTED + 10})  # fmt: skip
        waiting = lookup_status(connection, now=NOW).waiting
        plan = "\n".join(connection.scalars(text("EXPLAIN SELECT min(enqueued_at) FROM lookup_queue")))
    assert waiting.count == MOST_COUNTED
    assert waiting.since
    assert datetime.now(UTC) - waiting.since > timedelta(seconds=MOST_COUNTED)
    assert "lookup_queue_enqueued_at" in plan
