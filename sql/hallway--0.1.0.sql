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
  -- The predicate as SQL, with all that decides its meaning: for merges.
  condition text NOT NULL,
  last_used timestamptz NOT NULL,
  -- The predicate as EXPLAIN shows it.
  shown text NOT NULL DEFAULT '',
  PRIMARY KEY (cache_id, hash)
);
COMMENT ON TABLE hallway.cache_regions IS 'parts of cache tables that are complete, and since when';

-- Rows written through the cache lately: what was fetched before is older than
-- what the cache has of them. A row without a key stands for all rows.
CREATE TABLE hallway.cache_writes (
  cache_id bigint NOT NULL,
  -- The key's values as text (DateStyle ISO, TimeZone UTC).
  key text[] NOT NULL,
  written_at timestamptz NOT NULL,
  -- The cache table has the row as the API answered it, or lacks it as the API
  -- does; false: something of it is not known.
  complete boolean NOT NULL,
  PRIMARY KEY (cache_id, key)
);
COMMENT ON TABLE hallway.cache_writes IS 'rows that were written lately, so that older ones do not replace them';

REVOKE ALL ON hallway.cache_tables, hallway.cache_regions, hallway.cache_writes FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON hallway.cache_tables, hallway.cache_regions, hallway.cache_writes TO hallway;

-- ---- journal ---------------------------------------------------------------

-- Every row that is written in an API, from before it is sent. Entries are the
-- sidecar's to write, on connections of its own: a transaction that rolls back
-- takes nothing of it along.
CREATE TABLE hallway.write_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- The database in which the transaction ran: nothing is done about an entry
  -- where any of these is another, as in a restored or cloned one.
  system_identifier bigint NOT NULL,
  timeline int NOT NULL,
  database oid NOT NULL,
  environment text NOT NULL,
  -- The sidecar that wrote, for as long as it runs.
  instance text NOT NULL,
  xid xid8 NOT NULL,
  subxid xid8 NOT NULL,
  backend_pid int NOT NULL,
  role name NOT NULL,
  application text NOT NULL,
  relid oid NOT NULL,
  table_name text NOT NULL,
  server_oid oid NOT NULL,
  server name NOT NULL,
  object text NOT NULL,
  operation text NOT NULL CHECK (operation IN ('insert', 'update', 'delete', 'upsert')),
  -- Of its statement, from 1.
  row_number bigint NOT NULL,
  -- The row's key, as text; NULL while an INSERT does not have it.
  key text[],
  -- Names of the columns given.
  columns text[] NOT NULL,
  idempotency_key text NOT NULL,
  request_id text NOT NULL,
  on_rollback text NOT NULL CHECK (on_rollback IN ('keep', 'compensate')),
  state text NOT NULL CHECK (state IN ('queued', 'pending', 'applied', 'refused', 'unknown',
    'needs_attention', 'orphaned', 'compensating', 'compensated')),
  -- What the API said of a refusal, or why people are needed; without secrets.
  sqlstate text,
  message text,
  todo text,
  -- To be sent when the transaction has committed.
  outbox boolean NOT NULL DEFAULT false,
  -- Values of the row by column, with their types: before and after the write,
  -- and those to be written. They go when nothing can need them any more: by them
  -- a write whose answer was lost is found out about, undone or sent. None is
  -- there with the option journal_values 'false'.
  before bytea,
  after bytea,
  row_values bytea,
  attempts int NOT NULL DEFAULT 0,
  next_attempt timestamptz,
  -- Since when it is not known what became of it.
  unknown_at timestamptz,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- When nothing more was to be done about it.
  settled_at timestamptz,
  -- When somebody saw to a failure, and who said so.
  dismissed_at timestamptz,
  dismissed_by name
) WITH (fillfactor = 80);
COMMENT ON TABLE hallway.write_log IS 'each row written in an API: who, when, what became of it';
CREATE INDEX write_log_open ON hallway.write_log (xid) WHERE settled_at IS NULL;
-- Few pages, and nearly free to keep: for what is old, and for what is new.
CREATE INDEX write_log_time ON hallway.write_log USING brin (written_at) WITH (autosummarize);
-- What people are to see.
CREATE INDEX write_log_failures ON hallway.write_log (id)
  WHERE (state IN ('needs_attention', 'orphaned') OR outbox AND state = 'refused') AND dismissed_at IS NULL;
