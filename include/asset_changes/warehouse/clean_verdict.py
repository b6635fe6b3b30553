"""The checks that must all be zero before the compliance report calls a span clean.

Each is judged by what was received in the span, not by what was loaded. Whoever adds a check adds it here: the page,
the print and the CSV take them from this list.
"""

from asset_changes.warehouse.channel_health import IS_POSSIBLE_LOSS, REPLAY_DUE_SINCE, UNREAD_KEPT
from asset_changes.warehouse.compliance import REMOVALS, UNREAD, Check
from asset_changes.warehouse.purge_report import PURGE_CHECKS
from asset_changes.warehouse.removal_checks import REMOVAL_CHECKS

MAY_BE_DELETE = """(r.reason <> 'no_time' OR r.asset_lifecycle IS NULL
        OR lower(r.asset_lifecycle) IN ('delete', 'deleted'))"""
"""Of a rejected change `r`: it is a Delete, or its id or lifecycle was not read, so that it may be one."""

ARCHIVE_CHECKED_WITHIN = "interval '1 day'"
REPLAYED_WITHIN = "interval '36 hours'"

# "No Delete was received" is nothing good of days on which nobody asked yet. The first and the last day may be a part.
OUTSIDE_RECORD = """
WITH record AS (
    SELECT min(channel_id) AS channel_id,
           least(min(discovered_at), (SELECT min(fetched_at) FROM change_sets)) AS begins
    FROM channels
)
SELECT coalesce(channel_id, 0) AS channel_id, what, CAST(floor(extract(epoch FROM length) / 86400) AS integer) AS count
FROM record CROSS JOIN LATERAL (VALUES
    (coalesce('the record begins on ' || to_char(begins AT TIME ZONE 'UTC', 'YYYY-MM-DD'), 'there is no record yet'),
     least(begins, :until) - :since),
    ('they are still to come', :until - greatest(now(), :since))
) AS days (what, length)
WHERE length >= interval '1 day'
""".strip()

# A set that was handed out again may wait for what came later than its first delivery.
NOT_LOADED = """
SELECT channel_id, change_set_id, fetched_at
FROM change_sets
WHERE loaded_at IS NULL AND fetched_at < :until AND (fetched_at >= :since OR redelivered_count > 0)
ORDER BY fetched_at, channel_id
""".strip()

_ARCHIVE = f"""
SELECT channel_id, CASE WHEN found > 0 OR archive_checked_at > now() - {ARCHIVE_CHECKED_WITHIN} THEN found END AS count
FROM (
    SELECT channel_id, count(*) AS found FROM (
        SELECT channel_id FROM archive_findings
        WHERE kind = 'KIND' AND settled_at IS NULL AND received_at >= :since AND received_at < :until
    ) AS open GROUP BY channel_id
    UNION ALL
    SELECT channel_id, 0 FROM channels WHERE channel_id NOT IN (
        SELECT channel_id FROM archive_findings
        WHERE kind = 'KIND' AND settled_at IS NULL AND received_at >= :since AND received_at < :until)
) AS by_channel LEFT JOIN channels USING (channel_id)
ORDER BY channel_id
""".strip()
_UNCHECKED_ARCHIVE = "It is not known whether {what}: the archive was not checked within a day, {{channels}}."

# What a later delivery of its set brought was received when it was rejected, not when the first one came.
REJECTED = f"""
SELECT channel_id, count(*) AS count
FROM rejected_changes AS r LEFT JOIN change_sets AS s USING (channel_id, change_set_id)
WHERE dismissed_at IS NULL AND {MAY_BE_DELETE}
  AND (s.fetched_at >= :since AND s.fetched_at < :until
       OR coalesce(s.redelivered_count > 0 AND s.rebuilt_at IS NULL, true)
          AND r.rejected_at >= :since AND r.rejected_at < :until)
GROUP BY channel_id ORDER BY channel_id
""".strip()

POSSIBLE_LOSS = f"""
SELECT channel_id, unread_to - unread_from AS took FROM feed_gaps
WHERE reconciled_at IS NULL AND {IS_POSSIBLE_LOSS}
  AND unread_to > :since AND unread_from < :until
UNION ALL
SELECT channel_id, now() - unread_since FROM channel_health
WHERE retired_at IS NULL AND now() - unread_since > interval '{UNREAD_KEPT.days} days'
  AND unread_since < :until AND now() > :since
""".strip()

