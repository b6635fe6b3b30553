"""A worker whose machine's clock is wrong; what time it is the core knows from the warehouse."""

import sys
import time
from datetime import datetime, timedelta, tzinfo


def shift_clock(error: timedelta) -> None:
    """Let every module of the core see a clock that is wrong, as if it were the machine's.

    What the modules take for the clock is replaced from outside: the class itself is shared with compiled libraries,
    which do not bear that.
    """

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Wrong":
            return datetime.now(tz) + error  # type: ignore[return-value]

    for name, module in list(sys.modules.items()):
        if name.startswith("asset_changes") and getattr(module, "datetime", None) is datetime:
            module.datetime = Wrong  # type: ignore[attr-defined]
    right = time.time
    time.time = lambda: right() + error.total_seconds()
