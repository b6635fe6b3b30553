"""Runs docker-compose.yaml on this machine without Docker: the services of the file, hosts mapped to loopback.

Each container becomes a process with a home (its /opt/airflow), a host name and an environment of its own; named
volumes become folders that several homes share. The packages of this checkout stand in for the image, the
wheel's server for `postgres`, the system's for `redis`.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from local_stack.stack import free_port

from tests.cluster import compose_file
from tests.cluster.compose_file import ComposeError, Service
from tests.cluster.container import Container
from tests.cluster.postgres import TcpPostgres

PROJECT = Path(__file__).parents[2]
HOME = "/opt/airflow"
_STOP_TIMEOUT = 30.0


class Cluster:
    """The services of the file, starting, running or stopping."""

    def __init__(self, file: Path, variables: Mapping[str, str], folder: Path, *, clocks: Mapping[str, str]) -> None:
        self.services = compose_file.read_file(file, variables)
        self.folder = folder
        self.containers: dict[str, Container] = {}
        self._clocks = dict(clocks)
        self._places = _places(self.services)
        self._postgres: dict[str, TcpPostgres] = {}
        self._path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        (folder / "bin").mkdir(parents=True)

    @property
    def ui(self) -> str:
        """The address of the UI."""
        return f"http://127.0.0.1:{self._places['api-server', 8080]}"

    @property
    def metadata(self) -> str:
        """The address of Airflow's own database."""
        return self.containers["scheduler-1"].environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]

    @property
    def password(self) -> str:
        """What the UI's user logs in with, once the api-server has made it."""
        return str(re.findall(r'"admin": "(\w+)"', (self.folder / "volumes/state/passwords.json").read_text())[0])

    def up(self, scale: Mapping[str, int]) -> None:
        """Start every service as soon as the services that it depends on are as the file requires."""
        waiting = dict(self.services)
        while waiting:
            ready = [each for each in waiting.values() if not set(each.depends_on) & set(waiting)]
            if not ready:
                raise ComposeError(f"These services depend on each other in a circle: {', '.join(waiting)}.")
            for service in ready:
                for other, condition in service.depends_on.items():
                    self._await(other, condition)
                for number in range(1, scale.get(service.name, 1) + 1):
                    self._start(service, f"{service.name}-{number}")
                del waiting[service.name]

    def await_health(self) -> None:
        """Wait until every service that has a health check passes it."""
        for service in self.services.values():
            if service.health:
                self._await(service.name, "service_healthy")

    def check(self) -> None:
        """Raise if a service has died by itself."""
        for container in self.containers.values():
            if not container.is_killed and container.exit_status() not in (None, 0):
                raise ComposeError(f"{container.name} died ({container.exit_status()}):\n{container.log_tail()}")

    def down(self) -> None:
        """Stop services before those that they depend on, and leave no process."""
        waiting = list(self.containers.values())
        while waiting:
            needed = {other for container in waiting for other in container.service.depends_on}
            last = [container for container in waiting if container.service.name not in needed]
            for container in last:
                container.send_stop_signal()
            for container in last:
                container.stop(_STOP_TIMEOUT)
                waiting.remove(container)
        for server in self._postgres.values():
            server.remove()

    def _start(self, service: Service, name: str) -> None:
        home = self.folder / "hosts" / name
        home.mkdir(parents=True)
        environment = self._environment(service, name, home)
        command, test = service.command, service.health.test if service.health else ()
        container = Container(
            name, service, home, tuple(self._on_this_machine(each, service, home) for each in command),
            tuple(self._on_this_machine(each, service, home) for each in test), environment,
        )  # fmt: skip
        self.containers[name] = container
        if service.image.startswith("postgres:"):
            self._start_postgres(container)
        else:
            container.start()

    def _environment(self, service: Service, name: str, home: Path) -> dict[str, str]:
        """What the container sees: the file's variables, and what its image and its host would add."""
        variables = {key: self._on_this_machine(value, service, home) for key, value in service.environment.items()}
        (home / "tmp").mkdir()
        inside = {"PATH": f"{self.folder / 'bin'}:{self._path}", "HOME": str(home), "HOSTNAME": name,
                  "TMPDIR": str(home / "tmp"), "LANG": "C.UTF-8"}  # fmt: skip
        if service.image.startswith("redis:"):
            port = self._places[service.name, 6379]
            self._add_wrapper("redis-server", f'"$@" --bind 127.0.0.1 --port {port}')
            self._add_wrapper("redis-cli", f'-p {port} "$@"')
        if not service.is_built:
            return inside | variables
        for target, volume in service.mounts.items():
            _link(home / Path(target).relative_to(HOME), self.folder / "volumes" / volume)
        for copied in ("dags", "plugins", "config"):
            (home / copied).symlink_to(PROJECT / copied)
        listens = {"AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__PORT": str(self._places.get(("api-server", 8080)))}
        own = {"AIRFLOW_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent / "host"), "PYTHONUNBUFFERED": "1"}
        return inside | own | listens | variables | self._clocks

    def _on_this_machine(self, text: str, service: Service, home: Path) -> str:
        """Replace the places of a container by those of this machine."""
        for (host, port), here in self._places.items():
            names = f"{host}|localhost" if host == service.name else host
            text = re.sub(rf"(?<![\w.-])(?:{names}):{port}(?!\d)", f"127.0.0.1:{here}", text)
        return text.replace(HOME, str(home))

    def _start_postgres(self, container: Container) -> None:
        """What the image does with its variables; its server takes no other options."""
        variables, port = container.service.environment, self._places[container.service.name, 5432]
        if container.command:
            raise ComposeError(f"{container.name} has a command, which the server in its place would ignore.")
        server = TcpPostgres(
            container.home / "data", port=port, user=variables["POSTGRES_USER"],
            password=variables["POSTGRES_PASSWORD"], database=variables["POSTGRES_DB"],
        )  # fmt: skip
        self._postgres[container.name] = server
        server.start()
        path = f"{server.programs}:{self._path}"
        container.environment |= {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PATH": path}

    def _add_wrapper(self, program: str, arguments: str) -> None:
        """Make a program use the port in place of its container's."""
        real = shutil.which(program)
        if real is None:
            raise ComposeError(f"{program} is missing: apt-get install -y redis-server")
        wrapper = self.folder / "bin" / program
        wrapper.write_text(f"#!/bin/sh\nexec {real} {arguments}\n")
        wrapper.chmod(0o755)

    def _await(self, name: str, condition: str) -> None:
        health = self.services[name].health
        for container in [each for each in self.containers.values() if each.service.name == name]:
            if condition == "service_healthy":
                healthy_within = health.healthy_within if health else 0
                unhealthy = f"{container.name} is not healthy after {healthy_within:.0f} s"
                self._until(container.is_healthy, healthy_within, unhealthy, container)
            elif condition == "service_completed_successfully":
                ended = f"{container.name} has not ended in 5 minutes"
                self._until(partial(_has_ended, container), 300, ended, container)
                if container.exit_status() != 0:
                    raise ComposeError(f"{container.name} failed:\n{container.log_tail()}")

    def _until(self, holds: Callable[[], bool], seconds: float, otherwise: str, container: Container) -> None:
        ends = time.monotonic() + seconds
        while not holds():
            self.check()
            if time.monotonic() > ends:
                raise ComposeError(f"{otherwise}:\n{container.log_tail()}")
            time.sleep(0.5)


def _has_ended(container: Container) -> bool:
    return container.exit_status() is not None


@contextmanager
def running_cluster(
    file: Path, variables: Mapping[str, str], folder: Path, *, clocks: Mapping[str, str], scale: Mapping[str, int]
) -> Iterator[Cluster]:
    """A cluster that is up and healthy until the block ends."""
    cluster = Cluster(file, variables, folder, clocks=clocks)
    try:
        cluster.up(scale)
        cluster.await_health()
        yield cluster
    finally:
        cluster.down()


def _places(services: Mapping[str, Service]) -> dict[tuple[str, int], int]:
    """The ports at which services reach each other, and the ports of this machine in their place."""
    variables = " ".join(value for service in services.values() for value in service.environment.values())
    named = {(name, int(port)) for name in services for port in re.findall(rf"(?<![\w.-]){name}:(\d+)", variables)}
    published = {(service.name, target): here for service in services.values() for _, here, target in service.ports}
    return {place: published.get(place) or free_port() for place in sorted(named | set(published))}


def _link(place: Path, folder: Path) -> None:
    """Mount a volume."""
    folder.mkdir(parents=True, exist_ok=True)
    place.symlink_to(folder)
