"""Our program: `catch_up` of the core, as the Airflow task of that name calls it."""

import logging
from typing import Any

from asset_changes.archive import Archive
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.models import Channel
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from asset_changes.pipeline.transform import transform  # noqa: F401 - the core imports it late; here it counts as an import
from asset_changes.warehouse.engine import connect
from sqlalchemy import make_url
from upath import UPath

from benchmarks.programs.rounds import DoSets, serve


def context_of(settings: dict[str, Any]) -> ChannelContext:
    """Return what the steps of one channel work with."""
    credentials = Credentials(
        api_key=settings["api_key"],
        secret="benchmark",  # noqa: S106 - the server of the benchmarks asks for none
        api_url=settings["api_url"],
        token_url=settings["token_url"],
    )
    return ChannelContext(
        channel=Channel(channel_id=settings["channel_id"], asset_family="Editorial", asset_type="Image"),
        source=AssetChangesClient(credentials),
        archive=Archive(UPath(settings["archive_uri"])),
        warehouse=connect(make_url(settings["warehouse"]), schema="getty_images"),
    )


def setup(settings: dict[str, Any]) -> DoSets:
    """Return a catch-up that stops after so many sets."""
    logging.basicConfig(filename=settings["log"], level=logging.INFO)
    context = context_of(settings)

    def run(sets: int) -> int:
        asked = iter(range(sets + 1))
        done = catch_up(context, batch_size=2200, minutes=600, stops=lambda: next(asked) >= sets)
        if done.sets != sets:
            raise RuntimeError(f"{done.sets} sets instead of {sets} were caught up with")
        return done.counts.changes

    return run


if __name__ == "__main__":
    serve(setup)
