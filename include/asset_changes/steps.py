"""The steps of one channel: archive first, commit once, confirm last.

Each step may be killed at any instant and done again, by this worker or another one. The tasks of
a run do one step each; `catch_up` repeats the same steps in one process.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from sqlalchemy import Connection, Engine

from asset_changes.archive import Archive
from asset_changes.errors import NotLoaded, UnreadableChangeSet, WarehouseUnavailable
from asset_changes.model import ChangeSet, Channel, Confirmation, Counts, Delivery, FetchedSet, PreparedSet
from asset_changes.parse import parse_change_set
from asset_changes.warehouse import ledger
from asset_changes.warehouse.connection import in_transaction, transaction
from asset_changes.warehouse.ledger import LedgerRow, RunRef
from asset_changes.warehouse.load import load_set
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)


class ChangeSetSource(Protocol):
    """Whoever hands out change sets and takes confirmations: the client, or a double of it."""

    def get_change_set(self, channel_id: int, *, batch_size: int) -> Delivery:
        """Return the next delivery of a channel."""
        ...

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm a set."""
        ...


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What the steps of one channel work with."""

    channel: Channel
    source: ChangeSetSource
    archive: Archive
    warehouse: Engine
    confirms: bool = True
    run: RunRef = field(default_factory=RunRef)


@dataclass(frozen=True, kw_only=True)
class InHand:
    """A delivery that is archived and understood: what `fetch` holds in memory.

    `row` is the ledger's row of the set where it has one; `is_longer` says that the delivery holds
    messages which the earlier ones did not.
    """

    fetched: FetchedSet
    prepared: PreparedSet
    delivery: Delivery
    change_set: ChangeSet
    row: LedgerRow | None = None
    is_longer: bool = False


@dataclass(frozen=True, kw_only=True)
class CaughtUp:
    """What a catch-up did."""

    sets: int
    counts: Counts
    is_caught_up: bool


def fetch(steps: Steps, *, batch_size: int) -> FetchedSet | None:
    """Fetch the channel's next change set into archive and ledger; None when it is caught up."""
    with transaction(steps.warehouse) as connection:
        check_version(connection)
    asked_at = datetime.now(UTC)
    answer = deliver(steps, batch_size=batch_size)
    in_hand = in_transaction(steps.warehouse, lambda connection: record(connection, steps, answer))
    settle(steps, in_hand, asked_at=asked_at)
    if in_hand is None:
        log.info("Caught up: channel=%d has no change to hand out", steps.channel.channel_id)
        return None
    log.info(
        "Fetched change set %s: channel=%d changes=%d redelivery=%s archive=%s",
        in_hand.fetched.change_set_id,
        steps.channel.channel_id,
        in_hand.prepared.counts.changes,
        "yes" if in_hand.fetched.is_redelivery else "no",
        in_hand.fetched.archive_uri,
    )
    return in_hand.fetched


