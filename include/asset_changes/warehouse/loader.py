"""The guarded load: prepared rows into the log, the states of the assets, and the evidence.

The order within a transaction: log, states, then wait for the archive, then in later statements what
is evidence, with one clock value that is read at that time: no lock and no slow archive makes a Delete
look as if it had been applied earlier. With it, or last, what is known of assets that are not live any more is removed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from asset_changes.models import LOG_COLUMNS, LOG_KEY, ChangeSetRef, PreparedSet
from asset_changes.warehouse import states
from asset_changes.warehouse.asset_metadata import REMOVE_NOT_LIVE
from asset_changes.warehouse.states import LOG_OF_SET, STAGED

_LOG = ", ".join(LOG_COLUMNS)
_THE_SET = "channel_id = :channel_id AND change_set_id = :change_set_id"
_IN_LOG = text(f"SELECT EXISTS ({LOG_OF_SET})")

# A table of the name may be there: of another set in this transaction, or left by somebody else in a pooler's session.
_STAGE = text(f"""
    DROP TABLE IF EXISTS pg_temp.staged;
    CREATE TEMPORARY TABLE pg_temp.staged ON COMMIT DROP AS
    SELECT {_LOG} FROM asset_changes WITH NO DATA""")
# What is read of a message. The address is left out: it may differ at each request.
_READ = ", ".join(name for name in LOG_COLUMNS if name not in (*LOG_KEY, "uri"))
_COMPARE = text(f"""
    SELECT change_set_id, count(*) FILTER (WHERE logged.position IS NULL) AS lacking,
           count(*) FILTER (WHERE logged.position IS NOT NULL) AS differing
    FROM (
        SELECT change_set_id, position, {_READ} FROM asset_changes
        WHERE channel_id = :channel_id AND (fetched_at, change_set_id) IN (
            SELECT * FROM unnest(CAST(:fetched_at AS timestamptz[]), CAST(:change_set_ids AS text[])))
    ) AS logged
    FULL JOIN pg_temp.staged USING (change_set_id, position)
    WHERE logged.position IS NULL OR staged.position IS NULL
       OR (logged.{_READ.replace(", ", ", logged.")}) IS DISTINCT FROM (staged.{_READ.replace(", ", ", staged.")})
    GROUP BY change_set_id""")
_UNSTAGE = text("DELETE FROM pg_temp.staged WHERE change_set_id = ANY (:change_set_ids)")
_ADD_TO_LOG = text(f"""
    WITH added AS (
        INSERT INTO asset_changes ({_LOG}) SELECT {_LOG} FROM pg_temp.staged
        WHERE change_set_id = ANY (:change_set_ids)
        ON CONFLICT DO NOTHING RETURNING change_set_id, position, asset_lifecycle)
    SELECT count(*) AS row_count,
           array_agg(change_set_id) FILTER (WHERE asset_lifecycle = 'Delete') AS change_set_ids,
           array_agg(position) FILTER (WHERE asset_lifecycle = 'Delete') AS positions
    FROM added""")

# Slots: {source}, the changes; {is_new}, whether a Delete is applied now for the first time; {also}, what else is done.
# A Delete older than the asset's newest upsert has not ended its live state, though another one of its set may have.
_ADD_DELETIONS = """
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS applied_at),
    delivered AS (
        SELECT * FROM unnest(CAST(:delivered_ids AS text[]), CAST(:first_positions AS integer[]),
                             CAST(:received_at AS timestamptz[])) AS each (change_set_id, first_position, received_at)),
    ended AS (
        SELECT * FROM unnest(CAST(:ended_ids AS text[]), CAST(:ended_upserted_at AS timestamptz[]))
        AS each (asset_id, upserted_at)),
    deletes AS (
        SELECT *, {is_new} AS is_new FROM ({source}) AS coming WHERE asset_lifecycle = 'Delete'){also}
    INSERT INTO deletions (channel_id, change_set_id, position, asset_id, deleted_at, is_time_inferred,
                           received_at, applied_at, was_held, was_in_holdings, is_rebuilt)
    SELECT channel_id, change_set_id, position, asset_id, changed_at, is_time_inferred,
           (SELECT received_at FROM delivered
            WHERE delivered.change_set_id = deletes.change_set_id AND first_position <= position
            ORDER BY first_position DESC, received_at DESC LIMIT 1),
           applied_at,
           CASE WHEN is_new THEN coalesce(upserted_at <= changed_at, false) END,
           CASE WHEN is_new AND EXISTS (SELECT FROM held_assets) THEN
               -- By the index, asset by asset: an EXISTS here may be planned as a hash of all that is held.
               (SELECT true FROM held_assets AS held
                WHERE held.asset_id = deletes.asset_id AND held_until IS NULL LIMIT 1) IS NOT NULL END,
           NOT is_new
    FROM deletes LEFT JOIN ended USING (asset_id) CROSS JOIN clock
    ON CONFLICT DO NOTHING"""
_IS_ADDED = """(change_set_id, position) IN (
            SELECT * FROM unnest(CAST(:new_ids AS text[]), CAST(:new_positions AS integer[])))"""
# Metadata is removed by a later statement than the upsert, whose snapshot would miss what a lookup wrote meanwhile. A
# new set does it together with the evidence, and names what it ended, which is found by the key; whatever loads again
# looks at all of its Deletes.
_FORGET_ENDED = f", forgotten AS ({REMOVE_NOT_LIVE.format(assets='= ANY (CAST(:ended_ids AS text[]))')})"
_ADD_DELETIONS_FROM_LOG = text(
    _ADD_DELETIONS.format(source=LOG_OF_SET, is_new="CAST(:is_new AS boolean)", also=_FORGET_ENDED)
)
_ADD_DELETIONS_FROM_STAGED = text(_ADD_DELETIONS.format(source=STAGED, is_new=_IS_ADDED, also=""))
_REMOVE_METADATA_OF_STAGED = text(
    REMOVE_NOT_LIVE.format(assets=f"IN (SELECT asset_id FROM ({STAGED}) AS changes WHERE asset_lifecycle = 'Delete')")
)
_REMOVE_METADATA_OF_REREAD = text(REMOVE_NOT_LIVE.format(assets="IN (SELECT asset_id FROM pg_temp.reread_assets)"))

_REJECTED = text("""
    SELECT change_set_id, position, reason FROM rejected_changes
    WHERE channel_id = :channel_id AND change_set_id = ANY (:change_set_ids)""")
_REJECT = text("""
    INSERT INTO rejected_changes (channel_id, change_set_id, position, reason, asset_id, asset_lifecycle, raw)
    VALUES (:channel_id, :change_set_id, :position, :reason, :asset_id, :asset_lifecycle, :raw)
    ON CONFLICT DO NOTHING""")
_REMOVE_REJECTED = text(f"DELETE FROM rejected_changes WHERE {_THE_SET} AND position = ANY (:positions)")

_REMOVE_OLD_LIST = text("DROP TABLE IF EXISTS pg_temp.reread_assets")
_LIST_REREAD_ASSETS = text(f"""
    CREATE TEMPORARY TABLE pg_temp.reread_assets ON COMMIT DROP AS
    SELECT asset_id FROM ({LOG_OF_SET}) AS logged UNION SELECT asset_id FROM pg_temp.staged""")
_LOGGED_POSITIONS = text(f"SELECT position FROM ({LOG_OF_SET}) AS logged")
_LOGGED_DELETES = text(f"SELECT asset_id FROM ({LOG_OF_SET}) AS logged WHERE asset_lifecycle = 'Delete'")
_REMOVE_FROM_LOG = text(f"DELETE FROM asset_changes WHERE fetched_at = :fetched_at AND {_THE_SET}")
_NEW_DELETES = text("""
    SELECT change_set_id, position FROM pg_temp.staged
    WHERE asset_lifecycle = 'Delete' AND NOT asset_id = ANY (CAST(:logged AS text[]))""")
# What newer code no longer reads as the Delete that the evidence says, once per reading.
_CORRECT_DELETIONS = text(f"""
    INSERT INTO deletion_corrections (channel_id, change_set_id, position, asset_id, reads_as, corrected_at)
    SELECT d.channel_id, d.change_set_id, d.position, d.asset_id, now_reads_as, clock_timestamp()
    FROM deletions AS d
    LEFT JOIN ({LOG_OF_SET}) AS logged USING (position)
    LEFT JOIN rejected_changes AS r
        ON r.channel_id = d.channel_id AND r.change_set_id = d.change_set_id AND r.position = d.position
    CROSS JOIN LATERAL (SELECT CASE
        WHEN logged.asset_lifecycle = 'Delete' AND logged.asset_id = d.asset_id AND logged.changed_at = d.deleted_at
            THEN 'Delete'
        WHEN logged.asset_lifecycle = 'Delete' AND logged.asset_id = d.asset_id
            THEN concat('Delete at ', logged.changed_at AT TIME ZONE 'UTC', ' UTC')
        WHEN logged.position IS NOT NULL THEN concat(logged.asset_lifecycle, ' of ', logged.asset_id)
        WHEN r.position IS NOT NULL THEN concat('rejected: ', r.reason)
        ELSE 'no message' END) AS reading (now_reads_as)
    WHERE d.channel_id = :channel_id AND d.change_set_id = :change_set_id
      AND now_reads_as <> coalesce((
        SELECT reads_as FROM deletion_corrections AS c
        WHERE c.channel_id = d.channel_id AND c.change_set_id = d.change_set_id AND c.position = d.position
        ORDER BY corrected_at DESC LIMIT 1), 'Delete')""")


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A set that may be loaded already, as the archive says it.

    `is_rebuild` says that its evidence is made anew, so that it cannot be known what was held. So it is with a message
    among the first `loaded_count`, which were loaded before, that the tables have lost.
    """

    ref: ChangeSetRef
    prepared: PreparedSet
    is_rebuild: bool = False
    loaded_count: int = 0


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """What loading sets again wrote: how many rows, of which sets; `differing` are those to be read anew."""

    rows: int
    change_set_ids: frozenset[str]
    differing: frozenset[str]


