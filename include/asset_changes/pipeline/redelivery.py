"""What rarely happens to a delivery: the same set again, a longer one, one that a dead worker or another one left.

The archive keeps the first body of a set, and those that say more; nothing that Getty said of
a set is forgotten because a later delivery says less.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from asset_changes.archive import Archive
from asset_changes.archived_sets import ArchivedSet
from asset_changes.errors import ArchiveDamaged, UnreadableChangeSet, WarehouseUnavailable
from asset_changes.getty_api.content import is_read_by_this_parser, unseen
from asset_changes.getty_api.parsing import parse_archived, parse_change_set
from asset_changes.models import ChangeSet, ChangeSetRef, Delivery
from asset_changes.pipeline.context import ChannelContext, DeliveryKind, ReceivedSet
from asset_changes.pipeline.load import load
from asset_changes.warehouse import ledger
from asset_changes.warehouse.changes import LoggedMessage, delivery_times, logged_messages
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.ledger import LedgerRow

log = logging.getLogger(__name__)


def receive_again(context: ChannelContext, row: LedgerRow, delivery: Delivery, change_set: ChangeSet) -> ReceivedSet:
    """Return a set that the ledger knows, compared with what the archive has of it.

    An equal content hash is a shortcut: it says that nothing is new and that it was read as today.
    """
    repair_object(context, row, delivery)
    if change_set.content_hash == row.content_hash and row.loaded_at is not None:
        return ReceivedSet(ref=row.ref, kind=DeliveryKind.SAME, delivery=delivery, deliveries=(change_set,), row=row)
    # What is loaded comes from the archive: times depend on the delivery that brought a message first.
    if is_read_by_this_parser(row.content_hash):
        archived = parse_archived(context.archive.read(row.ref.archive_uri), change_set_id=row.ref.change_set_id)
        if sum(map(sum, unseen(archived))) < row.counts.changes:
            with transaction(context.warehouse) as connection:
                restore_lost(connection, context.archive, row)
    return replace(_extend_archived(context, row.ref, delivery, change_set), row=row)


def receive_orphan(
    context: ChannelContext, orphan: ArchivedSet, delivery: Delivery, change_set: ChangeSet
) -> ReceivedSet:
    """Return a set that a worker archived and died before it was in the ledger: its object is the first one."""
    ref = ChangeSetRef(
        channel_id=context.channel.channel_id,
        change_set_id=change_set.change_set_id,
        fetched_at=orphan.fetched_at,
        archive_uri=orphan.uri,
    )
    if not _is_readable(context, orphan.uri):
        latest = _latest_clock(delivery, first_at=orphan.fetched_at)
        context.archive.write(orphan.uri, delivery.body, server_time=latest)
    return _extend_archived(context, ref, delivery, change_set)


def merge_with_ledger(connection: Connection, context: ChannelContext, received: ReceivedSet) -> ReceivedSet:
    """Return a delivery as what it adds to the ledger's row now: another worker may have written it meanwhile."""
    received.wait_until_archived()
    row = ledger.lookup(connection, received.ref.channel_id, received.ref.change_set_id)
    if row is None:
        raise WarehouseUnavailable("The ledger's row of a change set vanished in mid-work: it is tried again.")
    merged = receive_again(context, row, received.delivery, received.deliveries[-1])
    if _name(received.ref.archive_uri) != _name(row.ref.archive_uri):
        context.archive.remove(received.ref.archive_uri)  # the other worker's objects say the same by now
    return merged


def load_orphaned(context: ChannelContext, row: LedgerRow) -> None:
    """Load a set that Getty no longer hands out; one that the archive cannot give stops no other."""
    where = (row.ref.change_set_id, row.ref.channel_id)
    log.warning(
        "Change set %s of channel %d was fetched but not loaded, and Getty no longer hands it out: another "
        "consumer seems to confirm sets of this channel. It is loaded from the archive now.",
        *where,
    )
    if not context.archive.exists(row.ref.archive_uri):
        log.error("Change set %s of channel %d is lost: the archive has no %s.", *where, row.ref.archive_uri)
        return
    try:
        load(context, row.ref)
    except (ArchiveDamaged, UnreadableChangeSet) as error:
        log.error("Change set %s of channel %d cannot be loaded. %s", *where, error)


