"""Canaries: assets that Getty must find. If it does not, its answers say nothing about others either.

They are the newest live assets of each channel. One of a channel's is enough, for the newest ones may just have been
deleted; found without a token is enough, for an agreement may have ended.
"""

import logging
from collections.abc import Mapping, Sequence

from asset_changes.errors import CanariesNotFound
from asset_changes.getty_api.lookup import MAX_IDS, has_lookup, is_video
from asset_changes.lookup.answers import LAST_QUESTION, LAST_WITH_TOKEN, asked_as
from asset_changes.lookup.context import LookupSource
from asset_changes.warehouse.canaries import Canary

log = logging.getLogger(__name__)


def check_canaries(source: LookupSource, canaries: Mapping[int, Sequence[Canary]], *, conn_id: str) -> None:
    """Raise CanariesNotFound where Getty finds none of a channel's canaries, neither with a token nor without."""
    usable = {
        channel_id: [each for each in some if has_lookup(each.asset_type)] for channel_id, some in canaries.items()
    }
    missing = {channel_id: some for channel_id, some in usable.items() if some}
    channel_count = len(missing)
    for question in range(1, LAST_QUESTION + 1):
        asked = [each for some in missing.values() for each in some]
        found = _found(source, asked, question=question)
        missing = {
            channel_id: some for channel_id, some in missing.items() if found.isdisjoint(each.asset_id for each in some)
        }
    if missing:
        named = "; ".join(
            f"channel {channel_id}: {', '.join(each.asset_id for each in some)}" for channel_id, some in missing.items()
        )
        raise CanariesNotFound(
            f"Getty finds none of the newest live assets ({named}) with connection {conn_id}, neither with a token nor "
            "without: its answers are not believed, and no verdict was written."
        )
    log.info("Getty finds the newest live assets of all %d channels with connection %s.", channel_count, conn_id)


def _found(source: LookupSource, asked: Sequence[Canary], *, question: int) -> set[str]:
    found: set[str] = set()
    for videos in (False, True):
        ids = [each.asset_id for each in asked if is_video(asked_as(each.asset_type, question)) == videos]
        for start in range(0, len(ids), MAX_IDS):
            answer = source.look_up(
                ids[start : start + MAX_IDS],
                asset_type="Video" if videos else "Image",
                ids_only=True,
                with_token=question <= LAST_WITH_TOKEN,
            )
            found |= answer.found.keys()
    return found
