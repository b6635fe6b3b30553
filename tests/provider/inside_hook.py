"""What the provider's tests do inside a process of Airflow."""

import logging
from typing import Any

CONN_ID = "getty_images_default"


def connection_types() -> dict[str, Any]:
    """Return what the connection form of the UI is drawn from, per connection type."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    return {
        meta.connection_type: meta.model_dump(mode="json", by_alias=False) for meta in HookMetaService.hook_meta_data()
    }


def providers() -> dict[str, str]:
    """Return the providers that Airflow found, with the class of our hook."""
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    hook = manager.hooks["getty_images"]
    assert hook is not None
    return {
        "hook": hook.hook_class_name,
        "connection_id": hook.connection_id_attribute_name,
        **{name: info.version for name, info in manager.providers.items()},
    }


def api_url(conn_id: str = CONN_ID) -> str:
    """Return where the hook would call the API."""
    from getty_images.hook import GettyImagesHook, credentials_of

    return credentials_of(GettyImagesHook.get_connection(conn_id)).api_url


def base_of_hook() -> bool:
    """Return whether the hook is one of the Task SDK."""
    from airflow.sdk import BaseHook
    from getty_images.hook import GettyImagesHook

    return issubclass(GettyImagesHook, BaseHook)


def channels(conn_id: str = CONN_ID) -> list[tuple[int, str, str]]:
    """Return the channels that the hook lists."""
    from getty_images.hook import GettyImagesHook

    hook = GettyImagesHook(conn_id)
    listed = hook.get_channels()
    hook.close()
    return [(each.channel_id, each.asset_family, each.asset_type) for each in listed]


def read_channel(channel_id: int, sizes: list[int]) -> list[tuple[int, int]]:
    """Fetch and confirm a set of each of these sizes; return status and number of assets of each."""
    from getty_images.hook import GettyImagesHook

    hook = GettyImagesHook()
    found = []
    for size in sizes:
        delivery = hook.get_change_set(channel_id, batch_size=size)
        document = delivery.document or {"changed_assets": []}
        found.append((delivery.status, len(document["changed_assets"])))
        if delivery.document:
            assert hook.confirm_change_set(document["change_set_id"]).is_known
    return found


def look_up(asset_ids: list[str], asset_type: str | None) -> dict[str, Any]:
    """Return what the hook finds out about assets, and whether a second call took a second token."""
    from getty_images import hook as module

    tokens: list[str] = []
    mask = module.mask_secret
    module.mask_secret = lambda secret: tokens.append(secret) or mask(secret)
    hook = module.GettyImagesHook()
    hook.look_up(asset_ids, asset_type)
    answer = hook.look_up(asset_ids, asset_type, language="de")
    hook.close()
    calls: list[int] = []
    client = hook.lookup_client(before_call=lambda: calls.append(1))
    client.look_up(asset_ids, asset_type=asset_type)
    client.close()
    return {
        "found": dict(answer.found),
        "not_found": sorted(answer.not_found),
        "unanswered": sorted(answer.unanswered),
        "tokens": len(tokens),
        "calls": len(calls),
    }


def failure(method: str, *arguments: Any, conn_id: str = CONN_ID, **options: Any) -> str:
    """Return the error of a call of the hook, with its name."""
    from getty_images.hook import GettyImagesHook

    try:
        getattr(GettyImagesHook(conn_id), method)(*arguments, **options)
    except Exception as error:  # noqa: BLE001 - returned to the test
        return f"{type(error).__name__}: {error}"
    return ""


def try_out(conn_id: str = CONN_ID) -> tuple[bool, str]:
    """Return what a test of the connection comes to, from Python."""
    from getty_images.hook import GettyImagesHook

    return GettyImagesHook(conn_id).test_connection()


def try_out_in_the_server(connection: dict[str, Any]) -> tuple[bool, str]:
    """Return what the API server answers to the Test button, for a form that is not saved yet."""
    import os

    from airflow.models.connection import Connection

    form = Connection(conn_id="of_the_form", **connection)
    # The server hands the form to the hook through the environment, under a name of its own.
    os.environ["AIRFLOW_CONN_OF_THE_FORM"] = form.as_json()
    return form.test_connection()


def said_of_a_session(*secrets: str) -> dict[str, Any]:
    """Use the hook with all loggers at their loudest; return its representations, and what is masked."""
    from airflow.sdk.log import redact
    from getty_images import hook as module

    masked: list[str] = []
    mask = module.mask_secret
    module.mask_secret = lambda secret: masked.append(secret) or mask(secret)
    logging.getLogger().setLevel(logging.DEBUG)
    hook = module.GettyImagesHook()
    hook.get_channels()
    connection = hook.get_connection(CONN_ID)
    return {
        "masked": masked,
        "representations": repr([hook, hook.client, vars(hook.client), module.credentials_of(connection)]),
        "shown": [redact(f"here is {secret}, see") for secret in (*masked, *secrets)],
    }


def refused_batch_size(size: object) -> str:
    """Return the error of asking for a set of this size."""
    return failure("get_change_set", 3001, batch_size=size)


def do_commands(commands: list[list[str]], folder: str) -> None:
    """Do `export`, `echo >`, `python -c` and `airflow` as a shell would, without importing Airflow anew for each."""
    import os
    import sys
    from pathlib import Path

    os.chdir(folder)
    for word, *words in commands:
        if word == "export":
            name, _, value = words[0].partition("=")
            os.environ[name] = value
        elif word == "echo":
            text, _, file = words
            Path(file).write_text(text)
        elif word == "python":
            assert words[0] == "-c"
            exec(words[1], {})  # noqa: S102 - a line of our own paper
        else:
            from airflow.__main__ import main

            sys.argv = [word, *words]
            status = 0
            try:
                main()
            except SystemExit as end:
                status = int(end.code or 0)
            assert status == 0
