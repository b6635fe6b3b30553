"""The alerts of the purge: files that should be gone, and plans that wait for a person."""

from asset_changes.monitoring.condition import NO_CHANNEL, Condition

PURGE_CONDITIONS = (
    Condition(
        name="files_due",
        title="Files not deleted",
        says="has {count:,} assets whose files had to be deleted; the oldest for {span}",
        next_step="Open asset_changes_purge: is it paused, is its last run red, or does a plan wait for approval? What "
        "must stay gets a hold or a waiver, by asset_changes_hold.",
        has_channel=False,
        # Since the purge is on, if that is later: what was due before is worked off first.
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, min(greatest(due_since, newest.on_since)) AS since, count(*) AS count
            FROM (SELECT mode, (SELECT min(made_at) FROM purge_plans WHERE mode = 'on') AS on_since
                  FROM purge_plans ORDER BY plan_id DESC LIMIT 1) AS newest
            CROSS JOIN assets_to_remove
            WHERE newest.mode = 'on' AND reason = 'deleted' AND NOT is_held_back
              AND source IN (SELECT store FROM file_stores)
              AND greatest(due_since, newest.on_since) < :now - :purge
            HAVING count(*) > 0""",
    ),
    Condition(
        name="purge_waits",
        title="A purge waits for approval",
        says="has a plan to delete {files:,} files that has waited for a person for {span}: {brake}",
        next_step="Read the plan in purge_plan_files, then answer in Airflow: Required Actions, task `approve` of "
        "asset_changes_purge. Until then nothing is deleted.",
        over="is over: somebody answered, or the time to answer ended",
        has_channel=False,
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, ended_at AS since, file_count AS files, brake
            FROM purge_plans WHERE outcome = 'waiting' AND expires_at > :now AND ended_at < :now - :approval
            ORDER BY plan_id LIMIT 1""",
    ),
)
