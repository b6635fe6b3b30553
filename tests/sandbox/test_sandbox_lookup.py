"""Lookups: what `/v3/images` and `/v3/videos` answer, which assets they find, and how the truth agrees."""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from getty_sandbox import SandboxError
from getty_sandbox.catalogue import Catalogue
from getty_sandbox.lookup import Lookups
from getty_sandbox.metadata import FIELDS

from tests.sandbox.conftest import MakeChange, OpenSandbox, Reader
from tests.sandbox.lookups import found, look_up

DOCUMENT = yaml.safe_load((Path(__file__).parents[1] / "api/getty-images-lookup-openapi.yml").read_text())
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("separator", [",", "%2C"])
def test_found_and_not_found_are_listed(reader: Reader, separator: str) -> None:
    ids = separator.join(["1", "404", "200559768-001", "sb10064292t-001"])
    answer = reader.send("GET", f"/v3/images?ids={ids}&fields=id").json()
    assert [each["id"] for each in answer["images"]] == ["1", "200559768-001", "sb10064292t-001"]
    assert all(set(each) <= {"id", "provenance", "x_score"} for each in answer["images"])
    assert answer["images_not_found"] == ["404"]
    assert list(answer) == ["images", "images_not_found"]


def test_an_asset_is_found_as_its_own_type_alone(reader: Reader, change: MakeChange) -> None:
    reader.sandbox.append(3001, [change("5", asset_type="Music")])
    assert found(reader, "9", "5") == {}
    videos = found(reader, "9", "1", "5", kind="videos")
    assert list(videos) == ["9"]
    assert "clip_length" in videos["9"]
    assert "credit_line" not in videos["9"]


def test_the_answer_fits_the_published_document(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=300)
    ids = [str(each["id"]).strip() for each in reader.read() if each.get("id")]
    body = look_up(reader, *ids[:100]).json()
    assert len(body["images"]) > 10
    jsonschema.validate(
        body, {"$ref": "#/components/schemas/ImagesDetailResults", "components": DOCUMENT["components"]}
    )


@pytest.mark.parametrize(
    ("kind", "schema"), [("images", "ImageDetailFieldValues"), ("videos", "VideoDetailFieldValues")]
)
def test_fields_are_those_of_the_published_document(reader: Reader, kind: str, schema: str) -> None:
    assert FIELDS[kind] == set(DOCUMENT["components"]["schemas"][schema]["enum"])
    refused = look_up(reader, "1", kind=kind, fields="caption,never_heard_of")
    assert (refused.status_code, refused.json()["ErrorCode"]) == (400, "InvalidParameterValue")
    assert "never_heard_of" in refused.json()["ErrorMessage"]
    assert str(refused.status_code) in DOCUMENT["paths"][f"/v3/{kind}"]["get"]["responses"]


def test_without_fields_the_answer_is_a_summary(reader: Reader) -> None:
    named = set(found(reader, "1", fields="")["1"]) - {"provenance", "x_score"}
    assert named == {
        "id", "artist", "asset_family", "caption", "collection_code", "collection_id", "collection_name",
        "license_model", "max_dimensions", "title",
    }  # fmt: skip
    detail = found(reader, "1", fields="detail_set")["1"]
    assert {"allowed_use", "orientation", "credit_line"} < set(detail)
    assert not {"keywords", "people", "alternative_ids", "object_name", "display_sizes"} & set(detail)
    thumb = found(reader, "1", fields="thumb")["1"]
    assert [each["name"] for each in thumb["display_sizes"]] == ["thumb"]


@pytest.mark.parametrize("count", [0, 101])
def test_a_call_has_1_to_100_ids(reader: Reader, count: int) -> None:
    answer = look_up(reader, *map(str, range(count)))
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "InvalidParameterValue")
    assert look_up(reader, *map(str, range(100))).status_code == 200


def test_an_address_that_is_too_long_is_refused(reader: Reader) -> None:
    assert look_up(reader, *("L" * 250 + str(n) for n in range(40))).status_code == 414


