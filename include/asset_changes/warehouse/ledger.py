"""The ledger: what became of each change set, and when each channel was last asked.

A set is fetched, then loaded, then confirmed; each function stamps one of these in the caller's
transaction. Every transaction that loads takes the row of its channel first, then rows of assets
in the order of their ids: no two of them can wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from asset_changes.model import Channel, Counts, FetchedSet, PreparedSet
from asset_changes.warehouse.schema import change_sets, channels


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """What the ledger knows of one change set."""

    fetched: FetchedSet
    content_hash: str
    counts: Counts
    newest_change_at: datetime | None
    channel_seq: int | None
    loaded_at: datetime | None
    confirm_tried_at: datetime | None
    confirmed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """The Airflow run on whose behalf something is written."""

    dag_id: str | None = None
    run_id: str | None = None


def lookup(connection: Connection, channel_id: int, change_set_id: str, *, lock: bool = False) -> LedgerRow | None:
    """Return the ledger's row of a change set, locked until the transaction ends if asked."""
    query = select(change_sets).where(_is(channel_id, change_set_id))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _ledger_row(row)


def lookup_many(connection: Connection, channel_id: int, change_set_ids: Sequence[str]) -> dict[str, LedgerRow]:
    """Return the ledger's rows of several sets of a channel by id; sets without a row are left out."""
    query = select(change_sets).where(
        (change_sets.c.channel_id == channel_id) & change_sets.c.change_set_id.in_(change_set_ids)
    )
    return {row.change_set_id: _ledger_row(row) for row in connection.execute(query)}


def insert_fetched(connection: Connection, fetched: FetchedSet, *, content_hash: str, run: RunRef) -> bool:
    """Write the row of a set that was fetched for the first time; False if another worker was quicker."""
    statement = insert(change_sets).values(
        channel_id=fetched.channel_id,
        change_set_id=fetched.change_set_id,
        archive_uri=fetched.archive_uri,
        fetched_at=fetched.fetched_at,
        content_hash=content_hash,
        dag_id=run.dag_id,
        run_id=run.run_id,
    )
    inserted = connection.execute(statement.on_conflict_do_nothing().returning(change_sets.c.change_set_id))
    return inserted.one_or_none() is not None


def mark_redelivered(connection: Connection, channel_id: int, change_set_id: str) -> None:
    """Count that Getty handed the set out again, which proves that it is not confirmed."""
    _stamp(
        connection,
        channel_id,
        change_set_id,
        redelivered_count=change_sets.c.redelivered_count + 1,
        confirmed_at=None,
        is_confirm_implied=False,
    )


def reopen(connection: Connection, channel_id: int, change_set_id: str, *, content_hash: str) -> None:
    """Make a set that a redelivery made longer due for loading again."""
    _stamp(
        connection,
        channel_id,
        change_set_id,
        content_hash=content_hash,
        loaded_at=None,
    )


def mark_loaded(connection: Connection, channel_id: int, change_set_id: str, prepared: PreparedSet) -> None:
    """Stamp a set as loaded, with its counts and the channel's next sequence number."""
    mine = change_sets.alias()
    following = select(func.coalesce(func.max(mine.c.channel_seq), 0) + 1).where(mine.c.channel_id == channel_id)
    _stamp(
        connection,
        channel_id,
        change_set_id,
        loaded_at=func.now(),
        channel_seq=func.coalesce(change_sets.c.channel_seq, following.scalar_subquery()),
        oldest_change_at=prepared.oldest_change_at,
        newest_change_at=prepared.newest_change_at,
        **count_columns(prepared.counts),
    )


def count_columns(counts: Counts) -> dict[str, int]:
    """Return the counts under the names of the ledger's columns."""
    return {
        "change_count": counts.changes,
        "new_count": counts.new,
        "update_count": counts.update,
        "delete_count": counts.delete,
        "superseded_count": counts.superseded,
        "rejected_count": counts.rejected,
    }


def mark_confirm_tried(connection: Connection, channel_id: int, change_set_id: str) -> None:
    """Stamp that a confirmation is about to be sent; the first try stands."""
    tried_at = func.coalesce(change_sets.c.confirm_tried_at, func.now())
    _stamp(connection, channel_id, change_set_id, confirm_tried_at=tried_at)


def mark_confirmed(connection: Connection, channel_id: int, change_set_id: str, *, is_ours: bool = True) -> None:
    """Stamp that a set is confirmed, also where an answer had only implied it.

    One that somebody else confirmed is implied and was never tried: the sign by which the watchdog
    tells another consumer. A second worker of ours may have stamped it before; then that stands.
    """
    confirmed_at = func.coalesce(change_sets.c.confirmed_at, func.now())
    if is_ours:
        _stamp(connection, channel_id, change_set_id, confirmed_at=confirmed_at, is_confirm_implied=False)
        return
    is_open = _is(channel_id, change_set_id) & change_sets.c.confirmed_at.is_(None)
    connection.execute(
        update(change_sets)
        .where(is_open)
        .values(confirmed_at=confirmed_at, is_confirm_implied=True, confirm_tried_at=None)
    )


