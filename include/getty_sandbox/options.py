"""Every switch of the sandbox, with its default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

KEYS = ("snake", "camel", "pascal")
CHANNELS_SHAPES = ("bare", "wrapped")
EMPTY_SHAPES = ("body", "null", "braces", "204", "no-id", "whitespace", "id-empty-list")
OVER_MAXIMUM = ("cap", "refuse")
NONE_FOUND = ("list", "null", "404")
REFUSALS = ("named", "unnamed")
MAXIMUM_BATCH_SIZE = 2200


class SandboxError(ValueError):
    """The sandbox cannot do what it was asked; the text is a sentence for a person."""


@dataclass(frozen=True)
class Channel:
    """One notification channel, as Getty sells them: one family, one type."""

    channel_id: int
    asset_family: str
    asset_type: str


DEFAULT_CHANNELS = (
    Channel(3001, "Editorial", "Image"),
    Channel(3002, "Creative", "Image"),
    Channel(3003, "Editorial", "Film"),
    Channel(3004, "Creative", "Film"),
)


def utc_now() -> datetime:
    """The present, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a sandbox is made of; `python -m getty_sandbox serve --help` explains each."""

    host: str = "127.0.0.1"
    port: int = 0
    state_dir: Path | None = None

    seed: int = 1
    channels: Sequence[Channel] = DEFAULT_CHANNELS
    changes_per_channel: int = 20_000
    start: datetime | None = None
    span_days: float = 10.0
    trickle_per_minute: float = 0.0
    nastiness: float = 1.0

    keys: str = "snake"
    channels_shape: str = "bare"
    empty: str = "body"
    identical_redelivery: bool = True
    over_maximum: str = "cap"
    retention_days: float | None = None
    first_change_set_id: int | None = None

    lookups_allowed: bool = True
    lookups_per_second: int | None = None
    lookup_max_age: int = 0
    unlicensed_share: float = 0.0
    unanswered_share: float = 0.0
    refuse_fields: Sequence[str] = ()
    refusal: str = "named"
    none_found: str = "list"

    latency_ms: float = 0.0
    fault_rate: float = 0.0
    faults: Sequence[str] = ()
    retry_after_seconds: int = 1
    slow_body_seconds: float = 0.3

    client_id: str = "sandbox-key"
    client_secret: str = "sandbox-secret"  # noqa: S105 - a made-up secret of a test double
    username: str = "sandbox-user"
    password: str = "sandbox-password"  # noqa: S105 - likewise
    token_lifetime: int = 1800
    expires_in_as_text: bool = False

    verbose: bool = False
    clock: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        """Refuse what cannot work, in sentences."""
        self._one_of("keys", self.keys, KEYS)
        self._one_of("channels_shape", self.channels_shape, CHANNELS_SHAPES)
        self._one_of("empty", self.empty, EMPTY_SHAPES)
        self._one_of("over_maximum", self.over_maximum, OVER_MAXIMUM)
        self._one_of("none_found", self.none_found, NONE_FOUND)
        self._one_of("refusal", self.refusal, REFUSALS)
        for name in ("fault_rate", "unlicensed_share", "unanswered_share"):
            if not 0 <= getattr(self, name) <= 1:
                words = name.replace("_", " ")
                raise SandboxError(f"The {words} is a share from 0 to 1, not {getattr(self, name)}.")
        if self.lookup_max_age < 0 or (self.lookups_per_second is not None and self.lookups_per_second < 1):
            raise SandboxError("Lookups are limited to 1 per second or more, and answers kept for 0 seconds or more.")
        if self.changes_per_channel < 0 or self.trickle_per_minute < 0 or self.nastiness < 0:
            raise SandboxError("Changes per channel, trickle and nastiness cannot be negative.")
        if self.span_days <= 0:
            raise SandboxError("The backlog needs a span of more than 0 days.")
        if len({channel.channel_id for channel in self.channels}) != len(self.channels):
            raise SandboxError("Two channels have the same id.")
        if self.start is not None:
            if self.start.tzinfo is None:
                raise SandboxError("The start of the feed needs a zone, such as 2026-01-31T00:00:00Z.")
            if self.start + timedelta(days=self.span_days) > self.clock():
                raise SandboxError("The feed would reach into the future: start earlier, or span fewer days.")

    @staticmethod
    def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            raise SandboxError(f"{name} is one of {', '.join(allowed)}, not {value!r}.")
