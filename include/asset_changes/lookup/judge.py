"""Judge: whether the verdicts of a reconciliation count, or a person must approve them first.

A round's checks are complete before it is judged, so what is shown for approval is what counts afterwards; its hash
shows that. Verdicts are written a slice at a time, so a large round stops no load; killed in between, the next run
continues.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Engine

from asset_changes.clock import Clock, system_clock
from asset_changes.warehouse import availability, reconciliations
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.migrate import check_version
from asset_changes.warehouse.reconciliations import COUNTING, MOST_GONE_SHARE, Round

log = logging.getLogger(__name__)

CHECKS_PER_TRANSACTION = 5_000


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of the rounds that were asked to their end: how many count now, and which wait for a person."""

    counted: int
    waiting: tuple[Round, ...]


def judge(warehouse: Engine, *, clock: Clock = system_clock) -> Judged:
    """Let the verdicts of all rounds count that need no approval; a round that waited too long never counts."""
    with transaction(warehouse) as connection:
        check_version(connection)
        rounds = reconciliations.undecided(connection)
    counted, waiting = 0, []
    for each in rounds:
        if each.outcome == "waiting" and _is_over(each, clock()):
            expire(warehouse, [each])
        elif each.outcome == "waiting":
            waiting.append(each)
        elif each.outcome is None and each.needs_approval:
            waiting.append(_wait(warehouse, each))
        else:
            _count(warehouse, each, outcome="counted")
            counted += 1
    return Judged(counted=counted, waiting=tuple(waiting))


def approve(warehouse: Engine, rounds: Sequence[Round], *, name: str, clock: Clock = system_clock) -> int:
    """Let the verdicts of these rounds count, as a person has decided; return of how many they do.

    A round whose time is over, whose checks are not those that were shown, or about which somebody has decided
    already, is left as it is.
    """
    approved = 0
    for each in rounds:
        with transaction(warehouse) as connection:
            found = reconciliations.checks_hash(connection, each.reconciliation_id)
        if _is_over(each, clock()):
            expire(warehouse, [each])
        elif found != each.checks_hash:
            log.error("Reconciliation %d: its checks are not those that were shown.", each.reconciliation_id)
            _decide(warehouse, each, "void")
        else:
            approved += _count(warehouse, each, outcome="approved", approved_by=name)
    return approved


def refuse(warehouse: Engine, rounds: Sequence[Round], *, name: str) -> None:
    """Let the verdicts of these rounds never count, as a person has decided."""
    for each in rounds:
        if _decide(warehouse, each, "refused", approved_by=name):
            log.warning("Reconciliation %d was refused by %s: its verdicts are void.", each.reconciliation_id, name)


def expire(warehouse: Engine, rounds: Sequence[Round]) -> None:
    """Let the verdicts of these rounds never count, for nobody has decided in time."""
    for each in rounds:
        if _decide(warehouse, each, "expired"):
            log.warning("Reconciliation %d: nobody decided in time, its verdicts are void.", each.reconciliation_id)


def explain(each: Round) -> str:
    """Return what a person must know to decide about a round."""
    share = each.first_gone_count / max(each.first_asked_count, 1)
    return (
        f"Reconciliation {each.reconciliation_id} with connection {each.conn_id}: of {each.first_asked_count} assets "
        f"that were available before or never asked about, {each.first_gone_count} are gone now ({share:.1%}; above "
        f"{MOST_GONE_SHARE:.0%} a person decides). In all {each.asked_count} were asked: {each.available_count} "
        f"available, {each.not_licensed_count} not licensed, {each.not_in_catalogue_count} not in the catalogue."
    )


def _is_over(each: Round, now: datetime) -> bool:
    return each.expires_at is not None and each.expires_at <= now


def _wait(warehouse: Engine, each: Round) -> Round:
    def wait(connection: Connection) -> Round:
        reconciliations.wait_for_approval(connection, each.reconciliation_id)
        return reconciliations.find_round(connection, each.reconciliation_id)

    log.warning("%s Its verdicts wait for approval.", explain(each))
    return in_transaction(warehouse, wait)


def _decide(warehouse: Engine, each: Round, outcome: str, *, approved_by: str | None = None) -> bool:
    work = partial(
        reconciliations.set_outcome,
        reconciliation_id=each.reconciliation_id,
        outcome=outcome,
        approved_by=approved_by,
    )
    return in_transaction(warehouse, work)


def _count(warehouse: Engine, each: Round, *, outcome: str, approved_by: str | None = None) -> bool:
    """Make verdicts of a round's checks; return whether it may, for somebody may have decided otherwise."""
    is_mine = _decide(warehouse, each, outcome, approved_by=approved_by)
    if not is_mine and each.outcome not in COUNTING:
        return False
    last_id, verdict_count = "", 0
    while True:
        with transaction(warehouse) as connection:
            asset_ids = availability.next_checks(
                connection, each.reconciliation_id, after=last_id, row_count=CHECKS_PER_TRANSACTION
            )
        if not asset_ids:
            break
        work = partial(availability.count_checks, reconciliation_id=each.reconciliation_id, asset_ids=asset_ids)
        in_transaction(warehouse, work)
        verdict_count, last_id = verdict_count + len(asset_ids), asset_ids[-1]
    in_transaction(warehouse, partial(reconciliations.mark_decided, reconciliation_id=each.reconciliation_id))
    log.info(
        "Reconciliation %d counts: outcome=%s asked=%d available=%d not_licensed=%d not_in_catalogue=%d first_gone=%d",
        each.reconciliation_id,
        outcome,
        each.asked_count,
        each.available_count,
        each.not_licensed_count,
        each.not_in_catalogue_count,
        each.first_gone_count,
    )
    return True
