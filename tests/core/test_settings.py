"""The settings: what is taken, what is refused, and that each refusal says what to write instead."""

from typing import Any

import pytest
from asset_changes.errors import ConfigurationError
from asset_changes.settings import Settings, batch_size

ARCHIVE = {"ASSET_CHANGES_ARCHIVE_URI": "file:///var/lib/archive"}


def read(**changes: str) -> Settings:
    """Return the settings of an environment that holds an archive and these."""
    return Settings.from_environment(ARCHIVE | {f"ASSET_CHANGES_{name}": text for name, text in changes.items()})


def test_only_the_archive_has_no_default() -> None:
    found = read()
    assert found == Settings(
        schema="getty_images",
        archive_uri="file:///var/lib/archive",
        archive_is_shared=False,
        batch_size=2200,
        catch_up_minutes=50,
        confirm=True,
    )
    with pytest.raises(ConfigurationError, match=r"ASSET_CHANGES_ARCHIVE_URI is not set.*file://.*s3://"):
        Settings.from_environment({})


@pytest.mark.parametrize("number", [1, 2200, "1", "2200", " 500 ", "0500"])
def test_a_batch_size_is_a_whole_number_from_1_to_2200(number: Any) -> None:
    assert batch_size(number, where="params") == int(number)
    assert read(BATCH_SIZE=str(number)).batch_size == int(number)


@pytest.mark.parametrize(
    "number",
    [
        0,
        -1,
        2201,
        5000,
        "0",
        "2201",
        "5000",
        "x",
        "",
        " ",
        "1.5",
        1.5,
        "1e3",
        True,
        None,
        [],
        "٣",
        "²",
        "9" * 5000,
        "1_0",
    ],
    ids=lambda number: repr(number)[:20],
)
def test_any_other_batch_size_is_refused_with_the_allowed_range(number: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"in params is refused.* from 1 to 2200") as caught:
        batch_size(number, where="params")
    assert len(str(caught.value)) < 300


def test_a_batch_size_in_the_environment_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"'5000' in ASSET_CHANGES_BATCH_SIZE.* from 1 to 2200"):
        read(BATCH_SIZE="5000")


@pytest.mark.parametrize("name", ["getty_images", "_x", "a", "s9", "select", "a" * 63])
def test_a_schema_is_a_plain_name(name: str) -> None:
    assert read(SCHEMA=name).schema == name


@pytest.mark.parametrize(
    "name",
    [
        "Getty",
        "9a",
        "a-b",
        "a b",
        'a"; drop schema public; --',
        "a.b",
        "ä",
        "a" * 64,
        "a\nb",
        "a$",
        "$user",
        "a,b",
    ],
)
def test_any_other_schema_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="ASSET_CHANGES_SCHEMA"):
        read(SCHEMA=name)


@pytest.mark.parametrize("uri", ["file:///x", "s3://bucket/a/b", "gs://bucket", "memory://x", "s3+x://b"])
def test_an_archive_is_any_address_of_a_store(uri: str) -> None:
    assert read(ARCHIVE_URI=uri).archive_uri == uri
    assert read(ARCHIVE_URI=f"{uri}/").archive_uri == uri


@pytest.mark.parametrize(
    "uri", ["/var/lib/archive", "archive", "S3://bucket", "s3://", "s3://a b", "s3://b?x=1", "://x"]
)
def test_any_other_archive_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="ASSET_CHANGES_ARCHIVE_URI"):
        read(ARCHIVE_URI=uri)


def test_an_archive_address_with_a_password_is_refused() -> None:
    """The refusal does not show it."""
    with pytest.raises(ConfigurationError, match="holds a password") as caught:
        read(ARCHIVE_URI="s3://KEY:topsecret@bucket/prefix")
    assert "topsecret" not in str(caught.value)
    assert read(ARCHIVE_URI="s3://aws_default@bucket/a:b").archive_uri == "s3://aws_default@bucket/a:b"


@pytest.mark.parametrize(("text", "minutes"), [("1", 1), ("0.5", 0.5), ("1440", 1440), ("", 50)])
def test_minutes_may_be_a_fraction(text: str, minutes: float) -> None:
    assert read(CATCH_UP_MINUTES=text).catch_up_minutes == minutes


@pytest.mark.parametrize("text", ["0", "-1", "1441", "nan", "inf", "an hour", "1e9"])
def test_other_minutes_are_refused_with_the_range(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ASSET_CHANGES_CATCH_UP_MINUTES .* above 0 and at most 1440"):
        read(CATCH_UP_MINUTES=text)


@pytest.mark.parametrize(("text", "confirms"), [("on", True), ("off", False), (" OFF ", False), ("", True)])
def test_confirming_is_on_or_off(text: str, confirms: bool) -> None:
    assert read(CONFIRM=text).confirm is confirms


def test_a_shared_folder_is_declared_not_guessed() -> None:
    assert read(ARCHIVE_IS_SHARED="on").archive_is_shared
    with pytest.raises(ConfigurationError, match=r"ASSET_CHANGES_ARCHIVE_IS_SHARED .* `on` or `off`"):
        read(ARCHIVE_IS_SHARED="yes")


@pytest.mark.parametrize("text", ["no", "false", "0", "offf", "true"])
def test_what_else_could_mean_off_is_refused_not_guessed(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ASSET_CHANGES_CONFIRM .* `on` or `off`"):
        read(CONFIRM=text)


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        ("METADATA", "off", "metadata", False),
        ("METADATA", "", "metadata", True),
        ("LANGUAGE", "de", "language", "de"),
        ("LANGUAGE", "zh-HK", "language", "zh-HK"),
        ("LANGUAGE", "", "language", "en-US"),
        ("LOOKUP_CONN_ID", " second_key ", "lookup_conn_id", "second_key"),
        ("LOOKUPS_PER_SECOND", "0.5", "lookups_per_second", 0.5),
        ("LOOKUPS_PER_SECOND", "1000", "lookups_per_second", 1000),
        ("LOOKUPS_PER_DAY", "250", "lookups_per_day", 250),
        ("LOOKUPS_PER_DAY", "", "lookups_per_day", 10_000),
        ("LOOKUP_MINUTES", "5", "lookup_minutes", 5),
    ],
)
def test_lookups_have_settings_of_their_own(name: str, text: str, field: str, expected: object) -> None:
    assert getattr(read(**{name: text}), field) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("METADATA", "yes"),
        ("LANGUAGE", "English"),
        ("LANGUAGE", "en-US\r\nX: 1"),
        ("LOOKUPS_PER_SECOND", "0"),
        ("LOOKUPS_PER_SECOND", "1001"),
        ("LOOKUPS_PER_SECOND", "nan"),
        ("LOOKUPS_PER_DAY", "0"),
        ("LOOKUPS_PER_DAY", "1.5"),
        ("LOOKUPS_PER_DAY", "inf"),
        ("LOOKUP_MINUTES", "an hour"),
    ],
)
def test_other_settings_of_lookups_are_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"ASSET_CHANGES_{name}"):
        read(**{name: text})
