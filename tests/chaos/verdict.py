"""What a warehouse has lost, doubled and brought back from the dead, measured against the feed's own truth."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

_IN_A_SET = ("channel_id", "change_set_id", "position")
KEYS = {
    "asset_states": ("asset_id",),
    "assets": ("asset_id",),
    "deleted_assets": ("asset_id",),
    "change_sets": ("channel_id", "change_set_id"),
    "asset_changes": _IN_A_SET,
    "rejected_changes": _IN_A_SET,
    "deletions": _IN_A_SET,
}
"""The tables and views that are compared row by row, and what tells their rows apart."""

# Whatever is in these must be none.
_LOST = {
    "sets in the ledger are not loaded": "SELECT count(*) FROM change_sets WHERE loaded_at IS NULL",
    "loaded sets have no number, or one above their channel's last": (
        "SELECT count(*) FROM change_sets JOIN channels USING (channel_id)"
        " WHERE loaded_at IS NOT NULL AND coalesce(channel_seq > last_channel_seq, true)"
    ),
}
_DOUBLED = {
    "rows stand under another time than their set's": (
        "SELECT count(*) FROM asset_changes AS kept JOIN change_sets USING (channel_id, change_set_id)"
        " WHERE kept.fetched_at <> change_sets.fetched_at"
    ),
    "Deletes came before their set": (
        "SELECT count(*) FROM deletions JOIN change_sets USING (channel_id, change_set_id)"
        " WHERE received_at < fetched_at"
    ),
}


@dataclass(kw_only=True)
class Verdict:
    """How many rows went wrong, in each way, and the first of them in words."""

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

    @property
    def is_clean(self) -> bool:
        """Whether nothing is lost, doubled or back from the dead."""
        return not (self.lost or self.doubled or self.resurrected)

    def __str__(self) -> str:
        return f"lost={self.lost} doubled={self.doubled} resurrected={self.resurrected}"


def judge(connection: Connection, truth: dict[str, Any]) -> Verdict:
    """Compare every row of every table with the truth of the sets that were confirmed."""
    verdict = Verdict(
        redelivered=connection.scalar(text("SELECT coalesce(sum(redelivered_count), 0) FROM change_sets")) or 0,
        sets=len(truth["change_sets"]),
        changes=sum(each["change_count"] for each in truth["change_sets"]),
    )
    for table in KEYS:
        verdict += _judge_table(connection, table, truth[table])
    for what, query in _LOST.items():
        if count := int(connection.scalar(text(query)) or 0):
            verdict += Verdict(lost=count, examples=[f"{count} {what}"])
    for what, query in _DOUBLED.items():
        if count := int(connection.scalar(text(query)) or 0):
            verdict += Verdict(doubled=count, examples=[f"{count} {what}"])
    return verdict


def _judge_table(connection: Connection, table: str, told: list[dict[str, Any]]) -> Verdict:
    """A row that is missing or says something else is lost; one too many is doubled, or lives and must not."""
    verdict, found = Verdict(), defaultdict(list)
    for row in _rows(connection, table, list(told[0]) if told else KEYS[table]):
        found[_key(table, row)].append(row)
    for each in told:
        rows = found.pop(_key(table, each), [])
        verdict.doubled += max(0, len(rows) - 1)
        if not any(_says(row, each) for row in rows):
            verdict.lost += 1
            verdict.examples.append(f"{table} lacks {each} and has {rows}")
    for key, rows in found.items():
        verdict.examples.append(f"{table} has {rows}, out of nowhere, at {key}")
        if table == "assets":
            verdict.resurrected += len(rows)
        else:
            verdict.doubled += len(rows)
    return verdict


def _says(row: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether a row is as it is told; what was held at a Delete is not told where the order of channels decides."""
    return row == told or (told.get("was_held", "") is None and row | {"was_held": None} == told)


def _key(table: str, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS[table])


def _rows(connection: Connection, table: str, columns: list[str] | tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for row in connection.execute(text(f"SELECT {', '.join(columns)} FROM {table}")).mappings():
        yield {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """A value as the truth writes it in JSON."""
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def judge_archive(connection: Connection) -> Verdict:
    """Whatever the ledger knows of is in the archive, a folder, as a whole object: what is not is lost."""
    verdict = Verdict()
    for row in connection.execute(text("SELECT archive_uri, change_set_id, loaded_at, change_count FROM change_sets")):
        try:
            held = json.loads(gzip.decompress(Path(row.archive_uri.removeprefix("file://")).read_bytes()))
        except (OSError, EOFError, ValueError) as error:
            held = {"change_set_id": error, "changed_assets": []}
        is_whole = row.loaded_at is None or len(held["changed_assets"]) == row.change_count
        if held["change_set_id"] != row.change_set_id or not is_whole:
            verdict += Verdict(lost=1, examples=[f"{row.archive_uri} does not hold the set: {held!s:.80}"])
    return verdict


def judge_confirmed(connection: Connection, change_set_ids: Iterable[str]) -> Verdict:
    """What Getty has forgotten is loaded: what is not is lost."""
    loaded = set(connection.scalars(text("SELECT change_set_id FROM change_sets WHERE loaded_at IS NOT NULL")))
    lost = [each for each in change_set_ids if each not in loaded]
    return Verdict(lost=len(lost), examples=[f"change set {each} is confirmed and not loaded" for each in lost])
