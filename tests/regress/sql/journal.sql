--
-- The journal: what is written of each row, who may see it, and what people do.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA journal;
SET search_path = journal;
DELETE FROM hallway.write_log;
ALTER TABLE hallway.write_log ALTER id RESTART;
CREATE SERVER journal FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE USER MAPPING FOR PUBLIC SERVER journal;
CREATE FOREIGN TABLE contacts (
    id bigint OPTIONS (key 'true', computed 'sequence'),
    email text OPTIONS ("unique" 'true'),
    n int)
  SERVER journal OPTIONS (store 'journal_contacts');

-- Outcomes are written in the background.
CREATE FUNCTION settled() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..1000 LOOP
    EXIT WHEN NOT EXISTS (SELECT FROM hallway.write_log WHERE settled_at IS NULL AND state <> 'needs_attention');
    PERFORM pg_sleep(0.02);
  END LOOP;
END $$;
CREATE VIEW entries AS
  SELECT operation, key, columns, row_number, on_rollback, outbox, state, sqlstate, message, settled_at IS NOT NULL AS settled
  FROM hallway.write_log ORDER BY id;

INSERT INTO contacts (email, n) VALUES ('a@x.org', 1), ('b@x.org', 2);
UPDATE contacts SET n = 10 WHERE email = 'a@x.org';
DELETE FROM contacts WHERE email = 'b@x.org';
INSERT INTO contacts (email) VALUES ('a@x.org');
SELECT settled();
SELECT * FROM entries;
SELECT "table", operation, state, key FROM hallway.my_writes();
SELECT role = current_user AS role, application, backend_pid = pg_backend_pid() AS pid, relid = 'contacts'::regclass AS relid,
  table_name, server, object, request_id <> '' AS request, idempotency_key <> '' AS idempotency,
  row_values IS NULL AND before IS NULL AND after IS NULL AS no_values
FROM hallway.write_log ORDER BY id LIMIT 1;

-- what a rollback leaves
BEGIN;
INSERT INTO contacts (email) VALUES ('c@x.org');
SAVEPOINT s;
INSERT INTO contacts (email) VALUES ('d@x.org');
ROLLBACK TO s;
COMMIT;
SELECT settled();
SELECT operation, key, state, todo FROM hallway.failures;

-- and what is taken back
ALTER FOREIGN TABLE contacts OPTIONS (on_rollback 'compensate');
BEGIN;
INSERT INTO contacts (email) VALUES ('e@x.org');
UPDATE contacts SET n = n + 1;
DELETE FROM contacts WHERE email = 'c@x.org';
SET client_min_messages = error;
ROLLBACK;
RESET client_min_messages;
SELECT settled();
SELECT operation, key, on_rollback, state FROM entries WHERE on_rollback = 'compensate' ORDER BY operation, key;
SELECT email, n FROM contacts ORDER BY email;
ALTER FOREIGN TABLE contacts OPTIONS (DROP on_rollback);

-- sent after the commit; refused there, and sent again
SET hallway.write_at = 'after_commit';
BEGIN;
INSERT INTO contacts (email) VALUES ('f@x.org'), ('a@x.org');
SELECT operation, key, state, outbox FROM entries WHERE outbox;
COMMIT;
RESET hallway.write_at;
SELECT settled();
SELECT operation, key, state, outbox, message FROM entries WHERE outbox;
SELECT operation, state, message, regexp_replace(todo, '\d+', 'N') AS todo, own FROM hallway.failures WHERE state = 'refused';
DELETE FROM contacts WHERE email = 'a@x.org';
SELECT hallway.retry(id) FROM hallway.failures WHERE state = 'refused';
SELECT settled();
SELECT operation, key, state, outbox FROM entries WHERE outbox;
SELECT hallway.retry(0);
SELECT count(*) FROM (SELECT hallway.retry(id) FROM hallway.failures LIMIT 1) r;

-- others
CREATE ROLE regress_journal;
SET ROLE regress_journal;
SELECT count(*) FROM hallway.failures;
SELECT count(*) > 0 AS own_session FROM hallway.my_writes();
SELECT count(*) FROM hallway.write_log;
SELECT hallway.retry((SELECT min(id) FROM hallway.failures));
UPDATE hallway.failures SET state = 'queued';
DELETE FROM hallway.failures;
RESET ROLE;
GRANT pg_monitor TO regress_journal;
SET ROLE regress_journal;
SELECT count(*) > 0 AS all_of_them, bool_or(own) AS own FROM hallway.failures;
SELECT count(*) > 0 AS log FROM hallway.write_log;
UPDATE hallway.failures SET state = 'queued';
DELETE FROM hallway.failures;
RESET ROLE;
DROP ROLE regress_journal;

-- seen to
SELECT count(*) > 0 AS failures FROM hallway.failures;
SELECT count(hallway.dismiss(id)) = count(*) AS dismissed FROM hallway.failures;
SELECT count(*) FROM hallway.failures;
SELECT state, dismissed_by = current_user AS by_me, settled_at IS NOT NULL AS settled FROM hallway.write_log WHERE dismissed_at IS NOT NULL ORDER BY id;
SELECT hallway.dismiss((SELECT min(id) FROM hallway.write_log));
SELECT hallway.retry((SELECT min(id) FROM hallway.write_log WHERE dismissed_at IS NOT NULL));

-- without a journal
DELETE FROM hallway.write_log;
ALTER FOREIGN TABLE contacts OPTIONS (journal 'false');
INSERT INTO contacts (email) VALUES ('g@x.org');
ALTER FOREIGN TABLE contacts OPTIONS (SET journal 'true');
SET hallway.dry_run = on;
SET client_min_messages = warning;
INSERT INTO contacts (email) VALUES ('h@x.org');
RESET client_min_messages;
RESET hallway.dry_run;
SELECT * FROM entries;

-- what cannot be journaled is not sent
REVOKE INSERT ON hallway.write_log FROM hallway;
INSERT INTO contacts (email) VALUES ('i@x.org');
GRANT INSERT ON hallway.write_log TO hallway;
SELECT count(*) FROM contacts WHERE email = 'i@x.org';

DELETE FROM contacts;
SELECT settled();
SET client_min_messages = warning;
DROP SCHEMA journal CASCADE;
DROP SERVER journal CASCADE;
