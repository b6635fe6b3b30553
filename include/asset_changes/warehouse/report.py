"""The compliance report: every Delete received in a span, when it was removed, and when nobody read.

The queries are plain SQL with named values, so that the report can show them beside its numbers and
anybody can run them again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.warehouse.status import IS_REBUILT

SLOWEST = 20

_SPAN = "d.received_at >= :since AND d.received_at < :until"
_FROM = "FROM deletions AS d LEFT JOIN change_sets AS s USING (channel_id, change_set_id)"

SUMMARY = f"""
SELECT channel_id, is_rebuilt, count(*) AS deletes, count(*) FILTER (WHERE was_held) AS held,
       count(*) FILTER (WHERE took > :within) AS late,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY took) AS median,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY took) AS p99, max(took) AS worst
FROM (
    SELECT d.channel_id, d.was_held, d.applied_at - d.received_at AS took,
           {IS_REBUILT} AS is_rebuilt
    {_FROM}
    WHERE {_SPAN}
) AS deletes
GROUP BY 1, 2
ORDER BY 1, 2
""".strip()

DELETES = f"""
SELECT d.channel_id, d.change_set_id, d.position, d.asset_id, d.was_held, d.deleted_at, d.received_at,
       d.applied_at AS removed_at, extract(epoch FROM d.applied_at - d.received_at) AS seconds_to_removal,
       {IS_REBUILT} AS is_rebuilt
{_FROM}
WHERE {_SPAN}
ORDER BY d.received_at, d.channel_id, d.change_set_id, d.position
""".strip()

SLOWEST_DELETES = f"""
SELECT d.channel_id, d.change_set_id, d.position, d.asset_id, d.was_held, d.deleted_at, d.received_at,
       d.applied_at AS removed_at, d.applied_at - d.received_at AS took
{_FROM}
WHERE {_SPAN} AND NOT {IS_REBUILT}
ORDER BY took DESC, d.received_at, d.channel_id, d.change_set_id, d.position
LIMIT {SLOWEST}
""".strip()

# Empty answers leave no trace but the last one's, so silence alone proves nothing: a channel counts as unread from
# when its next change was made, or from the last stamp of the set before it, whichever is later.
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
           greatest(before, oldest_change_at, discovered_at) AS unread_from, fetched_at AS unread_to
    FROM stamps JOIN channels USING (channel_id)
    WHERE oldest_change_at IS NOT NULL
    UNION ALL
    SELECT channel_id, change_set_id, 'a set was archived but not loaded', fetched_at, loaded_at
    FROM stamps WHERE NOT is_rebuilt
    UNION ALL
    SELECT channel_id, change_set_id, 'a set was loaded but not confirmed', loaded_at, confirmed_at
    FROM stamps WHERE NOT is_rebuilt AND loaded_at < now()
    UNION ALL
    SELECT channel_id, NULL, 'Getty gives no answer, up to now', coalesce(last_checked_at, discovered_at), now()
    FROM channels WHERE retired_at IS NULL
)
SELECT channel_id, change_set_id, what, unread_from, unread_to, unread_to - unread_from AS took
FROM spans
WHERE unread_to - unread_from > :within AND unread_to > :since AND unread_from < :until
ORDER BY unread_from, channel_id
""".strip()

NOT_LOADED = """
SELECT channel_id, change_set_id, fetched_at
FROM change_sets
WHERE confirmed_at IS NULL AND loaded_at IS NULL AND fetched_at >= :since AND fetched_at < :until
ORDER BY fetched_at, channel_id
""".strip()

QUERIES = {
    "Deletes, per channel": SUMMARY,
    "The slowest Deletes": SLOWEST_DELETES,
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


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report's tables, each a list of rows by column."""

    summary: list[dict[str, Any]]
    slowest: list[dict[str, Any]]
    unread: list[dict[str, Any]]
    not_loaded: list[dict[str, Any]]

    def total(self, column: str, *, rebuilt: bool = False) -> int:
        """The sum of a count over the channels, of first removals or of rebuilt rows."""
        return sum(row[column] for row in self.summary if row["is_rebuilt"] is rebuilt)


def compliance(connection: Connection, span: Span) -> Report:
    """Return the report of a span."""

    def rows(query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(text(query), span.values).mappings()]

    return Report(
        summary=rows(SUMMARY), slowest=rows(SLOWEST_DELETES), unread=rows(UNREAD), not_loaded=rows(NOT_LOADED)
    )


def deletes(connection: Connection, span: Span) -> Iterator[dict[str, Any]]:
    """Give every Delete of a span in order of arrival, in bounded memory."""
    values = {name: value for name, value in span.values.items() if name != "within"}
    result = connection.execution_options(yield_per=2000).execute(text(DELETES), values)
    for row in result.mappings():
        yield dict(row)
