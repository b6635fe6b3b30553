"""From archived bodies to rows that can be loaded: pure, in pandas, in feed order."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from asset_changes.errors import UnreadableChangeSet
from asset_changes.model import Channel, Counts, Lifecycle, Message, PreparedSet, RejectedChange
from asset_changes.parse import as_json, content, parse_change_set, read_json

_AHEAD = timedelta(hours=1)
"""How far in the future of its delivery a time may lie: Getty's clock and ours differ by less."""

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
    deliveries: Sequence[Sequence[Message]], *, channel: Channel, change_set_id: str, fetched_at: datetime
) -> PreparedSet:
    """Return the prepared set of messages that are parsed already, one sequence per delivery."""
    frame = assess(merged(deliveries), channel=channel, fetched_at=fetched_at)
    is_rejected = frame["outcome"] == "rejected"
    valid = frame[~is_rejected]
    cells = frame.loc[is_rejected, ["position", "reason", "asset_id", "lifecycle", "raw"]].astype(object)
    rejected = tuple(
        RejectedChange(position, reason, asset_id, word, raw if isinstance(raw, str) else as_json(raw))
        for position, reason, asset_id, word, raw in cells.where(cells.notna(), None).itertuples(index=False, name=None)
    )
    rows = _csv(valid, prefix=(fetched_at.isoformat(), channel.channel_id, change_set_id))
    moments = valid["changed_at"]
    return PreparedSet(
        rows=rows,
        rejected=rejected,
        counts=Counts(**{str(outcome): int(n) for outcome, n in frame["outcome"].value_counts().items()}),
        content_hash=hashlib.sha256(rows + repr(rejected).encode()).hexdigest(),
        oldest_change_at=moments.min().to_pydatetime() if len(valid) else None,
        newest_change_at=moments.max().to_pydatetime() if len(valid) else None,
    )


def assess(messages: Sequence[Message], *, channel: Channel, fetched_at: datetime) -> pd.DataFrame:
    """Return one row per message in feed order with its time and its outcome.

    Columns: those of Message, `changed_at` filled where the feed's order tells it,
    `is_time_inferred`, and `outcome`: new, update, delete, superseded or rejected.
    """
    frame = pd.DataFrame(messages, columns=list(Message._fields))
    frame["reason"] = frame["reason"].astype(object)
    is_delete = frame["lifecycle"] == Lifecycle.DELETE.value
    told = pd.to_datetime(frame["changed_at"], utc=True).astype("datetime64[us, UTC]")
    told = told.where(told <= pd.Timestamp(fetched_at + _AHEAD))
    # The feed ascends, so the neighbour that has a time tells it to those that have none.
    changed_at = told.ffill().bfill()
    changed_at = changed_at.where(changed_at.notna() | ~is_delete, pd.Timestamp(fetched_at))
    frame["is_time_inferred"] = told.isna()
    frame["changed_at"] = changed_at
    frame.loc[changed_at.isna() & frame["reason"].isna(), "reason"] = "no_time"
    untyped = frame["asset_type"].isna() & ~is_delete
    frame["asset_type"] = frame["asset_type"].astype(object).mask(untyped, channel.asset_type)

    valid = frame[frame["reason"].isna()].assign(is_delete=is_delete)
    # Live means an upsert that is newer than the Delete: on equal times the Delete comes last.
    order = valid.sort_values(["changed_at", "is_delete", "position"], kind="stable")
    standing = order.drop_duplicates("asset_id", keep="last").index
    frame["outcome"] = "superseded"
    frame.loc[standing, "outcome"] = frame.loc[standing, "lifecycle"].map(_OUTCOMES)
    frame.loc[frame["reason"].notna(), "outcome"] = "rejected"
    return frame


def merged(deliveries: Sequence[Sequence[Message]]) -> list[Message]:
    """Return the messages of the first delivery and, at the next positions, what later ones add."""
    messages = list(deliveries[0])
    for delivery in deliveries[1:]:
        seen = Counter(content(message) for message in messages)
        for message in delivery:
            if seen[content(message)] > 0:
                seen[content(message)] -= 1
            else:
                messages.append(message._replace(position=len(messages)))
    return messages


def _csv(valid: pd.DataFrame, *, prefix: tuple[Any, ...]) -> bytes:
    """Return the valid rows as COPY reads them; to_csv takes three times as long."""
    moments = np.datetime_as_string(valid["changed_at"].dt.tz_localize(None).to_numpy(), unit="us")
    columns = [[value] * len(valid) for value in prefix]
    columns += [valid[name].tolist() for name in ("position", "asset_id", "lifecycle")]
    columns += [_with_nulls(valid["asset_type"]), [f"{moment}Z" for moment in moments.tolist()]]
    columns += [valid["is_time_inferred"].tolist(), _with_nulls(valid["uri"])]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(zip(*columns, strict=True))
    return out.getvalue().encode()


def _with_nulls(column: "pd.Series[Any]") -> list[str | None]:
    return column.astype(object).where(column.notna(), None).tolist()
