"""What every store of files can do: show what it has of an asset, and delete exactly what it showed."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from asset_changes.errors import AssetChangesError

UNREADABLE = "\ufffd"
"""Is in a key in the place of what no text can hold. Such a key is shown and never deleted: it is not the real one."""
MOST_UNLISTED = 20
"""Where more of the assets that are asked for at once cannot be listed, the store cannot be."""
_ID = re.compile(r"(?!(?i:gettyimages-))(?=.*\d)[A-Za-z0-9][A-Za-z0-9_-]{0,254}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One version of one key, as it was listed."""

    key: str
    """Its place below the store's uri, with `/` between folders."""
    version_id: str | None
    """None where the store has no versions."""
    is_delete_marker: bool
    size: int
    modified_at: datetime
    identity: str
    """What must be unchanged when it is deleted: a file's device, inode, times; an object's version id or ETag."""


@dataclass(frozen=True, kw_only=True)
class DeleteResult:
    """What became of one version that was to be deleted.

    `missing`: it was gone already. `changed`: another file has its place now, which was left. `error`: it was refused,
    or no answer came; a new listing shows whether it is still there. Whatever the result, only a listing is a proof.
    """

    file: StoredFile
    result: Literal["deleted", "missing", "changed", "error"]
    error: str | None = None
    """Why it was not deleted; of a `deleted` file, where its bytes may still be (a hard link)."""
    request_id: str | None = None


class FileStore(Protocol):
    """A store of files, opened for one run."""

    @property
    def name(self) -> str:
        """What the setting calls it; the `source` of its holdings."""
        ...

    @property
    def uri(self) -> str:
        """Where it is, without credentials."""
        ...

    def check(self) -> None:
        """Raise StoreRefused where the store is not what it should be, StoreUnavailable where it does not answer."""
        ...

    def list_files(self, asset_ids: Collection[str]) -> dict[str, list[StoredFile]]:
        """Return every version and delete marker of every key that the templates give these assets.

        An asset of which there is nothing is missing. Raise StoreRefused for an id of which `refusal_of` says why no
        store may be asked for it, and where the store does not let itself be listed; StoreUnavailable where it does
        not answer. A listing is whole or is an error: nothing found means that nothing is there.
        """
        ...

    def delete(self, files: Sequence[StoredFile]) -> list[DeleteResult]:
        """Delete exactly these versions; return one result for each, in their order.

        It never raises: where the store does not answer, each of the call's files has the result `error`.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def list_each(
    store: FileStore, asset_ids: Collection[str]
) -> tuple[dict[str, list[StoredFile]], dict[str, AssetChangesError]]:
    """Return what the store has of these assets, and the error of each asset that cannot be listed.

    Of these nothing is known. One of them (a key that its listing cannot name, a damaged folder) keeps no other from
    being listed. Raise the error where the store does not answer, or not for many.
    """
    try:
        return store.list_files(asset_ids), {}
    except AssetChangesError:
        store.check()
    found: dict[str, list[StoredFile]] = {}
    failed: dict[str, AssetChangesError] = {}
    for asset_id in sorted(asset_ids):
        try:
            found |= store.list_files([asset_id])
        except AssetChangesError as error:
            store.check()
            failed[asset_id] = error
            if len(failed) > MOST_UNLISTED:
                raise
    return found, failed


def refusal_of(asset_id: str) -> str | None:
    """Return why no store may be asked for this asset, or None where it may.

    The id becomes part of a path: with a `/`, `..` or `*` in it, it would name the files of other assets.
    """
    if _ID.fullmatch(asset_id):
        return None
    return (
        f"The id {asset_id[:60]!r} is not made of letters, digits, `-` and `_`, with a digit among them, or is a file "
        "name: it names no file safely. Look for its files yourself."
    )
