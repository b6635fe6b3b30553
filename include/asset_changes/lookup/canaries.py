"""Canaries: assets that Getty must find. If it does not, its answers say nothing about others either.

Half of them is enough, for some may be gone: deleted by Getty just now, or by a Delete that was missed. It must be
half of the images and half of the videos, which are different calls. Found without a token is enough, for an agreement
may have ended.
"""

import logging
from collections.abc import Sequence

from asset_changes.errors import CanariesNotFound
from asset_changes.getty_api.lookup import MAX_IDS, has_lookup, is_video
from asset_changes.lookup.answers import LAST_QUESTION, LAST_WITH_TOKEN, asked_as
from asset_changes.lookup.context import LookupSource
from asset_changes.warehouse.canaries import Canary

log = logging.getLogger(__name__)

FEWEST_OF_KIND = 5
"""Fewer images or videos are only counted together with the others: all of so few may be gone."""
_NAMED = 10


def check_canaries(source: LookupSource, canaries: Sequence[Canary], *, conn_id: str) -> None:
    """Raise CanariesNotFound where Getty finds fewer than half of the canaries, neither with a token nor without."""
    asked = [each for each in canaries if has_lookup(each.asset_type, is_of_getty=not each.was_found)]
    missing, question = asked, 0
    while _is_too_few(asked, missing):
        if question == LAST_QUESTION:
            raise CanariesNotFound(
                f"Getty finds only {len(asked) - len(missing)} of {len(asked)} assets that are live or that it found "
                f"lately, with connection {conn_id} or without a token; among those missing are "
                f"{', '.join(each.asset_id for each in missing[:_NAMED])}. Its answers are not believed, and no "
                "verdict was written."
            )
        question += 1
        found = _found(source, missing, question=question)
        missing = [each for each in missing if each.asset_id not in found]
    log.info("Getty finds %d of %d canaries with %s.", len(asked) - len(missing), len(asked), conn_id)


def _is_too_few(asked: Sequence[Canary], missing: Sequence[Canary]) -> bool:
    """Say whether most are missing: of all, or of the images or the videos, where there are some of them."""
    missing_ids = {each.asset_id for each in missing}
    images = [each for each in asked if not is_video(each.asset_type)]
    videos = [each for each in asked if is_video(each.asset_type)]
    groups = [asked, *(group for group in (images, videos) if len(group) >= FEWEST_OF_KIND)]
    return any(2 * sum(each.asset_id in missing_ids for each in group) > len(group) for group in groups)


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
