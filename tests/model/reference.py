"""The reference model: what the tables must hold after given change sets, whatever the order of arrival."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES

CHANNELS = {channel.channel_id: channel for channel in (EDITORIAL_IMAGES, EDITORIAL_FILM)}
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


class Message(NamedTuple):
    """A change, so many seconds after `DAY`; one without an asset must be rejected."""

    asset_id: str | None
    lifecycle: str
    second: int


@dataclass
class HandedOut:
    """A change set at Getty, and what is known of it from outside of the core.

    `sizes` are the numbers of messages that it had each time it was handed out, `loaded` how many the warehouse has;
    `is_taken` says that another consumer confirmed it.
    """

    channel_id: int
    change_set_id: str
    messages: list[Message] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)
    loaded: int = 0
    is_taken: bool = False


def registers(sets: Iterable[HandedOut]) -> dict[str, tuple[Any, Any]]:
    """Return the newest upsert and the newest Delete of each asset."""
    upserts: dict[str, Any] = {}
    deletes: dict[str, Any] = {}
    for each in sets:
        for position, (asset_id, lifecycle, second) in enumerate(each.messages):
            if asset_id is not None:
                register = deletes if lifecycle == "Delete" else upserts
                version = (second, len(each.change_set_id), each.change_set_id, position, each.channel_id, lifecycle)
                register[asset_id] = max(register.get(asset_id, version), version)
    return {asset_id: (upserts.get(asset_id), deletes.get(asset_id)) for asset_id in upserts | deletes}


def deleted_ids(sets: Iterable[HandedOut]) -> set[str]:
    """Return the assets whose newest message is a Delete; on equal times the Delete is the newest."""
    newest: dict[str, tuple[int, bool]] = {}
    for asset_id, lifecycle, second in (message for each in sets for message in each.messages):
        if asset_id is not None:
            newest[asset_id] = max(newest.get(asset_id, (0, False)), (second, lifecycle == "Delete"))
    return {asset_id for asset_id, (_, is_deleted) in newest.items() if is_deleted}


def expected_state(upsert: Any, delete: Any) -> dict[str, Any]:
    """Return the row of `asset_states` for two registers."""
    described = upsert or delete
    channel = CHANNELS[described[4]]
    return {
        "asset_type": channel.asset_type if upsert else None,
        "asset_family": channel.asset_family,
        "channel_id": channel.channel_id,
        "asset_lifecycle": upsert and upsert[5],
        "upserted_at": upsert and DAY + timedelta(seconds=upsert[0]),
        "upsert_change_set_id": upsert and upsert[2],
        "upsert_position": upsert and upsert[3],
        "deleted_at": delete and DAY + timedelta(seconds=delete[0]),
        "delete_change_set_id": delete and delete[2],
        "delete_position": delete and delete[3],
    }


EVIDENCE = {
    "asset_changes": "asset_id, asset_lifecycle, changed_at, is_time_inferred",
    "rejected_changes": "asset_id, asset_lifecycle, reason",
    "deletions": "asset_id, deleted_at",
}
"""The tables that keep each message, and their columns that `evidence` predicts."""


def evidence(sets: Iterable[HandedOut]) -> dict[str, list[Any]]:
    """Return the rows of the log, the rejected changes and the deletions of these sets, by set and position."""
    rows: dict[str, list[Any]] = {table: [] for table in EVIDENCE}
    for each in sets:
        for position, (asset_id, lifecycle, second) in enumerate(each.messages):
            key, at = (each.channel_id, each.change_set_id, position), DAY + timedelta(seconds=second)
            if asset_id is None:
                rows["rejected_changes"].append((*key, None, lifecycle, "unusable_id"))
                continue
            rows["asset_changes"].append((*key, asset_id, lifecycle, at, False))
            if lifecycle == "Delete":
                rows["deletions"].append((*key, asset_id, at))
    return {table: sorted(found, key=repr) for table, found in rows.items()}
