"""The table `archive_findings`: what only the archive has, or has lost, until it is resolved.

An object is the same wherever its archive was moved: findings are compared by its place below the root.
"""

import enum
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, func, select, text, update

from asset_changes.archived_sets import place_of
from asset_changes.warehouse.schema import archive_findings, channels


class FindingKind(enum.StrEnum):
    """What is wrong with an object of the archive."""

    UNREADABLE = "unreadable"
    NOT_IN_LEDGER = "not_in_ledger"
    DAMAGED = "damaged"
    MISSING = "missing"


class Resolution(enum.StrEnum):
    """How a finding came to its end."""

    READ = "read"
    LOADED = "loaded"
    RESTORED = "restored"
    REMOVED = "removed"
    DISMISSED = "dismissed"


@dataclass(frozen=True, kw_only=True)
class ArchiveFinding:
    """Something that is wrong with one object; `received_at` is when its delivery came."""

    channel_id: int
    archive_uri: str
    kind: FindingKind
    received_at: datetime
    change_set_id: str | None = None
    detail: str | None = None

    @property
    def key(self) -> tuple[str, FindingKind]:
        """The object and what is wrong with it."""
        return place_of(self.archive_uri), self.kind


_INSERT = text("""
    INSERT INTO archive_findings (channel_id, archive_uri, kind, change_set_id, received_at, found_at, detail)
    VALUES (:channel_id, :archive_uri, :kind, :change_set_id, :received_at, now(), :detail)
    ON CONFLICT DO NOTHING""")
# What was dismissed stays so: a person has decided.
_REOPEN = text("""
    UPDATE archive_findings
    SET found_at = now(), detail = :detail, settled_at = NULL, settled_how = NULL, settled_by = NULL
    WHERE channel_id = :channel_id AND archive_uri = :archive_uri AND kind = :kind
      AND settled_at IS NOT NULL AND settled_how <> 'dismissed'""")


def note(connection: Connection, found: Iterable[ArchiveFinding]) -> list[ArchiveFinding]:
    """Keep findings, each once; return those of them that no person has dismissed."""
    open_ones = []
    by_channel: dict[int, dict[tuple[str, FindingKind], ArchiveFinding]] = {}
    for each in found:
        by_channel.setdefault(each.channel_id, {})[each.key] = each
    for channel_id, of_channel in by_channel.items():
        known = {_finding(row).key: row for row in connection.execute(_of_channel(channel_id))}
        for key, each in of_channel.items():
            row = known.get(key)
            if row is None:
                connection.execute(_INSERT, asdict(each))
            elif row.settled_how == Resolution.DISMISSED:
                continue
            elif row.settled_at is not None:
                connection.execute(_REOPEN, asdict(each) | {"archive_uri": row.archive_uri})
            open_ones.append(each)
    return open_ones


def open_findings(connection: Connection, channel_id: int) -> list[ArchiveFinding]:
    """Return the findings of a channel that are open, the oldest object first."""
    c = archive_findings.c
    query = _of_channel(channel_id).where(c.settled_at.is_(None)).order_by(c.received_at, c.archive_uri)
    return [_finding(row) for row in connection.execute(query)]


def places_read(connection: Connection, channel_id: int) -> set[str]:
    """Return the places below the root of the bodies that were not understood at first and have been read since."""
    c = archive_findings.c
    is_read = (c.kind == FindingKind.UNREADABLE) & (c.settled_how == Resolution.READ)
    return set(map(place_of, connection.scalars(select(c.archive_uri).where((c.channel_id == channel_id) & is_read))))


def resolve(connection: Connection, over: Collection[ArchiveFinding], *, how: Resolution) -> int:
    """Mark open findings as resolved; return how many were open."""
    if not over:
        return 0
    statement = text("""
        UPDATE archive_findings SET settled_at = now(), settled_how = :how
        WHERE channel_id = :channel_id AND archive_uri = :archive_uri AND kind = :kind AND settled_at IS NULL""")
    return connection.execute(statement, [asdict(each) | {"how": how} for each in over]).rowcount


def dismiss(connection: Connection, archive_uri: str, *, by: str) -> int:
    """Close what is open of an object because a person says so; return how many findings that were."""
    c = archive_findings.c
    dismissed = (
        update(archive_findings)
        .where((c.archive_uri == archive_uri) & c.settled_at.is_(None))
        .values(settled_at=func.now(), settled_how=Resolution.DISMISSED, settled_by=by)
    )
    return connection.execute(dismissed).rowcount


def mark_archive_checked(connection: Connection, channel_id: int) -> None:
    """Keep when the archive of a channel was last compared with the ledger."""
    checked = update(channels).where(channels.c.channel_id == channel_id).values(archive_checked_at=func.now())
    connection.execute(checked)


def _of_channel(channel_id: int):  # type: ignore[no-untyped-def]  # SQLAlchemy's own expression type
    return select(archive_findings).where(archive_findings.c.channel_id == channel_id)


def _finding(row: Row[tuple[object, ...]]) -> ArchiveFinding:
    return ArchiveFinding(
        channel_id=row.channel_id,
        archive_uri=row.archive_uri,
        kind=FindingKind(row.kind),
        received_at=row.received_at,
        change_set_id=row.change_set_id,
        detail=row.detail,
    )
