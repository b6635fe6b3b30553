"""Fetch: ask Getty for the next change set, archive its body before anything else, then write it into the ledger."""

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from asset_changes.archive import Archive
from asset_changes.errors import ArchiveUnavailable, AssetChangesError, UnreadableChangeSet
from asset_changes.getty_api.content import is_read_by_newer_parser
from asset_changes.getty_api.parsing import parse_change_set
from asset_changes.models import ChangeSetRef, Delivery
from asset_changes.pipeline.context import ChannelContext, DeliveryKind, ReceivedSet, already_archived
from asset_changes.pipeline.redelivery import load_orphaned, merge_with_ledger, receive_again, receive_orphan
from asset_changes.warehouse import findings, ledger
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.findings import ArchiveFinding, FindingKind
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)

ARCHIVE_SECONDS = 60.0
"""How long a load waits for its set's body to be archived: others may wait for the assets that it has locked."""


def fetch(context: ChannelContext, *, batch_size: int) -> ChangeSetRef | None:
    """Fetch the channel's next change set into archive and ledger; None when it is caught up."""
    with transaction(context.warehouse) as connection:
        check_version(connection)
    asked_at = context.clock()
    answer = request_and_archive(context, batch_size=batch_size)
    record = partial(record_in_ledger, context=context, received=answer)
    received = in_transaction(context.warehouse, record)
    reconcile_confirmations(context, received, asked_at=asked_at)
    if received is None:
        log.info("Caught up: channel=%d has no change to hand out", context.channel.channel_id)
        return None
    log.info(
        "Fetched change set %s: channel=%d changes=%d redelivery=%s archive=%s",
        received.ref.change_set_id,
        context.channel.channel_id,
        len(received.deliveries[-1].messages.asset_id),
        "no" if received.kind is DeliveryKind.NEW else "yes",
        received.ref.archive_uri,
    )
    return received.ref


def request_and_archive(
    context: ChannelContext,
    *,
    batch_size: int,
    is_first_request: bool = True,
    archive_executor: Executor | None = None,
) -> ReceivedSet | None:
    """Ask Getty for the next set and keep its body in the archive; None when there is nothing.

    At the first request of a process the set may be left over from a worker that died: then ledger and
    archive are looked through for it. With `archive_executor` the archive is written there meanwhile.
    """
    channel_id = context.channel.channel_id
    delivery = context.source.get_change_set(channel_id, batch_size=batch_size)
    try:
        change_set = parse_change_set(delivery)
    except UnreadableChangeSet as error:
        uri = _keep_unreadable(context, delivery)
        raise UnreadableChangeSet(f"Channel {channel_id}: {error} The body: {uri}") from error
    if change_set is None:
        return None
    change_set_id = change_set.change_set_id
    if is_first_request or delivery.status != 201:  # 201 says that it is new; `record_in_ledger` finds out if it is not
        with transaction(context.warehouse) as connection:
            row = ledger.lookup(connection, channel_id, change_set_id)
        if row is not None:
            return receive_again(context, row, delivery, change_set)
    if is_first_request and delivery.status == 200:
        orphan = context.archive.find(channel_id, change_set_id, before=delivery.received_at)
        if orphan is not None:
            return receive_orphan(context, orphan, delivery, change_set)
    ref = ChangeSetRef(
        channel_id=channel_id,
        change_set_id=change_set_id,
        fetched_at=delivery.received_at,
        archive_uri=context.archive.uri_for(channel_id, change_set_id, fetched_at=delivery.received_at),
    )
    return ReceivedSet(
        ref=ref,
        kind=DeliveryKind.NEW,
        delivery=delivery,
        deliveries=(change_set,),
        wait_until_archived=_archive_body(context.archive, ref, delivery, archive_executor),
    )


def _archive_body(
    archive: Archive, ref: ChangeSetRef, delivery: Delivery, executor: Executor | None
) -> Callable[[], None]:
    """Write a body to the archive, with `executor` meanwhile; return what waits until it is there."""
    write = partial(archive.write, ref.archive_uri, delivery.body, server_time=delivery.server_time)
    if executor is None:
        write()
        return already_archived
    written = executor.submit(write)

    def wait_until_archived() -> None:
        try:
            written.result(timeout=ARCHIVE_SECONDS)
        except TimeoutError as error:
            raise ArchiveUnavailable(
                f"The archive has not taken change set {ref.change_set_id} in {ARCHIVE_SECONDS:.0f} seconds "
                f"({ref.archive_uri}): nothing was loaded or confirmed. Check the store behind ARCHIVE_URI."
            ) from error

    return wait_until_archived


def _keep_unreadable(context: ChannelContext, delivery: Delivery) -> str:
    """Archive a body that is not understood, with a finding, so that report and watchdog show it at once.

    Where the warehouse cannot be used, the watchdog finds the body in the archive later. Returns its address.
    """
    channel_id = context.channel.channel_id
    uri = context.archive.write_unreadable(channel_id, delivery.body, received_at=delivery.received_at)
    finding = ArchiveFinding(
        channel_id=channel_id,
        archive_uri=uri,
        kind=FindingKind.UNREADABLE,
        received_at=delivery.received_at,
        detail=f"The structure of the body {uri} was not understood when it came.",
    )
    try:
        in_transaction(context.warehouse, lambda connection: findings.note(connection, [finding]))
    except AssetChangesError as error:
        log.warning("Not noted in the warehouse: channel=%d body=%s %s", channel_id, uri, error)
    return uri


def record_in_ledger(
    connection: Connection, *, context: ChannelContext, received: ReceivedSet | None
) -> ReceivedSet | None:
    """Write what an answer says into ledger and channels; return the set as the ledger has it now."""
    ledger.mark_checked(connection, context.channel, is_caught_up=received is None, gap=context.gap)
    if received is None:
        return None
    content_hash = received.content_hash
    if received.row is None:
        row = ledger.insert_fetched(connection, received.ref, content_hash=content_hash, run=context.run)
        if row is not None:
            return replace(received, row=row)
    if received.row is None or received.kind is DeliveryKind.EXTENDED:
        # Another worker may have been quicker, with the same delivery or with a longer one.
        received = merge_with_ledger(connection, context, received)
        content_hash = received.content_hash
    row = received.row
    ledger.mark_redelivered(connection, received.ref)
    if row is not None and content_hash != row.content_hash and not is_read_by_newer_parser(row.content_hash):
        # It has more messages than before, or this version reads them otherwise: it is loaded again.
        ledger.reopen(connection, received.ref, content_hash=content_hash)
        received = replace(received, row=replace(row, content_hash=content_hash, loaded_at=None, confirmed_at=None))
    return received


def reconcile_confirmations(context: ChannelContext, received: ReceivedSet | None, *, asked_at: datetime) -> None:
    """Mark what the answer proves: Getty hands out another set, or none, only after a confirmation.

    It proves nothing of sets that another worker fetched after `asked_at`, when Getty was asked.
    A set that was confirmed without being loaded was confirmed by somebody else. It is in the
    archive, so it is loaded from there.
    """
    imply = partial(
        ledger.imply_confirmed,
        channel_id=context.channel.channel_id,
        except_id=received.ref.change_set_id if received else None,
        before=asked_at,
    )
    orphaned = in_transaction(context.warehouse, imply)
    for row in orphaned:
        load_orphaned(context, row)
    if orphaned:
        in_transaction(context.warehouse, imply)
