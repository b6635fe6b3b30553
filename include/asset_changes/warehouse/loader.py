"""The guarded load: prepared rows into the log, the evidence and the state of each asset.

One statement writes `asset_states`, one row per asset, in the order of their ids: MERGE and pairs
of statements deadlock or collide when two channels carry the same asset.

Each asset has two registers, its newest upsert and its newest Delete: the greatest by time, then
length and text of the change set's id, then position (then the channel). So any order of arrival,
any repetition and any replay end in the same row.
"""

from collections.abc import Sequence

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from asset_changes.models import LOG_COLUMNS, FetchedSet, PreparedSet
from asset_changes.warehouse import ledger

_LOG = ", ".join(LOG_COLUMNS)
_LOADED_SET = "fetched_at = :fetched_at AND channel_id = :channel_id AND change_set_id = :change_set_id"


def _newer(register: str, moment: str, *, channel_id: str) -> str:
    """Return the SQL that says whether the incoming register is newer than the held one.

    Should two channels number their sets alike, the channel decides where all else is equal.
    """

    def greatness(row: str) -> str:
        change_set_id = f"{row}.{register}_change_set_id"
        by_channel = channel_id.format(row=row)
        return f"({row}.{moment}, length({change_set_id}), {change_set_id}, {row}.{register}_position, {by_channel})"

    is_first = f"excluded.{moment} IS NOT NULL AND held.{moment} IS NULL"
    return f"coalesce({greatness('excluded')} > {greatness('held')}, {is_first})"


_ARE_TOMBSTONES = "excluded.upserted_at IS NULL AND held.upserted_at IS NULL"
_UPSERT_NEWER = _newer("upsert", "upserted_at", channel_id="{row}.channel_id")
# The channel is that of the upsert where there is one.
_DELETE_NEWER = _newer("delete", "deleted_at", channel_id=f"CASE WHEN {_ARE_TOMBSTONES} THEN {{row}}.channel_id END")
# A tombstone without any upsert is described by its newest Delete.
_DESCRIBED_ANEW = f"({_UPSERT_NEWER} OR {_ARE_TOMBSTONES} AND {_DELETE_NEWER})"


def _take(columns: str, condition: str) -> str:
    return ", ".join(
        f"{name} = CASE WHEN {condition} THEN excluded.{name} ELSE held.{name} END" for name in columns.split()
    )


def _states_from(source: str, *, filters: bool = False) -> str:
    """Return the one statement that brings `asset_states` up to the changes in `source`.

    With `filters`, assets for which nothing is newer are left out before they are locked: a replay
    finds nearly all of them so.
    """
    only_newer = f"""
LEFT JOIN asset_states AS held USING (asset_id)
WHERE held.asset_id IS NULL OR {_UPSERT_NEWER} OR {_DELETE_NEWER}"""
    return f"""
INSERT INTO asset_states AS held (
    asset_id, asset_type, asset_family, channel_id, asset_lifecycle,
    upserted_at, upsert_change_set_id, upsert_position, deleted_at, delete_change_set_id, delete_position)
SELECT excluded.* FROM (
    SELECT asset_id,
           CASE WHEN u.asset_id IS NULL THEN d.asset_type ELSE u.asset_type END,
           coalesce(u.asset_family, d.asset_family),
           coalesce(u.channel_id, d.channel_id) AS channel_id,
           u.asset_lifecycle, u.changed_at AS upserted_at, u.change_set_id AS upsert_change_set_id,
           u.position AS upsert_position, d.changed_at AS deleted_at, d.change_set_id AS delete_change_set_id,
           d.position AS delete_position
    FROM ({_newest_from(source, "<>")}) AS u
    FULL JOIN ({_newest_from(source, "=")}) AS d USING (asset_id)
) AS excluded {only_newer if filters else ""}
ORDER BY asset_id
ON CONFLICT (asset_id) DO UPDATE SET
    {_take("asset_type asset_family channel_id", _DESCRIBED_ANEW)},
    {_take("asset_lifecycle upserted_at upsert_change_set_id upsert_position", _UPSERT_NEWER)},
    {_take("deleted_at delete_change_set_id delete_position", _DELETE_NEWER)},
    loaded_at = now()
WHERE {_UPSERT_NEWER} OR {_DELETE_NEWER}
"""


def _newest_from(source: str, equals: str) -> str:
    return f"""
    SELECT DISTINCT ON (asset_id) asset_id, asset_lifecycle, coming.asset_type, asset_family, channel_id,
           changed_at, change_set_id, position
    FROM ({source}) AS coming JOIN channels USING (channel_id)
    WHERE asset_lifecycle {equals} 'Delete'
    ORDER BY asset_id, changed_at DESC, length(change_set_id) DESC, change_set_id DESC, position DESC"""


def _deletions_from(source: str) -> str:
    return f"""
INSERT INTO deletions (channel_id, change_set_id, position, asset_id, deleted_at, received_at, applied_at, was_held,
                       is_rebuilt)
SELECT coming.channel_id, change_set_id, position, asset_id, changed_at, fetched_at, clock_timestamp(),
       CASE WHEN NOT :is_rebuild THEN coalesce(held.upserted_at > held.deleted_at, held.upserted_at IS NOT NULL) END,
       :is_rebuild
FROM ({source}) AS coming LEFT JOIN asset_states AS held USING (asset_id)
WHERE coming.asset_lifecycle = 'Delete'
ON CONFLICT DO NOTHING
"""


