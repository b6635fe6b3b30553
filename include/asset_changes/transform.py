"""From archived bodies to rows that can be loaded: pure, in pandas, in feed order."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd

from asset_changes.errors import UnreadableChangeSet
from asset_changes.model import Channel, Counts, Lifecycle, Messages, PreparedSet, RejectedChange
from asset_changes.parse import as_json, content, parse_change_set, read_json

_AHEAD = timedelta(hours=1)
"""How far in the future of its delivery a time may lie: Getty's clock and ours differ by less."""

_NONE_REJECTED: tuple[RejectedChange, ...] = ()
_QUOTE = '"'
_OUTCOMES = {Lifecycle.NEW.value: "new", Lifecycle.UPDATE.value: "update", Lifecycle.DELETE.value: "delete"}


def transform(bodies: Sequence[bytes], *, channel: Channel, change_set_id: str, fetched_at: datetime) -> PreparedSet:
    """Return the prepared set that the archived bodies of one change set hold."""
    deliveries = []
    for body in bodies:
        try:
            found = parse_change_set(read_json(body))
        except ValueError as error:
            raise UnreadableChangeSet(f"The archived body of change set {change_set_id} is not JSON.") from error
        if found is None or found.change_set_id != change_set_id:
            raise UnreadableChangeSet(f"The archived body of change set {change_set_id} holds another set.")
        deliveries.append(found.messages)
    return prepare(deliveries, channel=channel, change_set_id=change_set_id, fetched_at=fetched_at)


def prepare(
    deliveries: Sequence[Messages], *, channel: Channel, change_set_id: str, fetched_at: datetime
) -> PreparedSet:
    """Return the prepared set of messages that are parsed already, one for each delivery."""
    frame = assess(merged(deliveries), channel=channel, fetched_at=fetched_at)
    counts = Counts(**Counter(frame["outcome"].tolist()))
    valid, rejected = frame, _NONE_REJECTED
    if counts.rejected:
        is_rejected = frame["outcome"] == "rejected"
        valid, rejected = frame[~is_rejected], _rejected(frame[is_rejected])
    rows = _csv(valid, prefix=f"{fetched_at.isoformat()},{channel.channel_id},{change_set_id}")
    moments = valid["changed_at"]
    return PreparedSet(
        rows=rows,
        rejected=rejected,
        counts=counts,
        content_hash=hashlib.sha256(rows + repr(rejected).encode()).hexdigest(),
        oldest_change_at=moments.min().to_pydatetime() if len(valid) else None,
        newest_change_at=moments.max().to_pydatetime() if len(valid) else None,
    )


def assess(messages: Messages, *, channel: Channel, fetched_at: datetime) -> pd.DataFrame:
    """Return one row per message in feed order, its position as index, with its time and its outcome.

    Columns: those of Messages, `changed_at` filled where the feed's order tells it,
    `is_time_inferred`, and `outcome`: new, update, delete, superseded or rejected.
    """
    # As objects: pandas would look through every text to find a type for it.
    columns: dict[str, Any] = {name: np.fromiter(cells, object) for name, cells in messages._asdict().items()}
    is_delete = columns["lifecycle"] == Lifecycle.DELETE.value
    told = pd.to_datetime(columns["changed_at"], utc=True).as_unit("us").to_series(index=range(len(is_delete)))
    told = told.where(told <= pd.Timestamp(fetched_at + _AHEAD))
    is_inferred = told.isna()
    if is_inferred.any():
        # The feed ascends, so the neighbour that has a time tells it to those that have none.
        told = told.ffill().bfill()
        told = told.where(told.notna() | ~is_delete, pd.Timestamp(fetched_at))
        columns["reason"][told.isna() & pd.isna(columns["reason"])] = "no_time"
    columns["asset_type"][pd.isna(columns["asset_type"]) & ~is_delete] = channel.asset_type
    columns |= {"changed_at": told, "is_time_inferred": is_inferred, "outcome": _outcomes(columns, told, is_delete)}
    return pd.DataFrame({name: pd.Series(column, dtype=column.dtype, copy=False) for name, column in columns.items()})


def _outcomes(columns: dict[str, Any], changed_at: "pd.Series[Any]", is_delete: "np.ndarray[Any, Any]") -> Any:
    """Return what each message came to in its set alone."""
    is_valid = pd.isna(columns["reason"])
    # Live means an upsert that is newer than the Delete: on equal times the Delete comes last.
    order = np.lexsort((is_delete, changed_at.to_numpy("datetime64[us]")))
    order = order[is_valid[order]]
    stands = order[~pd.Series(columns["asset_id"][order], dtype=object).duplicated(keep="last")]
    outcomes = np.where(is_valid, "superseded", "rejected").astype(object)
    outcomes[stands] = [_OUTCOMES[lifecycle] for lifecycle in columns["lifecycle"][stands]]
    return outcomes


def merged(deliveries: Sequence[Messages]) -> Messages:
    """Return the messages of the first delivery and, at the next positions, what later ones add."""
    first, *later = deliveries
    if not later:
        return first
    messages = first.rows
    for delivery in later:
        seen = Counter(map(content, messages))
        for message in delivery.rows:
            if seen[content(message)] > 0:
                seen[content(message)] -= 1
            else:
                messages.append(message)
    return Messages.of(messages)


def _csv(valid: pd.DataFrame, *, prefix: str) -> bytes:
    """Return the valid rows as COPY reads them: a twentieth of the time that to_csv takes."""
    moments = np.datetime_as_string(valid["changed_at"].dt.tz_localize(None).to_numpy(), unit="us", timezone="UTC")
    columns = zip(
        repeat(prefix),
        map(str, valid.index.tolist()),
        _cells(valid["asset_id"].tolist()),
        valid["lifecycle"].tolist(),
        _cells(valid["asset_type"].tolist()),
        moments.tolist(),
        map(str, valid["is_time_inferred"].tolist()),
        _cells(valid["uri"].tolist()),
    )
    return "".join([f"{row}\n" for row in map(",".join, columns)]).encode()


def _cells(column: list[str | None]) -> list[str]:
    """Return texts as CSV cells, quoted where they must be; no control character is left in them."""
    cells = ["" if cell is None else cell for cell in column]
    if not _is_special("".join(cells)):
        return cells
    return [f'"{cell.replace(_QUOTE, _QUOTE * 2)}"' if _is_special(cell) else cell for cell in cells]


def _is_special(text: str) -> bool:
    """Say whether CSV needs quotes around a text; a regular expression would take ten times as long."""
    return "," in text or _QUOTE in text or "\\" in text


def _rejected(frame: pd.DataFrame) -> tuple[RejectedChange, ...]:
    cells = frame[["reason", "asset_id", "lifecycle", "raw"]].itertuples(name=None)
    return tuple(
        RejectedChange(position, reason, asset_id, word, as_json(raw))
        for position, reason, asset_id, word, raw in cells
    )
