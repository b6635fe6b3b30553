"""What the pages show of the purge: the stores, the plans with their files, and the receipts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.warehouse.purge_counts import PurgeCount, purge_counts
from asset_changes.warehouse.purge_plans import SELECT_PLANS, Plan

RECEIPT_DAYS = 30
NEWEST_PLANS = 50
PAGE_FILES = 200
"""So many files of a plan are on its page; all of them are in the CSV."""

_STORES = text(f"""
    SELECT f.store, uri, configured_at, f.error, f.error_at, leased_by,
           coalesce(gone, 0) AS gone_count, coalesce(deleted, 0) AS deleted_count,
           coalesce(nothing_found, 0) AS nothing_found_count, coalesce(failed, 0) AS failed_count,
           failure.error AS failure, failure.removed_at AS failed_at
    FROM file_stores AS f
    LEFT JOIN (
        SELECT store, count(DISTINCT asset_id) FILTER (WHERE is_gone) AS gone,
               count(*) FILTER (WHERE result = 'deleted') AS deleted,
               count(*) FILTER (WHERE result IN ('nothing_found', 'missing')) AS nothing_found,
               count(*) FILTER (WHERE result = 'error') AS failed
        FROM purges WHERE removed_at > now() - interval '{RECEIPT_DAYS} days' GROUP BY store
    ) AS receipts USING (store)
    LEFT JOIN LATERAL (
        SELECT error, removed_at FROM purges AS p
        WHERE p.store = f.store AND result = 'error' AND failed > 0
          AND removed_at > now() - interval '{RECEIPT_DAYS} days'
          AND NOT EXISTS (SELECT FROM purges AS later WHERE later.asset_id = p.asset_id AND later.store = p.store
                          AND later.receipt_id > p.receipt_id AND later.is_gone)
        ORDER BY removed_at DESC LIMIT 1) AS failure ON true
    WHERE unconfigured_at IS NULL
    ORDER BY f.store""")
_NEWEST = text(f"{SELECT_PLANS} ORDER BY plan_id DESC LIMIT {NEWEST_PLANS}")
_WAITING = text(f"{SELECT_PLANS} WHERE outcome = 'waiting' AND expires_at > now() ORDER BY plan_id")
_UNFINISHED = text(f"""{SELECT_PLANS}
    WHERE outcome IN ('ready', 'approved') AND unfinished <> '{{}}' AND expires_at > now() ORDER BY plan_id""")
_PLAN = text(f"{SELECT_PLANS} WHERE plan_id = :plan_id")
_PLAN_FILES = """
    SELECT store, asset_id, reason, due_since, channel_id, change_set_id, position, reconciliation_id, key, version_id,
           is_delete_marker, size, modified_at
    FROM purge_plan_files WHERE plan_id = :plan_id ORDER BY chunk, line"""
_RECEIPTS_OF_PLAN = text("""
    SELECT store, count(*) FILTER (WHERE result = 'deleted') AS deleted_count,
           count(*) FILTER (WHERE result IN ('nothing_found', 'missing')) AS nothing_found_count,
           count(*) FILTER (WHERE result = 'changed') AS changed_count,
           count(*) FILTER (WHERE result = 'error') AS failed_count,
           count(DISTINCT asset_id) FILTER (WHERE is_gone) AS gone_count
    FROM purges WHERE plan_id = :plan_id GROUP BY store ORDER BY store""")
# The order is that of what happened: Getty's word, the warehouse, then each store.
_STORY = """
    SELECT 'received' AS what, received_at AS at, 0 AS step, NULL AS store, NULL AS key, NULL AS version_id,
           NULL AS result, NULL AS error, NULL AS request_id, CAST(NULL AS boolean) AS is_gone,
           concat('change set ', change_set_id, ' of channel ', channel_id, ', position ', position) AS said_by,
           NULL AS approved_by, NULL AS run_id, NULL AS triggered_by, CAST(NULL AS bigint) AS plan_id,
           CAST(NULL AS bigint) AS receipt_id
    FROM deletions WHERE asset_id = :asset_id
    UNION ALL
    SELECT 'removed from the warehouse', applied_at, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           concat('change set ', change_set_id, ' of channel ', channel_id, ', position ', position),
           NULL, NULL, NULL, NULL, NULL
    FROM deletions WHERE asset_id = :asset_id
    UNION ALL
    SELECT 'receipt', removed_at, 2, store, key, version_id, result, error, request_id, is_gone,
           CASE WHEN change_set_id IS NULL THEN concat(reason, ', reconciliation ', reconciliation_id)
                ELSE concat('change set ', change_set_id, ' of channel ', channel_id, ', position ', position) END,
           approved_by, run_id, triggered_by, plan_id, receipt_id
    FROM purges WHERE asset_id = :asset_id
    UNION ALL
    SELECT 'held back', held_at, 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           concat(owner, ': ', reason, ' until ' || to_char(until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')),
           NULL, NULL, held_by, NULL, NULL
    FROM purge_holds WHERE asset_id = :asset_id
    UNION ALL
    SELECT 'released', released_at, 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, owner, NULL, NULL, released_by,
           NULL, NULL
    FROM purge_holds WHERE asset_id = :asset_id AND released_at IS NOT NULL
    UNION ALL
    SELECT 'waived', waived_at, 3, source, NULL, NULL, NULL, NULL, NULL, NULL, why, NULL, NULL, waived_by, NULL, NULL
    FROM purge_waivers WHERE asset_id = :asset_id
    ORDER BY at, step, receipt_id"""


@dataclass(frozen=True, kw_only=True)
class StoreStatus:
    """A store that is configured, with its receipts of the last RECEIPT_DAYS days.

    `failure` is the newest error of a file that is not known to be gone since.
    """

    store: str
    uri: str
    configured_at: datetime
    error: str | None
    error_at: datetime | None
    leased_by: str | None
    gone_count: int
    deleted_count: int
    nothing_found_count: int
    failed_count: int
    failure: str | None
    failed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class PurgeStatus:
    """What the status page shows of the purge."""

    stores: tuple[StoreStatus, ...] = ()
    counts: tuple[PurgeCount, ...] = ()
    plans: tuple[Plan, ...] = ()
    waiting: tuple[Plan, ...] = ()
    unfinished: tuple[Plan, ...] = ()

    @property
    def open_count(self) -> int:
        """How many assets must go and are not held back, store by store."""
        return sum(each.open_count for each in self.counts)

    def count_of(self, store: str) -> PurgeCount | None:
        """Return what was counted of a store."""
        return next((each for each in self.counts if each.store == store), None)

    def last_plan_of(self, store: str) -> Plan | None:
        """Return the newest plan that has the store."""
        return next((each for each in self.plans if each.ended_at and store in each.stores), None)


def purge_status(connection: Connection) -> PurgeStatus:
    """Return what the status page shows."""
    return PurgeStatus(
        stores=tuple(StoreStatus(**row) for row in connection.execute(_STORES).mappings()),
        counts=purge_counts(connection),
        plans=newest_plans(connection),
        waiting=tuple(Plan(**row) for row in connection.execute(_WAITING).mappings()),
        unfinished=tuple(Plan(**row) for row in connection.execute(_UNFINISHED).mappings()),
    )


def newest_plans(connection: Connection) -> tuple[Plan, ...]:
    """Return the newest plans, newest first."""
    return tuple(Plan(**row) for row in connection.execute(_NEWEST).mappings())


def plan_status(connection: Connection, plan_id: int) -> Plan | None:
    """Return a plan, None where there is none of this number."""
    row = connection.execute(_PLAN, {"plan_id": plan_id}).mappings().one_or_none()
    return None if row is None else Plan(**row)


def plan_receipts(connection: Connection, plan_id: int) -> list[dict[str, Any]]:
    """Return the receipts of a plan, counted per store."""
    return [dict(row) for row in connection.execute(_RECEIPTS_OF_PLAN, {"plan_id": plan_id}).mappings()]


def first_plan_files(connection: Connection, plan_id: int) -> list[dict[str, Any]]:
    """Return the first files of a plan, and one more if there are more than the page shows."""
    query = text(f"{_PLAN_FILES} LIMIT {PAGE_FILES + 1}")
    return [dict(row) for row in connection.execute(query, {"plan_id": plan_id}).mappings()]


def all_plan_files(connection: Connection, plan_id: int) -> Iterator[dict[str, Any]]:
    """Give all files of a plan in order, in bounded memory."""
    result = connection.execution_options(yield_per=2000).execute(text(_PLAN_FILES), {"plan_id": plan_id})
    for row in result.mappings():
        yield dict(row)


def story_of_asset(connection: Connection, asset_id: str) -> Iterator[dict[str, Any]]:
    """Give what happened to an asset, oldest first: Deletes, receipts, holds and waivers."""
    result = connection.execution_options(yield_per=2000).execute(text(_STORY), {"asset_id": asset_id})
    for row in result.mappings():
        yield dict(row)
