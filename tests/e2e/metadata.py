"""The table `asset_metadata` against what the sandbox says of each live asset, column by column.

Written apart from the reader of the product: what a column must be is said here once more, in Postgres' words.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, text

_TEXTS = (
    "title", "caption", "artist", "copyright", "object_name", "credit_line", "asset_family", "collection_code",
    "collection_name", "license_model", "orientation", "color_type", "graphical_style", "city", "state_province",
    "country", "clip_length", "era", "mastered_to", "originally_shot_on", "shot_speed", "source",
)  # fmt: skip
_AS_THEY_ARE = (
    "collection_id", "quality_rank", "call_for_image", "is_ai_editable", "editorial_segments", "people",
    "product_types", "event_ids", "alternative_ids",
)  # fmt: skip
_DATES = ("date_created", "date_submitted", "date_camera_shot")
# What no lookup asks for: what Getty does not use, addresses that change, what belongs to the account and the day.
_NOT_ASKED = {"artist_title", "display_sizes", "download_sizes", "referral_destinations"}


def assert_metadata_equals(warehouse: Engine, truth: Mapping[str, Any]) -> int:
    """Assert that each live asset has what the sandbox says of it, and nobody else has anything; return how many."""
    expected = {asset_id: each for asset_id, each in truth["metadata"].items() if each is not None}
    assert expected, "the truth knows no metadata: nothing was compared"
    assert len(expected) > 0.9 * len(truth["assets"])
    with warehouse.connect() as connection:
        rows = connection.execute(text("SELECT * FROM getty_images.asset_metadata")).mappings()
        found = {row["asset_id"]: dict(row) for row in rows}
    assert sorted(found) == sorted(expected)
    wrong = [asset_id for asset_id, row in found.items() if _differences(row, expected[asset_id])]
    assert wrong == [], _differences(found[wrong[0]], expected[wrong[0]])
    return len(found)


def _differences(row: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    wanted = _columns(said)
    differences = {name: (row[name], value) for name, value in wanted.items() if row[name] != value}
    asked = {name: value for name, value in said.items() if name not in _NOT_ASKED}
    if row["raw"] != asked:
        differences["raw"] = (json.dumps(row["raw"]), json.dumps(asked))
    return differences


def _columns(said: Mapping[str, Any]) -> dict[str, Any]:
    use, size, source = (said.get(name) or {} for name in ("allowed_use", "max_dimensions", "editorial_source"))
    return {
        **{name: said.get(name) or None for name in _TEXTS},
        **{name: said.get(name) for name in _AS_THEY_ARE},
        **{name: _date(said.get(name)) for name in _DATES},
        **{f"{name}_text": said.get(name) or None for name in _DATES},
        "max_width": size.get("width"),
        "max_height": size.get("height"),
        "editorial_source_id": source.get("id"),
        "editorial_source_name": source.get("name"),
        "keywords": _or_none(said.get("keywords"), lambda given: [each for each in given if each.get("text")]),
        "how_can_i_use_it": use.get("how_can_i_use_it") or None,
        "release_info": use.get("release_info") or None,
        "usage_restrictions": use.get("usage_restrictions"),
        "editorial_use_only": use.get("editorial_use_only"),
    }


def _date(said: str | None) -> datetime | None:
    """A date as a time; one without a zone is UTC."""
    if not said:
        return None
    at = datetime.fromisoformat(said)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _or_none(value: Any, read: Callable[[Any], Any]) -> Any:
    return None if value is None else read(value)
