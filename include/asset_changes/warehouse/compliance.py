"""The compliance report: every Delete received in a span, when it was removed, and all that speaks against it.

The queries are plain SQL with named values, so that the report can show them next to its numbers and
anybody can run them again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.clock import in_words
from asset_changes.warehouse.channel_health import IS_POSSIBLE_LOSS
from asset_changes.warehouse.reconciliations import reconciled_at
from asset_changes.warehouse.removals import HoldingCount, holding_counts

SLOWEST = 10

# `applied_at` is a clock read just before the commit. What was late is judged by the latest time at which the Delete
# can have been applied: a clock read after the commit, else the confirmation, which comes after it, else now.
REMOVED_BY = "greatest(d.applied_at, coalesce(s.committed_at, s.confirmed_at, now()))"

_SPAN = "d.received_at >= :since\n      AND d.received_at < :until"

# The Deletes of a set share their times, so they are counted before they are sorted. What one transaction wrote is
# rebuilt as a whole: as one more key it would cost three times as much, by a sort on disk. One statement for the
# channels and, below them, for the slowest sets: counting the Deletes of a year is most of what the report costs.
REMOVALS = f"""
WITH removals AS (
    SELECT channel_id, change_set_id, received_at, applied_at, bool_or(is_rebuilt) AS is_rebuilt, count(*) AS deletes,
           count(*) FILTER (WHERE was_held) AS held, count(*) FILTER (WHERE was_held IS NULL) AS unknown,
           count(*) FILTER (WHERE is_time_inferred) AS inferred
    FROM deletions AS d
    WHERE {_SPAN}
    GROUP BY 1, 2, 3, 4
), timed AS (
    SELECT d.*, {REMOVED_BY} AS removed_by, {REMOVED_BY} - d.received_at AS took
    FROM removals AS d LEFT JOIN change_sets AS s USING (channel_id, change_set_id)
), ranked AS (
    SELECT *, sum(deletes) OVER (PARTITION BY channel_id, is_rebuilt ORDER BY took) AS rank,
           sum(deletes) OVER (PARTITION BY channel_id, is_rebuilt) AS of
    FROM timed
), slowest AS (
    SELECT * FROM timed
    WHERE NOT is_rebuilt
    ORDER BY took DESC, received_at, channel_id, change_set_id
    LIMIT {SLOWEST}
)
SELECT channel_id, is_rebuilt, CAST(sum(deletes) AS bigint) AS deletes, CAST(sum(held) AS bigint) AS held,
       CAST(sum(unknown) AS bigint) AS unknown, CAST(sum(inferred) AS bigint) AS inferred,
       CAST(coalesce(sum(deletes) FILTER (WHERE is_rebuilt), 0) AS bigint) AS rebuilt,
       CAST(coalesce(sum(deletes) FILTER (WHERE took > :within AND NOT is_rebuilt), 0) AS bigint) AS late,
       min(took) FILTER (WHERE rank >= 0.5 * of) AS median, min(took) FILTER (WHERE rank >= 0.99 * of) AS p99,
       max(took) AS worst, NULL AS change_set_id, CAST(NULL AS timestamptz) AS received_at,
       CAST(NULL AS timestamptz) AS removed_at, CAST(NULL AS interval) AS took
FROM ranked
GROUP BY 1, 2
UNION ALL
SELECT channel_id, is_rebuilt, deletes, held, NULL, NULL, NULL, NULL, NULL, NULL, NULL, change_set_id, received_at,
       removed_by, took
FROM slowest
ORDER BY took DESC NULLS FIRST, received_at, channel_id, is_rebuilt, change_set_id
""".strip()

DELETES = f"""
SELECT d.channel_id, d.change_set_id, d.position, d.asset_id, d.was_held, d.deleted_at, d.received_at,
       {REMOVED_BY} AS removed_at, extract(epoch FROM {REMOVED_BY} - d.received_at) AS seconds_to_removal,
       d.is_rebuilt, d.is_time_inferred, d.applied_at, d.was_in_holdings
