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
from asset_changes.getty_api.fields import as_json
from asset_changes.getty_api.parsing import content, parse_change_set, read_json
from asset_changes.models import Body, Channel, Counts, Heard, Lifecycle, PreparedSet, RejectedChange

_AHEAD = timedelta(hours=1)
"""How far in the future of its delivery a time may lie: Getty's clock and ours differ by less."""

_NONE_REJECTED: tuple[RejectedChange, ...] = ()
_QUOTE = '"'
_OUTCOMES = {Lifecycle.NEW.value: "new", Lifecycle.UPDATE.value: "update", Lifecycle.DELETE.value: "delete"}


def transform(bodies: Sequence[Body], *, channel: Channel, change_set_id: str, fetched_at: datetime) -> PreparedSet:
    """Return the prepared set that the archived bodies of one change set hold."""
    heard = _heard(bodies, change_set_id)
    return prepare(heard, channel=channel, change_set_id=change_set_id, fetched_at=fetched_at)


def count_messages(bodies: Sequence[Body], *, change_set_id: str) -> int:
    """Return how many messages the deliveries of one change set hold together."""
    return sum(map(sum, _unheard(_heard(bodies, change_set_id))))


def prepare(heard: Sequence[Heard], *, channel: Channel, change_set_id: str, fetched_at: datetime) -> PreparedSet:
    """Return the prepared set of what its deliveries say; `fetched_at` is the time of the first of them."""
    frame = assess(heard, channel=channel)
    counts = Counts(**Counter(frame["outcome"].tolist()))
    valid, rejected = frame, _NONE_REJECTED
    if counts.rejected:
        is_rejected = frame["outcome"] == "rejected"
        valid, rejected = frame[~is_rejected], _rejected(frame[is_rejected])
    rows = _csv(valid, prefix=f"{fetched_at.isoformat()},{channel.channel_id},{change_set_id}")
    told = valid["changed_at"][~valid["is_time_inferred"]]  # what is inferred would hide the lag
    return PreparedSet(
        rows=rows,
        rejected=rejected,
        counts=counts,
        content_hash=hashlib.sha256(rows + repr(rejected).encode()).hexdigest(),
        oldest_change_at=min(told.min().to_pydatetime(), heard[-1].received_at) if len(told) else None,
        newest_change_at=min(told.max().to_pydatetime(), heard[-1].received_at) if len(told) else None,
    )


def _heard(bodies: Sequence[Body], change_set_id: str) -> list[Heard]:
    heard = []
    for body in bodies:
        try:
            found = parse_change_set(read_json(body.content))
        except ValueError as error:
            raise UnreadableChangeSet(f"The archived body of change set {change_set_id} is not JSON.") from error
        if found is None or found.change_set_id != change_set_id:
            raise UnreadableChangeSet(f"The archived body of change set {change_set_id} holds another set.")
        heard.append(Heard(found.messages, body.received_at))
    return heard


def assess(heard: Sequence[Heard], *, channel: Channel) -> pd.DataFrame:
    """Return one row per message in feed order, its position as index, with its time and its outcome.

    Columns: those of Messages, `changed_at` filled where the feed's order tells it,
    `is_time_inferred`, and `outcome`: new, update, delete, superseded or rejected. What a later
    delivery adds stands after the rest, with the time that it has in that delivery.
    """
    frames = [_timed(each, channel) for each in heard]
    if len(frames) > 1:
        frames = [frame[is_new] for frame, is_new in zip(frames, _unheard(heard), strict=True)]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    frame["outcome"] = pd.Series(_outcomes(frame), dtype=object, copy=False)
    return frame


def _timed(heard: Heard, channel: Channel) -> pd.DataFrame:
    """Return the messages of one delivery with the time of each, as the delivery tells it."""
    # As objects: pandas would look through every text to find a type for it.
    columns: dict[str, Any] = {name: np.fromiter(cells, object) for name, cells in heard.messages._asdict().items()}
    is_delete = columns["lifecycle"] == Lifecycle.DELETE.value
    told = pd.to_datetime(columns["changed_at"], utc=True).as_unit("us").to_series(index=range(len(is_delete)))
    told = told.where(told <= pd.Timestamp(heard.received_at + _AHEAD))
    is_inferred = told.isna()
    if is_inferred.any():
        # The feed ascends, so the neighbour that has a time tells it to those that have none.
        told = told.ffill().bfill()
        told = told.where(told.notna() | ~is_delete, pd.Timestamp(heard.received_at))
        columns["reason"][told.isna() & pd.isna(columns["reason"])] = "no_time"
    columns["asset_type"][pd.isna(columns["asset_type"]) & ~is_delete] = channel.asset_type
    columns |= {"changed_at": told, "is_time_inferred": is_inferred}
    return pd.DataFrame({name: pd.Series(column, dtype=column.dtype, copy=False) for name, column in columns.items()})


def _unheard(heard: Sequence[Heard]) -> list[list[bool]]:
    """Return for each delivery which of its messages the earlier ones do not hold."""
    known, found = Counter[Any](), []
    for each in heard:
        left = known.copy()
        is_new = []
        for message in map(content, each.messages.rows):
            is_new.append(left[message] <= 0)
            left[message] -= 1
            known[message] += is_new[-1]
        found.append(is_new)
    return found


def _outcomes(frame: pd.DataFrame) -> Any:
    """Return what each message came to in its set alone."""
    is_valid = pd.isna(frame["reason"].to_numpy())
    # Live means an upsert that is newer than the Delete: on equal times the Delete comes last.
    is_delete = frame["lifecycle"].to_numpy() == Lifecycle.DELETE.value
    order = np.lexsort((is_delete, frame["changed_at"].to_numpy("datetime64[us]")))
    order = order[is_valid[order]]
    stands = order[~frame["asset_id"].iloc[order].duplicated(keep="last").to_numpy()]
    outcomes = np.full(len(frame), "superseded", object)
    outcomes[~is_valid] = "rejected"
    outcomes[stands] = [_OUTCOMES[lifecycle] for lifecycle in frame["lifecycle"].to_numpy()[stands]]
    return outcomes


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
