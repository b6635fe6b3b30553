"""The client against Getty's published OpenAPI document: what it sends, and every status it may get."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest
import yaml
from asset_changes.errors import AccessDenied, AssetChangesError, RequestRefused, UnknownChannel
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.parsing import parse_channels
from asset_changes.models import MAX_BATCH_SIZE
from getty_sandbox.sandbox import Sandbox

from tests.conftest import credentials_for
from tests.core.doubles import Answer, CannedApi, client_of, parsed

DOCUMENT = yaml.safe_load(
    (Path(__file__).parent.parent / "api" / "getty-images-assetchanges-api-openapi.yml").read_text()
)
OPERATIONS = {
    (method.upper(), path): operation for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
}
CALLS: dict[str, Callable[[AssetChangesClient], Any]] = {
    "GET": lambda client: client.get_channels(),
    "PUT": lambda client: client.get_change_set(3001, batch_size=MAX_BATCH_SIZE),
    "DELETE": lambda client: client.confirm_change_set("9223372036854775807"),
}


@pytest.mark.parametrize("method", CALLS)
def test_each_request_is_one_that_the_document_names(method: str) -> None:
    api = CannedApi(Answer(200, b"[]" if method == "GET" else b""))
    CALLS[method](client_of(api))
    [sent] = api.calls
    assert sent.url is not None
    url = urlsplit(sent.url)
    [operation] = [
        operation
        for (named, path), operation in OPERATIONS.items()
        if named == sent.method and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", path), url.path)
    ]
    parameters = {each["name"]: each for each in operation.get("parameters", [])}
    given: dict[str, list[str]] = parse_qs(url.query, strict_parsing=True) if url.query else {}
    assert set(given) == {name for name, each in parameters.items() if each["in"] == "query"}
    given |= {name: [url.path.rpartition("/")[2]] for name, each in parameters.items() if each["in"] == "path"}
    for name, [value] in given.items():
        bits = {"int32": 31, "int64": 63}[parameters[name]["schema"]["format"]]
        assert parameters[name]["schema"]["type"] == "integer"
        assert 0 <= int(value) < 2**bits
    assert not sent.body
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name for need in DOCUMENT["security"] for name in need} == set(schemes)
    assert sent.headers[schemes["Api-Key"]["name"]] == "the-key"
    assert sent.headers["Authorization"].startswith("Bearer ")


EMPTY_SET = json.dumps({"changeSetId": "7", "changedAssetList": None}).encode()
# Every status that the document lists, and what it means here: an answer (None) or an error.
MEANINGS: dict[tuple[str, str], tuple[bytes, type[AssetChangesError] | None]] = {
    ("PUT", "200"): (EMPTY_SET, None),
    ("PUT", "201"): (EMPTY_SET, None),
    ("PUT", "400"): (b'{"ErrorCode": "InvalidChannelIdException"}', UnknownChannel),
    ("PUT", "403"): (b'{"message": "Forbidden"}', AccessDenied),
    ("PUT", "404"): (b'{"ErrorCode": "ChannelsNotFound"}', UnknownChannel),
    ("DELETE", "200"): (b"", None),
    ("DELETE", "400"): (b'{"ErrorCode": "InvalidChangeSetId"}', RequestRefused),
    ("DELETE", "403"): (b'{"message": "Forbidden"}', AccessDenied),
    ("DELETE", "404"): (b'{"ErrorCode": "TransactionNotFound"}', None),
    ("GET", "200"): (b"[]", None),
    ("GET", "403"): (b'{"ErrorCode": "UnauthorizedToAccessResource"}', AccessDenied),
    ("GET", "404"): (b'{"ErrorCode": "ChannelsNotFound"}', None),
}


def documented() -> Iterator[tuple[str, str]]:
    """Give each documented method with each of its statuses."""
    for (method, _), operation in OPERATIONS.items():
        for status in operation["responses"]:
            yield method, status


def test_no_documented_status_is_without_a_meaning() -> None:
    assert set(documented()) == set(MEANINGS)


@pytest.mark.parametrize(("method", "status"), MEANINGS)
def test_each_documented_status_has_its_meaning(method: str, status: str) -> None:
    body, error = MEANINGS[method, status]
    client = client_of(CannedApi(Answer(int(status), body)))
    if error is None:
        answer = CALLS[method](client)
        assert answer == [] if method == "GET" else answer is not None
    else:
        with pytest.raises(error):
            CALLS[method](client)


def schema(name: str) -> dict[str, Any]:
    """Return one of the document's schemas, as jsonschema takes it."""
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def test_what_the_document_calls_a_change_set_is_understood() -> None:
    said = {
        "changeSetId": "987654321",
        "changedAssetList": [
            {
                "assetChangedUtcDateTime": "2026-03-01T10:15:31.1234567Z",
                "assetLifecycle": "New",
                "assetType": "Music",
                "id": "200261415-001",
                "uri": "https://x",
            },
            {
                "assetChangedUtcDateTime": "2026-03-01T10:15:32",
                "assetLifecycle": "Delete",
                "assetType": None,
                "id": "2",
            },
        ],
    }
    jsonschema.validate(said, schema("AssetChanges"))
    found = parsed(said)
    assert found is not None
    assert found.change_set_id == "987654321"
    assert [(m.asset_id, m.lifecycle, m.asset_type, m.uri, m.reason) for m in found.messages.rows] == [
        ("200261415-001", "New", "Music", "https://x", None),
        ("2", "Delete", None, None, None),
    ]
    assert found.messages.changed_at[0] == datetime(2026, 3, 1, 10, 15, 31, 123456, tzinfo=UTC)


def test_what_the_document_calls_a_channel_is_understood() -> None:
    said = {"assetFamily": "Editorial", "channelId": 3, "channelType": "New,Update", "assetType": "Image"}
    jsonschema.validate(said, schema("PartnerChannel"))
    [channel] = parse_channels([said])
    assert (channel.channel_id, channel.lifecycles) == (3, "New,Update")


def test_the_sandbox_in_the_spelling_of_the_document_fits_it() -> None:
    with Sandbox(changes_per_channel=20, keys="camel", nastiness=0) as sandbox:
        client = AssetChangesClient(credentials_for(sandbox), retry_seconds=0)
        document = client.get_change_set(3001, batch_size=20).document
    jsonschema.validate(document, schema("AssetChanges"))
