"""What the watchdog checks of the DAG *Look up assets*.

None is true before a person has switched it on: then nothing waits.
"""

from asset_changes.monitoring.condition import NO_CHANNEL, Condition

# Whoever is refused or has no calls left, while nothing waits, misses nothing. Rows that are to wait do not count.
_WAITS = "EXISTS (SELECT FROM lookup_queue WHERE not_before <= CAST(:now AS timestamptz))"

# It stays for a day below the limit: a first seeding that takes a week is one message, not seven.
_CAPPED = f"""
    SELECT {NO_CHANNEL} AS channel_id, min(reached_at) AS since,
           string_agg(DISTINCT conn_id, ', ' ORDER BY conn_id) AS connections
    FROM (
        SELECT conn_id, max(hour) AS reached_at FROM lookup_calls
        WHERE hour >= date_trunc('day', CAST(:now AS timestamptz) - interval '1 day', 'UTC') AND calls > 0
        GROUP BY conn_id, date_trunc('day', hour, 'UTC') HAVING sum(calls) >= :lookups_per_day
    ) AS days
    WHERE {_WAITS}
    HAVING count(*) > 0"""

LOOKUP_CONDITIONS = (
    Condition(
        name="lookups_capped",
        title="Lookups at the day's limit",
        says="has used all calls of a day with {connections}, while assets wait",
        next_step="Wait, if this is the first time that all assets are looked up: it continues at midnight UTC. Else "
        "ask Getty for more calls and raise ASSET_CHANGES_LOOKUPS_PER_DAY.",
        needs_metadata=True,
        has_channel=False,
        query=_CAPPED,
    ),
    Condition(
        name="lookups_refused",
        title="Lookups refused",
        says="has had no answer for {span}: {errors}",
        next_step="Read the last line of the red task's log in asset_changes_lookup: it says what to fix. The queue "
        "stays as it is.",
        needs_metadata=True,
        has_channel=False,
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, min(coalesce(last_answer_at, error_at)) AS since,
                   left(string_agg(format('%s says %s', conn_id, error), '; ' ORDER BY conn_id), 400) AS errors
            FROM lookup_connections
            WHERE error IS NOT NULL AND coalesce(last_answer_at, error_at) < :now - :unchecked AND {_WAITS}
            HAVING count(*) > 0""",
    ),
    Condition(
        name="metadata_backlog",
        title="Metadata late",
        says="has kept an asset waiting for {span}",
        next_step="Open asset_changes_lookup: is it paused, or is its last run red? If it is green, it has more to ask "
        "than its calls allow: ask Getty for more calls, or set ASSET_CHANGES_METADATA=off.",
        needs_metadata=True,
        has_channel=False,
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, min(enqueued_at) AS since FROM lookup_queue WHERE tries = 0
            HAVING min(enqueued_at) < :now - :metadata""",
    ),
    Condition(
        name="approval_waits",
        title="An approval waits",
        says="found {gone:,} of {asked:,} assets gone with {conn_id}, which is over the limit, and has waited for a "
        "person for {span}; until {until}",
        next_step="Read what was found on the page Asset changes, then answer in Airflow: Required Actions, task "
        "`judge` of asset_changes_lookup. Approve if these assets are really gone; reject if the token is of another "
        "agreement. Until then no verdict of this reconciliation counts.",
        over="is over: somebody answered, or the time to answer ended",
        has_channel=False,
        query=f"""
            SELECT {NO_CHANNEL} AS channel_id, coalesce(asked_at, started_at) AS since, conn_id, asked_count AS asked,
                   not_licensed_count + not_in_catalogue_count AS gone,
                   coalesce(to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), 'it is answered')
                       AS until
            FROM reconciliations
            WHERE outcome = 'waiting' AND coalesce(asked_at, started_at) < :now - :approval
            ORDER BY since LIMIT 1""",
    ),
)
