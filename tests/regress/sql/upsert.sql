--
-- upsert_key: an INSERT that may find its row there. delete_sets: a DELETE that
-- deletes nothing. Rows that are as they should be are not written.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA upsert;
SET search_path = upsert;
CREATE SERVER upsert FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', batch_rows '5');
CREATE USER MAPPING FOR PUBLIC SERVER upsert;
-- an API that looks for the row itself, one that does not, and the same for INSERT
CREATE FOREIGN TABLE its (
    id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true', "check" 'email'),
    name text, stage text OPTIONS ("default" 'lead'), n int)
  SERVER upsert OPTIONS (store 'upsert_its', upsert 'true', upsert_key 'email');
CREATE FOREIGN TABLE ours (
    id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true', "check" 'email'),
    name text, stage text OPTIONS ("default" 'lead'), n int)
  SERVER upsert OPTIONS (store 'upsert_ours', upsert_key 'email', batch_size '4');
CREATE FOREIGN TABLE plain (
    id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true', "check" 'email'),
    name text, stage text OPTIONS ("default" 'lead'), n int)
  SERVER upsert OPTIONS (store 'upsert_ours');
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; col text; rows bigint;
BEGIN
    EXECUTE statement;
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN rows || ' rows';
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, col = COLUMN_NAME;
    RETURN SQLSTATE || ' ' || message || ' | ' || regexp_replace(detail, ' ?Request id: \S+', '') || ' | ' || col;
