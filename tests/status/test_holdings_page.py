"""The panel of the holdings: what each list was, and why one was refused."""

from pathlib import Path

import pytest
from asset_changes.errors import HoldingsRefused
from asset_changes.removal.holdings import HoldingsList
from asset_changes.removal.import_list import import_list
from sqlalchemy import Engine
from upath import UPath

from tests.status.conftest import AirflowServer, words
from tests.status.seeds import NOW, channel


def test_the_panel_shows_each_list_and_what_was_refused(page: AirflowServer, warehouse: Engine, tmp_path: Path) -> None:
    channel(warehouse)
    assert 'data-panel="holdings"' not in page.get("").text
    file = tmp_path / "list.csv"
    file.write_text("asset_id\n" + "".join(f"{each}\n" for each in range(1_200)) + "?\n")
    import_list(warehouse, lambda: HoldingsList(UPath(file)), source="dam", now=NOW)
    assert "Holdings 1,200 assets from 1 list no calls" in words(page.get("").text)
    file.write_text("asset_id\n")
    with pytest.raises(HoldingsRefused):
        import_list(warehouse, lambda: HoldingsList(UPath(file)), source="dam", now=NOW)
    html = page.get("").text
    assert "1,200 1,200 0 0 1" in words(html)
    assert "dam: The list" in words(html)
    assert "`accept_shrink` would need to be 1200." in words(html)
