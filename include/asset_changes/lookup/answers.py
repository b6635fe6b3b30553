"""What one answer comes to: metadata that is stored, verdicts, and what becomes of the rows of the queue."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from asset_changes.getty_api.lookup import LookupAnswer, has_lookup, is_video
from asset_changes.lookup.metadata import MetadataRow
from asset_changes.warehouse import asset_metadata, availability, lookup_queue, reconciliations
from asset_changes.warehouse.asset_metadata import LiveAsset
from asset_changes.warehouse.availability import AVAILABLE, NOT_IN_CATALOGUE, NOT_LICENSED, Verdict
from asset_changes.warehouse.lookup_queue import CHANGE, AskedWith, QueuedAsset
from asset_changes.warehouse.reconciliations import Round, RoundCounts

LAST_WITH_TOKEN, LAST_QUESTION = 2, 4
"""What is asked without a token is not limited to what the account has licensed."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Assets that are asked with one call: as one type, with a token or without."""

    asset_type: str | None
    assets: tuple[QueuedAsset, ...]
    question: int = 1

    @property
    def asset_ids(self) -> list[str]:
        """The ids, in the order of the queue."""
        return [asset.asset_id for asset in self.assets]

    @property
    def has_token(self) -> bool:
        """Whether they are asked with a token."""
        return self.question <= LAST_WITH_TOKEN


@dataclass(frozen=True, kw_only=True)
class AnswerCounts:
    """How many assets of an answer came to what; `dropped` changed or ended while it was on the way."""

    asked: int = 0
    found: int = 0
    changed: int = 0
    not_found: int = 0
    unanswered: int = 0
    dropped: int = 0
    not_licensed: int = 0
    not_in_catalogue: int = 0

    def __add__(self, other: "AnswerCounts") -> "AnswerCounts":
        return AnswerCounts(**{name: count + getattr(other, name) for name, count in vars(self).items()})

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in vars(self).items())


def chunks_of(assets: Sequence[QueuedAsset], *, size: int) -> list[Chunk]:
    """Return the assets in chunks of one type and question, in the order of their first assets."""
    by_key: dict[tuple[str | None, int], list[QueuedAsset]] = {}
    chunks: list[tuple[str | None, int, list[QueuedAsset]]] = []
    for asset in assets:
        key = asked_as(asset.asset_type, asset.question), asset.question
        mine = by_key.get(key)
        if mine is None or len(mine) == size:
            mine = by_key[key] = []
            chunks.append((*key, mine))
        mine.append(asset)
    return [Chunk(asset_type=asset_type, question=number, assets=tuple(found)) for asset_type, number, found in chunks]


def asked_as(asset_type: str | None, question: int) -> str | None:
    """Return the type as which an asset is asked: its own, with every second question the other one."""
    if question % 2:
        return asset_type
    return "Image" if is_video(asset_type) else "Video"


