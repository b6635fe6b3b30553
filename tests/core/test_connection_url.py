"""The extras of the warehouse's connection: libpq's are handed on, all others are refused by their names."""

import pytest
from asset_changes.errors import ConfigurationError
from asset_changes.warehouse.connection_url import connection_url
from asset_changes.warehouse.engine import connect
from sqlalchemy import URL


def url_with(**extra: object) -> URL:
    return connection_url(host="db", port=5433, login="me", password="hush", database="catalogue", extra=extra)


def test_what_libpq_knows_is_handed_on_and_null_is_not() -> None:
    url = url_with(channel_binding="require", sslmode=None, sslcert="", connect_timeout=3, keepalives=False)
    assert url.query == {"channel_binding": "require", "connect_timeout": "3", "keepalives": "0"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sslmod", "libpq, .* does not know it; did you mean sslmode"),
        ("pool_size", "libpq, .* does not know it"),
        ("iam", "Airflow's own Postgres hook"),
        ("cursor", "Airflow's own Postgres hook"),
        ("options", "poolers refuse this one"),
        ("application_name", "pg_stat_activity"),
        ("dbname", r"into the field schema \(the database\)"),
    ],
)
def test_another_extra_is_refused_by_its_name(name: str, reason: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"Extra '{name}' of connection warehouse_default .*{reason}"
    ) as caught:
        url_with(**{name: "a secret"})
    assert "a secret" not in str(caught.value)


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'sslmode' .* neither a text nor a number"):
        url_with(sslmode={"mode": "require"})


def test_an_engine_shows_no_secret() -> None:
    engine = connect(url_with(sslpassword="hush as well"), schema="getty_images")
    assert "hush" not in repr(engine) + str(engine.url)
    engine.dispose()
