"""The loop of one connection: its lease, its round, its limits, and what comes of errors.

No transaction is open while Getty is waited for. Killed at any point, nothing is lost: what was not written is still
in the queue, and the next run takes the lease over.
"""

import logging
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from asset_changes.errors import (
    ApiUnavailable,
    AssetChangesError,
    CanariesNotFound,
    RateLimited,
    RequestRefused,
    TerminalError,
    UnreadableLookup,
    WarehouseUnavailable,
)
from asset_changes.getty_api.lookup import MAX_IDS, LookupAnswer
from asset_changes.lookup.answers import AnswerCounts, AnswerWriter, Chunk, chunks_of
from asset_changes.lookup.canaries import check_canaries
from asset_changes.lookup.context import LookupContext, LookupSource
from asset_changes.lookup.limits import DailyLimitReached, RateLimit
from asset_changes.lookup.metadata import MetadataRow, read_metadata
from asset_changes.warehouse import canaries, lookup_connections, lookup_queue, reconciliations
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.lookup_connections import Holder, Lease, LeaseLost
from asset_changes.warehouse.lookup_queue import ASKED, CHANGE, RECHECK, AskedWith

log = logging.getLogger(__name__)

CHUNKS_READ_AT_ONCE = 50
"""Many, for the last chunk of each type in a read is seldom full: with 10, two types cost a quarter more calls."""
FRESH_SECONDS = 30
"""How long a chunk that was read may wait for its call; then the queue is read again."""
FAILURES_IN_A_ROW = 5
"""So many chunks that fail one after the other mean that Getty fails, not that it fails for one of their assets."""
_FIRST_PAUSE, _LONGEST_PAUSE, _RENEW_SECONDS = 15.0, 300.0, 60.0


def never() -> bool:
    """Nothing stops it but its time."""
    return False


