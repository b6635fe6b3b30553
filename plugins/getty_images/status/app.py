"""The routes. Every one of them demands an Airflow login: apps of plugins are public by default."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Annotated
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.settings import Settings
from asset_changes.warehouse.channel_health import read_channel_health
from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.compliance import Span, compliance, deletes
from asset_changes.warehouse.purge_report import file_report, files
from asset_changes.warehouse.purge_status import (
    PAGE_FILES,
    all_plan_files,
    first_plan_files,
    newest_plans,
    plan_receipts,
    plan_status,
    story_of_asset,
)
from asset_changes.warehouse.removals import holding_counts, removals, removals_page
from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from getty_images.status import PREFIX, pages
from getty_images.status.airflow_runs import without_dag
from getty_images.status.csv_files import file_lines, plan_lines, removal_lines, report_lines, story_lines
from getty_images.status.warehouse_session import DOWNLOAD_SECONDS, PageUnavailable, reading

NAME = "Asset changes"

app = FastAPI(
    title=NAME,
    dependencies=[Depends(requires_access_view(AccessView.PLUGINS))],
    # These routes would not have the guard.
    openapi_url=None,
    docs_url=None,
    redoc_url=None,
    redirect_slashes=False,  # `Slash` does it: FastAPI's would name scheme and host as they are behind a proxy
)

SpanName = Annotated[str, Query(pattern="^(24h|7d|14d)$")]
Theme = Annotated[str, Query(pattern="^(light|dark|)$")]


def place(request: Request, theme: Theme = "") -> pages.PageUrls:
    """Return where the page is: below which root of Airflow's UI, in which colours."""
    here = str(request.scope["root_path"])
    return pages.PageUrls(root=here.removesuffix(PREFIX), here=here, theme=theme)


_YEARS = range(2000, 2200)
Here = Annotated[pages.PageUrls, Depends(place)]


@app.get("/")
def overview(here: Here, span: SpanName = "24h", rejected: int | None = None) -> Response:
    """All channels, those that are broken first."""
    return pages.overview(here, span=span, rejected=rejected)


@app.get("/channels/{dag_id}")
def channel(here: Here, dag_id: str, span: SpanName = "24h", rejected: int | None = None) -> Response:
    """The channel of a DAG: the tab."""
    return pages.overview(here, span=span, rejected=rejected, dag_id=dag_id)


def asked_span(
    first: Annotated[date | None, Query(alias="from")] = None, last: Annotated[date | None, Query(alias="to")] = None
) -> Span:
    """Return the days that are asked for, by default the last 30."""
    last = last or datetime.now(UTC).date()
    if any(day and day.year not in _YEARS for day in (first, last)):
        raise HTTPException(422, f"The span is of no feed: it lies outside the years {_YEARS[0]} to {_YEARS[-1]}.")
    first = first or last - timedelta(days=29)
    if first > last:
        raise HTTPException(422, f"The span ends before it begins: from {first} to {last}.")
    return Span(first=first, last=last, within=timedelta(minutes=WatchSettings.from_environment().delete_minutes))


AskedSpan = Annotated[Span, Depends(asked_span)]


@app.get("/compliance")
def compliance_page(here: Here, span: AskedSpan) -> Response:
    """The compliance report of a span of days."""
    with reading() as (connection, settings):
        span = with_readers(connection, span, settings)
        report, found = compliance(connection, span, CHECKS), file_report(connection, span)
    return pages.compliance(here, span=span, report=report, files=found, schema=settings.schema, now=datetime.now(UTC))


def with_readers(connection: Connection, span: Span, settings: Settings) -> Span:
    """Return the span with the channels that nobody reads, and with how often Getty is asked about what is held."""
    listed = {each.dag_id: each.channel.channel_id for each in read_channel_health(connection) if not each.retired_at}
    unread = sorted(listed[dag_id] for dag_id in without_dag(listed))
    return replace(span, without_dag=unread, reconcile_days=settings.reconcile_days)


def download() -> Iterator[tuple[Connection, Settings]]:
    """Give the warehouse for as long as a download takes; given back too when its reader leaves early."""
    with reading(seconds=DOWNLOAD_SECONDS) as given:
        yield given


Download = Annotated[tuple[Connection, Settings], Depends(download)]


@app.get("/compliance.csv")
def compliance_csv(span: AskedSpan, given: Download) -> Response:
    """The verdict on a span of days and all that speaks against it, then every Delete, one line each."""
    connection, settings = given
    report = compliance(connection, with_readers(connection, span, settings), CHECKS)
    found = file_report(connection, span)
    return _csv(report_lines(report, found, deletes(connection, span)), f"deletes_{span.first}_{span.last}.csv")


@app.get("/files.csv")
def files_csv(span: AskedSpan, given: Download) -> Response:
    """Every Delete of the span in each store that it concerns, one line each, open ones first."""
    connection, _ = given
    return _csv(file_lines(files(connection, span)), f"files_{span.first}_{span.last}.csv")


Name = Annotated[str, Query(pattern="^[A-Za-z0-9_.-]{0,255}$")]
AssetId = Annotated[str, Query(pattern=r"^[^\x00-\x1f\x7f]{0,255}$")]
Reason = Annotated[str, Query(pattern="^(deleted|not_in_catalogue|not_licensed|)$")]


