"""What docs/file_stores.md says of settings, templates and rights is what the code takes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from asset_changes.errors import ConfigurationError
from asset_changes.removal.stores.template import parse_template, parse_templates
from asset_changes.settings import file_stores

PAGE = (Path(__file__).parents[2] / "docs/file_stores.md").read_text()
SETTING, POLICY = (json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))


def templates(chapter: str) -> list[str]:
    """Return the key templates in the first column of a chapter's table."""
    table = PAGE.partition(chapter)[2].partition("\n| --- |")[2].partition("\n\n")[0]
    return [each for row in table.splitlines() for each in re.findall("`([^`]*asset_id[^`]*)`", row.split(" | ")[0])]


def test_the_example_of_the_docs_is_taken() -> None:
    stores = file_stores(json.dumps(SETTING), archive_uri="s3://company-archive/getty")
    assert [each.name for each in stores] == ["dam", "cdn"]
    assert all(parse_templates(each.keys, where="the docs") for each in stores)


def test_the_docs_templates_are_taken_and_refused_as_said() -> None:
    taken, refused = templates("## Key templates"), templates("Refused, with what to write instead")
    assert (len(taken), len(refused)) == (4, 7)
    assert len(parse_templates(tuple(taken[:2] + taken[3:]), where="the docs")) == 3
    for each in refused[:-1]:
        with pytest.raises(ConfigurationError, match="is refused"):
            parse_template(each, where="the docs")


def test_the_policy_gives_no_more_than_is_needed() -> None:
    rights: list[dict[str, Any]] = POLICY["Statement"]
    assert [each["Action"] for each in rights] == [
        "s3:ListBucketVersions",
        ["s3:DeleteObject", "s3:DeleteObjectVersion"],
    ]
    assert rights[0]["Condition"] == {"StringLike": {"s3:prefix": "getty/*"}}
    assert SETTING[1]["uri"] == "s3://company-media/getty"
    assert rights[1]["Resource"] == "arn:aws:s3:::company-media/getty/*"
