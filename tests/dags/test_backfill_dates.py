"""The documented commands of a backfill mean the same days wherever Airflow believes itself to be."""

import re
import shlex
from pathlib import Path

import pytest

from tests.dags.installation import Installation

PROJECT = Path(__file__).parents[2]
DOCUMENTED = [*PROJECT.glob("docs/*.md"), PROJECT / "README.md", *PROJECT.glob("dags/*.py")]


def documented_command() -> list[str]:
    """Return the arguments of the command in docs/backfill-and-replay.md."""
    text = (PROJECT / "docs/backfill-and-replay.md").read_text().replace("\\\n", " ")
    [command] = re.findall(r"^airflow (backfill create .*)$", text, re.MULTILINE)
    return shlex.split(command)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles"])
def test_a_documented_backfill_means_the_same_days(airflow: Installation, zone: str) -> None:
    days = airflow.run_afresh("days_of_backfill", *documented_command(), AIRFLOW__CORE__DEFAULT_TIMEZONE=zone)
    assert days == [f"2026-11-0{day}" for day in range(1, 8)]


@pytest.mark.parametrize("file", DOCUMENTED, ids=lambda file: file.name)
def test_every_documented_date_carries_its_offset(file: Path) -> None:
    text = file.read_text()
    dates = re.findall(r"--(?:from-date|to-date|clean-before-timestamp)[\s\\]+(\"[^\"]*\"|\S+)", text)
    assert [date for date in dates if not re.search(r"T00:00:00Z\)?\"?`?\)?$", date)] == []
