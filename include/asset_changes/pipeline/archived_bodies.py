"""Read a change set from the archive, whatever is wrong with some of its objects."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from asset_changes.archive import Archive
from asset_changes.archived_sets import ArchivedObject, ArchivedSet, place_of
from asset_changes.errors import ArchiveDamaged, ArchiveObjectMissing, ArchiveUnavailable, UnreadableChangeSet
from asset_changes.getty_api.parsing import parse_change_set, read_json
from asset_changes.models import Delivery
from asset_changes.warehouse.findings import ArchiveFinding, FindingKind

log = logging.getLogger(__name__)

_IN_A_ROW = 3  # one object may be without rights; several in a row are a store that does not answer


@dataclass(frozen=True, kw_only=True)
class ReadSet:
    """What could be read of a change set: `objects` and their `deliveries`, in the order they came.

    `findings` are what is wrong with the other objects; `unavailable` is the error of one that may be
    read at another time.
    """

    objects: tuple[ArchivedObject, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    findings: tuple[ArchiveFinding, ...] = ()
    unavailable: ArchiveUnavailable | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every object was read."""
        return not self.findings and self.unavailable is None


def read_set(archive: Archive, archived: ArchivedSet, *, first_at: datetime | None = None) -> ReadSet:
    """Read all objects of a change set; `first_at` says by ledger or log which one is the first."""
    objects, deliveries, unavailable = [], [], None
    ordered = archived.in_order(first_at)
    findings = [missing_object(archived, each) for each in archived.missing]
    for each in ordered:
        try:
            delivery = archive.read_delivery(each.uri, received_at=each.received_at)
        except ArchiveObjectMissing:
            # A worker that was overtaken removes its own object: what it had is in the first.
            if each is ordered[0] or not each.is_first:
                findings.append(missing_object(archived, each))
        except ArchiveDamaged as error:
            findings.append(finding_of(archived, each, FindingKind.DAMAGED, str(error)))
        except ArchiveUnavailable as error:
            unavailable = error
        else:
            objects.append(each)
            deliveries.append(delivery)
    return ReadSet(
        objects=tuple(objects), deliveries=tuple(deliveries), findings=tuple(findings), unavailable=unavailable
    )


def understood(archived: ArchivedSet, read: ReadSet) -> ReadSet:
    """Return what was read without the bodies that today's parser does not take for this set."""
    objects, deliveries, findings = [], [], list(read.findings)
    for each, delivery in zip(read.objects, read.deliveries, strict=True):
        if problem := check_body(delivery.body, archived.change_set_id):
            kind, why = problem
            findings.append(finding_of(archived, each, kind, f"The archive's object {each.uri} {why}"))
        else:
            objects.append(each)
            deliveries.append(delivery)
    return replace(read, objects=tuple(objects), deliveries=tuple(deliveries), findings=tuple(findings))


def check_body(content: bytes, change_set_id: str | None) -> tuple[FindingKind, str] | None:
    """Return what is wrong with a body that should contain this set, None where nothing is."""
    try:
        document = read_json(content)
    except ValueError:
        return FindingKind.DAMAGED, "is not JSON: something else was written there. Bring it back from a backup."
    try:
        found = parse_change_set(Delivery(body=content, document=document, received_at=datetime.now(UTC)))
    except UnreadableChangeSet as error:
        return FindingKind.UNREADABLE, f"is not understood any more. {error}"
    if found is None or (change_set_id is not None and found.change_set_id != change_set_id):
        what = "no change set" if found is None else f"change set {found.change_set_id}"
        return FindingKind.DAMAGED, f"holds {what} instead of {change_set_id}. Bring it back from a backup."
    return None


def finding_of(archived: ArchivedSet, found: ArchivedObject, kind: FindingKind, detail: str) -> ArchiveFinding:
    """Return a finding about one object of a set."""
    return ArchiveFinding(
        channel_id=archived.channel_id,
        archive_uri=found.uri,
        kind=kind,
        received_at=found.received_at,
        change_set_id=archived.change_set_id,
        detail=detail,
    )


def missing_object(archived: ArchivedSet, found: ArchivedObject) -> ArchiveFinding:
    """Return the finding of an object of a set that is not there."""
    detail = (
        f"The archive's object {found.uri} is missing. Bring it back from a backup of the archive; if there is none, "
        "dismiss this finding: the set is loaded from its other objects."
    )
    return finding_of(archived, found, FindingKind.MISSING, detail)


class Problems:
    """What a replay could not read: each object is named once, and the others are read."""

    def __init__(self, open_before: Sequence[ArchiveFinding]) -> None:
        self.findings: dict[tuple[str, FindingKind], ArchiveFinding] = {}
        self.unavailable: list[ArchiveUnavailable] = []
        self.over: dict[tuple[str, FindingKind], ArchiveFinding] = {}
        self._open = {each.key: each for each in open_before}
        self._in_a_row = 0

    def take(self, read: ReadSet) -> None:
        """Keep what is wrong with a set that was read, and what is so no longer.

        Raises ArchiveUnavailable where several sets in a row could not be read: the store is away then.
        """
        for each in read.findings:
            self.add(each)
        if read.unavailable is not None:
            self.add_unavailable(read.unavailable)
        elif read.objects:
            self._in_a_row = 0
        if self._open:
            for found in read.objects:
                keys = ((place_of(found.uri), kind) for kind in FindingKind if kind != FindingKind.NOT_IN_LEDGER)
                self.over |= {key: self._open[key] for key in keys if key in self._open}

    def add(self, finding: ArchiveFinding) -> None:
        """Keep one finding."""
        if finding.key not in self.findings:
            self.findings[finding.key] = finding
            log.warning("Not read: channel=%d %s", finding.channel_id, finding.detail)

    def add_unavailable(self, error: ArchiveUnavailable) -> None:
        """Keep that an object could not be read at this time."""
        log.warning("Not read: %s", error)
        self.unavailable.append(error)
        # Rights may be lacking for any number of objects; the listing shows that the store is there.
        self._in_a_row += not isinstance(error.__cause__, PermissionError)
        if self._in_a_row >= _IN_A_ROW:
            raise error
