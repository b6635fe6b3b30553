"""Exceptions that a person makes: hold the files of assets back, release them, or waive a duty to remove them."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Engine

from asset_changes.errors import ConfigurationError
from asset_changes.warehouse import file_stores, holds
from asset_changes.warehouse.clock import WarehouseClock
from asset_changes.warehouse.engine import in_transaction, transaction
from asset_changes.warehouse.migrate import check_version

log = logging.getLogger(__name__)

ACTIONS = ("hold", "release", "waive")
_NAMED = 20
_PAUSE = 0.5  # seconds


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a person decides of some assets; `reason` in words, `until` for a hold, `source` for a waiver."""

    action: str
    asset_ids: Sequence[str]
    reason: str
    by: str
    owner: str
    until: datetime | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class DecisionMade:
    """How many assets were changed; of the others, nothing was found to release or to waive.

    `too_late`: of so many, files were deleted while the hold was made.
    """

    changed: int
    unknown: int
    too_late: int = 0


def carry_out(warehouse: Engine, asked: Decision) -> DecisionMade:
    """Write what the person decided in one transaction.

    A hold or waiver returns once no chunk is being deleted any more that may not have seen it: from then on it counts.
    Raise ConfigurationError where it cannot be meant: without a reason, with an end that is over, or where none of the
    assets has a hold of that owner or a duty to waive.
    """
    asset_ids = sorted({each.strip() for each in asked.asset_ids if each.strip()})
    begun = WarehouseClock(warehouse)()
    _check(asked, asset_ids, now=begun)
    with transaction(warehouse) as connection:
        check_version(connection)
    if asked.action == "hold":
        work = partial(holds.hold, owner=asked.owner, reason=asked.reason, until=asked.until)
    elif asked.action == "release":
        work = partial(holds.release, owner=asked.owner)
    else:
        work = partial(holds.waive, source=asked.source, why=asked.reason)
    changed = in_transaction(warehouse, partial(work, asset_ids=asset_ids, by=asked.by))
    unknown = [each for each in asset_ids if each not in changed]
    if not changed:
        what = f"hold of {asked.owner!r}" if asked.action == "release" else "open duty to remove"
        raise ConfigurationError(f"None of these {len(asset_ids)} assets has a {what}: nothing was changed.")
    if unknown:
        log.warning("Nothing to %s of %d assets: %s", asked.action, len(unknown), ", ".join(unknown[:_NAMED]))
    with transaction(warehouse) as connection:
        kept = holds.holders(connection, asset_ids)
    log.info(
        "Decision carried out: action=%s assets=%d unknown=%d held_back_now=%d by=%s owner=%s until=%s",
        asked.action, len(changed), len(unknown), len(kept), asked.by, asked.owner, asked.until or "no end",
    )  # fmt: skip
    late = set() if asked.action == "release" else _wait_for_chunks(warehouse, asset_ids, since=begun)
    if late:
        log.warning("Files of %d assets were deleted meanwhile: %s", len(late), ", ".join(sorted(late)[:_NAMED]))
    return DecisionMade(changed=len(changed), unknown=len(unknown), too_late=len(late))


def _wait_for_chunks(warehouse: Engine, asset_ids: Sequence[str], *, since: datetime) -> set[str]:
    """Wait until chunks that began before the decision are over; return the assets of which they deleted files."""
    with transaction(warehouse) as connection:
        until = file_stores.chunk_time(connection)
    while True:
        with transaction(warehouse) as connection:
            deleting = file_stores.stores_deleting(connection, since=until)
            if not deleting:
                return holds.deleted_since(connection, asset_ids, since=since)
        log.info("Waiting for the chunk that is being deleted from %s", ", ".join(deleting))
        time.sleep(_PAUSE)


def _check(asked: Decision, asset_ids: Sequence[str], *, now: datetime) -> None:
    if asked.action not in ACTIONS:
        raise ConfigurationError(f"The action {asked.action!r:.40} is not one of {', '.join(ACTIONS)}.")
    if not asset_ids:
        raise ConfigurationError(f"The run names no asset to {asked.action}: give their ids, one per line.")
    if not asked.reason.strip():
        raise ConfigurationError(f"The run gives no reason to {asked.action}: whoever reads it later needs one.")
    if asked.until is not None and asked.action != "hold":
        raise ConfigurationError(f"`until` is the end of a hold; the action is {asked.action}.")
    if asked.until is not None and asked.until <= now:
        raise ConfigurationError(f"The hold would end at {asked.until}, which is over: give a later `until`.")
    if asked.source is not None and asked.action != "waive":
        raise ConfigurationError(f"`source` limits a waiver; the action is {asked.action}.")
