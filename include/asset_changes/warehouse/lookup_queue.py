"""The table `lookup_queue`: which assets Getty is still to be asked about.

An asset has one row, however often it changes. Each time it is enqueued its generation rises, and an
answer removes or postpones only the generation that was read, so nothing that came meanwhile is lost.
What comes next is a range of the index: per channel and reason those that are due, newest first.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.models import SOUND_WORDS
from asset_changes.warehouse import daily
from asset_changes.warehouse.asset_metadata import IS_LIVE, UpsertRegister
from asset_changes.warehouse.availability import AVAILABLE, IS_OF_REGISTER
from asset_changes.warehouse.daily import SWEEP

LONGEST_WAIT = timedelta(days=1)
"""However long Getty says that its answer stays the same."""

CHANGES_CONSUMER = "lookups"
NO_CHANNEL = 0
"""The channel of assets that the company holds and that no channel has named."""
ASKED, CHANGE, RECHECK = "asked", "change", "recheck"
"""Why an asset is asked about, in the order of the queue: a person wants it, it changed, it is its turn in a round."""

# Slot: {asset}, whose asset it is.
IS_HELD = "EXISTS (SELECT FROM held_assets AS h WHERE h.asset_id = {asset}.asset_id AND h.held_until IS NULL)"

# Slots: {asset_id}, {type}. An id with a comma would be two in a lookup's list. Getty has no lookup for music: it would
# never be found, and be asked about anew each day.
# COLLATE "C": the small letters of AUDIO are others in a database with Turkish rules.
CAN_BE_ASKED = f"""strpos({{asset_id}}, ',') = 0
        AND lower(btrim(coalesce({{type}}, '')) COLLATE "C") NOT IN ({", ".join(map(repr, SOUND_WORDS))})"""

# Newest first means by the time of the change: what is found late does not come before what is new. A row that is to
# wait for longer keeps waiting: Getty would give the same answer again until then.
_ENQUEUE = f"""
    INSERT INTO lookup_queue AS queued (asset_id, channel_id, asset_type, reason, enqueued_at, not_before)
    SELECT asset_id, channel_id, asset_type, {{reason}}, now(), {{not_before}} FROM ({{source}}) AS source
    WHERE {CAN_BE_ASKED.format(asset_id="asset_id", type="asset_type")}
    ORDER BY asset_id
    ON CONFLICT (asset_id) DO {{conflict}}
    RETURNING 1"""
_AGAIN = """UPDATE SET
        channel_id = excluded.channel_id, asset_type = excluded.asset_type, enqueued_at = now(), tries = 0,
        question = 1, conn_id = NULL, not_before = {not_before}, generation = queued.generation + 1,
        reason = least(queued.reason, excluded.reason)"""
_WHEN_CHANGED = "least(now(), upserted_at)"

_START = text("""
    INSERT INTO consumers (name, channel_id, channel_seq, read_at)
    SELECT :name, channel_id, coalesce(last_channel_seq, 0), now() FROM channels
    ON CONFLICT DO NOTHING""")
_BEHIND = text("""
    SELECT channel_id FROM channels JOIN consumers USING (channel_id)
    WHERE name = :name AND last_channel_seq > channel_seq ORDER BY channel_id""")
_LOCK_CURSOR = text("SELECT channel_seq FROM consumers WHERE name = :name AND channel_id = :channel_id FOR UPDATE")
_MOVE_CURSOR = text("""
    UPDATE consumers SET channel_seq = :channel_seq, read_at = now() WHERE name = :name AND channel_id = :channel_id""")
# Only what is newer than what is known: a change that the last answer already showed costs no call.
_ENQUEUE_CHANGED = text(f"""
    WITH sets AS MATERIALIZED (
        SELECT fetched_at, channel_id, change_set_id, channel_seq FROM change_sets
        WHERE channel_id = :channel_id AND channel_seq > :channel_seq ORDER BY channel_seq LIMIT :set_count),
    changed AS (
        SELECT DISTINCT asset_id FROM asset_changes JOIN sets USING (fetched_at, channel_id, change_set_id)),
    added AS ({
    _ENQUEUE.format(
        reason=f"'{CHANGE}'",
        not_before=_WHEN_CHANGED,
        source=f'''
        SELECT s.* FROM changed JOIN asset_states AS s USING (asset_id) LEFT JOIN asset_metadata AS m USING (asset_id)
        WHERE {IS_LIVE} AND (m.asset_id IS NULL OR s.upserted_at > m.as_of)
          AND (:of_all OR {IS_HELD.format(asset="s")})''',
        conflict=_AGAIN.format(not_before="greatest(queued.not_before, excluded.not_before)"),
    )
})
    SELECT (SELECT max(channel_seq) FROM sets) AS channel_seq, (SELECT count(*) FROM added) AS row_count""")
_ENQUEUE_ASKED = text(
    _ENQUEUE.format(
        reason=f"'{ASKED}'",
        not_before="now()",
        source=f"""
        SELECT asset_id, channel_id, asset_type FROM asset_states WHERE asset_id = ANY (:asset_ids) AND {IS_LIVE}
        UNION ALL
        SELECT asset_id, {NO_CHANNEL}, max(asset_type) FROM held_assets AS h
        WHERE asset_id = ANY (:asset_ids) AND held_until IS NULL
          AND NOT EXISTS (SELECT FROM asset_states AS s WHERE s.asset_id = h.asset_id)
        GROUP BY asset_id""",
        conflict=_AGAIN.format(not_before="now()"),
    )
)
_ENQUEUE_MISSING = text(f"""
    WITH slice AS MATERIALIZED (
        SELECT * FROM asset_states WHERE asset_id > :after ORDER BY asset_id LIMIT :slice),
    added AS ({
    _ENQUEUE.format(
        reason=f"'{CHANGE}'",
        not_before=_WHEN_CHANGED,
        source=f'''
        SELECT * FROM slice WHERE {IS_LIVE}
            AND NOT EXISTS (SELECT FROM asset_metadata AS m WHERE m.asset_id = slice.asset_id
                            AND m.as_of >= slice.upserted_at AND m.language = :language)
            AND NOT EXISTS (SELECT FROM lookup_queue AS q WHERE q.asset_id = slice.asset_id)
            AND NOT EXISTS (SELECT FROM availability AS a WHERE a.asset_id = slice.asset_id
                            AND a.verdict <> '{AVAILABLE}' AND {IS_OF_REGISTER.format(state="slice")})
            AND (:of_all OR {IS_HELD.format(asset="slice")})''',
        conflict="NOTHING",
    )
})
    SELECT (SELECT max(asset_id) FROM slice) AS last_id, (SELECT count(*) FROM added) AS row_count""")

# What no channel has named is asked with one connection after the other.
_TURN = "CASE WHEN lookup_queue.conn_id = ANY (:conn_ids) THEN lookup_queue.conn_id ELSE :first_conn_id END"
# What another connection did not find, as before a channel's moved, says nothing about this one.
_NEXT = text(f"""
    WITH due AS MATERIALIZED (
        SELECT next.* FROM unnest(CAST(:channel_ids AS integer[]) || {NO_CHANNEL}) AS each (channel_id)
        CROSS JOIN unnest(CAST(:reasons AS text[])) AS every (reason)
        CROSS JOIN LATERAL (
            SELECT asset_id, asset_type, reason, generation, not_before,
                   CASE WHEN conn_id = :conn_id THEN question ELSE 1 END AS question FROM lookup_queue
            WHERE channel_id = each.channel_id AND reason = every.reason AND not_before <= now()
              AND (channel_id <> {NO_CHANNEL}
                   OR {_TURN} = :conn_id)
            ORDER BY not_before DESC LIMIT :row_count) AS next
        ORDER BY reason, not_before DESC LIMIT :row_count)
    SELECT due.asset_id, due.asset_type, generation, reason, question, coalesce({IS_LIVE}, false) AS is_live,
           s.asset_id IS NULL AND {IS_HELD.format(asset="due")} AS is_held_alone,
           upserted_at, upsert_change_set_id, upsert_position, channel_id
    FROM due LEFT JOIN asset_states AS s USING (asset_id)
    ORDER BY reason, not_before DESC, asset_id""")
_READ_ROWS = """unnest(CAST(:asset_ids AS text[]), CAST(:generations AS bigint[])) AS read (asset_id, generation)
    WHERE lookup_queue.asset_id = read.asset_id AND lookup_queue.generation = read.generation"""
_REMOVE = text(f"DELETE FROM lookup_queue USING {_READ_ROWS}")
_POSTPONE = text(f"""
    UPDATE lookup_queue SET tries = tries + 1, not_before = least(
        greatest(now() + least(interval '1 minute' * power(2, least(tries, 11)), interval '1 day'), :until),
        now() + :longest)
    FROM {_READ_ROWS}""")
_ASK_NEXT = text(f"UPDATE lookup_queue SET question = :question, conn_id = :conn_id FROM {_READ_ROWS}")
_ASK_FROM_THE_START = text("UPDATE lookup_queue SET question = 1 WHERE conn_id = :conn_id AND question > 1")
_ASK_WITH = text(f"UPDATE lookup_queue SET question = 1, conn_id = :conn_id FROM {_READ_ROWS}")
# An hour: most of what Getty has no longer is what it has deleted, and the Delete comes by then.
_RECHECK = text(f"""
    UPDATE lookup_queue SET reason = '{RECHECK}', question = 1, tries = 0, not_before = now() + interval '1 hour'
    FROM {_READ_ROWS}""")
_HAS_RECHECKS = text(f"""
    SELECT EXISTS (
        SELECT FROM lookup_queue
        WHERE channel_id = ANY (CAST(:channel_ids AS integer[]) || {NO_CHANNEL}) AND reason = '{RECHECK}')""")
# One that is refused is not waited for: it may be so for weeks.
_HAS_UNNAMED_DUE = text(f"""
    SELECT EXISTS (SELECT FROM lookup_queue
                   WHERE channel_id = {NO_CHANNEL} AND reason = '{RECHECK}' AND not_before <= now()
                     AND {_TURN} = ANY (
                         SELECT each.conn_id FROM unnest(CAST(:until_conn_ids AS text[])) AS each (conn_id)
                         LEFT JOIN lookup_connections AS c USING (conn_id)
                         WHERE c.error IS NULL OR c.conn_id = :conn_id))""")
_COUNT = text("SELECT count(*) FROM lookup_queue WHERE channel_id = ANY (:channel_ids)")
# One look into the index per channel that there ever was, however many rows wait.
_OTHER_CHANNELS = text("""
    SELECT channel_id FROM channels
    WHERE NOT channel_id = ANY (:channel_ids)
      AND EXISTS (SELECT FROM lookup_queue AS q WHERE q.channel_id = channels.channel_id)
    ORDER BY channel_id""")
_COUNT_ALL = text("SELECT count(*) FROM lookup_queue")


@dataclass(frozen=True, kw_only=True)
class QueuedAsset:
    """A row of the queue as it was read, with the asset's newest upsert at that time; None if no channel named it.

    Questions 1 and 2 ask about it as its type and as the other one, 3 and 4 the same without a token.
    """

    asset_id: str
    asset_type: str | None
    generation: int
    register: UpsertRegister | None
    reason: str = CHANGE
    question: int = 1


@dataclass(frozen=True, kw_only=True)
class AskedWith:
    """The connection that asks, and the channels whose assets are asked with it, among all connections in order."""

    conn_id: str
    channel_ids: frozenset[int]
    conn_ids: tuple[str, ...]

    @property
    def later_conn_ids(self) -> tuple[str, ...]:
        """The connections with which an asset that no channel has named is asked after this one."""
        return self.conn_ids[self.conn_ids.index(self.conn_id) + 1 :]


def start_reading(connection: Connection) -> None:
    """Give each channel that has no cursor one at its end; what lies before it is left to a sweep that is due then."""
    if connection.execute(_START, {"name": CHANGES_CONSUMER}).rowcount:
        daily.make_due(connection, SWEEP)


def channels_behind(connection: Connection) -> list[int]:
    """Return the channels that have sets past their cursor."""
    return [*connection.scalars(_BEHIND, {"name": CHANGES_CONSUMER})]


def enqueue_changed(
    connection: Connection, channel_id: int, *, set_count: int, of_all: bool = True
) -> tuple[int, bool]:
    """Enqueue what the next sets past the cursor changed, and move the cursor; return row count and whether any was."""
    key = {"name": CHANGES_CONSUMER, "channel_id": channel_id}
    channel_seq = connection.scalar(_LOCK_CURSOR, key)
    values = {"channel_id": channel_id, "channel_seq": channel_seq, "set_count": set_count, "of_all": of_all}
    done = connection.execute(_ENQUEUE_CHANGED, values).one()
    if done.channel_seq is None:
        return 0, False
    connection.execute(_MOVE_CURSOR, {**key, "channel_seq": done.channel_seq})
    return done.row_count, True


def enqueue_asked(connection: Connection, asset_ids: Collection[str]) -> int:
    """Enqueue those of the assets that are live, or held and in no channel, whatever is known; return how many."""
    return connection.execute(_ENQUEUE_ASKED, {"asset_ids": [*asset_ids]}).rowcount


def enqueue_missing(
    connection: Connection, *, after: str, slice_size: int, language: str, of_all: bool = True
) -> tuple[int, str | None]:
    """Enqueue what is live without today's metadata in the next slice of ids; return row count and its last id.

    What Getty does not have is left to the reconciliation. Not `of_all`: only what the company holds.
    """
    values = {"after": after, "slice": slice_size, "language": language, "of_all": of_all}
    done = connection.execute(_ENQUEUE_MISSING, values).one()
    return done.row_count, done.last_id


def next_assets(
    connection: Connection, asked_with: AskedWith, *, reasons: Collection[str], row_count: int
) -> list[QueuedAsset]:
    """Return what is to be asked next with this connection; rows of what is neither live nor held are removed.

    The order is: what a person asked for, changes, rechecks; among each the newest first.
    """
    values: dict[str, Any] = {
        "channel_ids": [*asked_with.channel_ids],
        "reasons": [*reasons],
        "row_count": row_count,
    } | _turns(asked_with)
    to_ask: list[QueuedAsset] = []
    ended: list[QueuedAsset] = []
    for row in connection.execute(_NEXT, values):
        register = UpsertRegister(
            upserted_at=row.upserted_at,
            change_set_id=row.upsert_change_set_id,
            position=row.upsert_position,
            channel_id=row.channel_id,
        )
        asset = QueuedAsset(
            asset_id=row.asset_id,
            asset_type=row.asset_type,
            generation=row.generation,
            reason=row.reason,
            question=row.question,
            register=None if row.is_held_alone else register,
        )
        (to_ask if row.is_live or row.is_held_alone else ended).append(asset)
    remove(connection, ended)
    return to_ask


def remove(connection: Connection, assets: Sequence[QueuedAsset]) -> None:
    """Remove these rows, if they are of the generation that was read."""
    if assets:
        connection.execute(_REMOVE, _keys(assets))


def postpone(connection: Connection, assets: Sequence[QueuedAsset], *, until: datetime) -> None:
    """Let these rows wait until then, and at least a minute, longer with each try; a day at most."""
    if assets:
        connection.execute(_POSTPONE, {**_keys(assets), "until": until, "longest": LONGEST_WAIT})


def ask_next(connection: Connection, assets: Sequence[QueuedAsset], *, question: int, conn_id: str) -> None:
    """Let this question about them come next with this connection."""
    if assets:
        connection.execute(_ASK_NEXT, {**_keys(assets), "question": question, "conn_id": conn_id})


def ask_from_the_start(connection: Connection, conn_id: str) -> None:
    """Let the first question come next again about all that was asked with this connection: it was not answered."""
    connection.execute(_ASK_FROM_THE_START, {"conn_id": conn_id})


def ask_with(connection: Connection, assets: Sequence[QueuedAsset], *, conn_id: str) -> None:
    """Let these be asked with this connection next."""
    if assets:
        connection.execute(_ASK_WITH, {**_keys(assets), "conn_id": conn_id})


def recheck(connection: Connection, assets: Sequence[QueuedAsset]) -> None:
    """Leave these, which were not found, to the reconciliation, in an hour at the earliest."""
    if assets:
        connection.execute(_RECHECK, _keys(assets))


def has_rechecks(connection: Connection, channel_ids: Collection[int]) -> bool:
    """Say whether anything of these channels, or of none, waits for a reconciliation."""
    return bool(connection.scalar(_HAS_RECHECKS, {"channel_ids": [*channel_ids]}))


def has_unnamed_due(connection: Connection, asked_with: AskedWith) -> bool:
    """Say whether what no channel has named is to be asked now with this connection, or one that may leave it some."""
    until = asked_with.conn_ids[: asked_with.conn_ids.index(asked_with.conn_id) + 1]
    return bool(connection.scalar(_HAS_UNNAMED_DUE, _turns(asked_with) | {"until_conn_ids": [*until]}))


def other_channels(connection: Connection, channel_ids: Collection[int]) -> list[int]:
    """Return the channels but these whose assets wait."""
    return [*connection.scalars(_OTHER_CHANNELS, {"channel_ids": [*channel_ids]})]


def count_waiting(connection: Connection, channel_ids: Collection[int] | None = None) -> int:
    """Return how many assets wait, due or not, in these channels or in all."""
    if channel_ids is None:
        return connection.scalar(_COUNT_ALL) or 0
    return connection.scalar(_COUNT, {"channel_ids": [*channel_ids]}) or 0


def _keys(assets: Sequence[QueuedAsset]) -> dict[str, Any]:
    return {"asset_ids": [each.asset_id for each in assets], "generations": [each.generation for each in assets]}


def _turns(asked_with: AskedWith) -> dict[str, Any]:
    conn_ids = [*asked_with.conn_ids]
    return {"conn_id": asked_with.conn_id, "conn_ids": conn_ids, "first_conn_id": conn_ids[0]}
