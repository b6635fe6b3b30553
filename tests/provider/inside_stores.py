"""What the tests of the stores do inside a process of Airflow."""

import sys

from asset_changes.errors import AssetChangesError


def listed(asset_ids: list[str], is_purged: bool = False, without: str = "") -> dict[str, list[str]] | str:
    """Return what each store has of these assets, deleted if asked; or the error, if they cannot be opened."""
    from asset_changes.settings import Settings

    if without:
        sys.modules[without] = None  # type: ignore[assignment]  # as if the package were not installed
    from getty_images.stores import stores_of

    try:
        with stores_of(Settings.from_environment()) as stores:
            found = {}
            for store in stores:
                store.check()
                files = [file for of_asset in store.list_files(asset_ids).values() for file in of_asset]
                found[store.name] = [file.key for file in files]
                if is_purged:
                    assert {each.result for each in store.delete(files)} <= {"deleted"}
            return found
    except AssetChangesError as error:
        return f"{type(error).__name__}: {error}"
