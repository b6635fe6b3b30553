"""The steps of one channel: archive first, commit once, confirm last.

Each step may be killed at any instant and done again, by this worker or another one. The tasks of
a run do one step each; `catch_up` repeats the same steps in one process.
"""

import logging
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from asset_changes.errors import ArchiveDamaged, NotLoaded, UnreadableChangeSet
from asset_changes.models import FetchedSet, PreparedSet
from asset_changes.pipeline.fetch import ChannelContext, ReceivedSet, deliver, record, transformed
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.ledger import LedgerRow
from asset_changes.warehouse.loader import is_in_log, load_set
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)


def fetch(steps: ChannelContext, *, batch_size: int) -> FetchedSet | None:
    """Fetch the channel's next change set into archive and ledger; None when it is caught up."""
    with transaction(steps.warehouse) as connection:
        check_version(connection)
    asked_at = steps.clock()
    answer = deliver(steps, batch_size=batch_size)
    received = in_transaction(steps.warehouse, lambda connection: record(connection, steps, answer))
    settle(steps, received, asked_at=asked_at)
    if received is None:
        log.info("Caught up: channel=%d has no change to hand out", steps.channel.channel_id)
        return None
    log.info(
        "Fetched change set %s: channel=%d changes=%d redelivery=%s archive=%s",
        received.fetched.change_set_id,
        steps.channel.channel_id,
        received.prepared.counts.changes,
        "yes" if received.fetched.is_redelivery else "no",
        received.fetched.archive_uri,
    )
    return received.fetched


def settle(steps: ChannelContext, received: ReceivedSet | None, *, asked_at: datetime | None = None) -> None:
    """Stamp what the answer proves: Getty hands out another set, or none, only after a confirmation.

    It proves nothing of sets that another worker fetched after `asked_at`, when Getty was asked.
    A set that was confirmed without being loaded was confirmed by somebody else. It is in the
    archive, so it is loaded from there.
    """
    but = received.fetched.change_set_id if received else None
    channel_id = steps.channel.channel_id
    imply = partial(ledger.imply_confirmed, channel_id=channel_id, but=but, before=asked_at or steps.clock())
    stranded = in_transaction(steps.warehouse, imply)
    for row in stranded:
        _load_stranded(steps, row)
    if stranded:
        in_transaction(steps.warehouse, imply)


def _load_stranded(steps: ChannelContext, row: LedgerRow) -> None:
    """Load a set that Getty no longer hands out; one that the archive cannot give holds up no other."""
    where = (row.fetched.change_set_id, row.fetched.channel_id)
    log.warning(
        "Change set %s of channel %d was fetched but not loaded, and Getty no longer hands it out: another "
        "consumer seems to confirm sets of this channel. It is loaded from the archive now.",
        *where,
    )
    if not steps.archive.exists(row.fetched.archive_uri):
        log.error("Change set %s of channel %d is lost: the archive has no %s.", *where, row.fetched.archive_uri)
        return
    try:
        load(steps, row.fetched)
    except (ArchiveDamaged, UnreadableChangeSet) as error:
        log.error("Change set %s of channel %d cannot be loaded. %s", *where, error)


def transform_archived(steps: ChannelContext, fetched: FetchedSet) -> PreparedSet:
    """Return the prepared set of what the archive holds of a change set."""
    return transformed(steps, fetched, steps.archive.read(fetched.archive_uri))


def load(steps: ChannelContext, fetched: FetchedSet, prepared: PreparedSet | None = None) -> LedgerRow:
    """Load a change set in one transaction, if it is not loaded yet; return its row in the ledger.

    Without `prepared`, or where the set grew since it was prepared, its rows come from the archive.
    """
    row = in_transaction(steps.warehouse, lambda connection: load_in(connection, steps, fetched, prepared))
    log_loaded(row, now=steps.clock())
    return row