def repair_object(context: ChannelContext, row: LedgerRow, delivery: Delivery) -> None:
    """Write the first object of a set again where the archive has lost it or where it is damaged.

    What the tables have of the set is in it, in their order, and what this delivery adds: a shorter
    delivery must not make a rebuild forget what was received before.
    """
    if _is_readable(context, row.ref.archive_uri):
        return
    with transaction(context.warehouse) as connection:
        logged = logged_messages(connection, row.ref)
    body = restored_body(row.ref, logged, delivery) if logged else delivery.body
    log.warning("The archive's object %s was lost or damaged: it is written again", row.ref.archive_uri)
    latest = _latest_clock(delivery, first_at=row.ref.fetched_at)
    context.archive.write(row.ref.archive_uri, body, server_time=latest)


def restored_body(ref: ChangeSetRef, logged: Sequence[LoggedMessage], delivery: Delivery | None = None) -> bytes:
    """Return a body of what the tables have of a set, in their order, then of what a delivery adds to that.

    A message is taken from the delivery where it says the same: only that has it as Getty wrote it.
    """
    change_set = parse_change_set(delivery) if delivery else None
    left = defaultdict(list)
    for message in change_set.messages.rows if change_set else []:
        left[message.asset_id, message.lifecycle].append(message)
    items: list[Any] = []
    for known in logged:
        same = left[known.asset_id, known.asset_lifecycle]
        found = next((each for each in same if known.changed_at in (None, each.changed_at)), None)
        if found is not None:
            same.remove(found)
            items.append(found.raw)
        else:
            items.append(known.as_item())
    items += [message.raw for messages in left.values() for message in messages]
    if delivery and change_set and items == change_set.messages.raw:
        return delivery.body
    return json.dumps({"change_set_id": ref.change_set_id, "changed_assets": items}).encode()


def restore_lost(connection: Connection, archive: Archive, row: LedgerRow) -> bool:
    """Archive what the tables have of a set, as one more delivery of it; False where they lack some of it too.

    For a set of which the archive has fewer messages than the ledger counted: a longer delivery is
    lost there, and a rebuild would forget what it said.
    """
    logged = logged_messages(connection, row.ref)
    if len(logged) < row.counts.changes:
        return False
    log.warning(
        "The archive lacks messages of change set %s of channel %d which the tables hold: they are archived again",
        row.ref.change_set_id,
        row.ref.channel_id,
    )
    kept = {each.received_at for each in archive.read(row.ref.archive_uri)}
    known = [at for at in delivery_times(connection, row.ref) if at not in kept]
    received_at = known[0] if known else row.ref.fetched_at + timedelta(microseconds=1)
    newest = max((each.changed_at for each in logged if each.changed_at), default=None)
    restored = Delivery(body=restored_body(row.ref, logged), received_at=received_at, server_time=newest)
    archive.write_later(row.ref.archive_uri, restored)
    return True


def _latest_clock(delivery: Delivery, *, first_at: datetime) -> datetime | None:
    """Return until when a delivery's times are believed, where it is kept under the name of an earlier one."""
    if delivery.received_at <= first_at:
        return delivery.server_time
    return max(delivery.received_at, delivery.server_time or delivery.received_at)


def _is_readable(context: ChannelContext, uri: str) -> bool:
    if not context.archive.exists(uri):
        return False
    try:
        context.archive.read_one(uri)
    except ArchiveDamaged:
        return False
    return True


def _extend_archived(
    context: ChannelContext, ref: ChangeSetRef, delivery: Delivery, change_set: ChangeSet
) -> ReceivedSet:
    """Return what the archive has of a set with what this delivery adds, which is archived too."""
    bodies = context.archive.read(ref.archive_uri)
    archived = parse_archived(bodies, change_set_id=ref.change_set_id)
    added = sum(unseen([*archived, change_set])[-1])
    if not added:
        return ReceivedSet(ref=ref, kind=DeliveryKind.SAME, delivery=delivery, deliveries=tuple(archived))
    received_at = delivery.received_at
    while received_at in {body.received_at for body in bodies}:  # it distinguishes deliveries in the archive
        received_at += timedelta(microseconds=1)
    kept = replace(delivery, received_at=received_at)
    context.archive.write_later(ref.archive_uri, kept)
    log.warning(
        "Change set %s was handed out again with %d messages more: they are loaded after the others",
        ref.change_set_id,
        added,
    )
    latest = parse_change_set(kept) or change_set
    return ReceivedSet(ref=ref, kind=DeliveryKind.EXTENDED, delivery=delivery, deliveries=(*archived, latest))


def _name(uri: str) -> str:
    """What distinguishes the objects of a set: two deployments may reach one archive by different addresses."""
    return uri.rpartition("/")[2]
