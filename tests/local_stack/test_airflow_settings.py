"""Airflow's settings: every one exists, is legal, and has its reason."""

from pathlib import Path

import airflow
import pytest
import yaml
from airflow.providers.celery.get_provider_info import get_provider_info
from local_stack.airflow_settings import PREFERENCES, Setting, airflow_environment, fixed_settings
from local_stack.options import Options
from local_stack.state import Secrets, StateDir
from sqlalchemy import make_url

PROJECT = Path(__file__).parents[2]
KNOWN = yaml.safe_load((Path(airflow.__path__[0]) / "config_templates" / "config.yml").read_text())
METADATA = make_url("postgresql+psycopg://postgres@/airflow?host=/srv/postgres")


def wired(*, login: bool = False) -> tuple[Setting, ...]:
    options = Options(state_dir=Path("/srv"), port=8090, login=login)
    return fixed_settings(options, StateDir(Path("/srv")), Secrets("fernet", "jwt", "session", "password"), METADATA)


@pytest.mark.parametrize("setting", [*PREFERENCES, *wired()], ids=lambda setting: setting.variable)
def test_every_setting_is_one_that_airflow_has(setting: Setting) -> None:
    assert setting.key in KNOWN[setting.section]["options"]
    assert setting.why


def test_airflow_knows_every_setting_of_the_compose_file() -> None:
    environment = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())["x-airflow"]["environment"]
    settings = [name.lower().split("__")[1:] for name in environment if name.startswith("AIRFLOW__")]
    assert settings
    celery = get_provider_info()["config"]  # type: ignore[no-untyped-call]
    for section, key in settings:
        assert key in (KNOWN | celery)[section]["options"]


def test_the_users_preferences_win_but_fixed_settings_stay() -> None:
    inherited = {
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:///mine",
        "AIRFLOW_HOME": "/home/me/airflow",
    }
    environment = airflow_environment(StateDir(Path("/srv")), wired(), inherited)
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "2"
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql+psycopg2://postgres@/airflow")
    assert environment["AIRFLOW_HOME"] == "/srv/airflow"


def test_calls_to_this_machine_never_go_through_a_proxy() -> None:
    environment = airflow_environment(StateDir(Path("/srv")), (), {"NO_PROXY": "intranet"})
    assert environment["NO_PROXY"] == "intranet,127.0.0.1,localhost"


@pytest.mark.parametrize(("login", "all_admins"), [(False, "True"), (True, "False")])
def test_a_login_is_asked_for_only_on_demand(login: bool, all_admins: str) -> None:
    values = {setting.key: setting.value for setting in wired(login=login)}
    assert values["simple_auth_manager_all_admins"] == all_admins
    assert values["host"] == "127.0.0.1"


@pytest.mark.parametrize(("inherited", "before"), [({}, []), ({"PYTHONPATH": "/mine"}, ["/mine"])])
def test_airflow_finds_our_local_settings_behind_the_callers(
    tmp_path: Path, inherited: dict[str, str], before: list[str]
) -> None:
    environment = airflow_environment(StateDir(tmp_path), (), inherited)
    *callers, config = environment["PYTHONPATH"].split(":")
    assert callers == before
    assert (Path(config) / "airflow_local_settings.py").exists()