REVOKE ALL ON hallway.write_log FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON hallway.write_log TO hallway;
-- But the values of rows.
GRANT SELECT (id, system_identifier, timeline, database, environment, instance, xid, subxid, backend_pid, role, application,
  relid, table_name, server_oid, server, object, operation, row_number, key, columns, idempotency_key, request_id, on_rollback,
  state, sqlstate, message, todo, outbox, attempts, next_attempt, unknown_at, written_at, settled_at,
  dismissed_at, dismissed_by)
  ON hallway.write_log TO pg_monitor;

-- Entries with which something is wrong: to those who have the role that wrote,
-- and to pg_monitor all. The values of rows are not shown.
CREATE VIEW hallway.failures WITH (security_barrier) AS
SELECT w.id, w.written_at, w.role, w.application, w.table_name AS "table", w.server, w.object, w.operation,
       w.row_number, w.key, w.columns, w.state, w.sqlstate, w.message,
       CASE w.state
         WHEN 'needs_attention' THEN w.todo
         WHEN 'orphaned' THEN coalesce(w.todo, 'The row stands in the API although its transaction was rolled back. Undo it there if it should not.')
         ELSE coalesce(w.todo, 'SELECT hallway.retry(' || w.id || ') sends it again.')
       END AS todo,
       w.attempts, w.request_id, w.idempotency_key, w.xid, w.settled_at,
       coalesce(pg_catalog.pg_has_role(current_user, r.oid, 'USAGE'),
                (SELECT u.rolsuper FROM pg_catalog.pg_roles u WHERE u.rolname = current_user)) AS own
FROM hallway.write_log w
LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.role
WHERE (w.state IN ('needs_attention', 'orphaned') OR w.outbox AND w.state = 'refused') AND w.dismissed_at IS NULL
  AND (coalesce(pg_catalog.pg_has_role(current_user, r.oid, 'USAGE'), false)
       OR pg_catalog.pg_has_role(current_user, 'pg_monitor', 'USAGE'));
COMMENT ON VIEW hallway.failures IS 'writes that stand although their transaction does not, that were refused after their commit, or of which nothing is known: and what to do';
GRANT SELECT ON hallway.failures TO PUBLIC;

-- To update the state of a failure is to have it tried again: what
-- hallway.retry() does, with the rights of whoever calls it.
CREATE FUNCTION hallway.retry_failure()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT OLD.own THEN
    RAISE EXCEPTION 'entry % of hallway.failures was written by role "%"', OLD.id, OLD.role
      USING ERRCODE = 'insufficient_privilege', HINT = 'That role, or a superuser, can have it tried again.';
  END IF;
  UPDATE hallway.write_log SET
    state = CASE WHEN outbox AND state = 'refused' THEN 'queued' ELSE 'unknown' END,
    attempts = 0, next_attempt = clock_timestamp(), unknown_at = clock_timestamp(), settled_at = NULL, sqlstate = NULL, message = NULL, todo = NULL
  WHERE id = OLD.id AND (state = 'needs_attention' OR outbox AND state = 'refused' AND (row_values IS NOT NULL OR operation = 'delete'));
  IF NOT FOUND THEN
    RAISE EXCEPTION 'entry % of hallway.failures cannot be tried again: it is %', OLD.id, OLD.state
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = OLD.todo;
  END IF;
  PERFORM pg_notify('hallway_journal', '');
  RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION hallway.retry_failure() FROM PUBLIC;