@pytest.mark.parametrize("refusal", ["named", "unnamed"])
def test_a_field_can_be_refused(opened: OpenSandbox, refusal: str) -> None:
    reader = opened(refuse_fields=["keywords"], refusal=refusal)
    answer = look_up(reader, "1", fields="caption,keywords")
    assert answer.status_code == 400
    assert ("keywords" in answer.json()["ErrorMessage"]) == (refusal == "named")
    assert look_up(reader, "1", fields="caption").status_code == 200


@pytest.mark.parametrize(
    ("shape", "status", "images"), [("list", 200, []), ("null", 200, None), ("404", 404, None)]
)  # fmt: skip
def test_none_found_has_three_shapes(
    opened: OpenSandbox, change: MakeChange, shape: str, status: int, images: Any
) -> None:
    reader = opened(none_found=shape)
    answer = look_up(reader, "1", "2")
    assert answer.status_code == status
    assert {"Date", "Cache-Control"} <= set(answer.headers)
    if status == 404:
        assert answer.json()["ErrorCode"] == "ImageNotFound"
        assert look_up(reader, "1", kind="videos").json()["ErrorCode"] == "VideosNotFound"
    else:
        assert answer.json() == {"images": images, "images_not_found": ["1", "2"]}
    reader.sandbox.append(3001, [change("1")])
    assert look_up(reader, "1", "2").json()["images_not_found"] == ["2"]


def test_without_a_token_more_is_found(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=200, nastiness=0, unlicensed_share=0.3)
    reader.read()
    truth = reader.sandbox.truth()["metadata"]
    ids = [each for each in truth if each.isdecimal()][:100]
    licensed = found(reader, *ids)
    assert set(licensed) == {each for each in ids if truth[each]}
    assert 40 < len(licensed) < 95
    assert look_up(reader, "1", fields="downloads").status_code == 200
    del reader.session.headers["Authorization"]
    anonymous = found(reader, *ids, fields="caption,product_types")
    assert set(anonymous) == set(ids)
    assert anonymous[ids[0]]["product_types"] == []
    assert look_up(reader, "1", fields="downloads").json()["ErrorCode"] == "AuthorizationTokenRequired"
    reader.session.headers["Authorization"] = "Bearer expired"
    assert look_up(reader, "1").status_code == 401
    reader.session.headers["Api-Key"] = "wrong"
    assert look_up(reader, "1").status_code == 401


def test_a_key_may_have_no_right_to_look_up(opened: OpenSandbox) -> None:
    reader = opened(lookups_allowed=False)
    assert look_up(reader, "1").status_code == 403
    assert reader.channels().status_code == 200


