"""The one clock that all workers share.

A change whose time lies ahead of its delivery is not believed: a worker whose own clock is behind would
take what is fresh for nonsense.
"""

import time
from datetime import datetime, timedelta

from sqlalchemy import Engine, text

from asset_changes.warehouse.engine import transaction


class WarehouseClock:
    """The warehouse's clock: asked the first time, then counted on, so that no jump of this machine's matters."""

    def __init__(self, warehouse: Engine) -> None:
        self._warehouse = warehouse
        self._asked: tuple[datetime, float] | None = None

    def __call__(self) -> datetime:
        """Return the present, in UTC."""
        if self._asked is None:
            with transaction(self._warehouse) as connection:
                asked = connection.execute(text("SELECT clock_timestamp()"))
                self._asked = (asked.scalar_one(), time.monotonic())
        then, counter = self._asked
        return then + timedelta(seconds=time.monotonic() - counter)