CREATE TRIGGER retry INSTEAD OF UPDATE ON hallway.failures FOR EACH ROW EXECUTE FUNCTION hallway.retry_failure();
GRANT UPDATE (state) ON hallway.failures TO PUBLIC;

CREATE FUNCTION hallway.retry(id bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE hallway.failures f SET state = 'queued' WHERE f.id = retry.id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no entry % in hallway.failures', id USING ERRCODE = 'no_data_found';
  END IF;
END $$;
COMMENT ON FUNCTION hallway.retry(bigint) IS
  'has an entry of hallway.failures tried again after this transaction has committed: found out about, or sent if it was refused after its commit';

-- To delete a failure is to say that somebody has seen to it: what
-- hallway.dismiss() does, with the rights of whoever calls it.
CREATE FUNCTION hallway.dismiss_failure()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT OLD.own THEN
    RAISE EXCEPTION 'entry % of hallway.failures was written by role "%"', OLD.id, OLD.role
      USING ERRCODE = 'insufficient_privilege', HINT = 'That role, or a superuser, can dismiss it.';
  END IF;
  UPDATE hallway.write_log SET
    dismissed_at = clock_timestamp(),
    -- Not current_user, which is this function's owner.
    dismissed_by = CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END,
    settled_at = coalesce(settled_at, clock_timestamp()), before = NULL, after = NULL, row_values = NULL
  WHERE id = OLD.id AND state = OLD.state AND dismissed_at IS NULL;
  IF NOT FOUND THEN
    RETURN NULL; -- somebody was faster
  END IF;
  RETURN OLD;
END $$;
REVOKE ALL ON FUNCTION hallway.dismiss_failure() FROM PUBLIC;
CREATE TRIGGER dismiss INSTEAD OF DELETE ON hallway.failures FOR EACH ROW EXECUTE FUNCTION hallway.dismiss_failure();
GRANT DELETE ON hallway.failures TO PUBLIC;

CREATE FUNCTION hallway.dismiss(id bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM hallway.failures f WHERE f.id = dismiss.id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no entry % in hallway.failures', id USING ERRCODE = 'no_data_found';
  END IF;
END $$;
COMMENT ON FUNCTION hallway.dismiss(bigint) IS
  'takes an entry that somebody has seen to out of hallway.failures; it stays in hallway.write_log, with who said so, as long as others';

-- The session's own entries of the last day, whatever role it had.
CREATE FUNCTION hallway.my_writes()
RETURNS TABLE (id bigint, written_at timestamptz, xid xid8, subxid xid8, "table" text, operation text, row_number bigint, key text[],
  columns text[], state text, sqlstate text, message text, todo text, request_id text, idempotency_key text, settled_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
ROWS 100
AS $$
  SELECT w.id, w.written_at, w.xid, w.subxid, w.table_name, w.operation, w.row_number, w.key,
         w.columns, w.state, w.sqlstate, w.message, w.todo, w.request_id, w.idempotency_key, w.settled_at
  FROM hallway.write_log w
  WHERE w.backend_pid = pg_backend_pid()
    AND w.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    AND w.written_at >= greatest(now() - interval '1 day',
                                 (SELECT a.backend_start FROM pg_stat_get_activity(pg_backend_pid()) a))
  ORDER BY w.id
$$;
COMMENT ON FUNCTION hallway.my_writes() IS
  'what became of each row that this session wrote in an API, in the last day';

-- ---- replicas --------------------------------------------------------------

-- Jobs (River's tables), staging tables and the identity of the database whose
-- they are: made by the sidecar when the first replica appears. Apart from
-- hallway_cache, where a table that the registry does not know is a leftover.
CREATE SCHEMA hallway_sync AUTHORIZATION hallway;
COMMENT ON SCHEMA hallway_sync IS 'jobs and staging of Hallway''s replicas; made by the sidecar';

-- What sidecars know of each replica, and all that they need to go on after a
-- crash. A row is made for a foreign table when a sidecar first sees that it is
-- to be a replica, and removed when it is not any more.
CREATE TABLE hallway.replicas (
  relid oid PRIMARY KEY,
  -- hallway.cache_tables.account; NULL: the API's side was not opened yet.
  account bytea,
  state text NOT NULL DEFAULT 'backfill'
    CHECK (state IN ('backfill', 'idle', 'running', 'paused', 'failing')),
  -- Why it is paused, or what it waits for.
  reason text,
  -- Of the last failure, without secrets; NULL when the last run went well.
  error text,
  -- The role whose credential failed, which may see rows that others may not, and
  -- the error may be about one; NULL: no credential did.
  error_of oid,
  failures int NOT NULL DEFAULT 0,
  -- The run under way, or the last one: when it began by this server's clock,
  -- and what it has read so far; total is an estimate.
  began_at timestamptz,
  rows_read bigint NOT NULL DEFAULT 0,
  pages_read bigint NOT NULL DEFAULT 0,
  total_rows bigint,
  -- A full copy under way: the shape of what is staged, and the key of the last
  -- row there, each value in binary; NULL: it cannot be taken up again. And the
  -- latest change seen in it; empty: some rows do not say.
  copy_shape bytea,
  copy_position bytea[],
  copy_cursor bytea,
  -- Where the next increment begins: a value of the API's own clock, in binary.
  change_cursor bytea,
  compared_at timestamptz,
  last_success timestamptz,
  next_run timestamptz NOT NULL DEFAULT now(),
  -- A run that began before this is not enough for whoever asked.
  requested_at timestamptz
);
COMMENT ON TABLE hallway.replicas IS 'what is known of each replica; read hallway.sync_status';

-- Signatures of webhook deliveries, for as long as their timestamps are good.
CREATE TABLE hallway.webhook_deliveries (
  relid oid NOT NULL,
  signature bytea NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (relid, signature)
);
COMMENT ON TABLE hallway.webhook_deliveries IS 'webhook deliveries of the last minutes, so that none counts twice';

REVOKE ALL ON hallway.replicas, hallway.webhook_deliveries FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON hallway.replicas, hallway.webhook_deliveries TO hallway;

-- Foreign tables that are to be replicas. Any role may look at the catalog, so
-- nothing is shown that is not there for all to see.
CREATE VIEW hallway.replicated_tables AS
SELECT ft.ftrelid AS relid, s.oid AS server_oid, s.srvname AS server,
       coalesce(o.options ->> 'refresh_every', so.options ->> 'refresh_every') AS refresh_every,
       coalesce(o.options ->> 'compare_every', so.options ->> 'compare_every') AS compare_every,
       coalesce(o.options ->> 'sync_overlap', so.options ->> 'sync_overlap') AS sync_overlap,
       coalesce(o.options ->> 'sync_as', so.options ->> 'sync_as') AS sync_as,
       coalesce(o.options ->> 'webhook_secret', so.options ->> 'webhook_secret') AS webhook_secret
FROM pg_catalog.pg_foreign_table ft
JOIN pg_catalog.pg_foreign_server s ON s.oid = ft.ftserver
JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'hallway'
CROSS JOIN LATERAL (
  SELECT coalesce(jsonb_object_agg(option_name, option_value), '{}') AS options
  FROM pg_catalog.pg_options_to_table(ft.ftoptions)) o
CROSS JOIN LATERAL (
  SELECT coalesce(jsonb_object_agg(option_name, option_value), '{}') AS options
  FROM pg_catalog.pg_options_to_table(s.srvoptions)) so
WHERE coalesce(o.options ->> 'cache', so.options ->> 'cache') = 'replica';
COMMENT ON VIEW hallway.replicated_tables IS 'foreign tables with the option cache ''replica'', and their options';
GRANT SELECT ON hallway.replicated_tables TO PUBLIC;

-- One row for each replica: to the owner of the table and to whom sync_as names,
-- and to pg_monitor for all.
CREATE VIEW hallway.sync_status WITH (security_barrier) AS
SELECT t.relid::regclass AS "table",
       t.server,
       coalesce(r.state, 'backfill') AS state,
       CASE WHEN r.relid IS NULL THEN 'no sidecar has seen it yet' ELSE r.reason END AS reason,
       CASE WHEN r.error_of IS NULL OR pg_catalog.pg_has_role(current_user, r.error_of, 'USAGE')
              OR pg_catalog.pg_has_role(current_user, 'pg_monitor', 'USAGE') THEN r.error
         WHEN r.error IS NOT NULL THEN pg_catalog.format('told to %I, whose credential it is, and to pg_monitor',
           pg_catalog.pg_get_userbyid(r.error_of)) END AS error,
       r.rows_read AS rows,
       r.pages_read AS pages,
       CASE WHEN r.state IN ('backfill', 'running') AND now() > r.began_at
         THEN round((r.rows_read / extract(epoch FROM now() - r.began_at))::numeric, 1) END AS rows_per_second,
       CASE WHEN r.state IN ('backfill', 'running') AND r.rows_read > 0 AND r.total_rows > r.rows_read
         THEN now() + (now() - r.began_at) * ((r.total_rows - r.rows_read)::float8 / r.rows_read) END AS estimated_end,
       r.last_success,
       CASE WHEN r.state <> 'paused' THEN r.next_run END AS next_run,
       c.as_of
FROM hallway.replicated_tables t
JOIN pg_catalog.pg_class k ON k.oid = t.relid
LEFT JOIN hallway.replicas r ON r.relid = t.relid
LEFT JOIN hallway.cache_tables c ON c.relid = t.relid AND c.account = r.account AND c.replica
WHERE pg_catalog.pg_has_role(current_user, k.relowner, 'USAGE')
   OR pg_catalog.pg_has_role(current_user, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = t.sync_as), 'USAGE')
   OR pg_catalog.pg_has_role(current_user, 'pg_monitor', 'USAGE');
COMMENT ON VIEW hallway.sync_status IS 'how far each replica is, and what ails it';
GRANT SELECT ON hallway.sync_status TO PUBLIC;

CREATE FUNCTION hallway.replicate("table" regclass, every interval DEFAULT '5 min')
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  options text[];
  word text[];
BEGIN
  SELECT ARRAY(SELECT option_name FROM pg_options_to_table(ft.ftoptions)) INTO options
  FROM pg_foreign_table ft JOIN pg_foreign_server s ON s.oid = ft.ftserver
  JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'hallway'
  WHERE ft.ftrelid = "table";
  IF NOT FOUND THEN
    RAISE EXCEPTION '"%" is not a foreign table of Hallway', "table"
      USING ERRCODE = 'wrong_object_type';
  END IF;
  IF every IS NULL OR every < interval '1 second' OR every > interval '30 days' THEN
    RAISE EXCEPTION 'a replica cannot be refreshed every "%"', every
      USING ERRCODE = 'invalid_parameter_value', HINT = 'The time between two refreshes is from 1 second to 30 days.';
  END IF;
  SELECT array_agg(CASE WHEN o = ANY (options) THEN 'SET' ELSE 'ADD' END ORDER BY n) INTO word
  FROM unnest(ARRAY['cache', 'refresh_every']) WITH ORDINALITY AS u(o, n);
  EXECUTE format('ALTER FOREIGN TABLE %s OPTIONS (%s cache ''replica'', %s refresh_every %L)',
                 "table", word[1], word[2], (extract(epoch FROM every) * 1000)::bigint || 'ms');
  -- Sidecars listen; who alters the options without us is noticed a little later.
  PERFORM pg_notify('hallway_sync', '');
END $$;
COMMENT ON FUNCTION hallway.replicate(regclass, interval) IS
  'keeps a whole local copy of a foreign table, refreshed in the background; the caller must own the table';

CREATE FUNCTION hallway.unreplicate("table" regclass)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  options text[];
  inherited boolean;
  changes text[] := '{}';
BEGIN
  SELECT ARRAY(SELECT option_name FROM pg_options_to_table(ft.ftoptions)),
         EXISTS (SELECT FROM pg_options_to_table(s.srvoptions) WHERE option_name = 'cache' AND option_value = 'replica')
    INTO options, inherited
  FROM pg_foreign_table ft JOIN pg_foreign_server s ON s.oid = ft.ftserver
  JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'hallway'
  WHERE ft.ftrelid = "table";
  IF NOT FOUND THEN
    RAISE EXCEPTION '"%" is not a foreign table of Hallway', "table"
      USING ERRCODE = 'wrong_object_type';
  END IF;
  IF inherited THEN
    changes := ARRAY[CASE WHEN 'cache' = ANY (options) THEN 'SET' ELSE 'ADD' END || ' cache ''read_through'''];
  ELSIF 'cache' = ANY (options) THEN
    changes := ARRAY['DROP cache'];
  END IF;
  IF 'refresh_every' = ANY (options) THEN
    changes := changes || 'DROP refresh_every'::text;
  END IF;
  IF changes <> '{}' THEN
    EXECUTE format('ALTER FOREIGN TABLE %s OPTIONS (%s)', "table", array_to_string(changes, ', '));
  END IF;
  PERFORM pg_notify('hallway_sync', '');
END $$;
COMMENT ON FUNCTION hallway.unreplicate(regclass) IS
  'ends hallway.replicate(): the local copy goes; the caller must own the table';

-- ---- writes: the shim's functions ------------------------------------------

CREATE FUNCTION hallway.was_created()
RETURNS boolean
AS 'MODULE_PATHNAME', 'hallway_was_created'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION hallway.was_created() IS
  'in RETURNING of an INSERT into a foreign table with upsert_key: true if the row is new, false if one was updated';

-- ---- the cache: the shim's functions ---------------------------------------

CREATE FUNCTION hallway.refresh("table" regclass)
RETURNS bigint
AS 'MODULE_PATHNAME', 'hallway_refresh'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION hallway.refresh(regclass) IS
  'reads all rows of a foreign table anew and keeps them: how many there are; the caller must be allowed to read it';

-- What IMPORT FOREIGN SCHEMA would make of the table's object now, compared with
-- the table, and the statements that would make it so. It needs the right to create
-- a schema, which it drops again.
CREATE FUNCTION hallway.refresh_schema("table" regclass, remote_schema text DEFAULT 'default')
RETURNS TABLE (change text, "column" name, type text, statement text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = error
AS $$
#variable_conflict use_column
DECLARE
	scratch name := 'hallway_schema_' || pg_backend_pid();
	server name;
	object text;
	names text;
BEGIN
	SELECT s.srvname, coalesce(o.option_value, c.relname), (SELECT string_agg(DISTINCT quote_ident(n), ', ')
			FROM unnest(ARRAY[c.relname::text, o.option_value, lower(o.option_value)]) n)
		INTO server, object, names
		FROM pg_foreign_table f
			JOIN pg_class c ON c.oid = f.ftrelid
			JOIN pg_foreign_server s ON s.oid = f.ftserver
			JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'hallway'
			LEFT JOIN LATERAL pg_options_to_table(f.ftoptions) o ON o.option_name = 'object'
		WHERE f.ftrelid = "table";
	IF NOT FOUND THEN
		RAISE EXCEPTION '"%" is not a foreign table of Hallway', "table" USING ERRCODE = 'wrong_object_type';
	END IF;
	EXECUTE format('CREATE SCHEMA %I', scratch);
	EXECUTE format('IMPORT FOREIGN SCHEMA %I LIMIT TO (%s) FROM SERVER %I INTO %I', remote_schema, names, server, scratch);
	RETURN QUERY
		WITH columns AS (
			SELECT f.ftrelid = "table" AS ours, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
				coalesce(o.option_value, a.attname) AS field,
				(SELECT string_agg(quote_ident(option_name) || ' ' || quote_literal(option_value), ', ') FROM pg_options_to_table(a.attfdwoptions)) AS options
			FROM pg_foreign_table f
				JOIN pg_class c ON c.oid = f.ftrelid
				JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
				LEFT JOIN LATERAL pg_options_to_table(a.attfdwoptions) o ON o.option_name = 'field'
			WHERE f.ftrelid = "table" OR c.relnamespace = scratch::regnamespace
				AND EXISTS (SELECT FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'object' AND option_value = object))
		SELECT CASE WHEN mine.attname IS NULL THEN 'added' WHEN theirs.attname IS NULL THEN 'lost' ELSE 'type' END,
			coalesce(mine.attname, theirs.attname), coalesce(theirs.type, mine.type),
			'ALTER FOREIGN TABLE ' || "table"::text || CASE
				WHEN mine.attname IS NULL THEN format(' ADD COLUMN %I %s', theirs.attname, theirs.type) || coalesce(' OPTIONS (' || theirs.options || ')', '')
				WHEN theirs.attname IS NULL THEN format(' DROP COLUMN %I', mine.attname)
				ELSE format(' ALTER COLUMN %I TYPE %s', mine.attname, theirs.type) END
		FROM (SELECT * FROM columns WHERE ours) mine FULL JOIN (SELECT * FROM columns WHERE NOT ours) theirs USING (field)
		WHERE mine.type IS DISTINCT FROM theirs.type AND field <> '_raw' AND EXISTS (SELECT FROM columns WHERE NOT ours)
		ORDER BY theirs.attnum, mine.attnum;
	IF NOT FOUND AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = scratch::regnamespace) THEN
		RAISE EXCEPTION 'the API has no object "%" (any more)', object
			USING ERRCODE = 'fdw_table_not_found', HINT = 'Is it in another remote schema?';
	END IF;
	EXECUTE format('DROP SCHEMA %I CASCADE', scratch);
END
$$;
COMMENT ON FUNCTION hallway.refresh_schema(regclass, text) IS
	'how the API''s object differs from the foreign table by now, with the statements that would follow it';

CREATE FUNCTION hallway.invalidate("table" regclass)
RETURNS void
AS 'MODULE_PATHNAME', 'hallway_invalidate'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION hallway.invalidate(regclass) IS
  'what is kept of a foreign table is not used any more, for nobody; the caller must be allowed to read it';

CREATE FUNCTION hallway.forget("table" regclass, VARIADIC key text[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'hallway_forget'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION hallway.forget(regclass, text[]) IS
  'removes the object with this key from all that is kept of a foreign table; the caller must own the table';

CREATE PROCEDURE hallway.wait_for_sync("table" regclass, timeout interval DEFAULT '30 seconds')
AS 'MODULE_PATHNAME', 'hallway_wait_for_sync'
LANGUAGE C;

COMMENT ON PROCEDURE hallway.wait_for_sync(regclass, interval) IS
  'returns when a replica shows what the API has now; the caller must be allowed to read the table';

CREATE FUNCTION hallway.resume()
RETURNS void
AS 'MODULE_PATHNAME', 'hallway_resume'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION hallway.resume() IS
  'lets background work of the sidecar go on that was paused; for superusers';

-- For the sidecar alone: the second shows the secrets of user mappings.
CREATE FUNCTION hallway.cache_attach(cache regclass, relid oid)
RETURNS void
AS 'MODULE_PATHNAME', 'hallway_cache_attach'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION hallway.relation_definition("table" regclass, role oid)
RETURNS bytea
AS 'MODULE_PATHNAME', 'hallway_relation_definition'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

REVOKE ALL ON FUNCTION hallway.cache_attach(regclass, oid), hallway.relation_definition(regclass, oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hallway.cache_attach(regclass, oid), hallway.relation_definition(regclass, oid) TO hallway;
