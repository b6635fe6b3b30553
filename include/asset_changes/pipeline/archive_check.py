"""Compare the archive with the ledger: what the warehouse lacks of the one, what is gone of the other."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import Connection, Engine

from asset_changes.archive import Archive
from asset_changes.archived_sets import ArchivedSet, place_of
from asset_changes.errors import ArchiveDamaged, ArchiveObjectMissing, ArchiveUnavailable
from asset_changes.getty_api.content import unseen
from asset_changes.getty_api.parsing import parse_archived
from asset_changes.pipeline.archived_bodies import check_body, finding_of, missing_object, read_set, understood
from asset_changes.warehouse import findings, ledger
from asset_changes.warehouse.archived import described_channels, known_objects
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.findings import ArchiveFinding, FindingKind, Resolution
from asset_changes.warehouse.ledger import LedgerRow

log = logging.getLogger(__name__)

_SETS_PER_QUERY = 500
BEING_LOADED = timedelta(minutes=15)
"""A set is in the archive before it is in the ledger: what came so lately is not compared."""


def lacking(archived: Iterator[ArchivedSet], *, warehouse: Engine, archive: Archive) -> Iterator[ArchivedSet]:
    """Yield those of a channel's archived sets that a replay would load, in their order.

    The ledger has no row of such a set, or one that does not say loaded, or one from before a longer
    delivery of it.
    """
    while some := list(islice(archived, _SETS_PER_QUERY)):
        with transaction(warehouse) as connection:
            rows = ledger.lookup_many(connection, some[0].channel_id, [each.change_set_id for each in some])
        yield from (each for each in some if is_lacking(each, rows.get(each.change_set_id), archive))


def is_lacking(archived: ArchivedSet, row: LedgerRow | None, archive: Archive) -> bool:
    """Say whether the archive has more of a set than the ledger counts as loaded."""
    if row is None or row.loaded_at is None:
        return True
    if len(archived.objects) == 1:
        return False
    read = understood(archived, read_set(archive, archived, first_at=row.ref.fetched_at))
    deliveries = parse_archived(read.deliveries, change_set_id=archived.change_set_id)
    if sum(map(sum, unseen(deliveries))) > row.counts.changes:
        return True
    if not read.is_whole:
        why = read.unavailable or read.findings[0].detail
        log.warning("Could not check whether change set %s is loaded as a whole: %s", archived.change_set_id, why)
    return False


def compare_archive(
    connection: Connection,
    archive: Archive,
    channel_id: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[ArchiveFinding]:
    """Keep what archive and ledger of a channel lack of each other, by their names; return what is open.

    Checks what came in `since <= received_at < until`, and again every finding that is open. A
    ledger's row of another root (another deployment's, or from before the archive was moved) says
    nothing of this archive. `until` should leave out what is being loaded now.
    """
    before = findings.open_findings(connection, channel_id)
    found = [
        *_unread(connection, archive, channel_id, since=since, until=until),
        *_incomplete(connection, archive, channel_id, since=since, until=until),
    ]
    findings.note(connection, found)
    found_now = {finding.key for finding in found}
    for finding in before:
        how = None if finding.key in found_now else _over(connection, archive, finding)
        if how is not None:
            findings.resolve(connection, [finding], how=how)
    findings.mark_archive_checked(connection, channel_id)
    return findings.open_findings(connection, channel_id)


def compare_all_channels(connection: Connection, archive: Archive, *, now: datetime, days: float) -> None:
    """Compare what came in the last days of each channel that archive or warehouse knows."""
    channel_ids = {*described_channels(connection), *archive.channel_ids()}
    for channel_id in sorted(channel_ids):
        compare_archive(connection, archive, channel_id, since=now - timedelta(days=days), until=now - BEING_LOADED)


def _unread(
    connection: Connection, archive: Archive, channel_id: int, *, since: datetime | None, until: datetime | None
) -> Iterator[ArchiveFinding]:
    """Yield the bodies that no replay has read; what they contain is not read."""
    read = findings.places_read(connection, channel_id)
    for body in archive.unreadable(channel_id, since=since, until=until):
        if place_of(body.uri) not in read:
            yield ArchiveFinding(
                channel_id=channel_id,
                archive_uri=body.uri,
                kind=FindingKind.UNREADABLE,
                received_at=body.received_at,
                detail=f"The structure of the body {body.uri} was not understood, and no replay has read it since.",
            )


def _incomplete(
    connection: Connection, archive: Archive, channel_id: int, *, since: datetime | None, until: datetime | None
) -> Iterator[ArchiveFinding]:
    """Yield which archived sets the ledger lacks, and which objects of its sets the archive lacks."""
    archived_ids: set[str] = set()
    archived = archive.sets(channel_id, since=since, until=until)
    while some := list(islice(archived, _SETS_PER_QUERY)):
        rows = ledger.lookup_many(connection, channel_id, [each.change_set_id for each in some])
        for each in some:
            archived_ids.add(each.change_set_id)
            yield from (missing_object(each, gone) for gone in each.missing)
            if is_lacking(each, rows.get(each.change_set_id), archive):
                detail = f"Change set {each.change_set_id} is in the archive and not loaded as a whole: {each.uri}"
                yield finding_of(each, each.objects[-1], FindingKind.NOT_IN_LEDGER, detail)
    for known in known_objects(connection, channel_id, since=since, until=until):
        is_ours = known.change_set_id not in archived_ids and archive.is_below(known.archive_uri)
        if is_ours and not archive.exists(known.archive_uri):
            yield ArchiveFinding(
                channel_id=channel_id,
                archive_uri=known.archive_uri,
                kind=FindingKind.MISSING,
                received_at=known.fetched_at,
                change_set_id=known.change_set_id,
                detail=(
                    f"The archive's object {known.archive_uri} of change set {known.change_set_id} is missing: a "
                    "rebuild would lack what it contained. Bring it back from a backup of the archive; if there is "
                    "none, dismiss this finding."
                ),
            )


def _over(connection: Connection, archive: Archive, finding: ArchiveFinding) -> Resolution | None:
    """Return how a finding came to its end, None where it has not."""
    if finding.kind == FindingKind.MISSING:
        return Resolution.RESTORED if archive.exists(finding.archive_uri) else None
    change_set_id = finding.change_set_id
    row = ledger.lookup(connection, finding.channel_id, change_set_id) if change_set_id else None
    is_loaded = row is not None and row.loaded_at is not None
    if finding.kind == FindingKind.NOT_IN_LEDGER and change_set_id and is_loaded:
        archived = archive.find(finding.channel_id, change_set_id, before=finding.received_at)
        return None if archived and is_lacking(archived, row, archive) else Resolution.LOADED
    if finding.kind == FindingKind.DAMAGED:
        try:
            content = archive.read_one(finding.archive_uri)
        except ArchiveObjectMissing:
            return Resolution.REMOVED if is_loaded else None  # what nobody has loaded is lost with it
        except (ArchiveDamaged, ArchiveUnavailable):
            return None
        return Resolution.RESTORED if change_set_id is None or check_body(content, change_set_id) is None else None
    return None  # only a replay reads what was not understood
