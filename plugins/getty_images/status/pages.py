"""The pages as HTML, made by the server: no script, no request to any other host."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from asset_changes.monitoring.purge_conditions import PURGE_CONDITIONS
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.settings import Settings
from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.compliance import Report, Span, runnable
from asset_changes.warehouse.lookup_status import MOST_COUNTED, LookupStatus, lookup_status
from asset_changes.warehouse.purge_plans import Plan
from asset_changes.warehouse.purge_report import FILE_QUERIES, FileReport
from asset_changes.warehouse.purge_status import (
    NEWEST_PLANS,
    PAGE_FILES,
    RECEIPT_DAYS,
    PurgeStatus,
    purge_status,
)
from asset_changes.warehouse.removals import CHECKED_DAYS, PAGE_ROWS, REASONS, HoldingCount
from asset_changes.warehouse.status import ChannelStatus, channel_statuses
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from getty_images.status import filters
from getty_images.status.airflow_runs import problems_of, runs_since, status_of
from getty_images.status.capabilities import LOOKUP_DAG, LOOKUP_RUNS, PURGE_DAG, PURGE_RUNS, Facts, what_is_on
from getty_images.status.chart import HEIGHT, HOUR, LIFECYCLES, WIDTH, Picture, draw
from getty_images.status.holdings_panel import Panel, holdings_panel
from getty_images.status.problems import State, Summary, problem_of_alert, summarize
from getty_images.status.warehouse_session import PageUnavailable, reading

_PURGE_ALERTS = frozenset(condition.name for condition in PURGE_CONDITIONS)
_ORDER = (State.BROKEN, State.VANISHED, State.BEHIND, State.UP_TO_DATE, State.RETIRED)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

SPANS = {"24h": 24, "7d": 7 * 24, "14d": 14 * 24}
"""The hours of each picture, by the name in the address."""

_templates = Environment(
    loader=PackageLoader("getty_images.status"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    span=filters.span,
    time=filters.time,
    short_time=filters.short_time,
    iso=filters.iso,
    days=filters.days,
    reason=filters.reason,
    marked=filters.marked,
    path_part=filters.path_part,
    removal_reason=filters.removal_reason,
    outcome=filters.outcome,
    plan_outcome=filters.plan_outcome,
    result=filters.result,
    size=filters.size,
)
_templates.globals.update(width=WIDTH, height=HEIGHT, lifecycles=LIFECYCLES)


@dataclass(frozen=True, kw_only=True)
class PageUrls:
    """Where a page is: the root of Airflow's UI, that of these pages, and the colours asked for."""

    root: str
    here: str
    theme: str = ""

    def own(self, path: str = "", **query: object) -> str:
        """Return the address of one of these pages, in the same colours."""
        given = {name: value for name, value in {**query, "theme": self.theme}.items() if value}
        return f"{self.here}/{path}" + (f"?{urlencode(given)}" if given else "")

    def airflow(self, path: str = "") -> str:
        """Return the address of a page of Airflow."""
        return f"{self.root}/{path}"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One channel as the template shows it."""

    status: ChannelStatus
    summary: Summary
    picture: Picture


def overview(
    place: PageUrls,
    *,
    span: str,
    rejected: int | None = None,
    dag_id: str | None = None,
) -> Response:
    """Return the page of all channels, or of the one whose DAG is asked for; `rejected` is whose list is open."""
    hours, now = SPANS[span], datetime.now(UTC)
    since = now.replace(minute=0, second=0, microsecond=0) - HOUR * (hours - 1)
    with reading() as (connection, settings):
        statuses = channel_statuses(connection, since=since)
        lookups = lookup_status(connection, now=now) if dag_id is None else None
        panel = holdings_panel(connection) if dag_id is None else Panel()
        purge = purge_status(connection) if dag_id is None else PurgeStatus()
    if dag_id is not None:
        statuses = tuple(status for status in statuses if status.dag_id == dag_id)
    known = problems_of([status.dag_id for status in statuses if not status.health.retired_at])
    limits = WatchSettings.from_environment()
    cards = [
        Card(
            status=status,
            summary=summarize(
                status, now=now, limits=limits, confirms=settings.confirm, others=known.get(status.dag_id, ())
            ),
            picture=draw(status.hours, count=hours, now=now),
        )
        for status in statuses
    ]
    return _page(
        "overview.html",
        place,
        **_whole_installation(lookups, statuses, settings, panel, purge, now=now),
        panel=panel,
        purge=purge,
        receipt_days=RECEIPT_DAYS,
        checked_days=CHECKED_DAYS,
        settings=settings,
        most_counted=MOST_COUNTED,
        cards=sorted(cards, key=lambda card: _ORDER.index(card.summary.state)),
        dag_id=dag_id,
        rejected=rejected,
        confirms=settings.confirm,
        limits=limits,
        chosen=span,
        spans=SPANS,
        now=now,
        path="" if dag_id is None else f"channels/{filters.path_part(dag_id)}",
        states=State,
    )


def _whole_installation(
    lookups: LookupStatus | None,
    statuses: tuple[ChannelStatus, ...],
    settings: Settings,
    panel: Panel,
    purge: PurgeStatus,
    *,
    now: datetime,
) -> dict[str, Any]:
    """Return what the page says of no single channel: what is on, and how the lookups are."""
    if lookups is None:
        return {"capabilities": (), "lookups": None, "lookup_problems": (), "purge_problems": ()}
    read = [status for status in statuses if not status.health.retired_at]
    dag, purge_dag = status_of(LOOKUP_DAG), status_of(PURGE_DAG)
    facts = Facts(
        settings=settings,
        channel_count=len(read),
        set_count=sum(hour.sets for status in statuses for hour in status.hours if hour.hour > now - 24 * HOUR),
        run_count=runs_since([status.dag_id for status in read], now - 24 * HOUR),
        lookups=lookups,
        lookup_dag=dag,
        holdings=panel.sources,
        waiting_count=len(panel.waiting),
        purge=purge,
        purge_dag=purge_dag,
    )
    purge_alerts = [each for each in lookups.alerts if each.condition in _PURGE_ALERTS]
    problems = [dag.failure] if dag.failure else []
    problems += [problem_of_alert(each, start=LOOKUP_RUNS) for each in lookups.alerts if each not in purge_alerts]
    purge_problems = [purge_dag.failure] if purge_dag.failure else []
    purge_problems += [problem_of_alert(each, start=PURGE_RUNS) for each in purge_alerts]
    return {
        "capabilities": what_is_on(facts),
        "lookups": lookups if (settings.metadata or settings.reconcile_days) and lookups.has_begun else None,
        "lookup_problems": [replace(problem, is_breaking=False) for problem in problems],
        "purge_problems": [replace(problem, is_breaking=False) for problem in purge_problems],
    }


def compliance(
    place: PageUrls, *, span: Span, report: Report, files: FileReport, schema: str, now: datetime
) -> Response:
    """Return the compliance report."""
    return _page(
        "compliance.html",
        # It is printed: the colours are the paper's, whatever the UI's are.
        replace(place, theme=""),
        span=span,
        report=report,
        files=files,
        queries=runnable(span, CHECKS, schema=schema, more=FILE_QUERIES),
        checked_days=CHECKED_DAYS,
        now=now,
    )


def removals(
    place: PageUrls,
    *,
    rows: list[dict[str, Any]],
    counts: tuple[HoldingCount, ...],
    source: str,
    reason: str,
    now: datetime,
) -> Response:
    """Return a page of what must be removed; `rows` are one more than it shows where there are more."""
    return _page(
        "removals.html",
        place,
        rows=rows[:PAGE_ROWS],
        has_more=len(rows) > PAGE_ROWS,
        counts=counts,
        reasons=REASONS,
        source=source,
        reason=reason,
        now=now,
    )


def plans(place: PageUrls, *, plans: tuple[Plan, ...], now: datetime) -> Response:
    """Return the list of the newest plans to delete files."""
    return _page("plans.html", place, plans=plans, most=NEWEST_PLANS, now=now)


def plan(
    place: PageUrls,
    *,
    plan: Plan,
    files: list[dict[str, Any]],
    receipts: list[dict[str, Any]],
    now: datetime,
) -> Response:
    """Return one plan; `files` are one more than it shows where there are more."""
    return _page(
        "plan.html",
        place,
        plan=plan,
        files=files[:PAGE_FILES],
        has_more=len(files) > PAGE_FILES,
        receipts=receipts,
        is_over=plan.is_expired,
        now=now,
    )


def receipts(place: PageUrls, *, asset_id: str, story: list[dict[str, Any]], now: datetime) -> Response:
    """Return what happened to an asset and its files."""
    return _page("receipts.html", place, asset_id=asset_id, story=story, most=PAGE_FILES, now=now)


def obstacle(place: PageUrls, error: PageUnavailable, *, status: int) -> Response:
    """Return a page that says why there is nothing to show, and what to do."""
    return _page("obstacle.html", place, status=status, title="Nothing to show yet", error=error)


def refused(place: PageUrls, *, status: int, detail: str) -> Response:
    """Return a page for a request that is not answered."""
    return _page("refused.html", place, status=status, detail=detail)


def script(name: str) -> Response:
    """Return the script of the UI's component."""
    text = (Path(__file__).parent / "tab.js").read_text().replace("%NAME%", name)
    return Response(text, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


def _page(template: str, place: PageUrls, *, status: int = 200, **values: object) -> HTMLResponse:
    text = _templates.get_template(template).render(place=place, zero=timedelta(0), status_code=status, **values)
    return HTMLResponse(text, status_code=status, headers=_HEADERS)
