"""The alerts of the purge: files that should be gone, a purge that has stopped, and plans that wait for a person.

How many assets must go is read from `purge_counts`, as the watchdog and the last purge counted them.
"""

from asset_changes.monitoring.condition import NO_CHANNEL, Condition

_PURGE = "Purge files"

# Tried again by each run: what was deleted since, is live again, waived or held back is over.
_FAILED = f"""
    SELECT {NO_CHANNEL} AS channel_id, min(removed_at) AS since,
           string_agg(DISTINCT store, ', ' ORDER BY store) AS stores,
           count(DISTINCT (store, key, version_id)) AS count,
           left((array_agg(error ORDER BY receipt_id DESC))[1], 300) AS error
    FROM purges AS p
    WHERE result = 'error' AND removed_at > :now - :recent
      AND NOT EXISTS (SELECT FROM purges AS later WHERE later.asset_id = p.asset_id AND later.store = p.store
                      AND later.receipt_id > p.receipt_id AND later.is_gone)
      AND NOT EXISTS (SELECT FROM asset_states AS s WHERE s.asset_id = p.asset_id AND p.reason = 'deleted'
                      AND s.upserted_at > s.deleted_at)
      AND NOT EXISTS (SELECT FROM purge_waivers AS w WHERE w.asset_id = p.asset_id AND w.waived_at > p.removed_at
                      AND (w.source IS NULL OR w.source = p.store))
      AND NOT EXISTS (SELECT FROM purge_holds AS o WHERE o.asset_id = p.asset_id AND o.released_at IS NULL
                      AND (o.until IS NULL OR o.until > :now))
    HAVING count(*) > 0"""

PURGE_CONDITIONS = (
    Condition(
        name="files_due",
        title="Files not deleted",
        says="has {count:,} assets whose files had to be deleted; the oldest for {span}",
        next_step="Open asset_changes_purge: is it paused, is its last run red, or does a plan wait for approval? What "
        "must stay gets a hold or a waiver, by asset_changes_hold.",
        has_channel=False,
        dag_name=_PURGE,
        # Since the purge is on, if that is later: what was due before is worked off first.
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, min(greatest(open_since, newest.on_since)) AS since,
                   CAST(sum(open_count) AS bigint) AS count
            FROM (SELECT mode, (SELECT min(made_at) FROM purge_plans WHERE mode = 'on') AS on_since
                  FROM purge_plans ORDER BY plan_id DESC LIMIT 1) AS newest
            CROSS JOIN purge_counts
            WHERE newest.mode = 'on' AND greatest(open_since, newest.on_since) < :now - :purge AND open_count > 0
            HAVING count(*) > 0""",
    ),
    Condition(
        name="purge_stopped",
        title="The purge has stopped",
        says="has listed nothing in {stores} for {span}, while {count:,} assets must go",
        next_step="Open asset_changes_purge: is it paused? Switch it on. Is its last run red? Its log says what to do.",
        has_channel=False,
        dag_name=_PURGE,
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, min(listed_at) AS since, CAST(sum(open_count) AS bigint) AS count,
                   string_agg(store, ', ' ORDER BY store) AS stores
            FROM purge_counts JOIN file_stores USING (store)
            CROSS JOIN LATERAL (
                SELECT greatest(configured_at, max(ended_at)) AS listed_at FROM purge_plans
                WHERE stores ? store AND stores -> store ->> 'error' IS NULL) AS last
            WHERE open_count > 0 AND listed_at < :now - :purge
            HAVING count(*) > 0""",
    ),
    Condition(
        name="purge_failed",
        title="Files that cannot be deleted",
        says="could not delete {count:,} files of {stores}: {error}",
        next_step="Read the error: a right that is missing, an object lock, a link in the place of a file. Each run "
        "tries again. What must stay gets a hold or a waiver, by asset_changes_hold.",
        has_channel=False,
        dag_name=_PURGE,
        query=_FAILED,
    ),
    Condition(
        name="purge_waits",
        title="A purge waits for approval",
        says="has a plan to delete {files:,} files that has waited for a person for {span}: {brake}",
        next_step="Read the plan on the page Asset changes, then answer in Airflow: Required Actions, task `approve` "
        "of asset_changes_purge. Until then nothing is deleted.",
        over="is over: somebody answered, or the time to answer ended",
        has_channel=False,
        dag_name=_PURGE,
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, ended_at AS since, file_count AS files, brake
            FROM purge_plans WHERE outcome = 'waiting' AND expires_at > :now AND ended_at < :now - :approval
            ORDER BY plan_id LIMIT 1""",
    ),
)
