"""Where the replay DAG's span, channels and connections meet the core."""

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
from asset_changes.warehouse.engine import transaction
from sqlalchemy import Connection

from getty_images.resources import archive_of, channel_variable, warehouse_of


def channels(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the channels to replay, retired ones too: their sets are in the archive."""
    span(context)  # a span that is wrong fails here, once, not in every channel
    entries = channel_registry.read(channel_variable() or "[]")
    known = {entry.channel.channel_id: entry.channel for entry in entries if isinstance(entry, ChannelEntry)}
    wanted = {int(channel_id) for channel_id in context["params"].get("channel_ids") or known}
    if unknown := sorted(wanted - set(known)):
        raise ConfigurationError(
            f"Channel {unknown[0]} is not in the Variable {channel_registry.VARIABLE}; it holds "
            f"{', '.join(map(str, known)) or 'none: run asset_changes_discovery'}. Nothing was replayed."
        )
    return [_to_json(known[channel_id]) for channel_id in sorted(wanted)]


def replay_channel(context: Mapping[str, Any], channel: Mapping[str, Any]) -> dict[str, Any]:
    """Load the archived sets of one channel again; returns how much was found and changed."""
    since, until = span(context)
    settings = Settings.from_environment()
    is_proof = context["dag_run"].run_type == "scheduled"  # a replay by hand may well change rows
    with warehouse_of(settings) as engine:
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
    since, until = (_moment(each) for each in given)
    if since >= until:
        raise ConfigurationError(f"replay_from ({since}) must be before replay_to ({until}): nothing was replayed.")
    return since, until


def _moment(given: Any) -> datetime:
    moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _to_json(channel: Channel) -> dict[str, Any]:
    return {
        "channel_id": channel.channel_id,
        "asset_family": channel.asset_family,
        "asset_type": channel.asset_type,
        "name": f"{channel.asset_family} {channel.asset_type} ({channel.channel_id})",
    }
