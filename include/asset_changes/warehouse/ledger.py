"""The ledger: what became of each change set, and when each channel was last asked.

A set is fetched, then loaded, then confirmed; each function marks one of these in the caller's
transaction. Every transaction that loads locks the row of its channel first, then rows of assets
in the order of their ids: no two of them can wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from asset_changes.models import ChangeSetRef, Channel, Counts, PreparedSet
from asset_changes.warehouse.schema import change_sets, channels

# Each set takes nine of these: as ready statements they cost a third of what composing them anew does. They are text,
# for each task is a new process, and would spend 2 ms on composing a SELECT of all columns for the first time.
_THE_SET = "WHERE channel_id = :channel_id AND change_set_id = :change_set_id"
_LOOKUP = text(f"SELECT * FROM change_sets {_THE_SET}")
_LOOKUP_LOCKED = text(f"SELECT * FROM change_sets {_THE_SET} FOR UPDATE")
_INSERT_FETCHED = text("""
    INSERT INTO change_sets (channel_id, change_set_id, archive_uri, fetched_at, content_hash, dag_id, run_id)
    VALUES (:channel_id, :change_set_id, :archive_uri, :fetched_at, :content_hash, :dag_id, :run_id)
    ON CONFLICT DO NOTHING RETURNING *""")
_MARK_REDELIVERED = text(f"""
    UPDATE change_sets
    SET redelivered_count = redelivered_count + 1, confirmed_at = NULL, is_confirm_implied = false {_THE_SET}""")
_REOPEN = text(f"UPDATE change_sets SET content_hash = :content_hash, loaded_at = NULL {_THE_SET}")
_COUNTED = """
    oldest_change_at = :oldest_change_at, newest_change_at = :newest_change_at,
    change_count = :change_count, new_count = :new_count, update_count = :update_count,
    delete_count = :delete_count, superseded_count = :superseded_count, rejected_count = :rejected_count"""
_RECOUNT = text(f"UPDATE change_sets SET content_hash = :content_hash, {_COUNTED} {_THE_SET}")
_MARK_CONFIRM_TRIED = text(f"UPDATE change_sets SET confirm_tried_at = coalesce(confirm_tried_at, now()) {_THE_SET}")
_MARK_CONFIRMED = text(f"""
    UPDATE change_sets
    SET confirmed_at = coalesce(confirmed_at, now()), is_confirm_implied = false,
        committed_at = coalesce(committed_at, :committed_at, now())
    {_THE_SET} AND loaded_at IS NOT NULL""")  # a longer delivery may have reopened it meanwhile
_MARK_CONFIRMED_BY_OTHERS = text(f"""
    UPDATE change_sets
    SET confirmed_at = now(), is_confirm_implied = true, confirm_tried_at = NULL,
        committed_at = coalesce(committed_at, :committed_at, now())
    {_THE_SET} AND confirmed_at IS NULL AND loaded_at IS NOT NULL""")
_UNCONFIRMED = """
    WHERE channel_id = :channel_id AND confirmed_at IS NULL AND fetched_at < :before
        AND change_set_id IS DISTINCT FROM :except_id"""
_FIND_UNCONFIRMED = text(f"SELECT * FROM change_sets {_UNCONFIRMED} ORDER BY fetched_at")
_IMPLY_CONFIRMED = text(f"""
    UPDATE change_sets
    SET confirmed_at = now(), is_confirm_implied = true, committed_at = coalesce(committed_at, now())
    {_UNCONFIRMED} AND loaded_at IS NOT NULL""")
_BEGIN_REBUILD = text(
    "UPDATE channels SET rebuilding_since = now() WHERE channel_id = :channel_id AND rebuilding_since IS NULL"
)
_END_REBUILD = text(
    "UPDATE channels SET rebuilding_since = NULL WHERE channel_id = :channel_id AND rebuilding_since IS NOT NULL"
)
_MARK_REBUILT = text(f"UPDATE change_sets SET rebuilt_at = now() {_THE_SET}")
_MARK_REBUILT_AND_CONFIRMED = text(f"""
    UPDATE change_sets SET rebuilt_at = now(), confirmed_at = now(), is_confirm_implied = true {_THE_SET}""")
# An empty answer later on must not wipe the trace of a gap: it gets a row before the channel's own is overwritten.
_MARK_CHECKED = text("""
    WITH gap AS (
        INSERT INTO feed_gaps (channel_id, unread_from, unread_to)
        SELECT channel_id, coalesce(last_checked_at, discovered_at), now() FROM channels
        WHERE channel_id = :channel_id AND coalesce(last_checked_at, discovered_at) < now() - :gap
        ON CONFLICT DO NOTHING)
    INSERT INTO channels AS known (channel_id, asset_family, asset_type, last_checked_at, caught_up_at)
    VALUES (:channel_id, :asset_family, :asset_type, now(), CASE WHEN :is_caught_up THEN now() END)
    ON CONFLICT (channel_id) DO UPDATE
    SET last_checked_at = excluded.last_checked_at, caught_up_at = coalesce(excluded.caught_up_at, known.caught_up_at)
    """)
_LOCK_CHANNEL = text("SELECT channel_id FROM channels WHERE channel_id = :channel_id FOR UPDATE")
_LOCK_NEW_CHANNEL = text("""
    INSERT INTO channels (channel_id, asset_family, asset_type) VALUES (:channel_id, :asset_family, :asset_type)
    ON CONFLICT (channel_id) DO UPDATE SET channel_id = excluded.channel_id""")
# An earlier statement has locked the channel's row: one that locks and counts at once would count from a row that
# another transaction is about to change. The clock lets numbers rise also after a restore of an older warehouse.
_NUMBERED = """
    WITH numbered AS (
        UPDATE channels
        SET last_channel_seq =
                greatest(last_channel_seq + 1, CAST(extract(epoch FROM clock_timestamp()) * 1e6 AS bigint)),
            last_change_at = greatest(last_change_at, CAST(:newest_change_at AS timestamptz))
        WHERE channel_id = :channel_id
        RETURNING last_channel_seq)"""
_MARK_LOADED = text(f"""{_NUMBERED}
    UPDATE change_sets
    SET loaded_at = clock_timestamp(), content_hash = :content_hash, channel_seq = last_channel_seq,
        {_COUNTED}
    FROM numbered {_THE_SET} RETURNING channel_seq""")
_RENUMBER = text(f"{_NUMBERED} UPDATE change_sets SET channel_seq = last_channel_seq FROM numbered {_THE_SET}")


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """What the ledger knows of one change set."""

    ref: ChangeSetRef
    content_hash: str
    counts: Counts
    newest_change_at: datetime | None
    channel_seq: int | None
    loaded_at: datetime | None
    confirm_tried_at: datetime | None
    confirmed_at: datetime | None
    is_rebuilt: bool


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """The Airflow run on whose behalf something is written."""

    dag_id: str | None = None
    run_id: str | None = None


def lookup(connection: Connection, channel_id: int, change_set_id: str, *, lock: bool = False) -> LedgerRow | None:
    """Return the ledger's row of a change set, locked until the transaction ends if asked."""
    query = _LOOKUP_LOCKED if lock else _LOOKUP
    row = connection.execute(query, {"channel_id": channel_id, "change_set_id": change_set_id}).one_or_none()
    return None if row is None else _ledger_row(row)


