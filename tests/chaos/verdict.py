"""What a warehouse has lost, doubled and brought back from the dead, measured against the feed's own truth."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

_STATE = (
    "asset_id, asset_type, asset_family, channel_id, asset_lifecycle, upserted_at, upsert_change_set_id, "
    "upsert_position, deleted_at, delete_change_set_id, delete_position"
)
_COUNTS = ("change_count", "new_count", "update_count", "delete_count", "superseded_count", "rejected_count")


@dataclass(kw_only=True)
class Verdict:
    """How many things went wrong, of each kind, and the first of them in words."""

    redelivered: int = 0
    sets: int = 0
    changes: int = 0
    lost: int = 0
    doubled: int = 0
    resurrected: int = 0
    examples: list[str] = field(default_factory=list)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            redelivered=self.redelivered + other.redelivered,
            sets=self.sets + other.sets,
            changes=self.changes + other.changes,
            lost=self.lost + other.lost,
            doubled=self.doubled + other.doubled,
            resurrected=self.resurrected + other.resurrected,
            examples=(self.examples + other.examples)[:12],
        )


def judge(connection: Connection, truth: dict[str, Any]) -> Verdict:
    """Compare every table with the truth of the sets that were confirmed."""
    redelivered = connection.scalar(text("SELECT coalesce(sum(redelivered_count), 0) FROM change_sets"))
    changes = sum(each["change_count"] for each in truth["change_sets"])
    return (
        Verdict(redelivered=redelivered or 0, sets=len(truth["change_sets"]), changes=changes)
        + _judge_assets(connection, truth)
        + _judge_sets(connection, truth)
        + _judge_evidence(connection)
    )


def _judge_assets(connection: Connection, truth: dict[str, Any]) -> Verdict:
    """A state that is missing or differs is a change lost; one that lives and must not, a resurrection."""
    verdict = Verdict()
    living = {row.asset_id for row in connection.execute(text("SELECT asset_id FROM assets"))}
    for asset_id in living - {each["asset_id"] for each in truth["assets"]}:
        verdict.resurrected += 1
        verdict.examples.append(f"{asset_id!r} lives")
    found = {
        row.asset_id: _spelled(row._mapping) for row in connection.execute(text(f"SELECT {_STATE} FROM asset_states"))
    }
    for each in truth["asset_states"]:
        if found.pop(each["asset_id"], None) != each:
            verdict.lost += 1
            verdict.examples.append(f"the state of {each['asset_id']!r} is not {each}")
    verdict.doubled += len(found)
    verdict.examples += [f"{asset_id!r} has a state out of nowhere" for asset_id in found]
    return verdict


def _judge_sets(connection: Connection, truth: dict[str, Any]) -> Verdict:
    """Each confirmed set is in the ledger as loaded, its counts are right, and each message stands once."""
    verdict = Verdict()
    rows = connection.execute(
        text(
            "SELECT change_sets.*, coalesce(logged, 0) AS logged, coalesce(copies, 0) AS copies,"
            " coalesce(rejected, 0) AS rejected FROM change_sets"
            " LEFT JOIN (SELECT channel_id, change_set_id, count(DISTINCT position) AS logged,"
            "  count(*) - count(DISTINCT position) AS copies FROM asset_changes GROUP BY 1, 2) AS log"
            "  USING (channel_id, change_set_id)"
            " LEFT JOIN (SELECT channel_id, change_set_id, count(*) AS rejected FROM rejected_changes GROUP BY 1, 2)"
            "  AS rejects USING (channel_id, change_set_id)"
        )
    )
    ledger = {(row.channel_id, row.change_set_id): row._mapping for row in rows}
    for each in truth["change_sets"]:
        key = (each["channel_id"], each["change_set_id"])
        row = ledger.pop(key, None)
        if row is None or row["loaded_at"] is None:
            verdict.lost += 1
            verdict.examples.append(f"change set {key} is confirmed and not loaded")
            continue
        held, told = row["logged"] + row["rejected"], each["change_count"]
        verdict.lost += max(0, told - held)
        verdict.doubled += max(0, held - told) + row["copies"]
        if held != told or any(row[name] != each[name] for name in _COUNTS):
            verdict.doubled += held == told
            verdict.examples.append(f"change set {key} holds {held} changes of {told}, its counts are {dict(row)}")
    verdict.doubled += len(ledger)
    verdict.examples += [f"change set {key} is in the ledger and was never confirmed" for key in ledger]
    return verdict


def _judge_evidence(connection: Connection) -> Verdict:
    """Each Delete of the log has its evidence, and the sequences have no gap."""
    verdict = Verdict()
    told = connection.scalar(text("SELECT count(*) FROM asset_changes WHERE asset_lifecycle = 'Delete'")) or 0
    kept = connection.scalar(text("SELECT count(*) FROM deletions")) or 0
    gaps = connection.scalar(
        text(
            "SELECT coalesce(sum(top - n), 0) FROM"
            " (SELECT max(channel_seq) AS top, count(channel_seq) AS n FROM change_sets GROUP BY channel_id) AS each"
        )
    )
    verdict.lost += max(0, told - kept) + max(0, int(gaps or 0))
    verdict.doubled += max(0, kept - told)
    return verdict


def _spelled(row: Any) -> dict[str, Any]:
    """Return a row with its times as the truth spells them."""
    return {
        name: value.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00") if hasattr(value, "strftime") else value
        for name, value in row.items()
    }