FROM deletions AS d LEFT JOIN change_sets AS s USING (channel_id, change_set_id)
WHERE {_SPAN}
ORDER BY d.received_at, d.channel_id, d.change_set_id, d.position
""".strip()

# A span counts as unread where nobody asked Getty (`feed_gaps`), and from when the next change was made, or from the
# last time of the set before it, whichever is later. A channel that Getty no longer lists counts at once, until a
# person has taken note of it.
UNREAD = f"""
WITH times AS (
    SELECT channel_id, change_set_id, fetched_at, oldest_change_at, rebuilt_at IS NOT NULL AS is_rebuilt,
           coalesce(loaded_at, now()) AS loaded_at, coalesce(confirmed_at, now()) AS confirmed_at,
           lag(CASE WHEN rebuilt_at IS NULL THEN coalesce(confirmed_at, loaded_at, fetched_at) ELSE fetched_at END)
               OVER (PARTITION BY channel_id ORDER BY fetched_at, channel_seq) AS before
    FROM change_sets
    WHERE fetched_at < :until
), spans AS (
    SELECT channel_id, change_set_id, 'a change waited at Getty' AS what,
           greatest(before, oldest_change_at, discovered_at) AS unread_from, fetched_at AS unread_to,
           false AS counts_at_once, CAST(NULL AS timestamptz) AS reconciled_at
    FROM times JOIN channels USING (channel_id)
    WHERE oldest_change_at IS NOT NULL
    UNION ALL
    SELECT channel_id, change_set_id, 'a set was archived but not loaded', fetched_at, loaded_at, false, NULL
    FROM times WHERE NOT is_rebuilt
    UNION ALL
    SELECT channel_id, change_set_id, 'a set was loaded but not confirmed', loaded_at,
           least(confirmed_at, retired_at), false, NULL
    FROM times JOIN channels USING (channel_id) WHERE NOT is_rebuilt AND loaded_at < now()
    UNION ALL
    SELECT channel_id, NULL, 'Getty gives no answer, up to now', unchecked_since, now(), false, NULL
    FROM channel_health WHERE retired_at IS NULL
    UNION ALL
    SELECT channel_id, NULL, 'nobody asked Getty', unread_from, unread_to, false, reconciled_at
    FROM feed_gaps
    UNION ALL
    SELECT channel_id, NULL, 'Getty no longer lists the channel', unchecked_since,
           CASE WHEN is_vanished THEN now() ELSE retirement_known_at END, true, NULL
    FROM channel_health WHERE retired_at IS NOT NULL
)
SELECT channel_id, change_set_id, what, unread_from, unread_to, unread_to - unread_from AS took, reconciled_at,
       what = 'nobody asked Getty' AND {IS_POSSIBLE_LOSS} AS is_possible_loss
FROM spans
WHERE unread_to - unread_from > CASE WHEN counts_at_once THEN interval '0' ELSE :within END
  AND unread_to > :since AND unread_from < :until
