"""The tables `availability` and `availability_checks`: whether Getty still offers an asset to the account.

An answer that it does is a verdict at once. An answer that it does not is only kept as a check; the checks of a
reconciliation become verdicts together, once that is decided. No verdict touches what the feed says of an asset.
Rows are locked after the states of their assets and before their metadata.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from asset_changes.warehouse.asset_metadata import UpsertRegister

AVAILABLE, NOT_LICENSED, NOT_IN_CATALOGUE = "available", "not_licensed", "not_in_catalogue"
DAY_APART = "interval '1 day'"
"""How far two answers must be apart, by the time at which Getty knew them, before an asset counts as gone."""

# Slot: {state}, the row of asset_states, or the nulls of an asset that it lacks. `a` is the row with the verdict.
IS_OF_REGISTER = """({state}.upserted_at, {state}.upsert_change_set_id, {state}.upsert_position)
          IS NOT DISTINCT FROM (a.upserted_at, a.upsert_change_set_id, a.upsert_position)"""
_REGISTER = "upserted_at, upsert_change_set_id, upsert_position"
_IS_SAME_REGISTER = """(known.upserted_at, known.upsert_change_set_id, known.upsert_position)
        IS NOT DISTINCT FROM (excluded.upserted_at, excluded.upsert_change_set_id, excluded.upsert_position)"""

_GONE_BEFORE = text(f"""
    SELECT a.asset_id FROM availability AS a LEFT JOIN asset_states AS s USING (asset_id)
    WHERE a.asset_id = ANY (:asset_ids) AND a.verdict <> '{AVAILABLE}' AND {IS_OF_REGISTER.format(state="s")}""")
_IN_CHANNELS = text("SELECT asset_id FROM asset_states WHERE asset_id = ANY (:asset_ids)")
_ANSWERED = f"""
    unnest(CAST(:asset_ids AS text[]), CAST(:verdicts AS text[]), CAST(:asset_types AS text[]),
           CAST(:upserted_ats AS timestamptz[]), CAST(:upsert_change_set_ids AS text[]),
           CAST(:upsert_positions AS integer[]))
    AS answered (asset_id, verdict, asset_type, {_REGISTER})"""
_STORE_AVAILABLE = text(f"""
    INSERT INTO availability AS known (asset_id, verdict, asset_type, conn_id, as_of, reconciliation_id, {_REGISTER})
    SELECT asset_id, '{AVAILABLE}', asset_type, :conn_id, :as_of, :reconciliation_id, {_REGISTER} FROM {_ANSWERED}
    ORDER BY asset_id
    ON CONFLICT (asset_id) DO UPDATE SET
        verdict = excluded.verdict, asset_type = excluded.asset_type, conn_id = excluded.conn_id,
        as_of = excluded.as_of, first_gone_as_of = NULL, checks = 1, reconciliation_id = excluded.reconciliation_id,
        ({_REGISTER}) = ROW (excluded.{_REGISTER.replace(", ", ", excluded.")})
    WHERE known.as_of <= excluded.as_of""")
# An answer out of a cache may come after a newer one: it was available in between all the same.
_BEGIN_ANEW = text(f"""
    UPDATE availability SET first_gone_as_of = as_of, checks = 1
    WHERE asset_id = ANY (:asset_ids) AND verdict <> '{AVAILABLE}'
      AND first_gone_as_of < :as_of AND as_of > :as_of""")
_ADD_CHECKS = text(f"""
    INSERT INTO availability_checks
        (reconciliation_id, asset_id, verdict, asset_type, conn_id, as_of, checked_at, {_REGISTER})
    SELECT :reconciliation_id, asset_id, verdict, asset_type, :conn_id, :as_of, :checked_at, {_REGISTER}
    FROM {_ANSWERED}""")
_NEXT_CHECKS = text("""
    SELECT DISTINCT asset_id FROM availability_checks
    WHERE reconciliation_id = :reconciliation_id AND asset_id > :after ORDER BY asset_id LIMIT :row_count""")
_LOCK_STATES = text("""
    SELECT asset_id FROM asset_states WHERE asset_id = ANY (:asset_ids) ORDER BY asset_id FOR SHARE""")
# Said again within the day, it is the same answer: only the time of the newest one moves on.
_COUNT_CHECKS = text(f"""
    INSERT INTO availability AS known
        (asset_id, verdict, asset_type, conn_id, as_of, first_gone_as_of, reconciliation_id, {_REGISTER})
    SELECT DISTINCT ON (asset_id) asset_id, verdict, asset_type, conn_id, as_of, as_of, reconciliation_id, {_REGISTER}
    FROM availability_checks
    WHERE reconciliation_id = :reconciliation_id AND asset_id = ANY (:asset_ids)
    ORDER BY asset_id, as_of DESC
    ON CONFLICT (asset_id) DO UPDATE SET
        verdict = excluded.verdict, asset_type = excluded.asset_type, conn_id = excluded.conn_id,
        as_of = excluded.as_of, reconciliation_id = excluded.reconciliation_id,
        first_gone_as_of = CASE WHEN known.verdict <> '{AVAILABLE}' AND {_IS_SAME_REGISTER}
                                THEN known.first_gone_as_of ELSE excluded.first_gone_as_of END,
        checks = CASE WHEN known.verdict <> '{AVAILABLE}' AND {_IS_SAME_REGISTER} THEN known.checks + 1 ELSE 1 END,
        ({_REGISTER}) = ROW (excluded.{_REGISTER.replace(", ", ", excluded.")})
    WHERE known.as_of < excluded.as_of""")
IS_CONFIRMED_GONE = f"a.verdict <> '{AVAILABLE}' AND a.as_of >= a.first_gone_as_of + {DAY_APART}"
_REMOVE_METADATA = text(f"""
    DELETE FROM asset_metadata USING availability AS a LEFT JOIN asset_states AS s USING (asset_id)
    WHERE asset_metadata.asset_id = ANY (:asset_ids) AND a.asset_id = asset_metadata.asset_id
      AND {IS_CONFIRMED_GONE} AND {IS_OF_REGISTER.format(state="s")}""")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an answer says of one asset: found as `asset_type`, or for a gone one the type that it was asked as.

    `register` is the newest upsert that was known when it was asked; None if no channel has named the asset.
    """

    asset_id: str
    verdict: str
    asset_type: str | None
    register: UpsertRegister | None