# Airflow knows which DAGs are paused or missing, the warehouse does not: they are handed in.
WITHOUT_READER = """
SELECT channel_id FROM channel_health
WHERE retired_at IS NULL AND coalesce(discovered_at, '-infinity') < :until
  AND (last_checked_at IS NULL OR (channel_id = ANY (CAST(:without_dag AS integer[])) AND :until > now()))
ORDER BY channel_id
""".strip()

MISSING_CHANNELS = """
SELECT channel_id FROM channel_health
WHERE retired_at IS NULL AND missing_since < :until
ORDER BY channel_id
""".strip()

CONFIRMED_ELSEWHERE = """
SELECT channel_id, count(*) AS count FROM confirmed_elsewhere
WHERE fetched_at >= :since AND fetched_at < :until
GROUP BY channel_id ORDER BY channel_id
""".strip()

CORRECTIONS = """
SELECT c.channel_id, count(DISTINCT (c.change_set_id, c.position)) AS count
FROM deletion_corrections AS c
LEFT JOIN deletions AS d USING (channel_id, change_set_id, position)
WHERE coalesce(d.received_at, c.corrected_at) >= :since AND coalesce(d.received_at, c.corrected_at) < :until
GROUP BY c.channel_id ORDER BY c.channel_id
""".strip()

REPLAY_OVERDUE = f"""
SELECT channel_id, CAST(NULL AS integer) AS count FROM channel_health
WHERE retired_at IS NULL AND {REPLAY_DUE_SINCE} < now() - {REPLAYED_WITHIN}
ORDER BY channel_id
""".strip()

REPLAY_CHANGED = """
SELECT channel_id, replay_changed_count AS count FROM channels
WHERE replay_changed_count > 0
ORDER BY channel_id
""".strip()

# The last word that was received is a Delete, and yet the asset is live, because an upsert that came earlier is dated
# later. By the feed's own order the asset is live; by the order of arrival it should be gone. A person must look.
# Getty often repeats a Delete in other channels: each asset counts once, in the channel of its last Delete.
OUTRANKED = """
SELECT channel_id, count(*) AS count
FROM (
    SELECT DISTINCT ON (d.asset_id) d.channel_id
    FROM deletions AS d
    JOIN asset_states AS a ON a.asset_id = d.asset_id AND a.upserted_at > a.deleted_at
    JOIN change_sets AS u ON u.channel_id = a.channel_id AND u.change_set_id = a.upsert_change_set_id
    WHERE d.received_at >= :since AND d.received_at < :until AND u.fetched_at < d.received_at
    ORDER BY d.asset_id, d.received_at DESC, d.channel_id
) AS last_deletes
GROUP BY channel_id ORDER BY channel_id
""".strip()


def _archive_check(kind: str, *, says: str, what: str, resolved_by: str) -> Check:
    return Check(
        name=kind,
        query=_ARCHIVE.replace("KIND", kind),
        column="count",
        says=says,
        unknown=_UNCHECKED_ARCHIVE.format(what=what),
        resolved_by=resolved_by,
    )


