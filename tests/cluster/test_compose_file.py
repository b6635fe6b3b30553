"""What docker-compose.yaml, .env.example and the Dockerfile promise, and what the runner refuses."""

import re
from dataclasses import fields
from typing import Any

import pytest
import yaml
from asset_changes.settings import Settings

from tests.cluster import compose_file
from tests.cluster.compose_file import ComposeError, Service
from tests.cluster.runner import PROJECT

TEXT = (PROJECT / "docker-compose.yaml").read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (PROJECT / ".env.example").read_text(), re.MULTILINE))
FILLED = {name: f"my-{name.lower()}" for name in compose_file.required_variables(TEXT)}
SECRETS = ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")


@pytest.fixture
def services() -> dict[str, Service]:
    """The services with every required variable filled in."""
    return compose_file.read(TEXT, FILLED)


def airflow(services: dict[str, Service]) -> dict[str, Service]:
    """Return those that run this project's image."""
    return {name: service for name, service in services.items() if service.is_built}


def test_the_cluster_has_no_warehouse_of_its_own(services: dict[str, Service]) -> None:
    components = {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
    assert set(services) == {"postgres", "redis", *components}
    assert set(airflow(services)) == components
    for name in components - {"airflow-init"}:
        assert services[name].command[0] == "airflow"
        assert services[name].environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"


def test_every_service_has_a_health_check_and_restarts(services: dict[str, Service]) -> None:
    for name, service in services.items():
        stays = name != "airflow-init"
        assert (service.health is not None) == stays, name
        assert yaml.safe_load(TEXT)["services"][name]["restart"] == ("unless-stopped" if stays else "no"), name


def test_a_worker_that_is_asked_to_end_may_end_its_longest_task(services: dict[str, Service]) -> None:
    worker = services["worker"]
    assert worker.stop_grace > 60 * float(worker.environment["ASSET_CHANGES_CATCH_UP_MINUTES"])
    assert worker.environment["DUMB_INIT_SETSID"] == "0"
    hand_out_again = float(worker.environment["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"])
    assert hand_out_again > worker.stop_grace


@pytest.mark.parametrize("name", sorted(FILLED))
def test_what_has_no_default_is_required_by_name(name: str) -> None:
    with pytest.raises(ComposeError, match=rf"{name} is not set.*see \.env\.example"):
        compose_file.read(TEXT, FILLED | {name: ""})


def test_every_setting_is_handed_on() -> None:
    """What is set next to the file and not handed on would be ignored without a word."""
    environment = yaml.safe_load(TEXT)["x-airflow"]["environment"]
    settings = {f"ASSET_CHANGES_{each.name.upper()}" for each in fields(Settings)}
    assert settings | {"ASSET_CHANGES_HOLDINGS_SCHEDULE", "ASSET_CHANGES_SCHEDULE"} <= environment.keys()


def test_no_secret_has_a_default_and_none_is_written_down(services: dict[str, Service]) -> None:
    assert not re.findall(r"\$\{\w*(?:PASSWORD|SECRET|KEY|CONN)\w*(?::-|\})", TEXT)
    for name, service in services.items():
        for variable, value in service.environment.items():
            if re.search(r"PASSWORD$|SECRET|KEY$|_CONN_|SQL_ALCHEMY|AUTH$|BROKER_URL", variable):
                assert any(filled in value for filled in FILLED.values()), f"{name}: {variable}"


def test_no_secret_is_among_the_arguments_of_a_command(services: dict[str, Service]) -> None:
    for service in services.values():
        arguments = " ".join((*service.command, *(service.health.test if service.health else ())))
        assert not [value for value in FILLED.values() if value in arguments]


def test_the_example_leaves_required_values_empty() -> None:
    assert {name for name, value in EXAMPLE.items() if not value} == set(FILLED)
    assert {name for name, value in EXAMPLE.items() if value} == {"ASSET_CHANGES_CONFIRM", "PORT"}
    assert EXAMPLE["ASSET_CHANGES_CONFIRM"] == "off"


def test_only_the_ui_is_exposed_and_only_to_loopback(services: dict[str, Service]) -> None:
    exposed = {name: service.ports for name, service in services.items() if service.ports}
    assert exposed == {"api-server": (("127.0.0.1", 8080, 8080),)}


@pytest.mark.parametrize("secret", SECRETS)
def test_all_of_airflow_has_the_same_secrets(services: dict[str, Service], secret: str) -> None:
    values = {service.environment[secret] for service in airflow(services).values()}
    assert len(values) == 1
    assert values <= set(FILLED.values())


def test_the_image_is_pinned_and_runs_without_root() -> None:
    [airflow_version] = re.findall(r"^apache-airflow==(\S+)$", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
    assert re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE) == [f"apache/airflow:{airflow_version}"]
    assert "--requirement requirements.txt --constraint constraints.txt" in DOCKERFILE
    assert "_PIP_ADDITIONAL_REQUIREMENTS" not in TEXT
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1] not in ("root", "0")


def test_the_image_holds_all_that_its_lines_copy() -> None:
    copied = re.findall(r"^COPY (?:--chown=\S+ )?(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert all((PROJECT / source).exists() for line in copied for source in line.split())
    assert "config" in copied  # next to the DAGs: Airflow imports airflow_local_settings.py from there
    assert (PROJECT / "config/airflow_local_settings.py").exists()


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ((), "networks"),
        (("services", "worker"), "deploy"),
        (("services", "worker"), "privileged"),
        (("services", "redis", "healthcheck"), "start_interval"),
        (("services", "worker", "depends_on", "api-server"), "required"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else value,
)
def test_an_unsupported_key_is_refused(place: tuple[str, ...], key: str) -> None:
    document = yaml.safe_load(TEXT)
    inner: Any = document
    for part in place:
        inner = inner[part]
    inner[key] = "something"
    with pytest.raises(ComposeError, match=rf"not supported: {key}\. Support"):
        compose_file.read(yaml.safe_dump(document), FILLED)


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({"volumes": ["./data:/data"]}, "only named volumes are supported"),
        ({"volumes": ["unnamed:/data"]}, "a volume that the file does not name: unnamed"),
        ({"ports": ["8080"]}, "only host:published:target is supported"),
        ({"environment": {"HOME": "$HOME"}}, r"has a lone \$"),
        ({"depends_on": {"other": {"condition": "service_started"}}}, "depends on a service that is not there: other"),
        ({"healthcheck": {"test": ["NONE"], "interval": "1s", "retries": 1}}, "of an unknown kind: NONE"),
        ({"stop_grace_period": "soon"}, "no span of time"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_unsupported_value_is_refused(service: dict[str, Any], message: str) -> None:
    document = {"services": {"only": {"image": "mine", **service}}}
    with pytest.raises(ComposeError, match=message):
        compose_file.read(yaml.safe_dump(document), {})


def test_variables_are_filled_in_as_compose_does() -> None:
    environment = {"A": "${SET}", "B": "${UNSET:-else}", "C": "$$NOT", "D": None, "E": None, "SET": "${SET:-else}"}
    document = yaml.safe_dump({"services": {"only": {"image": "mine", "environment": environment}}})
    given = compose_file.read(document, {"SET": "x", "D": "handed on"})["only"].environment
    assert given == {"A": "x", "B": "else", "C": "$NOT", "D": "handed on", "SET": "x"}
