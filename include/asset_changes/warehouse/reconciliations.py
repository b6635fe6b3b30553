"""The table `reconciliations`: rounds of asking whether assets may still be held, each with one connection.

A round is open until everything in it was asked; runs that continue it find the same row. Then it is decided: its
checks count, or a person must approve them first, or they never count.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, text

from asset_changes.models import APPROVAL_LASTS

MOST_GONE_SHARE = 0.02
"""A round that says of a larger share, for the first time, that it is gone waits for approval."""
COUNTING = ("counted", "approved")
"""The outcomes of rounds whose verdicts count."""
LAST_DECIDED = 3
"""So many decided rounds are shown next to those that are not decided."""


@dataclass(frozen=True, kw_only=True)
class RoundCounts:
    """How many assets of a round came to what; those said to be gone before are not among the first ones."""

    asked_count: int = 0
    available_count: int = 0
    not_licensed_count: int = 0
    not_in_catalogue_count: int = 0
    first_asked_count: int = 0
    first_gone_count: int = 0

    @property
    def needs_approval(self) -> bool:
        """Whether a larger share than usual is gone for the first time."""
        return self.first_gone_count > MOST_GONE_SHARE * self.first_asked_count


@dataclass(frozen=True, kw_only=True)
class Round(RoundCounts):
    """A row of the table; `dag_id` and `run_id` are the run in which a person is asked."""

    reconciliation_id: int
    conn_id: str
    not_asked_since: datetime | None
    started_at: datetime
    asked_at: datetime | None
    decided_at: datetime | None
    outcome: str | None
    checks_hash: str | None
    expires_at: datetime | None
    approved_by: str | None
    dag_id: str | None
    run_id: str | None


_COUNTS = tuple(each.name for each in fields(RoundCounts))
_COLUMNS = ", ".join(each.name for each in fields(Round))
_OPEN = text("""
    INSERT INTO reconciliations AS open (conn_id, channel_ids, not_asked_since, started_at)
    VALUES (:conn_id, :channel_ids, :not_asked_since, clock_timestamp())
    ON CONFLICT (conn_id) WHERE asked_at IS NULL AND outcome IS NULL DO UPDATE
    SET not_asked_since = greatest(open.not_asked_since, excluded.not_asked_since)""")
_VOID_OTHERS = text("""
    UPDATE reconciliations SET outcome = 'void', decided_at = clock_timestamp()
    WHERE asked_at IS NULL AND outcome IS NULL AND NOT conn_id = ANY (:conn_ids)""")
_CURRENT = text(f"""
    SELECT {_COLUMNS} FROM reconciliations WHERE conn_id = :conn_id AND asked_at IS NULL AND outcome IS NULL""")
_FIND = text(f"SELECT {_COLUMNS} FROM reconciliations WHERE reconciliation_id = :reconciliation_id")
_ADD = text(f"""
    UPDATE reconciliations SET {", ".join(f"{name} = {name} + :{name}" for name in _COUNTS)}
    WHERE reconciliation_id = :reconciliation_id""")
# In the order of the connections, for each locks its own round first, then those of the later ones.
_ADD_FOUND_ELSEWHERE = text("""
    UPDATE reconciliations SET first_asked_count = first_asked_count + :found_count
    WHERE reconciliation_id IN (
        SELECT reconciliation_id FROM reconciliations
        WHERE conn_id = ANY (:conn_ids) AND asked_at IS NULL AND outcome IS NULL
        ORDER BY conn_id FOR UPDATE)""")
_MARK_ASKED = text("""
    UPDATE reconciliations SET asked_at = clock_timestamp()
    WHERE reconciliation_id = :reconciliation_id AND asked_at IS NULL AND outcome IS NULL""")
_UNDECIDED = text(f"""
    SELECT {_COLUMNS} FROM reconciliations WHERE decided_at IS NULL AND asked_at IS NOT NULL
    ORDER BY reconciliation_id""")
_LATEST = text(f"""
    SELECT {_COLUMNS} FROM reconciliations
    WHERE decided_at IS NULL OR reconciliation_id IN (
        SELECT reconciliation_id FROM reconciliations WHERE decided_at IS NOT NULL
        ORDER BY reconciliation_id DESC LIMIT {LAST_DECIDED})
    ORDER BY decided_at IS NOT NULL, reconciliation_id DESC""")
RECONCILED_AT = f"SELECT max(decided_at) FROM reconciliations WHERE outcome IN {COUNTING}"
"""When the verdicts of a round last counted."""
_CHECKS = text("""
    SELECT asset_id, verdict FROM availability_checks WHERE reconciliation_id = :reconciliation_id
    ORDER BY asset_id, check_id""")
_WAIT = text("""
    UPDATE reconciliations SET outcome = 'waiting', checks_hash = :checks_hash,
        expires_at = clock_timestamp() + :approval
    WHERE reconciliation_id = :reconciliation_id AND outcome IS NULL""")
_ASK_IN = text("""
    UPDATE reconciliations SET dag_id = :dag_id, run_id = :run_id, expires_at = clock_timestamp() + :approval
    WHERE reconciliation_id = :reconciliation_id AND outcome = 'waiting'""")
# What a person decided is decided: no second answer and no later end changes it.
_SET_OUTCOME = text(f"""
    UPDATE reconciliations SET outcome = :outcome, approved_by = :approved_by,
        decided_at = CASE WHEN :outcome IN {COUNTING} THEN decided_at ELSE clock_timestamp() END
    WHERE reconciliation_id = :reconciliation_id AND decided_at IS NULL
      AND (outcome IS NULL OR outcome = 'waiting' AND :outcome IN ('approved', 'refused', 'expired', 'void'))""")
_MARK_DECIDED = text("""
    UPDATE reconciliations SET decided_at = clock_timestamp()
    WHERE reconciliation_id = :reconciliation_id AND decided_at IS NULL
    RETURNING channel_ids, not_asked_since""")
_RECONCILE_GAPS = text("""
    UPDATE feed_gaps SET reconciled_at = clock_timestamp()
    WHERE reconciled_at IS NULL AND channel_id = ANY (:channel_ids) AND unread_to <= :not_asked_since""")


def open_round(
    connection: Connection, conn_id: str, *, channel_ids: Collection[int], not_asked_since: datetime | None = None
) -> None:
    """Open a round of a connection, or let the open one include more."""
    values = {"conn_id": conn_id, "channel_ids": sorted(channel_ids), "not_asked_since": not_asked_since}
    connection.execute(_OPEN, values)


def void_other_rounds(connection: Connection, conn_ids: Collection[str]) -> None:
    """End the open rounds of connections with which nothing is asked any more."""
    connection.execute(_VOID_OTHERS, {"conn_ids": [*conn_ids]})


def current_round(connection: Connection, conn_id: str) -> Round | None:
    """Return the open round of a connection."""
    row = connection.execute(_CURRENT, {"conn_id": conn_id}).one_or_none()
    return Round(**row._mapping) if row else None


def find_round(connection: Connection, reconciliation_id: int) -> Round:
    """Return a round."""
    return Round(**connection.execute(_FIND, {"reconciliation_id": reconciliation_id}).one()._mapping)


def add_counts(connection: Connection, reconciliation_id: int, counts: RoundCounts) -> None:
    """Add what an answer came to."""
    connection.execute(
        _ADD, {"reconciliation_id": reconciliation_id} | {name: getattr(counts, name) for name in _COUNTS}
    )


def add_found_elsewhere(connection: Connection, conn_ids: Collection[str], found_count: int) -> None:
    """Count in the open rounds of these connections what they are not asked about, for another one found it.

    Only what is not found is left to them: all of that would be gone, and none of what there is.
    """
    if conn_ids and found_count:
        connection.execute(_ADD_FOUND_ELSEWHERE, {"conn_ids": [*conn_ids], "found_count": found_count})


def mark_asked(connection: Connection, reconciliation_id: int) -> None:
    """Keep that everything in the round was asked: its checks are complete."""
    connection.execute(_MARK_ASKED, {"reconciliation_id": reconciliation_id})


def undecided(connection: Connection) -> list[Round]:
    """Return the rounds in which everything was asked, and whose checks do not count yet."""
    return [Round(**row._mapping) for row in connection.execute(_UNDECIDED)]


def latest_rounds(connection: Connection) -> tuple[Round, ...]:
    """Return the rounds that are not decided, open ones too, then those that were decided last."""
    return tuple(Round(**row._mapping) for row in connection.execute(_LATEST))


def reconciled_at(connection: Connection) -> datetime | None:
    """Return when the verdicts of a round last counted."""
    decided_at: datetime | None = connection.scalar(text(RECONCILED_AT))
    return decided_at


def checks_hash(connection: Connection, reconciliation_id: int) -> str:
    """Return the hash of what the checks of a round say."""
    digest = hashlib.sha256()
    for row in connection.execute(_CHECKS, {"reconciliation_id": reconciliation_id}):
        digest.update(f"{row.asset_id}\t{row.verdict}\n".encode())
    return digest.hexdigest()


def wait_for_approval(connection: Connection, reconciliation_id: int) -> None:
    """Let the round wait for a person, who is shown exactly its checks."""
    digest = checks_hash(connection, reconciliation_id)
    connection.execute(
        _WAIT, {"reconciliation_id": reconciliation_id, "checks_hash": digest, "approval": APPROVAL_LASTS}
    )


def ask_in(connection: Connection, reconciliation_id: int, *, dag_id: str, run_id: str) -> None:
    """Keep in which run a person is asked; from then on there is time to answer."""
    values = {"reconciliation_id": reconciliation_id, "dag_id": dag_id, "run_id": run_id, "approval": APPROVAL_LASTS}
    connection.execute(_ASK_IN, values)


def set_outcome(
    connection: Connection, reconciliation_id: int, outcome: str, *, approved_by: str | None = None
) -> bool:
    """Decide about a round, if nobody has yet; return whether this decided it."""
    values = {"reconciliation_id": reconciliation_id, "outcome": outcome, "approved_by": approved_by}
    return bool(connection.execute(_SET_OUTCOME, values).rowcount)


def mark_decided(connection: Connection, reconciliation_id: int) -> None:
    """Keep that the checks of a round count, and which gaps of the feed it has closed."""
    row = connection.execute(_MARK_DECIDED, {"reconciliation_id": reconciliation_id}).one_or_none()
    if row is not None and row.not_asked_since is not None:
        connection.execute(_RECONCILE_GAPS, row._asdict())
