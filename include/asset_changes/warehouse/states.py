"""The statements that write `asset_states`: what is live, what is deleted, by two registers per asset.

A register is last-write-wins: the newest upsert and the newest Delete of an asset are the greatest by
time, then length and text of the change set's id, then position (then the channel). So any order of
arrival, any repetition and any replay end in the same row.

One statement writes the rows of a transaction, one per asset, in the order of their ids: MERGE and pairs
of statements deadlock or collide when two channels carry the same asset.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TextClause, text

from asset_changes.models import LOG_COLUMNS

LOG_OF_SET = f"""
        SELECT {", ".join(LOG_COLUMNS)} FROM asset_changes
        WHERE fetched_at = :fetched_at AND channel_id = :channel_id AND change_set_id = :change_set_id"""
STAGED = "SELECT * FROM pg_temp.staged"

_UPSERT_IS_NEWER = """coalesce(
            (excluded.upserted_at, length(excluded.upsert_change_set_id), excluded.upsert_change_set_id,
             excluded.upsert_position, excluded.channel_id)
          > (known.upserted_at, length(known.upsert_change_set_id), known.upsert_change_set_id,
             known.upsert_position, known.channel_id),
            excluded.upserted_at IS NOT NULL AND known.upserted_at IS NULL)"""
# A tombstone without any upsert is described by its newest Delete; else the channel is that of the upsert.
_ARE_TOMBSTONES = "excluded.upserted_at IS NULL AND known.upserted_at IS NULL"
_DELETE_IS_NEWER = f"""coalesce(
            (excluded.deleted_at, length(excluded.delete_change_set_id), excluded.delete_change_set_id,
             excluded.delete_position, CASE WHEN {_ARE_TOMBSTONES} THEN excluded.channel_id END)
          > (known.deleted_at, length(known.delete_change_set_id), known.delete_change_set_id,
             known.delete_position, CASE WHEN {_ARE_TOMBSTONES} THEN known.channel_id END),
            excluded.deleted_at IS NOT NULL AND known.deleted_at IS NULL)"""
_IS_DESCRIBED_ANEW = f"({_UPSERT_IS_NEWER} OR {_ARE_TOMBSTONES} AND {_DELETE_IS_NEWER})"
_KNOWN_IS_LIVE = "coalesce(known.upserted_at > known.deleted_at, known.upserted_at IS NOT NULL)"

_COLUMNS = (
    "asset_id, asset_type, asset_family, channel_id, asset_lifecycle, upserted_at, upsert_change_set_id, "
    "upsert_position, deleted_at, delete_change_set_id, delete_position"
)
# Found once per statement, where a join would look for it at every row.
_FAMILY_OF_CHANNEL = "(SELECT asset_family FROM channels WHERE channel_id = :channel_id)"
_NEWEST = """
        SELECT DISTINCT ON (asset_id) asset_id, asset_lifecycle, asset_type, {family} AS asset_family, channel_id,
               changed_at, change_set_id, position
        FROM ({source}) AS coming
        WHERE asset_lifecycle {operator} 'Delete'
        ORDER BY asset_id, changed_at DESC, length(change_set_id) DESC, change_set_id DESC, position DESC{ties}"""
_REGISTERS = """
        SELECT asset_id,
               CASE WHEN u.asset_id IS NULL THEN d.asset_type ELSE u.asset_type END AS asset_type,
               coalesce(u.asset_family, d.asset_family) AS asset_family,
               coalesce(u.channel_id, d.channel_id) AS channel_id,
               u.asset_lifecycle, u.changed_at AS upserted_at,
               u.change_set_id AS upsert_change_set_id, u.position AS upsert_position,
               d.changed_at AS deleted_at, d.change_set_id AS delete_change_set_id, d.position AS delete_position
        FROM ({upserts}) AS u FULL JOIN ({deletes}) AS d USING (asset_id)"""
_ONLY_NEWER = f"""
    LEFT JOIN asset_states AS known USING (asset_id)
    WHERE known.asset_id IS NULL OR {_UPSERT_IS_NEWER} OR {_DELETE_IS_NEWER}"""

# How many rows a statement wrote, which assets it took from live to dead, and in the slot {sets} whose registers it
# wrote. The statement itself says it: a query before or after it may see what another transaction did.
_RETURN_WRITTEN = """RETURNING asset_id, was_live, upserted_at, deleted_at, upsert_change_set_id,
              delete_change_set_id
)
SELECT count(*) AS row_count,
       CAST(array_agg(asset_id) FILTER (WHERE was_live AND upserted_at <= deleted_at) AS text) AS ended_ids,
       CAST(array_agg(upserted_at) FILTER (WHERE was_live AND upserted_at <= deleted_at) AS text) AS ended_upserted_at,
       {sets} AS change_set_ids
