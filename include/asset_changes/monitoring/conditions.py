"""What the watchdog checks, as data: of each channel here, of the lookups in `lookup_conditions.py`."""

from asset_changes.monitoring.condition import Condition
from asset_changes.monitoring.lookup_conditions import LOOKUP_CONDITIONS
from asset_changes.monitoring.purge_conditions import PURGE_CONDITIONS
from asset_changes.warehouse.channel_health import IS_POSSIBLE_LOSS, REPLAY_DUE_SINCE
from asset_changes.warehouse.clean_verdict import MAY_BE_DELETE

# Ids that Getty counts up one by one, for the account or for each channel: then a number that nobody here has seen was
# handed out to somebody else. Where they are not counted so, nothing can be said.
_SKIPPED = """
    WITH numbered AS (
        SELECT channel_id, change_set_id::bigint AS number, fetched_at FROM change_sets
        WHERE change_set_id ~ '^[0-9]{1,18}$' AND fetched_at > :now - interval '30 days'),
    steps AS (
        SELECT channel_id, fetched_at, number - lag(number) OVER (ORDER BY number) AS of_account,
               number - lag(number) OVER (PARTITION BY channel_id ORDER BY number) AS of_channel FROM numbered),
    counted AS (
        SELECT channel_id, count(of_channel) >= 20 AND avg((of_channel = 1)::int) >= 0.9 AS by_channel
        FROM steps GROUP BY channel_id),
    account AS (SELECT count(of_account) >= 20 AND avg((of_account = 1)::int) >= 0.9 AS is_counted FROM steps),
    skips AS (
        SELECT channel_id, fetched_at,
               CASE WHEN is_counted THEN of_account WHEN by_channel THEN of_channel END - 1 AS ids
        FROM steps JOIN counted USING (channel_id) CROSS JOIN account)
    SELECT channel_id, min(fetched_at) AS since, least(sum(ids), 2147483647)::int AS count FROM skips
    WHERE ids > 0 AND fetched_at BETWEEN :now - :recent AND :now - interval '15 minutes'
    GROUP BY channel_id"""  # another channel's set may be in flight for so long

# Sessions of ours name their channel. Of one that waits for a lock it is said who has it, by its name in Postgres.
_BLOCKED = """
    SELECT DISTINCT ON (channel_id) channel_id, since, pid, why FROM (
        SELECT CAST(substring(application_name FROM 'channel=([0-9]{1,9})') AS integer) AS channel_id, pid,
               CASE WHEN wait_event_type = 'Lock' THEN query_start ELSE state_change END AS since,
               CASE WHEN wait_event_type = 'Lock' THEN 'waits for a lock of ' || coalesce((
                    SELECT string_agg(format('pid %s (%s, in a transaction since %s)', other.pid,
                        coalesce(nullif(other.application_name, ''), 'without a name'),
                        coalesce(to_char(other.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'unknown')
                        ), ', ' ORDER BY other.xact_start)
                    FROM pg_stat_activity AS other WHERE other.pid = ANY (pg_blocking_pids(ours.pid))
                    ), 'a prepared transaction')
                    ELSE 'waits inside its transaction, as for an archive that is slow' END AS why
        FROM pg_stat_activity AS ours
        WHERE datname = current_database() AND application_name ~ '^asset_changes channel=[0-9]{1,9}$'
          AND (wait_event_type = 'Lock' OR state LIKE 'idle in transaction%')
    ) AS waiting
    WHERE since < :now - :blocked
    ORDER BY channel_id, since"""

_REJECTED = f"""
    SELECT channel_id, min(rejected_at) AS since, count(*) AS count,
           left(string_agg(DISTINCT reason, '; '), 200) AS reasons
    FROM rejected_changes AS r LEFT JOIN change_sets AS s USING (channel_id, change_set_id)
    WHERE dismissed_at IS NULL AND ({MAY_BE_DELETE} OR (rejected_at > :now - :recent AND s.rebuilt_at IS NULL))
    GROUP BY channel_id"""

