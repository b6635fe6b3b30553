"""From Getty's answer to a change set in hand: archived first, compared with what is known, then in the ledger."""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Connection, Engine

from asset_changes.archive import Archive
from asset_changes.clock import Clock, system_clock
from asset_changes.errors import ArchiveDamaged, ArchiveUnavailable, UnreadableChangeSet, WarehouseUnavailable
from asset_changes.getty_api.parsing import parse_change_set
from asset_changes.models import Body, ChangeSet, Channel, Confirmation, Delivery, FetchedSet, Heard, PreparedSet
from asset_changes.warehouse import ledger
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.ledger import LedgerRow, RunRef

log = logging.getLogger(__name__)

ARCHIVE_SECONDS = 60.0
"""How long a load waits for its set's body to be archived: others may wait for the assets that it has locked."""


class ChangeSetSource(Protocol):
    """Whoever hands out change sets and takes confirmations: the client, or a double of it."""

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Return the next delivery of a channel."""
        ...

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm a set."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChannelContext:
    """What the steps of one channel work with; `clock` is that of the source, too."""

    channel: Channel
    source: ChangeSetSource
    archive: Archive
    warehouse: Engine
    confirms: bool = True
    run: RunRef = field(default_factory=RunRef)
    clock: Clock = system_clock


@dataclass(frozen=True, kw_only=True)
class ReceivedSet:
    """A delivery that is understood: what `fetch` holds in memory.

    `row` is the ledger's row of the set where it has one, `is_new` says that this delivery has made
    it; `is_longer` that the delivery holds messages which the earlier ones did not. `archived` is the
    writing of the body where it goes on beside: nothing may be committed before it is done.
    """

    fetched: FetchedSet
    prepared: PreparedSet
    delivery: Delivery
    change_set: ChangeSet
    row: LedgerRow | None = None
    is_new: bool = False
    is_longer: bool = False
    archived: "Future[None] | None" = None

    def wait_until_archived(self) -> None:
        """Return once the body is in the archive, or raise what went wrong."""
        if self.archived is None:
            return
        try:
            self.archived.result(timeout=ARCHIVE_SECONDS)
        except TimeoutError as error:
            raise ArchiveUnavailable(
                f"The archive has not taken change set {self.fetched.change_set_id} in {ARCHIVE_SECONDS:.0f} seconds "
                f"({self.fetched.archive_uri}): nothing was loaded or confirmed. Look at the store behind ARCHIVE_URI."
            ) from error


def deliver(
    steps: ChannelContext, *, batch_size: int, is_first: bool = True, beside: Executor | None = None
) -> ReceivedSet | None:
    """Ask Getty for the next set and keep its body in the archive; None when there is nothing.

    `is_first` says that this process has not asked the channel before, so that what comes may be
    left over from a worker that died. With `beside` the archive is written there meanwhile.
    """
    channel_id = steps.channel.channel_id
    delivery = steps.source.get_change_set(channel_id, batch_size=batch_size)
    try:
        change_set = parse_change_set(delivery.document)
    except UnreadableChangeSet as error:
        uri = steps.archive.write_unreadable(channel_id, delivery.body, received_at=delivery.received_at)
        raise UnreadableChangeSet(f"Channel {channel_id}: {error} The body: {uri}") from error
    if change_set is None:
        return None
    if is_first or delivery.status != 201:  # a new one, says 201; `record` finds out if that is not so
        with transaction(steps.warehouse) as connection:
            row = ledger.lookup(connection, channel_id, change_set.change_set_id)
        if row is not None:
            return _delivered_again(steps, row, delivery, change_set)
    may_be_orphan = is_first and delivery.status == 200
    return _delivered_first(steps, delivery, change_set, may_be_orphan=may_be_orphan, beside=beside)


def record(connection: Connection, steps: ChannelContext, received: ReceivedSet | None) -> ReceivedSet | None:
    """Write what a delivery says into ledger and channels; return it as the ledger now has it."""
    ledger.stamp_checked(connection, steps.channel, is_caught_up=received is None)
    if received is None:
        return None
    if received.row is None:
        content_hash = received.prepared.content_hash
        if row := ledger.insert_fetched(connection, received.fetched, content_hash=content_hash, run=steps.run):
            return replace(received, row=row, is_new=True)
    if received.row is None or received.is_longer:
        # Another worker may have been quicker, with the same delivery or with a longer one.
        received = _overtaken(connection, steps, received)
    channel_id, change_set_id = steps.channel.channel_id, received.fetched.change_set_id
    ledger.mark_redelivered(connection, channel_id, change_set_id)
    if received.is_longer:
        ledger.reopen(connection, channel_id, change_set_id, content_hash=received.prepared.content_hash)
    return received


def prepared_from(steps: ChannelContext, fetched: FetchedSet, change_set: ChangeSet) -> PreparedSet:
    """Return the prepared set of one delivery that is parsed already, as if it were the first."""
    from asset_changes.pipeline.transform import prepare  # pandas takes a second, which load and confirm need not pay

    return prepare(
        [Heard(change_set.messages, fetched.fetched_at)],
        channel=steps.channel,
        change_set_id=fetched.change_set_id,
        fetched_at=fetched.fetched_at,
    )


def transformed(steps: ChannelContext, fetched: FetchedSet, bodies: Sequence[Body]) -> PreparedSet:
    """Return the prepared set of archived bodies."""
    from asset_changes.pipeline.transform import transform  # late for the same reason

    return transform(bodies, channel=steps.channel, change_set_id=fetched.change_set_id, fetched_at=fetched.fetched_at)


def _delivered_first(
    steps: ChannelContext, delivery: Delivery, change_set: ChangeSet, *, may_be_orphan: bool, beside: Executor | None
) -> ReceivedSet:
    channel_id, change_set_id = steps.channel.channel_id, change_set.change_set_id
    # A worker that died between archive and ledger left an object that no row knows.
    orphan = steps.archive.find(channel_id, change_set_id, before=delivery.received_at) if may_be_orphan else None
    if orphan:
        fetched = FetchedSet(
            channel_id=channel_id,
            change_set_id=change_set_id,
            fetched_at=orphan.fetched_at,
            archive_uri=orphan.uri,
            is_redelivery=True,
        )
        return _added_to(steps, fetched, delivery, change_set)
    uri = steps.archive.uri_for(channel_id, change_set_id, fetched_at=delivery.received_at)
    archived = beside.submit(steps.archive.write, uri, delivery.body) if beside else None
    if archived is None:
        steps.archive.write(uri, delivery.body)
    fetched = FetchedSet(
        channel_id=channel_id,
        change_set_id=change_set_id,
        fetched_at=delivery.received_at,
        archive_uri=uri,
        is_redelivery=delivery.status == 200,
    )
    prepared = prepared_from(steps, fetched, change_set)
    return ReceivedSet(fetched=fetched, prepared=prepared, delivery=delivery, change_set=change_set, archived=archived)


def _delivered_again(steps: ChannelContext, row: LedgerRow, delivery: Delivery, change_set: ChangeSet) -> ReceivedSet:
    prepared = prepared_from(steps, row.fetched, change_set)
    if prepared.content_hash != row.content_hash:
        received = _added_to(steps, row.fetched, delivery, change_set)
        return replace(received, row=row, is_longer=received.prepared.content_hash != row.content_hash)
    _mend(steps.archive, row.fetched.archive_uri, delivery)
    return ReceivedSet(fetched=row.fetched, prepared=prepared, delivery=delivery, change_set=change_set, row=row)


def _added_to(steps: ChannelContext, fetched: FetchedSet, delivery: Delivery, change_set: ChangeSet) -> ReceivedSet:
    """Return what the archive holds of a set together with what this delivery adds to it."""
    _mend(steps.archive, fetched.archive_uri, delivery)
    bodies = steps.archive.read(fetched.archive_uri)
    held = transformed(steps, fetched, bodies)
    body = Body(delivery.body, _free_moment(delivery.received_at, bodies))
    prepared = transformed(steps, fetched, [*bodies, body])
    if added := prepared.counts.changes - held.counts.changes:
        steps.archive.write_later(fetched.archive_uri, body)
        log.warning(
            "Change set %s was handed out again with %d messages more: they are loaded after the others",
            fetched.change_set_id,
            added,
        )
    return ReceivedSet(fetched=fetched, prepared=prepared, delivery=delivery, change_set=change_set)


def _name(uri: str) -> str:
    """What tells a set's objects apart: two deployments may reach one archive by different addresses."""
    return uri.rpartition("/")[2]