def load_in(
    connection: Connection,
    steps: ChannelContext,
    fetched: FetchedSet,
    prepared: PreparedSet | None,
    *,
    new: LedgerRow | None = None,
) -> LedgerRow:
    """Load a change set in the caller's transaction; return its row in the ledger.

    `new` is that row where the same transaction has just made it.
    """
    row = new or _locked(connection, steps, fetched)
    if row.loaded_at is not None:
        return row
    if prepared is None or prepared.content_hash != row.content_hash:
        prepared = transform_archived(steps, row.fetched)
    # A ledger that was set back has forgotten what the log still holds.
    is_first = row.channel_seq is None and not (fetched.is_redelivery and is_in_log(connection, row.fetched))
    load_set(connection, row.fetched, prepared, is_first=is_first)
    return replace(row, counts=prepared.counts, newest_change_at=prepared.newest_change_at)


def _locked(connection: Connection, steps: ChannelContext, fetched: FetchedSet) -> LedgerRow:
    """Return the ledger's row of a set, held with its channel's until the transaction ends."""
    ledger.lock_channel(connection, steps.channel)
    row = ledger.lookup(connection, fetched.channel_id, fetched.change_set_id, lock=True)
    if row is None:
        raise NotLoaded(
            f"The ledger has no row of change set {fetched.change_set_id}: run the channel again from `fetch`."
        )
    return row


def confirm(steps: ChannelContext, fetched: FetchedSet) -> bool:
    """Confirm a loaded set, once; True when Getty's answer to a call of ours settled it.

    Raises NotLoaded, before any call, for a set whose load is not committed.
    """
    change_set_id, channel_id = fetched.change_set_id, fetched.channel_id
    with transaction(steps.warehouse) as connection:
        row = ledger.lookup(connection, channel_id, change_set_id)
        if row is None or row.loaded_at is None:
            raise NotLoaded(
                f"Change set {change_set_id} of channel {channel_id} is not loaded, so it is not confirmed: clear "
                "the `load` task of this run, or run the channel again."
            )
        if steps.confirms and row.confirmed_at is None:
            ledger.mark_confirm_tried(connection, channel_id, change_set_id)
    if not steps.confirms:
        log.info("Not confirmed: ASSET_CHANGES_CONFIRM=off; Getty hands change set %s out again", change_set_id)
        return False
    if row.confirmed_at is not None:
        log.info("Change set %s is confirmed already: channel=%d", change_set_id, channel_id)
        return False
    is_ours = call_confirm(steps, change_set_id, was_tried=row.confirm_tried_at is not None)
    with transaction(steps.warehouse) as connection:
        ledger.mark_confirmed(connection, channel_id, change_set_id, is_ours=is_ours)
    log.info("Confirmed change set %s: channel=%d", change_set_id, channel_id)
    return True


def call_confirm(steps: ChannelContext, change_set_id: str, *, was_tried: bool) -> bool:
    """Send the confirmation; a set that Getty does not know counts as confirmed, False if by somebody else."""
    answer = steps.source.confirm_change_set(change_set_id)
    if answer.is_known:
        return True
    if was_tried or answer.tries > 1:
        log.info("Getty no longer knows change set %s: an earlier try had confirmed it", change_set_id)
        return True
    log.warning(
        "Getty does not know change set %s (404) although nobody here tried to confirm it before: another consumer may "
        "be reading channel %d. Two consumers of one channel each miss what the other confirms.",
        change_set_id,
        steps.channel.channel_id,
    )
    return False


def log_transformed(fetched: FetchedSet, prepared: PreparedSet) -> None:
    """Tell what a set came to."""
    log.info("Transformed change set %s: channel=%d %s", fetched.change_set_id, fetched.channel_id, prepared.counts)


def log_loaded(row: LedgerRow, *, now: datetime) -> None:
    """Tell the story of a load in one line."""
    lag = (now - row.newest_change_at).total_seconds() if row.newest_change_at else None
    log.log(
        logging.WARNING if row.counts.rejected else logging.INFO,
        "Loaded change set %s: channel=%d %s lag_seconds=%s%s",
        row.fetched.change_set_id,
        row.fetched.channel_id,
        row.counts,
        "none" if lag is None else f"{lag:.0f}",
        " (the reasons stand in rejected_changes)" if row.counts.rejected else "",
    )


__all__ = [
    "ChannelContext",
    "call_confirm",
    "confirm",
    "fetch",
    "load",
    "load_in",
    "log_loaded",
    "log_transformed",
    "settle",
    "transform_archived",
]
