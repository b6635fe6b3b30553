"""What one answer comes to: metadata that is stored, and what becomes of the rows of the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from asset_changes.getty_api.lookup import LookupAnswer, is_video
from asset_changes.lookup.metadata import MetadataRow
from asset_changes.warehouse import asset_metadata, lookup_queue
from asset_changes.warehouse.asset_metadata import LiveAsset
from asset_changes.warehouse.lookup_queue import QueuedAsset


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Assets of one type that are asked with one call."""

    asset_type: str | None
    assets: tuple[QueuedAsset, ...]

    @property
    def asset_ids(self) -> list[str]:
        """The ids, in the order of the queue."""
        return [asset.asset_id for asset in self.assets]


@dataclass(frozen=True, kw_only=True)
class AnswerCounts:
    """How many assets of an answer came to what; `dropped` changed or ended while it was on the way."""

    asked: int = 0
    found: int = 0
    changed: int = 0
    not_found: int = 0
    unanswered: int = 0
    dropped: int = 0

    def __add__(self, other: "AnswerCounts") -> "AnswerCounts":
        return AnswerCounts(**{name: count + getattr(other, name) for name, count in vars(self).items()})

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in vars(self).items())


def chunks_of(assets: Sequence[QueuedAsset], *, size: int) -> list[Chunk]:
    """Return the assets in chunks of one type, in the order of their first assets."""
    by_type: dict[str | None, list[QueuedAsset]] = {}
    chunks: list[tuple[str | None, list[QueuedAsset]]] = []
    for asset in assets:
        mine = by_type.get(asset.asset_type)
        if mine is None or len(mine) == size:
            mine = by_type[asset.asset_type] = []
            chunks.append((asset.asset_type, mine))
        mine.append(asset)
    return [Chunk(asset_type=asset_type, assets=tuple(found)) for asset_type, found in chunks]


def write_answer(
    connection: Connection,
    *,
    chunk: Chunk,
    answer: LookupAnswer,
    read: Mapping[str, MetadataRow],
    received_at: datetime,
    language: str,
) -> AnswerCounts:
    """Store an answer in the caller's transaction; `read` is what was read of the objects that were found.

    An asset that is no longer live leaves the queue. One that changed meanwhile stays as it is, to be asked
    again. What is said of the others decides about their rows in the queue: an answer that is older than the
    change, whatever it says, is asked again once it has expired.
    """
    live = asset_metadata.lock_live(connection, chunk.asset_ids)
    ended = [each for each in chunk.assets if each.asset_id not in live]
    same = [each for each in chunk.assets if each.asset_id in live and live[each.asset_id].register == each.register]
    found = [each for each in same if each.asset_id in read]
    not_found = [each for each in same if each.asset_id in answer.not_found and each.asset_id not in read]
    unanswered = [each for each in same if each.asset_id not in answer.not_found and each.asset_id not in read]
    as_of = min(answer.as_of, received_at)  # a clock that is ahead would hide all changes until then
    changed = _store(connection, found, live, read, as_of=as_of, received_at=received_at, language=language)
    stale = [each for each in (*found, *not_found) if as_of < each.register.upserted_at]
    # Asked as what the feed says that it is; the other type is asked once.
    mistyped = [each for each in not_found if each not in stale and each.asset_type == live[each.asset_id].asset_type]
    lookup_queue.postpone(connection, stale, until=answer.expires_at)
    lookup_queue.postpone(connection, unanswered, until=received_at)
    lookup_queue.ask_as(connection, mistyped, asset_type="Image" if is_video(chunk.asset_type) else "Video")
    kept = {each.asset_id for each in (*stale, *mistyped)}
    lookup_queue.remove(connection, [each for each in (*ended, *found, *not_found) if each.asset_id not in kept])
    return AnswerCounts(
        asked=len(chunk.assets),
        found=len(found),
        changed=changed,
        not_found=len(not_found) - len(mistyped),
        unanswered=len(unanswered),
        dropped=len(chunk.assets) - len(same),
    )


def _store(
    connection: Connection,
    found: Sequence[QueuedAsset],
    live: Mapping[str, LiveAsset],
    read: Mapping[str, MetadataRow],
    *,
    as_of: datetime,
    received_at: datetime,
    language: str,
) -> int:
    """Store what was found; of what is as before only the times. Return how many changed."""
    new, unchanged = {}, []
    for asset_id in (each.asset_id for each in found):
        known, mine = live[asset_id], read[asset_id]
        if (known.content_hash, known.language) == (mine.content_hash, language):
            unchanged.append(asset_id)
        else:
            new[asset_id] = mine
    asset_metadata.store(connection, new, as_of=as_of, fetched_at=received_at, language=language)
    asset_metadata.store_unchanged(connection, unchanged, as_of=as_of, fetched_at=received_at)
    return len(new)