def _free_moment(received_at: datetime, bodies: Sequence[Body]) -> datetime:
    """Return a time that no other delivery of the set has: it is what the archive tells them apart by."""
    while received_at in {body.received_at for body in bodies}:
        received_at += timedelta(microseconds=1)
    return received_at


def _mend(archive: Archive, uri: str, delivery: Delivery) -> None:
    """Put a delivery in the place of an object that the archive has lost or that is damaged."""
    why = "lost"
    if archive.exists(uri):
        try:
            archive.read_one(uri)
        except ArchiveDamaged:
            why = "damaged"
        else:
            return
    log.warning("The archive's object %s was %s: this delivery takes its place", uri, why)
    archive.write(uri, delivery.body)


def _overtaken(connection: Connection, steps: ChannelContext, received: ReceivedSet) -> ReceivedSet:
    """Return a delivery as what it adds to the ledger's row now: another worker may have written it meanwhile."""
    received.wait_until_archived()
    row = ledger.lookup(connection, received.fetched.channel_id, received.fetched.change_set_id)
    if row is None:
        raise WarehouseUnavailable("The ledger's row of a change set vanished in mid-work: it is tried again.")
    again = _delivered_again(steps, row, received.delivery, received.change_set)
    if _name(received.fetched.archive_uri) != _name(row.fetched.archive_uri):
        steps.archive.remove(received.fetched.archive_uri)  # the other worker's object says the same
    return again
