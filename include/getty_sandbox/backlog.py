"""The feed of a sandbox as first made: from a seed, a start and a size, the same every time."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta

from getty_sandbox.encode import Message, MessageEncoder, microseconds
from getty_sandbox.feed import FeedGenerator
from getty_sandbox.options import Options, SandboxError
from getty_sandbox.store import Store

_US_PER_DAY = 86_400_000_000
# Shortly before ids grow by a digit: whoever compares them as text without their length gets them wrong.
_FIRST_DURABLE_ID = 9_990


def make_backlog(options: Options, start: datetime) -> dict[int, list[Message]]:
    """Per channel its messages, ascending in time."""
    generator = FeedGenerator(
        seed=options.seed,
        channels=options.channels,
        start_us=microseconds(start),
        span_us=int(options.span_days * _US_PER_DAY),
        nastiness=options.nastiness,
    )
    backlog = {}
    for channel_id, drafts in generator.generate(options.changes_per_channel).items():
        # A generator of its own for each channel: channels do not depend on each other.
        rng = random.Random(f"spelling {options.seed} {channel_id}")
        backlog[channel_id] = MessageEncoder(rng, nastiness=options.nastiness).encode(drafts)
    return backlog


def resolve_origin(options: Options, store: Store) -> tuple[datetime, int]:
    """The start of the feed and the first change-set id; refuses options that a stored state contradicts."""
    now = options.clock()
    start = options.start or now - timedelta(days=options.span_days, minutes=1)
    first_id = options.first_change_set_id
    if first_id is None:
        # Without a state the clock keeps ids from repeating after a restart.
        first_id = _FIRST_DURABLE_ID if options.state_dir else time.time_ns() // 1_000_000
    wanted = {
        "seed": str(options.seed),
        "changes per channel": str(options.changes_per_channel),
        "span in days": str(float(options.span_days)),
        "nastiness": str(float(options.nastiness)),
        "channels": "; ".join(f"{c.channel_id} {c.asset_family} {c.asset_type}" for c in options.channels),
    }
    kept = store.origin(wanted | {"start": start.isoformat(), "first id": str(first_id)})
    if options.start is not None:
        wanted["start"] = options.start.isoformat()
    for name, value in wanted.items():
        if kept[name] != value:
            raise SandboxError(
                f"The state in {options.state_dir} was made with {name} {kept[name]}, not {value}: "
                "start with the same, or choose another --state-dir."
            )
    return datetime.fromisoformat(kept["start"]), int(kept["first id"])