CHECKS = (
    Check(
        name="outside_record",
        query=OUTSIDE_RECORD,
        column="count",
        says="Nothing is known of {count:,} of these days, because {what}.",
        resolved_by="A span of days on which Getty was asked.",
    ),
    Check(
        name="late",
        query=REMOVALS,
        column="late",
        says="{count:,} Deletes were, or may have been, applied later than their limit: {channels}.",
        resolved_by="Nothing: it happened. The CSV names each of them.",
    ),
    Check(
        name="not_loaded",
        query=NOT_LOADED,
        says="{count:,} change sets are archived but not loaded, and the Deletes they carry are not counted: "
        "{channels}.",
        resolved_by="Their load: open the channel's DAG, its red task says what stops it.",
    ),
    _archive_check(
        "unreadable",
        says="{count:,} bodies were received that could not be read, and may hold Deletes: {channels}.",
        what="bodies were received that could not be read",
        resolved_by="Code that reads them, and a replay of their day; or their dismissal by a person.",
    ),
    _archive_check(
        "not_in_ledger",
        says="{count:,} archived change sets are not in the ledger, and the Deletes they carry are not counted: "
        "{channels}.",
        what="the archive holds change sets that the ledger does not",
        resolved_by="A run of asset_changes_replay with `only_missing`.",
    ),
    Check(
        name="rejected",
        query=REJECTED,
        column="count",
        says="{count:,} messages were rejected that are Deletes, or may be: {channels}.",
        resolved_by="Code that reads them, and a replay of their day; or their dismissal by a person.",
    ),
    Check(
        name="unread",
        query=UNREAD,
        says="The feed was not read, for up to {longest} (spans: {count:,}), because {what}: {channels}.",
        resolved_by="A span that is over stays in the report. One that is open ends when the channel is read again, "
        "one of a channel that Getty no longer lists, when a person takes note of it.",
    ),
    Check(
        name="possible_loss",
        query=POSSIBLE_LOSS,
        says="The feed was not read for up to {longest}, and Getty drops what is unread for 14 days. Deletes may never "
        "have arrived: {channels}.",
        resolved_by="A run of asset_changes_lookup with the end of the gap as `not_asked_since`; or a comparison of "
        "the copy with Getty's catalogue, then its dismissal by a person.",
    ),
    Check(
        name="without_reader",
        query=WITHOUT_READER,
        says="{count:,} channels are listed by Getty and have no reader: {channels}. Their DAG is paused or missing, "
        "or has had no answer yet.",
        resolved_by="A run of the channel's DAG.",
    ),
    Check(
        name="missing_channels",
        query=MISSING_CHANNELS,
        says="{count:,} channels are missing from Getty's list: {channels}.",
        resolved_by="The next lists: the channel is listed again, or it is retired.",
    ),
    Check(
        name="confirmed_elsewhere",
        query=CONFIRMED_ELSEWHERE,
        column="count",
        says="{count:,} change sets were confirmed by somebody else: {channels}. What the other reader took alone "
        "never came here.",
        resolved_by="Nothing: it happened. Stop the other reader, then run asset_changes_lookup with that time as "
        "`not_asked_since`.",
    ),
    Check(
        name="rebuilt",
        query=REMOVALS,
        column="rebuilt",
        says="{count:,} Deletes were written again by a replay, and when they were first applied is not known: "
        "{channels}.",
        resolved_by="A restore of the table `deletions` from a backup, if there is one.",
    ),
    Check(
        name="was_held_unknown",
        query=REMOVALS,
        column="unknown",
        says="Of {count:,} Deletes it is not known whether their asset was live: {channels}.",
        resolved_by="Nothing: a rebuild cannot know it.",
    ),
    Check(
        name="time_inferred",
        query=REMOVALS,
        column="inferred",
        says="{count:,} Deletes came without a usable time, so theirs is inferred: {channels}.",
        resolved_by="Nothing: Getty sent no time.",
    ),
    Check(
        name="corrected",
        query=CORRECTIONS,
        column="count",
        says="{count:,} messages were applied as Deletes that newer code reads differently: {channels}.",
        resolved_by="Nothing: it happened. The table `deletion_corrections` names each of them.",
    ),
    _archive_check(
        "damaged",
        says="{count:,} objects in the archive are damaged: {channels}. The warehouse cannot be rebuilt from them.",
        what="objects in the archive are damaged",
        resolved_by="Their restore from a backup of the archive; or their dismissal by a person.",
    ),
    _archive_check(
        "missing",
        says="{count:,} objects are missing from the archive: {channels}. The warehouse cannot be rebuilt without "
        "them.",
        what="objects are missing from the archive",
        resolved_by="Their restore from a backup of the archive; or their dismissal by a person.",
    ),
    Check(
        name="replay_overdue",
        query=REPLAY_OVERDUE,
        column="count",
        says="",
        unknown="It is not known whether the tables still hold what was received: the nightly replay was not completed "
        "within 36 hours, {channels}.",
        resolved_by="A nightly run of asset_changes_replay that is green.",
    ),
    Check(
        name="replay_changed",
        query=REPLAY_CHANGED,
        column="count",
        says="The last nightly replay had to change {count:,} rows: {channels}. The tables had differed from what was "
        "received.",
        resolved_by="A nightly replay that changes nothing.",
    ),
    Check(
        name="outranked",
        query=OUTRANKED,
        column="count",
        says="{count:,} assets are live although the last word received of them is a Delete: {channels}. A New or "
        "Update that came earlier is dated later.",
        resolved_by="A newer message about the asset. Until then look it up at Getty.",
    ),
    *REMOVAL_CHECKS,
    *PURGE_CHECKS,
)
"""In the order of the page."""
