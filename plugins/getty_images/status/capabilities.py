"""What is on: one line per capability, with its state, its cost in calls a day, and the next step."""

import math
from dataclasses import dataclass, field
from functools import partial

from asset_changes.getty_api.lookup import MAX_IDS
from asset_changes.settings import Settings
from asset_changes.warehouse.holdings import SourceStatus
from asset_changes.warehouse.lookup_status import LookupStatus
from asset_changes.warehouse.purge_status import PurgeStatus
from asset_changes.warehouse.rechecks import LEAST_PER_DAY

from getty_images.status.airflow_runs import DagStatus
from getty_images.status.problems import Link

LOOKUP_DAG = "asset_changes_lookup"
_DISCOVERY = Link(path="dags/asset_changes_discovery", name="Discovery")
_LOOKUP = Link(path=f"dags/{LOOKUP_DAG}", name="Look up assets")
LOOKUP_RUNS = Link(path=f"dags/{LOOKUP_DAG}/runs", name="The runs of Look up assets")
HOLDINGS_DAG = "asset_changes_holdings"
_HOLDINGS = Link(path=f"dags/{HOLDINGS_DAG}", name="Import holdings")
PURGE_DAG = "asset_changes_purge"
_PURGE = Link(path=f"dags/{PURGE_DAG}", name="Purge files")
PURGE_RUNS = Link(path=f"dags/{PURGE_DAG}/runs", name="The runs of Purge files")
_PURGE_PANEL = Link(path="#purge", name="Purge")
_PANEL = Link(path="#lookups", name="Lookups")
_HOLDINGS_PANEL = Link(path="#holdings", name="Holdings")
_IMPORT_ERRORS = Link(path="dags?search=asset_changes", name="The DAGs")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the lines are made of."""

    settings: Settings
    channel_count: int
    set_count: int
    run_count: int
    """Change sets of the last 24 hours, and runs of the channels' DAGs."""
    lookups: LookupStatus
    lookup_dag: DagStatus
    holdings: tuple[SourceStatus, ...] = ()
    waiting_count: int = 0
    """Reconciliations that wait for an approval."""
    purge: PurgeStatus = field(default_factory=PurgeStatus)
    purge_dag: DagStatus = field(default_factory=DagStatus)


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One line; an empty `next_step` says that nothing is to be done."""

    name: str
    state: str
    is_on: bool
    cost: str
    next_step: str = ""
    link: Link | None = None


def what_is_on(facts: Facts) -> tuple[Capability, ...]:
    """Return all lines."""
    return (_feed(facts), _metadata(facts), _holdings(facts), _reconciliation(facts), _purge(facts))


def _feed(facts: Facts) -> Capability:
    count = facts.channel_count
    channels = f"{count} channel{'' if count == 1 else 's'}"
    if not count:
        return Capability(
            name="Feed",
            state="no channel yet",
            is_on=False,
            cost="no calls",
            next_step="Trigger discovery: it finds the channels.",
            link=_DISCOVERY,
        )
    # A run that finds nothing costs a token and a PUT; each set costs a PUT and a DELETE.
    cost = f"about {2 * (facts.run_count + facts.set_count):,} calls in the last 24 hours"
    if facts.settings.confirm:
        return Capability(name="Feed", state=f"on, {channels}, confirming", is_on=True, cost=cost)
    return Capability(
        name="Feed",
        state=f"looking only, {channels}, nothing is confirmed",
        is_on=False,
        cost=cost,
        next_step="Set ASSET_CHANGES_CONFIRM=on once nobody else reads these channels.",
    )


def _metadata(facts: Facts) -> Capability:
    lookups, dag = facts.lookups, facts.lookup_dag
    used = f"{lookups.calls_last_day:,} calls in the last 24 hours"
    line = partial(Capability, name="Metadata", is_on=False, cost=used)
    if not facts.settings.metadata:
        next_step = "Set ASSET_CHANGES_METADATA=on to keep captions, keywords and restrictions."
        return line(state="off", cost="no calls", next_step=next_step)
    if dag.is_missing:
        next_step = "Check the import errors on Airflow's home page."
        return line(state="its DAG is missing", next_step=next_step, link=_IMPORT_ERRORS)
    if dag.is_paused and lookups.has_begun:
        next_step = "Unpause Look up assets: it continues with what waits."
        return line(state="paused", next_step=next_step, link=_LOOKUP)
    if dag.is_paused:
        next_step = "Ask Getty whether you may store metadata, then unpause Look up assets."
        return line(state="paused, not begun", cost=_estimated_cost(facts), next_step=next_step, link=_LOOKUP)
    if lookups.alerts or dag.failure or any(each.error for each in lookups.connections):
        return line(state="on, with problems", next_step="Read what is said below:", link=_PANEL)
    return line(state="on", is_on=True)


def _estimated_cost(facts: Facts) -> str:
    """Return what it will cost: all live assets once, then what changes."""
    settings, once = facts.settings, -(-facts.lookups.live.count // MAX_IDS)
    daily = -(-facts.lookups.upserts_per_day // MAX_IDS)
    hours = max(once / settings.lookups_per_second / 3600, (once - 1) // settings.lookups_per_day * 24)
    takes = f"{hours:,.0f} hours" if hours >= 2 else f"{max(1, round(hours * 60))} min"
    return (
        f"about {once:,} call{'' if once == 1 else 's'} once ({takes} at {settings.lookups_per_second:g} per second), "
        f"then at most {daily:,} a day"
    )


def _holdings(facts: Facts) -> Capability:
    imported = [each for each in facts.holdings if each.imported_at]
    refused = [each.source for each in facts.holdings if each.refused_why]
    count, lists = sum(each.held_count for each in imported), len(imported)
    state = f"{count:,} assets from {lists} list{'' if lists == 1 else 's'}"
    if refused:
        state = f"{state}, refused: {', '.join(refused)}"
        next_step = "Read below why; correct the list or accept it, then trigger Import holdings."
    elif imported:
        return Capability(name="Holdings", state=state, is_on=True, cost="no calls")
    elif facts.settings.holdings:
        state, next_step = "nothing imported yet", "Trigger Import holdings, or wait for its schedule."
    else:
        state, next_step = "no list", "Set ASSET_CHANGES_HOLDINGS, or give Import holdings a single list."
    return Capability(name="Holdings", state=state, is_on=False, cost="no calls", next_step=next_step, link=_HOLDINGS)


def _reconciliation(facts: Facts) -> Capability:
    settings, dag = facts.settings, facts.lookup_dag
    line = partial(Capability, name="Reconciliation", is_on=False, cost="no calls")
    if not settings.reconcile_days:
        return line(
            state="off",
            next_step="Set ASSET_CHANGES_RECONCILE_DAYS=30: then Getty is asked every month about all that you hold.",
        )
    asked = facts.lookups.live.count if settings.lookup_scope == "all" else 0
    asked += sum(each.held_count for each in facts.holdings)
    share = max(min(asked, LEAST_PER_DAY), asked / settings.reconcile_days)
    daily = math.ceil(share / MAX_IDS)
    cost = f"about {daily:,} call{'' if daily == 1 else 's'} a day"
    every = f"everything within {settings.reconcile_days:g} day{'' if settings.reconcile_days == 1 else 's'}"
    if dag.is_missing:
        next_step = "Check the import errors on Airflow's home page."
        return line(state="its DAG is missing", next_step=next_step, link=_IMPORT_ERRORS)
    if dag.is_paused:
        return line(state="paused", cost=cost, next_step="Unpause Look up assets.", link=_LOOKUP)
    if facts.waiting_count:
        next_step = "Read what was found, then approve or reject it:"
        return line(state="waits for an approval", cost=cost, next_step=next_step, link=_HOLDINGS_PANEL)
    return line(state=f"on, {every}", is_on=True, cost=cost)


def _purge(facts: Facts) -> Capability:
    settings, dag, purge = facts.settings, facts.purge_dag, facts.purge
    line = partial(Capability, name="Purge", is_on=False, cost="no calls")
    if not settings.file_stores:
        return line(
            state="no store of files",
            next_step="Set ASSET_CHANGES_FILE_STORES, to have the files of what Getty deleted listed, then deleted.",
        )
    # A listing before the delete, and one after it.
    listings = sum(len(each.keys) for each in settings.file_stores) * (1 if settings.purge == "dry_run" else 2)
    line = partial(line, cost=f"{listings} listing{'' if listings == 1 else 's'} per asset to purge, none of Getty")
    is_on, mode = settings.purge == "on", "on" if settings.purge == "on" else "dry run, nothing is deleted"
    if dag.is_missing:
        next_step = "Check the import errors on Airflow's home page."
        return line(state="its DAG is missing", next_step=next_step, link=_IMPORT_ERRORS)
    if dag.is_paused:
        next_step = "Unpause Purge files." if is_on else "Unpause Purge files: a dry run only lists, for a week."
        return line(state=f"paused ({mode})", next_step=next_step, link=_PURGE)
    if purge.waiting:
        next_step = "Read the plan, then approve or reject it:"
        return line(state="waits for an approval", next_step=next_step, link=_PURGE_PANEL)
    if dag.failure or any(each.error for each in purge.stores):
        return line(state=f"{mode}, with problems", next_step="Read what is said below:", link=_PURGE_PANEL)
    if not is_on:
        next_step = "Read its plans for a week, then set ASSET_CHANGES_PURGE=on; the first plan asks for approval."
        return line(state=mode, next_step=next_step, link=_PURGE_PANEL)
    return line(state="on", is_on=True)