@dataclass(frozen=True, kw_only=True)
class AnswerWriter:
    """Writes what answers say, each in its caller's transaction, as answers to a connection and in its open round.

    Without a round, what is not found waits for the next one, or is only counted where there never is one.
    """

    asked_with: AskedWith
    round: Round | None
    language: str
    stores_metadata: bool = True
    reconciles: bool = True

    def write(
        self,
        connection: Connection,
        *,
        chunk: Chunk,
        answer: LookupAnswer,
        read: Mapping[str, MetadataRow],
        received_at: datetime,
    ) -> AnswerCounts:
        """Write an answer; `read` is what was read of the objects that were found.

        An asset that is no longer live leaves the queue. One that changed meanwhile stays as it is, to be asked
        again. What is said of the others decides about their rows in the queue: an answer that is older than the
        change, whatever it says, is asked again once it has expired.
        """
        live = asset_metadata.lock_live(connection, chunk.asset_ids)
        of_no_channel = [each.asset_id for each in chunk.assets if each.register is None]
        in_channels = availability.in_channels(connection, of_no_channel)
        same = [each for each in chunk.assets if _is_same(each, live, in_channels)]
        ended = [each for each in chunk.assets if each.register and each.asset_id not in live]
        found = [each for each in same if each.asset_id in answer.found]
        not_found = [each for each in same if each.asset_id in answer.not_found]
        unanswered = [each for each in same if each.asset_id in answer.unanswered]
        as_of = min(answer.as_of, received_at)  # a clock that is ahead would hide all changes until then
        stale = [each for each in (*found, *not_found) if each.register and as_of < each.register.upserted_at]
        lookup_queue.remove(connection, ended)
        lookup_queue.postpone(connection, stale, until=answer.expires_at)
        lookup_queue.postpone(connection, unanswered, until=received_at)
        verdicts = self._verdicts(chunk, _without(found, stale), _without(not_found, stale))
        self._keep_verdicts(connection, verdicts, chunk=chunk, as_of=as_of, checked_at=received_at)
        changed = 0
        if chunk.has_token and self.stores_metadata:
            stored = [each for each in found if each.register]
            changed = _store(
                connection, stored, live, read, as_of=as_of, received_at=received_at, language=self.language
            )
        not_judged = 0
        if chunk.question != LAST_QUESTION:
            not_judged = self._ask_on(connection, chunk.question, _without(not_found, stale))
        said = [each.verdict for each in verdicts]
        return AnswerCounts(
            asked=len(chunk.assets),
            found=len(found) if chunk.has_token else 0,
            changed=changed,
            not_found=not_judged,
            unanswered=len(unanswered),
            dropped=len(chunk.assets) - len(same),
            not_licensed=said.count(NOT_LICENSED),
            not_in_catalogue=said.count(NOT_IN_CATALOGUE),
        )

    def _verdicts(self, chunk: Chunk, found: Sequence[QueuedAsset], not_found: Sequence[QueuedAsset]) -> list[Verdict]:
        """Return what an answer decides; what was not found before the last question is decided by the next ones."""
        said = [(each, AVAILABLE if chunk.has_token else NOT_LICENSED) for each in found]
        if chunk.question == LAST_QUESTION:
            said += [(each, NOT_IN_CATALOGUE) for each in not_found]
        return [
            Verdict(asset_id=each.asset_id, verdict=verdict, asset_type=chunk.asset_type, register=each.register)
            for each, verdict in said
        ]

    def _keep_verdicts(
        self,
        connection: Connection,
        verdicts: Sequence[Verdict],
        *,
        chunk: Chunk,
        as_of: datetime,
        checked_at: datetime,
    ) -> None:
        """Write verdicts and count them in the round; an asset with a verdict leaves the queue."""
        decided = {each.asset_id for each in verdicts}
        lookup_queue.remove(connection, [each for each in chunk.assets if each.asset_id in decided])
        available = [each for each in verdicts if each.verdict == AVAILABLE]
        gone = [each for each in verdicts if each.verdict != AVAILABLE]
        of_round = decided & {each.asset_id for each in chunk.assets if each.reason != CHANGE}
        before = availability.gone_before(connection, of_round) if self.round else frozenset()
        conn_id, round_id = self.asked_with.conn_id, self.round.reconciliation_id if self.round else None
        availability.store_available(connection, available, conn_id=conn_id, as_of=as_of, reconciliation_id=round_id)
        if round_id is None:
            return
        availability.add_checks(
            connection, gone, conn_id=conn_id, as_of=as_of, checked_at=checked_at, reconciliation_id=round_id
        )
        first = of_round - before
        reconciliations.add_counts(
            connection,
            round_id,
            RoundCounts(
                asked_count=len(of_round),
                available_count=sum(each.asset_id in of_round for each in available),
                not_licensed_count=sum(each.verdict == NOT_LICENSED for each in gone),
                not_in_catalogue_count=sum(each.verdict == NOT_IN_CATALOGUE for each in gone),
                first_asked_count=len(first),
                first_gone_count=sum(each.asset_id in first for each in gone),
            ),
        )
        unnamed = sum(each.asset_id in first and each.register is None for each in available)
        reconciliations.add_found_elsewhere(connection, self.asked_with.later_conn_ids, unnamed)

    def _ask_on(self, connection: Connection, question: int, not_found: Sequence[QueuedAsset]) -> int:
        """Let the next question come next, or the next connection; return how many have none in this round."""
        if question != LAST_WITH_TOKEN:
            lookup_queue.ask_next(connection, not_found, question=question + 1, conn_id=self.asked_with.conn_id)
            return 0
        for next_conn_id in self.asked_with.later_conn_ids[:1]:
            elsewhere = [each for each in not_found if each.register is None]
            lookup_queue.ask_with(connection, elsewhere, conn_id=next_conn_id)
            not_found = _without(not_found, elsewhere)
        judged = [each for each in not_found if has_lookup(each.asset_type, is_of_getty=each.register is not None)]
        now = [each for each in judged if self.round and each.reason != CHANGE]
        later = _without(judged, now) if self.reconciles or self.round else []
        lookup_queue.ask_next(connection, now, question=question + 1, conn_id=self.asked_with.conn_id)
        lookup_queue.recheck(connection, later)
        lookup_queue.remove(connection, _without(not_found, [*now, *later]))
        return len(not_found) - len(now)


def _is_same(asset: QueuedAsset, live: Mapping[str, LiveAsset], in_channels: Collection[str]) -> bool:
    """Say whether the feed says of an asset what it said when it was asked."""
    if asset.register is None:
        return asset.asset_id not in in_channels
    return asset.asset_id in live and live[asset.asset_id].register == asset.register


def _without(assets: Sequence[QueuedAsset], others: Sequence[QueuedAsset]) -> list[QueuedAsset]:
    left_out = {each.asset_id for each in others}
    return [each for each in assets if each.asset_id not in left_out]


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
