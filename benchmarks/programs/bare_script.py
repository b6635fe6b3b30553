"""What one would write in an afternoon, without waste: requests, COPY, one guarded upsert.

No archive, no log, no ledger, no evidence of deletions, no rejected changes; one register per asset.
"""

from typing import Any

import psycopg

from benchmarks.programs.bare_loop import session_of
from benchmarks.programs.rounds import DoSets, serve

_COLUMNS = "asset_id, asset_type, asset_lifecycle, changed_at, uri"
_STAGE = f"CREATE TEMPORARY TABLE staged ON COMMIT DELETE ROWS AS SELECT {_COLUMNS} FROM bare_assets WITH NO DATA"
_UPSERT = f"""
INSERT INTO bare_assets AS stored ({_COLUMNS})
SELECT DISTINCT ON (asset_id) {_COLUMNS} FROM staged ORDER BY asset_id, changed_at DESC
ON CONFLICT (asset_id) DO UPDATE SET
    asset_type = excluded.asset_type, asset_lifecycle = excluded.asset_lifecycle,
    changed_at = excluded.changed_at, uri = excluded.uri
WHERE excluded.changed_at > stored.changed_at
"""


def setup(settings: dict[str, Any]) -> DoSets:
    """Return the script's loop."""
    session = session_of(settings)
    url, channel_id = settings["change_sets_url"], settings["channel_id"]
    connection = psycopg.connect(settings["libpq"])
    connection.execute(_STAGE)
    connection.commit()

    def run(sets: int) -> int:
        changes = 0
        for _ in range(sets):
            answer = session.put(url, params={"channel_id": channel_id, "batch_size": 2200}, timeout=30)
            change_set = answer.json()
            assets = change_set["changed_assets"]
            with connection.cursor() as cursor:
                with cursor.copy(f"COPY staged ({_COLUMNS}) FROM STDIN") as copy:
                    copy.write("".join(map(_row, assets)))
                cursor.execute(_UPSERT)
            connection.commit()
            session.delete(f"{url}/{change_set['change_set_id']}", timeout=30).raise_for_status()
            changes += len(assets)
        return changes

    return run


def _row(asset: dict[str, str]) -> str:
    return (
        f"{asset['id']}\t{asset['asset_type']}\t{asset['asset_lifecycle']}\t"
        f"{asset['asset_changed_utc_datetime']}\t{asset['uri']}\n"
    )


if __name__ == "__main__":
    serve(setup)
