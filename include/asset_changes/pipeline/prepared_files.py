"""What one task passes to the next: ids, counts and URIs as JSON, the rows through the archive."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from asset_changes.archive import Archive
from asset_changes.errors import ArchiveDamaged, ArchiveUnavailable
from asset_changes.models import Counts, FetchedSet, PreparedSet, RejectedChange


def fetched_to_json(fetched: FetchedSet) -> dict[str, Any]:
    """Return a fetched set as JSON, under 1 KB."""
    return {**asdict(fetched), "fetched_at": fetched.fetched_at.isoformat()}


def fetched_from_json(passed: Mapping[str, Any]) -> FetchedSet:
    """Return the fetched set that an earlier task passed on."""
    return FetchedSet(
        channel_id=passed["channel_id"],
        change_set_id=passed["change_set_id"],
        fetched_at=datetime.fromisoformat(passed["fetched_at"]),
        archive_uri=passed["archive_uri"],
        is_redelivery=passed["is_redelivery"],
    )


def write_prepared(archive: Archive, fetched: FetchedSet, prepared: PreparedSet) -> dict[str, Any]:
    """Keep the prepared rows as a file and return what `load` needs to find them, under 1 KB."""
    name = f"{fetched.channel_id}-{fetched.change_set_id}-{prepared.content_hash[:12]}"
    uri = archive.prepared_uri(name)
    archive.write(uri, prepared.rows)
    if prepared.rejected:
        archive.write(_rejected_uri(uri), json.dumps(prepared.rejected).encode())
    return {
        "prepared_uri": uri,
        "content_hash": prepared.content_hash,
        "counts": asdict(prepared.counts),
        "oldest_change_at": _text(prepared.oldest_change_at),
        "newest_change_at": _text(prepared.newest_change_at),
    }


def read_prepared(archive: Archive, passed: Mapping[str, Any]) -> PreparedSet | None:
    """Return the prepared set that `transform` left, or None when the file is gone."""
    uri, counts = passed["prepared_uri"], Counts(**passed["counts"])
    try:
        rows = archive.read_one(uri)
        rejected = json.loads(archive.read_one(_rejected_uri(uri))) if counts.rejected else []
    except (ArchiveUnavailable, ArchiveDamaged):
        return None
    return PreparedSet(
        rows=rows,
        rejected=tuple(RejectedChange(*each) for each in rejected),
        counts=counts,
        content_hash=passed["content_hash"],
        oldest_change_at=_moment(passed["oldest_change_at"]),
        newest_change_at=_moment(passed["newest_change_at"]),
    )


def remove_prepared(archive: Archive, passed: Mapping[str, Any]) -> None:
    """Remove the prepared file of a set that is confirmed."""
    archive.remove(passed["prepared_uri"])
    archive.remove(_rejected_uri(passed["prepared_uri"]))


def _rejected_uri(uri: str) -> str:
    return uri.replace(".csv.gz", ".rejected.json.gz")


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
