"""Found by attacks: what a rebuild says of sets that it could read only in part."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import ArchiveDamaged
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.fetch import fetch
from asset_changes.pipeline.load import load
from asset_changes.pipeline.replay import replay
from sqlalchemy import Engine

from tests.conftest import EDITORIAL_IMAGES
from tests.core.doubles import NOON, ScriptedGetty, body_of, change, delivery, execute, live, rows

CONTENT = "asset_states, asset_metadata, asset_changes, deletions, rejected_changes, change_sets, channels"
LATER = NOON + timedelta(minutes=9)


@pytest.mark.parametrize("damaged", ["first", "longer"])
def test_a_rebuild_completed_later_claims_no_first_removal(
    damaged: str, archive: Archive, warehouse: Engine, tmp_path: Path
) -> None:
    """One of two objects of a set cannot be read at the rebuild, and is brought back afterwards."""
    messages = [change("a", "New", 0), change("b", "Delete", 1)]
    longer = delivery(body_of("1", *messages, change("c", "Delete", 2)), status=200, received_at=LATER)
    for each in (delivery(body_of("1", *messages)), longer):
        context = ChannelContext(
            channel=EDITORIAL_IMAGES, source=ScriptedGetty([each]), archive=archive, warehouse=warehouse
        )
        ref = fetch(replace(context, confirms=False), batch_size=9)
        assert ref is not None
        load(context, ref)
    [first, second] = sorted(tmp_path.rglob("*.json.gz"), key=lambda path: len(path.name))
    lost = first if damaged == "first" else second
    kept = lost.read_bytes()
    lost.write_bytes(kept[:20])
    execute(warehouse, f"TRUNCATE {CONTENT}")
    with pytest.raises(ArchiveDamaged):
        replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    lost.write_bytes(kept)
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    evidence = rows(warehouse, "SELECT asset_id, was_held, is_rebuilt FROM deletions ORDER BY asset_id, position")
    assert evidence == [{"asset_id": each, "was_held": None, "is_rebuilt": True} for each in "bc"]
    assert live(warehouse) == ["a"]
    assert replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse).changed == 0


@pytest.mark.parametrize("is_longer_lost", [False, True])
def test_an_object_that_is_written_again_keeps_the_times(
    is_longer_lost: bool, archive: Archive, warehouse: Engine, tmp_path: Path
) -> None:
    """What a delivery says that came hours after the first is no time of the future, whichever object holds it."""
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=ScriptedGetty(), archive=archive, warehouse=warehouse)
    word = "Update" if is_longer_lost else "Delete"  # the evidence would show when the longer delivery came
    messages = [change("a", "New", 0), change("a", word, 200), change("b", "New", 210)]

    def comes(*some: object, hours: int) -> None:
        again = delivery(body_of("1", *some), status=200, received_at=NOON + timedelta(hours=hours))
        ref = fetch(replace(context, source=ScriptedGetty([again]), confirms=False), batch_size=9)
        assert ref is not None
        load(context, ref)

    comes(messages[0], hours=0)
    if is_longer_lost:
        comes(*messages, hours=4)
    [lost] = [path for path in tmp_path.rglob("*.json.gz") if (path.name.count("Z") > 1) is is_longer_lost]
    lost.unlink()
    comes(*(messages[:1] if is_longer_lost else messages), hours=5)
    execute(warehouse, f"TRUNCATE {CONTENT}")
    replay(EDITORIAL_IMAGES, archive=archive, warehouse=warehouse)
    times = rows(warehouse, "SELECT changed_at, is_time_inferred FROM asset_changes ORDER BY position")
    expected = [NOON + timedelta(minutes=each) for each in (0, 200, 210)]
    assert [(row["changed_at"], row["is_time_inferred"]) for row in times] == [(each, False) for each in expected]
    assert live(warehouse) == (["a", "b"] if is_longer_lost else ["b"])