FROM written
"""
_THEIR_SETS = "array_agg(DISTINCT upsert_change_set_id) || array_agg(DISTINCT delete_change_set_id)"
_OF_ONE_SET = "CAST(NULL AS text[])"  # nothing to find out, which would take two sorts

# Slots: {registers}, the registers that are coming; {only}, which of them.
_UPSERT = f"""
WITH written AS (
    INSERT INTO asset_states AS known ({_COLUMNS}, was_live)
    SELECT excluded.*, false FROM ({{registers}}) AS excluded {{only}}
    ORDER BY asset_id
    ON CONFLICT (asset_id) DO UPDATE SET
        asset_type = CASE WHEN {_IS_DESCRIBED_ANEW} THEN excluded.asset_type ELSE known.asset_type END,
        asset_family = CASE WHEN {_IS_DESCRIBED_ANEW} THEN excluded.asset_family ELSE known.asset_family END,
        channel_id = CASE WHEN {_IS_DESCRIBED_ANEW} THEN excluded.channel_id ELSE known.channel_id END,
        asset_lifecycle = CASE WHEN {_UPSERT_IS_NEWER} THEN excluded.asset_lifecycle ELSE known.asset_lifecycle END,
        upserted_at = greatest(known.upserted_at, excluded.upserted_at),
        upsert_change_set_id =
            CASE WHEN {_UPSERT_IS_NEWER} THEN excluded.upsert_change_set_id ELSE known.upsert_change_set_id END,
        upsert_position = CASE WHEN {_UPSERT_IS_NEWER} THEN excluded.upsert_position ELSE known.upsert_position END,
        deleted_at = greatest(known.deleted_at, excluded.deleted_at),
        delete_change_set_id =
            CASE WHEN {_DELETE_IS_NEWER} THEN excluded.delete_change_set_id ELSE known.delete_change_set_id END,
        delete_position = CASE WHEN {_DELETE_IS_NEWER} THEN excluded.delete_position ELSE known.delete_position END,
        was_live = {_KNOWN_IS_LIVE},
        loaded_at = now()
    WHERE {_UPSERT_IS_NEWER} OR {_DELETE_IS_NEWER}
    {_RETURN_WRITTEN}"""

# What the log has of the assets, and the registers that other sets wrote: an owner may have dropped old partitions.
_LOG_OF_ASSETS = """
        SELECT asset_id, asset_lifecycle, asset_type, channel_id, changed_at, change_set_id, position, fetched_at
        FROM asset_changes JOIN pg_temp.reread_assets USING (asset_id)
        UNION ALL
        SELECT asset_id, asset_lifecycle, asset_type, channel_id, upserted_at, upsert_change_set_id, upsert_position,
               NULL
        FROM asset_states JOIN pg_temp.reread_assets USING (asset_id) WHERE upsert_change_set_id <> :change_set_id
        UNION ALL
        SELECT asset_id, 'Delete', asset_type, channel_id, deleted_at, delete_change_set_id, delete_position, NULL
        FROM asset_states JOIN pg_temp.reread_assets USING (asset_id) WHERE delete_change_set_id <> :change_set_id"""
_WITH_FAMILY = "SELECT logged.*, asset_family FROM ({source}) AS logged JOIN channels USING (channel_id)"
# An asset that has no row gets one that says nothing yet: else what another channel writes of it meanwhile, and has not
# committed, would be neither seen nor waited for.
_LOCK_REREAD = text("""
    INSERT INTO asset_states AS known (asset_id, asset_family, channel_id)
    SELECT asset_id, asset_family, channel_id FROM pg_temp.reread_assets CROSS JOIN channels
    WHERE channel_id = :channel_id
    ORDER BY asset_id
    ON CONFLICT (asset_id) DO UPDATE SET asset_id = known.asset_id WHERE false""")
_REMOVE_UNKNOWN = text("""
    DELETE FROM asset_states USING pg_temp.reread_assets
    WHERE asset_states.asset_id = reread_assets.asset_id
      AND coalesce(upsert_change_set_id, :change_set_id) = :change_set_id
      AND coalesce(delete_change_set_id, :change_set_id) = :change_set_id
      AND NOT EXISTS (SELECT FROM asset_changes WHERE asset_changes.asset_id = reread_assets.asset_id)""")
# Unlike the upsert it also takes back: a register that only grows would keep a misread time for ever.
_REPLACE = f"""
WITH written AS (
    INSERT INTO asset_states AS known ({_COLUMNS}, was_live)
    SELECT excluded.*, false FROM ({{registers}}) AS excluded
    ORDER BY asset_id
    ON CONFLICT (asset_id) DO UPDATE SET
        ({_COLUMNS}) = ROW (excluded.{_COLUMNS.replace(", ", ", excluded.")}),
        was_live = {_KNOWN_IS_LIVE},
        loaded_at = now()
    WHERE (known.{_COLUMNS.replace(", ", ", known.")})
        IS DISTINCT FROM (excluded.{_COLUMNS.replace(", ", ", excluded.")})
{_RETURN_WRITTEN}"""


def _registers_of(source: str, *, family: str = _FAMILY_OF_CHANNEL, ties: str = "") -> str:
    return _REGISTERS.format(
        upserts=_NEWEST.format(source=source, family=family, operator="<>", ties=ties),
        deletes=_NEWEST.format(source=source, family=family, operator="=", ties=ties),
    )


_UPSERT_FROM_LOG = text(_UPSERT.format(registers=_registers_of(LOG_OF_SET), only="", sets=_OF_ONE_SET))
# A replay finds nearly all assets as they should be: these are left out before they are locked.
_UPSERT_FROM_STAGED = text(_UPSERT.format(registers=_registers_of(STAGED), only=_ONLY_NEWER, sets=_THEIR_SETS))
# The log knows the channel and type of a Delete; a register without a time of fetching, those of the asset's upsert.
_REPLACE_FROM_LOG = text(
    _REPLACE.format(
        registers=_registers_of(
            _WITH_FAMILY.format(source=_LOG_OF_ASSETS),
            family="asset_family",
            ties=", fetched_at NULLS LAST, channel_id DESC",
        ),
        sets=_OF_ONE_SET,
    )
)


@dataclass(frozen=True, kw_only=True)
class WrittenStates:
    """What one statement wrote: how many rows, and whose registers it set where it brings several sets.

    `ended` are the assets that it took from live to dead, with the time of their upserts: the values
    `ended_ids` and `ended_upserted_at` of the statement that writes evidence, as Postgres spells arrays: no Python
    reads them.
    """

    rows: int
    ended: dict[str, str]
    change_set_ids: frozenset[str]


def upsert_from_log(connection: Connection, key: dict[str, Any]) -> WrittenStates:
    """Bring the states up to the changes that the log has of one set."""
    return _written(connection, _UPSERT_FROM_LOG, key)


def upsert_from_staged(connection: Connection, channel_id: int) -> WrittenStates:
    """Bring the states up to the staged changes of any number of sets of one channel."""
    return _written(connection, _UPSERT_FROM_STAGED, {"channel_id": channel_id})


def lock_reread_assets(connection: Connection, key: dict[str, Any]) -> None:
    """Lock the assets in `pg_temp.reread_assets`, known or not, in the order of their ids as every load does."""
    connection.execute(_LOCK_REREAD, {"channel_id": key["channel_id"]})


def replace_from_log(connection: Connection, key: dict[str, Any]) -> WrittenStates:
    """Compute the registers of the assets in `pg_temp.reread_assets` again, one set of which was read anew."""
    removed = connection.execute(_REMOVE_UNKNOWN, {"change_set_id": key["change_set_id"]}).rowcount
    written = _written(connection, _REPLACE_FROM_LOG, {"change_set_id": key["change_set_id"]})
    return WrittenStates(rows=written.rows + removed, ended=written.ended, change_set_ids=written.change_set_ids)


def _written(connection: Connection, statement: TextClause, values: dict[str, Any]) -> WrittenStates:
    row = connection.execute(statement, values).one()
    return WrittenStates(
        rows=row.row_count,
        ended={"ended_ids": row.ended_ids or "{}", "ended_upserted_at": row.ended_upserted_at or "{}"},
        change_set_ids=frozenset(filter(None, row.change_set_ids or [])),
    )
