"""Key templates: no file is ever taken for another asset's; what is not safe is refused with what to write instead."""

import re

import pytest
from asset_changes.errors import ConfigurationError
from asset_changes.removal.stores.store import refusal_of
from asset_changes.removal.stores.template import KeyTemplate, parse_template, parse_templates
from hypothesis import assume, example, given
from hypothesis import strategies as st

WHERE = "entry 1 of ASSET_CHANGES_FILE_STORES"


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ("images/{asset_id}.jpg", "images/123.jpg", "123"),
        ("images/{asset_id}.jpg", "images/1234.jpg", "1234"),
        ("images/{asset_id}.jpg", "images/123.jpg.bak", None),
        ("images/{asset_id}.jpg", "images/123.JPG", None),
        ("images/{asset_id}.jpg", "other/images/123.jpg", None),
        ("GettyImages-{asset_id}.jpg", "GettyImages-200559768-001.jpg", "200559768-001"),
        ("GettyImages-{asset_id}.jpg", "GettyImages-123-612x612.jpg", "123-612x612"),
        ("renditions/{asset_id}/*", "renditions/123/web.jpg", "123"),
        ("renditions/{asset_id}/*", "renditions/123/", "123"),
        ("renditions/{asset_id}/*", "renditions/123/web/a.jpg", None),
        ("renditions/{asset_id}/**", "renditions/123/web/a\nb.jpg", "123"),
        ("{asset_id}.*", "sb10064292t-001.tar.gz", "sb10064292t-001"),
        ("{asset_id}.*", "sb10064292t-001", None),
        ("{asset_id}/web_*.jpg", "123/web_x.jpg", "123"),
        ("{asset_id}", "123", "123"),
        ("{asset_id}.jpg", "GettyImages-123.jpg", None),
        ("{asset_id}.jpg", "١٢٣.jpg", None),
    ],
)
def test_a_template_names_whole_keys(text: str, key: str, found: str | None) -> None:
    assert parse_template(text, where=WHERE).id_of(key) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("images/*.jpg", r"needs \{asset_id\} exactly once, as in images/\{asset_id\}.jpg"),
        ("{asset_id}/{asset_id}.jpg", "exactly once"),
        ("", "exactly once"),
        ("{asset_id}*", r"'\*' directly after the id could be part of a longer id.* as in .*\{asset_id\}/\*"),
        ("images/{asset_id}*.jpg", "longer id"),
        ("{asset_id}-*.jpg", "'-' directly after"),
        ("{asset_id}-001.jpg", "'-' directly after"),
        ("{asset_id}_web.jpg", "'_' directly after"),
        ("{asset_id}x.jpg", "'x' directly after"),
        ("sb{asset_id}.jpg", "'sb' directly before the id could be its beginning"),
        ("2024-{asset_id}.jpg", "'2024-' directly before"),
        ("images/2024{asset_id}.jpg", "'2024' directly before"),
        ("*{asset_id}.jpg", r"one template per folder"),
        ("renditions/*/{asset_id}.jpg", r"one template per folder"),
        ("**/{asset_id}.jpg", r"one template per folder"),
        ("{asset_id}/**/a.jpg", r"is the last part alone"),
        ("{asset_id}/a**", r"is the last part alone"),
        ("{asset_id}/***", r"is the last part alone"),
        ("/images/{asset_id}.jpg", "without / at its start"),
        ("renditions/{asset_id}/", r"renditions/\{asset_id\}/\*"),
        ("a//{asset_id}.jpg", "//"),
        ("../{asset_id}.jpg", r"\.\."),
        ("{asset_id}/../*", r"\.\."),
        ("./{asset_id}.jpg", "without"),
        ("{asset_id}.[jpg]", r"only \* means"),
        ("{asset_id}.jp?", r"only \* means"),
        ("{family}/{asset_id}.jpg", "other braces"),
        ("a\\{asset_id}.jpg", r"only \* means"),
        ("a\n/{asset_id}.jpg", "control character"),
    ],
)
def test_an_unsafe_template_is_refused_with_a_remedy(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        parse_template(text, where=WHERE)
    assert WHERE in str(caught.value)
    assert repr(text)[:100] in str(caught.value)


@pytest.mark.parametrize(
    "texts",
    [
        ("{asset_id}.jpg", "photo-{asset_id}.jpg"),
        ("{asset_id}.*", "photo-{asset_id}.jpg"),
        ("{asset_id}/*", "2024/{asset_id}.jpg"),
        ("{asset_id}/**", "2024/web/{asset_id}.jpg"),
        ("a/{asset_id}.jpg", "a/{asset_id}.jpg"),
    ],
)
def test_templates_that_name_one_file_twice_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"name the same files.* keep one of them") as caught:
        parse_templates(texts, where=WHERE)
    assert all(repr(text) in str(caught.value) for text in texts)
    with pytest.raises(ConfigurationError):
        parse_templates(texts[::-1], where=WHERE)