def deliver(steps: Steps, *, batch_size: int, is_first: bool = True) -> InHand | None:
    """Ask Getty for the next set and keep its body in the archive; None when there is nothing.

    `is_first` says that this process has not asked the channel before, so that what comes may be
    left over from a worker that died.
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
    with transaction(steps.warehouse) as connection:
        row = ledger.lookup(connection, channel_id, change_set.change_set_id)
    if row is not None:
        return _delivered_again(steps, row, delivery, change_set)
    return _delivered_first(steps, delivery, change_set, may_be_orphan=is_first and delivery.status == 200)


def record(connection: Connection, steps: Steps, in_hand: InHand | None) -> InHand | None:
    """Write what a delivery says into ledger and channels; return it as the ledger now has it."""
    ledger.stamp_checked(connection, steps.channel, is_caught_up=in_hand is None)
    if in_hand is None:
        return None
    if in_hand.row is None and ledger.insert_fetched(
        connection, in_hand.fetched, content_hash=in_hand.prepared.content_hash, run=steps.run
    ):
        return in_hand
    if in_hand.row is None or in_hand.is_longer:
        # Another worker may have been quicker, with the same delivery or with a longer one.
        in_hand = _overtaken(connection, steps, in_hand)
    channel_id, change_set_id = steps.channel.channel_id, in_hand.fetched.change_set_id
    ledger.mark_redelivered(connection, channel_id, change_set_id)
    if in_hand.is_longer:
        ledger.reopen(connection, channel_id, change_set_id, content_hash=in_hand.prepared.content_hash)
    return in_hand


def settle(steps: Steps, in_hand: InHand | None, *, asked_at: datetime | None = None) -> None:
    """Stamp what the answer proves: Getty hands out another set, or none, only after a confirmation.

    It proves nothing of sets that another worker fetched after `asked_at`, when Getty was asked.
    A set that was confirmed without being loaded was confirmed by somebody else. It is in the
    archive, so it is loaded from there.
    """
    but = in_hand.fetched.change_set_id if in_hand else None
    channel_id = steps.channel.channel_id
    imply = partial(ledger.imply_confirmed, channel_id=channel_id, but=but, before=asked_at or datetime.now(UTC))
    stranded = in_transaction(steps.warehouse, imply)
    for row in stranded:
        log.warning(
            "Change set %s of channel %d was fetched but not loaded, and Getty no longer hands it out: another "
            "consumer seems to confirm sets of this channel. It is loaded from the archive now.",
            row.fetched.change_set_id,
            channel_id,
        )
        load(steps, row.fetched)
    if stranded:
        in_transaction(steps.warehouse, imply)


def transform_archived(steps: Steps, fetched: FetchedSet) -> PreparedSet:
    """Return the prepared set of what the archive holds of a change set."""
    return _transformed(steps, fetched, steps.archive.read(fetched.archive_uri))


def load(steps: Steps, fetched: FetchedSet, prepared: PreparedSet | None = None) -> LedgerRow:
    """Load a change set in one transaction, if it is not loaded yet; return its row in the ledger.

    Without `prepared`, or where the set grew since it was prepared, its rows come from the archive.
    """
    row = in_transaction(steps.warehouse, lambda connection: load_in(connection, steps, fetched, prepared))
    log_loaded(row)
    return row


def load_in(connection: Connection, steps: Steps, fetched: FetchedSet, prepared: PreparedSet | None) -> LedgerRow:
    """Load a change set in the caller's transaction; return its row in the ledger."""
    ledger.lock_channel(connection, steps.channel)
    row = ledger.lookup(connection, fetched.channel_id, fetched.change_set_id, lock=True)
    if row is None:
        raise NotLoaded(
            f"The ledger has no row of change set {fetched.change_set_id}: run the channel again from `fetch`."
        )
    if row.loaded_at is not None:
        return row
    if prepared is None or prepared.content_hash != row.content_hash:
        prepared = transform_archived(steps, row.fetched)
    load_set(connection, row.fetched, prepared, is_first=row.channel_seq is None)
    return replace(row, counts=prepared.counts, newest_change_at=prepared.newest_change_at)


def confirm(steps: Steps, fetched: FetchedSet) -> bool:
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


def call_confirm(steps: Steps, change_set_id: str, *, was_tried: bool) -> bool:
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


def log_loaded(row: LedgerRow) -> None:
    """Tell the story of a load in one line."""
    lag = (datetime.now(UTC) - row.newest_change_at).total_seconds() if row.newest_change_at else None
    log.log(
        logging.WARNING if row.counts.rejected else logging.INFO,
        "Loaded change set %s: channel=%d %s lag_seconds=%s%s",
        row.fetched.change_set_id,
        row.fetched.channel_id,
        row.counts,
        "none" if lag is None else f"{lag:.0f}",
        " (the reasons stand in rejected_changes)" if row.counts.rejected else "",
    )


