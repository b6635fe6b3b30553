"""What the company says it holds, and how each of its lists was imported."""

from alembic import op

revision = "0006"
down_revision = "0005"

_HOLDINGS = """
CREATE TABLE held_assets (
    source text COLLATE "C" NOT NULL,
    asset_id text COLLATE "C" NOT NULL,
    asset_type text,
    location text,
    held_since timestamptz NOT NULL,
    held_until timestamptz,
    PRIMARY KEY (source, asset_id)
);
-- Each Delete asks whether its asset is held, whatever the source.
CREATE INDEX held_assets_asset_id ON held_assets (asset_id) WHERE held_until IS NULL;

CREATE TABLE holding_imports (
    import_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text COLLATE "C" NOT NULL,
    uri text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    row_count bigint NOT NULL DEFAULT 0,
    new_held_count bigint NOT NULL DEFAULT 0,
    changed_count bigint NOT NULL DEFAULT 0,
    unchanged_count bigint NOT NULL DEFAULT 0,
    ended_count bigint NOT NULL DEFAULT 0,
    unreadable_count bigint NOT NULL DEFAULT 0,
    unreadable_lines bigint[] NOT NULL DEFAULT '{}',
    held_count bigint NOT NULL DEFAULT 0,
    refused_why text,
    accept_shrink bigint,
    byte_count bigint,
    sha256 text,
    dag_id text,
    run_id text,
    triggered_by text
);
CREATE INDEX holding_imports_source ON holding_imports (source, import_id DESC);

REVOKE DELETE ON held_assets FROM CURRENT_USER;
REVOKE UPDATE, DELETE ON holding_imports FROM CURRENT_USER;
"""


def upgrade() -> None:
    """Add both tables."""
    op.execute(_HOLDINGS)
