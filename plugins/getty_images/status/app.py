"""The routes. Every one of them demands an Airflow login: apps of plugins are public by default."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from asset_changes.monitoring.settings import WatchSettings
from asset_changes.warehouse.channel_health import read_channel_health
from asset_changes.warehouse.clean_verdict import CHECKS
from asset_changes.warehouse.compliance import Report, Span, compliance, deletes
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from getty_images.status import PREFIX, pages
from getty_images.status.airflow_runs import without_dag
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
        span = with_readers(connection, span)
        report = compliance(connection, span, CHECKS)
    return pages.compliance(here, span=span, report=report, schema=settings.schema, now=datetime.now(UTC))


def with_readers(connection: Connection, span: Span) -> Span:
    """Return the span with the channels that nobody reads, because their DAG is paused or missing."""
    listed = {each.dag_id: each.channel.channel_id for each in read_channel_health(connection) if not each.retired_at}
    return replace(span, without_dag=sorted(listed[dag_id] for dag_id in without_dag(listed)))


def download() -> Iterator[Connection]:
    """Give the warehouse for as long as a download takes; given back too when its reader leaves early."""
    with reading(seconds=DOWNLOAD_SECONDS) as (connection, _):
        yield connection


@app.get("/compliance.csv")
def compliance_csv(span: AskedSpan, connection: Annotated[Connection, Depends(download)]) -> Response:
    """The verdict on a span of days and all that speaks against it, then every Delete, one line each."""
    name = f"deletes_{span.first}_{span.last}.csv"
    return StreamingResponse(
        _csv(compliance(connection, with_readers(connection, span), CHECKS), deletes(connection, span)),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


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


CSV_COLUMNS = (
    "channel_id", "change_set_id", "position", "asset_id", "was_held", "deleted_at", "received_at", "removed_at",
    "seconds_to_removal", "is_rebuilt", "is_time_inferred", "applied_at", "record", "count", "says", "settled_by",
    "was_in_holdings",
)  # fmt: skip


def _csv(report: Report, rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Give the lines as text; `record` says what each is: verdict, reservation or delete."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="")
    writer.writeheader()
    verdict = "clean" if report.is_clean else "not clean"
    writer.writerow({"record": "verdict", "count": len(report.reservations), "says": verdict})
    for each in report.reservations:
        count = "unknown" if each.count is None else each.count
        writer.writerow({"record": "reservation", "count": count, "says": each.says, "settled_by": each.resolved_by})
    for number, row in enumerate(rows, start=1):
        writer.writerow({name: _cell(value) for name, value in row.items()} | {"record": "delete"})
        if number % 1000 == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value).lower() if isinstance(value, bool) else value
