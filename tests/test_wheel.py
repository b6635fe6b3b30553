"""What the wheel brings into somebody else's Airflow, and what it leaves alone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
_POLICY = """
def dag_policy(dag):
    print("the company's policy was asked")
"""
_ASK = """
from airflow import settings
settings.dag_policy(None)
import asset_changes, getty_images
print(asset_changes.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_takes_no_global_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"asset_changes", "getty_images"}
    assert "getty_images/resources.py" in names
    assert "getty_images/status/templates/base.html" in names
    assert "asset_changes/warehouse/migrations/versions/0001_first_tables.py" in names


def test_beside_the_wheel_a_companys_policies_work(wheel: Path, tmp_path: Path) -> None:
    installed, home = tmp_path / "installed", tmp_path / "airflow"
    zipfile.ZipFile(wheel).extractall(installed)  # what pip does with a wheel of pure Python
    (home / "config").mkdir(parents=True)
    (home / "config" / "airflow_local_settings.py").write_text(_POLICY)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=environment | {"AIRFLOW_HOME": str(home), "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the company's policy was asked" in done.stdout
    assert str(installed / "asset_changes") in done.stdout