class ConnectionLoop:
    """The loop of one connection, with what it has done so far."""

    def __init__(
        self, context: LookupContext, conn_id: str, *, minutes: float, stops: Callable[[], bool] = never
    ) -> None:
        self.conn_id = conn_id
        self.counts, self.calls, self.waiting = AnswerCounts(), 0, 0
        self.is_daily_limit_reached = False
        self._context = context
        self._asked_with = AskedWith(
            conn_id=conn_id, channel_ids=context.connections[conn_id], conn_ids=tuple(sorted(context.connections))
        )
        self._limit = RateLimit(context.calls_per_second, sleep=context.sleep, monotonic=context.monotonic)
        self._started = context.monotonic()
        self._seconds, self._stops = minutes * 60, stops
        self._pauses = self._failures = 0
        self._error: AssetChangesError | None = None
        self._error_without_token: TerminalError | None = None
        self._lease: Lease
        self._writer: AnswerWriter
        self._round_id: int | None = None

    def run(self) -> str | None:
        """Work through the queue; return who has the lease instead, None where it was ours."""
        engine = self._context.warehouse
        take = partial(lookup_connections.take_lease, conn_id=self.conn_id, holder=self._context.holder)
        lease = in_transaction(engine, take)
        if isinstance(lease, Holder):
            holder = f"Connection {self.conn_id} is used by {lease.name} until {lease.until:%H:%M:%S} UTC"
            log.warning("%s: nothing is looked up with it here", holder)
            return holder
        self._lease = lease
        client = partial(self._context.client, before_call=self._before_call, on_throttled=self._on_throttled)
        try:
            with closing(client(self.conn_id)) as source:
                self._begin_round(source)
                if self._ask_what_is_due(source):
                    self._end_round(source)
        except TerminalError as error:
            in_transaction(engine, partial(lookup_connections.mark_failed, lease=lease, error=str(error)))
            raise
        except DailyLimitReached:
            self.is_daily_limit_reached = True
            log.warning(
                "Connection %s has used its %d calls of today: lookups continue at 00:00 UTC.",
                self.conn_id,
                self._context.calls_per_day,
            )
        except LeaseLost as error:
            log.warning("%s This one ends.", error)
        finally:
            with suppress(WarehouseUnavailable):  # then the lease ends by itself
                self._report()
                in_transaction(engine, partial(lookup_connections.release_lease, lease=lease))
        return None

    def _is_over(self) -> bool:
        return self._stops() or self._context.monotonic() - self._started >= self._seconds

    def _begin_round(self, source: LookupSource) -> None:
        """Continue the open reconciliation, if there is one and Getty's answers are to be believed."""
        with transaction(self._context.warehouse) as connection:
            current = reconciliations.current_round(connection, self.conn_id)
        self._writer = AnswerWriter(
            asked_with=self._asked_with,
            round=current,
            language=self._context.language,
            stores_metadata=self._context.metadata,
            reconciles=self._context.reconciles,
        )
        if current is not None:
            self._round_id = current.reconciliation_id
            self._check_canaries(source)

    def _end_round(self, source: LookupSource) -> None:
        """Keep that everything in the round was asked; Getty's answers must be believable to its end.

        What a connection before this one is still asked about may be left to this one, but for one that is refused.
        """
        with transaction(self._context.warehouse) as connection:
            is_whole = not lookup_queue.has_unnamed_due(connection, self._asked_with)
        engine, round_id = self._context.warehouse, self._round_id
        if round_id is None or not is_whole:
            return
        try:
            self._check_canaries(source)
        except CanariesNotFound:
            in_transaction(engine, partial(reconciliations.set_outcome, reconciliation_id=round_id, outcome="void"))
            raise

        def mark_asked(connection: Connection) -> None:
            lookup_connections.renew_lease(connection, self._lease)
            reconciliations.mark_asked(connection, round_id)

        in_transaction(engine, mark_asked)

    def _check_canaries(self, source: LookupSource) -> None:
        with transaction(self._context.warehouse) as connection:
            drawn = canaries.draw(connection, self.conn_id, channel_ids=self._asked_with.channel_ids)
        try:
            check_canaries(source, drawn, conn_id=self.conn_id)
        except CanariesNotFound:
            work = partial(lookup_queue.ask_from_the_start, conn_id=self.conn_id)
            in_transaction(self._context.warehouse, work)  # what was not found may have been such an answer too
            raise

    def _ask_what_is_due(self, source: LookupSource) -> bool:
        """Ask until nothing is due; return whether that is so, and not only the time over."""
        reasons = [ASKED, CHANGE]
        if self._round_id is not None:
            reasons.append(RECHECK)
        read = partial(
            lookup_queue.next_assets,
            asked_with=self._asked_with,
            reasons=reasons,
            row_count=MAX_IDS * CHUNKS_READ_AT_ONCE,
        )
        is_done = False
        while not is_done and not self._is_over():
            assets = in_transaction(self._context.warehouse, read)
            is_done = not assets
            read_at = self._context.monotonic()
            for chunk in chunks_of(assets, size=MAX_IDS):
                if self._is_over() or self._context.monotonic() - read_at > FRESH_SECONDS:
                    break
                self._ask_in_parts(source, chunk)
        if error := self._error or self._error_without_token:
            raise error
        return is_done

    def _ask_in_parts(self, source: LookupSource, chunk: Chunk) -> None:
        """Ask about a chunk; if that fails, about its halves: an asset that Getty fails for must not stop the others.

        Such an asset waits for longer with each try, and so does all of the chunk where Getty fails for every part, or
        refuses to answer without a token: the rest can still be asked.
        """
        if self._error_without_token and not chunk.has_token:
            self._postpone(chunk)
            return
        parts = [chunk]
        while parts and not self._is_over() and self._failures < FAILURES_IN_A_ROW:
            part = parts.pop(0)
            try:
                self._ask(source, part)
            except (ApiUnavailable, UnreadableLookup) as error:
                self._failures, self._error = self._failures + 1, error
                middle = len(part.assets) // 2
                if middle:
                    log.warning("%s Its halves are asked one by one.", error)
                    parts += [replace(part, assets=part.assets[:middle]), replace(part, assets=part.assets[middle:])]
                else:
                    log.warning("%s Asset %r is asked again later.", error, part.assets[0].asset_id)
                    self._postpone(part)
        for part in parts:
            self._postpone(part)
        if self._error is not None and self._failures >= FAILURES_IN_A_ROW:
            raise self._error

    def _postpone(self, chunk: Chunk) -> None:
        work = partial(lookup_queue.postpone, assets=chunk.assets, until=self._context.clock())
        in_transaction(self._context.warehouse, work)

    def _ask(self, source: LookupSource, chunk: Chunk) -> None:
        """Ask about a chunk and keep the answer; where Getty asks for fewer calls, pause and leave it in the queue."""
        try:
            answer = source.look_up(
                chunk.asset_ids,
                asset_type=chunk.asset_type,
                language=self._context.language,
                without=self._lease.refused_fields,
                ids_only=not (chunk.has_token and self._context.metadata),
                with_token=chunk.has_token,
            )
        except RateLimited as error:
            self._pause(error)
            return
        except UnreadableLookup:
            raise
        except TerminalError as error:
            if isinstance(error, RequestRefused) or not chunk.has_token:
                self._postpone(chunk)  # the next run begins with others
            if chunk.has_token:
                raise
            log.warning("%s What was not found with a token has no verdict before that; the rest is asked.", error)
            self._error_without_token = error
            return
        self._pauses, self._failures, self._error = 0, 0, None
        self._limit.speed_up()
        self._write(chunk, answer, refused_fields=source.refused_fields)

    def _write(self, chunk: Chunk, answer: LookupAnswer, *, refused_fields: frozenset[str]) -> None:
        """Read the objects, then store what they say in one transaction."""
        received_at = self._context.clock()
        read = {}
        if chunk.has_token and self._context.metadata:
            read = {id_: read_metadata(answer.found[id_]) for id_ in chunk.asset_ids if id_ in answer.found}
        work = partial(
            self._write_in_transaction,
            chunk=chunk,
            answer=answer,
            read=read,
            received_at=received_at,
            refused_fields=refused_fields | self._lease.refused_fields,
        )
        self.counts += in_transaction(self._context.warehouse, work)

    def _write_in_transaction(
        self,
        connection: Connection,
        *,
        chunk: Chunk,
        answer: LookupAnswer,
        read: dict[str, MetadataRow],
        received_at: datetime,
        refused_fields: frozenset[str],
    ) -> AnswerCounts:
        counts = self._writer.write(connection, chunk=chunk, answer=answer, read=read, received_at=received_at)
        lookup_connections.mark_answered(
            connection, self._lease, at=received_at, found_count=counts.found, refused_fields=refused_fields
        )
        return counts

    def _before_call(self) -> None:
        """Wait until the next call may be made and count it, before it is made."""
        self._limit.wait()
        count = partial(lookup_connections.count_call, lease=self._lease, calls_per_day=self._context.calls_per_day)
        if not in_transaction(self._context.warehouse, count):
            raise DailyLimitReached
        self.calls += 1

    def _on_throttled(self) -> None:
        """Slow down, and count that Getty asked for it."""
        self._limit.slow_down()
        in_transaction(self._context.warehouse, partial(lookup_connections.count_throttled, lease=self._lease))

    def _pause(self, error: RateLimited) -> None:
        """Wait for longer with each refusal that follows another; the lease is kept meanwhile."""
        seconds = max(error.retry_after or 0, min(_FIRST_PAUSE * 2**self._pauses, _LONGEST_PAUSE))
        self._pauses = min(self._pauses + 1, 10)
        log.warning("%s Lookups with connection %s pause for %.0f s.", error, self.conn_id, seconds)
        monotonic = self._context.monotonic
        until = renewed_at = monotonic()
        until += seconds
        while (left := until - monotonic()) > 0 and not self._is_over():
            self._context.sleep(min(left, 1))
            if monotonic() - renewed_at >= _RENEW_SECONDS:
                in_transaction(self._context.warehouse, partial(lookup_connections.renew_lease, lease=self._lease))
                renewed_at = monotonic()

    def _report(self) -> None:
        """Write the story of the loop in one line, and of the reconciliation in another."""
        with transaction(self._context.warehouse) as connection:
            self.waiting = lookup_queue.count_waiting(connection, self._asked_with.channel_ids)
            calls_today = lookup_connections.calls_today(connection, self.conn_id)
            current = reconciliations.find_round(connection, self._round_id) if self._round_id else None
        seconds = max(self._context.monotonic() - self._started, 0.001)
        if current is not None:
            log.info(
                "Reconciliation %d with connection %s: asked=%d available=%d not_licensed=%d not_in_catalogue=%d: %s",
                current.reconciliation_id,
                self.conn_id,
                current.asked_count,
                current.available_count,
                current.not_licensed_count,
                current.not_in_catalogue_count,
                "everything was asked" if current.asked_at else "the next run continues",
            )
        log.info(
            "Looked up assets: connection=%s %s waiting=%d calls=%d calls_today=%d/%d rate=%.2f/s minutes_left=%.0f",
            self.conn_id,
            self.counts,
            self.waiting,
            self.calls,
            calls_today,
            self._context.calls_per_day,
            self.calls / seconds,
            self.waiting / MAX_IDS / self._limit.calls_per_second / 60,
        )
