"""The settings of the installation, read from the environment and checked at once."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from asset_changes.errors import ConfigurationError
from asset_changes.file_store_settings import FileStoreSetting as FileStoreSetting
from asset_changes.file_store_settings import file_stores as file_stores
from asset_changes.models import MAX_BATCH_SIZE

PREFIX = "ASSET_CHANGES_"
REMOVAL_REASONS = ("deleted", "not_licensed", "not_in_catalogue")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})*")
_ARCHIVE_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\s?#]+")


_HOLDINGS_FORM = '{"source": ..., "uri": ..., "column": ..., "conn_id": ...}, the last two optional'
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class HoldingsSource:
    """Where a list of held assets is: `column` is the name or, from 1 on, the number of the one with the ids."""

    source: str
    uri: str
    column: str | int | None = None
    conn_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one installation decides for itself.

    Each field is the environment variable of the same name with the prefix `ASSET_CHANGES_`.
    """

    schema: str = "getty_images"
    """The warehouse schema that contains all tables and views."""
    archive_uri: str = ""
    """Where the bodies are kept as received: file://, s3://, gs:// or any other ObjectStoragePath."""
    archive_is_shared: bool = False
    """`on`: every machine that runs tasks sees the same folder behind a file:// archive, as on NFS."""
    batch_size: int = MAX_BATCH_SIZE
    """Most changes per change set, 1 to 2200."""
    catch_up_minutes: float = 50
    """How long one run fetches before it leaves the rest to the next one."""
    confirm: bool = True
    """`off`: look but do not consume; one set per channel is loaded and nothing is confirmed."""
    gap_minutes: float = 60
    """How long a channel may go unread before that is kept in `feed_gaps`: more than its schedule's interval."""

    metadata: bool = True
    """`off`: no asset is looked up and no metadata is stored."""
    language: str = "en-US"
    """The language of titles, captions and keywords, as `Accept-Language` of the API spells it; another one is a lookup
    of every live asset, within a day."""
    lookup_conn_id: str = ""
    """A connection of its own for lookups, with a key of its own; empty: each channel's connection."""
    lookups_per_second: float = 1
    """Most lookup calls per second and connection, for 100 assets each; ask Getty what the key may do."""
    lookups_per_day: int = 10_000
    """Most lookup calls per connection and day (UTC)."""
    lookup_minutes: float = 50
    """How long one run looks assets up before it leaves the rest to the next one."""
    lookup_scope: str = "all"
    """`held`: of live assets only those that the holdings name are looked up; `all`: every one."""
    reconcile_days: float = 30
    """Within how many days everything that is held or live is asked about again, a slice every day; 0: never."""
    approvers: tuple[str, ...] = ()
    """Ids of the Airflow users who may approve what exceeds a limit, comma-separated; empty: whoever may edit the DAG.
    """

    holdings: tuple[HoldingsSource, ...] = ()
    """Lists of what you hold: JSON `[{"source", "uri", "column"?, "conn_id"?}]`, see [holdings.md](holdings.md)."""

    file_stores: tuple[FileStoreSetting, ...] = ()
    """Where you keep the files: JSON `[{"name", "uri", "keys", "conn_id"?}]`, see [file_stores.md](file_stores.md)."""
    purge: str = "dry_run"
    """`on`: the files of what Getty deleted are deleted; `dry_run`: they are only listed, see [purge.md](purge.md)."""
    purge_reasons: tuple[str, ...] = ("deleted",)
    """Why files are deleted, comma-separated: `deleted` by Getty; `not_licensed`, `not_in_catalogue` as lookups say."""
    purge_max_files: int = 10_000
    """A plan with more files waits for approval."""
    purge_minutes: float = 50
    """How long one run deletes before it leaves the rest to the next one."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings in force, or raise ConfigurationError naming the variable at fault."""
        return cls(
            schema=_matching(environment, "SCHEMA", _SCHEMA, default=cls.schema),
            archive_uri=_archive_uri(environment),
            archive_is_shared=_switch(environment, "ARCHIVE_IS_SHARED", default=cls.archive_is_shared),
            batch_size=batch_size(environment.get(f"{PREFIX}BATCH_SIZE", cls.batch_size), where=f"{PREFIX}BATCH_SIZE"),
            catch_up_minutes=_minutes(environment, "CATCH_UP_MINUTES", default=cls.catch_up_minutes),
            confirm=_switch(environment, "CONFIRM", default=cls.confirm),
            gap_minutes=_minutes(environment, "GAP_MINUTES", default=cls.gap_minutes, most=14 * 24 * 60),
            metadata=_switch(environment, "METADATA", default=cls.metadata),
            language=_matching(environment, "LANGUAGE", _LANGUAGE, default=cls.language),
            lookup_conn_id=environment.get(f"{PREFIX}LOOKUP_CONN_ID", "").strip(),
            lookups_per_second=_number(environment, "LOOKUPS_PER_SECOND", default=cls.lookups_per_second, most=1000),
            lookups_per_day=int(_number(environment, "LOOKUPS_PER_DAY", default=cls.lookups_per_day, is_whole=True)),
            lookup_minutes=_minutes(environment, "LOOKUP_MINUTES", default=cls.lookup_minutes),
            lookup_scope=_choice(environment, "LOOKUP_SCOPE", ("all", "held"), default=cls.lookup_scope),
            reconcile_days=_number(
                environment, "RECONCILE_DAYS", default=cls.reconcile_days, most=365, may_be_zero=True
            ),
            approvers=_names(environment.get(f"{PREFIX}APPROVERS", "")),
            holdings=holdings_sources(environment.get(f"{PREFIX}HOLDINGS", "")),
            file_stores=file_stores(
                environment.get(f"{PREFIX}FILE_STORES", ""),
                archive_uri=_archive_uri(environment),
            ),
            purge=_choice(environment, "PURGE", ("dry_run", "on"), default=cls.purge),
            purge_reasons=_reasons(environment, default=cls.purge_reasons),
            purge_max_files=int(_number(environment, "PURGE_MAX_FILES", default=cls.purge_max_files, is_whole=True)),
            purge_minutes=_minutes(environment, "PURGE_MINUTES", default=cls.purge_minutes),
        )


