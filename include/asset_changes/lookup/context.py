"""What lookups work with, and what they hand to each other in memory."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Engine

from asset_changes.clock import Clock, system_clock
from asset_changes.warehouse.asset_metadata import Metadata


class Answer(Protocol):
    """What Getty says of the assets of one call."""

    @property
    def found(self) -> Mapping[str, Mapping[str, Any]]:
        """The objects as received, by id as it was asked."""
        ...

    @property
    def not_found(self) -> frozenset[str]:
        """What was said to be not found; what is in neither was not answered."""
        ...

    @property
    def as_of(self) -> datetime:
        """Of when the answer is."""
        ...

    @property
    def expires_at(self) -> datetime:
        """Until when Getty gives the same answer again."""
        ...


class LookupSource(Protocol):
    """Whoever answers lookups: the client of one connection, or a double of it."""

    @property
    def refused_fields(self) -> frozenset[str]:
        """Fields that were refused and are left out."""
        ...

    def look_up(
        self,
        asset_ids: Sequence[str],
        *,
        asset_type: str | None,
        language: str = "en-US",
        without: Collection[str] = (),
    ) -> Answer:
        """Ask about at most 100 assets of one type, without these fields."""
        ...

    def close(self) -> None:
        """Give up its connections."""
        ...


@dataclass(frozen=True, kw_only=True)
class LookupContext:
    """What the loop works with.

    `client` makes the source of a connection; it gets the connection's id, and what to call before every
    HTTP call. `connections` says which channels' assets are asked with each. `holder` names the run: a run of
    the same name takes over from one that died.
    """

    warehouse: Engine
    client: Callable[[str, Callable[[], None]], LookupSource]
    read_metadata: Callable[[Mapping[str, Any]], Metadata]
    connections: Mapping[str, frozenset[int]]
    holder: str
    language: str = "en-US"
    calls_per_second: float = 1
    calls_per_day: int = 10_000
    clock: Clock = system_clock
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