def is_in_log(connection: Connection, ref: ChangeSetRef) -> bool:
    """Say whether the log has any change of a set."""
    return bool(connection.scalar(_IN_LOG, _key(ref)))


def load_first(
    connection: Connection,
    ref: ChangeSetRef,
    prepared: PreparedSet,
    *,
    wait: Callable[[], None],
    is_rebuild: bool = False,
) -> None:
    """Load a set of which the tables have nothing, in the caller's transaction.

    `wait` returns once the body is in the archive: before that nothing may be committed. `is_rebuild`
    says that the tables may have held the set before: what was live then cannot be known.
    """
    _copy(connection, "asset_changes", [prepared.rows])
    written = states.upsert_from_log(connection, _key(ref))
    wait()
    values = {**_key(ref), **_delivered([(ref, prepared)]), **written.ended, "is_new": not is_rebuild}
    connection.execute(_ADD_DELETIONS_FROM_LOG, values)
    _reject(connection, ref, prepared)


def load_again(connection: Connection, sets: Sequence[KnownSet], *, wait: Callable[[], None]) -> Reloaded:
    """Add what the tables lack of sets of one channel; once per transaction.

    A set whose logged rows differ from what the archive says is left alone and named: `reread` loads it.
    """
    if not sets:
        return Reloaded(rows=0, change_set_ids=frozenset(), differing=frozenset())
    channel_id, ids = sets[0].ref.channel_id, [each.ref.change_set_id for each in sets]
    connection.execute(_STAGE)
    _copy(connection, "pg_temp.staged", [each.prepared.rows for each in sets])
    compared = connection.execute(
        _COMPARE,
        {
            "channel_id": channel_id,
            "fetched_at": [each.ref.fetched_at for each in sets],
            "change_set_ids": ids,
        },
    ).all()
    differing = frozenset(row.change_set_id for row in compared if row.differing)
    if differing:
        connection.execute(_UNSTAGE, {"change_set_ids": [*differing]})
        sets = [each for each in sets if each.ref.change_set_id not in differing]
    lacking = {row.change_set_id for row in compared if row.lacking} - differing
    added = connection.execute(_ADD_TO_LOG, {"change_set_ids": [*lacking]}).one() if lacking else None
    written = states.upsert_from_staged(connection, channel_id)
    wait()
    rebuilt = {each.ref.change_set_id for each in sets if each.is_rebuild}
    positions = zip(added.change_set_ids or [], added.positions or [], strict=True) if added else []
    known = _loaded_before(connection, sets) if added and added.positions else set()
    new = [each for each in positions if each[0] not in rebuilt and each not in known]
    deletions = connection.execute(
        _ADD_DELETIONS_FROM_STAGED,
        {
            **_delivered([(each.ref, each.prepared) for each in sets]),
            **written.ended,
            "new_ids": [change_set_id for change_set_id, _ in new],
            "new_positions": [position for _, position in new],
        },
    ).rowcount
    if any(each.prepared.counts.delete for each in sets):
        connection.execute(_REMOVE_METADATA_OF_STAGED)
    rejected = _replace_rejected(connection, sets)
    touched = lacking | {id_ for id_, count in rejected.items() if count} | (written.change_set_ids & {*ids})
    return Reloaded(
        rows=(added.row_count if added else 0) + written.rows + deletions + sum(rejected.values()),
        # Deletions are written with log rows, or alone where they were lost: of which set, is not asked for.
        change_set_ids=frozenset(touched or (ids if deletions else ())),
        differing=differing,
    )


