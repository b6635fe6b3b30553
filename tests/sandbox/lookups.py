"""Lookups of a plain client."""

from typing import Any

import requests
from getty_sandbox.metadata import FIELDS

from tests.sandbox.conftest import Reader

ALL_FIELDS = {kind: ",".join(sorted(names)) for kind, names in FIELDS.items()}


def look_up(reader: Reader, *asset_ids: str, kind: str = "images", **query: Any) -> requests.Response:
    query = {"ids": ",".join(asset_ids), "fields": ALL_FIELDS[kind]} | query
    return reader.send("GET", f"/v3/{kind}", params={name: value for name, value in query.items() if value})


def found(reader: Reader, *asset_ids: str, kind: str = "images", **query: Any) -> dict[str, Any]:
    """The found objects by id."""
    answer = look_up(reader, *asset_ids, kind=kind, **query)
    assert answer.status_code == 200, answer.text
    return {each["id"]: each for each in answer.json()[kind]}