END $$;
CREATE FUNCTION written(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || statement LOOP
        IF line ~ 'Hallway Write|API Writes' THEN
            RETURN NEXT trim(line);
        END IF;
    END LOOP;
END $$;

SELECT hallway.was_created();
INSERT INTO its (email, name) VALUES ('a@x.org', 'A') RETURNING id, email, name, stage, hallway.was_created();
INSERT INTO its (email, name) VALUES ('a@x.org', 'A2') RETURNING id, email, name, stage, hallway.was_created();
INSERT INTO its (email, name) VALUES ('a@x.org', 'A2') RETURNING id, name, hallway.was_created();
INSERT INTO its (email, n) VALUES ('a@x.org', 1), ('b@x.org', 2), ('a@x.org', 3) RETURNING id, email, name, n, hallway.was_created();
INSERT INTO ours (email, name) VALUES ('a@x.org', 'A') RETURNING id, email, name, stage, hallway.was_created();
INSERT INTO ours (email, name) VALUES ('a@x.org', 'A2') RETURNING id, email, name, stage, hallway.was_created();
INSERT INTO ours (email, name) VALUES ('a@x.org', 'A2') RETURNING id, name, hallway.was_created();
INSERT INTO ours (email, n) VALUES ('a@x.org', 1), ('b@x.org', 2), ('a@x.org', 3) RETURNING id, email, name, n, hallway.was_created();
INSERT INTO plain (email, n) VALUES ('c@x.org', 1) RETURNING id, hallway.was_created();
SELECT attempt($$INSERT INTO plain (email) VALUES ('d@x.org'), ('a@x.org')$$);

-- in batches: what was new, what was changed, what was so already
SELECT * FROM written($$INSERT INTO ours (email, n) SELECT i || '@x.org', i FROM generate_series(1, 10) i$$);
SELECT * FROM written($$INSERT INTO ours (email, n) SELECT i || '@x.org', i FROM generate_series(1, 10) i$$);
SELECT * FROM written($$INSERT INTO ours (email, n) SELECT i || '@x.org', CASE i WHEN 7 THEN 70 ELSE i END FROM generate_series(1, 11) i$$);
SELECT * FROM written($$INSERT INTO its (email, n) SELECT i || '@x.org', i FROM generate_series(1, 10) i$$);
SELECT * FROM written($$INSERT INTO its (email, n) SELECT i || '@x.org', i FROM generate_series(1, 10) i$$);
SELECT email, n FROM ours ORDER BY id;
-- a key that comes again in the same batch: the later row wins
SELECT attempt($$INSERT INTO ours (email, n) VALUES ('twice@x.org', 1), ('once@x.org', 1), ('twice@x.org', 2)$$);
SELECT attempt($$INSERT INTO its (email, n) VALUES ('twice@x.org', 1), ('once@x.org', 1), ('twice@x.org', 2)$$);
SELECT email, n FROM ours WHERE email ~ 'once|twice' ORDER BY email;
SELECT email, n FROM its WHERE email ~ 'once|twice' ORDER BY email;
-- reverse ETL: a second run sends what has changed
CREATE TABLE warehouse AS SELECT 'w' || i || '@x.org' AS email, 'name ' || i AS name, i AS n FROM generate_series(1, 200) i;
ALTER FOREIGN TABLE ours OPTIONS (SET batch_size '100');
INSERT INTO ours (email, name, n) SELECT * FROM warehouse;
UPDATE warehouse SET n = -n WHERE n % 100 = 1;
SELECT * FROM written('INSERT INTO ours (email, name, n) SELECT * FROM warehouse');
SELECT count(*), sum(n) FROM ours WHERE email ~ '^w';
COPY ours (email, name) FROM STDIN;
w1@x.org	copied
w2@x.org	name 2
new@x.org	copied
\.
SELECT email, n FROM ours WHERE name = 'copied' ORDER BY email;
-- what is rolled back is told as what it was
\set VERBOSITY default
BEGIN;
INSERT INTO ours (email, n) VALUES ('w1@x.org', 1), ('w2@x.org', 2), ('w3@x.org', 33), ('newer@x.org', 4);
ROLLBACK;
\set VERBOSITY terse

-- what cannot be
SELECT attempt($$INSERT INTO ours (name) VALUES ('none')$$);
SELECT attempt($$INSERT INTO ours (email, name) SELECT CASE WHEN i <> 2 THEN i || '@x.org' END, 'none' FROM generate_series(1, 3) i$$);
SELECT attempt($$INSERT INTO ours (email) VALUES ('bad'), ('z@x.org')$$);
INSERT INTO ours (email) VALUES ('a@x.org') ON CONFLICT DO NOTHING;
INSERT INTO ours (email) VALUES ('a@x.org') ON CONFLICT (email) DO UPDATE SET n = 1;
-- several columns
CREATE FOREIGN TABLE several (
    id bigint OPTIONS (key 'true', computed 'sequence'), region text, code int, v text)
  SERVER upsert OPTIONS (store 'upsert_several', upsert_key 'region, code');
INSERT INTO several (region, code, v) SELECT r, c, r || c FROM unnest(ARRAY['eu', 'us']) r, generate_series(1, 3) c;
INSERT INTO several (region, code, v) VALUES ('eu', 2, 'changed'), ('us', 4, 'new') RETURNING region, code, hallway.was_created();
SELECT region, code, v FROM several ORDER BY region, code;
-- at the commit
BEGIN;
SET LOCAL hallway.write_at = 'commit';
INSERT INTO several (region, code, v) VALUES ('eu', 2, 'later');
INSERT INTO several (region, code, v) VALUES ('eu', 9, 'later');
SELECT count(*) FROM several WHERE v = 'later';
COMMIT;
SELECT count(*) FROM several WHERE v = 'later';
SET hallway.dry_run = on;
INSERT INTO several (region, code, v) VALUES ('eu', 2, 'dry'), ('us', 9, 'dry');
RESET hallway.dry_run;

-- delete_sets
CREATE FOREIGN TABLE soft (
    id bigint OPTIONS (key 'true', computed 'sequence'), name text, archived boolean OPTIONS ("default" 'false'), "By" text)
  SERVER upsert OPTIONS (store 'upsert_soft', delete_sets 'archived=true', batch_size '10');
INSERT INTO soft (name) SELECT 'n' || i FROM generate_series(1, 6) i;
DELETE FROM soft WHERE id = 1 RETURNING id, name, archived;
SELECT * FROM written('DELETE FROM soft WHERE id IN (2, 3)');
SELECT attempt('DELETE FROM soft WHERE id IN (3, 4)');
SELECT id, name, archived FROM soft ORDER BY id;
ALTER FOREIGN TABLE soft OPTIONS (SET delete_sets '"By"=somebody=else');
DELETE FROM soft WHERE id > 5;
SELECT id, "By" FROM soft WHERE "By" IS NOT NULL;
\set VERBOSITY default
BEGIN;
DELETE FROM soft WHERE id = 6;
DELETE FROM soft WHERE id = 5;
ROLLBACK;
\set VERBOSITY terse
ALTER FOREIGN TABLE soft OPTIONS (DROP delete_sets);
DELETE FROM soft WHERE id < 3;
SELECT count(*) FROM soft;

-- rows that a cache may have told: what the API has decides
CREATE FOREIGN TABLE told (id bigint OPTIONS (key 'true', computed 'sequence'), a int, b int)
  SERVER upsert OPTIONS (store 'upsert_told', update_reads 'cache', batch_size '10');
INSERT INTO told (a, b) SELECT i, i FROM generate_series(1, 4) i;
SELECT * FROM written('UPDATE told SET a = 3');
SELECT a, b FROM told ORDER BY id;
ALTER FOREIGN TABLE told OPTIONS (SET update_reads 'live');
SELECT * FROM written('UPDATE told SET a = CASE WHEN id = 1 THEN 5 ELSE 3 END');

SET client_min_messages = warning;
DROP SCHEMA upsert CASCADE;
DROP SERVER upsert CASCADE;
