"""Rows of a warehouse, written as a test wants them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from asset_changes.warehouse import holdings_schema as schema_of_holdings
from asset_changes.warehouse import purge_schema, schema
from asset_changes.warehouse.removals import count_holdings
from sqlalchemy import Engine, insert
from sqlalchemy.schema import Table

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MONTH = NOW - 30 * DAY


def _write(engine: Engine, table: Table, row: dict[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table).values(**row))


def channel(engine: Engine, channel_id: int = 3001, *, kind: str = "Image", **more: Any) -> None:
    """A channel that is up to date, unless the test says otherwise."""
    fresh = {"discovered_at": NOW - 30 * DAY, "last_checked_at": NOW, "caught_up_at": NOW}
    checked = {"archive_checked_at": datetime.now(UTC), "replayed_at": datetime.now(UTC), "replay_changed_count": 0}
    row = {"channel_id": channel_id, "asset_family": "Editorial", "asset_type": kind} | fresh | checked | more
    _write(engine, schema.channels, row)


def change_set(engine: Engine, name: str, *, channel_id: int = 3001, at: datetime = NOW, **more: Any) -> None:
    """A set that was loaded two seconds after its arrival and confirmed one later.

    Its commit is put so early that the removal of its Deletes is bounded by their own `applied_at`.
    """
    counts = {f"{each}_count": more.pop(each, 0) for each in ("new", "update", "delete", "superseded", "rejected")}
    stamps = {"fetched_at": at, "loaded_at": at + timedelta(seconds=2), "confirmed_at": at + timedelta(seconds=3)}
    row = {
        "channel_id": channel_id,
        "change_set_id": name,
        "channel_seq": int(name) if name.isdigit() else None,
        "archive_uri": f"file:///archive/{name}",
        "content_hash": name,
        "is_confirm_implied": False,
        "redelivered_count": 0,
        "oldest_change_at": at - MINUTE,
        "committed_at": at,
        "change_count": sum(counts.values()),
    }
    _write(engine, schema.change_sets, row | stamps | counts | more)


def deletion(
    engine: Engine, change_set_id: str, position: int, *, took: timedelta, at: datetime = NOW, **more: Any
) -> None:
    """A Delete that was received then and applied so much later."""
    row = {
        "channel_id": 3001,
        "change_set_id": change_set_id,
        "position": position,
        "asset_id": f"asset-{position}",
        "deleted_at": at - MINUTE,
        "received_at": at,
        "applied_at": at + took,
        "was_held": True,
        "is_rebuilt": False,
    }
    _write(engine, schema.deletions, row | more)


def rejected(engine: Engine, change_set_id: str, position: int, *, reason: str, **more: Any) -> None:
    """A rejected change."""
    row = {"channel_id": 3001, "change_set_id": change_set_id, "position": position, "reason": reason}
    _write(engine, schema.rejected_changes, row | {"raw": "{}", "rejected_at": NOW} | more)


def finding(engine: Engine, kind: str, *, channel_id: int = 3001, at: datetime = NOW, **more: Any) -> None:
    """A finding of the archive that is open."""
    row = {"channel_id": channel_id, "archive_uri": f"file:///archive/{kind}", "kind": kind, "received_at": at}
    _write(engine, schema.archive_findings, row | {"found_at": at} | more)


def gap(engine: Engine, *, days: float, until: datetime = NOW, **more: Any) -> None:
    """A span in which nobody asked Getty."""
    row = {"channel_id": 3001, "unread_from": until - days * DAY, "unread_to": until}
    _write(engine, schema.feed_gaps, row | more)


def state(engine: Engine, asset_id: str, **more: Any) -> None:
    """The registers of an asset."""
    row = {"asset_id": asset_id, "asset_family": "Editorial", "channel_id": 3001, "loaded_at": NOW}
    _write(engine, schema.asset_states, row | more)


def alert(engine: Engine, condition: str, *, says: str | None, channel_id: int = 3001) -> None:
    """An alert that the watchdog raised a minute ago."""
    row = {"channel_id": channel_id, "condition": condition, "since": NOW - MINUTE, "says": says}
    _write(engine, schema.alerts, row)


def live_assets(engine: Engine, count: int, *, with_metadata: int) -> None:
    """Live assets, the first of them with metadata."""
    for number in range(count):
        state(engine, f"asset-{number}", upserted_at=NOW, upsert_change_set_id="1", upsert_position=number)
    for number in range(with_metadata):
        said = {"caption": "A caption", "people": ["A Person"], "raw": {}, "language": "en-US", "content_hash": "1"}
        _write(engine, schema.asset_metadata, said | {"asset_id": f"asset-{number}", "as_of": NOW, "fetched_at": NOW})


def queued(engine: Engine, asset_id: str, *, at: datetime = NOW) -> None:
    """An asset that waits for a lookup since then."""
    row = {"asset_id": asset_id, "channel_id": 3001, "reason": "change", "generation": 1, "tries": 0}
    _write(engine, schema.lookup_queue, row | {"enqueued_at": at, "not_before": at})


def lookup_calls(engine: Engine, conn_id: str, calls: int, *, at: datetime = NOW, **more: Any) -> None:
    """The calls of an hour."""
    row = {
        "conn_id": conn_id,
        "hour": at.replace(minute=0, second=0, microsecond=0),
        "calls": calls,
        "throttled": 0,
        "answered": 0,
    }
    _write(engine, schema.lookup_calls, row | more)


def lookup_connection(engine: Engine, conn_id: str, **more: Any) -> None:
    """A connection that has answered."""
    row = {"conn_id": conn_id, "refused_fields": [], "last_answer_at": NOW}
    _write(engine, schema.lookup_connections, row | more)


def held_asset(engine: Engine, asset_id: str, *, source: str = "dam", **more: Any) -> None:
    """An asset that the company holds, for a month."""
    _write(engine, schema_of_holdings.held_assets, {"source": source, "asset_id": asset_id, "held_since": MONTH} | more)


def imported(engine: Engine, *, source: str = "dam", at: datetime = NOW, **more: Any) -> None:
    """A list that was imported."""
    counts = ("row", "new_held", "changed", "unchanged", "ended", "unreadable", "held")
    row = {"source": source, "uri": "file:///list.csv", "started_at": at, "ended_at": at, "unreadable_lines": []}
    _write(engine, schema_of_holdings.holding_imports, row | {f"{each}_count": 0 for each in counts} | more)


def verdict(engine: Engine, asset_id: str, verdict: str, *, at: datetime = NOW, **more: Any) -> None:
    """What lookups said of an asset; that it is gone was said a day before for the first time."""
    first = None if verdict == "available" else at - DAY
    row = {"asset_id": asset_id, "verdict": verdict, "conn_id": "getty", "as_of": at, "first_gone_as_of": first}
    _write(engine, schema_of_holdings.availability, row | {"checks": 2} | more)


def reconciliation(engine: Engine, outcome: str | None, *, at: datetime = NOW, **more: Any) -> None:
    """A round in which Getty was asked about a thousand assets."""
    counts = {"asked_count": 1_000, "available_count": 400, "not_licensed_count": 580, "not_in_catalogue_count": 20}
    is_decided = outcome not in (None, "waiting")
    row = {
        "conn_id": "getty",
        "channel_ids": [3001],
        "started_at": at,
        "asked_at": at if outcome else None,
        "decided_at": at if is_decided else None,
        "outcome": outcome,
        "first_asked_count": 1_000,
        "first_gone_count": 600,
    }
    _write(engine, schema_of_holdings.reconciliations, row | counts | more)


def three_to_remove(engine: Engine) -> None:
    """Five held assets: one is deleted, one not licensed, one not in the catalogue, two may be held."""
    for number, asset_id in enumerate(("1", "2", "3", "4", "5")):
        held_asset(engine, asset_id, location=f"images/{number}.jpg")
    deleted = {"deleted_at": NOW - 3 * DAY, "delete_change_set_id": "77", "delete_position": 4}
    state(engine, "1", asset_type="Image", **deleted)
    verdict(engine, "2", "not_licensed")
    verdict(engine, "3", "not_in_catalogue", at=NOW - 2 * DAY)
    verdict(engine, "4", "available", at=NOW - 40 * DAY)


def counted(engine: Engine) -> None:
    """Count the holdings, as the watchdog does."""
    with engine.begin() as connection:
        count_holdings(connection)


def counted_as_empty(engine: Engine, *, source: str = "dam") -> None:
    """A source that holds nothing was counted now."""
    counts = ("held", "checked", "deleted", "not_licensed", "not_in_catalogue")
    row = {"source": source, "counted_at": datetime.now(UTC)} | {f"{each}_count": 0 for each in counts}
    _write(engine, schema_of_holdings.holding_counts, row)


def file_store(engine: Engine, store: str = "dam") -> None:
    """A store that is configured."""
    row = {"store": store, "uri": f"file:///{store}", "store_hash": "hash", "configured_at": MONTH}
    _write(engine, purge_schema.file_stores, row)


def purge_count(engine: Engine, *, at: datetime, store: str = "dam", **more: Any) -> None:
    """What must go from a store, counted then: nothing, unless the test says otherwise."""
    counts = dict.fromkeys(("open_count", "day_count", "week_count", "older_count", "held_back_count"), 0)
    row = {"store": store, "held_back_by": {}, "oldest": [], "counted_at": at}
    _write(engine, purge_schema.purge_counts, row | counts | more)


def receipt(engine: Engine, result: str, *, store: str = "dam", at: datetime = NOW, **more: Any) -> None:
    """A receipt of a file, of a plan of its own."""
    with engine.begin() as connection:
        plan = insert(purge_schema.purge_plans).values(mode="on", policy_hash="hash", outcome="purged")
        plan_id = connection.scalar(plan.returning(purge_schema.purge_plans.c.plan_id))
    row = {"plan_id": plan_id, "store": store, "store_hash": "hash", "asset_id": "1", "reason": "deleted"}
    times = {"due_since": at - DAY, "planned_at": at, "removed_at": at}
    _write(engine, purge_schema.purges, row | times | {"key": "1.jpg", "result": result, "is_gone": False} | more)