@app.get("/removals")
def removals_list(
    here: Here, source: Name = "", reason: Reason = "", after_source: Name = "", after: AssetId = ""
) -> Response:
    """What is held and must be removed, a page of it after an asset of a source."""
    begins = (after_source, after) if after else None
    with reading() as (connection, _):
        rows = removals_page(connection, source=source or None, reason=reason or None, after=begins)
        counts = holding_counts(connection)
    return pages.removals(here, rows=rows, counts=counts, source=source, reason=reason, now=datetime.now(UTC))


@app.get("/removals.csv")
def removals_csv(given: Download, source: Name = "", reason: Reason = "") -> Response:
    """All that is held and must be removed, one line per asset and source."""
    connection, _ = given
    name = "_".join(filter(None, ("removals", source, reason, f"{datetime.now(UTC):%Y-%m-%d}")))
    return _csv(removal_lines(removals(connection, source=source or None, reason=reason or None)), f"{name}.csv")


PlanId = Annotated[int, Path(ge=1, lt=2**63)]


@app.get("/plans")
def plans_list(here: Here) -> Response:
    """The newest plans to delete files."""
    with reading() as (connection, _):
        found = newest_plans(connection)
    return pages.plans(here, plans=found, now=datetime.now(UTC))


@app.get("/plans/{plan_id}.csv")
def plan_csv(given: Download, plan_id: PlanId) -> Response:
    """All files of a plan, one line per version."""
    connection, _ = given
    if plan_status(connection, plan_id) is None:
        raise HTTPException(404, f"There is no plan {plan_id}.")
    return _csv(plan_lines(all_plan_files(connection, plan_id)), f"plan_{plan_id}.csv")


@app.get("/plans/{plan_id}")
def plan_page(here: Here, plan_id: PlanId) -> Response:
    """One plan: its stores, its limits, who approved it, its first files and what became of them."""
    with reading() as (connection, _):
        plan = plan_status(connection, plan_id)
        if plan is None:
            raise HTTPException(404, f"There is no plan {plan_id}.")
        files, receipts = first_plan_files(connection, plan_id), plan_receipts(connection, plan_id)
    return pages.plan(here, plan=plan, files=files, receipts=receipts, now=datetime.now(UTC))


@app.get("/receipts")
def receipts_page(here: Here, asset_id: AssetId = "") -> Response:
    """What happened to an asset, from Getty's word to each store."""
    with reading() as (connection, _):
        story = list(islice(story_of_asset(connection, asset_id), PAGE_FILES + 1)) if asset_id else []
    return pages.receipts(here, asset_id=asset_id, story=story, now=datetime.now(UTC))


@app.get("/receipts.csv")
def receipts_csv(given: Download, asset_id: AssetId) -> Response:
    """The same, one line per step."""
    connection, _ = given
    return _csv(story_lines(story_of_asset(connection, asset_id), asset_id=asset_id), "receipts.csv")


def _csv(lines: Iterator[str], name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(lines, media_type="text/csv", headers=headers)


@app.get("/tab.js")
def tab() -> Response:
    """The component that shows these pages inside Airflow's UI."""
    return pages.script(NAME)


@app.exception_handler(PageUnavailable)
def obstacle(request: Request, error: PageUnavailable) -> Response:
    """What prevents a page, instead of the page."""
    theme = request.query_params.get("theme", "")
    # What downloads would take a page under 200 for the file.
    status = 503 if request.url.path.endswith(".csv") else 200
    return pages.obstacle(place(request, theme if theme in ("light", "dark") else ""), error, status=status)


@app.exception_handler(HTTPException)
def refused(request: Request, error: HTTPException) -> Response:
    """A page for people instead of JSON, under the same status."""
    return pages.refused(place(request), status=error.status_code, detail=str(error.detail))


@app.exception_handler(RequestValidationError)
def misread(request: Request, error: RequestValidationError) -> Response:
    """The same for a parameter that cannot be read."""
    said = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
    return pages.refused(place(request), status=422, detail=said)


class Slash:
    """Leads from an address with a slash too few or too many to the page, query and all.

    A mounted app sees only what lies below the slash of its prefix, so the root has to do this. The
    redirect names the path alone, not scheme and host: behind a proxy only the browser knows them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer these addresses, and hand on every other."""
        path = _right_path(scope) if scope["type"] == "http" else None
        if path is None:
            await self._app(scope, receive, send)
            return
        query = scope.get("query_string", b"").decode("latin-1")
        await RedirectResponse(quote(path) + (f"?{query}" if query else ""))(scope, receive, send)


def _right_path(scope: Scope) -> str | None:
    """Return the path that a request for one of our pages should have had, None where it is right or not ours."""
    root, path = scope.get("root_path", ""), scope["path"]
    below = path.removeprefix(root) if path.startswith(f"{root}/") else path  # some proxies cut the root off
    if below == PREFIX:
        return f"{root}{PREFIX}/"
    if below.startswith(f"{PREFIX}/") and below.endswith("/") and below != f"{PREFIX}/":
        return f"{root}{below.rstrip('/')}"
    return None
