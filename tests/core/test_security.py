"""Nobody let in: what comes from outside is data, no secret is shown, TLS is verified."""

import datetime as dt
import http.server
import logging
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from asset_changes.archive import Archive
from asset_changes.errors import ApiUnavailable, AssetChangesError
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import Credentials
from asset_changes.pipeline.catch_up import catch_up
from asset_changes.pipeline.context import ChannelContext
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from getty_sandbox.sandbox import Sandbox
from sqlalchemy import Engine

from tests.conftest import EDITORIAL_IMAGES, credentials_for
from tests.core.doubles import ScriptedGetty, body_of, change, delivery, live, rows, value

HOSTILE = [
    "'; drop table asset_states; --",
    '"; DROP SCHEMA getty_images CASCADE; --',
    "$$; select pg_sleep(10); $$",
    "%(change_set_id)s",
    ":change_set_id",
    "{0.__class__}",
    "${jndi:ldap://x}",
    "../../etc/passwd",
    "\\.",
    "\\N",
    '","',
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\u202eabc",
    "a" * 255,
]


def test_whatever_an_id_says_it_is_data(archive: Archive, warehouse: Engine) -> None:
    messages = [change(each, "New", 0, asset_type=each, uri=each) for each in HOSTILE]
    getty = ScriptedGetty([delivery(body_of("7", *messages))])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    catch_up(context, batch_size=100, minutes=1)
    assert live(warehouse) == sorted(HOSTILE, key=str.encode)
    found = rows(warehouse, "SELECT asset_id, asset_type, uri FROM asset_changes ORDER BY position")
    assert [tuple(row.values()) for row in found] == [(each, each, each) for each in HOSTILE]
    assert getty.confirmed == ["7"]


@pytest.mark.parametrize("bad_id", ["x" * 1_000_000, "a\x00b", "\x1b[31m", "a\nb"])
def test_an_id_that_is_none_is_rejected_and_blocks_nobody(bad_id: str, archive: Archive, warehouse: Engine) -> None:
    getty = ScriptedGetty([delivery(body_of("7", change(bad_id, "Delete", 0), change("1", "New", 0)))])
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=getty, archive=archive, warehouse=warehouse)
    done = catch_up(context, batch_size=100, minutes=1)
    assert (done.counts.rejected, done.counts.new, getty.confirmed) == (1, 1, ["7"])
    assert value(warehouse, "SELECT reason FROM rejected_changes") == "unusable_id"


def test_what_a_full_run_leaves_behind_holds_no_secret(
    sandbox: Sandbox, archive: Archive, warehouse: Engine, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    tokens: list[str] = []
    client = AssetChangesClient(credentials_for(sandbox), on_token=tokens.append, retry_seconds=60)
    context = ChannelContext(channel=EDITORIAL_IMAGES, source=client, archive=archive, warehouse=warehouse)
    sandbox.append(3001, [change("1", "New", 0), change("", "New", 0)])
    for fault in ("500", "token_revoked", "half_json", "429"):
        sandbox.fail_next(fault)
    said = []
    with caplog.at_level(logging.DEBUG):
        catch_up(context, batch_size=10, minutes=1)
        sandbox.raw_next(3001, b"[]")
        sandbox.retire(3002)
        for channel_id in (3001, 3002):
            try:
                client.get_change_set(channel_id, batch_size=10)
                catch_up(context, batch_size=10, minutes=1)
            except AssetChangesError as error:
                said.append(repr(error))
    tables = ("channels", "change_sets", "asset_states", "asset_changes", "rejected_changes")
    kept = "".join(str(rows(warehouse, f"SELECT * FROM {table}")) for table in tables)
    kept += "".join(body.body.decode() for each in archive.sets(3001) for body in archive.read(each.uri))
    everything = caplog.text + kept + repr(context) + repr(client) + "".join(said)
    assert len(tokens) == 2
    assert len(caplog.text) > 500
    assert not [secret for secret in (sandbox.client_secret, *tokens) if secret in everything]


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server with a certificate that nobody vouches for, and what it was asked."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    private = serialization.PrivateFormat.PKCS8
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    asked: list[str] = []

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 - names that http.server looks up

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Endpoint)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_a_server_without_a_valid_certificate_gets_no_secret(self_signed: tuple[str, list[str]]) -> None:
    url, asked = self_signed
    credentials = Credentials(api_key="key", secret="secret", api_url=url, token_url=f"{url}/token", timeout_seconds=60)
    with pytest.raises(ApiUnavailable, match="SSLError"):
        AssetChangesClient(credentials, retry_seconds=0).get_channels()
    assert asked == []
