"""What a company may hold of the sandbox's assets: an example, the same for the same seed."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from getty_sandbox.decode import Change, DeliveredSet, read_set
from getty_sandbox.truth import Registers

_DELETED_SHARE = 0.01
_PLAIN_ID = re.compile(r"[0-9]{6,}(-[0-9]+)?")  # ids of files as a company has them, none of the feed's odd ones
_FIRST_UNNAMED_ID = 50_000_000  # the ids of the feed are larger


class HeldAsset(NamedTuple):
    """An asset, and what is needed to add it to the catalogue."""

    asset_id: str
    asset_type: str
    asset_family: str


def choose_holdings(
    feeds: Iterable[DeliveredSet], *, seed: int, count: int, added: int
) -> tuple[list[HeldAsset], list[HeldAsset]]:
    """Up to `count` assets of these feeds, one in a hundred of them deleted, and `added` that no feed names."""
    rng = random.Random(f"holdings {seed}")
    registers: defaultdict[str, Registers] = defaultdict(Registers)
    for feed in feeds:
        for change in read_set(feed):
            if isinstance(change, Change) and _PLAIN_ID.fullmatch(change.asset_id):
                registers[change.asset_id] = registers[change.asset_id].with_change(change)
    upserts = {asset_id: found.upsert for asset_id, found in registers.items() if found.upsert}
    assets = sorted(
        HeldAsset(asset_id, upsert.asset_type, upsert.channel.asset_family)
        for asset_id, upsert in upserts.items()
        if upsert.asset_type in ("Image", "Film")
    )
    live = [asset for asset in assets if registers[asset.asset_id].is_live]
    deleted = [asset for asset in assets if not registers[asset.asset_id].is_live]
    of_deleted = min(int(count * _DELETED_SHARE), len(deleted))
    known = rng.sample(live, min(count - of_deleted, len(live))) + rng.sample(deleted, of_deleted)
    unnamed = [
        HeldAsset(
            str(_FIRST_UNNAMED_ID + 1000 * n + rng.randrange(1000)),
            "Film" if n % 4 == 3 else "Image",
            rng.choice(("Editorial", "Creative")),
        )
        for n in range(added)
    ]
    return known, unnamed
