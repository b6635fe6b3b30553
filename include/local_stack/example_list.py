"""An example of what a company holds, as a list in the state folder."""

import csv
import gzip
import io
import json
from collections.abc import MutableMapping
from pathlib import Path

from local_stack.progress import Sandbox

SETTING = "ASSET_CHANGES_HOLDINGS"
SOURCE = "example"
# As such lists are: a number that Excel has shortened, a file without a name, a remark.
_UNREADABLE = (("1.17619E+09", "Image", ""), ("", "Image", "images/untitled.jpg"), ("n/a", "", ""))
_TYPELESS = 10  # every so many lines do not say what the asset is


def name_example_list(file: Path, environment: MutableMapping[str, str]) -> bool:
    """Name the example list in the settings; false where the environment names lists, even none, itself."""
    if SETTING in environment:
        return False
    environment[SETTING] = json.dumps([{"source": SOURCE, "uri": f"file://{file}", "column": "asset_id"}])
    return True


def write_example_list(file: Path, sandbox: Sandbox) -> None:
    """Write what the sandbox says that a company may hold, once for each state folder."""
    if file.exists():
        return
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("asset_id", "asset_type", "location"))
    for number, asset in enumerate(sandbox.example_holdings()):
        asset_id, asset_type = asset["asset_id"], asset["asset_type"]
        folder, suffix = ("films", "mov") if asset_type == "Film" else ("images", "jpg")
        location = f"{folder}/GettyImages-{asset_id}.{suffix}"
        lines.writerow((asset_id, asset_type if number % _TYPELESS else "", location))
        if number < len(_UNREADABLE):
            lines.writerow(_UNREADABLE[number])
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    unfinished.rename(file)
