"""Confirm: report to Getty that a change set is received for good, once its load is committed."""

import logging

from asset_changes.errors import NotLoaded
from asset_changes.models import ChangeSetRef
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.ledger import LedgerRow

log = logging.getLogger(__name__)


def confirm(context: ChannelContext, ref: ChangeSetRef) -> bool:
    """Confirm a loaded set, once; True when Getty answered a call of ours.

    Raises NotLoaded, before any call, for a set whose load is not committed.
    """
    change_set_id, channel_id = ref.change_set_id, ref.channel_id
    with transaction(context.warehouse) as connection:
        row = ledger.lookup(connection, channel_id, change_set_id)
        if row is None or row.loaded_at is None:
            raise NotLoaded(
                f"Change set {change_set_id} of channel {channel_id} is not loaded, so it is not confirmed: clear "
                "the `load` task of this run, or run the channel again."
            )
        if context.confirms and row.confirmed_at is None:
            ledger.mark_confirm_tried(connection, row.ref)
    if not context.confirms:
        log.info("Not confirmed: ASSET_CHANGES_CONFIRM=off; Getty hands change set %s out again", change_set_id)
        return False
    if row.confirmed_at is not None:
        log.info("Change set %s is confirmed already: channel=%d", change_set_id, channel_id)
        return False
    committed_at = context.clock()
    is_ours = send_confirmation(context, row)
    with transaction(context.warehouse) as connection:
        ledger.mark_confirmed(connection, row.ref, is_ours=is_ours, committed_at=committed_at)
    log.info("Confirmed change set %s: channel=%d", change_set_id, channel_id)
    return True


def send_confirmation(context: ChannelContext, row: LedgerRow) -> bool:
    """Send the confirmation; a set that Getty does not know counts as confirmed, False if by somebody else.

    `row` is the ledger's from before this try.
    """
    change_set_id = row.ref.change_set_id
    answer = context.source.confirm_change_set(change_set_id)
    if answer.is_known:
        return True
    if row.confirm_tried_at is not None or answer.tries > 1:
        log.info("Getty no longer knows change set %s: an earlier try had confirmed it", change_set_id)
        return True
    log.warning(
        "Getty does not know change set %s (404) although nobody here tried to confirm it before: another consumer may "
        "be reading channel %d. Two consumers of one channel each miss what the other confirms.",
        change_set_id,
        context.channel.channel_id,
    )
    return False
