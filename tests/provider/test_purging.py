"""What the tasks of the purge do that needs no run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from getty_images.tasks.purge import purge


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("dry_run", "Plan 7 was only listed: nothing is deleted"),
        ("on", "ASSET_CHANGES_PURGE is no longer on: no more of plan 7 is deleted"),
    ],
)
def test_a_purge_that_is_off_says_what_becomes_of_its_plan(
    mode: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A plan may be half carried out when somebody sets `dry_run`: then it was more than listed."""
    monkeypatch.setenv("ASSET_CHANGES_ARCHIVE_URI", f"file://{tmp_path}")
    monkeypatch.setenv("ASSET_CHANGES_PURGE", "dry_run")
    caplog.set_level("INFO")
    planned = {"plan_id": 7, "mode": mode, "problems": []}
    done = purge({"ti": SimpleNamespace(xcom_pull=lambda **_: planned)})
    assert done["deleted"] == 0
    assert caplog.messages == [says]
