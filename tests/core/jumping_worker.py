"""A worker whose machine's clock is three days slow: `python -m tests.core.jumping_worker`.

What its modules take for the clock is replaced from outside, as a machine's would be for the whole process: the class
itself is shared with compiled libraries, which do not bear that.
"""

import json
import sys
import time
from datetime import datetime, timedelta, tzinfo

from asset_changes.archive import Archive
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import connect
from upath import UPath

from tests.conftest import EDITORIAL_IMAGES, SCHEMA

BACK = timedelta(days=3)


class Jumping(datetime):
    """The time of a machine that is days behind."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Jumping":
        """Return the wrong time."""
        return datetime.now(tz) - BACK  # type: ignore[return-value]


def set_back() -> int:
    """Let every module of the core see that clock; return how many there are."""
    modules = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("asset_changes") and getattr(module, "datetime", None) is datetime:
            module.datetime = Jumping  # type: ignore[attr-defined]
            modules += 1
    right = time.time
    time.time = lambda: right() - BACK.total_seconds()
    return modules


def main() -> None:
    """Catch up once, with what the command line says as JSON."""
    settings = json.loads(sys.argv[1])
    warehouse = connect(settings["warehouse"], schema=SCHEMA)
    clock = WarehouseClock(warehouse)
    context = ChannelContext(
        channel=EDITORIAL_IMAGES,
        source=AssetChangesClient(Credentials(**settings["credentials"]), clock=clock),
        archive=Archive(UPath(settings["archive"])),
        warehouse=warehouse,
        clock=clock,
    )
    assert set_back()
    assert catch_up(context, batch_size=100, minutes=1).is_caught_up


if __name__ == "__main__":
    main()
