"""The provider as Airflow finds it, and the connection form that the UI draws from it."""

import importlib.metadata
from typing import Any

import pytest

from tests.dags.installation import Installation
from tests.provider import inside_hook as inside


@pytest.fixture
def form(airflow: Installation) -> dict[str, Any]:
    """What the UI asks the API server for."""
    return dict(airflow.run(inside.connection_types)["getty_images"])


def test_airflow_finds_the_provider_and_its_hook(airflow: Installation) -> None:
    found = airflow.run(inside.providers)
    assert found["getty-asset-changes"] == importlib.metadata.version("getty-asset-changes")
    assert found["hook"] == "getty_images.hook.GettyImagesHook"
    assert found["connection_id"] == "getty_images_conn_id"
    assert airflow.run(inside.base_of_hook)


def test_the_form_calls_the_connection_type_by_its_name(form: dict[str, Any]) -> None:
    assert form["hook_name"] == "Getty Images"
    assert form["hook_class_name"] == "getty_images.hook.GettyImagesHook"


def test_the_form_asks_for_key_and_secret(form: dict[str, Any]) -> None:
    """It hides the fields that mean nothing here."""
    fields = form["standard_fields"]
    assert fields["url_schema"]["hidden"]
    assert fields["port"] == {"hidden": False, "title": None, "placeholder": "443; Airflow's Test button needs a port"}
    assert fields["host"]["title"] == "API base URL"
    assert fields["host"]["placeholder"] == "https://api.gettyimages.com"
    assert fields["login"]["title"] == "API key"
    assert fields["password"]["title"] == "Secret"


def test_the_form_has_a_field_with_help_for_each_extra(form: dict[str, Any]) -> None:
    extras = form["extra_fields"]
    assert set(extras) == {"token_url", "grant_type", "username", "user_password", "timeout_seconds"}
    assert all(field["schema"]["title"] for field in extras.values())
    assert all(field["description"] for field in extras.values())
    assert extras["grant_type"]["schema"]["enum"] == ["client_credentials", "password"]


def test_the_form_does_not_show_the_users_password(form: dict[str, Any]) -> None:
    assert form["extra_fields"]["user_password"]["schema"]["format"] == "password"
