"""A Getty for lookups that is passed in: what it knows is a dictionary, what goes wrong is said in advance."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from asset_changes.errors import RateLimited
from asset_changes.getty_api.lookup import LookupAnswer
from asset_changes.lookup.context import LookupContext
from sqlalchemy import Engine

LATER = datetime(2026, 3, 2, tzinfo=UTC)
"""When Getty answers, unless a test says otherwise: after all changes."""


def captions(*asset_ids: str) -> dict[str, Mapping[str, Any]]:
    """Return objects with a caption each."""
    return {asset_id: {"id": asset_id, "caption": f"caption of {asset_id}"} for asset_id in asset_ids}


class EveryAsset(dict[str, Mapping[str, Any]]):
    """Knows every id."""

    def __contains__(self, asset_id: object) -> bool:
        return True

    def __missing__(self, asset_id: str) -> Mapping[str, Any]:
        return captions(asset_id)[asset_id]


@dataclass
class KnowingGetty:
    """Finds what it knows, of the type that it is; the rest is not found, or not answered.

    `unlicensed` it finds without a token alone. `errors` are raised by the next calls, None for a call that works;
    `fails_for` by each call about these assets. `meanwhile` runs while an answer is on the way.
    """

    known: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    videos: frozenset[str] = frozenset()
    unlicensed: frozenset[str] = frozenset()
    unanswered: frozenset[str] = frozenset()
    refused_fields: frozenset[str] = frozenset()
    errors: list[Exception | None] = field(default_factory=list)
    fails_for: dict[str, Exception] = field(default_factory=dict)
    as_of: datetime = LATER
    expires_at: datetime = LATER
    meanwhile: Callable[[], object] = lambda: None
    before_call: Callable[[], None] = lambda: None
    on_throttled: Callable[[], None] = lambda: None
    asked: list[tuple[str | None, tuple[str, ...]]] = field(default_factory=list)
    with_token: list[bool] = field(default_factory=list)
    without: list[frozenset[str]] = field(default_factory=list)
    ids_only: list[bool] = field(default_factory=list)
    is_closed: bool = False

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
        self.before_call()
        self.asked.append((asset_type, tuple(asset_ids)))
        self.with_token.append(with_token)
        self.without.append(frozenset(without))
        self.ids_only.append(ids_only)
        self.meanwhile()
        if self.errors and (error := self.errors.pop(0)):
            if isinstance(error, RateLimited):
                self.on_throttled()
            raise error
        for asset_id in asset_ids:
            if asset_id in self.fails_for:
                raise self.fails_for[asset_id]
        is_video = asset_type in ("Video", "Film")
        hidden = self.unlicensed if with_token else frozenset()
        found = {
            id_: self.known[id_]
            for id_ in asset_ids
            if id_ in self.known and (id_ in self.videos) == is_video and id_ not in hidden
        }
        not_found = frozenset(asset_ids) - frozenset(found) - self.unanswered
        found = {id_: each for id_, each in found.items() if id_ not in self.unanswered}
        unanswered = frozenset(asset_ids) - frozenset(found) - not_found
        return LookupAnswer(
            found=found, not_found=not_found, unanswered=unanswered, as_of=self.as_of, expires_at=self.expires_at
        )

    def close(self) -> None:
        self.is_closed = True


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def lookups(
    warehouse: Engine, getty: KnowingGetty, *, channel_ids: Iterable[int] = (3001, 3003), **more: Any
) -> LookupContext:
    """Return a context that asks this Getty, without waiting."""
    time = more.pop("time", None) or Time()

    def client(_conn_id: str, /, **callbacks: Callable[[], None]) -> KnowingGetty:
        for name, callback in callbacks.items():
            setattr(getty, name, callback)
        return getty

    given: dict[str, Any] = {
        "client": client,
        "connections": {"getty": frozenset(channel_ids)},
        "holder": "run 1",
        "reconciles": False,
        "clock": lambda: LATER + timedelta(minutes=1),
        "sleep": time.sleep,
        "monotonic": time.monotonic,
    }
    return LookupContext(warehouse=warehouse, **(given | more))
