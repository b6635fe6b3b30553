"""docker-compose.yaml, read as Compose reads it; a key that is not understood is refused, never passed over."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_TOP = {"services", "volumes"}
_PLAYED = {
    "image", "build", "environment", "command", "depends_on", "healthcheck", "volumes", "ports", "stop_grace_period",
}  # fmt: skip
NOT_PLAYED = {
    "restart": "a service that dies fails the test that plays it, unless the test has killed it",
    "user": "everything runs as whoever runs the test",
}
_HEALTH = {"test", "interval", "timeout", "retries", "start_period"}
_CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<rule>:[-?])(?P<rest>[^}]*))?\}|(?P<wrong>))"
)  # a $ alone is `wrong`
_SECONDS = {"h": 3600, "m": 60, "s": 1}


class ComposeError(Exception):
    """The file says what this player does not understand; the text is a sentence that says where."""


@dataclass(frozen=True)
class Health:
    """How a service is asked whether it is well."""

    test: tuple[str, ...]
    timeout: float
    patience: float


@dataclass(frozen=True)
class Service:
    """One service, with all variables filled in."""

    name: str
    image: str
    is_built: bool
    command: tuple[str, ...]
    environment: dict[str, str]
    depends_on: dict[str, str]
    health: Health | None
    mounts: dict[str, str]
    ports: tuple[tuple[str, int, int], ...]
    stop_grace: float


def read(text: str, variables: Mapping[str, str]) -> dict[str, Service]:
    """Return the services of a file by name, its variables filled in."""
    told = yaml.safe_load(text)
    _only(told, _TOP, "the file", lambda key: key.startswith("x-"))
    volumes = set(told.get("volumes") or {})
    services = {
        name: _service(name, _filled(each, variables, name), variables) for name, each in told["services"].items()
    }
    for service in services.values():
        _refuse(set(service.mounts.values()) - volumes, f"{service.name} mounts a volume that the file does not name")
        _refuse(set(service.depends_on) - set(services), f"{service.name} depends on a service that is not there")
    return services


def read_file(path: Path, variables: Mapping[str, str]) -> dict[str, Service]:
    """Return the services of a file by name."""
    return read(path.read_text(), variables)


def demanded(text: str) -> set[str]:
    """Return the variables without which the file is refused."""
    return {found["name"] for found in _VARIABLE.finditer(text) if found["rule"] == ":?"}


def _service(name: str, told: dict[str, Any], variables: Mapping[str, str]) -> Service:
    _only(told, _PLAYED | set(NOT_PLAYED), f"service {name}")
    command = told.get("command") or ()
    return Service(
        name=name,
        image=told["image"],
        is_built="build" in told,
        command=tuple(shlex.split(command) if isinstance(command, str) else command),
        environment=_environment(told.get("environment") or {}, variables),
        depends_on=_dependencies(told.get("depends_on") or {}, name),
        health=_health(told["healthcheck"], name) if "healthcheck" in told else None,
        mounts=dict(_mount(each, name) for each in told.get("volumes") or ()),
        ports=tuple(_port(each, name) for each in told.get("ports") or ()),
        stop_grace=_seconds(told.get("stop_grace_period", "10s")),
    )


def _environment(told: dict[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """A name without a value is handed on from outside, if it is set there."""
    given = {name: variables.get(name) if value is None else value for name, value in told.items()}
    return {name: str(value) for name, value in given.items() if value is not None}


def _dependencies(told: dict[str, Any], name: str) -> dict[str, str]:
    for other, how in told.items():
        _only(how, {"condition"}, f"depends_on {other} of {name}")
        _refuse({how["condition"]} - _CONDITIONS, f"the condition on {other} of {name} is unknown")
    return {other: how["condition"] for other, how in told.items()}


def _health(told: dict[str, Any], name: str) -> Health:
    _only(told, _HEALTH, f"the health check of {name}")
    kind, *test = told["test"]
    _refuse({kind} - {"CMD", "CMD-SHELL"}, f"the health check of {name} is of an unknown kind")
    patience = _seconds(told.get("start_period", "0s")) + _seconds(told["interval"]) * told["retries"]
    command = test if kind == "CMD" else ["sh", "-c", *test]
    return Health(tuple(command), timeout=_seconds(told.get("timeout", "30s")), patience=patience)


def _mount(told: str, name: str) -> tuple[str, str]:
    if not (found := re.fullmatch(r"(?P<volume>\w+):(?P<target>/[\w/.-]+)", told)):
        raise ComposeError(f"{name} mounts {told!r}: only named volumes are played, as volume:/folder.")
    return found["target"], found["volume"]


def _port(told: str, name: str) -> tuple[str, int, int]:
    if not (found := re.fullmatch(r"(?:(?P<host>[\d.]+):)?(?P<published>\d+):(?P<target>\d+)", told)):
        raise ComposeError(f"{name} exposes {told!r}: only host:published:target is played.")
    return found["host"] or "0.0.0.0", int(found["published"]), int(found["target"])  # noqa: S104 - what no host means


def _seconds(told: str) -> float:
    found = re.findall(r"(\d+)([hms])", told)
    if "".join(number + unit for number, unit in found) != told:
        raise ComposeError(f"{told!r} is no span of time such as 1m30s.")
    return float(sum(int(number) * _SECONDS[unit] for number, unit in found))


def _filled(told: Any, variables: Mapping[str, str], name: str) -> Any:
    """Fill the variables in, in all values."""
    if isinstance(told, dict):
        return {key: _filled(value, variables, name) for key, value in told.items()}
    if isinstance(told, list):
        return [_filled(value, variables, name) for value in told]
    return _VARIABLE.sub(lambda found: _value(found, variables, name), told) if isinstance(told, str) else told


def _value(found: re.Match[str], variables: Mapping[str, str], service: str) -> str:
    if found["dollar"]:
        return "$"
    if found["name"] is None:
        raise ComposeError(f"service {service} has a lone $ in {found.string!r}: write $$ or ${{NAME}}.")
    value = variables.get(found["name"], "")
    if not value and found["rule"] == ":?":
        raise ComposeError(f"{found['name']} is not set, which service {service} demands: {found['rest']}.")
    return value or (found["rest"] if found["rule"] == ":-" else "")


def _only(told: Any, known: set[str], where: str, or_else: Any = lambda key: False) -> None:
    if not isinstance(told, dict):
        raise ComposeError(f"{where} is {told!r}, where keys with values are expected.")
    _refuse({key for key in told if key not in known and not or_else(key)}, f"{where} has keys that are not played")


def _refuse(found: set[str], what: str) -> None:
    if found:
        raise ComposeError(
            f"{what}: {', '.join(sorted(found))}. Teach tests/cluster to play it, or say why it need not."
        )
