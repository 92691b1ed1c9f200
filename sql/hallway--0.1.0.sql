-- What CREATE EXTENSION hallway makes: the foreign-data wrapper, the schema
-- that holds Hallway's functions and state, and the one for cache tables.

\echo Use "CREATE EXTENSION hallway" to load this file. \quit

-- Made here and not by the control file's "schema", so that DROP EXTENSION
-- takes it along, and so that a schema of that name which somebody else owns
-- stops CREATE EXTENSION instead of being used.
CREATE SCHEMA hallway;

CREATE FUNCTION hallway.fdw_handler()
RETURNS fdw_handler
AS 'MODULE_PATHNAME', 'hallway_fdw_handler'
LANGUAGE C STRICT;

CREATE FUNCTION hallway.fdw_validator(text[], oid)
RETURNS void
AS 'MODULE_PATHNAME', 'hallway_fdw_validator'
LANGUAGE C STRICT;

CREATE FOREIGN DATA WRAPPER hallway
  HANDLER hallway.fdw_handler
  VALIDATOR hallway.fdw_validator;

COMMENT ON FOREIGN DATA WRAPPER hallway IS 'APIs as tables';

CREATE FUNCTION hallway.sidecar_version(server name)
RETURNS text
AS 'MODULE_PATHNAME', 'hallway_sidecar_version'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION hallway.sidecar_version(name) IS
  'version of the sidecar that serves a foreign server; an error if it cannot be reached';

GRANT USAGE ON SCHEMA hallway TO PUBLIC;

-- ---- cache -----------------------------------------------------------------

-- The role as which the sidecar logs in. It owns cache tables and state, reads
-- no foreign table, and is nobody's member.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'hallway') THEN
    CREATE ROLE hallway LOGIN;
  END IF;
END $$;

CREATE SCHEMA hallway_cache AUTHORIZATION hallway;
COMMENT ON SCHEMA hallway_cache IS 'local copies of foreign tables; made and dropped by the Hallway sidecar';

-- A cache table for each foreign table and account. Their rows are the sidecar's
-- to write; the shim reads them by index, under the snapshot of the query.
CREATE TABLE hallway.cache_tables (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relid oid NOT NULL,
  account bytea NOT NULL,
  cache_relid oid NOT NULL,
  -- Columns and types of relid that cache_relid was made for.
  shape bytea NOT NULL,
  server_oid oid NOT NULL,
  -- The API's object, as the connector names it; other foreign tables may show it too.
  object text NOT NULL,
  replica boolean NOT NULL DEFAULT false,
  -- Replica: it shows the API's contents of at least then. NULL: not whole yet.
  as_of timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  last_used timestamptz NOT NULL DEFAULT now(),
  UNIQUE (relid, account)
);
COMMENT ON TABLE hallway.cache_tables IS 'which local table holds the rows of a foreign table for an account';

-- Predicates over read-through cache tables whose rows are all there. UNLOGGED
-- as those tables are: a crash empties both.
CREATE UNLOGGED TABLE hallway.cache_regions (
  cache_id bigint NOT NULL,
  hash bigint NOT NULL,
  predicate bytea NOT NULL,
  -- Positions in the foreign table, from 1, dropped columns left out.
  columns int2[] NOT NULL,
  -- When the first request for it was about to be sent, by this server's clock.
  fetched_at timestamptz NOT NULL,
  rows bigint NOT NULL,
  bytes bigint NOT NULL,
  -- The predicate as SQL, for people and for merges.
  condition text NOT NULL,
  last_used timestamptz NOT NULL,
  PRIMARY KEY (cache_id, hash)
);
COMMENT ON TABLE hallway.cache_regions IS 'parts of cache tables that are complete, and since when';

REVOKE ALL ON hallway.cache_tables, hallway.cache_regions FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON hallway.cache_tables, hallway.cache_regions TO hallway;
