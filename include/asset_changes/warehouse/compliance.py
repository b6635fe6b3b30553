"""The compliance report: every Delete received in a span, when it was removed, and when nobody read.

The queries are plain SQL with named values, so that the report can show them beside its numbers and
anybody can run them again.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.warehouse.status import IS_REBUILT

SLOWEST = 10

_SPAN = "d.received_at >= :since\n      AND d.received_at < :until"

# The Deletes of a set share their times, so they are counted before they are sorted.
_TIMED = f"""
WITH removals AS (
    SELECT channel_id, change_set_id, received_at, applied_at, count(*) AS deletes,
           count(*) FILTER (WHERE was_held) AS held
    FROM deletions AS d
    WHERE {_SPAN}
    GROUP BY 1, 2, 3, 4
), timed AS (
    SELECT d.*, d.applied_at - d.received_at AS took, {IS_REBUILT} AS is_rebuilt
    FROM removals AS d LEFT JOIN change_sets AS s USING (channel_id, change_set_id)
)
""".strip()

SUMMARY = f"""
{_TIMED}, ranked AS (
    SELECT *, sum(deletes) OVER (PARTITION BY channel_id, is_rebuilt ORDER BY took) AS rank,
           sum(deletes) OVER (PARTITION BY channel_id, is_rebuilt) AS of
    FROM timed
)
SELECT channel_id, is_rebuilt, CAST(sum(deletes) AS bigint) AS deletes, CAST(sum(held) AS bigint) AS held,
       CAST(coalesce(sum(deletes) FILTER (WHERE took > :within), 0) AS bigint) AS late,
       min(took) FILTER (WHERE rank >= 0.5 * of) AS median, min(took) FILTER (WHERE rank >= 0.99 * of) AS p99,
       max(took) AS worst
FROM ranked
GROUP BY 1, 2
ORDER BY 1, 2
""".strip()

DELETES = f"""
SELECT d.channel_id, d.change_set_id, d.position, d.asset_id, d.was_held, d.deleted_at, d.received_at,
       d.applied_at AS removed_at, extract(epoch FROM d.applied_at - d.received_at) AS seconds_to_removal,
       {IS_REBUILT} AS is_rebuilt
FROM deletions AS d LEFT JOIN change_sets AS s USING (channel_id, change_set_id)
WHERE {_SPAN}
ORDER BY d.received_at, d.channel_id, d.change_set_id, d.position
""".strip()

SLOWEST_SETS = f"""
{_TIMED}
SELECT channel_id, change_set_id, deletes, held, received_at, applied_at AS removed_at, took
FROM timed
WHERE NOT is_rebuilt
ORDER BY took DESC, received_at, channel_id, change_set_id
LIMIT {SLOWEST}
""".strip()

# Empty answers leave no trace but the last one's, so silence alone proves nothing: a channel counts as unread from
# when its next change was made, or from the last stamp of the set before it, whichever is later. A channel that Getty
# no longer lists counts at once, until a person has taken note of it.
UNREAD = """
WITH stamps AS (
    SELECT channel_id, change_set_id, fetched_at, oldest_change_at, rebuilt_at IS NOT NULL AS is_rebuilt,
           coalesce(loaded_at, now()) AS loaded_at, coalesce(confirmed_at, now()) AS confirmed_at,
           lag(CASE WHEN rebuilt_at IS NULL THEN coalesce(confirmed_at, loaded_at, fetched_at) ELSE fetched_at END)
               OVER (PARTITION BY channel_id ORDER BY fetched_at, channel_seq) AS before
    FROM change_sets
    WHERE fetched_at < :until
), spans AS (
    SELECT channel_id, change_set_id, 'a change waited at Getty' AS what,
           greatest(before, oldest_change_at, discovered_at) AS unread_from, fetched_at AS unread_to,
           false AS counts_at_once
    FROM stamps JOIN channels USING (channel_id)
    WHERE oldest_change_at IS NOT NULL
    UNION ALL
    SELECT channel_id, change_set_id, 'a set was archived but not loaded', fetched_at, loaded_at, false
    FROM stamps WHERE NOT is_rebuilt
    UNION ALL
    SELECT channel_id, change_set_id, 'a set was loaded but not confirmed', loaded_at,
           least(confirmed_at, retired_at), false
    FROM stamps JOIN channels USING (channel_id) WHERE NOT is_rebuilt AND loaded_at < now()
    UNION ALL
    SELECT channel_id, NULL, 'Getty gives no answer, up to now', coalesce(last_checked_at, discovered_at), now(), false
    FROM channels WHERE retired_at IS NULL
    UNION ALL
    SELECT channel_id, NULL, 'Getty no longer lists the channel', coalesce(last_checked_at, discovered_at),
           CASE WHEN retirement_known_at >= retired_at THEN retirement_known_at ELSE now() END, true
    FROM channels WHERE retired_at IS NOT NULL
)
SELECT channel_id, change_set_id, what, unread_from, unread_to, unread_to - unread_from AS took
FROM spans
WHERE unread_to - unread_from > CASE WHEN counts_at_once THEN interval '0' ELSE :within END
  AND unread_to > :since AND unread_from < :until
