"""The state folder: one stack at a time, secrets for its owner alone."""

import stat
from pathlib import Path

import pytest
from local_stack.errors import StackError
from local_stack.state import StateDir


def test_a_refused_second_stack_names_the_firsts_process(tmp_path: Path) -> None:
    first, second = StateDir(tmp_path), StateDir(tmp_path)
    first.take()
    with pytest.raises(StackError, match=r"is running in .* already \(process \d+\)"):
        second.take()
    first.give_back()
    second.take()
    second.give_back()


def test_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    secrets = StateDir(tmp_path).secrets()
    assert StateDir(tmp_path).secrets() == secrets
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    # Airflow warns of keys that are shorter.
    assert len(secrets.jwt_secret) >= 64


def test_two_folders_have_different_secrets(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert StateDir(tmp_path / "a").secrets() != StateDir(tmp_path / "b").secrets()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot be used"):
        StateDir(tmp_path / "file" / "state").take()
