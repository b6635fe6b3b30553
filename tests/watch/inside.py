"""What these tests' jobs do inside a process of Airflow; what they return is plain data."""

from typing import Any

from tests.dags.inside import bag, do_task


def run_dag(file: str, dag_id: str, **params: Any) -> tuple[str, str]:
    """Run a DAG as `dag.test()` does; return the state and the id of the run."""
    run = bag(file).dags[dag_id].test(run_conf=params)
    return str(run.state), run.run_id


def watch_briefly(seconds: float) -> str:
    """Run the watchdog with so much time and no more; return the state of the run."""
    from datetime import timedelta

    watchdog = bag("watch.py").dags["asset_changes_watch"]
    watchdog.task_dict["watch"].execution_timeout = timedelta(seconds=seconds)
    return str(watchdog.test().state)


def note_gone_channel(channel_id: int) -> str:
    """Run the watchdog with the channel that is known to be gone; return the state of the run."""
    return run_dag("watch.py", "asset_changes_watch", gone_channel_id=channel_id)[0]


def dismiss(what: str) -> str:
    """Run the watchdog with a finding that somebody dismisses; return the state of the run."""
    return run_dag("watch.py", "asset_changes_watch", dismiss=what)[0]


def nightly_replay(channel_id: int, try_number: int = 1) -> dict[str, Any]:
    """Replay a channel as the scheduled run does."""
    from datetime import UTC, datetime, timedelta
    from types import SimpleNamespace

    from getty_images.tasks import replay

    now = datetime.now(UTC)
    context = {
        "dag_run": SimpleNamespace(run_type="scheduled"),
        "ti": SimpleNamespace(try_number=try_number),
        "params": {},
        "data_interval_start": now - timedelta(days=1),
        "data_interval_end": now + timedelta(days=1),
    }
    channel = {"channel_id": channel_id, "asset_family": "Editorial", "asset_type": "Image"}
    return replay.replay_channel(context, channel)


def fetch_only(dag_id: str) -> None:
    """Do the first task of a channel alone."""
    do_task(dag_id, "fetch")


Sent = list[tuple[str, str, float, dict[str, str]]]
"""Kind, name, value and tags of each metric that a backend of Airflow got."""


def sent_metrics(what: str) -> Sent:
    """Return what a backend gets of made-up numbers."""
    sent = _backend()
    _send(what)
    return sent


def sent_by_run(file: str, dag_id: str) -> Sent:
    """Run a DAG; return what of ours a backend gets."""
    sent = _backend()
    state, _ = run_dag(file, dag_id)
    assert state == "success"
    return [each for each in sent if each[1].startswith("asset_changes.")]


def _backend() -> Sent:
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk.observability import stats

    sent: Sent = []

    class Backend(NoStatsLogger):
        def incr(self, stat: str, count: int = 1, *, tags: dict[str, str] | None = None) -> None:
            sent.append(("counter", stat, count, tags or {}))

        def gauge(self, stat: str, value: float, *, tags: dict[str, str] | None = None) -> None:
            sent.append(("gauge", stat, value, tags or {}))

    stats.initialize(factory=Backend, export_legacy_names=True)  # type: ignore[arg-type]
    return sent


def export_metrics() -> None:
    """Send every metric through the backend that this Airflow is set up for, OpenTelemetry's."""
    from opentelemetry.metrics import get_meter_provider

    for what in ("loaded", "watched", "looked_up", "holdings", "purge"):
        _send(what)
    assert get_meter_provider().force_flush()  # type: ignore[attr-defined]  # the SDK's has it


def _send(what: str) -> None:
    from datetime import UTC, datetime

    from asset_changes.models import Counts
    from asset_changes.monitoring.monitor import MonitorResult, Reading
    from asset_changes.warehouse.purge_counts import PurgeCount
    from asset_changes.warehouse.removals import Due, HoldingCount
    from getty_images import metrics

    if what == "purge":
        ages = {"open_count": 3, "day_count": 1, "week_count": 1, "older_count": 1, "open_since": None}
        held_back = {"held_back_count": 2, "held_back_by": {"legal": 2}, "oldest": ()}
        counted_at = datetime(2026, 11, 28, tzinfo=UTC)
        metrics.send_purge_counts([PurgeCount(store="dam", counted_at=counted_at, **ages, **held_back)])
        metrics.send_purged({"deleted": 7, "failed": 1, "gone": 4})
    elif what == "holdings":
        due = (Due(reason="deleted", count=2, since=None),)
        counted_at = datetime(2026, 11, 28, tzinfo=UTC)
        counts = HoldingCount(source="dam", held_count=9, checked_count=8, due=due, counted_at=counted_at)
        metrics.send_holdings([counts])
    elif what == "looked_up":
        metrics.send_looked_up({"calls": 4, "found": 300, "not_found": 20, "unanswered": 5, "waiting": 80})
    elif what == "loaded":
        metrics.send_loaded(3001, sets=2, counts=Counts(new=3, delete=1), channel_seq=7)
    else:
        reading = Reading(channel_id=3001, lag_seconds=5, unchecked_seconds=9)
        metrics.send_watched(MonitorResult(channels=(3001,), open=frozenset({(3001, "silent")}), readings=(reading,)))


def lineage(host: str, port: int | None) -> dict[str, list[str]]:
    """Return the datasets that a load reports to Airflow's collector, which OpenLineage's provider reads."""
    from airflow.sdk.lineage import HookLineageCollector
    from getty_images import assets
    from sqlalchemy import URL

    collector = HookLineageCollector()
    assets.add_tables(collector, URL.create("postgresql+psycopg", host=host, port=port, database="copy"))
    assets.add_archive(collector, 3001)
    collected = collector.collected_assets
    return {
        "read": [each.asset.uri for each in collected.inputs],
        "written": [each.asset.uri for each in collected.outputs],
    }


def lineage_of_run(file: str, dag_id: str) -> dict[str, dict[str, int]]:
    """Run a DAG where OpenLineage's provider seems to listen; return each dataset with how often it was reported."""
    import sys
    from collections import Counter
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from airflow.plugins_manager import AirflowPlugin
    from airflow.sdk import plugins_manager
    from airflow.sdk.lineage import HookLineageReader, get_hook_lineage_collector

    class Listening(AirflowPlugin):
        name = "listening"
        hook_lineage_readers = [HookLineageReader]  # noqa: RUF012 - as Airflow reads it

    plugins_manager._get_plugins()[0].append(Listening())
    provider = ModuleType("airflow.providers.openlineage")
    provider.__spec__ = ModuleSpec(provider.__name__, None)
    sys.modules[provider.__name__] = provider
    state, _ = run_dag(file, dag_id)
    assert state == "success"
    collected = get_hook_lineage_collector().collected_assets
    return {
        "read": dict(Counter(each.asset.uri for each in collected.inputs)),
        "written": dict(Counter(each.asset.uri for each in collected.outputs)),
    }


def dags_page(generator: str) -> str:
    """Return docs/dags.md as its generator makes it of the DAGs of this folder."""
    import runpy

    return str(runpy.run_path(generator)["dags_page"](bag().dags))


def parsed_commands(commands: list[list[str]]) -> list[str]:
    """Return what Airflow's command line calls each command, or what it says against one."""
    import argparse

    from airflow.cli.cli_parser import get_parser

    def name(words: list[str]) -> str:
        try:
            return str(get_parser().parse_args(words).subcommand)
        except (SystemExit, argparse.ArgumentError) as error:
            return f"refused: {error}"

    return [name(words) for words in commands]