def reread(
    connection: Connection,
    ref: ChangeSetRef,
    prepared: PreparedSet,
    *,
    wait: Callable[[], None],
    is_rebuild: bool = False,
    loaded_count: int = 0,
) -> int:
    """Replace what the tables hold of a set by what the archive says today; return how many rows that wrote.

    The registers of its old and new assets are computed again from the log. Evidence stays: what is no
    longer read as a Delete gets a row in `deletion_corrections`. `is_rebuild` says that the tables may have held
    before what they lack now: what was live then cannot be known.
    """
    key = _key(ref)
    known_set = KnownSet(ref=ref, prepared=prepared, is_rebuild=is_rebuild, loaded_count=loaded_count)
    lost = _loaded_before(connection, [known_set]) - {
        (ref.change_set_id, position) for position in connection.scalars(_LOGGED_POSITIONS, key)
    }
    connection.execute(_STAGE)
    _copy(connection, "pg_temp.staged", [prepared.rows])
    connection.execute(_REMOVE_OLD_LIST)
    connection.execute(_LIST_REREAD_ASSETS, key)
    states.lock_reread_assets(connection, key)
    logged_deletes = connection.scalars(_LOGGED_DELETES, key).all()
    removed = connection.execute(_REMOVE_FROM_LOG, key).rowcount
    added = connection.execute(_ADD_TO_LOG, {"change_set_ids": [ref.change_set_id]}).one().row_count
    written = states.replace_from_log(connection, key)
    wait()
    new = [] if is_rebuild else connection.execute(_NEW_DELETES, {"logged": [*logged_deletes]}).all()
    new = [row for row in new if (row.change_set_id, row.position) not in lost]
    deletions = connection.execute(
        _ADD_DELETIONS_FROM_STAGED,
        {
            **_delivered([(ref, prepared)]),
            **written.ended,
            "new_ids": [row.change_set_id for row in new],
            "new_positions": [row.position for row in new],
        },
    ).rowcount
    connection.execute(_REMOVE_METADATA_OF_REREAD)
    rejected = _replace_rejected(connection, [known_set])
    corrected = connection.execute(_CORRECT_DELETIONS, key).rowcount
    return int(max(removed, added)) + written.rows + deletions + corrected + sum(rejected.values())


