"""A page of a ledger that has grown: the same numbers, and no query that reads all there is."""

from sqlalchemy import Engine

from benchmarks.status_page import CHANNELS, fill
from tests.status.conftest import AirflowServer, words


def test_a_page_shows_every_channel_of_a_ledger_that_has_grown(page: AirflowServer, warehouse: Engine) -> None:
    fill(warehouse, sets=4000, deletions=40_000, assets=100_000)
    html = page.get("?span=14d").text
    for channel_id in CHANNELS:
        assert f'data-channel="{channel_id}"' in html
    assert "Live assets with metadata about 50." in words(html) or "Live assets with metadata about 49." in words(html)
    assert html.count("unknown lifecycle") >= len(CHANNELS)
