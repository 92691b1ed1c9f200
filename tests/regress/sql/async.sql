--
-- Scans below one Append run at the same time, over one socket or several.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA async;
SET search_path = async;
CREATE SERVER async1 FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE SERVER async2 FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE USER MAPPING FOR PUBLIC SERVER async1;
CREATE USER MAPPING FOR PUBLIC SERVER async2;
-- pages come late, so that scans really wait
CREATE FOREIGN TABLE s1 (id bigint OPTIONS (key 'true'), name text)
  SERVER async1 OPTIONS (object 'sequence', rows '3000', latency '20ms', page_rows '500');
CREATE FOREIGN TABLE s2 (id bigint OPTIONS (key 'true'), name text)
  SERVER async1 OPTIONS (object 'sequence', rows '3000', latency '30ms', page_rows '500', seed '2');
CREATE FOREIGN TABLE s3 (id bigint OPTIONS (key 'true'), name text)
  SERVER async2 OPTIONS (object 'sequence', rows '3000', latency '5ms', page_rows '100', seed '3');
CREATE FOREIGN TABLE slow (id bigint OPTIONS (key 'true'), name text)
  SERVER async1 OPTIONS (object 'sequence', rows '50', latency '80ms', page_rows '10');
CREATE FOREIGN TABLE big (id bigint OPTIONS (key 'true'), name text)
  SERVER async1 OPTIONS (object 'sequence', rows '200000', page_rows '10000');
CREATE FOREIGN TABLE none (id bigint OPTIONS (key 'true'), name text)
  SERVER async1 OPTIONS (object 'sequence', rows '0', latency '10ms');
CREATE FOREIGN TABLE bad (id bigint OPTIONS (key 'true'), name text)
  SERVER async1 OPTIONS (object 'sequence', rows '3000', latency '5ms', page_rows '500', error_at_page '3');
CREATE TABLE loc AS SELECT i::bigint AS id, 'local'::text AS name FROM generate_series(1, 100) i;