def gone_before(connection: Connection, asset_ids: Collection[str]) -> frozenset[str]:
    """Return which of the assets have a verdict that they are gone, with no upsert since."""
    return frozenset(connection.scalars(_GONE_BEFORE, {"asset_ids": [*asset_ids]})) if asset_ids else frozenset()


def in_channels(connection: Connection, asset_ids: Collection[str]) -> frozenset[str]:
    """Return which of the assets a channel has named by now."""
    return frozenset(connection.scalars(_IN_CHANNELS, {"asset_ids": [*asset_ids]})) if asset_ids else frozenset()


def store_available(
    connection: Connection,
    verdicts: Sequence[Verdict],
    *,
    conn_id: str,
    as_of: datetime,
    reconciliation_id: int | None,
) -> None:
    """Keep that these are available; where a newer answer says something else, that one is the first to say so."""
    if verdicts:
        values: dict[str, object] = {"conn_id": conn_id, "as_of": as_of, "reconciliation_id": reconciliation_id}
        stored = connection.execute(_STORE_AVAILABLE, _rows(verdicts) | values).rowcount
        if stored < len(verdicts):
            connection.execute(_BEGIN_ANEW, {"asset_ids": [each.asset_id for each in verdicts], "as_of": as_of})


def add_checks(
    connection: Connection,
    verdicts: Sequence[Verdict],
    *,
    conn_id: str,
    as_of: datetime,
    checked_at: datetime,
    reconciliation_id: int,
) -> None:
    """Keep answers that assets are gone; they do not count before their reconciliation is decided."""
    if verdicts:
        values: dict[str, object] = {
            "conn_id": conn_id,
            "as_of": as_of,
            "checked_at": checked_at,
            "reconciliation_id": reconciliation_id,
        }
        connection.execute(_ADD_CHECKS, _rows(verdicts) | values)


def next_checks(connection: Connection, reconciliation_id: int, *, after: str, row_count: int) -> list[str]:
    """Return the next assets, in the order of their ids, that the checks of a reconciliation say are gone."""
    values = {"reconciliation_id": reconciliation_id, "after": after, "row_count": row_count}
    return [*connection.scalars(_NEXT_CHECKS, values)]


def count_checks(connection: Connection, reconciliation_id: int, asset_ids: Sequence[str]) -> None:
    """Make verdicts of the checks of these assets; of those that are gone for good, remove the metadata.

    An asset that was found after its check keeps that verdict. Doing it again changes nothing.
    """
    connection.execute(_LOCK_STATES, {"asset_ids": [*asset_ids]})
    connection.execute(_COUNT_CHECKS, {"reconciliation_id": reconciliation_id, "asset_ids": [*asset_ids]})
    connection.execute(_REMOVE_METADATA, {"asset_ids": [*asset_ids]})


def _rows(verdicts: Sequence[Verdict]) -> dict[str, object]:
    registers = [each.register for each in verdicts]
    return {
        "asset_ids": [each.asset_id for each in verdicts],
        "verdicts": [each.verdict for each in verdicts],
        "asset_types": [each.asset_type for each in verdicts],
        "upserted_ats": [each.upserted_at if each else None for each in registers],
        "upsert_change_set_ids": [each.change_set_id if each else None for each in registers],
        "upsert_positions": [each.position if each else None for each in registers],
    }
