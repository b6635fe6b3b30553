"""A folder as a store: it lists what the templates name, deletes only what it listed, and follows no link."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from asset_changes.errors import StoreRefused
from asset_changes.removal.stores.file_store import FolderStore
from asset_changes.removal.stores.store import DeleteResult, FileStore
from asset_changes.removal.stores.template import parse_templates

PROJECT = Path(__file__).parents[2]


def is_almighty() -> bool:
    """Whether this process may read and delete everything, as root may unless that right was taken from it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0)
        return os.access(folder, os.R_OK)


rights_count = pytest.mark.skipif(is_almighty(), reason="run by test_rights_count_for_root_too")
TEMPLATES = ("images/{asset_id}.jpg", "renditions/{asset_id}/**", "GettyImages-{asset_id}.*")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with files of 123, and of ids that begin like it."""
    folder = tmp_path / "store"
    for key in (
        "images/123.jpg",
        "images/1234.jpg",
        "images/123-001.jpg",
        "images/123.jpg.bak",
        "images/123.JPG",
        "renditions/123/web.jpg",
        "renditions/123/deep/er/thumb.jpg",
        "renditions/1234/web.jpg",
        "GettyImages-123.jpg",
        "GettyImages-123.tif",
        "GettyImages-123-001.jpg",
        "123.jpg",
    ):
        write(folder / key)
    return folder


def write(path: Path, text: str = "picture") -> Path:
    """Write a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def store_of(root: Path, *templates: str) -> FolderStore:
    """Return the store of a folder."""
    return FolderStore(root, name="share", templates=parse_templates(templates or TEMPLATES, where="the test"))


def keys_of(store: FileStore, asset_id: str) -> list[str]:
    """Return what a store has of an asset."""
    return sorted(file.key for file in store.list_files([asset_id]).get(asset_id, []))