CREATE FUNCTION plan_nodes(q text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || q LOOP
        IF line ~ 'Append|Scan' THEN
            RETURN NEXT line;
        END IF;
    END LOOP;
END $$;
SELECT plan_nodes('SELECT id FROM s1 UNION ALL SELECT id FROM s2 UNION ALL SELECT id FROM s3');

SELECT count(*), sum(id) FROM (
    SELECT id FROM s1 UNION ALL SELECT id FROM s2 UNION ALL SELECT id FROM s3) x;
-- together they take as long as one, if not each time on a machine that is busy
DO $$
DECLARE
    began timestamptz;
    alone interval;
    together interval;
BEGIN
    FOR try IN 1 .. 5 LOOP
        began := clock_timestamp();
        PERFORM count(*) FROM slow;
        alone := clock_timestamp() - began;
        began := clock_timestamp();
        PERFORM count(*) FROM (SELECT id FROM slow UNION ALL SELECT id FROM slow UNION ALL SELECT id FROM slow
            UNION ALL SELECT id FROM slow UNION ALL SELECT id FROM slow UNION ALL SELECT id FROM slow) x;
        together := clock_timestamp() - began;
        EXIT WHEN together <= 4 * alone;
    END LOOP;
    IF together > 4 * alone THEN
        RAISE WARNING 'six scans took % where one takes %', together, alone;
    END IF;
END $$;
-- with local tables, empty ones, filters that PostgreSQL checks
SELECT count(*), sum(id) FROM (
    SELECT id FROM s1 WHERE md5(name) > '8' OR id > 0
    UNION ALL SELECT id FROM s2 WHERE id % 7 = 0
    UNION ALL SELECT id FROM s3 WHERE id % 5000 = 4999
    UNION ALL SELECT id FROM none
    UNION ALL SELECT id FROM loc) x;
SELECT count(*), sum(id) FROM (SELECT id FROM none UNION ALL SELECT id FROM none) x;
-- more rows than the windows hold, beside a slow one
SELECT count(*), sum(id) FROM (
    SELECT id, name FROM big UNION ALL SELECT id, name FROM s1 UNION ALL SELECT id, name FROM big) x;
-- stopped early, in the middle, by an error
SELECT count(*) FROM (SELECT id FROM big UNION ALL SELECT id FROM s1 LIMIT 5) x;
SELECT count(*) FROM (SELECT id FROM s1 UNION ALL SELECT id FROM s2 LIMIT 4000) x;
SELECT count(*) FROM (SELECT id FROM s1 UNION ALL SELECT id FROM bad UNION ALL SELECT id FROM s3) x;
SELECT count(*) FROM (SELECT id FROM s1 UNION ALL SELECT id FROM s2) x;
-- several Appends at once on one socket
SELECT count(*) FROM (SELECT id FROM s1 UNION ALL SELECT id FROM s2) x
  JOIN (SELECT id FROM s2 UNION ALL SELECT id FROM s3) y USING (id);
SELECT count(*) FROM (SELECT id FROM s1 UNION ALL SELECT id FROM s2) x
  JOIN (SELECT id FROM s1 UNION ALL SELECT id FROM s2) y USING (id)
  WHERE x.id IN (SELECT id FROM s3 UNION ALL SELECT id FROM none);
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM big UNION ALL SELECT id FROM s2;
DECLARE b CURSOR FOR SELECT id FROM big UNION ALL SELECT id FROM s1;
MOVE 10 IN a;
MOVE 10 IN b;
MOVE 100000 IN b;
MOVE 100000 IN a;
MOVE ALL IN a;
MOVE ALL IN b;
COMMIT;
-- run again, with the same and with other parameters, when half read
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SET enable_memoize = off;
SELECT i, (SELECT count(*) FROM (SELECT id FROM s1 UNION ALL SELECT id FROM none UNION ALL SELECT id FROM loc) x
    WHERE x.id < i) FROM generate_series(1, 20, 7) i;
SELECT i, (SELECT count(*) FROM (SELECT id FROM s1 UNION ALL SELECT id FROM s3 LIMIT 10 * i) x)
  FROM generate_series(1, 3) i;
SELECT count(*) FROM (VALUES (1), (2)) v(i) CROSS JOIN (SELECT id FROM s1 UNION ALL SELECT id FROM s2) x;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
RESET enable_memoize;

-- partitions and inheritance
CREATE TABLE p (id bigint, name text) PARTITION BY LIST (name);
CREATE TABLE p_local PARTITION OF p FOR VALUES IN ('local');
CREATE FOREIGN TABLE p_one PARTITION OF p DEFAULT SERVER async1 OPTIONS (object 'sequence', rows '1000');
INSERT INTO p_local VALUES (1, 'local');
CREATE FOREIGN TABLE kid (extra int) INHERITS (loc) SERVER async2 OPTIONS (object 'sequence', rows '1000');
SELECT count(*) FROM p;
SELECT tableoid::regclass, count(*) FROM loc GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM p JOIN loc USING (id);

-- off: by server, by table
ALTER FOREIGN TABLE s1 OPTIONS (ADD async_capable 'false');
SELECT plan_nodes('SELECT id FROM s1 UNION ALL SELECT id FROM s2 UNION ALL SELECT id FROM s3');
ALTER SERVER async1 OPTIONS (ADD async_capable 'false');
ALTER FOREIGN TABLE s1 OPTIONS (SET async_capable 'true');
SELECT plan_nodes('SELECT id FROM s1 UNION ALL SELECT id FROM s2 UNION ALL SELECT id FROM s3');
SELECT count(*), sum(id) FROM (
    SELECT id FROM s1 UNION ALL SELECT id FROM s2 UNION ALL SELECT id FROM s3) x;

SET client_min_messages = warning;
DROP SCHEMA async CASCADE;
DROP SERVER async1 CASCADE;
DROP SERVER async2 CASCADE;
