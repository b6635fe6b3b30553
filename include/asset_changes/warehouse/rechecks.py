"""Which assets a reconciliation asks about, as rows of `lookup_queue` whose reason is `recheck`, and new holdings.

Each statement takes a slice, so that it is as quick with ten million assets, and each may run twice.
"""

from dataclasses import dataclass
from datetime import datetime
from math import ceil

from sqlalchemy import Connection, text

from asset_changes.warehouse.asset_metadata import IS_LIVE
from asset_changes.warehouse.availability import AVAILABLE, DAY_APART
from asset_changes.warehouse.daily import NEW_HELD
from asset_changes.warehouse.lookup_queue import CAN_BE_ASKED, CHANGE, IS_HELD, NO_CHANNEL, RECHECK

LEAST_PER_DAY = 1_000
"""Ten calls: so a small catalogue is asked whole every day, and one missing asset is no large share of a slice."""

# What is held and in no channel has no state. What Getty deleted is final, so nobody asks about it.
# Slots: {source} has asset_id and asset_type, {only} a condition.
_ENQUEUE = f"""
    INSERT INTO lookup_queue AS queued (asset_id, channel_id, asset_type, reason, enqueued_at, not_before)
    SELECT source.asset_id, coalesce(s.channel_id, {NO_CHANNEL}), known.asset_type, '{{reason}}', now(), now()
    FROM ({{source}}) AS source
    LEFT JOIN asset_states AS s USING (asset_id)
    LEFT JOIN LATERAL (SELECT count(*) > 0 AS is_held, max(h.asset_type) AS asset_type FROM held_assets AS h
                       WHERE h.asset_id = source.asset_id AND held_until IS NULL) AS held ON true
    CROSS JOIN LATERAL (SELECT coalesce(source.asset_type, s.asset_type, held.asset_type) AS asset_type) AS known
    WHERE {CAN_BE_ASKED.format(asset_id="source.asset_id", type="known.asset_type")} AND {{only}}
      AND CASE WHEN s.asset_id IS NULL THEN is_held ELSE ({IS_LIVE}) AND (:of_all OR is_held) END
    ORDER BY source.asset_id
    ON CONFLICT (asset_id) DO UPDATE SET not_before = now()
    WHERE queued.reason = '{{reason}}' AND queued.tries = 0 AND queued.not_before > now()
    RETURNING 1"""

# Slot: {{reason}}, as which they are enqueued.
_UNCHECKED = f"""
    WITH slice AS MATERIALIZED (
        SELECT asset_id FROM (
            (SELECT asset_id FROM asset_states WHERE :with_live AND asset_id > :after ORDER BY asset_id LIMIT :slice)
            UNION
            (SELECT asset_id FROM held_assets WHERE held_until IS NULL AND asset_id > :after
             ORDER BY asset_id LIMIT :slice)) AS either
        ORDER BY asset_id LIMIT :slice),
    added AS ({
    _ENQUEUE.format(
        source='''
        SELECT asset_id, a.asset_type, a.as_of FROM slice LEFT JOIN availability AS a USING (asset_id)''',
        only="(source.as_of IS NULL OR source.as_of < CAST(:not_asked_since AS timestamptz))",
        reason="{reason}",
    )
})
    SELECT (SELECT max(asset_id) FROM slice) AS last_id, (SELECT count(*) FROM added) AS row_count"""
_ENQUEUE_UNCHECKED = text(_UNCHECKED.format(reason=RECHECK))
_ENQUEUE_NEW_HELD = text(_UNCHECKED.format(reason=CHANGE))
# A minute earlier, for a list that ended then may have been committed later.
_NEW_HELD_AT = text("""
    SELECT now() WHERE EXISTS (
        SELECT FROM holding_imports
        WHERE refused_why IS NULL AND new_held_count > 0 AND ended_at > coalesce(
            (SELECT read_at FROM consumers WHERE name = :name) - interval '1 minute', '-infinity'))""")

# What is found has metadata: of an upgraded warehouse, or of what was left out for a time.
_ADD_KNOWN = text(f"""
    WITH slice AS MATERIALIZED (
        SELECT asset_id, as_of FROM asset_metadata WHERE asset_id > :after ORDER BY asset_id LIMIT :slice),
    added AS (
        INSERT INTO availability (asset_id, verdict, asset_type, conn_id, as_of)
        SELECT asset_id, '{AVAILABLE}', s.asset_type, 'unknown', slice.as_of
        FROM slice JOIN asset_states AS s USING (asset_id)
        WHERE {IS_LIVE} AND (:of_all OR {IS_HELD.format(asset="slice")})
          AND NOT EXISTS (SELECT FROM availability AS a WHERE a.asset_id = slice.asset_id)
        ORDER BY asset_id
        ON CONFLICT DO NOTHING RETURNING 1)
    SELECT (SELECT max(asset_id) FROM slice) AS last_id, (SELECT count(*) FROM added) AS row_count""")

# What nobody asks about any more would always be the oldest. What is gone stays: a duty does not end with a list.
_IS_ASKED = f"""({IS_HELD.format(asset="{asset}")} OR :of_all
            AND EXISTS (SELECT FROM asset_states AS s WHERE s.asset_id = {{asset}}.asset_id AND {IS_LIVE}))"""