_FROM_LOG = f"SELECT {_LOG} FROM asset_changes WHERE {_LOADED_SET}"
_FROM_STAGED = "SELECT * FROM staged"

_DELETIONS_FROM_LOG, _STATES_FROM_LOG = text(_deletions_from(_FROM_LOG)), text(_states_from(_FROM_LOG))
_DELETIONS_FROM_STAGED, _STATES_FROM_STAGED = (
    text(_deletions_from(_FROM_STAGED)),
    text(_states_from(_FROM_STAGED, filters=True)),
)
_STAGE = text(f"CREATE TEMPORARY TABLE staged ON COMMIT DROP AS SELECT {_LOG} FROM asset_changes WITH NO DATA")
_LOG_FROM_STAGED = text(
    f"INSERT INTO asset_changes ({_LOG}) SELECT {_LOG} FROM staged WHERE NOT EXISTS (SELECT FROM asset_changes AS kept"
    " WHERE kept.fetched_at = staged.fetched_at AND kept.channel_id = staged.channel_id"
    " AND kept.change_set_id = staged.change_set_id AND kept.position = staged.position) ON CONFLICT DO NOTHING"
)
_IN_LOG = text(f"SELECT EXISTS (SELECT FROM asset_changes WHERE {_LOADED_SET})")
_REJECT = text(
    "INSERT INTO rejected_changes (channel_id, change_set_id, position, reason, asset_id, asset_lifecycle, raw)"
    " VALUES (:channel_id, :change_set_id, :position, :reason, :asset_id, :asset_lifecycle, :raw)"
    " ON CONFLICT DO NOTHING"
)

_REMOVE_REJECTED = text(
    "DELETE FROM rejected_changes WHERE channel_id = :channel_id AND change_set_id = :change_set_id"
    " AND position <> ALL (:but)"
)


def load_set(
    connection: Connection, fetched: FetchedSet, prepared: PreparedSet, *, is_first: bool, is_rebuild: bool = False
) -> None:
    """Load one prepared set in the caller's transaction and stamp it as loaded.

    `is_first` says that no row of the set is in the log yet: then it is copied straight into it. With
    `is_rebuild` nobody knows whether its Deletes ended something live when they were first applied.
    """
    if is_first:
        key = _key(fetched)
        _copy(connection, "asset_changes", [prepared.rows])
        connection.execute(_DELETIONS_FROM_LOG, key | {"is_rebuild": is_rebuild})
        connection.execute(_STATES_FROM_LOG, key)
        _insert_rejected(connection, [(fetched, prepared)])
    else:
        load_staged(connection, [(fetched, prepared)], is_rebuild=is_rebuild)
    ledger.mark_loaded(connection, fetched.channel_id, fetched.change_set_id, prepared)
    ledger.stamp_newest_change(connection, fetched.channel_id, prepared.newest_change_at)


def load_staged(
    connection: Connection, sets: Sequence[tuple[FetchedSet, PreparedSet]], *, is_rebuild: bool = False
) -> int:
    """Load sets that may be loaded already, once per transaction; return how many rows were written."""
    if not sets:
        return 0
    connection.execute(_STAGE)
    _copy(connection, "staged", [prepared.rows for _, prepared in sets])
    written = [
        connection.execute(_LOG_FROM_STAGED).rowcount,
        connection.execute(_DELETIONS_FROM_STAGED, {"is_rebuild": is_rebuild}).rowcount,
        connection.execute(_STATES_FROM_STAGED).rowcount,
    ]
    return sum(written) + _insert_rejected(connection, sets)


def is_in_log(connection: Connection, fetched: FetchedSet) -> bool:
    """Say whether the log holds any change of a set."""
    return bool(connection.scalar(_IN_LOG, _key(fetched)))


def remove_rejected(connection: Connection, fetched: FetchedSet, *, but: Sequence[int]) -> int:
    """Remove the rejected changes of a set that are read by now; return how many there were."""
    return connection.execute(_REMOVE_REJECTED, {**_key(fetched), "but": [*but]}).rowcount


def _insert_rejected(connection: Connection, sets: Sequence[tuple[FetchedSet, PreparedSet]]) -> int:
    """Keep the rejected changes of the sets; those that are kept already stay. Return how many were written."""
    rejected = [
        {"channel_id": fetched.channel_id, "change_set_id": fetched.change_set_id, **each._asdict()}
        for fetched, prepared in sets
        for each in prepared.rejected
    ]
    return connection.execute(_REJECT, rejected).rowcount if rejected else 0


def _key(fetched: FetchedSet) -> dict[str, object]:
    return {
        "fetched_at": fetched.fetched_at,
        "channel_id": fetched.channel_id,
        "change_set_id": fetched.change_set_id,
    }


def _copy(connection: Connection, table: str, sets: Sequence[bytes]) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - of a connection that is open
    try:
        with driver.cursor().copy(f"COPY {table} ({_LOG}) FROM STDIN (FORMAT csv)") as copy:
            for rows in sets:
                copy.write(rows)
    except psycopg.Error as error:  # as SQLAlchemy has it everywhere else, so that a deadlock is tried again here too
        raise DBAPIError(f"COPY {table}", None, error) from error
