"""The words of the domain as frozen data."""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

MAX_BATCH_SIZE = 2200
"""Most changes that Getty puts into one change set (its OpenAPI file: "Maximum batch size is 2200")."""

APPROVAL_LASTS = timedelta(hours=72)
"""How long a person can answer what waits for approval, and how long a plan of a purge can be carried out."""


class Lifecycle(enum.StrEnum):
    """What a change says of its asset."""

    NEW = "New"
    UPDATE = "Update"
    DELETE = "Delete"


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One stream of changes: an asset type of an asset family."""

    channel_id: int
    asset_family: str
    asset_type: str
    lifecycles: str | None = None
    started_at: datetime | None = None


MUSIC = "Music"
SOUND_WORDS = ("audio", "music", "song", "sound", "track")
"""Types, in lower case, for which Getty has no lookup: that one is not found says nothing."""


class Message(NamedTuple):
    """One message of a change set as Getty sent it, its spelling made uniform.

    `reason` says why the message is rejected, else it is None. `changed_at` is None where the
    message has no usable time; `raw` is the message as it was read.
    """

    asset_id: str | None
    lifecycle: str | None
    asset_type: str | None
    changed_at: datetime | None
    uri: str | None
    reason: str | None
    raw: Any


class Messages(NamedTuple):
    """The messages of a change set in feed order, as columns of one length: those of Message.

    A set is read, cleaned and written column by column, which costs a third of doing so message by
    message; `rows` gives them one by one.
    """

    asset_id: list[str | None]
    lifecycle: list[str | None]
    asset_type: list[str | None]
    changed_at: list[datetime | None]
    uri: list[str | None]
    reason: list[str | None]
    raw: list[Any]

    @property
    def rows(self) -> list[Message]:
        """The messages one by one."""
        return list(map(Message, *self))


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery of a change set: an answer to a PUT that was whole, or its body from the archive.

    `body` is what came over the wire, `document` the same read as JSON, where the client has read it.
    `received_at` is when it came, by the warehouse's clock; `server_time` is the answer's `Date` where
    Getty's clock is ahead of that: a change is not from the future if Getty's clock says so.
    """

    body: bytes
    received_at: datetime
    status: int | None = None
    document: Any = None
    server_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeSet:
    """What one delivery of a change set says: its id, its messages in feed order, and when it came.

    No time after `latest_time` is believed. `content_hash` is the same for all deliveries that contain
    the same messages, in any order and spelling.
    """

    change_set_id: str
    messages: Messages
    received_at: datetime
    latest_time: datetime
    content_hash: str


@dataclass(frozen=True, kw_only=True)
class ChangeSetRef:
    """Which change set, and where its body is: what the tasks pass on.

    `fetched_at` is the time of the first delivery, also on a redelivery: it is part of the key of
    the log.
    """

    channel_id: int
    change_set_id: str
    fetched_at: datetime
    archive_uri: str


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many changes of one set came to what; `changes` is always the sum of the others.

    They describe the set alone: a superseded change is one that a newer change of the same asset
    in the same set makes void.
    """

    new: int = 0
    update: int = 0
    delete: int = 0
    superseded: int = 0
    rejected: int = 0

    @property
    def changes(self) -> int:
        """The number of messages in the set."""
        return self.new + self.update + self.delete + self.superseded + self.rejected

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name: count + getattr(other, name) for name, count in vars(self).items()})

    def __str__(self) -> str:
        return (
            f"changes={self.changes} new={self.new} updates={self.update} deletes={self.delete} "
            f"superseded={self.superseded} rejected={self.rejected}"
        )


class RejectedChange(NamedTuple):
    """A message that cannot be applied, in the column order of `rejected_changes`."""

    position: int
    reason: str
    asset_id: str | None
    asset_lifecycle: str | None
    raw: str


LOG_KEY = ("fetched_at", "channel_id", "change_set_id", "position")
"""The key of the log: of which set a message is, and its place there."""
LOG_COLUMNS = (
    *LOG_KEY,
    "asset_id",
    "asset_lifecycle",
    "asset_type",
    "changed_at",
    "is_time_inferred",
    "uri",
)
"""The columns of a prepared row, in order: those of the log without `loaded_at`."""


@dataclass(frozen=True, kw_only=True)
class PreparedSet:
    """A change set that is ready to load.

    `rows` are the valid changes as CSV (UTF-8) in the order of `LOG_COLUMNS`; `rejected` the others.
    `deliveries` has one pair per delivery that brought something: the position of its first message,
    and when it came. `content_hash` is that of all messages together.
    """

    rows: bytes
    rejected: tuple[RejectedChange, ...]
    deliveries: tuple[tuple[int, datetime], ...]
    counts: Counts
    content_hash: str
    oldest_change_at: datetime | None
    newest_change_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Getty's answer to a confirmation.

    `is_known` is False where Getty does not know the set (404); `tries` counts the requests sent,
    for an earlier one may have confirmed the set although its answer was lost.
    """

    is_known: bool
    tries: int