def files_of(root: Path) -> set[str]:
    """Return all files below a folder."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


def results_of(done: Sequence[DeleteResult]) -> dict[str, str]:
    """Return the result of each key."""
    return {each.file.key: each.result for each in done}


def test_a_folder_lists_whole_keys_of_the_asset(root: Path) -> None:
    store: FileStore = store_of(root)
    store.check()
    found = store.list_files(["123", "999"])
    assert list(found) == ["123"]
    assert sorted(file.key for file in found["123"]) == [
        "GettyImages-123.jpg",
        "GettyImages-123.tif",
        "images/123.jpg",
        "renditions/123/deep/er/thumb.jpg",
        "renditions/123/web.jpg",
    ]
    (image,) = (file for file in found["123"] if file.key == "images/123.jpg")
    info = (root / "images/123.jpg").stat()
    assert (image.size, image.version_id, image.is_delete_marker) == (7, None, False)
    assert image.identity == f"{info.st_dev}:{info.st_ino}:{info.st_mtime_ns}:{info.st_ctime_ns}"
    assert image.modified_at.timestamp() == pytest.approx(info.st_mtime)
    assert keys_of(store, "123-001") == ["GettyImages-123-001.jpg", "images/123-001.jpg"]


def test_templates_that_share_a_file_list_it_once(root: Path) -> None:
    store = store_of(root, "renditions/{asset_id}/**", "renditions/{asset_id}/*")
    assert keys_of(store, "123") == ["renditions/123/deep/er/thumb.jpg", "renditions/123/web.jpg"]
    assert keys_of(store_of(root, "renditions/{asset_id}/*"), "123") == ["renditions/123/web.jpg"]


def test_a_folder_deletes_what_was_listed_alone(root: Path) -> None:
    before, store = files_of(root), store_of(root)
    listed = store.list_files(["123"])["123"]
    done = store.delete(listed)
    assert [each.file for each in done] == listed
    assert {each.result for each in done} == {"deleted"}
    assert before - files_of(root) == {file.key for file in listed}
    assert store.list_files(["123"]) == {}
    assert {each.result for each in store.delete(listed)} == {"missing"}


def test_only_an_assets_empty_folders_go_with_its_files(root: Path) -> None:
    store = store_of(root, "renditions/{asset_id}/**")
    write(root / "renditions/1234/more/note.txt")
    store.delete(store.list_files(["123"])["123"])
    store.delete([file for file in store.list_files(["1234"])["1234"] if file.key.endswith("web.jpg")])
    assert not (root / "renditions/123").exists()
    assert files_of(root / "renditions/1234") == {"more/note.txt"}
    store.delete(store.list_files(["1234"])["1234"])
    assert files_of(root / "renditions") == {".keep"}


def test_a_file_stored_again_since_the_listing_stays(root: Path) -> None:
    store = store_of(root, "images/{asset_id}.jpg")
    listed = store.list_files(["123", "1234"])
    new = write(root / "images/new", "picture")
    new.replace(root / "images/123.jpg")  # another inode
    written = root / "images/1234.jpg"
    os.utime(written, ns=(1, written.stat().st_mtime_ns + 1))  # the same one, written again
    assert results_of(store.delete(listed["123"] + listed["1234"])) == {
        "images/123.jpg": "changed",
        "images/1234.jpg": "changed",
    }
    assert (root / "images/123.jpg").exists()
    assert written.exists()


def test_a_copy_with_the_old_time_is_another_file(root: Path) -> None:
    """As `rsync --inplace -t` and `cp -p` write it: the same inode, and the time that it had."""
    store, written = store_of(root, "images/{asset_id}.jpg"), root / "images/123.jpg"
    listed, info = store.list_files(["123"])["123"], written.stat()
    time.sleep(0.02)  # a kernel counts a file's times in ticks
    written.write_bytes(b"another")
    os.utime(written, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (info.st_ino, info.st_mtime_ns)
    assert results_of(store.delete(listed)) == {"images/123.jpg": "changed"}
    assert written.read_bytes() == b"another"


def test_a_link_is_left_to_a_person(root: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside/123.jpg")
    (root / "images/555.jpg").symlink_to(outside)
    (root / "renditions/555").symlink_to(outside.parent)
    (root / "renditions/556/deep").mkdir(parents=True)
    (root / "renditions/556/deep/loop").symlink_to(root / "renditions/556")
    store = store_of(root)
    listed = store.list_files(["555", "556"])
    assert {file.key for file in [*listed["555"], *listed["556"]]} == {
        "images/555.jpg",
        "renditions/555",
        "renditions/556/deep/loop",
    }
    done = store.delete([*listed["555"], *listed["556"]])
    assert {each.result for each in done} == {"error"}
    assert all("symbolic link" in str(each.error) and "by hand" in str(each.error) for each in done)
    assert outside.exists()
    assert (root / "images/555.jpg").is_symlink()


def test_a_linked_folder_of_a_template_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    store = store_of(root, "images/{asset_id}.jpg")
    for ask in (store.check, lambda: store.list_files(["123"])):
        with pytest.raises(StoreRefused, match=r"images of the store 'share'.* symbolic link: .* a store of its own"):
            ask()


def test_a_folder_swapped_for_a_link_is_not_entered(root: Path, tmp_path: Path) -> None:
    store = store_of(root, "images/{asset_id}.jpg")
    listed = store.list_files(["123"])["123"]
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    assert results_of(store.delete(listed)) == {"images/123.jpg": "error"}
    assert (tmp_path / "elsewhere/123.jpg").exists()


def test_a_root_behind_a_link_is_taken(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(root)
    assert keys_of(store_of(tmp_path / "current", "images/{asset_id}.jpg"), "123") == ["images/123.jpg"]


@pytest.mark.parametrize("gone", ["", "images"])
@pytest.mark.parametrize("is_empty", [True, False])
def test_a_share_that_is_not_mounted_is_refused(root: Path, tmp_path: Path, gone: str, is_empty: bool) -> None:
    (root / gone).rename(tmp_path / "unmounted")
    if is_empty:
        (root / gone).mkdir()
    store = store_of(root, "images/{asset_id}.jpg")
    what = "is empty" if is_empty else "is not there"
    for ask in (store.check, lambda: store.list_files(["123"])):
        with pytest.raises(StoreRefused, match=rf"of the store 'share' {what}.* mounted.*\.keep"):
            ask()


def test_a_store_may_be_emptied_by_the_purge(tmp_path: Path) -> None:
    """The listing afterwards is the proof; a share that went away meanwhile has another folder in its place."""
    root = write(tmp_path / "share/123.jpg").parent
    store = store_of(root, "{asset_id}.jpg")
    assert results_of(store.delete(store.list_files(["123"])["123"])) == {"123.jpg": "deleted"}
    assert store.list_files(["123"]) == {}
    store_of(root, "{asset_id}.jpg").check()
    root.rename(tmp_path / "unmounted")
    root.mkdir()
    with pytest.raises(StoreRefused, match="is empty"):
        store.list_files(["123"])


def test_each_folder_that_is_emptied_is_kept(root: Path) -> None:
    """By the next run too, which would take it for a share that is not mounted; folders with others get no mark."""
    templates = ("images/{asset_id}.jpg", "renditions/{asset_id}/**")
    (root / "images/123-001.jpg").unlink()
    listed = store_of(root, *templates).list_files(["123", "1234"])
    store_of(root, *templates).delete(listed["123"])
    assert not list(root.rglob(".keep"))
    store_of(root, *templates).delete(listed["1234"])
    assert {str(each.relative_to(root)) for each in root.rglob(".keep")} == {"renditions/.keep"}
    assert store_of(root, *templates).list_files(["123", "1234"]) == {}


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="store 'share' cannot be read or changed: Not a directory"):
        store_of(write(tmp_path / "file"), "{asset_id}.jpg").check()


@rights_count
def test_a_folder_without_rights_is_refused(root: Path) -> None:
    store = store_of(root, "images/{asset_id}.jpg")
    (root / "images").chmod(0)
    try:
        with pytest.raises(StoreRefused, match="Permission denied"):
            store.list_files(["123"])
    finally:
        (root / "images").chmod(0o700)


@rights_count
@pytest.mark.parametrize("mode", [0, 0o400])
def test_an_assets_folder_without_rights_holds_no_other_up(root: Path, mode: int) -> None:
    store = store_of(root, "renditions/{asset_id}/**")
    (root / "renditions/123").chmod(mode)
    try:
        found = store.list_files(["123", "1234"])
        results = results_of(store.delete([*found["123"], *found["1234"]]))
        assert keys_of(store, "123") == ["renditions/123"]
    finally:
        (root / "renditions/123").chmod(0o700)
    assert results == {"renditions/123": "error", "renditions/1234/web.jpg": "deleted"}


@rights_count
def test_a_file_without_rights_holds_no_other_up(root: Path) -> None:
    store = store_of(root)
    listed = store.list_files(["123"])["123"]
    (root / "images").chmod(0o500)
    try:
        results = results_of(store.delete(listed))
    finally:
        (root / "images").chmod(0o700)
    assert results.pop("images/123.jpg") == "error"
    assert set(results.values()) == {"deleted"}


@pytest.mark.skipif(not is_almighty(), reason="the tests of rights run by themselves")
def test_rights_count_for_root_too() -> None:
    """The tests of rights, by a process that lacks what lets root read and delete everything."""
    less = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-m", "pytest"]
    tests = [__file__, "-k", "without_rights", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run([*less, *tests], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert re.search(r"(?m)^4 passed, \d+ deselected", done.stdout), done.stdout[-3000:] + done.stderr[-1000:]


def test_a_folder_in_a_files_place_is_left(root: Path) -> None:
    store = store_of(root, "images/{asset_id}.jpg")
    listed = store.list_files(["123"])["123"]
    (root / "images/123.jpg").unlink()
    write(root / "images/123.jpg/inner")
    assert results_of(store.delete(listed)) == {"images/123.jpg": "error"}
    assert store.list_files(["123"]) == {}


def test_other_names_of_the_bytes_are_noted(root: Path) -> None:
    os.link(root / "images/123.jpg", root / "copy.jpg")
    store = store_of(root, "images/{asset_id}.jpg")
    (done,) = store.delete(store.list_files(["123"])["123"])
    assert (done.result, done.error) == ("deleted", "Its bytes have 1 more name(s), hard links, and stay there.")


def test_a_hard_link_in_another_case_is_another_file(root: Path) -> None:
    os.link(root / "images/1234.jpg", root / "images/1234.JPG")
    assert keys_of(store_of(root, "images/{asset_id}.jpg"), "1234") == ["images/1234.jpg"]


def test_a_name_that_is_not_utf_8_is_left_to_a_person(root: Path) -> None:
    odd = os.fsencode(root) + b"/renditions/123/\xff.jpg"
    Path(os.fsdecode(odd)).write_text("picture")
    store = store_of(root)
    (done,) = store.delete([file for file in store.list_files(["123"])["123"] if "\ufffd" in file.key])
    assert (done.result, done.file.key) == ("error", "renditions/123/\ufffd.jpg")
    assert "not UTF-8" in str(done.error)


@pytest.mark.parametrize("key", ["renditions/123/../../secret", "123.jpg", "images/x.jpg"])
def test_a_key_that_no_template_names_is_left(root: Path, key: str) -> None:
    write(root / "secret")
    write(root / "images/x.jpg")
    store = store_of(root, "images/{asset_id}.jpg", "renditions/{asset_id}/**")
    info = (root / key).stat()
    identity = f"{info.st_dev}:{info.st_ino}:{info.st_mtime_ns}:{info.st_ctime_ns}"
    forged = replace(store.list_files(["123"])["123"][0], key=key, identity=identity)
    assert [each.error for each in store.delete([forged])] == ["No key template of the store names it."]
    assert (root / key).exists()


@pytest.mark.parametrize("asset_id", ["../123", "12*", "1[2]", "1/2", "", "1\n"])
def test_a_folder_is_not_asked_for_an_odd_id(root: Path, asset_id: str) -> None:
    with pytest.raises(StoreRefused, match=r"store 'share' is not asked.* names no file safely"):
        store_of(root).list_files(["123", asset_id])
