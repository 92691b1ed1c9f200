-- What CREATE EXTENSION hallway makes: the foreign-data wrapper and the schema
-- that holds Hallway's functions. No cache or journal objects stand here yet.

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
