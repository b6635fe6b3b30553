"""What one task of a channel's DAG hands to the next: ids, counts and addresses as JSON, under 1 KB."""

from dataclasses import asdict
from datetime import datetime
from typing import TypedDict

from asset_changes.models import ChangeSetRef, Counts, PreparedSet


class FetchedPayload(TypedDict):
    """What `fetch` returns: which change set, and where its body is."""

    channel_id: int
    change_set_id: str
    fetched_at: str
    archive_uri: str


class PreparedPayload(FetchedPayload):
    """What `transform` returns: the same, and where the prepared rows are."""

    prepared_uri: str
    content_hash: str
    counts: dict[str, int]
    deliveries: list[tuple[int, str]]
    oldest_change_at: str | None
    newest_change_at: str | None


class TaskPayload(PreparedPayload):
    """What `load` returns: the same, and the set's number in the channel."""

    changes: int
    channel_seq: int


def payload_of(ref: ChangeSetRef) -> FetchedPayload:
    """Return a reference to a change set as JSON."""
    return FetchedPayload(
        channel_id=ref.channel_id,
        change_set_id=ref.change_set_id,
        fetched_at=ref.fetched_at.isoformat(),
        archive_uri=ref.archive_uri,
    )


def ref_of(payload: FetchedPayload) -> ChangeSetRef:
    """Return the reference to a change set that an earlier task handed on."""
    return ChangeSetRef(
        channel_id=payload["channel_id"],
        change_set_id=payload["change_set_id"],
        fetched_at=datetime.fromisoformat(payload["fetched_at"]),
        archive_uri=payload["archive_uri"],
    )


def prepared_payload(payload: FetchedPayload, prepared: PreparedSet, *, prepared_uri: str) -> PreparedPayload:
    """Return what `load` needs to find a prepared set."""
    return PreparedPayload(
        **payload,
        prepared_uri=prepared_uri,
        content_hash=prepared.content_hash,
        counts=asdict(prepared.counts),
        deliveries=[(first, received_at.isoformat()) for first, received_at in prepared.deliveries],
        oldest_change_at=_text(prepared.oldest_change_at),
        newest_change_at=_text(prepared.newest_change_at),
    )


def prepared_of(payload: PreparedPayload) -> PreparedSet:
    """Return the prepared set that `transform` handed on, without its rows: these are in files."""
    return PreparedSet(
        rows=b"",
        rejected=(),
        deliveries=tuple((first, datetime.fromisoformat(at)) for first, at in payload["deliveries"]),
        counts=Counts(**payload["counts"]),
        content_hash=payload["content_hash"],
        oldest_change_at=_time(payload["oldest_change_at"]),
        newest_change_at=_time(payload["newest_change_at"]),
    )


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
