"""The stores of files that the settings name, opened: folders by their path, buckets by an AWS connection."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from asset_changes.errors import ConfigurationError
from asset_changes.file_store_settings import is_folder, refuse_overlaps
from asset_changes.removal.stores.file_store import FolderStore
from asset_changes.removal.stores.store import FileStore
from asset_changes.removal.stores.template import KeyTemplate, parse_templates
from asset_changes.settings import FileStoreSetting, Settings

# Where the connection's `config_kwargs` do not say otherwise: waits for SlowDown, and gives up within the task's life.
_CLIENT = {"retries": {"mode": "standard", "total_max_attempts": 6}, "connect_timeout": 10, "read_timeout": 60}
_IDENTITIES = ("role_arn", "profile_name", "aws_access_key_id", "assume_role_method")


@contextmanager
def stores_of(settings: Settings) -> Iterator[tuple[FileStore, ...]]:
    """Give the stores, in the order of the setting; what is wrong with any of them is an error before one is opened."""
    templates = {
        each.name: parse_templates(each.keys, where=f"the store {each.name!r} of ASSET_CHANGES_FILE_STORES")
        for each in settings.file_stores
    }
    real_uris = {each.name: _without_links(each.uri) for each in settings.file_stores}
    refuse_overlaps(real_uris, archive_uri=_without_links(settings.archive_uri))
    with ExitStack() as opened:
        stores = tuple(_open(each, templates[each.name]) for each in settings.file_stores)
        for store in stores:
            opened.callback(store.close)
        yield stores


def _open(setting: FileStoreSetting, templates: Sequence[KeyTemplate]) -> FileStore:
    if is_folder(setting.uri):
        return FolderStore(Path(setting.path), name=setting.name, templates=templates)
    client = _s3_client(setting)
    from asset_changes.removal.stores.s3_store import BucketStore  # needs botocore, which came with the client

    return BucketStore(client, setting.uri, name=setting.name, templates=templates)


def _s3_client(setting: FileStoreSetting) -> Any:
    """Return boto3's client of the store's connection; the worker's own role is never taken instead."""
    where = f"The store {setting.name!r} of ASSET_CHANGES_FILE_STORES"
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        from botocore.config import Config
    except ImportError as error:
        raise ConfigurationError(
            f"{where} is on s3://, which needs the package apache-airflow-providers-amazon: install it in every worker."
        ) from error
    try:
        connection = BaseHook.get_connection(str(setting.conn_id))
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"{where} names the connection {setting.conn_id!r}, which is not there: create it, of type `aws`."
        ) from error
    if not connection.login and not any(connection.extra_dejson.get(name) for name in _IDENTITIES):
        raise ConfigurationError(
            f"{where} names the connection {setting.conn_id!r}, which says not as whom: the worker's own role would "
            "delete. Enter an access key, or in extra a `role_arn` or `profile_name`, with the rights that "
            "docs/file_stores.md lists."
        )
    hook = S3Hook(aws_conn_id=setting.conn_id)
    return hook.get_client_type(config=Config(**_CLIENT).merge(hook.config))


def _without_links(uri: str) -> str:
    """Return a folder's address with symbolic links resolved; any other address as it is."""
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{os.path.realpath(path)}" if is_folder(uri) else uri
