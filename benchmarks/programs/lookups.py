"""Our lookups: `look_up` of the core, as the Airflow task of that name calls it; a set is a call of a hundred ids.

With `settings["writes_only"]`, the answers are made beforehand, and timed is only the transaction that writes one.
"""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from asset_changes.getty_api.credentials import Credentials
from asset_changes.getty_api.lookup import IMAGE_FIELDS, MAX_IDS, LookupAnswer, LookupClient
from asset_changes.lookup.answers import AnswerWriter, chunks_of
from asset_changes.lookup.context import LookupContext
from asset_changes.lookup.look_up import look_up
from asset_changes.lookup.metadata import read_metadata
from asset_changes.warehouse import lookup_connections, lookup_queue
from asset_changes.warehouse.engine import connect, in_transaction, transaction
from asset_changes.warehouse.lookup_connections import Lease
from asset_changes.warehouse.lookup_queue import AskedWith
from getty_sandbox.metadata import Account, encode_metadata
from sqlalchemy import Engine, text

from benchmarks.programs.rounds import DoSets, Timed, serve
from benchmarks.sandbox import CHANNEL_ID

_AS_FAST_AS_POSSIBLE = 1e6
_ENQUEUE = text("""
    INSERT INTO lookup_queue (asset_id, channel_id, asset_type, reason, enqueued_at, not_before)
    SELECT asset_id, channel_id, asset_type, 'change', now(), upserted_at FROM asset_states
    WHERE asset_id > :after ORDER BY asset_id LIMIT :rows
    RETURNING asset_id""")


def setup(settings: dict[str, Any]) -> DoSets:
    """Return the loop over so many chunks; the assets follow each other, or lie anywhere in the table."""
    logging.basicConfig(filename=settings["log"], level=logging.INFO)
    engine = connect(settings["warehouse"], schema="getty_images")
    do = partial(_write, engine) if settings.get("writes_only") else partial(_look_up, engine, settings)
    last_id = settings.get("after", "")

    def run(sets: int) -> Timed:
        nonlocal last_id
        with transaction(engine) as connection:
            last_id = max(connection.scalars(_ENQUEUE, {"after": last_id, "rows": sets * MAX_IDS}))
        return Timed(sets * MAX_IDS, do(sets))

    return run


def _look_up(engine: Engine, settings: dict[str, Any], sets: int) -> float:
    credentials = Credentials(
        api_key=settings["api_key"],
        secret=settings["secret"],
        api_url=settings["api_url"],
        token_url=settings["token_url"],
    )

    def client(conn_id: str, /, *, before_call: Callable[[], None], on_throttled: Callable[[], None]) -> LookupClient:
        return LookupClient(credentials, name=conn_id, before_call=before_call, on_throttled=on_throttled)

    context = LookupContext(
        warehouse=engine,
        client=client,
        connections={"getty_images_default": frozenset({CHANNEL_ID})},
        holder="benchmark",
        calls_per_second=_AS_FAST_AS_POSSIBLE,
        calls_per_day=10**9,
    )
    started = time.perf_counter()
    done = look_up(context, minutes=600)
    if done.found != sets * MAX_IDS:
        raise RuntimeError(f"{done.found} assets instead of {sets * MAX_IDS} were found")
    return time.perf_counter() - started


def _write(engine: Engine, sets: int) -> float:
    account, seconds = Account(1, "images", has_token=True), 0.0
    lease = in_transaction(engine, partial(lookup_connections.take_lease, conn_id="benchmark", holder="benchmark"))
    assert isinstance(lease, Lease)
    asked_with = AskedWith(conn_id="benchmark", channel_ids=frozenset({CHANNEL_ID}), conn_ids=("benchmark",))
    read = partial(lookup_queue.next_assets, asked_with=asked_with, reasons=["change"], row_count=sets * MAX_IDS)
    writer = AnswerWriter(asked_with=asked_with, round=None, language="en-US")
    for chunk in chunks_of(in_transaction(engine, read), size=MAX_IDS):
        fields, now = frozenset(IMAGE_FIELDS), datetime.now(UTC)
        found = {
            id_: json.loads(encode_metadata(account, fields, asset_id=id_, family="Editorial", version=0))
            for id_ in chunk.asset_ids
        }
        answer = LookupAnswer(found=found, not_found=frozenset(), unanswered=frozenset(), as_of=now, expires_at=now)
        rows = {id_: read_metadata(each) for id_, each in found.items()}
        started = time.perf_counter()
        with transaction(engine) as connection:
            writer.write(connection, chunk=chunk, answer=answer, read=rows, received_at=now)
            lookup_connections.mark_answered(connection, lease, at=now, found_count=MAX_IDS, refused_fields=())
        seconds += time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    serve(setup)
