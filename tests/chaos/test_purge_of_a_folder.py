"""A purge of a real folder whose process dies at once, between what is deleted and its receipt."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from asset_changes.pipeline.context import ChannelContext
from asset_changes.removal.plan import make_plan
from asset_changes.removal.policy import PurgeContext, StoreEntry
from asset_changes.removal.purge import purge
from asset_changes.removal.stores.file_store import FolderStore
from asset_changes.removal.stores.template import parse_templates
from asset_changes.warehouse.engine import connect
from sqlalchemy import URL

from tests.conftest import SCHEMA
from tests.core.doubles import quiet_context as quiet_context
from tests.core.purge_doubles import Company

PROJECT = Path(__file__).parents[2]
_KEYS = ("images/{asset_id}.jpg", "web/{asset_id}/*")


class DyingStore(FolderStore):
    """A folder whose process ends without a word after this many deleted files."""

    def delete(self, files):  # type: ignore[no-untyped-def]  # as its parent's
        """Delete one file, and die."""
        super().delete(files[:1])
        os._exit(9)


def open_folder(folder: Path, kind: type[FolderStore] = FolderStore) -> FolderStore:
    """Return the folder as the store `dam`."""
    return kind(folder, name="dam", templates=parse_templates(_KEYS, where="a test"))


def purge_and_die(url: str, folder: str, plan_id: str) -> None:
    """What the child does."""
    engine = connect(url, schema=SCHEMA)
    store = open_folder(Path(folder), DyingStore)
    entries = {"dam": StoreEntry(uri="memory://dam", store_hash="hash-dam")}
    purge(PurgeContext(warehouse=engine, stores=entries, open_store=lambda name: store), int(plan_id))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of assets 1 to 3, of which 1 has renditions."""
    for name in ("images/1.jpg", "images/2.jpg", "images/3.jpg", "images/12.jpg", "web/1/small.jpg", "web/1/large.jpg"):
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_text(name)
    return tmp_path / "files"


def test_a_process_that_dies_is_continued(quiet_context: ChannelContext, warehouse_url: URL, folder: Path) -> None:
    """Nothing is lost of the evidence, and a listing by others shows that exactly what had to go is gone."""
    company = Company(quiet_context)
    company.lists("1", "2", "3", "12")
    company.changes("New", "1", "2", "3", "12")
    company.changes("Delete", "1", "2", minute=5)
    company.context = replace(company.context, open_store=lambda name: open_folder(folder))
    plan = company.plan()
    assert plan.file_count == 4
    url = warehouse_url.render_as_string(hide_password=False)
    command = "from tests.chaos.test_purge_of_a_folder import purge_and_die as die; import sys; die(*sys.argv[1:])"
    died = subprocess.run(
        [sys.executable, "-c", command, url, str(folder), str(plan.plan_id)], cwd=PROJECT, check=False
    )
    assert died.returncode == 9
    assert company.receipts() == []
    company.rows("UPDATE file_stores SET leased_until = now() RETURNING store")
    again = make_plan(company.context, is_dry_run=False)
    assert again.plan_id == plan.plan_id
    company.purge(again)
    results = sorted((key, result, is_gone) for _, key, result, is_gone in company.receipts())
    assert [(each[0], each[2]) for each in results] == [
        ("images/1.jpg", True), ("images/2.jpg", True), ("web/1/large.jpg", True), ("web/1/small.jpg", True),
    ]  # fmt: skip
    assert sorted(each[1] for each in results) == ["deleted", "deleted", "deleted", "missing"]
    found = sorted(str(each.relative_to(folder)) for each in folder.rglob("*.jpg"))
    assert found == ["images/12.jpg", "images/3.jpg"]