_ENQUEUE_OLDEST = text(f"""
    WITH oldest AS MATERIALIZED (
        SELECT asset_id, asset_type, as_of, verdict FROM availability AS a
        WHERE as_of < CAST(:asked_before AS timestamptz)
          AND (as_of, asset_id) > (CAST(:after_as_of AS timestamptz), :after)
          AND (verdict = '{AVAILABLE}' OR {_IS_ASKED.format(asset="a")})
        ORDER BY as_of, asset_id LIMIT :slice),
    removed AS (
        DELETE FROM availability AS a USING oldest
        WHERE a.asset_id = oldest.asset_id AND oldest.verdict = '{AVAILABLE}'
          AND NOT {_IS_ASKED.format(asset="oldest")}),
    added AS ({_ENQUEUE.format(source="SELECT * FROM oldest", only="true", reason=RECHECK)})
    SELECT last.as_of AS last_as_of, last.asset_id AS last_id, (SELECT count(*) FROM added) AS row_count
    FROM (SELECT as_of, asset_id FROM oldest ORDER BY as_of DESC, asset_id DESC LIMIT 1) AS last""")

_ENQUEUE_SECOND_LOOKS = text(
    _ENQUEUE.format(
        source=f"""
        SELECT asset_id, asset_type FROM availability
        WHERE verdict <> '{AVAILABLE}' AND first_gone_as_of <= now() - {DAY_APART}
          AND as_of < first_gone_as_of + {DAY_APART}""",
        only="true",
        reason=RECHECK,
    )
)
_COUNT = text("SELECT count(*) FROM availability")
_IS_ANY_HELD = text("SELECT EXISTS (SELECT FROM held_assets WHERE held_until IS NULL)")


@dataclass(frozen=True, kw_only=True)
class Place:
    """How far the assets were read that were asked longest ago."""

    as_of: datetime
    asset_id: str


def enqueue_unchecked(
    connection: Connection,
    *,
    after: str,
    slice_size: int,
    not_asked_since: datetime | None,
    with_live: bool,
    of_all: bool,
) -> tuple[int, str | None]:
    """Enqueue, of the next slice of ids, what was never asked, or not since then; return row count and its last id.

    `with_live` looks through live assets and held ones, else through held ones alone. Not `of_all`: only held ones.
    """
    values = {"after": after, "slice": slice_size, "not_asked_since": not_asked_since, "with_live": with_live}
    row = connection.execute(_ENQUEUE_UNCHECKED, values | {"of_all": of_all}).one()
    return row.row_count, row.last_id


def new_held_at(connection: Connection) -> datetime | None:
    """Return the present time, if an imported list had anything new since what is new was last enqueued."""
    present: datetime | None = connection.scalar(_NEW_HELD_AT, {"name": NEW_HELD})
    return present


def enqueue_new_held(connection: Connection, *, after: str, slice_size: int) -> tuple[int, str | None]:
    """Enqueue, as changes are, what is held in the next slice of ids and was never asked about; as the one above.

    It waits for no round: that it is available is known at once, and what is not found is left to the next round.
    """
    values = {"after": after, "slice": slice_size, "not_asked_since": None, "with_live": False, "of_all": True}
    row = connection.execute(_ENQUEUE_NEW_HELD, values).one()
    return row.row_count, row.last_id


def add_known(connection: Connection, *, after: str, slice_size: int, of_all: bool) -> tuple[int, str | None]:
    """Keep of the next slice of metadata when its assets were found, where no verdict is known; as the one above."""
    row = connection.execute(_ADD_KNOWN, {"after": after, "slice": slice_size, "of_all": of_all}).one()
    return row.row_count, row.last_id


def enqueue_oldest(
    connection: Connection, *, after: Place, asked_before: datetime, slice_size: int, of_all: bool
) -> tuple[int, Place | None]:
    """Enqueue the next slice of what was asked longest ago; return row count and how far it was read."""
    values: dict[str, object] = {"after_as_of": after.as_of, "after": after.asset_id, "asked_before": asked_before}
    values |= {"slice": slice_size, "of_all": of_all}
    row = connection.execute(_ENQUEUE_OLDEST, values).one_or_none()
    return (row.row_count, Place(as_of=row.last_as_of, asset_id=row.last_id)) if row else (0, None)


def enqueue_second_looks(connection: Connection, *, of_all: bool) -> int:
    """Enqueue what was said to be gone a day ago or earlier, and only once; return how many."""
    return connection.execute(_ENQUEUE_SECOND_LOOKS, {"of_all": of_all}).rowcount


def is_any_held(connection: Connection) -> bool:
    """Say whether the company holds anything, as far as its lists say."""
    return bool(connection.scalar(_IS_ANY_HELD))


def count_per_day(connection: Connection, *, days: float) -> int:
    """Return how many assets must be asked in a day, so that all of them are within so many days."""
    return max(LEAST_PER_DAY, ceil((connection.scalar(_COUNT) or 0) / days))
