"""What the compliance report says of files: receipts per store, what is open, and the checks of the clean verdict.

Where no store of files is configured, none of the checks finds anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.warehouse.compliance import Check, Span
from asset_changes.warehouse.purge_counts import PurgeCount, purge_counts

_COUNTED_WITHIN = "interval '1 day'"

# An asset is gone once per plan: the receipt that nothing was found is the only one of its asset in a plan, so that the
# few others alone need be sorted.
RECEIPTS = """
SELECT f.store, uri, configured_at, coalesce(gone, 0) AS gone_count, coalesce(deleted, 0) AS deleted_count,
       coalesce(nothing_found, 0) AS nothing_found_count, coalesce(failed, 0) AS failed_count
FROM file_stores AS f
LEFT JOIN (
    SELECT store, count(*) FILTER (WHERE is_gone AND result = 'nothing_found')
               + count(DISTINCT (plan_id, asset_id)) FILTER (WHERE is_gone AND result <> 'nothing_found') AS gone,
           count(*) FILTER (WHERE result = 'deleted') AS deleted,
           count(*) FILTER (WHERE result IN ('nothing_found', 'missing')) AS nothing_found,
           count(*) FILTER (WHERE result = 'error') AS failed
    FROM purges WHERE removed_at >= :since AND removed_at < :until GROUP BY store
) AS receipts USING (store)
WHERE unconfigured_at IS NULL
ORDER BY f.store
""".strip()

NOT_COVERED = """
SELECT 0 AS channel_id, source AS what, held_count AS count
FROM holding_counts
WHERE EXISTS (SELECT FROM file_stores WHERE unconfigured_at IS NULL)
  AND source NOT IN (SELECT store FROM file_stores WHERE unconfigured_at IS NULL)
ORDER BY source
""".strip()

FILES_OPEN = f"""
SELECT 0 AS channel_id, store AS what, open_count AS count
FROM file_stores LEFT JOIN (SELECT * FROM purge_counts WHERE counted_at > now() - {_COUNTED_WITHIN}) AS counts
    USING (store)
WHERE unconfigured_at IS NULL AND (open_count IS NULL OR open_since < :until)
ORDER BY store
""".strip()

FILES_HELD_BACK = """
SELECT 0 AS channel_id, concat(store, ', by ', (SELECT string_agg(owner, ', ' ORDER BY owner)
       FROM jsonb_object_keys(held_back_by) AS owner)) AS what, held_back_count AS count
FROM purge_counts WHERE held_back_count > 0
ORDER BY store
""".strip()

FILES_FAILED = """
SELECT 0 AS channel_id, store AS what, count(DISTINCT (key, version_id)) AS count
FROM purges AS p
WHERE result = 'error' AND removed_at >= :since AND removed_at < :until
  AND NOT EXISTS (SELECT FROM purges AS later WHERE later.asset_id = p.asset_id AND later.store = p.store
                  AND later.receipt_id > p.receipt_id AND later.is_gone)
GROUP BY store ORDER BY store
""".strip()

# One line per Delete and store, those first that are neither gone nor waived.
FILES = """
SELECT store, asset_id, channel_id, change_set_id, position, deleted_at, received_at, applied_at, planned_at, gone_at,
       removed_count, failed_count, plan_id, approved_by, held_back_by, waived_at, waived_by, is_live_again
FROM removal_evidence
WHERE received_at >= :since AND received_at < :until AND store IS NOT NULL
ORDER BY gone_at IS NOT NULL OR waived_at IS NOT NULL OR is_live_again, held_back_by IS NOT NULL, received_at, store,
         asset_id
""".strip()

FILE_QUERIES = {"Receipts, per store": RECEIPTS, "Every Delete in each store (the CSV of files)": FILES}

PURGE_CHECKS = (
    Check(
        name="files_open",
        query=FILES_OPEN,
        column="count",
        says="Files of {count:,} assets must still go from {what}.",
        unknown="It is not known what must still go from {what}: it was not counted within a day.",
        resolved_by="A run of asset_changes_purge with ASSET_CHANGES_PURGE=on. If they were not counted: a green run "
        "of asset_changes_watch.",
    ),
    Check(
        name="files_held_back",
        query=FILES_HELD_BACK,
        column="count",
        says="Files of {count:,} assets that must go are held back: {what}.",
        resolved_by="The end of the hold, or a waiver, by asset_changes_hold.",
    ),
    Check(
        name="files_failed",
        query=FILES_FAILED,
        column="count",
        says="{count:,} files could not be deleted from {what}, and are not known to be gone since.",
        resolved_by="What the receipts name: a right, an object lock. Each run of asset_changes_purge tries again.",
    ),
    Check(
        name="files_not_covered",
        query=NOT_COVERED,
        column="count",
        says="{what} holds {count:,} assets and is not a store of files: nothing is known of its files.",
        resolved_by="A store of this name in ASSET_CHANGES_FILE_STORES; or a procedure of your own.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class StoreReceipts:
    """A store with its receipts of a span: assets gone, once per plan; files, once per try."""

    store: str
    uri: str
    configured_at: datetime
    gone_count: int
    deleted_count: int
    nothing_found_count: int
    failed_count: int
    count: PurgeCount | None


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What a report says of files; `not_covered` are sources that are no stores, with what they hold."""

    stores: tuple[StoreReceipts, ...]
    not_covered: Mapping[str, int]


def file_report(connection: Connection, span: Span) -> FileReport:
    """Return what the report of a span says of files."""
    counts = {each.store: each for each in purge_counts(connection)}
    found = connection.execute(text(RECEIPTS), _days(span)).mappings()
    return FileReport(
        stores=tuple(StoreReceipts(**row, count=counts.get(row["store"])) for row in found),
        not_covered={row["what"]: row["count"] for row in connection.execute(text(NOT_COVERED)).mappings()},
    )


def files(connection: Connection, span: Span) -> Iterator[dict[str, Any]]:
    """Give every Delete of a span for each store that it concerns, open ones first, in bounded memory."""
    result = connection.execution_options(yield_per=2000).execute(text(FILES), _days(span))
    for row in result.mappings():
        yield dict(row)


def _days(span: Span) -> dict[str, Any]:
    return {name: span.values[name] for name in ("since", "until")}
