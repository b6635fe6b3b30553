"""The table `asset_metadata`: writing what Getty says of live assets, removing it once they are not live.

Writing and removing cannot miss each other. A lookup locks the states of its assets before it writes,
and writes only what is live then; a load removes in a statement after its upsert, which waits for these
locks. So a row is either seen by the load that ends its asset, or never written.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB

from asset_changes.warehouse.schema import METADATA_COLUMNS, asset_metadata

IS_LIVE = "upserted_at IS NOT NULL AND (deleted_at IS NULL OR upserted_at > deleted_at)"

# Slot: {assets}, a condition that says which assets may have ended. Whether they have is what their states say by now.
REMOVE_NOT_LIVE = f"""
    DELETE FROM asset_metadata USING asset_states
    WHERE asset_metadata.asset_id {{assets}}
      AND asset_states.asset_id = asset_metadata.asset_id AND NOT ({IS_LIVE})"""

# Weaker locks, a foreign key's too, do not make a load wait.
_LOCK_LIVE = text(f"""
    SELECT s.asset_id, s.asset_type, s.upserted_at, s.upsert_change_set_id, s.upsert_position, s.channel_id,
           m.content_hash, m.language
    FROM asset_states AS s LEFT JOIN asset_metadata AS m USING (asset_id)
    WHERE asset_id = ANY (:asset_ids) AND {IS_LIVE}
    ORDER BY asset_id
    FOR SHARE OF s""")
_JSON_COLUMNS = {name for name, kind in METADATA_COLUMNS.items() if kind is JSONB}
_COLUMNS = ", ".join(asset_metadata.columns.keys())
_STORE = text(f"""
    INSERT INTO asset_metadata AS known ({_COLUMNS})
    SELECT {_COLUMNS} FROM jsonb_populate_recordset(CAST(NULL AS asset_metadata), CAST(:rows AS jsonb))
    ORDER BY asset_id
    ON CONFLICT (asset_id) DO UPDATE SET ({_COLUMNS}) = ROW (excluded.{_COLUMNS.replace(", ", ", excluded.")})
    WHERE known.as_of <= excluded.as_of""")
_ENCODER = msgspec.json.Encoder()
_LONGEST_STATEMENT = 16_000_000  # a jsonb takes 256 MB, and a hundred assets may have captions of megabytes
_STORE_UNCHANGED = text("""
    UPDATE asset_metadata SET as_of = :as_of, fetched_at = :fetched_at
    WHERE asset_id = ANY (:asset_ids) AND as_of <= :as_of""")


@dataclass(frozen=True, kw_only=True)
class UpsertRegister:
    """Which New or Update is an asset's newest: another one means that the asset changed."""

    upserted_at: datetime
    change_set_id: str
    position: int
    channel_id: int


@dataclass(frozen=True, kw_only=True)
class LiveAsset:
    """A live asset whose state is locked, and the hash and the language of what is stored of it."""

    asset_type: str | None
    register: UpsertRegister
    content_hash: str | None
    language: str | None


class Metadata(Protocol):
    """What Getty says of one asset: typed values by column, the whole object as JSON, and its hash."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Values by the names of METADATA_COLUMNS, those of type jsonb as JSON text; empty ones may be missing."""
        ...

    @property
    def raw(self) -> str:
        """The object as JSON that fits a jsonb."""
        ...

    @property
    def content_hash(self) -> str:
        """The same for the same object."""
        ...


def lock_live(connection: Connection, asset_ids: Collection[str]) -> dict[str, LiveAsset]:
    """Return which of the assets are live, and keep them so until the end of the transaction."""
    return {
        row.asset_id: LiveAsset(
            asset_type=row.asset_type,
            register=UpsertRegister(
                upserted_at=row.upserted_at,
                change_set_id=row.upsert_change_set_id,
                position=row.upsert_position,
                channel_id=row.channel_id,
            ),
            content_hash=row.content_hash,
            language=row.language,
        )
        for row in connection.execute(_LOCK_LIVE, {"asset_ids": sorted(asset_ids)})
    }


def store(
    connection: Connection,
    metadata: Mapping[str, Metadata],
    *,
    as_of: datetime,
    fetched_at: datetime,
    language: str,
) -> None:
    """Write the metadata of assets that `lock_live` has locked; what is stored of a newer answer stays."""
    if metadata:
        common = {"as_of": as_of.isoformat(), "fetched_at": fetched_at.isoformat(), "language": language}
        for rows in _in_parts(_row(asset_id, each, common) for asset_id, each in sorted(metadata.items())):
            connection.execute(_STORE, {"rows": f"[{','.join(rows)}]"})


def store_unchanged(connection: Connection, asset_ids: Sequence[str], *, as_of: datetime, fetched_at: datetime) -> None:
    """Write of locked assets that what is stored of them is still so."""
    if asset_ids:
        values = {"asset_ids": [*asset_ids], "as_of": as_of, "fetched_at": fetched_at}
        connection.execute(_STORE_UNCHANGED, values)


def _in_parts(rows: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    length = 0
    for row in rows:
        if part and length + len(row) > _LONGEST_STATEMENT:
            yield part
            part, length = [], 0
        part.append(row)
        length += len(row)
    if part:
        yield part


def _row(asset_id: str, metadata: Metadata, common: Mapping[str, str]) -> str:
    """Return a row as JSON; what is JSON already is only pasted in."""
    row: dict[str, Any] = {name: value for name, value in metadata.values.items() if value is not None}
    for name in _JSON_COLUMNS & row.keys():
        row[name] = msgspec.Raw(row[name].encode())
    row |= common
    row |= {"asset_id": asset_id, "content_hash": metadata.content_hash, "raw": msgspec.Raw(metadata.raw.encode())}
    return _ENCODER.encode(row).decode()
