"""The checks of the clean verdict that concern what the company holds; the others are in `clean_verdict.py`.

Where no list of holdings was ever imported and Getty was never asked, none of them finds anything.
"""

from asset_changes.warehouse.compliance import Check
from asset_changes.warehouse.reconciliations import COUNTING, RECONCILED_AT

_COUNTED_WITHIN = "interval '1 day'"

# The counts, since looking at every held asset takes longer than a page may.
REMOVALS_OPEN = f"""
WITH counted AS (
    SELECT counts.* FROM (SELECT DISTINCT source FROM holding_imports WHERE refused_why IS NULL) AS sources
    LEFT JOIN holding_counts AS counts
        ON counts.source = sources.source AND counts.counted_at > now() - {_COUNTED_WITHIN}
)
SELECT 0 AS channel_id, CASE WHEN count IS NULL THEN '' ELSE what END AS what, CAST(sum(count) AS bigint) AS count
FROM counted CROSS JOIN LATERAL (VALUES
    ('Getty deleted them', deleted_count, deleted_since),
    ('they are not in the catalogue any more', not_in_catalogue_count, not_in_catalogue_since),
    ('they are not licensed to this account', not_licensed_count, not_licensed_since)
) AS reasons (what, count, since)
WHERE count IS NULL OR (count > 0 AND since < :until)
GROUP BY 2
""".strip()

# A later one whose verdicts count makes up for one that ended without: of the same connection, or of all its channels,
# where another connection asks today.
BRAKED = f"""
SELECT 0 AS channel_id, CASE outcome WHEN 'waiting' THEN 'an approval waits'
       WHEN 'refused' THEN 'the approval was refused'
       WHEN 'expired' THEN 'nobody answered in time'
       ELSE 'it was given up, as where the answers of Getty cannot be right' END AS what
FROM reconciliations AS r
WHERE started_at < :until AND outcome IN ('waiting', 'refused', 'expired', 'void')
  AND (outcome = 'waiting' OR NOT EXISTS (
      SELECT FROM reconciliations AS later
      WHERE later.reconciliation_id > r.reconciliation_id
        AND (later.conn_id = r.conn_id OR later.channel_ids @> r.channel_ids)
        AND later.outcome IN {COUNTING}))
""".strip()

# One that was begun and does not end is overdue too: another connection's may be completed every day.
OVERDUE = f"""
SELECT 0 AS channel_id, CAST(NULL AS integer) AS count
FROM (
    SELECT least(coalesce(({RECONCILED_AT}), min(ended_at)),
                 (SELECT min(started_at) FROM reconciliations WHERE outcome IS NULL)) AS since
    FROM holding_imports WHERE refused_why IS NULL
) AS last
WHERE since < least(now(), :until) - CAST(:reconciled_within AS interval)
""".strip()

REMOVAL_CHECKS = (
    Check(
        name="removals_open",
        query=REMOVALS_OPEN,
        column="count",
        says="{count:,} assets that you hold must be removed, because {what}.",
        unknown="It is not known how many assets that you hold must be removed: they were not counted within a day.",
        resolved_by="A receipt that its files are gone from the store of that name, a waiver (asset_changes_hold), or "
        "a newer New or Update. A shorter list does not end it. If they were not counted: a green run of "
        "asset_changes_watch.",
    ),
    Check(
        name="reconciliation_braked",
        query=BRAKED,
        says="{count:,} reconciliations have no verdicts that count: {what}.",
        resolved_by="An approval, where one waits (Required Actions, task `judge` of asset_changes_lookup). Else a "
        "later reconciliation whose verdicts count.",
    ),
    Check(
        name="reconciliation_overdue",
        query=OVERDUE,
        column="count",
        says="",
        unknown="It is not known whether all that you hold may still be held: no reconciliation was completed within "
        "ASSET_CHANGES_RECONCILE_DAYS and two days more.",
        resolved_by="A reconciliation whose verdicts count: unpause asset_changes_lookup, or read its red task.",
    ),
)
