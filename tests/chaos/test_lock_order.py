"""Two channels with the same assets are loaded at once without a deadlock."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from asset_changes.archive import Archive
from asset_changes.pipeline.confirm import confirm
from asset_changes.pipeline.context import ChannelContext, ReceivedSet
from asset_changes.pipeline.fetch import record_in_ledger, request_and_archive
from asset_changes.pipeline.load import load
from asset_changes.pipeline.transform import transform
from asset_changes.warehouse.engine import connect, in_transaction
from sqlalchemy import URL, event, text
from upath import UPath

from tests.conftest import EDITORIAL_FILM, EDITORIAL_IMAGES, SCHEMA
from tests.model.getty import InMemoryGetty, WorkerClient
from tests.model.reference import Message

ASSETS, ROUNDS = 1500, 6
CHANNELS = {channel.channel_id: channel for channel in (EDITORIAL_IMAGES, EDITORIAL_FILM)}


def test_two_channels_with_the_same_assets_never_deadlock(warehouse_url: URL, tmp_path: Path) -> None:
    engine = connect(warehouse_url, schema=SCHEMA)
    with engine.begin() as connection:
        # Merging would hand the rows over in order by chance; the order must not hang on the plan.
        connection.execute(text(f"ALTER DATABASE {warehouse_url.database} SET enable_mergejoin = off"))
    engine.dispose()
    collisions: list[object] = []
    event.listen(engine, "handle_error", lambda context: collisions.append(context.original_exception))
    getty = InMemoryGetty(channels=CHANNELS, on_confirm=lambda *_: None)
    archive = Archive(UPath(f"memory://{tmp_path}"))
    workers = [
        ChannelContext(channel=each, source=WorkerClient(getty), archive=archive, warehouse=engine)
        for each in CHANNELS.values()
    ]
    both, mine = threading.Barrier(len(workers), timeout=60), threading.local()

    @event.listens_for(engine, "before_cursor_execute")
    def _begin_together(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO asset_states" in statement and mine.is_waiting:
            mine.is_waiting = False
            both.wait()

    def load_and_confirm(context: ChannelContext, received: ReceivedSet) -> None:
        mine.is_waiting = True
        load(context, received.ref, transform(received.deliveries, channel=context.channel, ref=received.ref))
        confirm(context, received.ref)

    with ThreadPoolExecutor(len(workers)) as pool:
        for second in range(1, ROUNDS + 1):
            # What one channel deletes, the other updates.
            getty.append(3001, [_change(number, number % 2, second) for number in range(ASSETS)])
            getty.append(3003, [_change(number, 1 - number % 2, second) for number in range(ASSETS)])
            received = [_fetched(context) for context in workers]
            list(pool.map(load_and_confirm, workers, received))
    engine.dispose()
    assert collisions == []


def _change(number: int, is_deleted: int, second: int) -> Message:
    return Message(f"{number:05d}", "Delete" if is_deleted else "Update", second)


def _fetched(context: ChannelContext) -> ReceivedSet:
    received = request_and_archive(context, batch_size=ASSETS)
    recorded = in_transaction(context.warehouse, partial(record_in_ledger, context=context, received=received))
    assert recorded is not None
    return recorded
