"""An example to copy: wake when a channel has loaded something, and read on from where the last run ended."""

import json
import logging
from typing import Any

from airflow.sdk import AssetAny, Variable, dag, task
from asset_changes.channel_registry import VARIABLE, ChannelEntry, read
from getty_images.assets import channel_asset
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

CURSORS = "asset_changes_example_cursors"

_DOC = """
Shows how a consumer follows the warehouse. It wakes on the assets of the channels, which `load` and `catch_up` update,
and reads the change sets past its own cursor, a `channel_seq` per channel kept in the Variable
`asset_changes_example_cursors`.

* **The event only starts a run.** Airflow may join several events into one run, so the cursor says what to read.
* **A change set may come again**, with more messages or read differently: it then has a new number. Replace what you
  have of it.
* **What is live** is what the view `assets` says, never the order in which changes arrive.
* **The cursor moves last**, after the work is done: a run that dies is done again. Make the work bear that; best keep
  the cursor where the results are, and move it in the same transaction.
* **What it does**: keeps, of the newest 20 sets of each channel, how many of their assets are live and how many are
  gone. Put your search index, your image store or your files here.
* **What it writes**: the Variable alone.
* **To read everything again**, delete the Variable.
* **When it is red**, the last line of its log says why; the next run reads on from the same cursor.
"""

LIVE = "SELECT count(*) FROM assets WHERE asset_id = ANY (:asset_ids)"
KEPT_SETS = 20


def channel_ids() -> list[int]:
    """Return the channels that the installation knows; none yet is fine for an example."""
    entries = read(Variable.get(VARIABLE, default="[]"))
    return [entry.channel.channel_id for entry in entries if isinstance(entry, ChannelEntry) and not entry.retired_at]


known = channel_ids()


@dag(
    dag_id="asset_changes_example_downstream",
    dag_display_name="Example: a consumer",
    description="Wakes on the channels' assets and reads on by channel_seq",
    doc_md=_DOC,
    schedule=AssetAny(*(channel_asset(channel_id) for channel_id in known)) if known else None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    tags=[TAG, "example"],
    default_args=DEFAULT_ARGS,
)
def example_downstream() -> None:
    @task(multiple_outputs=False)
    def read_on() -> dict[str, Any]:
        """Read what each channel has loaded since the last run."""
        from asset_changes.settings import Settings
        from asset_changes.warehouse.changes import changed_sets_after
        from asset_changes.warehouse.engine import transaction
        from getty_images.resources import warehouse_of
        from sqlalchemy import text

        kept = json.loads(Variable.get(CURSORS, default="{}"))
        read = 0
        with warehouse_of(Settings.from_environment()) as engine, transaction(engine) as connection:
            for channel_id in known:
                mine = kept.setdefault(str(channel_id), {"cursor": 0, "sets": {}})
                for changed in list(changed_sets_after(connection, channel_id, mine["cursor"])):
                    asset_ids = {change.asset_id for change in changed.changes}  # your work goes here
                    live = connection.scalar(text(LIVE), {"asset_ids": [*asset_ids]}) or 0
                    mine["sets"].pop(changed.change_set_id, None)  # replaced, should it have come before
                    mine["sets"][changed.change_set_id] = {"live": live, "gone": len(asset_ids) - live}
                    mine["cursor"] = changed.channel_seq
                    read += 1
                mine["sets"] = dict(list(mine["sets"].items())[-KEPT_SETS:])
        Variable.set(CURSORS, json.dumps(kept))
        logging.getLogger("asset_changes.example").info("Read on: channels=%d sets=%d", len(known), read)
        return {"sets": read, "cursors": {channel_id: each["cursor"] for channel_id, each in kept.items()}}

    read_on()


example_downstream()
