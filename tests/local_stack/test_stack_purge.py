"""The files of the example and their purge: where they are named, what there is, and when the purge is switched on."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asset_changes.removal.stores.file_store import FolderStore
from asset_changes.removal.stores.template import parse_templates
from asset_changes.settings import Settings
from getty_sandbox import Sandbox
from local_stack import progress, sync
from local_stack.airflow_api import HOLD, PURGE
from local_stack.example_files import SETTING, name_example_files, write_example_files
from local_stack.example_list import write_example_list
from local_stack.purge import start_purge
from local_stack.sync import switch_on

from tests.local_stack.doubles import Airflow, CapturedScreen
from tests.local_stack.test_discovery import stack

DISCOVERED = "asset_changes_editorial_image_3001"


def purging(airflow: Airflow, asset_id: str | None) -> Any:
    """A stack whose warehouse names this asset to hold back."""
    return stack(
        airflow,
        state=SimpleNamespace(example_files=Path("/state/files")),
        warehouse=SimpleNamespace(asset_to_hold=lambda _: asset_id),
    )


def all_files(folder: Path) -> set[str]:
    """Return every file below the folder, found by walking through it."""
    found = {Path(place, name) for place, _, names in os.walk(folder) for name in names}
    return {str(each.relative_to(folder)) for each in found}


@pytest.fixture(scope="module")
def sandbox_list(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """The example list of a sandbox, and which of its assets are deleted."""
    file = tmp_path_factory.mktemp("example") / "holdings.csv.gz"
    with Sandbox(changes_per_channel=2000) as sandbox:
        write_example_list(file, progress.Sandbox(sandbox.url))
        verdicts = sandbox.verdicts([each["asset_id"] for each in sandbox.example_holdings()])
    return file, {asset_id for asset_id, verdict in verdicts.items() if verdict == "not_in_catalogue"}


def test_the_example_has_files_of_what_was_deleted(tmp_path: Path, sandbox_list: tuple[Path, set[str]]) -> None:
    example_list, deleted = sandbox_list
    folder = tmp_path / "files"
    write_example_files(folder, example_list)
    environment = {"ASSET_CHANGES_ARCHIVE_URI": f"file://{tmp_path}/archive"}
    assert name_example_files(folder, environment)
    (setting,) = Settings.from_environment(environment).file_stores
    store = FolderStore(Path(setting.path), name=setting.name, templates=parse_templates(setting.keys, where="example"))
    store.check()
    found = store.list_files(sorted(deleted))
    store.close()
    assert (len(deleted), set(found)) == (20, deleted)
    files = {each for each in all_files(folder) if not each.endswith(".keep")}
    assert 200 <= len(files) <= 250
    assert any(len(each) == 3 for each in found.values()), "none has several renditions"


def test_what_was_purged_does_not_come_back(tmp_path: Path, sandbox_list: tuple[Path, set[str]]) -> None:
    folder = tmp_path / "files"
    write_example_files(folder, sandbox_list[0])
    before = all_files(folder)
    gone = next(iter(sorted(folder.glob("images/*.jpg"))))
    gone.unlink()
    write_example_files(folder, sandbox_list[0])
    assert all_files(folder) == before - {f"images/{gone.name}"}


def test_a_sandbox_with_no_history_gets_a_store_too(tmp_path: Path) -> None:
    with Sandbox(changes_per_channel=0) as sandbox:
        write_example_list(tmp_path / "holdings.csv.gz", progress.Sandbox(sandbox.url))
    write_example_files(tmp_path / "files", tmp_path / "holdings.csv.gz")
    assert {each.name for each in (tmp_path / "files").iterdir()} == {".keep", "images", "films", "renditions"}


@pytest.mark.parametrize("own", ["", '[{"name": "dam", "uri": "file:///mnt/dam", "keys": ["{asset_id}.jpg"]}]'])
def test_stores_of_ones_own_replace_the_example(own: str) -> None:
    environment = {SETTING: own}
    assert not name_example_files(Path("/state/files"), environment)
    assert environment == {SETTING: own}


def test_a_stack_does_not_switch_the_purge_on_by_itself() -> None:
    """With an account it would delete a company's files."""
    airflow = Airflow(dags={DISCOVERED, HOLD, PURGE})
    switch_on(stack(airflow))
    assert airflow.unpaused == [DISCOVERED, HOLD]


def test_the_example_holds_one_asset_before_the_purge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "POLL_SECONDS", 0)
    airflow = Airflow(states=["running", "success"])
    start_purge(purging(airflow, "1176"), CapturedScreen())
    assert (airflow.triggered, airflow.unpaused, airflow.states) == ([HOLD], [PURGE], [])
    assert (airflow.forms[0]["asset_ids"], airflow.forms[0]["action"]) == (["1176"], "hold")


def test_the_next_start_holds_nothing_again() -> None:
    airflow = Airflow()
    start_purge(purging(airflow, None), CapturedScreen())
    assert (airflow.triggered, airflow.unpaused) == ([], [PURGE])


def test_without_its_hold_the_purge_stays_paused() -> None:
    airflow, screen = Airflow(states=["failed"]), CapturedScreen()
    start_purge(purging(airflow, "1176"), screen)
    assert airflow.unpaused == []
    assert screen.lines[0].startswith("The example's hold is failed, so the purge stays paused.")
