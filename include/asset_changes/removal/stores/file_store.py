"""A folder as a store: a disk, or a share that is mounted. No symbolic link below it is ever followed."""

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path

from asset_changes.errors import StoreRefused, StoreUnavailable
from asset_changes.removal.stores.store import UNREADABLE, DeleteResult, StoredFile, refusal_of
from asset_changes.removal.stores.template import KeyTemplate

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_FOR_A_PERSON = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)
_KEEP = ".keep"
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # folders of some network shares


class FolderStore:
    """The files below one folder, by key templates."""

    def __init__(self, root: Path, *, name: str, templates: Sequence[KeyTemplate]) -> None:
        self.name = name
        self.uri = f"file://{root}"
        self._root = root
        self._templates = templates
        self._seen: dict[str, os.stat_result] = {}  # the folders that had something in them

    def check(self) -> None:
        """Raise StoreRefused where the store's or a template's folder is missing or empty, as of an unmounted share.

        One that the purge empties gets a file that shows that it is mounted. Where that could not be written, one that
        had files when this store was first looked at may be empty for the rest of the run.
        """
        for folder in sorted({"", *(template.folder for template in self._templates)}):
            with self._open(folder) as opened:
                info = None if opened is None else os.fstat(opened)
                if opened is not None and info and _has_entry(opened):
                    self._seen[folder] = info
                elif info is None or folder not in self._seen or not os.path.samestat(info, self._seen[folder]):
                    what = "is not there" if opened is None else "is empty"
                    raise StoreRefused(
                        f"The folder {self._root / folder} of the store {self.name!r} {what}, so nothing is taken for "
                        "gone: is the share mounted, and is the key template right? If it is meant to be empty, put a "
                        f"file of any name into it, such as {_KEEP}."
                    )

    def list_files(self, asset_ids: Collection[str]) -> dict[str, list[StoredFile]]:
        """Return the files of these assets; symbolic links too, which `delete` leaves to a person."""
        if reason := next(filter(None, map(refusal_of, asset_ids)), None):
            raise StoreRefused(f"The store {self.name!r} is not asked: {reason}")
        found: dict[str, dict[StoredFile, None]] = {}  # in order; templates may share a file
        for template in self._templates:
            place = f"{template.folder}/".lstrip("/")
            with self._open(template.folder) as folder:
                if folder is None:
                    continue
                for asset_id, parts in _first_parts(folder, template, asset_ids):
                    for file in _walk(folder, parts, place):
                        found.setdefault(asset_id, {})[file] = None
        self.check()  # had the share gone meanwhile, its files would seem to be
        return {asset_id: list(files) for asset_id, files in found.items()}

    def delete(self, files: Sequence[StoredFile]) -> list[DeleteResult]:
        """Delete each file if it is still the one that was listed; return one result for each, never raise."""
        results: dict[int, DeleteResult] = {}
        self._keep_folders(files)
        numbered = sorted(enumerate(files), key=lambda each: _parent(each[1]))
        for parent, group in groupby(numbered, key=lambda each: _parent(each[1])):
            of_folder = dict(group)
            try:
                with self._open(parent) as folder:
                    done = {n: self._delete(folder, file) for n, file in of_folder.items()}
                    if folder is not None:
                        _sync(folder)
            except (OSError, StoreRefused, StoreUnavailable) as error:
                done = {n: DeleteResult(file=file, result="error", error=str(error)) for n, file in of_folder.items()}
            results |= done
            if any(each.result == "deleted" for each in done.values()):
                self._remove_empty(next(iter(of_folder.values())).key)
        return [results[n] for n in range(len(files))]

    def close(self) -> None:
        """Do nothing: no folder stays open."""

    def _keep_folders(self, files: Sequence[StoredFile]) -> None:
        """Put a `.keep` into each template's folder that is empty without these files, so that it shows its mount.

        Before they go: a process that dies between would leave a folder that looks like that of an unmounted share.
        """
        for name in {template.folder for template in self._templates}:
            place = f"{name}/" if name else ""
            of_folder = [each.key.removeprefix(place) for each in files if each.key.startswith(place)]
            going = {key.partition("/")[0] for key in of_folder}
            with suppress(OSError, StoreRefused, StoreUnavailable), self._open(name) as folder:  # `check` will say so
                if going and folder is not None and not _has_entry(folder, beyond=going):
                    os.close(os.open(_KEEP, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o644, dir_fd=folder))
                    _sync(folder)

    def _delete(self, folder: int | None, file: StoredFile) -> DeleteResult:
        name = file.key.rpartition("/")[2]
        if UNREADABLE in file.key:
            return DeleteResult(file=file, result="error", error="Its name is not UTF-8: delete it by hand.")
        try:
            info = None if folder is None else _look_at(name, folder)
            if info and (why_not := self._why_not(file, info)):
                return DeleteResult(file=file, result="error", error=why_not)
            if info and _identity(info) != file.identity:
                return DeleteResult(file=file, result="changed", error="Since it was listed, another has its place.")
            if info:
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            info = None
        except OSError as error:
            return DeleteResult(file=file, result="error", error=f"{error.strerror} ({type(error).__name__})")
        if info is None:
            return DeleteResult(file=file, result="missing")
        others = info.st_nlink - 1
        note = f"Its bytes have {others} more name(s), hard links, and stay there." if others else None
        return DeleteResult(file=file, result="deleted", error=note)

    def _why_not(self, file: StoredFile, info: os.stat_result) -> str | None:
        """Return why a file is left to a person, or None."""
        if stat.S_ISLNK(info.st_mode):
            return "It is a symbolic link, which is not followed: delete it, and what it leads to, by hand."
        if not stat.S_ISREG(info.st_mode):
            return "It is no regular file, or a folder that may not be read: look at it, and delete it by hand."
        if ".." in file.key.split("/") or not any(template.id_of(file.key) for template in self._templates):
            return "No key template of the store names it."
        return None

    def _remove_empty(self, key: str) -> None:
        """Remove the folders of the key's asset alone, from the innermost on, as long as they are empty."""
        for template in self._templates:
            if template.id_of(key) is None or "/" not in template.after:
                continue
            folders = key.split("/")[:-1]
            with suppress(OSError, StoreRefused, StoreUnavailable):
                while len(folders) > len(template.folder.split("/") if template.folder else ()):
                    with self._open("/".join(folders[:-1])) as outer:
                        os.rmdir(folders.pop(), dir_fd=outer)

    @contextmanager
    def _open(self, folder: str) -> Iterator[int | None]:
        """Give a folder below the root, None where there is none; an OSError meanwhile becomes one of the store."""
        with ExitStack() as opened, self._explaining(folder):
            place: int | None = _open_folder(str(self._root), None, opened)  # which may be a link itself
            for part in filter(None, folder.split("/")):
                info = None if place is None else _look_at(part, place)
                if info and stat.S_ISLNK(info.st_mode):
                    raise OSError(errno.ELOOP, "it is a symbolic link: give what it leads to a store of its own")
                place = _open_folder(part, place, opened) if info and stat.S_ISDIR(info.st_mode) else None
            yield place

    @contextmanager
    def _explaining(self, folder: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = StoreRefused if error.errno in _FOR_A_PERSON else StoreUnavailable
            where = f"{self._root / folder} of the store {self.name!r}"
            raise kind(f"The folder {where} cannot be read or changed: {error.strerror or error}.") from error


def _first_parts(folder: int, template: KeyTemplate, asset_ids: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the assets with the parts of their keys; one look into the folder finds all names where a star is first."""
    if "*" not in template.after.partition("/")[0]:
        yield from ((asset_id, template.parts_of(asset_id)) for asset_id in asset_ids)
        return
    wanted = set(asset_ids)
    for name in os.listdir(folder):
        asset_id = template.id_in(name)
        if asset_id in wanted and _pattern(template.parts_of(asset_id)[0]).fullmatch(name):
            yield asset_id, [name, *template.parts_of(asset_id)[1:]]


def _has_entry(folder: int, beyond: Collection[str] = ()) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name not in beyond for entry in entries)


def _walk(folder: int, parts: Sequence[str], place: str) -> Iterator[StoredFile]:
    """Yield what fits the parts below a folder; a symbolic link on the way too, for nobody looked behind it."""
    part, rest = parts[0], parts[1:]
    is_deep = part == "**"
    names = [name for name in os.listdir(folder) if _pattern(part).fullmatch(name)] if "*" in part else [part]
    for name in names:
        info = _look_at(name, folder)
        if info is None:
            continue
        if not stat.S_ISDIR(info.st_mode):
            if not rest or stat.S_ISLNK(info.st_mode):
                yield _stored(f"{place}{name}", info)
        elif rest or is_deep:
            try:
                with ExitStack() as opened:
                    inner = _open_folder(name, folder, opened)
                    if inner is not None:
                        yield from list(_walk(inner, parts if is_deep else rest, f"{place}{name}/"))
            except PermissionError:
                yield _stored(f"{place}{name}", info)  # a folder is not deleted: the asset is not gone


def _stored(key: str, info: os.stat_result) -> StoredFile:
    return StoredFile(
        key=key.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        version_id=None,
        is_delete_marker=False,
        size=info.st_size,
        modified_at=datetime.fromtimestamp(info.st_mtime, UTC),
        identity=_identity(info),
    )


def _open_folder(name: str, parent: int | None, opened: ExitStack) -> int | None:
    """Open a folder until the stack ends; None where there is none. Below a parent no link is followed."""
    try:
        folder = os.open(name, _FOLDER if parent is None else _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        return None
    opened.callback(os.close, folder)
    return folder


def _look_at(name: str, folder: int) -> os.stat_result | None:
    """Return what is known of a name, None where there is none; on a share that ignores case, of this very spelling."""
    info = _stat(name, folder)
    other = _stat(name.swapcase(), folder) if info and name.swapcase() != name else None
    if info and other and os.path.samestat(info, other) and name not in os.listdir(folder):
        return None
    return info


def _stat(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


@cache
def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.split(r"\*+", part))), re.DOTALL)


def _parent(file: StoredFile) -> str:
    return file.key.rpartition("/")[0]


def _identity(info: os.stat_result) -> str:
    """Return what no other file has: a download may set mtime as it was, and get the inode of the deleted one."""
    return f"{info.st_dev}:{info.st_ino}:{info.st_mtime_ns}:{info.st_ctime_ns}"


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
