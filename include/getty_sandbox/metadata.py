"""What an asset is, as Getty would say it: a function of the seed, the asset and its newest change.

Everything odd here was seen on the wire or is allowed by the documents: empty strings where nothing is known, captions
that are null, keywords without a text, dates with an offset, without a zone and at midnight, members that nobody
announced.

An object has two parts. Its own members are made for every asset; the others come from a stock of some thousand sets of
members, which are made and encoded once, because a benchmark looks up thousands of assets per second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

_T = TypeVar("_T")

_COMMON_FIELDS = frozenset({
    "allowed_use", "artist", "asset_family", "call_for_image", "caption", "city", "collection_code", "collection_id",
    "collection_name", "color_type", "comp", "copyright", "country", "date_created", "date_submitted", "detail_set",
    "display_set", "download_product", "download_sizes", "downloads", "editorial_segments", "entity_details",
    "event_ids", "id", "is_ai_editable", "istock_collection", "istock_licenses", "keywords", "license_model",
    "max_dimensions", "object_name", "orientation", "people", "preview", "product_types", "quality_rank",
    "referral_destinations", "state_province", "summary_set", "thumb", "title",
})  # fmt: skip
# The values that `fields` may have, by the published document of December 2024.
FIELDS: Mapping[str, frozenset[str]] = {
    "images": _COMMON_FIELDS | {
        "alternative_ids", "artist_title", "comp_webp", "credit_line", "date_camera_shot", "editorial_source",
        "graphical_style", "largest_downloads", "links", "uri_oembed",
    },
    "videos": _COMMON_FIELDS | {
        "clip_length", "era", "key_frames", "mastered_to", "originally_shot_on", "shot_speed", "source",
    },
}  # fmt: skip
FIELDS_WITH_TOKEN = frozenset({"downloads", "download_sizes", "largest_downloads"})
_SUMMARY = ("asset_family", "caption", "collection_code", "collection_name", "license_model", "title")
_DISPLAY_SIZES = ("comp", "preview", "thumb")
_NOT_IN_DETAIL = {
    "alternative_ids", "date_camera_shot", "display_set", "downloads", "editorial_source", "key_frames", "keywords",
    "largest_downloads", "links", "object_name", "people", "uri_oembed",
}  # fmt: skip

_STOCK = 997  # sets of shared members per family and kind
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_PEOPLE = ("Zoë Kravitz", "Søren Kierkegård", "Nguyễn Thị Ánh", "Łukasz Żak", "山田 太郎", "Ann O'Neill", "Ida Berg")
_PLACES = (
    ("Zürich", "", "Switzerland"), ("São Paulo", "São Paulo", "Brazil"), ("London", "England", "United Kingdom"),
    ("Malmö", "Skåne", "Sweden"), ("Austin", "Texas", "United States"), ("", "", ""), ("", "", "France"),
)  # fmt: skip
_SUBJECTS = ("harbour", "stadium", "red carpet", "market", "glacier", "laboratory", "orchard", "night train")
_WORDS = ("People", "Café", "Horizontal", "Winter", "Crowd", "No People", "Portrait", "Blue", "Sport", "Fête", "Sea")
_COLLECTIONS = (("ENT", 78, "Getty Images Entertainment"), ("STO", 60, "Stone"), ("AFP", 107, "AFP"))
_ORIENTATIONS = ("Horizontal", "Horizontal", "Vertical", "Square", "PanoramicHorizontal", "Unknown")
_LICENSES = ("royaltyfree", "rightsmanaged", "rightsready")
_LONG_TEXT = " Lorem ipsum dolor sit amet." * 740  # 20 kB
_CLIP_LENGTHS = ("00:00:12:15", "00:01:03:00", "12.5", "")


class _Draw:
    """Choices out of the digest of a text: as good as a seeded generator here, and faster."""

    def __init__(self, text: str) -> None:
        self._bits = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest(), "big")

    def below(self, limit: int) -> int:
        self._bits, drawn = divmod(self._bits, limit)
        return drawn

    def choice(self, among: Sequence[_T]) -> _T:
        return among[self.below(len(among))]

    def happens(self, percent: int) -> bool:
        return self.below(100) < percent

    def some(self, among: Sequence[_T], count: int) -> list[_T]:
        """So many of these, each once; there must not be a multiple of three."""
        first = self.below(len(among))
        return [among[(first + 3 * n) % len(among)] for n in range(count)]


@dataclass(frozen=True)
class Account:
    """Who asks for what: the seed of the sandbox, the kind of assets, and whether it is with a token."""

    seed: int
    kind: str  # images or videos
    has_token: bool


def metadata_of(account: Account, *, asset_id: str, family: str, version: int) -> dict[str, Any]:
    """The whole object of an asset; every version says something else in its title, caption and keywords."""
    own, number = _own_members(account, asset_id, version)
    shared = _shared_members(account, family, number)
    return own | shared | {"keywords": own["keywords"] + shared["keywords"]}


def encode_metadata(account: Account, fields: frozenset[str], *, asset_id: str, family: str, version: int) -> bytes:
    """The object as JSON, with the members that these fields name."""
    own, number = _own_members(account, asset_id, version)
    shared, keywords = _encoded_members(account, fields, family, number)
    named = named_members(fields, account.kind)
    parts = [_to_text({name: value for name, value in own.items() if name in named and name != "keywords"}), shared]
    if "keywords" in named:
        parts.append(f'{{"keywords":{_to_text(own["keywords"])[:-1]},{keywords[1:]}}}')
    members = ",".join(part[1:-1] for part in parts if part != "{}")
    return f"{{{members}}}".encode("utf-8", "surrogatepass")


@lru_cache(maxsize=64)
def named_members(fields: frozenset[str], kind: str) -> frozenset[str]:
    """The members and display sizes that fields and sets of fields name."""
    named = fields | {"id"}
    if "summary_set" in fields:
        named |= {*_SUMMARY, *(("artist", "collection_id", "max_dimensions") if kind == "images" else _DISPLAY_SIZES)}
    if "detail_set" in fields:
        named |= FIELDS[kind] - _NOT_IN_DETAIL - {*_DISPLAY_SIZES, "comp_webp"}
    return named | {*_DISPLAY_SIZES} if "display_set" in fields else named


def select_members(found: Mapping[str, Any], fields: frozenset[str], kind: str) -> dict[str, Any]:
    """The members of an object that these fields name, and those that no field names, which come unasked."""
    named = named_members(fields, kind)
    selected = {name: value for name, value in found.items() if name in named or name not in FIELDS[kind]}
    sizes = [each for each in selected.pop("display_sizes", ()) if each["name"] in named]
    return selected | ({"display_sizes": sizes} if sizes else {})


def _own_members(account: Account, asset_id: str, version: int) -> tuple[dict[str, Any], int]:
    """What no two assets have in common, and the number of what is shared."""
    draw = _Draw(f"metadata {account.seed} {asset_id}")
    subject, chance = draw.choice(_SUBJECTS), draw.below(100)
    caption = f"The {subject} \u2013 by {draw.choice(_PEOPLE)}.\n(Photo, revision {version:x})"
    own = {
        "id": asset_id,
        "title": f"{subject.title()}, take {version % 9973}",
        "caption": None if chance < 8 else caption + _LONG_TEXT if chance >= 98 else caption,
        "object_name": f"{asset_id[:40]}.{'jpg' if account.kind == 'images' else 'mov'}",
        "keywords": [{"keyword_id": str(version % 99_991), "text": f"Take {version % 9973}", "type": "Theme"}],
    }
    return own, draw.below(_STOCK)


@lru_cache(maxsize=8 * _STOCK)
def _encoded_members(account: Account, fields: frozenset[str], family: str, number: int) -> tuple[str, str]:
    """As JSON, those of the shared members that are asked for, and the shared keywords."""
    shared = _shared_members(account, family, number)
    others = {name: value for name, value in shared.items() if name != "keywords"}
    return _to_text(select_members(others, fields, account.kind)), _to_text(shared["keywords"])


@lru_cache(maxsize=8 * _STOCK)
def _shared_members(account: Account, family: str, number: int) -> dict[str, Any]:
    draw = _Draw(f"members {account.seed} {account.kind} {family} {number}")
    place, is_editorial = draw.choice(_PLACES), family.lower() == "editorial"
    people = draw.some(_PEOPLE, draw.below(3)) if is_editorial else []
    code, collection_id, collection_name = draw.choice(_COLLECTIONS)
    day, hour = f"{2004 + draw.below(22)}-{1 + draw.below(12):02d}-{1 + draw.below(28):02d}", draw.below(24)
    width, height = draw.choice(((5472, 3648), (3648, 5472), (4000, 4000), (1920, 1080)))
    shared: dict[str, Any] = {
        "artist": draw.choice(_PEOPLE),
        "asset_family": family.lower(),
        "call_for_image": draw.happens(2),
        "city": place[0],
        "state_province": place[1],
        "country": place[2],
        "collection_code": code,
        "collection_id": collection_id,
        "collection_name": collection_name,
        "color_type": draw.choice(("color", "black_and_white", "")),
        "copyright": draw.choice((None, None, "2019 Getty Images", "")),
        "date_created": f"{day}T{hour:02d}:16:39{draw.choice(('-07:00', '+05:30', 'Z', ''))}",
        "date_submitted": f"{day}T{(hour + 7) % 24:02d}:16:40{draw.choice(('', '.1234567'))}",
        "editorial_segments": [draw.choice(("news", "sport", "entertainment"))] if is_editorial else [],
        "event_ids": [draw.choice((775_012_345, 3_000_000_001))] if is_editorial and draw.happens(60) else [],
        "is_ai_editable": draw.happens(50),
        "keywords": _keywords(draw),
        "license_model": draw.choice(_LICENSES),
        "max_dimensions": {"width": width, "height": height} if draw.happens(95) else None,
        "orientation": draw.choice(_ORIENTATIONS),
        "people": people,
        "product_types": ["premiumaccess"] if account.has_token else [],  # a fact about the account
        "quality_rank": draw.choice((1, 2, 3, None)),
        "referral_destinations": [{"site_name": "gettyimages", "uri": "https://www.example.com/detail"}],
        "download_sizes": [{"name": "large", "bytes": 1_000_000, "media_type": "image/jpeg"}],
        "display_sizes": [
            {"name": name, "uri": f"https://media.example.com/{name}", "is_watermarked": True}
            for name in _DISPLAY_SIZES
        ],
        "allowed_use": {
            "how_can_i_use_it": "Available for editorial use only." if is_editorial else "Available for all uses.",
            "release_info": draw.choice(("Model released", "No release required", "", None)),
            "usage_restrictions": draw.choice(([], [], ["No use in Österreich.", "Contact your local office."])),
            "editorial_use_only": is_editorial,
        },
    }
    shared |= _image_members(draw, day, is_editorial=is_editorial) if account.kind == "images" else _video_members(draw)
    if draw.happens(30):
        shared |= {"provenance": {"model": "none", "signed": [None, True]}, "x_score": 0.1}  # in no document
    return shared


def _keywords(draw: _Draw) -> list[dict[str, Any]]:
    """Keywords in no order, some without a text."""
    words: list[dict[str, Any]] = [
        {"keyword_id": str(10_000 + draw.below(90_000)), "text": word, "type": "Unknown", "relevance": None}
        for word in draw.some(_WORDS, 2 + draw.below(5))
    ]
    if draw.happens(15):
        del words[0]["text"]
    return words


def _image_members(draw: _Draw, day: str, *, is_editorial: bool) -> dict[str, Any]:
    return {
        "alternative_ids": {} if draw.happens(90) else {"vendor_id": "V-1", "PictureÉditeur": None},
        "artist_title": "None",
        "credit_line": draw.choice(("Getty Images", "Šárka/Getty Images")),
        "date_camera_shot": f"{day}T00:00:00" if draw.happens(80) else None,
        "editorial_source": {"id": 1, "name": "Getty Images Europe"} if is_editorial else None,
        "graphical_style": draw.choice(("photography", "illustration", "")),
    }


def _video_members(draw: _Draw) -> dict[str, Any]:
    return {
        "clip_length": draw.choice(_CLIP_LENGTHS),
        "era": draw.choice(("", "1960s")),
        "mastered_to": draw.choice(("QuickTime 10-bit ProRes 422", None)),
        "originally_shot_on": "4K",
        "shot_speed": draw.choice(("Real Time", "Slow Motion")),
        "source": "Image Bank Film",
    }


def _to_text(value: object) -> str:
    return _ENCODER.encode(value)
