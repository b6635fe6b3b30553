"""What the watchdog looks for, as data: what it means, how it is seen, and what to do about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, text

from asset_changes.archive import Archive
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.pipeline.archive_check import missing_sets
from asset_changes.warehouse.schema import channels


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """What a condition is looked for with."""

    connection: Connection
    archive: Archive
    settings: WatchSettings
    now: datetime


Row = Mapping[str, Any]
"""`channel_id`, `since`, and whatever else the condition's sentence names."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that must not be.

    `says` is what the channel does or has, with the names of the row and `span` (from `since` to
    now); `over` what is said of its end. `needs_confirming` says that the condition is meaningless
    where nothing is confirmed.
    """

    name: str
    title: str
    says: str
    next_step: str
    look: Callable[[CheckContext], Sequence[Row]]
    over: str = "is over"
    needs_confirming: bool = False


def _sql(query: str) -> Callable[[CheckContext], Sequence[Row]]:
    """Return the look that is a query; it may name `:now` and every threshold without its unit."""
    statement = text(query)
    names = set(statement.compile().params)

    def look(look: CheckContext) -> Sequence[Row]:
        known = {"now": look.now, **look.settings.parameters()}
        rows = look.connection.execute(statement, {name: known[name] for name in names})
        return [dict(row._mapping) for row in rows]

    return look


_IN_FLIGHT = timedelta(minutes=15)  # a set is in the archive before it is loaded


def _not_in_ledger(look: CheckContext) -> Sequence[Row]:
    since = look.now - timedelta(days=look.settings.archive_days)
    found = []
    for channel_id in look.connection.scalars(select(channels.c.channel_id).order_by(channels.c.channel_id)):
        until = look.now - _IN_FLIGHT
        missing = list(missing_sets(look.connection, channel_id, archive=look.archive, since=since, until=until))
        if missing:
            found.append({"channel_id": channel_id, "since": missing[0].fetched_at, "count": len(missing)})
    return found


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

_OPEN_DAG = "Open the channel's DAG in Airflow"

CONDITIONS = (
    Condition(
        name="unchecked",
        title="No answer",
        says="has given no answer for {span}",
        next_step=f"{_OPEN_DAG}: is it paused, or is its last run red? The last line of a red task's log says what to "
        "fix. If no run starts at all, look at the scheduler. If it has no DAG any more, trigger asset_changes_watch "
        "with it as `gone_channel_id`.",
        look=_sql("""
            SELECT channel_id, coalesce(last_checked_at, discovered_at) AS since FROM channels
            WHERE retired_at IS NULL AND coalesce(last_checked_at, discovered_at) < :now - :unchecked"""),
    ),
    Condition(
        name="behind",
        title="Behind",
        says="is not caught up, and its newest change is {span} old",
        next_step=f"{_OPEN_DAG}: while `catch_up` is running and its log shows set after set, wait. Else its last run "
        "says what stops it.",
        needs_confirming=True,
        look=_sql("""
            SELECT channel_id, since FROM (
                SELECT channel_id, coalesce(last_change_at, (
                    SELECT min(fetched_at) FROM change_sets AS open
                    WHERE open.channel_id = channels.channel_id AND confirmed_at IS NULL), last_checked_at) AS since
                FROM channels
                WHERE retired_at IS NULL AND last_checked_at > coalesce(caught_up_at, '-infinity')) AS behind
            WHERE since < :now - :lag"""),
    ),
    Condition(
        name="unread",
        title="Notifications about to be lost",
        says="may hold notifications that are unread for {span}; Getty drops them after 14 days",
        next_step="Get the channel running today. What is dropped unread never comes again: the copy then needs a "
        "comparison with Getty's catalogue.",
        needs_confirming=True,
        look=_sql("""
            SELECT channel_id, since FROM (
                SELECT channel_id, coalesce(greatest(last_change_at, caught_up_at), discovered_at) AS since
                FROM channels WHERE retired_at IS NULL) AS read_up_to
            WHERE since < :now - :unread"""),
    ),
    Condition(
        name="dormant",
        title="Channel about to be removed",
        says="was not asked for {span}; Getty has removed channels after 120 days",
        next_step="Unpause the channel's DAG, if only for one run. A removed channel comes back through Getty's sales "
        "team alone.",
        look=_sql("""
            SELECT channel_id, coalesce(last_checked_at, discovered_at) AS since FROM channels
            WHERE retired_at IS NULL AND coalesce(last_checked_at, discovered_at) < :now - :dormant"""),
    ),
    Condition(
        name="delete_overdue",
        title="Deletes over their limit",
        says="keeps Deletes waiting beyond their limit: sets not loaded yet {waiting:,}, sets loaded too late {late:,}",
        next_step=f"{_OPEN_DAG}: a red `transform` or `load` says what stops it; for a retired channel, trigger "
        "`asset_changes_replay` with `only_missing`. Late ones are named in the compliance report.",
        look=_sql("""
            SELECT channel_id, min(fetched_at) AS since, count(*) FILTER (WHERE loaded_at IS NULL) AS waiting,
                   count(*) FILTER (WHERE loaded_at IS NOT NULL) AS late
            FROM change_sets
            WHERE (confirmed_at IS NULL AND loaded_at IS NULL AND fetched_at < :now - :delete)
               OR (loaded_at > :now - :recent AND loaded_at - fetched_at > :delete
                   AND rebuilt_at IS NULL AND delete_count > 0
                   AND EXISTS (SELECT FROM deletions WHERE deletions.channel_id = change_sets.channel_id
                       AND deletions.change_set_id = change_sets.change_set_id AND applied_at - received_at > :delete))
            GROUP BY channel_id"""),
    ),
    Condition(
        name="rejected",
        title="Rejected changes",
        says="sent changes that could not be applied: {count:,} ({reasons})",
        next_step="Read `rejected_changes`: reason and raw text of each. If Getty changed its spelling, teach "
        "`parsing.py` and replay the day; else ask Getty. Nothing else of these sets is held back.",
        look=_sql("""
            SELECT channel_id, min(rejected_at) AS since, count(*) AS count,
                   left(string_agg(DISTINCT reason, '; '), 200) AS reasons
            FROM rejected_changes JOIN change_sets USING (channel_id, change_set_id)
            WHERE rejected_at > :now - :recent AND rebuilt_at IS NULL
            GROUP BY channel_id"""),
    ),
    Condition(
        name="unconfirmed",
        title="Loaded but not confirmed",
        says="has a loaded change set that is unconfirmed for {span}, so nothing newer comes",
        next_step=f"{_OPEN_DAG} and read the log of `confirm` or `catch_up`; clear the red task once the cause is "
        "gone. A set that is loaded can be handed out again without harm.",
        needs_confirming=True,
        look=_sql("""
            SELECT channel_id, min(loaded_at) AS since FROM change_sets JOIN channels USING (channel_id)
            WHERE confirmed_at IS NULL AND loaded_at < :now - :unconfirmed AND retired_at IS NULL
            GROUP BY channel_id"""),
    ),
    Condition(
        name="silent",
        title="Silent channel",
        says="answers, but has had nothing to say for {span}, which is unusually long for it",
        next_step="Look at Getty's status page and ask Getty: its feed has stopped before without an error. Here "
        "nothing is wrong.",
        look=_sql("""
            WITH pauses AS (
                SELECT channel_id, newest_change_at - lag(newest_change_at)
                    OVER (PARTITION BY channel_id ORDER BY channel_seq) AS pause
                FROM change_sets WHERE fetched_at > :now - interval '30 days' AND newest_change_at IS NOT NULL
            ), usual AS (SELECT channel_id, max(pause) AS longest FROM pauses GROUP BY channel_id)
            SELECT channel_id, coalesce(last_change_at, discovered_at) AS since
            FROM channels LEFT JOIN usual USING (channel_id)
            WHERE retired_at IS NULL AND caught_up_at = last_checked_at AND last_checked_at > :now - :unchecked
              AND coalesce(last_change_at, discovered_at)
                  < :now - greatest(:silent, :silent_times * coalesce(longest, interval '0'))"""),
    ),
    Condition(
        name="vanished",
        title="Channel vanished",
        says="is no longer listed by Getty, so it is not read any more",
        next_step="Ask Getty what replaces it: its assets stay in the warehouse, and nothing tells of their Deletes. "
        "If it is listed again, run asset_changes_discovery. If it is gone for good and you know what becomes of its "
        "assets, trigger asset_changes_watch with this channel as `gone_channel_id`.",
        over="is over: Getty lists it again, or somebody took note",
        look=_sql("""
            SELECT channel_id, retired_at AS since FROM channels
            WHERE retired_at IS NOT NULL AND coalesce(retirement_known_at < retired_at, true)"""),
    ),
    Condition(
        name="appeared",
        title="New channel",
        says="is new: Getty did not list it before",
        next_step="Nothing, if it is meant: its DAG reads it already. Consumers that pick channels by id may want it.",
        over="is no news any more",
        look=_sql("""
            SELECT channel_id, discovered_at AS since FROM channels
            WHERE retired_at IS NULL AND discovered_at > :now - :listed
              AND discovered_at > (SELECT min(discovered_at) FROM channels) + interval '1 hour'"""),
    ),
    Condition(
        name="not_in_ledger",
        title="Archived but not in the ledger",
        says="has change sets in the archive that the ledger does not hold as loaded: {count:,}",
        next_step="If the channel is red, mend that first. After a restore of the warehouse: trigger "
        "`asset_changes_replay` with `only_missing`, which loads them. Else: does another deployment write into this "
        "archive?",
        look=_not_in_ledger,
    ),
    Condition(
        name="replay_changed",
        title="Nightly replay changed rows",
        says="had rows changed by the last nightly replay, which must change none: {count:,}",
        next_step="The warehouse differed from its archive: rows were changed by hand, lost in a restore, or loaded "
        "wrongly. The replay has mended them; find out who wrote into the tables.",
        look=_sql("""
            SELECT channel_id, replayed_at AS since, replay_changed_count AS count FROM channels
            WHERE replay_changed_count > 0"""),
    ),
    Condition(
        name="other_consumer",
        title="Another consumer",
        says="had change sets confirmed by somebody else: {count:,}",
        next_step="Find the other reader of this channel (an old job, a second deployment with ASSET_CHANGES_CONFIRM="
        "on) and stop it: what it confirms never comes here.",
        needs_confirming=True,
        look=_sql("""
            SELECT channel_id, min(confirmed_at) AS since, count(*) AS count FROM change_sets
            WHERE is_confirm_implied AND confirm_tried_at IS NULL AND rebuilt_at IS NULL
              AND confirmed_at > :now - :recent
            GROUP BY channel_id"""),
    ),
    Condition(
        name="skipped",
        title="Change sets that never came",
        says="follows on change set ids that no channel here was handed: {count:,}",
        next_step="If no channel is red, somebody else reads this account: find the other reader (an old job, a second "
        "deployment with ASSET_CHANGES_CONFIRM=on) and stop it.",
        needs_confirming=True,
        look=_sql(_SKIPPED),
    ),
)