def lookup_many(connection: Connection, channel_id: int, change_set_ids: Sequence[str]) -> dict[str, LedgerRow]:
    """Return the ledger's rows of several sets of a channel by id; sets without a row are left out."""
    query = select(change_sets).where(
        (change_sets.c.channel_id == channel_id) & change_sets.c.change_set_id.in_(change_set_ids)
    )
    return {row.change_set_id: _ledger_row(row) for row in connection.execute(query)}


def insert_fetched(connection: Connection, ref: ChangeSetRef, *, content_hash: str, run: RunRef) -> LedgerRow | None:
    """Write the row of a set that was fetched for the first time; None if another worker was quicker."""
    values = {
        **_key(ref),
        "archive_uri": ref.archive_uri,
        "fetched_at": ref.fetched_at,
        "content_hash": content_hash,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
    }
    row = connection.execute(_INSERT_FETCHED, values).one_or_none()
    return None if row is None else _ledger_row(row)


def mark_redelivered(connection: Connection, ref: ChangeSetRef) -> None:
    """Count that Getty handed the set out again, which proves that it is not confirmed."""
    connection.execute(_MARK_REDELIVERED, _key(ref))


def reopen(connection: Connection, ref: ChangeSetRef, *, content_hash: str) -> None:
    """Make a set due for loading again: a redelivery made it longer, or it is read otherwise now."""
    connection.execute(_REOPEN, {**_key(ref), "content_hash": content_hash})


