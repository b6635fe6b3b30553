"""Where the replay DAG's span, channels and connections meet the core."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from asset_changes import channel_registry
from asset_changes.channel_registry import ChannelEntry
from asset_changes.errors import ConfigurationError
from asset_changes.models import Channel
from asset_changes.monitoring.decisions import note_nightly_replay
from asset_changes.pipeline.replay import Replayed, replay
from asset_changes.settings import Settings
from asset_changes.warehouse.archived import UNKNOWN, describe, described_by_assets, described_channels
from asset_changes.warehouse.engine import transaction
from asset_changes.warehouse.migrate import check_version
from sqlalchemy import Connection

from getty_images.resources import archive_of, channel_variable, warehouse_of

log = logging.getLogger(__name__)


def channels(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the channels to replay: by default all that have a folder in the archive, retired ones too."""
    span(context)  # a span that is wrong fails here, once, not in every channel
    settings = Settings.from_environment()
    archived = archive_of(settings).channel_ids()
    listed = _listed()
    with warehouse_of(settings) as engine, transaction(engine) as connection:
        check_version(connection)
        known = described_channels(connection) | listed
        there_are = sorted({*archived, *known})
        wanted = sorted({int(channel_id) for channel_id in context["params"].get("channel_ids") or there_are})
        if unknown := [channel_id for channel_id in wanted if channel_id not in there_are]:
            raise ConfigurationError(
                f"Channel {unknown[0]} has no folder in the archive, and neither the Variable "
                f"{channel_registry.VARIABLE} nor the table channels knows it. There are "
                f"{', '.join(map(str, there_are)) or 'none: run asset_changes_discovery'}. Nothing was replayed."
            )
        found = [
            _to_json(channel_id, *(known.get(channel_id) or _described_elsewhere(connection, channel_id)))
            for channel_id in wanted
        ]
    log.info("To be replayed: channels=%s", wanted)
    return found


def _listed() -> dict[int, tuple[str, str]]:
    """Return family and type of the channels in the Variable; one that cannot be read stops no replay."""
    try:
        entries = channel_registry.read(channel_variable() or "[]")
    except ConfigurationError as error:
        log.warning("The channels are taken from warehouse and archive alone. %s", error)
        return {}
    found = [entry.channel for entry in entries if isinstance(entry, ChannelEntry)]
    return {channel.channel_id: (channel.asset_family, channel.asset_type) for channel in found}


def _described_elsewhere(connection: Connection, channel_id: int) -> tuple[str, str]:
    if described := described_by_assets(connection, channel_id):
        return described
    entry = {"channel_id": channel_id, "asset_family": "...", "asset_type": "...", "retired_at": "..."}
    log.warning(
        "Channel %d is in the archive, and nobody knows its family and type. It is replayed, so that what it deleted "
        "is removed, and both are written as %r. To have them right, add %s to the Variable %s, empty the tables and "
        "replay everything.",
        channel_id,
        UNKNOWN,
        json.dumps(entry),
        channel_registry.VARIABLE,
    )
    return UNKNOWN, UNKNOWN


def replay_channel(context: Mapping[str, Any], channel: Mapping[str, Any]) -> dict[str, Any]:
    """Load the archived sets of one channel again; returns how much was found and changed."""
    since, until = span(context)
    settings = Settings.from_environment()
    is_proof = context["dag_run"].run_type == "scheduled"  # a replay by hand may well change rows
    with warehouse_of(settings) as engine:
        with transaction(engine) as connection:
            describe(connection, channel["channel_id"], channel["asset_family"], channel["asset_type"])
        if is_proof and context["ti"].try_number == 1:
            with transaction(engine) as connection:
                note_nightly_replay(connection, channel["channel_id"], changed=0, begins=True)
        done = replay(
            Channel(
                channel_id=channel["channel_id"],
                asset_family=channel["asset_family"],
                asset_type=channel["asset_type"],
            ),
            archive=archive_of(settings),
            warehouse=engine,
            since=since,
            until=until,
            only_missing=bool(context["params"].get("only_missing")),
            note=partial(_keep_what_changed, channel_id=channel["channel_id"]) if is_proof else None,
        )
        if is_proof:
            with transaction(engine) as connection:
                note_nightly_replay(connection, channel["channel_id"], changed=0, is_complete=True)
    return {"sets": done.sets, "changes": done.changes, "changed": done.changed, "rebuilt": done.rebuilt}


def _keep_what_changed(connection: Connection, done: Replayed, *, channel_id: int) -> None:
    if changed := done.changed - done.waited:  # a set that waits for its load at midnight is nobody's mistake
        note_nightly_replay(connection, channel_id, changed=changed)


def span(context: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the span of the run: its parameters, both of them, or else its data interval.

    Only what is missing may be replayed without a span: then it is open.
    """
    given = [context["params"].get(name) for name in ("replay_from", "replay_to")]
    if not any(given):
        if context["params"].get("only_missing"):
            return None, None
        # A run that was triggered without a logical date has no interval.
        given = [context.get("data_interval_start"), context.get("data_interval_end")]
    if not all(given):
        raise ConfigurationError(
            "The span to replay is open: give both replay_from and replay_to (the end is not included), for example "
            '{"replay_from": "2026-11-01T00:00:00Z", "replay_to": "2026-11-08T00:00:00Z"}; or {"only_missing": true} '
            "for what the warehouse lacks of the whole archive."
        )
    since, until = (_in_utc(each) for each in given)
    if since >= until:
        raise ConfigurationError(f"replay_from ({since}) must be before replay_to ({until}): nothing was replayed.")
    return since, until


def _in_utc(given: Any) -> datetime:
    at = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _to_json(channel_id: int, asset_family: str, asset_type: str) -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "asset_family": asset_family,
        "asset_type": asset_type,
        "name": f"{asset_family} {asset_type} ({channel_id})",
    }