ORDER BY unread_from, channel_id
""".strip()

_NAMES = "SELECT channel_id, concat(asset_family, ' ', asset_type, ' (', channel_id, ')') AS name FROM channels"
_VALUE = re.compile(r":(since|until|within|without_dag|reconciled_within)\b")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Whole days of UTC, the last one included, and the time within which a Delete is to be applied.

    `without_dag` are the channels that nobody reads because their DAG is paused or missing: Airflow knows.
    `reconcile_days` is within how many days Getty is asked again about all that is held, 0 for never.
    """

    first: date
    last: date
    within: timedelta
    without_dag: Sequence[int] = ()
    reconcile_days: float = 0

    @property
    def values(self) -> dict[str, Any]:
        """The values of the queries."""
        since = datetime.combine(self.first, time(), UTC)
        return {
            "since": since,
            "until": datetime.combine(self.last, time(), UTC) + timedelta(days=1),
            "within": self.within,
            "without_dag": list(self.without_dag),
            "reconciled_within": timedelta(days=self.reconcile_days + 2) if self.reconcile_days else None,
        }


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must be zero before a span is called clean.

    Each row of `query` counts `column`, or 1 where that is empty; null means that it could not be checked. `says` may
    name `count`, `channels`, `longest` and `what`, the row's own word for it. `resolved_by` says what ends it.
    """

    name: str
    query: str
    says: str
    resolved_by: str
    column: str = ""
    unknown: str = ""


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """Something that speaks against a clean span; `count` is None where it could not be checked."""

    check: str
    count: int | None
    says: str
    resolved_by: str


def runnable(span: Span, checks: Sequence[Check], *, schema: str, more: Mapping[str, str]) -> dict[str, str]:
    """Return the queries with their values in place, to be pasted into psql; the first says where the tables are.

    `more` are those of other parts of the report, by name.
    """
    reconciled_within = span.values["reconciled_within"]
    literals = {
        "since": f"timestamptz '{span.values['since']:%Y-%m-%d %H:%MZ}'",
        "until": f"timestamptz '{span.values['until']:%Y-%m-%d %H:%MZ}'",
        "within": f"interval '{span.within.total_seconds():g} s'",
        "without_dag": f"'{{{','.join(map(str, span.without_dag))}}}'",
        "reconciled_within": f"interval '{reconciled_within.total_seconds():.0f} s'" if reconciled_within else "NULL",
    }
    queries = {
        "Deletes, per channel, and the slowest change sets": REMOVALS,
        "Spans in which the feed was not read": UNREAD,
        "Every Delete (the CSV)": DELETES,
        **more,
    }
    queries |= {f"Check: {check.name}": check.query for check in checks if check.query not in queries.values()}
    filled = {name: _VALUE.sub(lambda found: literals[found[1]], query) for name, query in queries.items()}
    return {name: f"{query};" for name, query in {"The tables": f'SET search_path TO "{schema}"', **filled}.items()}


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report's tables, each a list of rows by column, and all that speaks against a clean span."""

    names: dict[int, str]
    summary: list[dict[str, Any]]
    slowest: list[dict[str, Any]]
    unread: list[dict[str, Any]]
    reservations: tuple[Reservation, ...] = field(default=())
    holdings: tuple[HoldingCount, ...] = ()
    reconciled_at: datetime | None = None

    def total(self, column: str, *, rebuilt: bool = False) -> int:
        """The sum of a count over the channels, of first removals or of rebuilt rows."""
        return sum(row[column] for row in self.summary if row["is_rebuilt"] is rebuilt)

    def name(self, channel_id: int) -> str:
        """The channel as people call it; its id where no discovery has seen it."""
        return self.names.get(channel_id, str(channel_id))

    @property
    def is_clean(self) -> bool:
        """Whether every check ran and found nothing."""
        return not self.reservations


def compliance(connection: Connection, span: Span, checks: Sequence[Check]) -> Report:
    """Return the report of a span."""
    known: dict[str, list[dict[str, Any]]] = {}

    def rows(query: str) -> list[dict[str, Any]]:
        if query not in known:
            statement = text(query)
            values = {name: span.values[name] for name in statement.compile().params}
            known[query] = [dict(row) for row in connection.execute(statement, values).mappings()]
        return known[query]

    names = {row["channel_id"]: row["name"] for row in rows(_NAMES)}
    removals = rows(REMOVALS)
    # The checks count by channel: a slow set's Deletes are among those of its channel.
    known[REMOVALS] = [row for row in removals if not row["change_set_id"]]
    return Report(
        names=names,
        summary=rows(REMOVALS),
        slowest=[row for row in removals if row["change_set_id"]],
        unread=rows(UNREAD),
        reservations=tuple(each for check in checks for each in _reservations(check, rows(check.query), names)),
        holdings=holding_counts(connection),
        reconciled_at=reconciled_at(connection),
    )


def _reservations(check: Check, rows: Sequence[dict[str, Any]], names: dict[int, str]) -> Iterator[Reservation]:
    """Yield what a check found, once per kind of row, and where it could not look."""
    for what in sorted({row.get("what", "") for row in rows}):
        mine = [row for row in rows if row.get("what", "") == what]
        found = [row for row in mine if not check.column or row[check.column]]
        unchecked = [row for row in mine if check.column and row[check.column] is None]
        for some, sentence in ((found, check.says), (unchecked, check.unknown)):
            if not some:
                continue
            count = sum(row[check.column] if check.column else 1 for row in some) if some is found else None
            said = sentence.format(
                count=count,
                what=what,
                channels=", ".join(sorted({names.get(row["channel_id"], str(row["channel_id"])) for row in some})),
                longest=in_words(max((row["took"] for row in some if row.get("took")), default=timedelta())),
            )
            yield Reservation(check=check.name, count=count, says=said, resolved_by=check.resolved_by)


def deletes(connection: Connection, span: Span) -> Iterator[dict[str, Any]]:
    """Give every Delete of a span in order of arrival, in bounded memory."""
    values = {name: span.values[name] for name in ("since", "until")}
    result = connection.execution_options(yield_per=2000).execute(text(DELETES), values)
    for row in result.mappings():
        yield dict(row)