def test_templates_of_one_store_may_share_folders() -> None:
    texts = (
        "images/{asset_id}.jpg",
        "images/{asset_id}.tif",
        "images/GettyImages-{asset_id}.jpg",
        "images/photo-{asset_id}.png",
        "images/{asset_id}/*",
        "images/thumbs/{asset_id}.jpg",
        "images/2024/{asset_id}.jpg",
    )
    with pytest.raises(ConfigurationError, match=re.escape("'images/{asset_id}/*' and 'images/2024/")):
        parse_templates(texts, where=WHERE)
    assert [each.text for each in parse_templates(texts[:-1], where=WHERE)] == [*texts[:-1]]


@pytest.mark.parametrize(
    "asset_id", ["", "a", "thumbs", "..", "1/2", "1*", "1[", "1\n", "-1", "GettyImages-1", "١", "é1"]
)
def test_an_id_with_odd_characters_is_refused(asset_id: str) -> None:
    assert "names no file safely" in str(refusal_of(asset_id))


@pytest.mark.parametrize("asset_id", ["1", "200559768-001", "sb10064292t-001", "a_1", "1" * 255])
def test_an_id_of_gettys_is_not_refused(asset_id: str) -> None:
    assert refusal_of(asset_id) is None


IDS = st.from_regex(r"[a1][a1_-]{0,6}", fullmatch=True).filter(lambda each: refusal_of(each) is None)
PIECES = st.sampled_from(
    ["", "a", "a1", "1", "a-", "-", "_", ".", "/", "a/", "1/", "a1/", "GettyImages-", "*", "**", "/*"]
)
TEXTS = st.builds(
    lambda before, after: "".join(before) + "{asset_id}" + "".join(after),
    st.lists(PIECES, max_size=3),
    st.lists(PIECES | st.just(".jpg"), max_size=4),
)


def accepted(*texts: str) -> tuple[KeyTemplate, ...]:
    """Return the templates, or give the example up where one is refused."""
    try:
        return parse_templates(texts, where=WHERE)
    except ConfigurationError:
        assume(False)
        raise


@given(st.lists(TEXTS, min_size=1, max_size=3), IDS, st.data())
@example(["{asset_id}.jpg"], "1", None)
def test_no_key_is_of_two_assets(texts: list[str], asset_id: str, data: st.DataObject | None) -> None:
    """Every key that the templates of a store name for an asset is that asset's alone, whatever the stars mean."""
    templates = accepted(*texts)
    for template in templates:
        parts = re.split(r"(\*+)", f"{template.before}{asset_id}{template.after}")
        texts_of = {"*": st.text("a1-_. ", max_size=8), "**": st.text("a1-_./\n", max_size=8)}
        key = "".join(data.draw(texts_of[each]) if data and each in texts_of else each for each in parts)
        assert template.id_of(key) == asset_id
        assert {each.id_of(key) for each in templates} <= {asset_id, None}
        assert key.startswith(template.prefix_of(asset_id))


@given(TEXTS, IDS, IDS)
def test_an_id_that_begins_another_names_no_key_of_it(text: str, asset_id: str, more: str) -> None:
    (template,) = accepted(text)
    for other in (f"{asset_id}-{more}", f"{asset_id}_{more}", f"{asset_id}{more}", f"{more}{asset_id}"):
        key = f"{template.before}{other}{template.after}".replace("*", "x")
        assert template.id_of(key) in (other, None)
