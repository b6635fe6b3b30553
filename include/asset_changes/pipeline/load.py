"""Load: the prepared rows of a change set into the warehouse, in one transaction."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from asset_changes.errors import NotLoaded
from asset_changes.models import ChangeSetRef, PreparedSet
from asset_changes.pipeline.context import ChannelContext, already_archived
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import in_transaction
from asset_changes.warehouse.ledger import LedgerRow
from asset_changes.warehouse.loader import KnownSet, is_in_log, load_again, load_first, reread

log = logging.getLogger(__name__)


def load(context: ChannelContext, ref: ChangeSetRef, prepared: PreparedSet | None = None) -> LedgerRow:
    """Load a change set in one transaction, if it is not loaded yet; return its row in the ledger.

    Without `prepared`, or where the set grew since it was prepared, its rows come from the archive.
    """
    work = partial(load_in_transaction, context=context, ref=ref, prepared=prepared)
    row = in_transaction(context.warehouse, work)
    log_loaded(row, now=context.clock())
    return row


def load_in_transaction(
    connection: Connection,
    *,
    context: ChannelContext,
    ref: ChangeSetRef,
    prepared: PreparedSet | None,
    new_row: LedgerRow | None = None,
    wait_until_archived: Callable[[], None] = already_archived,
) -> LedgerRow:
    """Load a change set in the caller's transaction; return its row in the ledger.

    The row of the channel is locked first, so that its sets are loaded one by one. `prepared` was made for `ref`;
    where another worker recorded the set first, the ledger has another time for it, and the rows are made again.
    `new_row` is the ledger's row where the same transaction has written it for a delivery that came just now: it holds
    both locks, and the log has nothing of that time.
    """
    row = new_row
    if row is None:
        ledger.lock_channel(connection, context.channel)
        row = ledger.lookup(connection, ref.channel_id, ref.change_set_id, lock=True)
    if row is None:
        raise NotLoaded(f"The ledger has no row of change set {ref.change_set_id}: run the channel again from `fetch`.")
    if row.loaded_at is not None:
        return row
    is_made_for_row = ref.fetched_at == row.ref.fetched_at  # part of the key of each prepared row
    if prepared is None or not is_made_for_row or prepared.content_hash != row.content_hash:
        from asset_changes.pipeline.transform import transform_archived  # late: pandas takes a second

        prepared = transform_archived(context.archive, channel=context.channel, ref=row.ref)
    if new_row or (row.channel_seq is None and not is_in_log(connection, row.ref)):
        load_first(connection, row.ref, prepared, wait=wait_until_archived)
    else:
        before = row.counts.changes
        known = KnownSet(ref=row.ref, prepared=prepared, loaded_count=before)
        if load_again(connection, [known], wait=wait_until_archived).differing:
            reread(connection, row.ref, prepared, wait=wait_until_archived, loaded_count=before)
    channel_seq = ledger.mark_loaded(connection, row.ref, prepared)
    return replace(row, counts=prepared.counts, newest_change_at=prepared.newest_change_at, channel_seq=channel_seq)


def log_loaded(row: LedgerRow, *, now: datetime) -> None:
    """Write the story of a load in one line."""
    lag = (now - row.newest_change_at).total_seconds() if row.newest_change_at else None
    log.log(
        logging.WARNING if row.counts.rejected else logging.INFO,
        "Loaded change set %s: channel=%d %s lag_seconds=%s%s",
        row.ref.change_set_id,
        row.ref.channel_id,
        row.counts,
        "none" if lag is None else f"{lag:.0f}",
        " (for the reasons see rejected_changes)" if row.counts.rejected else "",
    )