ORDER BY unread_from, channel_id
""".strip()

NOT_LOADED = """
SELECT channel_id, change_set_id, fetched_at
FROM change_sets
WHERE confirmed_at IS NULL AND loaded_at IS NULL
  AND fetched_at >= :since AND fetched_at < :until
ORDER BY fetched_at, channel_id
""".strip()

_NAMES = "SELECT channel_id, concat(asset_family, ' ', asset_type, ' (', channel_id, ')') AS name FROM channels"
_VALUE = re.compile(r":(since|until|within)\b")

QUERIES = {
    "Deletes, per channel": SUMMARY,
    "The slowest change sets": SLOWEST_SETS,
    "Spans in which the feed was not read": UNREAD,
    "Received but not loaded": NOT_LOADED,
    "Every Delete (the CSV)": DELETES,
}


@dataclass(frozen=True, kw_only=True)
class Span:
    """Whole days of UTC, the last one included, and the time within which a Delete is to be applied."""

    first: date
    last: date
    within: timedelta

    @property
    def values(self) -> dict[str, Any]:
        """The values of the queries."""
        since = datetime.combine(self.first, time(), UTC)
        return {
            "since": since,
            "until": datetime.combine(self.last, time(), UTC) + timedelta(days=1),
            "within": self.within,
        }


def runnable(span: Span, *, schema: str) -> dict[str, str]:
    """Return the queries with their values in place, to be pasted into psql; the first says where the tables are."""
    literals = {
        "since": f"timestamptz '{span.values['since']:%Y-%m-%d %H:%MZ}'",
        "until": f"timestamptz '{span.values['until']:%Y-%m-%d %H:%MZ}'",
        "within": f"interval '{span.within.total_seconds():g} s'",
    }
    filled = {name: _VALUE.sub(lambda found: literals[found[1]], query) for name, query in QUERIES.items()}
    return {name: f"{query};" for name, query in {"The tables": f'SET search_path TO "{schema}"', **filled}.items()}


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report's tables, each a list of rows by column, and the names of the channels by their ids."""

    names: dict[int, str]
    summary: list[dict[str, Any]]
    slowest: list[dict[str, Any]]
    unread: list[dict[str, Any]]
    not_loaded: list[dict[str, Any]]

    def total(self, column: str, *, rebuilt: bool = False) -> int:
        """The sum of a count over the channels, of first removals or of rebuilt rows."""
        return sum(row[column] for row in self.summary if row["is_rebuilt"] is rebuilt)

    def name(self, channel_id: int) -> str:
        """The channel as people call it; its id where no discovery has seen it."""
        return self.names.get(channel_id, str(channel_id))

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The longest span of each kind and channel in which the feed was not read."""
        by_length = sorted(self.unread, key=lambda row: row["took"])
        longest = {(row["channel_id"], row["what"]): row for row in by_length}
        return [longest[key] for key in sorted(longest)]

    @property
    def has_reservations(self) -> bool:
        """Whether there may be Deletes of these days that the counts of first removals do not know."""
        return bool(self.unread or self.not_loaded or self.total("deletes", rebuilt=True))


def compliance(connection: Connection, span: Span) -> Report:
    """Return the report of a span."""

    def rows(query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(text(query), span.values).mappings()]

    return Report(
        names={row["channel_id"]: row["name"] for row in rows(_NAMES)},
        summary=rows(SUMMARY),
        slowest=rows(SLOWEST_SETS),
        unread=rows(UNREAD),
        not_loaded=rows(NOT_LOADED),
    )


def deletes(connection: Connection, span: Span) -> Iterator[dict[str, Any]]:
    """Give every Delete of a span in order of arrival, in bounded memory."""
    values = {name: value for name, value in span.values.items() if name != "within"}
    result = connection.execution_options(yield_per=2000).execute(text(DELETES), values)
    for row in result.mappings():
        yield dict(row)