def mark_loaded(connection: Connection, ref: ChangeSetRef, prepared: PreparedSet) -> int:
    """Mark a set as loaded, with its counts and the channel's next sequence number, which is returned.

    The caller holds the lock of the channel's row, which also keeps the time of the channel's newest change.
    """
    return int(connection.execute(_MARK_LOADED, {**_key(ref), **_counted(prepared)}).scalar_one())


def recount(connection: Connection, ref: ChangeSetRef, prepared: PreparedSet) -> None:
    """Write anew what a loaded set contains; when it was loaded stays."""
    connection.execute(_RECOUNT, {**_key(ref), **_counted(prepared)})


def renumber(connection: Connection, ref: ChangeSetRef) -> None:
    """Give a loaded set, of which the tables have something else now, the channel's next sequence number.

    The caller holds the lock of the channel's row.
    """
    connection.execute(_RENUMBER, {**_key(ref), "newest_change_at": None})


def _counted(prepared: PreparedSet) -> dict[str, object]:
    return {
        "content_hash": prepared.content_hash,
        "oldest_change_at": prepared.oldest_change_at,
        "newest_change_at": prepared.newest_change_at,
        "change_count": prepared.counts.changes,
        "new_count": prepared.counts.new,
        "update_count": prepared.counts.update,
        "delete_count": prepared.counts.delete,
        "superseded_count": prepared.counts.superseded,
        "rejected_count": prepared.counts.rejected,
    }


def mark_confirm_tried(connection: Connection, ref: ChangeSetRef) -> None:
    """Mark that a confirmation is about to be sent; the time of the first try stays."""
    connection.execute(_MARK_CONFIRM_TRIED, _key(ref))


def mark_confirmed(connection: Connection, ref: ChangeSetRef, *, is_ours: bool, committed_at: datetime) -> None:
    """Mark a set as confirmed, also where an answer had only implied it.

    One that somebody else confirmed is implied and was never tried: the sign by which the watchdog
    knows another consumer. A second worker of ours may have marked it before; then that stays.
    `committed_at` is a clock read after the commit of the load: by then it was applied.
    """
    values = {**_key(ref), "committed_at": committed_at}
    connection.execute(_MARK_CONFIRMED if is_ours else _MARK_CONFIRMED_BY_OTHERS, values)


def mark_rebuilt(connection: Connection, ref: ChangeSetRef, *, is_confirmed: bool) -> None:
    """Mark a row that a replay made, so that nobody takes its times for those of the first load.

    From the first one on until `end_rebuild` no file is deleted for a Delete of the channel: a New may follow it.
    """
    statement = _MARK_REBUILT_AND_CONFIRMED if is_confirmed else _MARK_REBUILT
    connection.execute(statement, _key(ref))
    connection.execute(_BEGIN_REBUILD, {"channel_id": ref.channel_id})


def end_rebuild(connection: Connection, channel_id: int) -> None:
    """Keep that a replay of the channel has loaded all of its span."""
    connection.execute(_END_REBUILD, {"channel_id": channel_id})


def imply_confirmed(
    connection: Connection, *, channel_id: int, except_id: str | None, before: datetime
) -> list[LedgerRow]:
    """Mark the loaded sets of a channel fetched `before` as confirmed, and return those that are not loaded.

    Getty hands out another set, `except_id`, or none, only after it confirmed those before.
    """
    values = {"channel_id": channel_id, "except_id": except_id, "before": before}
    rows: Sequence[Row[tuple[object, ...]]] = connection.execute(_FIND_UNCONFIRMED, values).all()
    if any(row.loaded_at for row in rows):
        connection.execute(_IMPLY_CONFIRMED, values)
    return [_ledger_row(row) for row in rows if row.loaded_at is None]


