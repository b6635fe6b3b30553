"""Who gets to see the pages: every route of the plugin's app, one by one."""

import json
import os
import subprocess
import sys

import pytest
from sqlalchemy import Engine

from tests.status.conftest import PROJECT, AirflowServer
from tests.status.seeds import channel

IMAGES = "asset_changes_editorial_image_3001"
_WALK = """
import json
from getty_images.status.app import app
print(json.dumps([[type(route).__name__, route.path, sorted(route.methods or ())] for route in app.routes]))
"""


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, list[str]]]:
    """All that the app has: the kind, the path and the methods of each route."""
    home = str(tmp_path_factory.mktemp("airflow_of_the_walk"))
    told = subprocess.run(
        [sys.executable, "-c", _WALK],
        env=dict(os.environ) | {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [tuple(route) for route in json.loads(told.stdout.splitlines()[-1])]


@pytest.fixture
def paths(routes: list[tuple[str, str, list[str]]]) -> list[str]:
    """An address on each route."""
    return [path.lstrip("/").format(dag_id=IMAGES) for _, path, _ in routes]


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


def test_somebody_who_may_only_view_sees_every_page_and_changes_nothing(
    page: AirflowServer, warehouse: Engine, paths: list[str]
) -> None:
    channel(warehouse)
    for path in paths:
        assert page.viewer.get(f"{page.address}/asset-changes/{path}", timeout=60).status_code == 200
    assert "Editorial Image (3001)" in page.viewer.get(f"{page.address}/asset-changes/", timeout=60).text
    started = page.viewer.post(f"{page.address}/api/v2/dags/{IMAGES}/dagRuns", json={"logical_date": None}, timeout=60)
    assert started.status_code == 403


def test_the_address_without_its_last_slash_leads_to_the_page(page: AirflowServer) -> None:
    answer = page.session.get(f"{page.address}/asset-changes", timeout=60)
    assert answer.url == f"{page.address}/asset-changes/"
    assert "No channels yet" in answer.text
