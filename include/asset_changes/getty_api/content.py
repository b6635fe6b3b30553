"""What makes two messages the same: what the feed says of the asset, not the spelling, the order or the address."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, compress
from typing import Any

import msgspec

from asset_changes.getty_api.fields import as_json
from asset_changes.models import ChangeSet, Messages

PARSER_VERSION = 2
"""Raise it with every change of how a message is read: a set that an older version read is then read again."""


def contents(messages: Messages) -> list[Any]:
    """Return what the feed says in each message: by it messages are the same or not.

    Not the address (`uri`), which may differ at each request, and not the spelling. The raw text has
    the spelling of its delivery: it counts only where nothing else was understood.
    """
    said = list(zip(messages.asset_id, messages.lifecycle, messages.asset_type, messages.changed_at, strict=True))
    if not any(messages.reason):
        return said
    return [
        each if reason is None else (reason, *each) if any(each) else (reason, as_json(raw))
        for each, reason, raw in zip(said, messages.reason, messages.raw, strict=True)
    ]


def content_hash(said: Iterable[Any]) -> str:
    """Return a hash of the contents of messages, whatever their order, with the parser's version before it."""
    said = list(said)
    try:
        together = msgspec.json.encode(sorted(said))  # a third of the time that repr takes
    except (TypeError, UnicodeEncodeError):  # a null next to a text, or a lone surrogate
        together = "\n".join(sorted(map(repr, said))).encode()
    return f"{PARSER_VERSION}:{hashlib.sha256(together).hexdigest()}"


def unseen(deliveries: Sequence[ChangeSet]) -> list[list[bool]]:
    """Return for each delivery of one change set which of its messages the earlier ones do not contain."""
    seen, found = Counter[Any](), []
    for delivery in deliveries:
        left, is_unseen = seen.copy(), []
        for message in contents(delivery.messages):
            is_unseen.append(left[message] <= 0)
            left[message] -= 1
            seen[message] += is_unseen[-1]
        found.append(is_unseen)
    return found


def combined_hash(deliveries: Sequence[ChangeSet]) -> str:
    """Return the content hash of all messages that the deliveries of one change set contain together."""
    if len(deliveries) == 1:
        return deliveries[0].content_hash
    said = [contents(delivery.messages) for delivery in deliveries]
    return content_hash(chain(*(compress(*pair) for pair in zip(said, unseen(deliveries), strict=True))))


def is_read_by_this_parser(hash_of_row: str) -> bool:
    """Say whether a content hash was made by this version of the parser."""
    return hash_of_row.startswith(f"{PARSER_VERSION}:")


def is_read_by_newer_parser(hash_of_row: str) -> bool:
    """Say whether a content hash was made by a parser newer than this one."""
    version = hash_of_row.partition(":")[0]
    return version.isdigit() and len(version) < 9 and int(version) > PARSER_VERSION
