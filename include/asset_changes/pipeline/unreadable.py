"""Bodies that were not understood when they came: read again, and put in their place once they are."""

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from asset_changes.archive import Archive
from asset_changes.archived_sets import UNREADABLE, ArchivedSet, UnreadableBody, first_uri, place_of
from asset_changes.errors import ArchiveDamaged, ArchiveObjectMissing, ArchiveUnavailable, UnreadableChangeSet
from asset_changes.getty_api.content import contents
from asset_changes.getty_api.parsing import parse_change_set
from asset_changes.models import ChangeSet, Delivery
from asset_changes.pipeline.archived_bodies import Problems
from asset_changes.warehouse import findings, ledger
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.findings import ArchiveFinding, FindingKind, Resolution

log = logging.getLogger(__name__)


@dataclass
class ReadAgain:
    """What became of bodies that had not been understood.

    `sets` are the change sets that are due for loading now; `read` says of each body that is
    understood which set it contains, None where it contains none.
    """

    sets: dict[str, ArchivedSet] = field(default_factory=dict)
    read: list[tuple[ArchiveFinding, str | None]] = field(default_factory=list)


class Outcome(NamedTuple):
    """Which set a body contains, None for none; or why it is still not understood."""

    change_set_id: str | None = None
    why_not: str | None = None


def read_unreadable(
    warehouse: Engine,
    archive: Archive,
    channel_id: int,
    *,
    problems: Problems,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ReadAgain:
    """Read the bodies of a channel that were not understood, with today's parser.

    Those that came in `since <= received_at < until`, and all of which a finding is open. One that is
    understood becomes the first object of its set, or a longer delivery where the set has one already;
    the body itself stays as it came. Loading what it contains is the replay's next work.
    """
    with transaction(warehouse) as connection:
        bodies = _due(connection, archive, channel_id, since=since, until=until)
    again = ReadAgain()
    outcomes: dict[bytes, Outcome] = {}
    for body in bodies:
        try:
            found = archive.read_delivery(body.uri, received_at=body.received_at)
            digest = hashlib.sha256(found.body).digest()
            if digest not in outcomes:  # a channel that waits for a newer parser archives the same body at each run
                outcomes[digest] = _read(warehouse, archive, body, found, again)
            outcome = outcomes[digest]
        except (ArchiveObjectMissing, ArchiveDamaged) as error:
            outcome = Outcome(why_not=str(error))
        except ArchiveUnavailable as error:
            problems.add_unavailable(error)
            continue
        if outcome.why_not:
            problems.add(_finding(body, detail=f"The body {body.uri} is still not understood. {outcome.why_not}"))
        else:
            what = f"change set {outcome.change_set_id}" if outcome.change_set_id else "no change set"
            log.info("Read: channel=%d the body %s is understood now and holds %s", channel_id, body.uri, what)
            again.read.append((_finding(body), outcome.change_set_id))
    return again


def mark_read(connection: Connection, again: ReadAgain) -> None:
    """Resolve the findings of the bodies whose sets are loaded by now."""
    findings.note(connection, [finding for finding, _ in again.read])
    for finding, change_set_id in again.read:
        row = ledger.lookup(connection, finding.channel_id, change_set_id) if change_set_id else None
        if change_set_id is None or (row is not None and row.loaded_at is not None):
            findings.resolve(connection, [finding], how=Resolution.READ)


def _due(
    connection: Connection, archive: Archive, channel_id: int, *, since: datetime | None, until: datetime | None
) -> list[UnreadableBody]:
    """Return the bodies to read, the oldest first: those of the span and those of an open finding, each once."""
    read = findings.places_read(connection, channel_id)
    due = {place_of(each.uri): each for each in archive.unreadable(channel_id, since=since, until=until)}
    for each in findings.open_findings(connection, channel_id):
        if each.kind == FindingKind.UNREADABLE and UNREADABLE.fullmatch(each.archive_uri.rpartition("/")[2]):
            body = UnreadableBody(channel_id=channel_id, received_at=each.received_at, uri=each.archive_uri)
            due.setdefault(place_of(each.archive_uri), body)
    return sorted((due[place] for place in set(due) - read), key=lambda each: (each.received_at, each.uri))


def _read(warehouse: Engine, archive: Archive, body: UnreadableBody, found: Delivery, again: ReadAgain) -> Outcome:
    """Read one body and put it in its place, if it is understood."""
    try:
        change_set = parse_change_set(found)
    except UnreadableChangeSet as error:
        return Outcome(why_not=str(error))
    if change_set is None:
        return Outcome()
    with transaction(warehouse) as connection:
        row = ledger.lookup(connection, body.channel_id, change_set.change_set_id)
    first_at = row.ref.fetched_at if row else None
    placed = _put_in_place(archive, body, found, change_set, first_at=first_at)
    if placed is not None:
        again.sets[change_set.change_set_id] = placed
    return Outcome(change_set.change_set_id)


def _put_in_place(
    archive: Archive, body: UnreadableBody, found: Delivery, change_set: ChangeSet, *, first_at: datetime | None
) -> ArchivedSet | None:
    """Archive what the other objects of a set do not contain; return the set with all of its objects."""
    channel_id, change_set_id = body.channel_id, change_set.change_set_id
    archived = archive.find(channel_id, change_set_id, before=body.received_at)
    if archived is None:
        uri = archive.uri_for(channel_id, change_set_id, fetched_at=body.received_at)
        archive.write(uri, found.body, server_time=found.server_time)
    else:
        objects = archived.in_order(first_at)
        if not _messages(change_set) <= _kept(archive, archived):
            received_at = body.received_at
            while received_at in {each.received_at for each in objects}:  # it is what their names differ by
                received_at += timedelta(microseconds=1)
            archive.write_later(first_uri(objects[0]), replace(found, received_at=received_at))
    return archive.find(channel_id, change_set_id, before=body.received_at)


def _kept(archive: Archive, archived: ArchivedSet) -> Counter[Any]:
    """Return how often the objects of a set contain each message; one that cannot be read counts as empty."""
    kept: Counter[Any] = Counter()
    for each in archived.objects:
        try:
            change_set = parse_change_set(archive.read_delivery(each.uri, received_at=each.received_at))
        except (ArchiveDamaged, ArchiveObjectMissing, UnreadableChangeSet):
            continue
        if change_set is not None and change_set.change_set_id == archived.change_set_id:
            kept |= _messages(change_set)
    return kept


def _messages(change_set: ChangeSet) -> Counter[Any]:
    return Counter(contents(change_set.messages))


def _finding(body: UnreadableBody, *, detail: str | None = None) -> ArchiveFinding:
    return ArchiveFinding(
        channel_id=body.channel_id,
        archive_uri=body.uri,
        kind=FindingKind.UNREADABLE,
        received_at=body.received_at,
        detail=detail or "The structure of this body was not understood when it came.",
    )
