"""docker-compose.yaml, read as Compose reads it; a key that is not supported is refused, never ignored."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_TOP = {"services", "volumes"}
_SUPPORTED = {
    "image", "build", "environment", "command", "depends_on", "healthcheck", "volumes", "ports", "stop_grace_period",
}  # fmt: skip
IGNORED = {
    "restart": "a service that dies fails the test that runs it, unless the test has killed it",
    "user": "everything runs as whoever runs the test",
}
_HEALTH = {"test", "interval", "timeout", "retries", "start_period"}
_CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<rule>:[-?])(?P<rest>[^}]*))?\}|(?P<wrong>))"
)  # a $ alone is `wrong`
_SECONDS = {"h": 3600, "m": 60, "s": 1}


class ComposeError(Exception):
    """The file has something that is not supported; the text is a sentence that says where."""


@dataclass(frozen=True)
class Health:
    """How the health of a service is checked."""

    test: tuple[str, ...]
    timeout: float
    healthy_within: float


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
    section = yaml.safe_load(text)
    _only(section, _TOP, "the file", lambda key: key.startswith("x-"))
    volumes = set(section.get("volumes") or {})
    services = {
        name: _service(name, _filled(each, variables, name), variables) for name, each in section["services"].items()
    }
    for service in services.values():
        _refuse(set(service.mounts.values()) - volumes, f"{service.name} mounts a volume that the file does not name")
        _refuse(set(service.depends_on) - set(services), f"{service.name} depends on a service that is not there")
    return services


def read_file(path: Path, variables: Mapping[str, str]) -> dict[str, Service]:
    """Return the services of a file by name."""
    return read(path.read_text(), variables)


def required_variables(text: str) -> set[str]:
    """Return the variables without which the file is refused."""
    return {found["name"] for found in _VARIABLE.finditer(text) if found["rule"] == ":?"}


def _service(name: str, section: dict[str, Any], variables: Mapping[str, str]) -> Service:
    _only(section, _SUPPORTED | set(IGNORED), f"service {name}")
    command = section.get("command") or ()
    return Service(
        name=name,
        image=section["image"],
        is_built="build" in section,
        command=tuple(shlex.split(command) if isinstance(command, str) else command),
        environment=_environment(section.get("environment") or {}, variables),
        depends_on=_dependencies(section.get("depends_on") or {}, name),
        health=_health(section["healthcheck"], name) if "healthcheck" in section else None,
        mounts=dict(_mount(each, name) for each in section.get("volumes") or ()),
        ports=tuple(_port(each, name) for each in section.get("ports") or ()),
        stop_grace=_seconds(section.get("stop_grace_period", "10s")),
    )


def _environment(section: dict[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """A name without a value takes the value from outside, if it is set there."""
    given = {name: variables.get(name) if value is None else value for name, value in section.items()}
    return {name: str(value) for name, value in given.items() if value is not None}


def _dependencies(section: dict[str, Any], name: str) -> dict[str, str]:
    for other, how in section.items():
        _only(how, {"condition"}, f"depends_on {other} of {name}")
        _refuse({how["condition"]} - _CONDITIONS, f"the condition on {other} of {name} is unknown")
    return {other: how["condition"] for other, how in section.items()}


def _health(section: dict[str, Any], name: str) -> Health:
    _only(section, _HEALTH, f"the health check of {name}")
    kind, *test = section["test"]
    _refuse({kind} - {"CMD", "CMD-SHELL"}, f"the health check of {name} is of an unknown kind")
    healthy_within = _seconds(section.get("start_period", "0s")) + _seconds(section["interval"]) * section["retries"]
    command = test if kind == "CMD" else ["sh", "-c", *test]
    return Health(tuple(command), timeout=_seconds(section.get("timeout", "30s")), healthy_within=healthy_within)


def _mount(text: str, name: str) -> tuple[str, str]:
    if not (found := re.fullmatch(r"(?P<volume>\w+):(?P<target>/[\w/.-]+)", text)):
        raise ComposeError(f"{name} mounts {text!r}: only named volumes are supported, as volume:/folder.")
    return found["target"], found["volume"]


def _port(text: str, name: str) -> tuple[str, int, int]:
    if not (found := re.fullmatch(r"(?:(?P<host>[\d.]+):)?(?P<published>\d+):(?P<target>\d+)", text)):
        raise ComposeError(f"{name} exposes {text!r}: only host:published:target is supported.")
    return found["host"] or "0.0.0.0", int(found["published"]), int(found["target"])  # noqa: S104 - what no host means


def _seconds(text: str) -> float:
    found = re.findall(r"(\d+)([hms])", text)
    if "".join(number + unit for number, unit in found) != text:
        raise ComposeError(f"{text!r} is no span of time such as 1m30s.")
    return float(sum(int(number) * _SECONDS[unit] for number, unit in found))


def _filled(value: Any, variables: Mapping[str, str], name: str) -> Any:
    """Fill the variables in, in all values."""
    if isinstance(value, dict):
        return {key: _filled(inner, variables, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables, name) for inner in value]
    return _VARIABLE.sub(lambda found: _value(found, variables, name), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str], service: str) -> str:
    if found["dollar"]:
        return "$"
    if found["name"] is None:
        raise ComposeError(f"service {service} has a lone $ in {found.string!r}: write $$ or ${{NAME}}.")
    value = variables.get(found["name"], "")
    if not value and found["rule"] == ":?":
        raise ComposeError(f"{found['name']} is not set, which service {service} requires: {found['rest']}.")
    return value or (found["rest"] if found["rule"] == ":-" else "")


def _only(value: Any, known: set[str], where: str, or_else: Any = lambda key: False) -> None:
    if not isinstance(value, dict):
        raise ComposeError(f"{where} is {value!r}, where keys with values are expected.")
    _refuse({key for key in value if key not in known and not or_else(key)}, f"{where} has keys that are not supported")


def _refuse(found: set[str], what: str) -> None:
    if found:
        raise ComposeError(
            f"{what}: {', '.join(sorted(found))}. Support it in tests/cluster, or add it to IGNORED with the reason."
        )
