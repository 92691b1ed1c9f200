--
-- Many rows in one write: which ones go together, which one is to blame, what is
-- counted, and who may look meanwhile.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA batch;
SET search_path = batch;
CREATE SERVER batch FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE SERVER batch_other FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic', batch_rows '2');
CREATE USER MAPPING FOR PUBLIC SERVER batch;
CREATE USER MAPPING FOR PUBLIC SERVER batch_other;
CREATE FOREIGN TABLE c (
    id bigint OPTIONS (key 'true', computed 'sequence'),
    email text OPTIONS ("unique" 'true', "check" 'email', required 'true'),
    name text,
    stage text OPTIONS ("default" 'lead'),
    n int)
  SERVER batch OPTIONS (store 'batch_c', batch_size '3');
-- the same rows, each by itself
CREATE FOREIGN TABLE one (
    id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true'), name text, n int)
  SERVER batch OPTIONS (store 'batch_c', batch_size '1');

-- What a statement fails with, and how many rows it affected if it does not.
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; col text; context text; rows bigint;
BEGIN
    BEGIN
        EXECUTE statement;
        GET DIAGNOSTICS rows = ROW_COUNT;
        RETURN rows || ' rows';
    EXCEPTION WHEN query_canceled THEN
        -- the sidecar knows the deadline, too, and may be first
        PERFORM pg_sleep(0.3 + CASE WHEN clock_timestamp() < statement_timestamp() +
          current_setting('statement_timeout')::interval THEN 60 ELSE 0 END);
        RETURN 'canceled';
    WHEN others THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, col = COLUMN_NAME,
          context = PG_EXCEPTION_CONTEXT;
        RETURN SQLSTATE || ' ' || message || ' | ' || regexp_replace(detail, ' ?Request id: \S+', '') ||
          ' | ' || col || ' | ' || coalesce(substring(context FROM 'COPY [^\n]*'), '');
    END;
EXCEPTION WHEN query_canceled THEN
    RETURN 'canceled';
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

-- how many requests
SELECT * FROM written($$INSERT INTO c (email, n) SELECT 'a' || i || '@x.org', i FROM generate_series(1, 10) i$$);
SELECT * FROM written($$INSERT INTO c (email, n) VALUES ('b1@x.org', 1), ('b2@x.org', 2), ('b3@x.org', 3), ('b4@x.org', 4)$$);
SELECT * FROM written($$INSERT INTO c (email, n) VALUES ('b5@x.org', 1)$$);
SELECT * FROM written($$INSERT INTO c (email, n) SELECT 'r' || i || '@x.org', i FROM generate_series(1, 4) i RETURNING id$$);
SELECT * FROM written($$INSERT INTO one (email, n) SELECT 'o' || i || '@x.org', i FROM generate_series(1, 3) i$$);
SELECT * FROM written($$UPDATE c SET n = n + 100 WHERE email LIKE 'a%'$$);
SELECT * FROM written($$UPDATE c SET n = n + 100 WHERE email LIKE 'b%' RETURNING id$$);
SELECT * FROM written($$DELETE FROM c WHERE email !~ '^a'$$);
SELECT * FROM written($$DELETE FROM c WHERE n < 0$$);
SELECT string_agg(email || ' ' || n, ', ' ORDER BY id) FROM c;
DELETE FROM c;

-- a row that is refused, at each place of batches of each size: it is named, and
-- what the others became
CREATE FUNCTION places(size int) RETURNS TABLE (place int, failure text, stand bigint, expected int)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER FOREIGN TABLE batch.c OPTIONS (SET batch_size %L)', size);
    FOR i IN 1 .. 8 LOOP
        place := i;
        failure := batch.attempt(format($q$INSERT INTO batch.c (email) SELECT CASE n WHEN %1$s THEN 'bad' || n ELSE n || '@x.org' END
          FROM generate_series(1, 8) n$q$, place));
        SELECT count(*) INTO stand FROM batch.c;
        expected := least(8, (place + size - 1) / size * size) - 1;
        DELETE FROM batch.c;
        RETURN NEXT;
    END LOOP;
END $$;
SET client_min_messages = error;
SELECT * FROM places(3);
SELECT size, bool_and(failure = format('23514 [Synthetic]: email: Must be a valid email address | Row %s of the statement has (email)=(bad%1$s). | email | ', place)
    OR size = 1 AND place = 1 AND failure ~ 'The row has') AS named, bool_and(stand = expected) AS counted
  FROM (VALUES (1), (2), (3), (7), (100)) s (size), LATERAL places(size) GROUP BY size ORDER BY size;
RESET client_min_messages;
ALTER FOREIGN TABLE c OPTIONS (SET batch_size '3');
-- the one whose row it is says nothing of others
SELECT attempt($$INSERT INTO c (email) VALUES ('bad')$$);
-- values that the statement did not give are not told
SELECT attempt($$INSERT INTO c (name) SELECT 'n' || i FROM generate_series(1, 2) i$$);
-- nor are any where they must not be kept
ALTER FOREIGN TABLE c OPTIONS (ADD journal_values 'false');
SELECT attempt($$INSERT INTO c (email) VALUES ('a@x.org'), ('bad')$$);
ALTER FOREIGN TABLE c OPTIONS (DROP journal_values);
SELECT attempt($$INSERT INTO c (email, name) VALUES ('long' || repeat('x', 300), 'x')$$);
DELETE FROM c;

-- ON CONFLICT DO NOTHING passes over duplicates, and counts what was inserted
INSERT INTO c (email) VALUES ('1@x.org'), ('4@x.org'), ('7@x.org');
SELECT attempt($$INSERT INTO c (email) SELECT i || '@x.org' FROM generate_series(1, 8) i ON CONFLICT DO NOTHING$$);
SELECT attempt($$INSERT INTO c (email) SELECT i || '@x.org' FROM generate_series(1, 8) i ON CONFLICT DO NOTHING$$);
SELECT attempt($$INSERT INTO c (email) SELECT CASE i WHEN 10 THEN 'bad' ELSE i || '@x.org' END FROM generate_series(8, 11) i ON CONFLICT DO NOTHING$$);
SELECT count(*), count(DISTINCT email) FROM c;
DELETE FROM c;

-- and so where a call of the API does all of its rows or none
CREATE FOREIGN TABLE whole (
    id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true', "check" 'email'), n int)
  SERVER batch OPTIONS (store 'batch_whole', batch_rows '4', atomic 'true', batch_size '8');
INSERT INTO whole (email) VALUES ('2@x.org'), ('3@x.org'), ('9@x.org');
SELECT attempt($$INSERT INTO whole (email) SELECT i || '@x.org' FROM generate_series(1, 20) i ON CONFLICT DO NOTHING$$);
SELECT count(*), count(DISTINCT email) FROM whole;
SELECT attempt($$INSERT INTO whole (email) SELECT CASE i WHEN 27 THEN 'bad' ELSE i || '@x.org' END FROM generate_series(21, 30) i$$);
SELECT attempt($$UPDATE whole SET email = CASE email WHEN '14@x.org' THEN '1@x.org' ELSE 'new' || email END WHERE email LIKE '1_@x.org'$$);
SELECT count(*) FILTER (WHERE email LIKE 'new%') AS updated, count(*) FROM whole;
DELETE FROM whole;

-- columns that not every row gives: NULL is one thing, DEFAULT and omitted another
INSERT INTO c (email, stage, n) SELECT i || '@x.org', CASE WHEN i % 2 = 0 THEN 'set' END, NULL FROM generate_series(1, 5) i;
INSERT INTO c (email) SELECT i || '@x.org' FROM generate_series(6, 9) i;
SELECT email, stage FROM c ORDER BY id;
DELETE FROM c;
CREATE FOREIGN TABLE generated (
    id bigint OPTIONS (key 'true', computed 'sequence'), n int, doubled int GENERATED ALWAYS AS (n * 2) STORED,
    label text DEFAULT 'label')
  SERVER batch OPTIONS (store 'batch_generated', batch_size '4');
INSERT INTO generated (n, label) VALUES (1, 'one'), (2, DEFAULT), (3, NULL), (4, 'four'), (5, DEFAULT);
UPDATE generated SET n = n + 10 WHERE n > 2;
SELECT * FROM generated ORDER BY id;

-- UPDATE: rows go together whose changed columns are the same
SELECT * FROM written($$UPDATE generated SET label = 'label', n = CASE WHEN id % 2 = 0 THEN n + 100 ELSE n END$$);
SELECT * FROM generated ORDER BY id;
-- each row once, whatever a join finds
SELECT attempt($$UPDATE generated g SET label = v.l FROM (VALUES (1, 'a'), (1, 'b'), (2, 'c'), (99, 'd')) v (i, l) WHERE g.id = v.i$$);
SELECT attempt($$DELETE FROM generated g USING (VALUES (1), (1), (2), (99)) v (i) WHERE g.id = v.i$$);
SELECT id, label FROM generated ORDER BY id;

-- a row that is gone when its turn comes is not counted
INSERT INTO c (email, n) SELECT i || '@x.org', i FROM generate_series(1, 7) i;
CREATE FUNCTION vanish(i int) RETURNS int VOLATILE LANGUAGE plpgsql AS
  $$ BEGIN DELETE FROM batch.one WHERE n = i; RETURN 0; END $$;
SELECT attempt($$UPDATE c SET n = c.n + CASE WHEN n IN (2, 5) THEN vanish(n) + 100 ELSE 100 END$$);
SELECT n FROM c ORDER BY id;
SELECT attempt($$DELETE FROM c WHERE n <> CASE n WHEN 103 THEN vanish(n) ELSE 0 END$$);
SELECT count(*) FROM c;
\set VERBOSITY default
INSERT INTO c (email, n) SELECT i || '@x.org', i FROM generate_series(1, 7) i;
UPDATE c SET n = n + CASE WHEN n IN (2, 5) THEN vanish(n) + 100 ELSE 100 END;
DELETE FROM c;
\set VERBOSITY terse
-- a refused UPDATE names its row, too
INSERT INTO c (email, n) SELECT i || '@x.org', i FROM generate_series(1, 7) i;
SELECT attempt($$UPDATE c SET email = CASE n WHEN 5 THEN 'bad' ELSE 'new' || email END$$);
SELECT string_agg(email, ' ' ORDER BY id) FROM c;
DELETE FROM c;

-- AFTER STATEMENT triggers, and WITH queries, see all that was written
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % %: % rows, sum %', TG_WHEN, TG_OP, TG_LEVEL,
      (SELECT count(*) FROM batch.one), (SELECT sum(n) FROM batch.one);
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER after_statement AFTER INSERT OR UPDATE OR DELETE ON c FOR EACH STATEMENT EXECUTE FUNCTION tell();
INSERT INTO c (email, n) SELECT i || '@x.org', i FROM generate_series(1, 4) i;
UPDATE c SET n = n * 10;
COPY c (email, n) FROM STDIN;
5@x.org	50
6@x.org	60
\.
DELETE FROM c WHERE n > 20;
DROP TRIGGER after_statement ON c;
-- row triggers see each row when it is written
CREATE TRIGGER before_row BEFORE UPDATE ON c FOR EACH ROW EXECUTE FUNCTION tell();
UPDATE c SET n = n + 1;
DROP TRIGGER before_row ON c;
CREATE TRIGGER after_row AFTER INSERT OR DELETE ON c FOR EACH ROW EXECUTE FUNCTION tell();
SELECT * FROM written($$INSERT INTO c (email, n) VALUES ('7@x.org', 7), ('8@x.org', 8)$$);
SELECT * FROM written($$DELETE FROM c WHERE n > 20$$);
COPY c (email, n) FROM STDIN;
9@x.org	9
\.
DROP TRIGGER after_row ON c;
DELETE FROM c;
WITH w AS (INSERT INTO c (email, n) SELECT i || '@x.org', i FROM generate_series(1, 5) i) SELECT 1 AS done;
WITH w AS (UPDATE c SET n = n + 1), d AS (DELETE FROM c WHERE n > 3) SELECT count(*) FROM c;
SELECT n FROM c ORDER BY id;
WITH w AS (SELECT 1) UPDATE c SET n = n + 1;
SELECT count(*) FROM c;

-- functions, loops, savepoints, cursors
CREATE FUNCTION bump() RETURNS bigint LANGUAGE sql AS
  $$ UPDATE batch.c SET n = n + 1; DELETE FROM batch.c WHERE n < 5; SELECT count(*) FROM batch.c $$;
SELECT bump();
DO $$
DECLARE
    r record; rows bigint;
BEGIN
    FOR r IN SELECT id, n FROM batch.c ORDER BY id LOOP
        UPDATE batch.c SET n = r.n * 2 WHERE id = r.id;
        GET DIAGNOSTICS rows = ROW_COUNT;
        RAISE NOTICE '% rows, found %', rows, FOUND;
        BEGIN
            INSERT INTO batch.c (email, n) SELECT CASE i WHEN 2 THEN 'bad' ELSE 'loop' || i || '@x.org' END, i FROM generate_series(1, 2) i;
        EXCEPTION WHEN check_violation THEN
            RAISE NOTICE '%', SQLERRM;
        END;
        EXIT;
    END LOOP;
    UPDATE batch.c SET n = 0 WHERE id < 0;
    RAISE NOTICE 'found %', FOUND;
END $$;
DELETE FROM c;
BEGIN;
INSERT INTO c (email, n) SELECT 's' || i || '@x.org', i FROM generate_series(1, 4) i;
SAVEPOINT a;
UPDATE c SET n = n + 1;
ROLLBACK TO a;
DECLARE cur CURSOR FOR SELECT n FROM c ORDER BY n;
FETCH 2 FROM cur;
DELETE FROM c WHERE n > 3;
FETCH ALL FROM cur;
SELECT count(*) FROM c;
COMMIT;
PREPARE up (int) AS UPDATE c SET n = n + $1;
EXECUTE up (10);
EXECUTE up (20);
SELECT n FROM c ORDER BY id;
DELETE FROM c;

-- a partitioned table with partitions of two servers, and a local one
CREATE TABLE parts (region text, email text, n int) PARTITION BY LIST (region);
CREATE FOREIGN TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu') SERVER batch OPTIONS (store 'batch_eu', batch_size '2');
CREATE FOREIGN TABLE parts_us PARTITION OF parts FOR VALUES IN ('us') SERVER batch_other OPTIONS (store 'batch_us', batch_size '3');
CREATE TABLE parts_local PARTITION OF parts DEFAULT;
ALTER FOREIGN TABLE parts_eu ALTER email OPTIONS (ADD key 'true', ADD "check" 'email');
ALTER FOREIGN TABLE parts_us ALTER email OPTIONS (ADD key 'true', ADD "check" 'email');
INSERT INTO parts SELECT (ARRAY['eu', 'us', 'x'])[i % 3 + 1], i || '@x.org', i FROM generate_series(1, 20) i;
SELECT tableoid::regclass, count(*), sum(n) FROM parts GROUP BY 1 ORDER BY 1;
UPDATE parts SET n = n + 1;
SELECT tableoid::regclass, count(*), sum(n) FROM parts GROUP BY 1 ORDER BY 1;
SET client_min_messages = error;
SELECT attempt($$INSERT INTO parts SELECT (ARRAY['eu', 'us'])[i % 2 + 1], CASE i WHEN 28 THEN 'bad' ELSE i || '@x.org' END, i FROM generate_series(21, 30) i$$);
RESET client_min_messages;
COPY parts FROM STDIN;
eu	101@x.org	1
us	102@x.org	2
x	103@x.org	3
eu	104@x.org	4
eu	105@x.org	5
us	106@x.org	6
\.
SELECT tableoid::regclass, email FROM parts WHERE email LIKE '10_@%' ORDER BY email;
CREATE FUNCTION copied(rows text, target text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN batch.attempt(format('COPY %s FROM PROGRAM %L', target, 'printf "' || rows || '"'));
END $$;
SET client_min_messages = error;
SELECT copied('eu\t201@x.org\t1\nus\tbad\t2\neu\t203@x.org\t3\nus\t204@x.org\t4\n', 'parts');
RESET client_min_messages;
DELETE FROM parts;
SELECT count(*) FROM parts;

-- COPY: the line is that of the row, whenever it was refused
SELECT copied('1@x.org\n2@x.org\n3@x.org\n4@x.org\n5@x.org\n6@x.org\n7@x.org\n', 'c (email)');
SET client_min_messages = error;
SELECT copied('11@x.org\nbad\n13@x.org\n14@x.org\n', 'c (email)');
SELECT copied('21@x.org\n22@x.org\n23@x.org\n24@x.org\nbad\n', 'c (email)');
SELECT copied('31@x.org\n32@x.org\n33@x.org\nbad\n35@x.org\n36@x.org\n37@x.org\n', 'c (email)');
SELECT copied('41@x.org,1\n42@x.org,two\n43@x.org,3\n', 'c (email, n)') ~ 'missing data' AS malformed;
RESET client_min_messages;
SELECT string_agg(email, ' ' ORDER BY id) FROM c;
DELETE FROM c;
-- rows that COPY has read only when it fails elsewhere were not written
SELECT copied('1@x.org\t1\n2@x.org\ttwo\n', 'c (email, n)');
SELECT count(*) FROM c;
SET client_min_messages = error;
SELECT copied('1@x.org\t1\n2@x.org\t2\n3@x.org\t3\n4@x.org\t4\n5@x.org\tfive\n', 'c (email, n)');
RESET client_min_messages;
SELECT count(*) FROM c;
DELETE FROM c;

-- the warning counts what stands: two batches of three, and the third's others
BEGIN;
INSERT INTO c (email) SELECT i || '@x.org' FROM generate_series(1, 6) i;
SAVEPOINT a;
SELECT attempt($$INSERT INTO c (email) SELECT CASE i WHEN 17 THEN 'bad' ELSE i || '@x.org' END FROM generate_series(11, 20) i$$);
UPDATE c SET n = 1 WHERE email < '15';
ROLLBACK;
SELECT count(*) FROM c;
DELETE FROM c;

-- a batch whose answer never came: nobody knows of any of its rows
CREATE FOREIGN TABLE lost (id bigint OPTIONS (key 'true', computed 'sequence'), email text)
  SERVER batch OPTIONS (store 'batch_lost', batch_size '3', write_error 'unknown_outcome');
SELECT attempt($$INSERT INTO lost (email) SELECT i || '@x.org' FROM generate_series(1, 5) i$$);

-- cancelled between batches and within one
CREATE FOREIGN TABLE slow (id bigint OPTIONS (key 'true', computed 'sequence'), v int)
  SERVER batch OPTIONS (store 'batch_slow', batch_rows '10', batch_size '10', latency '300ms');
INSERT INTO slow (v) SELECT generate_series(1, 20);
SET client_min_messages = error;
SET statement_timeout = '1500ms';
SELECT attempt('INSERT INTO slow (v) SELECT generate_series(1, 1000)');
SELECT attempt('UPDATE slow SET v = v + 1 WHERE pg_sleep(0.1) IS NOT NULL');
SELECT attempt($$COPY slow (v) FROM PROGRAM 'seq 1000'$$);
RESET statement_timeout;
RESET client_min_messages;
SELECT count(*) BETWEEN 30 AND 220 AS some FROM slow;

-- a big COPY does not grow
CREATE SEQUENCE calls;
CREATE TABLE used (bytes bigint);
CREATE FUNCTION watch() RETURNS int VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('batch.calls') % 10000 = 0 THEN
        INSERT INTO batch.used SELECT sum(total_bytes) FROM pg_backend_memory_contexts;
    END IF;
    RETURN 0;
END $$;
CREATE FOREIGN TABLE big (id bigint OPTIONS (key 'true', computed 'sequence'), v int, w int DEFAULT watch())
  SERVER batch OPTIONS (store 'batch_big', batch_size '1000', journal 'false');
COPY big (v) FROM PROGRAM 'seq 100000';
SELECT count(*), count(DISTINCT v), min(v), max(v) FROM big;
SELECT count(*) AS samples, max(bytes) - min(bytes) < 1000000 AS bounded FROM used;
TRUNCATE used;
INSERT INTO big (v) SELECT i FROM generate_series(1, 100000) i;
SELECT count(*) AS samples, max(bytes) - min(bytes) < 4000000 AS bounded FROM used;
SELECT * FROM written('DELETE FROM big');
SELECT count(*) FROM big;

SET client_min_messages = warning;
DROP SCHEMA batch CASCADE;
DROP SERVER batch CASCADE;
DROP SERVER batch_other CASCADE;