_GAP = f"""
    SELECT channel_id, min(unread_from) AS since,
           floor(max(extract(epoch FROM unread_to - unread_from)) / 86400)::int AS days,
           to_char((max(unread_to) + interval '1 s') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS until
    FROM feed_gaps
    WHERE reconciled_at IS NULL AND {IS_POSSIBLE_LOSS}
    GROUP BY channel_id"""

_FINDINGS = """
    SELECT channel_id, min(received_at) AS since, count(*) AS count,
           (array_agg(archive_uri ORDER BY received_at, archive_uri))[1] AS first
    FROM archive_findings
    WHERE kind IN ({kinds}) AND settled_at IS NULL
    GROUP BY channel_id"""

ASK_AGAIN = (
    "trigger asset_changes_lookup with the end of the gap as `not_asked_since`. It asks Getty again about everything "
    "that is held or live."
)
"""What to do after a gap of more than 14 days, whose Deletes never come."""
_OPEN_DAG = "Open the channel's DAG in Airflow"

CONDITIONS = (
    Condition(
        name="unchecked",
        title="No answer",
        says="has given no answer for {span}",
        next_step=f"{_OPEN_DAG}: is it paused, or is its last run red? The last line of a red task's log says what to "
        "fix. If no run starts at all, check the scheduler. If it has no DAG any more, trigger asset_changes_watch "
        "with it as `gone_channel_id`.",
        query="""
            SELECT channel_id, unchecked_since AS since FROM channel_health
            WHERE retired_at IS NULL AND unchecked_since < :now - :unchecked""",
    ),
    Condition(
        name="behind",
        title="Behind",
        says="is not caught up, and lags by {span}",
        next_step=f"{_OPEN_DAG}: while `catch_up` is running and its log shows set after set, wait. Else its last run "
        "says what stops it.",
        needs_confirming=True,
        query="""
            SELECT channel_id, coalesce(lag_since, last_checked_at) AS since FROM channel_health
            WHERE retired_at IS NULL AND last_checked_at IS NOT NULL AND NOT is_caught_up
              AND coalesce(lag_since, last_checked_at) < :now - :lag""",
    ),
    Condition(
        name="unread",
        title="Notifications about to be lost",
        says="may hold notifications that are unread for {span}; Getty drops them after 14 days",
        next_step="Get the channel running today. What is dropped unread never comes again. After 14 days, once the "
        f"channel runs: {ASK_AGAIN}",
        needs_confirming=True,
        query="""
            SELECT channel_id, unread_since AS since FROM channel_health
            WHERE retired_at IS NULL AND unread_since < :now - :unread""",
    ),
    Condition(
        name="dormant",
        title="Channel about to be removed",
        says="was not asked for {span}; Getty has removed channels after 120 days",
        next_step="Unpause the channel's DAG, if only for one run. A removed channel comes back through Getty's sales "
        f"team alone. What it missed never comes; once it runs: {ASK_AGAIN}",
        query="""
            SELECT channel_id, unchecked_since AS since FROM channel_health
            WHERE retired_at IS NULL AND unchecked_since < :now - :dormant""",
    ),
    Condition(
        name="delete_overdue",
        title="Deletes over their limit",
        says="keeps Deletes waiting beyond their limit: sets not loaded yet {waiting:,}, sets loaded too late {late:,}",
        next_step=f"{_OPEN_DAG}: a red `transform` or `load` says what stops it; for a retired channel, trigger "
        "`asset_changes_replay` with `only_missing`. Late ones are named in the compliance report.",
        query="""
            SELECT channel_id, min(fetched_at) AS since, count(*) FILTER (WHERE loaded_at IS NULL) AS waiting,
                   count(*) FILTER (WHERE loaded_at IS NOT NULL) AS late
            FROM change_sets AS s
            WHERE (confirmed_at IS NULL AND loaded_at IS NULL AND fetched_at < :now - :delete)
               OR (loaded_at > :now - :recent
                   AND greatest(loaded_at, coalesce(committed_at, confirmed_at)) - fetched_at > :delete
                   AND EXISTS (SELECT FROM deletions AS d WHERE d.channel_id = s.channel_id
                       AND d.change_set_id = s.change_set_id AND NOT is_rebuilt
                       AND greatest(applied_at, coalesce(committed_at, confirmed_at)) - received_at > :delete))
            GROUP BY channel_id""",
    ),
    Condition(
        name="rejected",
        title="Rejected changes",
        says="sent changes that could not be applied: {count:,} ({reasons})",
        next_step="Read `rejected_changes`: reason and raw text of each. If Getty changed its spelling, teach "
        "`parsing.py` and replay the day; else ask Getty. What may be a Delete is open until it is read, or until you "
        "trigger asset_changes_watch with it as `dismiss`. Nothing else of these sets is held back.",
        query=_REJECTED,
    ),
    Condition(
        name="unconfirmed",
        title="Loaded but not confirmed",
        says="has a loaded change set that is unconfirmed for {span}, so nothing newer comes",
        next_step=f"{_OPEN_DAG} and read the log of `confirm` or `catch_up`; clear the red task once the cause is "
        "gone. A set that is loaded can be handed out again without harm.",
        needs_confirming=True,
        query="""
            SELECT channel_id, not_confirmed_since AS since FROM channel_health
            WHERE retired_at IS NULL AND not_confirmed_since < :now - :unconfirmed""",
    ),
    Condition(
        name="blocked",
        title="A load that waits",
        says="is read by a session that has waited for {span}: pid {pid} {why}",
        next_step="If another session holds the lock, end that one: `SELECT pg_terminate_backend(pid)`, or finish its "
        "transaction. If it waits for the archive, check the store behind ASSET_CHANGES_ARCHIVE_URI. The load goes "
        "through by itself then.",
        query=_BLOCKED,
    ),
    Condition(
        name="silent",
        title="Silent channel",
        says="answers, but has handed out nothing for {span}, which is unusually long for it",
        next_step="Check Getty's status page and ask Getty: its feed has stopped before without an error. Here "
        "nothing is wrong.",
        query="""
            WITH pauses AS (
                SELECT channel_id, newest_change_at - lag(newest_change_at)
                    OVER (PARTITION BY channel_id ORDER BY newest_change_at) AS pause
                FROM change_sets WHERE fetched_at > :now - interval '30 days' AND newest_change_at IS NOT NULL
            ), usual AS (SELECT channel_id, max(pause) AS longest FROM pauses GROUP BY channel_id)
            SELECT channel_id, coalesce(last_change_at, discovered_at) AS since
            FROM channel_health LEFT JOIN usual USING (channel_id)
            WHERE retired_at IS NULL AND is_caught_up AND last_checked_at > :now - :unchecked
              AND coalesce(last_change_at, discovered_at)
                  < :now - greatest(:silent, :silent_times * coalesce(longest, interval '0'))""",
    ),
    Condition(
        name="missing",
        title="Channel missing from the list",
        says="is missing from Getty's list, and is still read",
        next_step="Wait for the next list, or trigger asset_changes_discovery a day after the first that lacks it: if "
        "that one has the channel, all is well; if not, it is retired and no longer read. If all channels are missing, "
        "check with Getty whether this API key still has its rights.",
        over="is over: Getty lists it again, or it is retired",
        query="""
            SELECT channel_id, missing_since AS since FROM channel_health
            WHERE retired_at IS NULL AND missing_since IS NOT NULL""",
    ),
    Condition(
        name="vanished",
        title="Channel vanished",
        says="is no longer listed by Getty, so it is not read any more",
        next_step="Ask Getty what replaces it: its assets stay in the warehouse, and their Deletes come no more. If it "
        "is listed again, run asset_changes_discovery. If it is gone for good and you know what becomes of its "
        "assets, trigger asset_changes_watch with this channel as `gone_channel_id`.",
        over="is over: Getty lists it again, or somebody took note",
        query="""
            SELECT channel_id, retired_at AS since FROM channel_health WHERE is_vanished""",
    ),
    Condition(
        name="appeared",
        title="New channel",
        says="is new: Getty did not list it before",
        next_step="Nothing, if it is meant: its DAG reads it already. Consumers that pick channels by id may want it.",
        over="is no news any more",
        query="""
            SELECT channel_id, discovered_at AS since FROM channels
            WHERE retired_at IS NULL AND discovered_at > :now - :listed
              AND discovered_at > (SELECT min(discovered_at) FROM channels) + interval '1 hour'""",
    ),
    Condition(
        name="gap",
        title="Notifications may be lost",
        says="was not read for {days} days, until {until}, and Getty drops what is unread for 14: Deletes may never "
        "have arrived",
        next_step=f"{ASK_AGAIN[0].upper()}{ASK_AGAIN[1:]} It ends by itself when that is done. If you compared the "
        "copy with Getty's catalogue otherwise, trigger asset_changes_watch with `gap` and the channel's id as "
        "`dismiss`.",
        over="is over: what was lost in it was asked for",
        query=_GAP,
    ),
    Condition(
        name="unreadable",
        title="Bodies that could not be read",
        says="sent bodies whose structure is not understood: {count:,}; the first is {first}",
        next_step="Read it, teach `parsing.py` and replay its day: it may hold Deletes, and nothing of it is loaded. "
        "If it is nothing, trigger asset_changes_watch with its address as `dismiss`.",
        over="is over: they were read, or somebody dismissed them",
        query=_FINDINGS.format(kinds="'unreadable'"),
    ),
    Condition(
        name="not_in_ledger",
        title="Archived but not in the ledger",
        says="has change sets in the archive that the ledger does not hold as loaded: {count:,}; the first is {first}",
        next_step="If the channel is red, repair that first. After a restore of the warehouse: trigger "
        "`asset_changes_replay` with `only_missing`, which loads them. Else: does another deployment write into this "
        "archive?",
        query=_FINDINGS.format(kinds="'not_in_ledger'"),
    ),
    Condition(
        name="archive_damaged",
        title="Archive damaged",
        says="has objects in the archive that are damaged or missing: {count:,}; the first is {first}",
        next_step="Bring them back from a backup of the archive: the warehouse cannot be rebuilt without them. Then "
        "find what else writes there. Without a backup, trigger asset_changes_watch with the address as `dismiss`.",
        over="is over: they are back, or somebody dismissed them",
        query=_FINDINGS.format(kinds="'damaged', 'missing'"),
    ),
    Condition(
        name="replay_overdue",
        title="Nightly replay overdue",
        says="has had no nightly replay that was completed for {span}",
        next_step="Open asset_changes_replay: is it paused, or is its last run red? Until it is completed, nothing "
        "proves that the tables hold what was received.",
        query=f"""
            SELECT channel_id, {REPLAY_DUE_SINCE} AS since FROM channel_health
            WHERE retired_at IS NULL AND {REPLAY_DUE_SINCE} < :now - :replay""",
    ),
    Condition(
        name="replay_changed",
        title="Nightly replay changed rows",
        says="had rows changed by the last nightly replay, which must change none: {count:,}",
        next_step="The warehouse differed from its archive: rows were changed by hand, lost in a restore, or loaded "
        "wrongly. The replay has repaired them; find out who wrote into the tables.",
        query="""
            SELECT channel_id, CAST(:now AS timestamptz) AS since, replay_changed_count AS count FROM channels
            WHERE replay_changed_count > 0""",
    ),
    Condition(
        name="other_consumer",
        title="Another consumer",
        says="had change sets confirmed by somebody else: {count:,}",
        next_step="Find the other reader of this channel (an old job, a second deployment with ASSET_CHANGES_CONFIRM="
        "on) and stop it: what it confirms never comes here.",
        needs_confirming=True,
        query="""
            SELECT channel_id, min(confirmed_at) AS since, count(*) AS count FROM confirmed_elsewhere
            WHERE confirmed_at > :now - :recent
            GROUP BY channel_id""",
    ),
    Condition(
        name="skipped",
        title="Change sets that never came",
        says="follows on change set ids that no channel here was handed: {count:,}",
        next_step="If no channel is red, somebody else reads this account: find the other reader (an old job, a second "
        "deployment with ASSET_CHANGES_CONFIRM=on) and stop it.",
        needs_confirming=True,
        query=_SKIPPED,
    ),
    *LOOKUP_CONDITIONS,
    *PURGE_CONDITIONS,
)
