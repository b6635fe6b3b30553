"""A script that leaves as much behind as we do: requests, an archive, the log, the states, the Deletes, the ledger.

It writes our own tables, with their indexes and keys. One spelling of the messages, nothing rejected, nothing tried
again, one guard by time alone, nothing known of what was live before: a crash or a redelivery is not thought of.
"""

import gzip
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.programs.bare_loop import session_of
from benchmarks.programs.rounds import DoSets, serve

_LOG = (
    "fetched_at, channel_id, change_set_id, position, asset_id, asset_lifecycle, asset_type, changed_at, "
    "is_time_inferred, uri"
)
_THE_SET = "fetched_at = %(fetched_at)s AND channel_id = %(channel_id)s AND change_set_id = %(change_set_id)s"
# The newest message of each asset wins: an upsert leaves the Delete's columns alone, and the other way round.
_UPSERT = f"""
INSERT INTO asset_states AS known (asset_id, asset_type, asset_family, channel_id, asset_lifecycle,
    upserted_at, upsert_change_set_id, upsert_position, deleted_at, delete_change_set_id, delete_position)
SELECT DISTINCT ON (asset_id) asset_id, asset_type, 'Editorial', channel_id,
    CASE WHEN asset_lifecycle <> 'Delete' THEN asset_lifecycle END,
    CASE WHEN asset_lifecycle <> 'Delete' THEN changed_at END,
    CASE WHEN asset_lifecycle <> 'Delete' THEN change_set_id END,
    CASE WHEN asset_lifecycle <> 'Delete' THEN position END,
    CASE WHEN asset_lifecycle = 'Delete' THEN changed_at END,
    CASE WHEN asset_lifecycle = 'Delete' THEN change_set_id END,
    CASE WHEN asset_lifecycle = 'Delete' THEN position END
FROM asset_changes WHERE {_THE_SET}
ORDER BY asset_id, changed_at DESC
ON CONFLICT (asset_id) DO UPDATE SET
    asset_type = excluded.asset_type,
    asset_lifecycle = coalesce(excluded.asset_lifecycle, known.asset_lifecycle),
    upserted_at = coalesce(excluded.upserted_at, known.upserted_at),
    upsert_change_set_id = coalesce(excluded.upsert_change_set_id, known.upsert_change_set_id),
    upsert_position = coalesce(excluded.upsert_position, known.upsert_position),
    deleted_at = coalesce(excluded.deleted_at, known.deleted_at),
    delete_change_set_id = coalesce(excluded.delete_change_set_id, known.delete_change_set_id),
    delete_position = coalesce(excluded.delete_position, known.delete_position),
    loaded_at = now()
WHERE greatest(excluded.upserted_at, excluded.deleted_at) > greatest(known.upserted_at, known.deleted_at)
"""
_DELETES = f"""
INSERT INTO deletions (channel_id, change_set_id, position, asset_id, deleted_at, is_time_inferred, received_at,
    applied_at, is_rebuilt)
SELECT channel_id, change_set_id, position, asset_id, changed_at, is_time_inferred, fetched_at, clock_timestamp(), false
FROM asset_changes WHERE {_THE_SET} AND asset_lifecycle = 'Delete'
"""
_LEDGER = """
INSERT INTO change_sets (channel_id, change_set_id, archive_uri, content_hash, fetched_at, loaded_at,
    change_count, new_count, update_count, delete_count)
VALUES (%(channel_id)s, %(change_set_id)s, %(archive_uri)s, '', %(fetched_at)s, clock_timestamp(),
    %(changes)s, %(New)s, %(Update)s, %(Delete)s)
"""


def setup(settings: dict[str, Any]) -> DoSets:
    """Return the script's loop."""
    session = session_of(settings)
    url, channel_id = settings["change_sets_url"], settings["channel_id"]
    archive = Path(settings["folder"]) / "archive" / "equal_work_script"
    archive.mkdir(parents=True, exist_ok=True)
    connection = psycopg.connect(settings["libpq"], options="-c search_path=getty_images -c TimeZone=UTC")

    def run(sets: int) -> int:
        changes = 0
        for _ in range(sets):
            answer = session.put(url, params={"channel_id": channel_id, "batch_size": 2200}, timeout=30)
            fetched_at = datetime.now(UTC)
            change_set = answer.json()
            change_set_id, assets = change_set["change_set_id"], change_set["changed_assets"]
            path = archive / f"{change_set_id}.json.gz"
            _write_durably(path, gzip.compress(answer.content, 1))
            values = {
                "channel_id": channel_id,
                "change_set_id": change_set_id,
                "fetched_at": fetched_at,
                "archive_uri": str(path),
                "changes": len(assets),
                **Counter(asset["asset_lifecycle"] for asset in assets),
            }
            start = f"{fetched_at.isoformat()},{channel_id},{change_set_id}"
            with connection.cursor() as cursor:
                with cursor.copy(f"COPY asset_changes ({_LOG}) FROM STDIN (FORMAT csv)") as copy:
                    copy.write("".join([_row(start, *each) for each in enumerate(assets)]))
                for statement in (_UPSERT, _DELETES, _LEDGER):
                    cursor.execute(statement, values)
            connection.commit()
            session.delete(f"{url}/{change_set_id}", timeout=30).raise_for_status()
            changes += len(assets)
        return changes

    return run


def _row(start: str, position: int, asset: dict[str, str]) -> str:
    return (
        f"{start},{position},{asset['id']},{asset['asset_lifecycle']},{asset['asset_type']},"
        f"{asset['asset_changed_utc_datetime']},false,{asset['uri']}\n"
    )


def _write_durably(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


if __name__ == "__main__":
    serve(setup)
