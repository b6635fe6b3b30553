"""Who gets to see the pages: every route of the plugin's app, one by one."""

import json
import os
import subprocess
import sys

import pytest
from sqlalchemy import Engine

from tests.status.conftest import PROJECT, AirflowServer
from tests.status.seeds import channel, receipt

IMAGES = "asset_changes_editorial_image_3001"
REDIRECTS = [
    ("", "/asset-changes", "/asset-changes/?span=7d"),
    ("/team/airflow", "/team/airflow/asset-changes", "/team/airflow/asset-changes/?span=7d"),
    ("/team/airflow", "/asset-changes", "/team/airflow/asset-changes/?span=7d"),
    ("/team/airflow", "/asset-changes/compliance/", "/team/airflow/asset-changes/compliance?span=7d"),
    ("", "/asset-changes/channels/a?b#c/", "/asset-changes/channels/a%3Fb%23c?span=7d"),
    ("", "/asset-changes//evil.test/", "/asset-changes//evil.test?span=7d"),
    ("", "//evil.test/asset-changes", None),
    ("", "/asset-changes/", None),
    ("", "/asset-changes-else", None),
    ("/asset", "/asset-changes", "/asset/asset-changes/?span=7d"),
    ("/team/airflow", "/team/airflow/dags/", None),
]
_WALK = """
import json
from getty_images.status.app import app
print(json.dumps([[type(route).__name__, route.path, sorted(route.methods or ())] for route in app.routes]))
"""


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, list[str]]]:
    """All that the app has: the kind, the path and the methods of each route."""
    return [tuple(route) for route in json.loads(_printed(tmp_path_factory, _WALK))]


def _printed(tmp_path_factory: pytest.TempPathFactory, program: str, *arguments: str) -> str:
    """Return the last line that a program prints; Airflow is imported there, not here."""
    home = str(tmp_path_factory.mktemp("airflow_of_the_program"))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=dict(os.environ) | {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return done.stdout.splitlines()[-1]


_REDIRECTS = """
import asyncio, json, sys
from getty_images.status.app import Slash

async def location(root, path):
    sent = []
    async def passed_on(scope, receive, send):
        pass
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "root_path": root, "path": path, "query_string": b"span=7d", "method": "GET"}
    scope["headers"] = []
    await Slash(passed_on)(scope, None, send)
    return dict(sent[0]["headers"])[b"location"].decode() if sent else None

print(json.dumps({f"{root} {path}": asyncio.run(location(root, path)) for root, path in json.loads(sys.argv[1])}))
"""


@pytest.fixture(scope="module")
def redirects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Where each address of the test below is led to; none where it is handed on."""
    asked = json.dumps([(root, path) for root, path, _ in REDIRECTS])
    found: dict[str, str | None] = json.loads(_printed(tmp_path_factory, _REDIRECTS, asked))
    return found


@pytest.fixture
def paths(routes: list[tuple[str, str, list[str]]]) -> list[str]:
    """An address on each route."""
    found = [path.lstrip("/").format(dag_id=IMAGES, plan_id=1) for _, path, _ in routes]
    return [f"{path}?asset_id=1" if path == "receipts.csv" else path for path in found]


def test_the_app_has_pages_to_get_and_nothing_else(routes: list[tuple[str, str, list[str]]]) -> None:
    assert len(routes) >= 5
    assert {(kind, *methods) for kind, _, methods in routes} == {("APIRoute", "GET")}


def test_the_app_describes_itself_to_nobody(page: AirflowServer) -> None:
    for path in ("docs", "openapi.json", "redoc"):
        assert page.get(path).status_code == 404


def test_a_stranger_gets_nothing(page: AirflowServer, warehouse: Engine, paths: list[str]) -> None:
    channel(warehouse)
    for path in [*paths, "?span=14d", "?rejected=3001"]:
        answer = page.get_anonymously(path)
        assert (path, answer.status_code) == (path, 401)
        assert "3001" not in answer.text
        assert "Log in" in answer.text


def test_a_viewer_sees_every_page_and_changes_nothing(page: AirflowServer, warehouse: Engine, paths: list[str]) -> None:
    channel(warehouse)
    receipt(warehouse, "deleted")  # of plan 1
    for path in paths:
        assert page.viewer.get(f"{page.address}/asset-changes/{path}", timeout=60).status_code == 200
    assert "Editorial Image (3001)" in page.viewer.get(f"{page.address}/asset-changes/", timeout=60).text
    started = page.viewer.post(f"{page.address}/api/v2/dags/{IMAGES}/dagRuns", json={"logical_date": None}, timeout=60)
    assert started.status_code == 403


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("", "/"),
        ("?span=7d", "/?span=7d"),
        ("?span=7d&theme=dark&rejected=3001", "/?span=7d&theme=dark&rejected=3001"),
        ("/compliance/?from=2026-11-01&to=2026-11-02", "/compliance?from=2026-11-01&to=2026-11-02"),
        (f"/channels/{IMAGES}/?span=7d", f"/channels/{IMAGES}?span=7d"),
    ],
)
def test_a_slash_too_few_or_too_many_keeps_the_query(page: AirflowServer, path: str, leads_to: str) -> None:
    answer = page.session.get(f"{page.address}/asset-changes{path}", timeout=60)
    assert answer.url == f"{page.address}/asset-changes{leads_to}"
    assert [each.status_code for each in answer.history] == [307]
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("root", "path", "leads_to"),
    REDIRECTS,
)
def test_a_redirect_names_the_path_that_the_browser_knows(
    redirects: dict[str, str | None], root: str, path: str, leads_to: str | None
) -> None:
    assert redirects[f"{root} {path}"] == leads_to
