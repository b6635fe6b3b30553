"""What a warehouse has lost, doubled and resurrected, compared with the sandbox's truth."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

_TAKES = timedelta(minutes=1)
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
"""The tables and views that are compared row by row, and the keys of their rows."""

# The count of each must be 0.
_LOST = {
    "Deletes that were not rebuilt do not say what was live": (
        "SELECT count(*) FROM deletions WHERE was_held IS NULL AND NOT is_rebuilt"
    ),
    "sets in the ledger are not loaded": "SELECT count(*) FROM change_sets WHERE loaded_at IS NULL",
    "loaded sets have no number, or one above their channel's last": (
        "SELECT count(*) FROM change_sets JOIN channels USING (channel_id)"
        " WHERE loaded_at IS NOT NULL AND coalesce(channel_seq > last_channel_seq, true)"
    ),
}
_DOUBLED = {
    "rows have another time than their set": (
        "SELECT count(*) FROM asset_changes AS kept JOIN change_sets USING (channel_id, change_set_id)"
        " WHERE kept.fetched_at <> change_sets.fetched_at"
    ),
    "Deletes came before their set": (
        "SELECT count(*) FROM deletions JOIN change_sets USING (channel_id, change_set_id)"
        " WHERE received_at < fetched_at"
    ),
}


@dataclass(kw_only=True)
class Comparison:
    """How many rows are wrong, in each way, with the first examples."""

    redelivered: int = 0
    sets: int = 0
    changes: int = 0
    lost: int = 0
    doubled: int = 0
    resurrected: int = 0
    examples: list[str] = field(default_factory=list)

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(
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


def compare(connection: Connection, truth: dict[str, Any]) -> Comparison:
    """Compare every row of every table with the truth of the sets that were confirmed."""
    comparison = Comparison(
        redelivered=connection.scalar(text("SELECT coalesce(sum(redelivered_count), 0) FROM change_sets")) or 0,
        sets=len(truth["change_sets"]),
        changes=sum(each["change_count"] for each in truth["change_sets"]),
    )
    arrivals = _arrivals(truth)
    for table in KEYS:
        comparison += _compare_table(connection, table, truth[table], arrivals)
    for what, query in _LOST.items():
        if count := int(connection.scalar(text(query)) or 0):
            comparison += Comparison(lost=count, examples=[f"{count} {what}"])
    for what, query in _DOUBLED.items():
        if count := int(connection.scalar(text(query)) or 0):
            comparison += Comparison(doubled=count, examples=[f"{count} {what}"])
    return comparison


def _arrivals(truth: dict[str, Any]) -> frozenset[str]:
    """The times that are those of a delivery: a Delete without a time, and with none after it in its set, has them.

    What arrived when it was handed out by the sandbox's clock, arrived a moment later by the warehouse's.
    """
    times: dict[bool, set[tuple[int, str, str]]] = {True: set(), False: set()}
    for row in truth["asset_changes"]:
        times[row["is_time_inferred"]].add((row["channel_id"], row["change_set_id"], row["changed_at"]))
    return frozenset(changed_at for _, _, changed_at in times[True] - times[False])


def _compare_table(
    connection: Connection, table: str, expected: list[dict[str, Any]], arrivals: frozenset[str]
) -> Comparison:
    """A row that is missing or different is lost; one too many is doubled, or resurrected if it is live."""
    comparison, found = Comparison(), defaultdict(list)
    for row in _rows(connection, table, list(expected[0]) if expected else KEYS[table]):
        found[_key(table, row)].append(row)
    for each in expected:
        rows = found.pop(_key(table, each), [])
        comparison.doubled += max(0, len(rows) - 1)
        if not any(_matches(row, each, arrivals) for row in rows):
            comparison.lost += 1
            comparison.examples.append(f"{table} lacks {each} and has {rows}")
    for key, rows in found.items():
        comparison.examples.append(f"{table} has {rows}, which the truth lacks, at {key}")
        if table == "assets":
            comparison.resurrected += len(rows)
        else:
            comparison.doubled += len(rows)
    return comparison


def _matches(row: dict[str, Any], expected: dict[str, Any], arrivals: frozenset[str]) -> bool:
    """Whether a row equals the expected one; a time of arrival may differ by what an answer takes.

    `was_held` is null in the truth where it depends on the order of channels, in the row where a rebuild
    cannot know it.
    """
    if row == expected:
        return True
    arrived = {name: value for name, value in expected.items() if value in arrivals and row[name] is not None}
    if all(
        abs(datetime.fromisoformat(row[name]) - datetime.fromisoformat(at)) < _TAKES for name, at in arrived.items()
    ):
        row = row | arrived
    if row == expected:
        return True
    is_unknown = "was_held" in row and None in (row["was_held"], expected["was_held"])
    return is_unknown and row | {"was_held": None} == expected | {"was_held": None}


def _key(table: str, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS[table])


def _rows(connection: Connection, table: str, columns: list[str] | tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for row in connection.execute(text(f"SELECT {', '.join(columns)} FROM {table}")).mappings():
        yield {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """A value as the truth writes it in JSON."""
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def compare_archive(connection: Connection) -> Comparison:
    """Every set of the ledger is in the archive, as a whole object: what is not is lost."""
    comparison = Comparison()
    for row in connection.execute(text("SELECT archive_uri, change_set_id, loaded_at, change_count FROM change_sets")):
        try:
            archived = json.loads(gzip.decompress(Path(row.archive_uri.removeprefix("file://")).read_bytes()))
        except (OSError, EOFError, ValueError) as error:
            archived = {"change_set_id": error, "changed_assets": []}
        is_whole = row.loaded_at is None or len(archived["changed_assets"]) == row.change_count
        if archived["change_set_id"] != row.change_set_id or not is_whole:
            comparison += Comparison(lost=1, examples=[f"{row.archive_uri} does not have the set: {archived!s:.80}"])
    return comparison


def compare_confirmed(connection: Connection, change_set_ids: Iterable[str]) -> Comparison:
    """What was confirmed is loaded: what is not is lost."""
    loaded = set(connection.scalars(text("SELECT change_set_id FROM change_sets WHERE loaded_at IS NOT NULL")))
    lost = [each for each in change_set_ids if each not in loaded]
    return Comparison(lost=len(lost), examples=[f"change set {each} is confirmed and not loaded" for each in lost])