def batch_size(value: Any, *, where: str) -> int:
    """Return `value` as a batch size, or raise ConfigurationError that names `where` and the range."""
    text = str(value).strip()
    is_whole = not isinstance(value, bool) and text.isascii() and text.isdigit()
    number = int(text[:9]) if is_whole else 0
    if not 1 <= number <= MAX_BATCH_SIZE:
        raise ConfigurationError(
            f"The batch size {_short(value)} in {where} is refused: give a whole number from 1 to "
            f"{MAX_BATCH_SIZE}, the most that Getty puts into one change set."
        )
    return number


def _matching(environment: Mapping[str, str], name: str, pattern: re.Pattern[str], *, default: str | None) -> str:
    value = environment.get(PREFIX + name, "").strip() or default
    if value is None:
        raise ConfigurationError(
            f"{PREFIX}{name} is not set: set it in the environment of every Airflow component, "
            "for example file:///var/lib/asset_changes/archive or s3://bucket/asset_changes."
        )
    if not pattern.fullmatch(value):
        raise ConfigurationError(
            f"{PREFIX}{name} is {_short(value)}, which is not of the form {pattern.pattern}: correct it."
        )
    return value


def holdings_sources(value: str) -> tuple[HoldingsSource, ...]:
    """Return the lists that the setting names, or raise ConfigurationError that says which entry is wrong."""
    name = f"{PREFIX}HOLDINGS"
    try:
        entries = json.loads(value or "[]")
    except ValueError as error:
        raise ConfigurationError(f"{name} is not JSON ({error}): write a list of {_HOLDINGS_FORM}.") from error
    if not isinstance(entries, list):
        raise ConfigurationError(f"{name} is not a list: write a list of {_HOLDINGS_FORM}.")
    found = tuple(holdings_source(entry, where=f"entry {n} of {name}") for n, entry in enumerate(entries, start=1))
    names = [each.source for each in found]
    if repeated := {each for each in names if names.count(each) > 1}:
        raise ConfigurationError(f"{name} names {', '.join(sorted(repeated))} twice: one list per source.")
    return found


