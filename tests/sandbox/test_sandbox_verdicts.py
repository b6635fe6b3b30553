"""What the feed does not say: an agreement that shrinks, another type, assets of years ago; and the verdicts."""

from collections import Counter

import pytest
from getty_sandbox import SandboxError

from tests.sandbox.conftest import MakeChange, OpenSandbox, Reader
from tests.sandbox.lookups import found


def test_an_agreement_shrinks_while_it_runs(reader: Reader) -> None:
    assert reader.sandbox.unlicense(["1"]) == ["1"]
    assert found(reader, "1", "200559768-001").keys() == {"200559768-001"}
    authorization = reader.session.headers.pop("Authorization")
    assert found(reader, "1", fields="caption").keys() == {"1"}
    reader.session.headers["Authorization"] = authorization
    assert reader.sandbox.truth()["metadata"]["1"] is None
    reader.sandbox.unlicense(share=1)
    assert found(reader, "200559768-001") == {}
    reader.sandbox.unlicense(share=0)
    reader.sandbox.unlicense(["1"], back=True)
    assert found(reader, "1", "200559768-001").keys() == {"1", "200559768-001"}
    for arguments, sentence in (
        ({"asset_ids": ["1"], "back": True}, "are licensed"),
        ({"asset_ids": ["nothing"]}, "no assets"),
        ({"share": 1.1}, "share is from 0 to 1"),
    ):
        with pytest.raises(SandboxError, match=sentence):
            reader.sandbox.unlicense(**arguments)


def test_the_larger_share_is_not_licensed(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened(unlicensed_share=1)
    reader.sandbox.append(3001, [change("1")])
    reader.sandbox.unlicense(share=0.1)
    assert reader.sandbox.verdicts(["1"]) == {"1": "not_licensed"}


def test_a_type_changes_although_the_feed_says_otherwise(reader: Reader) -> None:
    assert reader.sandbox.retype(["1"]) == ["1"]
    assert found(reader, "1") == {}
    assert found(reader, "1", kind="videos")["1"] == reader.sandbox.truth()["metadata"]["1"]
    assert [row["asset_type"] for row in reader.sandbox.truth()["assets"] if row["asset_id"] == "1"] == ["Image"]
    assert reader.sandbox.truth()["verdicts"]["1"] == "available"
    reader.sandbox.retype(["1"], back=True)
    assert found(reader, "1").keys() == {"1"}
    with pytest.raises(SandboxError, match="one of Image, Film, Music, not 'Sculpture'"):
        reader.sandbox.retype(["1"], asset_type="Sculpture")


def test_an_added_asset_is_found_until_the_feed_decides(reader: Reader, change: MakeChange) -> None:
    assert reader.sandbox.add(["50", "51"]) == ["50", "51"]
    reader.sandbox.add(["52"], asset_type="Film")
    assert found(reader, "50", "51", "52").keys() == {"50", "51"}
    assert found(reader, "52", kind="videos").keys() == {"52"}
    assert reader.put().content == b""
    reader.sandbox.vanish(["50"])
    assert reader.sandbox.delete(["51"]) == ["51"]
    assert found(reader, "50", "51") == {}
    assert [(each["id"], each["asset_lifecycle"]) for each in reader.read(3002)] == [("51", "Delete")]
    reader.sandbox.append(3001, [change("52")])
    assert found(reader, "52").keys() == {"52"}
    with pytest.raises(SandboxError, match=r"The feed has named these: \['51'\]"):
        reader.sandbox.add(["51"])
    with pytest.raises(SandboxError, match="no asset '51' to delete"):
        reader.sandbox.delete(["51"])


def test_the_truth_has_the_verdict_of_every_asset(reader: Reader, change: MakeChange) -> None:
    """Asked with a token, without one, and as the other type, as whoever asks Getty must."""
    reader.sandbox.append(3001, [change("5", asset_type="Music"), change("6,7"), change("8")])
    reader.read()
    reader.sandbox.add(["50"])
    reader.sandbox.vanish(["1"])
    reader.sandbox.unlicense(["200559768-001"])
    reader.sandbox.retype(["sb10064292t-001"])
    reader.sandbox.delete(["8"])
    verdicts = reader.sandbox.truth()["verdicts"]
    assert verdicts == {
        "1": "not_in_catalogue", "200559768-001": "not_licensed", "sb10064292t-001": "available", "9": "available",
        "5": None, "6,7": None, "8": "not_in_catalogue", "50": "available",
    }  # fmt: skip
    ids = [each for each, verdict in verdicts.items() if verdict]
    with_token = {*found(reader, *ids), *found(reader, *ids, kind="videos")}
    del reader.session.headers["Authorization"]
    without = {*found(reader, *ids, fields="id"), *found(reader, *ids, kind="videos", fields="id")}
    asked = {
        each: "available" if each in with_token else "not_licensed" if each in without else "not_in_catalogue"
        for each in ids
    }
    assert asked == {each: verdicts[each] for each in ids}
    assert reader.sandbox.verdicts(["404", "50"]) == {"404": "not_in_catalogue", "50": "available"}


def test_example_holdings_are_the_same_for_a_seed(opened: OpenSandbox) -> None:
    first, again, other = (
        opened(changes_per_channel=400, seed=seed).sandbox.example_holdings(count=200, added=20) for seed in (4, 4, 5)
    )
    assert first == again != other
    assert len({each["asset_id"] for each in first}) == 220


def test_example_holdings_are_mostly_available(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=400)
    example = [each["asset_id"] for each in reader.sandbox.example_holdings(count=200, added=20)]
    for channel_id in (3001, 3002, 3003, 3004):
        while reader.read(channel_id):
            pass
    truth = reader.sandbox.truth()
    assert Counter(reader.sandbox.verdicts(example).values()) == {"available": 218, "not_in_catalogue": 2}
    named = {row["asset_id"] for row in truth["asset_states"]}
    assert len(named.intersection(example)) == 200
    assert sum(each["asset_id"] in example for each in truth["deleted_assets"]) == 2
