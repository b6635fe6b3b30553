"""What must be removed, listed and counted: what page, report and watchdog read.

Counting looks at every held asset. So it is done now and then, into `holding_counts`, and whoever only shows the
numbers reads them there, with their time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.warehouse.availability import AVAILABLE

REASONS = ("deleted", "not_in_catalogue", "not_licensed")
"""Why something must be removed, as the view `assets_to_remove` names it."""
CHECKED_DAYS = 30
"""What was asked about within so many days counts as checked."""
PAGE_ROWS = 100

# Everything that the view can name is among these, which are few: looking at them first saves joining every held asset.
# The view alone decides.
_DELETED = "SELECT asset_id FROM asset_states WHERE deleted_at IS NOT NULL"
_GONE = f"SELECT asset_id FROM availability WHERE verdict <> '{AVAILABLE}'"
_CANDIDATES = {"deleted": _DELETED, "not_in_catalogue": _GONE, "not_licensed": _GONE}
_ANY_CANDIDATE = f"{_DELETED} UNION ALL {_GONE}"

# An older count that had to wait for the row does not replace a newer one.
_COUNT = text(f"""
    WITH held AS (
        SELECT source, count(*) FILTER (WHERE held_until IS NULL) AS held,
               count(*) FILTER (WHERE held_until IS NULL
                                  AND as_of > statement_timestamp() - interval '{CHECKED_DAYS} days') AS checked
        FROM held_assets LEFT JOIN availability USING (asset_id)
        GROUP BY source
    ), due AS (
        SELECT source, {", ".join(f"count(*) FILTER (WHERE reason = '{each}') AS {each}" for each in REASONS)},
               {", ".join(f"min(due_since) FILTER (WHERE reason = '{each}') AS {each}_since" for each in REASONS)}
        FROM assets_to_remove
        WHERE asset_id IN ({_ANY_CANDIDATE})
        GROUP BY source
    )
    INSERT INTO holding_counts (source, held_count, checked_count, {", ".join(f"{each}_count" for each in REASONS)},
                                {", ".join(f"{each}_since" for each in REASONS)}, counted_at)
    SELECT source, held, checked, {", ".join(f"coalesce({each}, 0)" for each in REASONS)},
           {", ".join(f"{each}_since" for each in REASONS)}, statement_timestamp()
    FROM held LEFT JOIN due USING (source)
    ORDER BY source
    ON CONFLICT (source) DO UPDATE
    SET held_count = excluded.held_count, checked_count = excluded.checked_count, counted_at = excluded.counted_at,
        {", ".join(f"{each}_count = excluded.{each}_count, {each}_since = excluded.{each}_since" for each in REASONS)}
    WHERE holding_counts.counted_at <= excluded.counted_at""")
_COUNTS = text("SELECT * FROM holding_counts ORDER BY source")

# Materialized: with a LIMIT in sight the planner would walk through all that is held, asset by asset.
_LIST = """
    WITH due AS MATERIALIZED (
        SELECT source, asset_id, asset_type, location, held_since, held_until, reason, due_since, channel_id,
               change_set_id, position, reconciliation_id, as_of
        FROM assets_to_remove
        WHERE {conditions}
    )
    SELECT * FROM due
    WHERE {after}
    ORDER BY source, asset_id"""


@dataclass(frozen=True, kw_only=True)
class Due:
    """How many assets must be removed for a reason, and since when the oldest of them must."""

    reason: str
    count: int
    since: datetime | None


@dataclass(frozen=True, kw_only=True)
class HoldingCount:
    """A row of `holding_counts`: a source as it was last counted."""

    source: str
    held_count: int
    checked_count: int
    due: tuple[Due, ...]
    counted_at: datetime

    @property
    def due_count(self) -> int:
        """How many assets must be removed, for whatever reason."""
        return sum(each.count for each in self.due)


def count_holdings(connection: Connection) -> tuple[HoldingCount, ...]:
    """Count what all sources hold and must remove, keep it in `holding_counts`, and return it."""
    connection.execute(_COUNT)
    return holding_counts(connection)


def holding_counts(connection: Connection) -> tuple[HoldingCount, ...]:
    """Return what was last counted, by source."""
    return tuple(
        HoldingCount(
            **{name: row[name] for name in ("source", "held_count", "checked_count", "counted_at")},
            due=tuple(
                Due(reason=reason, count=row[f"{reason}_count"], since=row[f"{reason}_since"]) for reason in REASONS
            ),
        )
        for row in connection.execute(_COUNTS).mappings()
    )


def removals(
    connection: Connection, *, source: str | None = None, reason: str | None = None
) -> Iterator[dict[str, Any]]:
    """Give everything that must be removed, by source and id, in bounded memory."""
    statement, values = _listing(source, reason)
    result = connection.execution_options(yield_per=2000).execute(text(statement), values)
    for row in result.mappings():
        yield dict(row)


def removals_page(
    connection: Connection,
    *,
    source: str | None = None,
    reason: str | None = None,
    after: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return the next PAGE_ROWS assets that must be removed, and one more if there is one.

    `after` are source and id of the last asset of the page before.
    """
    statement, values = _listing(source, reason, after)
    return [dict(row) for row in connection.execute(text(f"{statement} LIMIT {PAGE_ROWS + 1}"), values).mappings()]


def _listing(
    source: str | None, reason: str | None, after: tuple[str, str] | None = None
) -> tuple[str, Mapping[str, Any]]:
    conditions: list[str] = [f"asset_id IN ({_CANDIDATES.get(reason or '', _ANY_CANDIDATE)})"]
    values: dict[str, Any] = {}
    for name, value in (("source", source), ("reason", reason)):
        if value is not None:
            conditions.append(f"{name} = :{name}")
            values[name] = value
    begins = "true"
    if after is not None:
        begins = "(source, asset_id) > (:after_source, :after_id)"
        values["after_source"], values["after_id"] = after
    return _LIST.format(conditions=" AND ".join(conditions), after=begins), values
