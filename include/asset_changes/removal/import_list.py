"""Importing a list of held assets: read, compared, refused where it is implausible, and only then written."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Engine

from asset_changes.errors import HoldingsRefused
from asset_changes.removal.holdings import HoldingsList
from asset_changes.warehouse import holdings
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.holdings import MOST_ENDED_SHARE, Difference, HoldingImport
from asset_changes.warehouse.ledger import RunRef
from asset_changes.warehouse.removals import count_holdings

log = logging.getLogger(__name__)

_NO_RUN = RunRef()


class ImportRunning(Exception):
    """Another import of the same source has not ended."""


def import_list(
    warehouse: Engine,
    new_list: Callable[[], HoldingsList],
    *,
    source: str,
    now: datetime,
    accept_shrink: int | None = None,
    run: RunRef = _NO_RUN,
    triggered_by: str | None = None,
) -> HoldingImport:
    """Make the source hold what its list says; return what that changed. `new_list` opens the list, per try.

    Raise HoldingsRefused, which is kept in `holding_imports`, where it is no list or would end too much;
    `accept_shrink` is the exact number of assets that it may end nevertheless. Raise ImportRunning where another
    import has the source.
    """
    begun = HoldingImport(
        source=source, uri="", started_at=now, dag_id=run.dag_id, run_id=run.run_id, triggered_by=triggered_by
    )
    work = partial(_import, begun=begun, new_list=new_list, accept_shrink=accept_shrink)
    done, refused_why = in_transaction(warehouse, work)
    if refused_why:
        with transaction(warehouse) as connection:
            kept = holdings.held_count(connection, source)
            holdings.keep_import(connection, replace(done, refused_why=refused_why, held_count=kept))
        raise HoldingsRefused(refused_why)
    in_transaction(warehouse, count_holdings)
    log.info("%s", summary(done))
    return done


def _import(
    connection: Connection, *, begun: HoldingImport, new_list: Callable[[], HoldingsList], accept_shrink: int | None
) -> tuple[HoldingImport, str | None]:
    """Write what a list changes in the caller's transaction; return what that is, or why nothing was written."""
    if not holdings.lock_source(connection, begun.source):
        raise ImportRunning(f"Another import of {begun.source!r} has not ended")
    listed = new_list()
    try:
        holdings.stage(connection, listed.assets())
    except HoldingsRefused as error:
        return _read(begun, listed), str(error)
    difference = holdings.compare(connection, begun.source)
    done = replace(
        _read(begun, listed),
        new_held_count=difference.new,
        changed_count=difference.changed,
        unchanged_count=difference.unchanged,
        ended_count=difference.ended,
        held_count=difference.held_before + difference.new - difference.ended,
    )
    if _is_implausible(done, difference):
        if accept_shrink != difference.ended:
            return done, _explain_shrink(done, difference, accept_shrink)
        done = replace(done, accept_shrink=accept_shrink)
    holdings.write_difference(connection, begun.source, now=begun.started_at)
    holdings.keep_import(connection, done)
    return done, None


def summary(done: HoldingImport) -> str:
    """Return what came of an imported list, in a line."""
    lines = ", ".join(map(str, done.unreadable_lines))
    more = ", ..." if done.unreadable_count > len(done.unreadable_lines) else ""
    return (
        f"Imported holdings: source={done.source} held={done.held_count} new={done.new_held_count} "
        f"changed={done.changed_count} ended={done.ended_count} unchanged={done.unchanged_count} "
        f"unreadable={done.unreadable_count}" + (f" (lines {lines}{more})" if lines else "")
    )


def _read(begun: HoldingImport, listed: HoldingsList) -> HoldingImport:
    return replace(
        begun,
        uri=listed.uri,
        row_count=listed.row_count,
        unreadable_count=listed.unreadable_count,
        unreadable_lines=tuple(listed.unreadable_lines),
        byte_count=listed.byte_count,
        sha256=listed.sha256,
    )


def _is_implausible(done: HoldingImport, difference: Difference) -> bool:
    return done.row_count == 0 or difference.ended > MOST_ENDED_SHARE * difference.held_before


def _explain_shrink(done: HoldingImport, difference: Difference, given: int | None) -> str:
    what = "is empty" if done.row_count == 0 else "is too short"
    answer = "" if given is None else f" `accept_shrink` was {given}, which is another number."
    return (
        f"The list {done.uri} of {done.source!r} {what}: it would end {difference.ended} of {difference.held_before} "
        f"held assets, and {MOST_ENDED_SHARE:.0%} may end at once. "
        f"`accept_shrink` would need to be {difference.ended}.{answer}"
    )
