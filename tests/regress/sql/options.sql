-- Options of wrapper, servers, user mappings, tables and columns.
\set VERBOSITY terse

-- A server says which connector it is for, and keeps saying so.
CREATE SERVER nope FOREIGN DATA WRAPPER hallway;
\set VERBOSITY default
CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (connector '');
ALTER SERVER syn OPTIONS (DROP connector);

-- Names that are nearly ours are slips of the pen.
CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (conector 'rest');
ALTER SERVER syn OPTIONS (ADD updateable 'false');
ALTER FOREIGN TABLE people OPTIONS (ADD async_capabel 'true');
ALTER FOREIGN TABLE people OPTIONS (ADD estimated_row '3');
ALTER FOREIGN DATA WRAPPER hallway OPTIONS (ADD adress 'unix:/x');
ALTER FOREIGN DATA WRAPPER hallway OPTIONS (ADD whatever 'x');

-- A credential where all roles could read it.
CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (connector 'rest', password 'x');
ALTER FOREIGN TABLE people OPTIONS (ADD token 'x');
ALTER SERVER syn OPTIONS (ADD secret 'x');

-- Other names are the connector's, which refuses them at first use.
CREATE FOREIGN TABLE odd (id int8 OPTIONS (key 'true')) SERVER syn OPTIONS (no_such_thing '1');
SELECT code, message, left(hint, 38) AS hint FROM failure('SELECT * FROM odd');
ALTER FOREIGN TABLE odd OPTIONS (DROP no_such_thing);
ALTER FOREIGN TABLE odd ALTER id OPTIONS (ADD no_such_thing '1');
SELECT code, message, left(hint, 38) AS hint FROM failure('SELECT * FROM odd');
ALTER FOREIGN TABLE odd ALTER id OPTIONS (DROP no_such_thing);
SELECT count(*) FROM odd;

-- Values.
CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', updatable 'perhaps');
CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address '/run/x.sock');
CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address 'unix:x.sock');
SELECT format('CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (connector %L, address %L)',
              'synthetic', 'unix:/' || repeat('x', 200)) AS long_path \gset
:long_path;
CREATE SERVER nope FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', cache_scope 'all');
ALTER FOREIGN TABLE odd OPTIONS (ADD estimated_rows '0');
ALTER FOREIGN TABLE odd OPTIONS (ADD estimated_rows 'many');
ALTER FOREIGN TABLE odd OPTIONS (ADD estimated_rows 'NaN');
ALTER FOREIGN TABLE odd ALTER id OPTIONS (SET key 'primary');
ALTER FOREIGN TABLE odd ALTER id OPTIONS (ADD field '');

-- A connector that the sidecar does not have.
CREATE SERVER unknown FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetik');
CREATE FOREIGN TABLE unknown (id int8) SERVER unknown;
SELECT code, message, hint ~ '^Connectors of this sidecar: ([a-z]+, )*rest, ([a-z]+, )*synthetic\.$' AS hint_has_them FROM failure('SELECT * FROM unknown');

-- Estimates are the owner's to correct.
ALTER FOREIGN TABLE odd OPTIONS (ADD estimated_rows '123456');
SELECT (regexp_match(line, 'rows=(\d+)'))[1] FROM plan('SELECT * FROM odd', 'COSTS') line;
ALTER FOREIGN TABLE odd OPTIONS (SET estimated_rows '42');
SELECT (regexp_match(line, 'rows=(\d+)'))[1] FROM plan('SELECT * FROM odd', 'COSTS') line;

-- Where a sidecar listens is a superuser's to say.
CREATE ROLE regress_hallway_owner;
GRANT USAGE ON FOREIGN DATA WRAPPER hallway TO regress_hallway_owner;
GRANT CREATE ON DATABASE regression TO regress_hallway_owner;
SET ROLE regress_hallway_owner;
CREATE SERVER theirs FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', address 'unix:/tmp/x');
SET hallway.address = 'unix:/tmp/x';
CREATE SERVER theirs FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
SELECT hallway.sidecar_version('theirs') <> '' AS answers;
SELECT hallway.sidecar_version('syn');
RESET ROLE;