def test_calls_per_second_are_limited(opened: OpenSandbox) -> None:
    reader = opened(lookups_per_second=3)
    answers = [look_up(reader, "1") for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert "Queries Per Second" in answers[3].headers["X-Error-Detail"]
    assert "Retry-After" not in answers[3].headers
    assert reader.channels().status_code == 200
    assert reader.sandbox.lookup_count == 4


def test_a_limited_call_is_free_again_a_second_later(opened: OpenSandbox) -> None:
    now = [0.0]
    sandbox = opened(lookups_per_second=2).sandbox
    lookups = Lookups(sandbox.options, Catalogue(sandbox.options, sandbox._deliveries), monotonic=lambda: now[0])
    refused = []
    for now[0] in (0.0, 0.6, 0.9, 1.0, 1.5, 1.6):
        refused.append(lookups.refusal("/v3/images") is not None)
    assert refused == [False, False, True, False, True, False]


def test_a_share_of_ids_may_be_in_neither_list(opened: OpenSandbox) -> None:
    reader = opened(unanswered_share=0.5, none_found="404")
    ids = [str(n) for n in range(100)]
    first, second = (look_up(reader, *ids).json()["images_not_found"] for _ in range(2))
    assert 30 < len(first) < 70
    assert first != second


def test_an_asset_that_was_not_asked_for_may_come(reader: Reader) -> None:
    reader.sandbox.fail_next("unasked_asset", operation="lookup")
    assert len(set(found(reader, "1")) - {"1"}) == 1
    assert set(found(reader, "1")) == {"1"}


@pytest.mark.parametrize("mode", ["503", "429_retry_after", "token_revoked", "html_200", "redirect", "half_json"])
def test_lookups_meet_the_faults_of_all_calls(reader: Reader, mode: str) -> None:
    reader.sandbox.fail_next(mode, operation="lookup")
    answer = look_up(reader, "1")
    status = {"503": 503, "429_retry_after": 429, "token_revoked": 401, "redirect": 302}.get(mode, 200)
    assert answer.status_code == status
    assert not answer.content.endswith(b"]}")
    assert reader.channels().status_code == (401 if mode == "token_revoked" else 200)
    reader.login()
    assert list(found(reader, "1")) == ["1"]


def test_random_faults_hit_lookups_too(opened: OpenSandbox) -> None:
    reader = opened(fault_rate=0.5, faults=["503"])
    assert {look_up(reader, "1").status_code for _ in range(40)} == {200, 503}


def test_a_revoked_token_leaves_calls_without_one_alone(reader: Reader) -> None:
    reader.sandbox.fail_next("token_revoked", operation="lookup")
    authorization = reader.session.headers.pop("Authorization")
    assert look_up(reader, "1", fields="caption").status_code == 200
    reader.session.headers["Authorization"] = authorization
    assert reader.channels().status_code == 200


def test_an_asset_exists_by_its_newest_message(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    day = "2026-01-01T00:00:0"
    reader.sandbox.append(3001, [change("1", at=day + "1"), change("2", at=day + "1")])
    assert set(found(reader, "1", "2")) == {"1", "2"}, "before it is handed out"
    reader.put()
    reader.sandbox.append(3001, [change("1", "Delete", at=day + "2"), change("2", "Delete", at=day + "0")])
    assert set(found(reader, "1", "2")) == {"2"}
    reader.read()
    assert reader.sandbox.truth()["metadata"].keys() == {"1", "2"}
    assert reader.sandbox.truth()["metadata"]["1"] is None, "the Delete is not confirmed yet"
    reader.read()
    assert list(reader.sandbox.truth()["metadata"]) == ["2"]
    reader.sandbox.append(3003, [change("1", "New", at=day + "3", asset_type=None)])
    assert set(found(reader, "1")) == {"1"}, "of what type it is, a reader cannot know yet"
    reader.put(3003)
    assert set(found(reader, "1", kind="videos")) == {"1"}
    reader.sandbox.append(3004, [change("1", "Delete", at=day + "4", asset_type=None)])
    assert found(reader, "1", kind="videos") == {}


def test_metadata_changes_when_an_update_is_handed_out(reader: Reader, change: MakeChange) -> None:
    before = found(reader, "1")["1"]
    assert found(reader, "1")["1"] == before
    reader.sandbox.append(3001, [change("1", "Update", at="2026-01-02T00:00:00Z")])
    assert found(reader, "1")["1"] == before
    change_set_id = reader.put().json()["change_set_id"]
    after = found(reader, "1")["1"]
    reader.delete(change_set_id)
    assert found(reader, "1")["1"] == after
    changed = {name for name in after if after[name] != before[name]}
    assert {"title", "keywords"} <= changed <= {"title", "keywords", "caption"}


def test_what_was_lost_to_the_retention_still_happened(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    day = timedelta(days=1)
    times = [(datetime.now(UTC) - n * day).isoformat() for n in (30, 20, 1)]
    reader.sandbox.append(3001, [change("1", at=times[0])])
    reader.read()
    reader.sandbox.append(3001, [change("1", "Delete", at=times[1]), change("2", at=times[2])])
    assert reader.sandbox.cut_retention(14) == 1
    reader.read()
    assert set(found(reader, "1", "2")) == {"2"}
    truth = reader.sandbox.truth()["metadata"]
    assert (truth["1"], truth["2"] is not None) == (None, True)


def test_what_a_set_says_counts_once_it_is_handed_out(opened: OpenSandbox, change: MakeChange) -> None:
    """A time is missing: alone in its set the Update cannot be applied, in the whole feed it has neighbours."""
    reader = opened()
    day = "2026-01-01T00:00:0"
    messages = [change("1", at=day + "1"), change("1", "Delete", at=day + "2"), change("2", at=day + "3")]
    reader.sandbox.append(3001, [*messages, change("1", "Update", at=None)])
    assert set(found(reader, "1", "2")) == {"1", "2"}
    reader.read(batch_size=3)
    assert set(found(reader, "1", "2")) == {"1", "2"}
    reader.read(batch_size=1)
    assert set(found(reader, "1", "2")) == {"2"} == set(reader.sandbox.truth()["metadata"])


def test_an_answer_may_be_as_old_as_it_says(opened: OpenSandbox, change: MakeChange) -> None:
    now = [NOON]
    reader = opened(lookup_max_age=60, clock=lambda: now[0], start=NOON - timedelta(days=30), token_lifetime=9999)
    reader.sandbox.append(3001, [change("1"), change("2")])
    reader.read()
    first = look_up(reader, "1")
    assert (first.headers["Cache-Control"], first.headers.get("Age")) == ("max-age=60", None)
    assert parsedate_to_datetime(first.headers["Date"]) == NOON
    reader.sandbox.append(
        3001, [change("1", "Update", at="2026-02-01T00:00:00Z"), change("2", "Delete", at="2026-02-01")]
    )
    reader.read()
    now[0] += timedelta(seconds=20.5)
    stale = look_up(reader, "1", "2")
    assert (stale.headers["Age"], stale.headers["X-Cache"]) == ("21", "Hit from cloudfront")
    assert stale.json()["images"][0] == first.json()["images"][0]
    now[0] += timedelta(seconds=39.5)
    fresh = look_up(reader, "1", "2")
    assert fresh.json()["images"][0] == reader.sandbox.truth()["metadata"]["1"]
    assert fresh.json()["images"][0] != first.json()["images"][0]


def test_metadata_has_what_parsers_stumble_over(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=1500)
    for channel_id in (3001, 3002, 3003, 3004):
        while reader.read(channel_id):
            pass
    objects = [each for each in reader.sandbox.truth()["metadata"].values() if each]
    images = [each for each in objects if "clip_length" not in each]
    assert {"", "Zürich"} <= {each["city"] for each in objects}
    assert None in {each["caption"] for each in objects}
    assert 0.005 < sum(len(each["caption"] or "") > 20_000 for each in objects) / len(objects) < 0.04
    keywords = [word for each in objects for word in each["keywords"]]
    assert any("text" not in word for word in keywords)
    assert any(word.get("relevance", 0) is None for word in keywords)
    assert any(each["keywords"] != sorted(each["keywords"], key=lambda word: word["keyword_id"]) for each in objects)
    assert any(re.search(r"-07:00$", each["date_created"]) for each in objects)
    assert all(datetime.fromisoformat(each["date_submitted"][:19]).tzinfo is None for each in objects)
    assert any((each["date_camera_shot"] or "").endswith("T00:00:00") for each in images)
    assert {"Square", "Unknown"} < {each["orientation"] for each in objects}
    assert {each["asset_family"] for each in objects} == {"creative", "editorial"}
    assert {each["artist_title"] for each in images} == {"None"}
    assert {} in [each["alternative_ids"] for each in images]
    assert any(event_id > 2**31 for each in objects for event_id in each["event_ids"])
    assert any("provenance" in each for each in objects)
    assert any(not name.isascii() for each in objects for name in each["people"])
    assert {"id": 1, "name": "Getty Images Europe"} in [each["editorial_source"] for each in images]
    assert not any("\0" in json.dumps(each) for each in objects)


def test_the_truth_says_what_lookups_say(opened: OpenSandbox) -> None:
    reader = opened(changes_per_channel=500, unlicensed_share=0.1)
    for channel_id in (3001, 3002, 3003, 3004):
        while reader.read(channel_id, 40):
            pass
    truth = reader.sandbox.truth()
    assert [row["asset_id"] for row in truth["assets"]] == list(truth["metadata"])
    for kind, asset_type in (("images", "Image"), ("videos", "Film")):
        live = [row["asset_id"] for row in truth["assets"] if row["asset_type"] == asset_type]
        ids = [each for each in live if "," not in each and len(each) < 60]
        assert len(ids) > 200
        answered: dict[str, Any] = {}
        for first in range(0, len(ids), 100):
            answered |= found(reader, *ids[first : first + 100], kind=kind)
        assert answered == {each: truth["metadata"][each] for each in ids if truth["metadata"][each]}
        assert 0.8 < len(answered) / len(ids) < 0.97
    assert {truth["metadata"][row["asset_id"]] is None for row in truth["assets"] if row["asset_type"] == "Music"} <= {
        True
    }


def test_in_the_end_what_exists_is_what_is_live(opened: OpenSandbox) -> None:
    """Existence is read from the whole feed, otherwise than the truth; both end the same."""
    reader = opened(changes_per_channel=400)
    for channel_id, batch_size in ((3001, 5), (3002, 50), (3003, 2200), (3004, 100)):
        while reader.read(channel_id, batch_size):
            look_up(reader, "1")
    truth = reader.sandbox.truth()
    missing = [each for each, metadata in truth["metadata"].items() if metadata is None and "," not in each]
    types = {row["asset_id"]: row["asset_type"] for row in truth["assets"]}
    assert {types[each] for each in missing} <= {"Music"}
    dead = [row["asset_id"] for row in truth["deleted_assets"]]
    assert reader.sandbox._catalogue.find(dead) == {}


def test_assets_vanish_without_a_delete_and_come_back(reader: Reader) -> None:
    before = found(reader, "1")
    assert reader.sandbox.vanish(["1"]) == ["1"]
    assert found(reader, "1", "200559768-001").keys() == {"200559768-001"}
    assert reader.put().content == b""
    assert reader.sandbox.truth()["metadata"]["1"] is None
    with pytest.raises(SandboxError, match="no assets"):
        reader.sandbox.vanish(["nothing"])
    reader.sandbox.vanish(["1"], back=True)
    assert found(reader, "1") == before
    with pytest.raises(SandboxError, match="did not vanish"):
        reader.sandbox.vanish(["1"], back=True)


def test_getty_can_be_made_to_delete_assets(reader: Reader) -> None:
    assert reader.sandbox.delete(["1", "9"]) == ["1", "9"]
    assert found(reader, "1") == {}
    [message] = reader.read(3001)
    assert (message["id"], message["asset_lifecycle"]) == ("1", "Delete")
    assert reader.read(3003)[0]["id"] == "9"
    assert [row["asset_id"] for row in reader.sandbox.truth()["deleted_assets"]] == ["1", "9"]
    assert sorted(reader.sandbox.delete(count=5)) == ["200559768-001", "sb10064292t-001"]
    for ids, sentence in ((["1"], "no asset '1'"), ([], "Say which assets")):
        with pytest.raises(SandboxError, match=sentence):
            reader.sandbox.delete(ids)


def test_a_delete_is_newer_than_the_asset(opened: OpenSandbox, change: MakeChange) -> None:
    reader = opened()
    soon = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
    reader.sandbox.append(3001, [change("1", at=soon)])
    reader.read()
    reader.sandbox.delete(count=1)
    reader.read()
    assert reader.sandbox.truth()["assets"] == []


def test_what_is_said_of_one_asset_can_be_chosen(reader: Reader) -> None:
    wanted = {"caption": "\0\ud800" + "x" * 1_000_000, "keywords": None, "max_dimensions": [math.inf], "new": 2**70}
    reader.sandbox.override_metadata("1", wanted)
    answer = look_up(reader, "1").json()["images"][0]
    assert {name: answer[name] for name in wanted} == wanted
    assert answer["title"]
    assert reader.sandbox.truth()["metadata"]["1"] == answer
    assert "keywords" not in look_up(reader, "1", fields="caption").json()["images"][0]
    reader.sandbox.override_metadata("1", "no object")
    assert look_up(reader, "1").json() == {"images": ["no object"], "images_not_found": []}
    reader.sandbox.override_metadata("1", None)
    assert "new" not in found(reader, "1")["1"]
