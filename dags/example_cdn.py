"""An example to copy: wake when files are gone, and take them out of a cache that may still serve them."""

import json
import logging
from typing import Any

from airflow.sdk import Variable, dag, task
from getty_images.assets import PURGED_ASSET
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

CURSORS = "asset_changes_example_cdn_cursors"

_DOC = """
Shows what must happen after a purge: a CDN serves a file for as long as its header says, also when the file is gone. It
wakes on the asset `asset_changes_files_purged`, reads the receipts past its own cursor, and would have these paths
invalidated. The cursor is a `receipt_id` per store, kept in the Variable `asset_changes_example_cdn_cursors`.

* **The event only starts a run.** Airflow may join several events into one run, so the cursor says what to read.
* **One cursor per store**: one run at a time deletes from a store, so within a store no receipt comes later with a
  smaller number.
* **`missing` counts too**: somebody else deleted the file, or a run that was killed before its receipt. These alone
  give no event: they are read with the next one.
* **A path comes once**, also where a bucket had several versions of it.
* **The cursor moves last**, after the work is done: a run that dies is done again. To invalidate a path twice does no
  harm.
* **What it does**: writes how many paths it would have invalidated into its log. Put the call of your CDN there.
* **What it writes**: the Variable alone.
* **To read everything again**, delete the Variable.
* **When it is red**, the last line of its log says why; the next run reads on from the same cursors.
"""

RECEIPTS = """
SELECT receipt_id, store, key FROM purges
WHERE result IN ('deleted', 'missing') AND receipt_id > coalesce(CAST(CAST(:cursors AS jsonb) ->> store AS bigint), 0)
ORDER BY receipt_id LIMIT :most
"""
MOST_PATHS = 1000
"""So many at once; a CDN limits how many one call may name."""


@dag(
    dag_id="asset_changes_example_cdn",
    dag_display_name="Example: a CDN",
    description="Wakes when files are gone and would take them out of a cache",
    doc_md=_DOC,
    schedule=[PURGED_ASSET],
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    tags=[TAG, "example"],
    default_args=DEFAULT_ARGS,
)
def example_cdn() -> None:
    @task(multiple_outputs=False)
    def invalidate() -> dict[str, Any]:
        """Take out of the cache what is gone since the last run."""
        from asset_changes.settings import Settings
        from asset_changes.warehouse.engine import transaction
        from getty_images.resources import warehouse_of
        from sqlalchemy import text

        cursors = json.loads(Variable.get(CURSORS, default="{}"))
        log, count = logging.getLogger("asset_changes.example"), 0
        with warehouse_of(Settings.from_environment()) as engine:
            while True:
                with transaction(engine) as connection:
                    values = {"cursors": json.dumps(cursors), "most": MOST_PATHS}
                    receipts = connection.execute(text(RECEIPTS), values).all()
                if not receipts:
                    break
                paths = sorted({f"/{each.store}/{each.key}" for each in receipts})
                log.info("Would invalidate %d paths, the first is %s", len(paths), paths[0])  # your work goes here
                count += len(paths)
                cursors |= {each.store: each.receipt_id for each in receipts}
                Variable.set(CURSORS, json.dumps(cursors))
        return {"paths": count, "cursors": cursors}

    invalidate()


example_cdn()
