"""Deleting the files of what must be removed: stores, plans, receipts, holds and waivers."""

from alembic import op

revision = "0008"
down_revision = "0007"

_TABLES = """
CREATE TABLE file_stores (
    store text COLLATE "C" PRIMARY KEY,
    uri text NOT NULL,
    store_hash text NOT NULL,
    configured_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    unconfigured_at timestamptz,
    lease_id text,
    leased_by text,
    leased_until timestamptz,
    deleting_since timestamptz,
    error text,
    error_at timestamptz
);

CREATE TABLE purge_plans (
    plan_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode text COLLATE "C" NOT NULL,
    policy_hash text NOT NULL,
    only_store text COLLATE "C",
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    list_hash text,
    asset_count bigint NOT NULL DEFAULT 0,
    file_count bigint NOT NULL DEFAULT 0,
    file_bytes bigint NOT NULL DEFAULT 0,
    stores jsonb NOT NULL DEFAULT '{}',
    brake text,
    outcome text COLLATE "C",
    expires_at timestamptz,
    approved_by text,
    approved_at timestamptz,
    purged_at timestamptz,
    unfinished jsonb NOT NULL DEFAULT '{}',
    dag_id text,
    run_id text,
    triggered_by text,
    code_version text,
    CONSTRAINT purge_plans_mode CHECK (mode IN ('dry_run', 'on')),
    CONSTRAINT purge_plans_outcome
        CHECK (outcome IN ('listed', 'ready', 'waiting', 'approved', 'refused', 'expired', 'purged'))
);
CREATE INDEX purge_plans_made_at ON purge_plans (made_at);
CREATE INDEX purge_plans_open ON purge_plans (plan_id) WHERE outcome IN ('ready', 'waiting', 'approved');

-- No row is ever changed: what was approved is what is deleted. A row without a key: nothing was found of the asset.
CREATE TABLE purge_plan_files (
    plan_id bigint NOT NULL REFERENCES purge_plans,
    chunk integer NOT NULL,
    line integer NOT NULL,
    store text COLLATE "C" NOT NULL,
    asset_id text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    due_since timestamptz NOT NULL,
    channel_id integer,
    change_set_id text COLLATE "C",
    position integer,
    reconciliation_id bigint,
    key text COLLATE "C",
    version_id text,
    is_delete_marker boolean,
    size bigint,
    modified_at timestamptz,
    identity text,
    PRIMARY KEY (plan_id, chunk, line)
);

CREATE TABLE purges (
    receipt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id bigint NOT NULL REFERENCES purge_plans,
    store text COLLATE "C" NOT NULL,
    store_hash text NOT NULL,
    asset_id text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    due_since timestamptz NOT NULL,
    channel_id integer,
    change_set_id text COLLATE "C",
    position integer,
    reconciliation_id bigint,
    key text COLLATE "C",
    version_id text,
    is_delete_marker boolean,
    size bigint,
    modified_at timestamptz,
    planned_at timestamptz NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    result text COLLATE "C" NOT NULL,
    error text,
    request_id text,
    is_gone boolean NOT NULL,
    approved_by text,
    dag_id text,
    run_id text,
    triggered_by text,
    code_version text,
    CONSTRAINT purges_result CHECK (result IN ('deleted', 'missing', 'changed', 'error', 'nothing_found'))
);
CREATE INDEX purges_asset_id ON purges (asset_id, store);
CREATE INDEX purges_plan_id ON purges (plan_id, store, asset_id);
CREATE INDEX purges_removed_at ON purges (removed_at) INCLUDE (store, plan_id, asset_id, result, is_gone);
CREATE INDEX purges_failed ON purges (removed_at) WHERE result = 'error';
CREATE INDEX deletions_asset_id ON deletions (asset_id);
ALTER TABLE channels ADD rebuilding_since timestamptz;

CREATE TABLE purge_holds (
    asset_id text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_by text,
    until timestamptz,
    released_at timestamptz,
    released_by text,
    PRIMARY KEY (asset_id, owner)
);

CREATE TABLE purge_waivers (
    waiver_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset_id text COLLATE "C" NOT NULL,
    source text COLLATE "C",
    reason text COLLATE "C" NOT NULL,
    due_since timestamptz NOT NULL,
    why text NOT NULL,
    waived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    waived_by text
);
CREATE INDEX purge_waivers_asset_id ON purge_waivers (asset_id);

CREATE TABLE purge_counts (
    store text COLLATE "C" PRIMARY KEY,
    open_count bigint NOT NULL,
    day_count bigint NOT NULL,
    week_count bigint NOT NULL,
    older_count bigint NOT NULL,
    open_since timestamptz,
    held_back_count bigint NOT NULL,
    held_back_by jsonb NOT NULL,
    oldest jsonb NOT NULL,
    counted_at timestamptz NOT NULL
);

REVOKE UPDATE ON purge_plan_files FROM CURRENT_USER;
REVOKE UPDATE, DELETE ON purges, purge_waivers FROM CURRENT_USER;
REVOKE DELETE ON file_stores, purge_plans, purge_holds FROM CURRENT_USER;
"""