def holdings_source(entry: Any, *, where: str) -> HoldingsSource:
    """Return one list of held assets, or raise ConfigurationError that names `where` and what is wrong."""
    known = {"source", "uri", "column", "conn_id"}
    if not isinstance(entry, dict) or not {"source", "uri"} <= entry.keys() <= known:
        raise ConfigurationError(f"The {where} is not of the form {_HOLDINGS_FORM}.")
    source, uri, column, conn_id = (entry.get(each) for each in ("source", "uri", "column", "conn_id"))
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        raise ConfigurationError(f"The {where} has a `source` that is not of the form {_SOURCE.pattern}.")
    if not isinstance(uri, str) or not _ARCHIVE_URI.fullmatch(uri):
        raise ConfigurationError(f"The {where} has a `uri` that is no address such as s3://bucket/list.csv.gz.")
    if has_password(uri):
        raise ConfigurationError(
            f"The {where} holds a password: put it into an Airflow connection and name that as conn_id."
        )
    is_number = isinstance(column, int) and not isinstance(column, bool) and column > 0
    if not (column is None or is_number or (isinstance(column, str) and column.strip())):
        raise ConfigurationError(f"The {where} has a `column` that is neither a name nor a number from 1 on.")
    if not (conn_id is None or (isinstance(conn_id, str) and conn_id)):
        raise ConfigurationError(f"The {where} has a `conn_id` that is not the id of an Airflow connection.")
    return HoldingsSource(source=source, uri=uri, column=column, conn_id=conn_id)


def has_password(uri: str) -> bool:
    """Say whether an address has a password before its host."""
    user, at, _ = uri.partition("://")[2].partition("/")[0].rpartition("@")
    return bool(at and ":" in user)


def _archive_uri(environment: Mapping[str, str]) -> str:
    uri = _matching(environment, "ARCHIVE_URI", _ARCHIVE_URI, default=None).rstrip("/")
    if has_password(uri):
        raise ConfigurationError(
            f"{PREFIX}ARCHIVE_URI holds a password, which would be in the ledger and in every log: put it into an "
            "Airflow connection, and that connection's id before the @, as in s3://aws_default@bucket/prefix."
        )
    return uri


def _minutes(environment: Mapping[str, str], name: str, *, default: float, most: float = 24 * 60) -> float:
    return _number(environment, name, default=default, most=most, unit="number of minutes")


def _number(
    environment: Mapping[str, str],
    name: str,
    *,
    default: float,
    most: float = 10_000_000,
    unit: str = "number",
    is_whole: bool = False,
    may_be_zero: bool = False,
) -> float:
    text = environment.get(PREFIX + name, "").strip()
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    is_in_range = 0 < number <= most or (may_be_zero and number == 0)
    if not is_in_range or (is_whole and number != int(number)):
        kind = f"whole {unit}" if is_whole else unit
        least = "of at least 0" if may_be_zero else "above 0"
        raise ConfigurationError(f"{PREFIX}{name} is {_short(text)}: give a {kind} {least} and at most {most:.10g}.")
    return number


def _switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    return _choice(environment, name, ("on", "off"), default="on" if default else "off") == "on"


def _choice(environment: Mapping[str, str], name: str, words: tuple[str, ...], *, default: str) -> str:
    text = environment.get(PREFIX + name, "").strip().lower()
    if text and text not in words:
        raise ConfigurationError(
            f"{PREFIX}{name} is {_short(text)}: write {' or '.join(f'`{word}`' for word in words)}."
        )
    return text or default


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _reasons(environment: Mapping[str, str], *, default: tuple[str, ...]) -> tuple[str, ...]:
    names = _names(environment.get(f"{PREFIX}PURGE_REASONS", "")) or default
    if unknown := sorted({*names} - {*REMOVAL_REASONS}):
        raise ConfigurationError(
            f"{PREFIX}PURGE_REASONS has {', '.join(map(_short, unknown))}: write one or more of "
            f"{', '.join(REMOVAL_REASONS)}, comma-separated."
        )
    return tuple(sorted({*names}))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
