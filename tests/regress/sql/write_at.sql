--
-- When the API is called, and what a ROLLBACK means: write_at, on_rollback, dry_run.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA write_at;
SET search_path = write_at;
CREATE SERVER write_at FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE USER MAPPING FOR PUBLIC SERVER write_at;
CREATE FOREIGN TABLE c (
    id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true', "check" 'email'), n int)
  SERVER write_at OPTIONS (store 'write_at_c', write_at 'commit', batch_size '3');
CREATE FOREIGN TABLE now (
    id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true', "check" 'email'), n int)
  SERVER write_at OPTIONS (store 'write_at_c');
CREATE TABLE local (v text);
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; rows bigint;
BEGIN
    EXECUTE statement;
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN rows || ' rows';
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ' ' || message || ' | ' || regexp_replace(detail, ' ?Request id: \S+', '');
END $$;
-- What EXPLAIN ANALYZE says of the write.
CREATE FUNCTION written(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || statement LOOP
        IF line ~ 'Hallway Write|API Writes' THEN
            RETURN NEXT regexp_replace(trim(line), ' calls=\d+', '');
        END IF;
    END LOOP;
END $$;

-- at the commit, in the order of the statements
BEGIN;
INSERT INTO c (email, n) SELECT i || '@x.org', i FROM generate_series(1, 7) i;
SELECT count(*) FROM c;
COMMIT;
SELECT email, n FROM c ORDER BY id;
INSERT INTO c (email) VALUES ('autocommit@x.org');
SELECT count(*) FROM c;
BEGIN;
UPDATE c SET n = n + 10 WHERE n < 4;
DELETE FROM c WHERE n > 4;
INSERT INTO local VALUES ('kept');
INSERT INTO c (email, n) VALUES ('8@x.org', 8);
SELECT count(*), sum(n) FROM c;
COMMIT;
SELECT email, n FROM c ORDER BY id;
DELETE FROM c;
-- COPY, and prepared statements, too
BEGIN;
COPY c (email, n) FROM STDIN;
1@x.org	1
2@x.org	2
\.
PREPARE ins (text, int) AS INSERT INTO c (email, n) VALUES ($1, $2);
EXECUTE ins ('3@x.org', 3);
EXECUTE ins ('4@x.org', 4);
SELECT * FROM written($$EXECUTE ins ('5@x.org', 5)$$);
SELECT count(*) FROM now;
COMMIT;
SELECT count(*), sum(n) FROM now;

-- what is rolled back was never there, and nobody is warned
BEGIN;
INSERT INTO c (email) VALUES ('gone@x.org');
ROLLBACK;
BEGIN;
INSERT INTO c (email) VALUES ('outer@x.org');
SAVEPOINT a;
INSERT INTO c (email) VALUES ('a@x.org');
SAVEPOINT b;
INSERT INTO c (email) VALUES ('b@x.org');
RELEASE b;
SAVEPOINT d;
INSERT INTO c (email) VALUES ('d@x.org');
ROLLBACK TO d;
ROLLBACK TO a;
INSERT INTO c (email) VALUES ('again@x.org');
SAVEPOINT e;
INSERT INTO c (email) VALUES ('e@x.org');
RELEASE e;
COMMIT;
DO $$
BEGIN
    FOR i IN 1 .. 3 LOOP
        BEGIN
            INSERT INTO write_at.c (email) VALUES ('loop' || i || '@x.org');
            IF i = 2 THEN
                RAISE EXCEPTION 'no';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT email FROM c WHERE email !~ '^\d' ORDER BY id;

-- a refusal is the commit's error, and the transaction does not commit
\set VERBOSITY sqlstate
SET client_min_messages = error;
BEGIN;
INSERT INTO local VALUES ('gone');
INSERT INTO c (email) VALUES ('good@x.org'), ('bad');
COMMIT;
RESET client_min_messages;
\set VERBOSITY terse
SELECT * FROM local;
SELECT count(*) FROM c WHERE email ~ 'good';
-- a deferred constraint comes before it
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO c (email) VALUES ('deferred@x.org');
INSERT INTO child VALUES (1);
COMMIT;
SELECT count(*) FROM c WHERE email ~ 'deferred';
-- and its trigger may write
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO write_at.c (email) VALUES ('late@x.org'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON local DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
INSERT INTO local VALUES ('with trigger');
SELECT count(*) FROM c WHERE email ~ 'late';
DROP TRIGGER late ON local;

-- rows that went meanwhile
BEGIN;
UPDATE c SET n = 0 WHERE email IN ('1@x.org', '2@x.org');
DELETE FROM now WHERE email = '1@x.org';
COMMIT;
-- duplicates are passed over then
INSERT INTO c (email) VALUES ('2@x.org'), ('new@x.org') ON CONFLICT DO NOTHING;
SELECT count(*) FROM c WHERE email IN ('2@x.org', 'new@x.org');
-- a table that went meanwhile
SET client_min_messages = error;
BEGIN;
CREATE FOREIGN TABLE going (id bigint OPTIONS (key 'true'), v text) SERVER write_at OPTIONS (store 'write_at_going', write_at 'commit');
INSERT INTO going VALUES (1, 'x');
DROP FOREIGN TABLE going;
COMMIT;
RESET client_min_messages;

-- what cannot be
INSERT INTO c (email) VALUES ('r@x.org') RETURNING id;
SET hallway.write_at = 'statement';
INSERT INTO c (email) VALUES ('r@x.org') RETURNING email;
SET hallway.write_at = 'commit';
UPDATE now SET n = 1 WHERE email = 'r@x.org' RETURNING email;
RESET hallway.write_at;
SET hallway.max_queued = '64kB';
SELECT attempt($$INSERT INTO c (email) SELECT repeat('x', 1000) || i || '@x.org' FROM generate_series(1, 100) i$$);
RESET hallway.max_queued;
BEGIN;
INSERT INTO c (email) VALUES ('prepared@x.org');
PREPARE TRANSACTION 'x';
-- the deadline is the commit's own; nobody knows what the API has done
CREATE FOREIGN TABLE slow (id bigint OPTIONS (key 'true', computed 'sequence'), v int)
  SERVER write_at OPTIONS (store 'write_at_slow', write_at 'commit', latency '20s');
SET hallway.max_wait = '1500ms';
\set VERBOSITY sqlstate
SET client_min_messages = error;
SET statement_timeout = '1h';
INSERT INTO slow (v) VALUES (1);
RESET statement_timeout;
RESET client_min_messages;
\set VERBOSITY terse
RESET hallway.max_wait;

-- triggers see the row as it was given
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE NOTICE '% %', TG_OP, NEW; RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON c FOR EACH ROW EXECUTE FUNCTION tell();
INSERT INTO c (email, n) VALUES ('t@x.org', 1);
DROP TRIGGER tell ON c;
SELECT id IS NOT NULL AS has_id FROM c WHERE email = 't@x.org';
DELETE FROM now;

-- after the commit, in the background, in the order of the statements
ALTER FOREIGN TABLE c OPTIONS (SET write_at 'after_commit');
CREATE PROCEDURE wait_for(rows bigint) LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    FOR i IN 1 .. 1200 LOOP
        SELECT count(*) INTO found FROM write_at.now;
        IF found = rows THEN
            RETURN;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
    RAISE 'there are % rows', found;
END $$;
BEGIN;
INSERT INTO c (email, n) SELECT i || '@x.org', i FROM generate_series(1, 4) i;
SAVEPOINT a;
INSERT INTO c (email, n) VALUES ('savepoint@x.org', 0);
ROLLBACK TO a;
INSERT INTO c (email, n) VALUES ('5@x.org', 5);
SELECT count(*) FROM now;
COMMIT;
CALL wait_for(5);
BEGIN;
INSERT INTO c (email, n) VALUES ('rolled back@x.org', 6);
ROLLBACK;
SELECT attempt($$INSERT INTO c (email, n) VALUES ('6@x.org', 6); SELECT 1 / 0$$);
INSERT INTO c (email, n) VALUES ('7@x.org', 7);
CALL wait_for(6);
SELECT email, n FROM now ORDER BY id;
INSERT INTO c (email) VALUES ('r@x.org') RETURNING id;
DELETE FROM c WHERE n > 3;
CALL wait_for(3);
DELETE FROM now;

-- compensate: they are being undone, and the WARNING says so
CREATE FOREIGN TABLE undone (id bigint OPTIONS (key 'true', computed 'sequence'), email text, n int)
  SERVER write_at OPTIONS (store 'write_at_undone', on_rollback 'compensate');
\set VERBOSITY default
BEGIN;
INSERT INTO undone (email) VALUES ('1@x.org'), ('2@x.org');
INSERT INTO now (email) VALUES ('1@x.org');
SAVEPOINT a;
INSERT INTO undone (email) VALUES ('3@x.org');
ROLLBACK TO a;
SET LOCAL hallway.on_rollback = 'keep';
INSERT INTO undone (email) VALUES ('4@x.org');
ROLLBACK;
\set VERBOSITY terse
DELETE FROM now;

-- dry run: what would be sent
SET hallway.dry_run = on;
INSERT INTO now (email, n) VALUES ('dry@x.org', 1) RETURNING *;
INSERT INTO now (email, n) SELECT 'dry' || i || '@x.org', i FROM generate_series(1, 3) i;
SELECT attempt($$INSERT INTO c (email, n) SELECT 'dry' || i || '@x.org', i FROM generate_series(1, 4) i$$);
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
RESET hallway.dry_run;
SELECT count(*) FROM now;
INSERT INTO now (email, n) SELECT i || '@x.org', i FROM generate_series(1, 3) i;
BEGIN;
SET LOCAL hallway.dry_run = on;
UPDATE now SET n = n + 1 WHERE n > 1 RETURNING email, n;
SELECT attempt('UPDATE c SET n = n + 1');
SELECT attempt('DELETE FROM c WHERE n > 1');
EXPLAIN (COSTS OFF) DELETE FROM now;
ROLLBACK;
SELECT email, n FROM now ORDER BY id;
DELETE FROM now;

SET client_min_messages = warning;
DROP SCHEMA write_at CASCADE;
DROP SERVER write_at CASCADE;