# Gone: said twice, a day apart by the time at which Getty knew it, and no New or Update came since. What was no longer
# held when it had to go was no longer a copy of it.
# A receipt counts for the duty that it answers, under the templates that its store has today, and only until a list
# names the asset anew. So does a waiver for its duty alone: after a new Delete there is a new one.
_DUTIES = """
CREATE VIEW removal_duties AS
SELECT source, asset_id, coalesce(s.asset_type, h.asset_type) AS asset_type, location, held_since, held_until,
       reason, due_since, s.channel_id,
       CASE WHEN reason = 'deleted' THEN s.delete_change_set_id END AS change_set_id,
       CASE WHEN reason = 'deleted' THEN s.delete_position END AS position,
       CASE WHEN reason <> 'deleted' THEN a.reconciliation_id END AS reconciliation_id,
       CASE WHEN reason <> 'deleted' THEN a.as_of END AS as_of,
       (SELECT min(p.removed_at) FROM purges AS p JOIN file_stores AS f USING (store, store_hash)
        WHERE p.asset_id = h.asset_id AND p.store = h.source AND p.is_gone
          AND p.reason = why.reason AND p.due_since = since.due_since AND p.removed_at >= h.held_since) AS gone_at,
       (SELECT min(w.waived_at) FROM purge_waivers AS w
        WHERE w.asset_id = h.asset_id AND (w.source IS NULL OR w.source = h.source)
          AND w.reason = why.reason AND w.due_since = since.due_since) AS waived_at,
       (SELECT string_agg(o.owner, ', ' ORDER BY o.owner) FROM purge_holds AS o
        WHERE o.asset_id = h.asset_id AND o.released_at IS NULL AND (o.until IS NULL OR o.until > now())
       ) AS held_back_by
FROM held_assets AS h
LEFT JOIN asset_states AS s USING (asset_id)
LEFT JOIN availability AS a USING (asset_id)
CROSS JOIN LATERAL (SELECT
    CASE WHEN s.deleted_at IS NOT NULL AND (s.upserted_at IS NULL OR s.upserted_at <= s.deleted_at) THEN 'deleted'
         WHEN a.verdict <> 'available' AND a.as_of >= a.first_gone_as_of + interval '1 day'
          AND (s.upserted_at, s.upsert_change_set_id, s.upsert_position)
              IS NOT DISTINCT FROM (a.upserted_at, a.upsert_change_set_id, a.upsert_position) THEN a.verdict
    END AS reason) AS why
CROSS JOIN LATERAL (SELECT
    CASE WHEN reason = 'deleted' THEN s.deleted_at ELSE a.first_gone_as_of END AS due_since) AS since
WHERE reason IS NOT NULL AND (held_until IS NULL OR held_until >= due_since);

CREATE VIEW assets_to_remove AS
SELECT source, asset_id, asset_type, location, held_since, held_until, reason, due_since, channel_id, change_set_id,
       position, reconciliation_id, as_of, held_back_by IS NOT NULL AS is_held_back, held_back_by
FROM removal_duties
WHERE gone_at IS NULL AND waived_at IS NULL;
"""

