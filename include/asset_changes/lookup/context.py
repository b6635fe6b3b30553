"""What lookups work with, and what they hand to each other in memory."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Engine

from asset_changes.clock import Clock, system_clock
from asset_changes.getty_api.lookup import LookupAnswer


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
        ids_only: bool = False,
        with_token: bool = True,
    ) -> LookupAnswer:
        """Ask about at most 100 assets of one type, without these fields, or only whether there are such assets."""
        ...

    def close(self) -> None:
        """Give up its connections."""
        ...


class SourceOfConnection(Protocol):
    """Makes the source of a connection; it calls back before every HTTP call, and when Getty asks for fewer."""

    def __call__(
        self, conn_id: str, /, *, before_call: Callable[[], None], on_throttled: Callable[[], None]
    ) -> LookupSource:
        """Return the source of this connection; whoever asks closes it."""
        ...


@dataclass(frozen=True, kw_only=True)
class LookupContext:
    """What the loop works with.

    `connections` says which channels' assets are asked with each. `holder` names the run: a run of
    the same name takes over from one that died. `metadata` says whether what Getty says is stored;
    `reconciles`, whether there are reconciliations to which what is not found can be left.
    """

    warehouse: Engine
    client: SourceOfConnection
    connections: Mapping[str, frozenset[int]]
    holder: str
    metadata: bool = True
    reconciles: bool = True
    language: str = "en-US"
    calls_per_second: float = 1
    calls_per_day: int = 10_000
    clock: Clock = system_clock
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