def _delivered_first(steps: Steps, delivery: Delivery, change_set: ChangeSet, *, may_be_orphan: bool) -> InHand:
    channel_id, change_set_id = steps.channel.channel_id, change_set.change_set_id
    # A worker that died between archive and ledger left an object that no row knows.
    orphan = steps.archive.find(channel_id, change_set_id) if may_be_orphan else None
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
    steps.archive.write(uri, delivery.body)
    fetched = FetchedSet(
        channel_id=channel_id,
        change_set_id=change_set_id,
        fetched_at=delivery.received_at,
        archive_uri=uri,
        is_redelivery=delivery.status == 200,
    )
    prepared = _prepared(steps, fetched, change_set)
    return InHand(fetched=fetched, prepared=prepared, delivery=delivery, change_set=change_set)


def _delivered_again(steps: Steps, row: LedgerRow, delivery: Delivery, change_set: ChangeSet) -> InHand:
    prepared = _prepared(steps, row.fetched, change_set)
    if prepared.content_hash != row.content_hash:
        in_hand = _added_to(steps, row.fetched, delivery, change_set)
        return replace(in_hand, row=row, is_longer=in_hand.prepared.content_hash != row.content_hash)
    if not steps.archive.exists(row.fetched.archive_uri):
        log.warning("The archive had lost %s: written again", row.fetched.archive_uri)
        steps.archive.write(row.fetched.archive_uri, delivery.body)
    return InHand(fetched=row.fetched, prepared=prepared, delivery=delivery, change_set=change_set, row=row)


def _added_to(steps: Steps, fetched: FetchedSet, delivery: Delivery, change_set: ChangeSet) -> InHand:
    """Return what the archive holds of a set together with what this delivery adds to it."""
    if not steps.archive.exists(fetched.archive_uri):
        log.warning("The archive had lost %s: this delivery takes its place", fetched.archive_uri)
        steps.archive.write(fetched.archive_uri, delivery.body)
    bodies = steps.archive.read(fetched.archive_uri)
    held = _transformed(steps, fetched, bodies)
    prepared = _transformed(steps, fetched, [*bodies, delivery.body])
    if added := prepared.counts.changes - held.counts.changes:
        steps.archive.write_part(fetched.archive_uri, delivery.body)
        log.warning(
            "Change set %s was handed out again with %d messages more: they are loaded after the others",
            fetched.change_set_id,
            added,
        )
    return InHand(fetched=fetched, prepared=prepared, delivery=delivery, change_set=change_set)


def _overtaken(connection: Connection, steps: Steps, in_hand: InHand) -> InHand:
    """Return a delivery as what it adds to the ledger's row now: another worker may have written it meanwhile."""
    row = ledger.lookup(connection, in_hand.fetched.channel_id, in_hand.fetched.change_set_id)
    if row is None:
        raise WarehouseUnavailable("The ledger's row of a change set vanished in mid-work: it is tried again.")
    again = _delivered_again(steps, row, in_hand.delivery, in_hand.change_set)
    if in_hand.fetched.archive_uri != row.fetched.archive_uri:
        steps.archive.remove(in_hand.fetched.archive_uri)  # the other worker's object says the same
    return again


def _prepared(steps: Steps, fetched: FetchedSet, change_set: ChangeSet) -> PreparedSet:
    from asset_changes.transform import prepare  # pandas takes a second, which load and confirm need not pay

    return prepare(
        [change_set.messages],
        channel=steps.channel,
        change_set_id=fetched.change_set_id,
        fetched_at=fetched.fetched_at,
    )


def _transformed(steps: Steps, fetched: FetchedSet, bodies: Sequence[bytes]) -> PreparedSet:
    from asset_changes.transform import transform  # late for the same reason

    return transform(bodies, channel=steps.channel, change_set_id=fetched.change_set_id, fetched_at=fetched.fetched_at)