-- A server's own address is taken before the wrapper's, and that before the setting.
ALTER SERVER theirs OPTIONS (ADD address 'unix:/nowhere/at/all.sock');
SELECT hallway.sidecar_version('theirs');
SELECT current_setting('hallway.address') AS address \gset
ALTER FOREIGN DATA WRAPPER hallway OPTIONS (ADD address 'unix:/nowhere/else.sock');
SELECT hallway.sidecar_version('syn');
ALTER SERVER theirs OPTIONS (SET address :'address');
SELECT hallway.sidecar_version('theirs') <> '' AS answers;
ALTER FOREIGN DATA WRAPPER hallway OPTIONS (DROP address);
SELECT hallway.sidecar_version('syn') <> '' AS answers;

-- Credentials that stand in a user mapping can be forbidden.
CREATE USER MAPPING FOR regress_hallway_owner SERVER theirs OPTIONS (token 'abc');
SET hallway.allow_inline_secrets = off;
ALTER USER MAPPING FOR regress_hallway_owner SERVER theirs OPTIONS (SET token 'def');
ALTER USER MAPPING FOR regress_hallway_owner SERVER theirs OPTIONS (DROP token, ADD secret 'hubspot_prod');
SET ROLE regress_hallway_owner;
-- Which secret of the store a role uses is for a superuser to say.
ALTER USER MAPPING FOR regress_hallway_owner SERVER theirs OPTIONS (SET secret 'salesforce_admin');
SET hallway.allow_inline_secrets = on;
RESET ROLE;
RESET hallway.allow_inline_secrets;
ALTER USER MAPPING FOR regress_hallway_owner SERVER theirs OPTIONS (SET secret '');

-- Settings.
SET hallway.address = 'localhost:5000';
SET hallway.address = 'unix:relative';
\set VERBOSITY sqlstate
SET hallway.connect_timeout = 0;
\set VERBOSITY terse
SET hallway.no_such_setting = 1;
SELECT name, boot_val, unit, context FROM pg_settings
 WHERE name LIKE 'hallway.%' AND name <> 'hallway.address' ORDER BY name;

-- Not every server is one of ours.
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER other FOREIGN DATA WRAPPER other;
SELECT hallway.sidecar_version('other');
SELECT hallway.sidecar_version('no_such_server');

DROP SERVER theirs CASCADE;
DROP SERVER unknown CASCADE;
DROP SERVER other;
DROP FOREIGN DATA WRAPPER other;
DROP FOREIGN TABLE odd;
REVOKE ALL ON FOREIGN DATA WRAPPER hallway FROM regress_hallway_owner;
REVOKE ALL ON DATABASE regression FROM regress_hallway_owner;
DROP ROLE regress_hallway_owner;

-- How a table is cached.
CREATE FOREIGN TABLE odd (id int8 OPTIONS (key 'true')) SERVER syn;
\set VERBOSITY default
ALTER SERVER syn OPTIONS (ADD cache 'on');
ALTER FOREIGN TABLE odd OPTIONS (ADD max_age '5 parsecs');
ALTER FOREIGN TABLE odd OPTIONS (ADD max_age '-1s');
ALTER FOREIGN TABLE odd OPTIONS (ADD max_age 'soon');
ALTER FOREIGN TABLE odd OPTIONS (ADD refresh_every '3651d');
ALTER FOREIGN TABLE odd OPTIONS (ADD stale_while_error '1 hour');
ALTER FOREIGN TABLE odd OPTIONS (ADD update_reads 'maybe');
ALTER FOREIGN TABLE odd OPTIONS (ADD sync_as 'regress_nobody_at_all');
ALTER FOREIGN TABLE odd OPTIONS (ADD stale_while_eror '1h');
ALTER FOREIGN TABLE odd OPTIONS (ADD cache 'read_through', ADD max_age '1.5 min',
  ADD refresh_every '10min', ADD stale_while_error '1h', ADD update_reads 'live');
SELECT count(*) FROM odd;
ALTER FOREIGN TABLE odd OPTIONS (SET cache 'off', DROP max_age, DROP refresh_every,
  DROP stale_while_error, DROP update_reads);
