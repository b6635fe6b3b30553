"""Whether what the company holds may still be held: verdicts of lookups, and how much must be removed."""

from alembic import op

revision = "0007"
down_revision = "0006"

_QUEUE = """
-- A constant default: no row is written anew, however many wait.
ALTER TABLE lookup_queue ADD question smallint NOT NULL DEFAULT 1, ADD conn_id text;
"""

_AVAILABILITY = """
CREATE TABLE reconciliations (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conn_id text NOT NULL,
    channel_ids integer[] NOT NULL,
    not_asked_since timestamptz,
    started_at timestamptz NOT NULL,
    asked_at timestamptz,
    decided_at timestamptz,
    outcome text COLLATE "C",
    asked_count bigint NOT NULL DEFAULT 0,
    available_count bigint NOT NULL DEFAULT 0,
    not_licensed_count bigint NOT NULL DEFAULT 0,
    not_in_catalogue_count bigint NOT NULL DEFAULT 0,
    first_asked_count bigint NOT NULL DEFAULT 0,
    first_gone_count bigint NOT NULL DEFAULT 0,
    checks_hash text,
    expires_at timestamptz,
    approved_by text,
    dag_id text,
    run_id text,
    CONSTRAINT reconciliations_outcome
        CHECK (outcome IN ('counted', 'waiting', 'approved', 'refused', 'expired', 'void'))
);
-- One at a time is asked per connection: two runs that begin at once cannot both begin one.
CREATE UNIQUE INDEX reconciliations_open ON reconciliations (conn_id) WHERE asked_at IS NULL AND outcome IS NULL;
CREATE INDEX reconciliations_undecided ON reconciliations (reconciliation_id) WHERE decided_at IS NULL;

CREATE TABLE availability (
    asset_id text COLLATE "C" PRIMARY KEY,
    verdict text COLLATE "C" NOT NULL,
    asset_type text,
    conn_id text NOT NULL,
    as_of timestamptz NOT NULL,
    first_gone_as_of timestamptz,
    checks integer NOT NULL DEFAULT 1,
    reconciliation_id bigint REFERENCES reconciliations,
    upserted_at timestamptz,
    upsert_change_set_id text COLLATE "C",
    upsert_position integer,
    CONSTRAINT availability_verdict CHECK (verdict IN ('available', 'not_licensed', 'not_in_catalogue')),
    CONSTRAINT availability_gone_since CHECK ((verdict = 'available') = (first_gone_as_of IS NULL))
);
-- What was asked longest ago is asked next: the start of this index.
CREATE INDEX availability_as_of ON availability (as_of, asset_id);
CREATE INDEX availability_gone ON availability (as_of) WHERE verdict <> 'available';

CREATE TABLE availability_checks (
    check_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reconciliation_id bigint NOT NULL REFERENCES reconciliations,
    asset_id text COLLATE "C" NOT NULL,
    verdict text COLLATE "C" NOT NULL,
    asset_type text,
    conn_id text NOT NULL,
    as_of timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    upserted_at timestamptz,
    upsert_change_set_id text COLLATE "C",
    upsert_position integer,
    CONSTRAINT availability_checks_verdict CHECK (verdict IN ('not_licensed', 'not_in_catalogue'))
);
CREATE INDEX availability_checks_reconciliation ON availability_checks (reconciliation_id, asset_id);
CREATE INDEX availability_checks_asset_id ON availability_checks (asset_id, check_id);
"""

_HOLDINGS = """
-- Of all, for what is held no longer may still have to be removed.
DROP INDEX held_assets_asset_id;
CREATE INDEX held_assets_asset_id ON held_assets (asset_id);

CREATE TABLE holding_counts (
    source text COLLATE "C" PRIMARY KEY,
    held_count bigint NOT NULL,
    checked_count bigint NOT NULL,
    deleted_count bigint NOT NULL,
    not_licensed_count bigint NOT NULL,
    not_in_catalogue_count bigint NOT NULL,
    deleted_since timestamptz,
    not_licensed_since timestamptz,
    not_in_catalogue_since timestamptz,
    counted_at timestamptz NOT NULL
);

REVOKE UPDATE, DELETE ON availability_checks FROM CURRENT_USER;
REVOKE DELETE ON reconciliations FROM CURRENT_USER;
"""


def upgrade() -> None:
    """Add the tables."""
    op.execute(_QUEUE)
    op.execute(_AVAILABILITY)
    op.execute(_HOLDINGS)
