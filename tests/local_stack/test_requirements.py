"""What is installed is pinned, all of it, and comes from the index that pip is set up for."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-local.txt", "requirements-dev.txt")


def lines(name: str) -> list[str]:
    text = (PROJECT / name).read_text()
    return [line.split(" #")[0].strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


def package(line: str) -> tuple[str, str]:
    name, _, version = line.split(";")[0].strip().partition("==")
    return re.sub(r"[-_.]+", "-", name.split("[")[0]).lower(), version


CONSTRAINTS = [package(line) for line in lines("constraints.txt")]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_as_the_constraints_pin_it(name: str) -> None:
    for line in lines(name):
        if not line.startswith("-r "):
            assert package(line) in CONSTRAINTS, line


def test_every_constraint_is_a_version() -> None:
    assert all(version for _, version in CONSTRAINTS)


@pytest.mark.parametrize("name", [*REQUIREMENTS, "constraints.txt"])
def test_no_file_names_an_index_or_a_place_of_one_machine(name: str) -> None:
    assert not re.search(
        r"https?://|file:|--(extra-)?index|--find-links|--trusted|@ |^\s*/", (PROJECT / name).read_text(), re.M
    )
