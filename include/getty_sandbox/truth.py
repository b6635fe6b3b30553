"""What a warehouse must look like after given change sets: a small model, written apart from any client."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from getty_sandbox.decode import Change, DeliveredSet, Rejected, read_set
from getty_sandbox.options import Channel

_COUNTED = ("new", "update", "delete", "superseded", "rejected")


class Registers(NamedTuple):
    """What is known of one asset: its newest upsert and its newest Delete."""

    upsert: Change | None = None
    delete: Change | None = None

    def with_change(self, change: Change) -> Registers:
        """The registers after one more change, in whatever order changes come."""
        if change.lifecycle == "Delete":
            return self._replace(delete=max(self.delete or change, change))
        return self._replace(upsert=max(self.upsert or change, change))

    @property
    def is_live(self) -> bool:
        """On equal times the Delete wins."""
        return self.upsert is not None and (self.delete is None or self.upsert.at > self.delete.at)


def truth_of(channels: Iterable[Channel], sets: Iterable[DeliveredSet]) -> dict[str, Any]:
    """The tables and views, as JSON-ready rows, and the counts per channel; assets are sorted by id."""
    per_channel = {str(c.channel_id): {"sets": 0, "changes": 0, **dict.fromkeys(_COUNTED, 0)} for c in channels}
    registers: dict[str, Registers] = {}
    channels_of_asset: dict[str, set[int]] = defaultdict(set)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("change_sets", "asset_changes", "rejected_changes")}
    deletions: list[dict[str, Any]] = []
    for delivered in sets:
        found = read_set(delivered)
        changes = [each for each in found if isinstance(each, Change)]
        key = {"channel_id": delivered.channel.channel_id, "change_set_id": delivered.change_set_id}
        rows["asset_changes"] += [key | _log_row(each) for each in changes]
        rows["rejected_changes"] += [key | _rejected_row(each) for each in found if isinstance(each, Rejected)]
        before = {each.asset_id: registers.get(each.asset_id, Registers()) for each in changes}
        for change in changes:
            registers[change.asset_id] = registers.get(change.asset_id, Registers()).with_change(change)
            channels_of_asset[change.asset_id].add(change.channel.channel_id)
        for change in changes:
            if change.lifecycle == "Delete":
                both = before[change.asset_id], registers[change.asset_id]
                was_held = None if delivered.may_have_grown else _ended_a_live_state(change, *both)
                deletions.append(key | _deletion(change, was_held=was_held))
        counts = _count(changes) | {"rejected": len(found) - len(changes)}
        rows["change_sets"].append(key | _counted(changes, counts, change_count=len(found)))
        _add(per_channel[str(delivered.channel.channel_id)], {"sets": 1, "changes": len(found), **counts})
    for row in deletions:
        # Channels are loaded in any order: what was held is certain only where one channel alone has the asset.
        row["was_held"] = row["was_held"] if len(channels_of_asset[row["asset_id"]]) == 1 else None
    states = [(found.is_live, _state(asset_id, found)) for asset_id, found in sorted(registers.items())]
    return {
        "asset_states": [state for _, state in states],
        "assets": [_live_row(state) for is_live, state in states if is_live],
        "deleted_assets": [_deleted_row(state) for is_live, state in states if not is_live],
        "deletions": deletions,
        "channels": per_channel,
        **rows,
    }


def _count(changes: Iterable[Change]) -> Counter[str]:
    """What one set amounts to by itself: per asset one change wins, its other valid ones are superseded."""
    counts = Counter(dict.fromkeys(_COUNTED, 0))
    registers: dict[str, Registers] = {}
    for change in changes:
        before = registers.get(change.asset_id)
        counts["superseded"] += before is not None
        registers[change.asset_id] = (before or Registers()).with_change(change)
    for found in registers.values():
        winner = found.upsert if found.is_live else found.delete
        if winner is not None:
            counts[winner.lifecycle.lower()] += 1
    return counts


def _add(totals: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        totals[name] += count


def _iso(when: datetime | None) -> str | None:
    return when.isoformat(timespec="microseconds") if when else None


def _log_row(change: Change) -> dict[str, Any]:
    return {
        "position": change.position,
        "asset_id": change.asset_id,
        "asset_lifecycle": change.lifecycle,
        "asset_type": change.asset_type,
        "changed_at": _iso(change.at),
        "is_time_inferred": change.is_time_inferred,
        "uri": change.uri,
    }


def _rejected_row(rejected: Rejected) -> dict[str, Any]:
    return {
        "position": rejected.position,
        "reason": rejected.reason,
        "asset_id": rejected.asset_id,
        "asset_lifecycle": rejected.lifecycle,
        "raw": rejected.raw,
    }


def _ended_a_live_state(delete: Change, before: Registers, after: Registers) -> bool:
    """Whether the asset was live before the set of this Delete, dead after it, and not revived behind the Delete."""
    is_ended = before.is_live and not after.is_live
    return is_ended and after.upsert is not None and after.upsert.at <= delete.at


def _deletion(change: Change, *, was_held: bool | None) -> dict[str, Any]:
    """The evidence of a Delete; whether it ended a live state is None where that is not certain."""
    return {
        "position": change.position,
        "asset_id": change.asset_id,
        "deleted_at": _iso(change.at),
        "was_held": was_held,
    }


def _state(asset_id: str, registers: Registers) -> dict[str, Any]:
    upsert, delete = registers
    described_by = upsert or delete
    if described_by is None:  # registers exist because a change did
        raise ValueError(f"no change is known of asset {asset_id!r}")
    return {
        "asset_id": asset_id,
        "asset_type": described_by.asset_type,
        "asset_family": described_by.channel.asset_family,
        "channel_id": described_by.channel.channel_id,
        "asset_lifecycle": upsert and upsert.lifecycle,
        "upserted_at": upsert and _iso(upsert.at),
        "upsert_change_set_id": upsert and upsert.change_set_id,
        "upsert_position": upsert and upsert.position,
        "deleted_at": delete and _iso(delete.at),
        "delete_change_set_id": delete and delete.change_set_id,
        "delete_position": delete and delete.position,
    }


def _live_row(state: dict[str, Any]) -> dict[str, Any]:
    kept = ("asset_id", "asset_type", "asset_family", "channel_id", "asset_lifecycle")
    return {key: state[key] for key in kept} | {
        "changed_at": state["upserted_at"],
        "change_set_id": state["upsert_change_set_id"],
    }


def _deleted_row(state: dict[str, Any]) -> dict[str, Any]:
    kept = ("asset_id", "asset_type", "asset_family", "channel_id", "deleted_at")
    return {key: state[key] for key in kept} | {"change_set_id": state["delete_change_set_id"]}


def _counted(changes: Sequence[Change], counts: dict[str, int], *, change_count: int) -> dict[str, Any]:
    # The time of its arrival, which a Delete without a time gets, is none of the feed's.
    times = [change.at for change in changes if not change.is_time_inferred]
    return {
        "change_count": change_count,
        **{f"{name}_count": counts[name] for name in _COUNTED},
        "oldest_change_at": _iso(min(times, default=None)),
        "newest_change_at": _iso(max(times, default=None)),
    }
