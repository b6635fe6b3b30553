"""Lookups: GET /v3/images and GET /v3/videos, with what may be odd about them."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from getty_sandbox.catalogue import Asset, Catalogue
from getty_sandbox.metadata import FIELDS, FIELDS_WITH_TOKEN, Account, encode_metadata, metadata_of, select_members
from getty_sandbox.options import Options
from getty_sandbox.wire import JSON, OVER_QPS, Reply, edge_error, service_error, to_json

PATHS = {"/v3/images": "images", "/v3/videos": "videos"}
MAXIMUM_IDS = 100
_LONGEST_TARGET = 8192  # the limit of Getty's content delivery network
_NOT_FOUND = {"images": "ImageNotFound", "videos": "VideosNotFound"}
_UNASKED_ID = "999999999999-unasked"  # in no feed
AVAILABLE, NOT_LICENSED, NOT_IN_CATALOGUE = "available", "not_licensed", "not_in_catalogue"
_KINDS = {"image": "images", "film": "videos", "video": "videos"}


class Lookups:
    """Answers what assets are, from the catalogue and the seed."""

    def __init__(
        self, options: Options, catalogue: Catalogue, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """The limit in calls per second is measured by `monotonic`."""
        self._options = options
        self._catalogue = catalogue
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._calls: deque[float] = deque()
        self._kept: dict[str, tuple[datetime, Asset | None]] = {}
        self._unanswered = random.Random(f"unanswered {options.seed}")

    def refusal(self, target: str) -> Reply | None:
        """What the edge answers to a call that is not allowed, too long or one too many in this second."""
        if not self._options.lookups_allowed:
            return edge_error(403, "Forbidden")
        if len(target) > _LONGEST_TARGET:
            return edge_error(414, "Request-URI Too Large")
        limit, now = self._options.lookups_per_second, self._monotonic()
        with self._lock:
            while self._calls and now - self._calls[0] >= 1:
                self._calls.popleft()
            if limit is not None and len(self._calls) >= limit:
                return edge_error(429, "Too Many Requests", {"X-Error-Detail": OVER_QPS})
            self._calls.append(now)
        return None

    def answer(
        self, path: str, query: Mapping[str, Sequence[str]], *, has_token: bool, adds_unasked: bool = False
    ) -> Reply:
        """The assets of these ids that exist, have this type and, with a token, belong to the account's agreement."""
        kind = PATHS[path]
        account = Account(self._options.seed, kind, has_token=has_token)
        asked, fields = _listed(query, "ids"), frozenset(_listed(query, "fields")) or frozenset({"summary_set"})
        if not 1 <= len(asked) <= MAXIMUM_IDS:
            text = f"ids must hold 1 to {MAXIMUM_IDS} ids, not {len(asked)}"
            return service_error(400, "InvalidParameterValue", text)
        if refused := sorted(each for each in fields if not self._accepts(each, kind)):
            text = f"fields: {', '.join(refused)}" if self._options.refusal == "named" else "A parameter is invalid"
            return service_error(400, "InvalidParameterValue", text)
        if not has_token and fields & FIELDS_WITH_TOKEN:
            return service_error(401, "AuthorizationTokenRequired", "A field needs an access token")
        answered = [each for each in dict.fromkeys(asked) if not self._leaves_out()]
        assets, age = self._assets(answered)
        found = {
            asset_id: self._encoded(asset, account, fields)
            for asset_id, asset in sorted(assets.items())
            if self._is_answered(asset, account)
        }
        not_found = [asset_id for asset_id in answered if asset_id not in found]
        if not found and len(not_found) == len(set(asked)) and self._options.none_found == "404":
            none_found = service_error(404, _NOT_FOUND[kind], "None of the assets was found")
            return replace(none_found, headers=self._headers(age))
        objects = [*found.values()]
        if adds_unasked:
            unasked = Asset(_UNASKED_ID, "Image" if kind == "images" else "Film", "Creative", 0)
            objects.insert(0, self._encoded(unasked, account, fields))
        listed = b"[%s]" % b",".join(objects) if objects or self._options.none_found != "null" else b"null"
        body = b'{"%s":%s,"%s_not_found":%s}' % (kind.encode(), listed, kind.encode(), to_json(not_found))
        return Reply(200, body, JSON, self._headers(age))

    def whole(self, asset_ids: Collection[str]) -> dict[str, dict[str, Any] | None]:
        """By id, what a lookup with a token and all fields says of assets now; None for what it does not find."""
        assets = self._catalogue.find(asset_ids)
        objects: dict[str, dict[str, Any] | None] = dict.fromkeys(asset_ids)
        for asset_id, verdict in self.verdicts(asset_ids).items():
            if verdict == AVAILABLE:
                asset = assets[asset_id]
                account = Account(self._options.seed, _KINDS[asset.asset_type.lower()], has_token=True)
                found = self._object(asset, account, FIELDS[account.kind])
                objects[asset_id] = found if isinstance(found, dict) else None
        return objects

    def verdicts(self, asset_ids: Collection[str]) -> dict[str, str | None]:
        """By id, what lookups can find out now: whether an asset is available, or why not.

        None where no lookup can say: music, and an id with a comma, which is two in a list.
        """
        assets = self._catalogue.find(asset_ids)
        return {asset_id: self._verdict(asset_id, assets.get(asset_id)) for asset_id in asset_ids}

    def _verdict(self, asset_id: str, asset: Asset | None) -> str | None:
        if "," in asset_id or (asset and asset.asset_type.lower() not in _KINDS):
            return None
        if asset is None:
            return NOT_IN_CATALOGUE
        return AVAILABLE if self._catalogue.is_licensed(asset_id) else NOT_LICENSED

    def _accepts(self, name: str, kind: str) -> bool:
        return name in FIELDS[kind] and name not in self._options.refuse_fields

    def _leaves_out(self) -> bool:
        with self._lock:
            return self._unanswered.random() < self._options.unanswered_share

    def _is_answered(self, asset: Asset, account: Account) -> bool:
        """Whether an asset has this type and, with a token, belongs to the agreement."""
        is_licensed = not account.has_token or self._catalogue.is_licensed(asset.asset_id)
        return is_licensed and _KINDS.get(asset.asset_type.lower()) == account.kind

    def _assets(self, asset_ids: Collection[str]) -> tuple[dict[str, Asset], int]:
        """Those that exist, as far as this is known by answers kept before, and the age of the oldest of these."""
        max_age, now = self._options.lookup_max_age, self._options.clock()
        if not max_age:
            return self._catalogue.find(asset_ids), 0
        with self._lock:
            new = [each for each in asset_ids if _age(self._kept.get(each), now) >= max_age]
            found = self._catalogue.find(new)
            self._kept |= {asset_id: (now, found.get(asset_id)) for asset_id in new}
            kept = {asset_id: self._kept[asset_id] for asset_id in asset_ids}
        age = max((_age(each, now) for each in kept.values()), default=0)
        return {asset_id: asset for asset_id, (_, asset) in kept.items() if asset}, math.ceil(age)

    def _encoded(self, asset: Asset, account: Account, fields: frozenset[str]) -> bytes:
        if asset.asset_id in self._catalogue.overrides:
            # Escapes can carry whatever JSON can: NUL, halves of surrogate pairs.
            return json.dumps(self._object(asset, account, fields)).encode()
        return encode_metadata(
            account, fields, asset_id=asset.asset_id, family=asset.asset_family, version=asset.version
        )

    def _object(self, asset: Asset, account: Account, fields: frozenset[str]) -> object:
        override = self._catalogue.overrides.get(asset.asset_id, {})
        if not isinstance(override, dict):
            return override
        found = metadata_of(account, asset_id=asset.asset_id, family=asset.asset_family, version=asset.version)
        return select_members(found | override, fields, account.kind)

    def _headers(self, age: int) -> dict[str, str]:
        return {
            "Date": format_datetime(self._options.clock(), usegmt=True),
            "Cache-Control": f"max-age={self._options.lookup_max_age}",
            "Vary": "Authorization, Api-Key, Accept-Language, GI-Country-Code",
            "X-Cache": f"{'Hit' if age else 'Miss'} from cloudfront",
        } | ({"Age": str(age)} if age else {})


def _listed(query: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """The values of a comma-joined parameter; an encoded comma separates as well."""
    parts = [part.strip() for value in query.get(name, ()) for part in value.split(",")]
    return [part for part in parts if part]


def _age(kept: tuple[datetime, Asset | None] | None, now: datetime) -> float:
    return (now - kept[0]).total_seconds() if kept else math.inf
