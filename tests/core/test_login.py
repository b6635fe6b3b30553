"""A login that is refused says so with the true cause, whatever host, proxy or language it comes through."""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from asset_changes.errors import AssetChangesError, WarehouseRefused, WarehouseUnavailable
from asset_changes.warehouse.engine import connect, transaction
from local_stack.stack import free_port
from sqlalchemy import URL, make_url


@contextmanager
def server_that_answers(state: str, words: str, *, severity: str = "FATAL") -> Iterator[URL]:
    """Give the URL of a PostgreSQL that answers every login with this error."""
    fields = f"S{severity}\0VFATAL\0C{state}\0M{words}\0Fauth.c\0L1\0Rauth\0\0".encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                with caller:
                    while caller.recv(4096)[4:8] == struct.pack("!i", 80877103):  # asks for TLS
                        caller.sendall(b"N")
                    caller.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)

        threading.Thread(target=answer, daemon=True).start()
        try:
            port = listening.getsockname()[1]
            yield URL.create("postgresql", host="127.0.0.1", port=port, database="x", username="u", password="hush")
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def failure_of(url: URL) -> AssetChangesError:
    """Return what beginning a transaction there raises."""
    engine = connect(url, schema="getty_images")
    with pytest.raises(AssetChangesError) as caught, transaction(engine):
        pass
    engine.dispose()
    assert "hush" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("state", "words", "error"),
    [
        ("28P01", 'password authentication failed for user "u"', WarehouseRefused),
        ("28000", 'Peer authentication failed for user "u"', WarehouseRefused),
        ("28000", 'Ident authentication failed for user "u"', WarehouseRefused),
        ("28000", 'pg_hba.conf rejects connection for host "::1", user "u", database "x", SSL off', WarehouseRefused),
        ("28000", 'no pg_hba.conf entry for host "::1", user "u", database "x", no encryption', WarehouseRefused),
        ("3D000", 'database "x" does not exist', WarehouseRefused),
        ("42501", 'permission denied for database "x"', WarehouseRefused),
        ("55000", 'database "x" is not currently accepting connections', WarehouseRefused),
        ("53300", "sorry, too many clients already", WarehouseUnavailable),
        ("57P03", "the database system is starting up", WarehouseUnavailable),
    ],
    ids=lambda given: given if isinstance(given, str) and len(given) == 5 else "",
)
def test_a_servers_answer_to_a_login_is_refused_or_passing(
    state: str, words: str, error: type[AssetChangesError]
) -> None:
    with server_that_answers(state, words) as url:
        found = failure_of(url)
    assert type(found) is error
    assert words in str(found)


@pytest.mark.parametrize(
    ("severity", "state", "words", "error"),
    [
        ("FATAL", "28P01", "Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen", WarehouseRefused),
        ("ВАЖНО", "28000", 'пользователь "u" не прошёл проверку подлинности (Peer)', WarehouseRefused),
        ("致命错误", "3D000", '数据库 "x" 不存在', WarehouseRefused),
        ("FATAL", "53300", "tut mir leid, schon zu viele Verbindungen", WarehouseUnavailable),
    ],
    ids=["german", "russian", "chinese", "too_many"],
)
def test_an_answer_in_another_language_goes_by_its_code(
    severity: str, state: str, words: str, error: type[AssetChangesError]
) -> None:
    with server_that_answers(state, words, severity=severity) as url:
        found = failure_of(url)
    assert type(found) is error
    assert words in str(found)


@pytest.mark.parametrize(
    ("words", "next_step"),
    [('database "x" is disabled', "run ENABLE"), ("database removed", "pool sizes and timeouts")],
    ids=["disabled", "removed"],
)
def test_a_database_closed_in_a_pooler_names_the_pooler(words: str, next_step: str) -> None:
    with server_that_answers("08P01", words) as url:
        found = str(failure_of(url))
    assert "connection pooler (PgBouncer)" in found
    assert next_step in found


@pytest.mark.parametrize("words", ["password authentication failed", "Kennwort falsch"], ids=["english", "german"])
@pytest.mark.parametrize("silent_first", [True, False])
def test_a_host_that_refuses_counts_more_than_a_silent_one(words: str, silent_first: bool) -> None:
    with server_that_answers("28P01", words) as url:
        ports = [str(free_port()), str(url.port)]
        ports = ports if silent_first else ports[::-1]
        both = make_url(f"postgresql://u:hush@/x?host=127.0.0.1,127.0.0.1&port={','.join(ports)}")
        found = failure_of(both)
    assert type(found) is WarehouseRefused
    assert words in str(found)


def test_a_server_without_tls_is_refused_where_tls_is_required() -> None:
    with server_that_answers("28000", "unused") as url:
        found = failure_of(url.update_query_dict({"sslmode": "require"}))
    assert type(found) is WarehouseRefused
    assert "SSL was required" in str(found)


def test_nobody_there_is_a_passing_fault() -> None:
    found = failure_of(URL.create("postgresql", host="127.0.0.1", port=free_port(), database="x"))
    assert type(found) is WarehouseUnavailable


def test_a_system_without_memfd_keeps_the_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS the code of an answer cannot be read; the error of the login is the one that is raised."""
    monkeypatch.delattr(os, "memfd_create")
    with server_that_answers("28P01", "Kennwort falsch") as url:
        assert "Kennwort falsch" in str(failure_of(url))


def test_a_code_that_cannot_be_read_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with server_that_answers("28P01", "Kennwort falsch") as url:
        assert "Kennwort falsch" in str(failure_of(url))