def _loaded_before(connection: Connection, sets: Sequence[KnownSet]) -> set[tuple[str, int]]:
    """Return set and position of the messages that were loaded once: whether their assets were live is not known now.

    One that was rejected then has done nothing yet.
    """
    counts = {each.ref.change_set_id: each.loaded_count for each in sets}
    values = {"channel_id": sets[0].ref.channel_id, "change_set_ids": [*counts]}
    rejected = {(row.change_set_id, row.position) for row in connection.execute(_REJECTED, values)}
    return {(set_id, position) for set_id, count in counts.items() for position in range(count)} - rejected


def _replace_rejected(connection: Connection, sets: Sequence[KnownSet]) -> dict[str, int]:
    """Make the rejected changes of the sets those that the archive says; return how many rows changed per set."""
    if not sets:
        return {}
    values = {"channel_id": sets[0].ref.channel_id, "change_set_ids": [each.ref.change_set_id for each in sets]}
    kept = {(row.change_set_id, row.position, row.reason) for row in connection.execute(_REJECTED, values)}
    changed = {}
    for each in sets:
        id_ = each.ref.change_set_id
        mine = {(id_, change.position, change.reason) for change in each.prepared.rejected}
        gone = [position for set_id, position, reason in kept if set_id == id_ and (id_, position, reason) not in mine]
        if gone:
            values = {"channel_id": each.ref.channel_id, "change_set_id": id_, "positions": gone}
            connection.execute(_REMOVE_REJECTED, values)
        changed[id_] = len(gone) + (_reject(connection, each.ref, each.prepared) if mine - kept else 0)
    return changed


def _reject(connection: Connection, ref: ChangeSetRef, prepared: PreparedSet) -> int:
    """Keep the rejected changes of a set; those that are kept already stay. Return how many were written."""
    rejected = [
        {"channel_id": ref.channel_id, "change_set_id": ref.change_set_id, **change._asdict()}
        for change in prepared.rejected
    ]
    return connection.execute(_REJECT, rejected).rowcount if rejected else 0


def _key(ref: ChangeSetRef) -> dict[str, Any]:
    return {"fetched_at": ref.fetched_at, "channel_id": ref.channel_id, "change_set_id": ref.change_set_id}


def _delivered(sets: Sequence[tuple[ChangeSetRef, PreparedSet]]) -> dict[str, Any]:
    """Return when each message came: per set and delivery its first position and its time."""
    each = [(ref.change_set_id, *delivery) for ref, prepared in sets for delivery in prepared.deliveries]
    return {
        "delivered_ids": [change_set_id for change_set_id, _, _ in each],
        "first_positions": [first_position for _, first_position, _ in each],
        "received_at": [received_at for _, _, received_at in each],
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