def mark_rebuilt(connection: Connection, channel_id: int, change_set_id: str, *, is_confirmed: bool) -> None:
    """Stamp a row that a replay made, so that nobody takes its times for those of the first load."""
    confirmed = {"confirmed_at": func.now(), "is_confirm_implied": True} if is_confirmed else {}
    _stamp(connection, channel_id, change_set_id, rebuilt_at=func.now(), **confirmed)


def imply_confirmed(connection: Connection, *, channel_id: int, but: str | None, before: datetime) -> list[LedgerRow]:
    """Stamp the loaded sets of a channel fetched `before` as confirmed, and return those that are not loaded.

    Getty hands out another set than `but`'s predecessors, or none, only after it confirmed them.
    """
    is_open = (change_sets.c.channel_id == channel_id) & change_sets.c.confirmed_at.is_(None)
    is_open &= change_sets.c.fetched_at < before
    if but is not None:
        is_open &= change_sets.c.change_set_id != but
    rows: Sequence[Row[tuple[object, ...]]] = connection.execute(
        select(change_sets).where(is_open).order_by(change_sets.c.fetched_at)
    ).all()
    if any(row.loaded_at for row in rows):
        connection.execute(
            update(change_sets)
            .where(is_open & change_sets.c.loaded_at.is_not(None))
            .values(confirmed_at=func.now(), is_confirm_implied=True)
        )
    return [_ledger_row(row) for row in rows if row.loaded_at is None]


def stamp_checked(connection: Connection, channel: Channel, *, is_caught_up: bool) -> None:
    """Stamp that the channel answered a PUT, and whether it had nothing to hand out; locks its row."""
    stamps = {"last_checked_at": func.now()}
    if is_caught_up:
        stamps["caught_up_at"] = func.now()
    statement = insert(channels).values(
        channel_id=channel.channel_id,
        asset_family=channel.asset_family,
        asset_type=channel.asset_type,
        **stamps,
    )
    connection.execute(statement.on_conflict_do_update(index_elements=["channel_id"], set_=stamps))


def lock_channel(connection: Connection, channel: Channel) -> None:
    """Hold the channel's row until the transaction ends, so that its sets are loaded one by one."""
    query = select(channels.c.channel_id).where(channels.c.channel_id == channel.channel_id).with_for_update()
    if connection.execute(query).one_or_none() is None:
        statement = insert(channels).values(
            channel_id=channel.channel_id, asset_family=channel.asset_family, asset_type=channel.asset_type
        )
        connection.execute(
            statement.on_conflict_do_update(index_elements=["channel_id"], set_={"channel_id": channel.channel_id})
        )


def stamp_newest_change(connection: Connection, channel_id: int, newest: datetime | None) -> None:
    """Keep the time of the newest change of a channel; GREATEST passes over nulls."""
    connection.execute(
        update(channels)
        .where(channels.c.channel_id == channel_id)
        .values(last_change_at=func.greatest(channels.c.last_change_at, newest))
    )


def upsert_channels(connection: Connection, found: Sequence[Channel]) -> None:
    """Keep what Getty says of the channels it lists; whatever was retired and is listed is so no more."""
    for channel in found:
        said = {
            "asset_family": channel.asset_family,
            "asset_type": channel.asset_type,
            "lifecycles": channel.lifecycles,
            "started_at": channel.started_at,
            "retired_at": None,
        }
        statement = insert(channels).values(channel_id=channel.channel_id, discovered_at=func.now(), **said)
        kept = {"discovered_at": func.coalesce(channels.c.discovered_at, func.now())}
        connection.execute(statement.on_conflict_do_update(index_elements=["channel_id"], set_={**said, **kept}))


def retire_channels(connection: Connection, channel_ids: Sequence[int]) -> None:
    """Stamp channels that Getty no longer lists; the first stamp stands."""
    connection.execute(
        update(channels)
        .where(channels.c.channel_id.in_(channel_ids) & channels.c.retired_at.is_(None))
        .values(retired_at=func.now())
    )


def _stamp(connection: Connection, channel_id: int, change_set_id: str, **values: object) -> None:
    connection.execute(update(change_sets).where(_is(channel_id, change_set_id)).values(**values))


def _is(channel_id: int, change_set_id: str):  # type: ignore[no-untyped-def]  # SQLAlchemy's own expression type
    return (change_sets.c.channel_id == channel_id) & (change_sets.c.change_set_id == change_set_id)


def _ledger_row(row: Row[tuple[object, ...]]) -> LedgerRow:
    return LedgerRow(
        fetched=FetchedSet(
            channel_id=row.channel_id,
            change_set_id=row.change_set_id,
            fetched_at=row.fetched_at,
            archive_uri=row.archive_uri,
            is_redelivery=True,
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
    )
