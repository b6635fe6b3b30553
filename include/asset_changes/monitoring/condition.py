"""What a condition of the watchdog is: what it means, the query that finds it, and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from asset_changes.monitoring.settings import WatchSettings

NO_CHANNEL = 0
"""In place of a channel's id: the condition is that of a DAG such as *Look up assets*, whatever the channel."""


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """What a condition is checked with; `lookups_per_day` is None where Getty is never asked about assets."""

    connection: Connection
    settings: WatchSettings
    now: datetime
    confirms: bool = True
    lookups_per_day: int | None = None
    keeps_metadata: bool = True


Row = Mapping[str, Any]
"""`channel_id`, `since`, and whatever else the condition's sentence names."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that must not be.

    `says` is what the channel does or has, with the names of the row and `span` (from `since` to now); `over` what is
    said of its end. `query` may name `:now` and every threshold without its unit. `needs_confirming` says that the
    condition is meaningless where nothing is confirmed, `needs_lookups` where Getty is never asked about assets: such a
    query may name `:lookups_per_day` and `:keeps_metadata`. Where `has_channel` is false, the query returns
    `NO_CHANNEL` as its channel, and the sentence is said of the DAG `dag_name`.
    """

    name: str
    title: str
    says: str
    next_step: str
    query: str
    over: str = "is over"
    needs_confirming: bool = False
    needs_lookups: bool = False
    has_channel: bool = True
    dag_name: str = "Look up assets"

    def check(self, context: CheckContext) -> Sequence[Row]:
        """Return a row for each channel for which it is true."""
        has_lookups = context.lookups_per_day is not None
        if (self.needs_confirming and not context.confirms) or (self.needs_lookups and not has_lookups):
            return []
        statement = text(self.query)
        known = {name: getattr(context, name) for name in ("now", "lookups_per_day", "keeps_metadata")}
        known |= context.settings.parameters()
        values = {name: known[name] for name in statement.compile().params}
        return [dict(row) for row in context.connection.execute(statement, values).mappings()]
