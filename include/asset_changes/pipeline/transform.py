"""From what the deliveries of a change set say to prepared rows: which time a change has, what each comes to.

Pure: the same deliveries give the same rows. Only this module needs pandas.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd

from asset_changes.archive import Archive
from asset_changes.getty_api.content import combined_hash, unseen
from asset_changes.getty_api.fields import as_json
from asset_changes.getty_api.parsing import parse_archived
from asset_changes.models import ChangeSet, ChangeSetRef, Channel, Counts, Lifecycle, PreparedSet, RejectedChange

log = logging.getLogger(__name__)

_NONE_REJECTED: tuple[RejectedChange, ...] = ()
_QUOTE = '"'
_TIMES = "datetime64[us]"
_OUTCOMES = {Lifecycle.NEW.value: "new", Lifecycle.UPDATE.value: "update", Lifecycle.DELETE.value: "delete"}


def transform(deliveries: Sequence[ChangeSet], *, channel: Channel, ref: ChangeSetRef) -> PreparedSet:
    """Return the prepared set of what the deliveries of one change set say, oldest first."""
    frame, firsts = assess(deliveries, channel=channel)
    counts = Counts(**Counter(frame["outcome"].tolist()))
    valid, rejected = frame, _NONE_REJECTED
    if counts.rejected:
        is_rejected = frame["outcome"] == "rejected"
        valid, rejected = frame[~is_rejected], _rejected(frame[is_rejected])
    # What is inferred would hide the lag.
    stated = valid["changed_at"].to_numpy()[~valid["is_time_inferred"].to_numpy()]
    newest_delivery = deliveries[-1].received_at
    return PreparedSet(
        rows=_csv(valid, prefix=f"{ref.fetched_at.isoformat()},{ref.channel_id},{ref.change_set_id}"),
        rejected=rejected,
        deliveries=firsts,
        counts=counts,
        content_hash=combined_hash(deliveries),
        oldest_change_at=min(_time_of(stated.min()), newest_delivery) if len(stated) else None,
        newest_change_at=min(_time_of(stated.max()), newest_delivery) if len(stated) else None,
    )


def transform_archived(archive: Archive, *, channel: Channel, ref: ChangeSetRef) -> PreparedSet:
    """Return the prepared set of what the archive has of a change set."""
    deliveries = parse_archived(archive.read(ref.archive_uri), change_set_id=ref.change_set_id)
    return transform(deliveries, channel=channel, ref=ref)


def log_transformed(ref: ChangeSetRef, prepared: PreparedSet) -> None:
    """Write what a set came to in one line."""
    log.info("Transformed change set %s: channel=%d %s", ref.change_set_id, ref.channel_id, prepared.counts)


def assess(deliveries: Sequence[ChangeSet], *, channel: Channel) -> tuple[pd.DataFrame, tuple[tuple[int, Any], ...]]:
    """Return one row per message in feed order, its position as index, with its time and its outcome.

    Columns: those of Messages, `changed_at` in UTC and filled in where it can be inferred, `is_time_inferred`, and
    `outcome`: new, update, delete, superseded or rejected. What a later delivery adds comes after the
    rest, with the time that it has in that delivery. The second value is that of PreparedSet.deliveries.
    """
    frames = [_timed(delivery, channel) for delivery in deliveries]
    firsts = [(0, deliveries[0].received_at)]
    if len(frames) > 1:
        # As an array: an empty list would select no columns instead of no rows.
        frames = [frame[np.array(new, bool)] for frame, new in zip(frames, unseen(deliveries), strict=True)]
        position = len(frames[0])
        for frame, delivery in zip(frames[1:], deliveries[1:], strict=True):
            if len(frame):
                firsts.append((position, delivery.received_at))
                position += len(frame)
        frames = [frame for frame in frames if len(frame)] or frames[:1]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    frame["outcome"] = pd.Series(_outcomes(frame), dtype=object, copy=False)
    return frame, tuple(firsts)


def _timed(delivery: ChangeSet, channel: Channel) -> pd.DataFrame:
    """Return the messages of one delivery with the time of each.

    The feed ascends, so a message without a usable time lies between its neighbours. What is inferred
    errs towards removal: a Delete takes the next time of its delivery, else the time the delivery came;
    an upsert the nearest earlier one, else it is rejected.
    """
    messages = delivery.messages
    # One block of objects: pandas would look through every text to find a type for it.
    block = np.empty((len(messages), len(messages.raw)), object)
    columns: dict[str, Any] = dict(zip(messages._fields, block, strict=True))
    lists: tuple[Sequence[Any], ...] = tuple(messages)
    for column, cells in zip(block, lists, strict=True):
        column[:] = np.fromiter(cells, object, len(cells))
    is_delete = columns["lifecycle"] == Lifecycle.DELETE.value
    columns["asset_type"][pd.isna(columns["asset_type"]) & ~is_delete] = channel.asset_type
    times = np.asarray(pd.to_datetime(columns["changed_at"], utc=True), _TIMES)
    times = np.where(times <= _in_utc(delivery.latest_time), times, np.datetime64("NaT"))
    is_inferred = np.isnat(times)
    if is_inferred.any():
        stated = pd.Series(times)
        removed_at = stated.bfill().fillna(_in_utc(delivery.received_at))
        times = stated.ffill().where(~(is_inferred & is_delete), removed_at).to_numpy()
        columns["reason"][np.isnat(times) & pd.isna(columns["reason"])] = "no_time"
    frame = pd.DataFrame(block.T, columns=messages._fields, dtype=object, copy=False)
    frame["changed_at"], frame["is_time_inferred"] = times, is_inferred
    return frame


def _outcomes(frame: pd.DataFrame) -> Any:
    """Return what each message came to in its set alone."""
    is_valid = pd.isna(frame["reason"].to_numpy())
    lifecycles = frame["lifecycle"].to_numpy()
    # Live means an upsert that is newer than the Delete: on equal times the Delete comes last.
    order = np.lexsort((lifecycles == Lifecycle.DELETE.value, frame["changed_at"].to_numpy()))
    order = order[is_valid[order]]
    newest = order[~frame["asset_id"].iloc[order].duplicated(keep="last").to_numpy()]
    outcomes = np.full(len(frame), "superseded", object)
    outcomes[~is_valid] = "rejected"
    outcomes[newest] = [_OUTCOMES[lifecycle] for lifecycle in lifecycles[newest]]
    return outcomes


def _in_utc(at: datetime) -> Any:
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")


def _time_of(cell: Any) -> datetime:
    time: datetime = cell.astype(_TIMES).item()
    return time.replace(tzinfo=UTC)


def _csv(valid: pd.DataFrame, *, prefix: str) -> bytes:
    """Return the valid rows in the order of LOG_COLUMNS, as COPY reads them: a twentieth of to_csv's time."""
    columns = zip(
        repeat(prefix),
        map(str, valid.index.tolist()),
        _cells(valid["asset_id"].tolist()),
        valid["lifecycle"].tolist(),
        _cells(valid["asset_type"].tolist()),
        np.datetime_as_string(valid["changed_at"].to_numpy(), unit="us", timezone="UTC").tolist(),
        map(str, valid["is_time_inferred"].tolist()),
        _cells(valid["uri"].tolist()),
    )
    return "\n".join([*map(",".join, columns), ""]).encode()


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
