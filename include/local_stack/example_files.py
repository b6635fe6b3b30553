"""Small files of assets of the example list, and the setting that names their folder as a store."""

import csv
import gzip
import json
from collections.abc import MutableMapping
from pathlib import Path

from local_stack.example_list import SOURCE

SETTING = "ASSET_CHANGES_FILE_STORES"
FOLDERS = ("images", "films", "renditions")
KEYS = ("images/GettyImages-{asset_id}.*", "films/GettyImages-{asset_id}.*", "renditions/{asset_id}/**")
# The list ends with what the feed has deleted, then with what it has never named: of both there are files.
CHOSEN = slice(-380, -200)
_RENDITIONS = ("web.jpg", "thumbnail.jpg")
_WITH_RENDITIONS = 9  # one asset in so many has them


def name_example_files(folder: Path, environment: MutableMapping[str, str]) -> bool:
    """Name the folder in the settings; false where the environment names stores, even none, itself."""
    if SETTING in environment:
        return False
    environment[SETTING] = json.dumps([{"name": SOURCE, "uri": f"file://{folder}", "keys": KEYS}])
    return True


def write_example_files(folder: Path, example_list: Path) -> None:
    """Write about 200 files once for each state folder: what a purge has deleted does not come back."""
    if folder.exists():
        return
    with gzip.open(example_list, "rt", newline="") as lines:
        # A short list would begin with its unreadable lines, which name no file.
        chosen = [each for each in csv.DictReader(lines) if each["asset_id"] and each["location"]][CHOSEN]
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    for name in ("", *FOLDERS):
        place = unfinished / name
        place.mkdir(parents=True, exist_ok=True)
        (place / ".keep").touch()  # an empty folder would be taken for a share that is not mounted
    for number, asset in enumerate(chosen):
        names = [asset["location"]]
        if number % _WITH_RENDITIONS == 0:
            (unfinished / "renditions" / asset["asset_id"]).mkdir(exist_ok=True)
            names += [f"renditions/{asset['asset_id']}/{each}" for each in _RENDITIONS]
        for name in names:
            (unfinished / name).write_text(f"The example's {name}, of asset {asset['asset_id']}\n")
    unfinished.rename(folder)
