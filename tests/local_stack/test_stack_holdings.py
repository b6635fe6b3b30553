"""The example list of the stack: where it is named, what is in it, and how its import is followed."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asset_changes.removal.holdings import HoldingsList
from asset_changes.settings import Settings
from getty_sandbox import Sandbox
from local_stack import progress
from local_stack.airflow_api import HOLDINGS, Try
from local_stack.errors import StackError
from local_stack.example_list import SETTING, name_example_list, write_example_list
from local_stack.holdings import follow_import
from local_stack.stack import free_port
from upath import UPath

from tests.local_stack.doubles import Airflow, CapturedScreen
from tests.local_stack.test_discovery import stack


def importing(airflow: Airflow, *held_counts: int, until_caught_up: bool = False) -> Any:
    """A stack whose warehouse holds so many assets, one number per look."""
    counts = list(held_counts)
    return stack(
        airflow,
        options=SimpleNamespace(until_caught_up=until_caught_up),
        state=SimpleNamespace(example_list=Path("/state/holdings.csv.gz")),
        warehouse=SimpleNamespace(held_assets=lambda _: counts.pop(0)),
    )


@pytest.fixture
def example(tmp_path: Path) -> HoldingsList:
    """The example list of a sandbox, as an import reads it."""
    file = tmp_path / "holdings.csv.gz"
    with Sandbox(changes_per_channel=2000) as sandbox:
        write_example_list(file, progress.Sandbox(sandbox.url))
    environment = {"ASSET_CHANGES_ARCHIVE_URI": "file:///archive"}
    assert name_example_list(file, environment)
    (source,) = Settings.from_environment(environment).holdings
    return HoldingsList(UPath(source.uri), column=source.column)


def test_the_example_list_is_mostly_readable(example: HoldingsList) -> None:
    assets = list(example.assets())
    assert (len(assets), len({each.asset_id for each in assets})) == (2300, 2300)
    assert example.unreadable_lines == [3, 5, 7]
    assert {each.asset_type for each in assets} == {"Image", "Film", None}
    assert all(each.asset_id in str(each.location) for each in assets)


def test_the_example_list_is_the_same_each_time(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first", "again")]
    for file in files:
        with Sandbox(changes_per_channel=100) as sandbox:
            write_example_list(file, progress.Sandbox(sandbox.url))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[4:8] == bytes(4), "the time of its making is in it"
    write_example_list(files[0], progress.Sandbox("http://127.0.0.1:9"))  # it is there: nobody is asked
    with pytest.raises(StackError, match="The sandbox does not say what a company may hold"):
        write_example_list(tmp_path / "new", progress.Sandbox(f"http://127.0.0.1:{free_port()}"))


@pytest.mark.parametrize("own", ["", json.dumps([{"source": "dam", "uri": "file:///dam.csv"}])])
def test_lists_of_ones_own_replace_the_example(own: str) -> None:
    environment = {SETTING: own}
    assert not name_example_list(Path("/state/holdings.csv.gz"), environment)
    assert environment == {SETTING: own}


def test_airflows_own_import_is_followed_and_none_is_triggered() -> None:
    airflow, screen = Airflow(active={"scheduled__1": None}, states=["success"]), CapturedScreen()
    follow_import(importing(airflow, 2300), screen)
    assert airflow.triggered == airflow.states == []
    assert screen.lines == ["Held, by the example list /state/holdings.csv.gz: 2,300 assets"]


def test_an_import_is_triggered_while_nothing_is_held() -> None:
    airflow, screen = Airflow(states=["success"]), CapturedScreen()
    follow_import(importing(airflow, 0, 2300), screen)
    assert airflow.triggered == [HOLDINGS]
    assert screen.lines == ["Held, by the example list /state/holdings.csv.gz: 2,300 assets"]


def test_a_failed_import_ends_only_a_stack_that_ends() -> None:
    tries = [Try(HOLDINGS, "manual__1", "import_list", number=3, of=3, is_last=True)]
    sentence = f"The import of the example list is failed. {HOLDINGS}, task import_list: no reason"
    screen = CapturedScreen()
    follow_import(importing(Airflow(tries=tries, states=["failed"]), 0), screen)
    assert screen.lines[0].startswith(sentence)
    with pytest.raises(StackError, match=sentence):
        follow_import(importing(Airflow(tries=tries, states=["failed"]), 0, until_caught_up=True), screen)
