"""The prepared rows of a set as files in the archive, for the task that loads them: a cache that may be gone.

<root>/prepared/<name>.csv.gz             the valid rows, in the column order of the log
<root>/prepared/<name>.rejected.json.gz   the rejected changes, where there are any
"""

import json
from dataclasses import replace

from asset_changes.archive import Archive
from asset_changes.errors import ArchiveDamaged, ArchiveUnavailable
from asset_changes.models import ChangeSetRef, PreparedSet, RejectedChange


def write_prepared(archive: Archive, ref: ChangeSetRef, prepared: PreparedSet) -> str:
    """Keep the rows of a prepared set as files; return where."""
    content = prepared.content_hash.rpartition(":")[2]
    uri = archive.prepared_uri(f"{ref.channel_id}-{ref.change_set_id}-{content[:12]}")
    archive.write(uri, prepared.rows)
    if prepared.rejected:
        archive.write(_rejected_uri(uri), json.dumps(prepared.rejected).encode())
    return uri


def read_prepared(archive: Archive, uri: str, prepared: PreparedSet) -> PreparedSet | None:
    """Return a prepared set, given without its rows, together with them; None when the files are gone."""
    try:
        rows = archive.read_one(uri)
        rejected = json.loads(archive.read_one(_rejected_uri(uri))) if prepared.counts.rejected else []
    except (ArchiveUnavailable, ArchiveDamaged):
        return None
    return replace(prepared, rows=rows, rejected=tuple(RejectedChange(*each) for each in rejected))


def remove_prepared(archive: Archive, uri: str) -> None:
    """Remove the files of a set that is confirmed."""
    archive.remove(uri)
    archive.remove(_rejected_uri(uri))


def _rejected_uri(uri: str) -> str:
    return uri.replace(".csv.gz", ".rejected.json.gz")