def mark_checked(connection: Connection, channel: Channel, *, is_caught_up: bool, gap: timedelta) -> None:
    """Mark that the channel answered a PUT, and whether it had nothing to hand out; locks its row.

    Where it was not asked for longer than `gap`, that is kept in `feed_gaps`.
    """
    connection.execute(_MARK_CHECKED, {**_described(channel), "is_caught_up": is_caught_up, "gap": gap})


def lock_channel(connection: Connection, channel: Channel) -> None:
    """Hold the channel's row until the transaction ends, so that its sets are loaded one by one."""
    if connection.execute(_LOCK_CHANNEL, {"channel_id": channel.channel_id}).one_or_none() is None:
        connection.execute(_LOCK_NEW_CHANNEL, _described(channel))


def upsert_channels(connection: Connection, found: Sequence[Channel]) -> None:
    """Keep what Getty says of the channels it lists; one that was missing or retired is so no more."""
    for channel in sorted(found, key=lambda each: each.channel_id):  # as everywhere that locks several of them
        listed = {
            "asset_family": channel.asset_family,
            "asset_type": channel.asset_type,
            "lifecycles": channel.lifecycles,
            "started_at": channel.started_at,
            "missing_since": None,
            "retired_at": None,
        }
        statement = insert(channels).values(channel_id=channel.channel_id, discovered_at=func.now(), **listed)
        kept = {"discovered_at": func.coalesce(channels.c.discovered_at, func.now())}
        connection.execute(statement.on_conflict_do_update(index_elements=["channel_id"], set_={**listed, **kept}))


def mark_missing(connection: Connection, channel_ids: Sequence[int]) -> None:
    """Mark channels that Getty's list lacks and that are still read; the first time stays."""
    connection.execute(
        update(channels)
        .where(channels.c.channel_id.in_(channel_ids))
        .values(missing_since=func.coalesce(channels.c.missing_since, func.now()), retired_at=None)
    )


def retire_channels(connection: Connection, channel_ids: Sequence[int]) -> None:
    """Mark channels that are no longer read; the first time stays."""
    connection.execute(
        update(channels)
        .where(channels.c.channel_id.in_(channel_ids) & channels.c.retired_at.is_(None))
        .values(retired_at=func.now())
    )


def mark_refused(connection: Connection, channel: Channel) -> None:
    """Mark that Getty answered a PUT that it does not know the channel."""
    statement = insert(channels).values(**_described(channel), refused_at=func.now())
    connection.execute(statement.on_conflict_do_update(index_elements=["channel_id"], set_={"refused_at": func.now()}))


def refused_channels(connection: Connection) -> list[int]:
    """Return the channels of which Getty's last answer to a PUT was that it does not know them."""
    is_newest = channels.c.last_checked_at.is_(None) | (channels.c.refused_at > channels.c.last_checked_at)
    return list(connection.scalars(select(channels.c.channel_id).where(channels.c.refused_at.is_not(None) & is_newest)))


def _key(ref: ChangeSetRef) -> dict[str, object]:
    return {"channel_id": ref.channel_id, "change_set_id": ref.change_set_id}


def _described(channel: Channel) -> dict[str, object]:
    return {
        "channel_id": channel.channel_id,
        "asset_family": channel.asset_family,
        "asset_type": channel.asset_type,
    }


def _ledger_row(row: Row[tuple[object, ...]]) -> LedgerRow:
    return LedgerRow(
        ref=ChangeSetRef(
            channel_id=row.channel_id,
            change_set_id=row.change_set_id,
            fetched_at=row.fetched_at,
            archive_uri=row.archive_uri,
        ),
        content_hash=row.content_hash,
        counts=Counts(
            new=row.new_count,
            update=row.update_count,
            delete=row.delete_count,
            superseded=row.superseded_count,
            rejected=row.rejected_count,
        ),
        newest_change_at=row.newest_change_at,
        channel_seq=row.channel_seq,
        loaded_at=row.loaded_at,
        confirm_tried_at=row.confirm_tried_at,
        confirmed_at=row.confirmed_at,
        is_rebuilt=row.rebuilt_at is not None,
    )