# Gone from a store after a Delete: whichever Delete the receipt answers, all versions were gone after this one. While
# the Delete is the last word (a row of asset_states), only what counts for its duty: under today's templates, and since
# a list named the asset anew. Of a row that a replay made anew, when it was applied is that of the rebuild. What no
# list of a store names is looked for there too, if its Delete came after the store was configured.
_EVIDENCE = """
CREATE VIEW removal_evidence AS
SELECT d.asset_id, d.channel_id, d.change_set_id, d.position, d.deleted_at, d.received_at, d.applied_at,
       place.store, receipts.planned_at, receipts.gone_at, coalesce(receipts.removed_count, 0) AS removed_count,
       coalesce(receipts.failed_count, 0) AS failed_count, receipts.plan_id, receipts.approved_by,
       waiver.waived_at, waiver.waived_by,
       EXISTS (SELECT FROM asset_states AS s WHERE s.asset_id = d.asset_id AND s.upserted_at > s.deleted_at
       ) AS is_live_again,
       (SELECT string_agg(o.owner, ', ' ORDER BY o.owner) FROM purge_holds AS o
        WHERE o.asset_id = d.asset_id AND o.released_at IS NULL AND (o.until IS NULL OR o.until > now())
       ) AS held_back_by
FROM deletions AS d
LEFT JOIN asset_states AS last ON last.asset_id = d.asset_id AND last.delete_change_set_id = d.change_set_id
    AND last.delete_position = d.position AND (last.upserted_at IS NULL OR last.upserted_at <= last.deleted_at)
CROSS JOIN LATERAL (SELECT
    CASE WHEN d.is_rebuilt THEN d.received_at ELSE d.applied_at END AS since) AS known
LEFT JOIN LATERAL (
    SELECT h.source AS store FROM held_assets AS h
    WHERE h.asset_id = d.asset_id AND (h.held_until IS NULL OR h.held_until >= d.deleted_at)
    UNION
    SELECT p.store FROM purges AS p WHERE p.asset_id = d.asset_id AND p.removed_at >= known.since
    UNION
    SELECT f.store FROM file_stores AS f WHERE f.unconfigured_at IS NULL AND d.received_at >= f.configured_at
) AS place ON true
LEFT JOIN LATERAL (
    SELECT min(p.planned_at) AS planned_at,
           min(p.removed_at) FILTER (WHERE p.is_gone AND (last.asset_id IS NULL OR p.store_hash = f.store_hash
               AND p.removed_at >= coalesce(h.held_since, p.removed_at))) AS gone_at,
           count(*) FILTER (WHERE p.result = 'deleted') AS removed_count,
           count(*) FILTER (WHERE p.result = 'error') AS failed_count,
           max(p.plan_id) AS plan_id, max(p.approved_by) AS approved_by
    FROM purges AS p LEFT JOIN file_stores AS f USING (store)
    LEFT JOIN held_assets AS h ON h.source = p.store AND h.asset_id = p.asset_id
    WHERE p.asset_id = d.asset_id AND p.store = place.store AND p.removed_at >= known.since) AS receipts ON true
LEFT JOIN LATERAL (
    SELECT w.waived_at, w.waived_by FROM purge_waivers AS w
    WHERE w.asset_id = d.asset_id AND (w.source IS NULL OR w.source = place.store)
      AND w.reason = 'deleted' AND w.due_since >= d.deleted_at
    ORDER BY w.waived_at LIMIT 1) AS waiver ON true;
"""


def upgrade() -> None:
    """Add the tables, and the views of what they mean."""
    op.execute(_TABLES)
    op.execute(_DUTIES)
    op.execute(_EVIDENCE)