SELECT count(*) FROM odd;
DROP FOREIGN TABLE odd;
\set VERBOSITY terse
SET hallway.max_age = '90s';
SHOW hallway.max_age;
-- 17 and later write the range with units.
SELECT code, replace(message, ' ms', '') AS message FROM failure($$SET hallway.max_age = '-5s'$$);
SET hallway.max_age = 'long';
RESET hallway.max_age;
SET hallway.read_from = 'disk';
SHOW hallway.read_from;

-- How a table is written.
CREATE FOREIGN TABLE odd (id int8 OPTIONS (key 'true'), email text, doubled int8 GENERATED ALWAYS AS (id * 2) STORED)
  SERVER syn OPTIONS (store 'options_odd');
\set VERBOSITY default
ALTER SERVER syn OPTIONS (ADD on_rollback 'undo');
ALTER FOREIGN TABLE odd OPTIONS (ADD on_rollback 'auto');
ALTER FOREIGN TABLE odd OPTIONS (ADD write_at 'later');
ALTER FOREIGN TABLE odd OPTIONS (ADD journal 'perhaps');
ALTER FOREIGN TABLE odd OPTIONS (ADD journal_values '');
ALTER FOREIGN TABLE odd OPTIONS (ADD batch_size '0');
ALTER FOREIGN TABLE odd OPTIONS (ADD batch_size '100001');
ALTER FOREIGN TABLE odd OPTIONS (ADD batch_size 'many');
ALTER FOREIGN TABLE odd OPTIONS (ADD upsert_key '');
ALTER FOREIGN TABLE odd OPTIONS (ADD upsert_key 'email,,id');
ALTER FOREIGN TABLE odd OPTIONS (ADD delete_sets 'archived');
ALTER FOREIGN TABLE odd OPTIONS (ADD delete_sets '=true');
ALTER FOREIGN TABLE odd OPTIONS (ADD delete_sets 'a,b=true');
-- whether the columns are there is known when it is written to
ALTER FOREIGN TABLE odd OPTIONS (ADD upsert_key 'mail');
INSERT INTO odd (email) VALUES ('a');
ALTER FOREIGN TABLE odd OPTIONS (SET upsert_key 'doubled');
INSERT INTO odd (email) VALUES ('a');
ALTER FOREIGN TABLE odd OPTIONS (DROP upsert_key, ADD delete_sets 'archived=true');
DELETE FROM odd;
ALTER FOREIGN TABLE odd OPTIONS (SET delete_sets 'id=none');
DELETE FROM odd;
-- what a policy needs
ALTER FOREIGN TABLE odd OPTIONS (DROP delete_sets, ADD write_at 'after_commit', ADD journal 'false');
INSERT INTO odd (email) VALUES ('a');
ALTER FOREIGN TABLE odd OPTIONS (SET journal 'true', ADD journal_values 'false');
INSERT INTO odd (email) VALUES ('a');
INSERT INTO odd (email) VALUES ('a') RETURNING email;
SET hallway.write_at = 'statement';
SET hallway.on_rollback = 'compensate';
UPDATE odd SET email = 'b';
ALTER FOREIGN TABLE odd OPTIONS (SET journal 'false');
INSERT INTO odd (email) VALUES ('a');
SET hallway.on_rollback = 'undo';
SET hallway.write_at = 'tomorrow';
\set VERBOSITY sqlstate
SET hallway.max_queued = '1kB';
\set VERBOSITY default
RESET hallway.write_at;
RESET hallway.on_rollback;
DROP FOREIGN TABLE odd;
\set VERBOSITY terse

-- Whose credential fills a replica is said by who may use it.
CREATE ROLE regress_hallway_syncer;
CREATE ROLE regress_hallway_lender;
CREATE FOREIGN TABLE lent (id int8 OPTIONS (key 'true')) SERVER syn;
ALTER FOREIGN TABLE lent OWNER TO regress_hallway_syncer;
SET ROLE regress_hallway_syncer;
ALTER FOREIGN TABLE lent OPTIONS (ADD sync_as 'regress_hallway_lender');
ALTER FOREIGN TABLE lent OPTIONS (ADD sync_as 'regress_hallway_syncer');
RESET ROLE;
DROP FOREIGN TABLE lent;
DROP ROLE regress_hallway_syncer, regress_hallway_lender;
