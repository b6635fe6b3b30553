"""Opening the stores of files that the setting FILE_STORES names."""

from pathlib import Path

from asset_changes.errors import ConfigurationError
from asset_changes.file_store_settings import FileStoreSetting
from asset_changes.removal.stores.file_store import FolderStore
from asset_changes.removal.stores.store import FileStore
from asset_changes.removal.stores.template import parse_templates


def open_store(setting: FileStoreSetting) -> FileStore:
    """Return the store, opened for one run."""
    templates = parse_templates(setting.keys, where=f"store {setting.name}")
    if setting.is_folder:
        return FolderStore(Path(setting.path), name=setting.name, templates=templates)
    raise ConfigurationError(f"The store {setting.name} has an address that cannot be opened: {setting.uri}.")
