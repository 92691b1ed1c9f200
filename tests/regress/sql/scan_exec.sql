--
-- How foreign scans run: once, again, with other parameters, in cursors, in
-- functions, below other nodes. What goes to the API is tested elsewhere.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA scan_exec;
SET search_path = scan_exec;
CREATE SERVER scan_exec FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE USER MAPPING FOR PUBLIC SERVER scan_exec;
-- several pages and several batches
CREATE FOREIGN TABLE a (id bigint OPTIONS (key 'true'), name text, n int, x numeric)
  SERVER scan_exec OPTIONS (object 'sequence', rows '30000', page_rows '1000');
CREATE FOREIGN TABLE b (id bigint OPTIONS (key 'true'), name text)
  SERVER scan_exec OPTIONS (object 'sequence', rows '500', seed '7');
CREATE FOREIGN TABLE none (id bigint OPTIONS (key 'true'))
  SERVER scan_exec OPTIONS (object 'sequence', rows '0');
CREATE TABLE l AS SELECT i::bigint AS id, i % 10 AS k FROM generate_series(1, 100) i;
CREATE TABLE b_copy AS SELECT * FROM b;
ANALYZE l, b_copy;

-- columns: none, some, all, a whole row, system columns
SELECT count(*) FROM a;
SELECT sum(id), count(name) FROM a;
SELECT count(*), count(DISTINCT s) FROM (SELECT b AS s FROM b) x;
SELECT tableoid::regclass, id FROM b ORDER BY id LIMIT 1;
SELECT count(*) FROM none;
-- what a scan reads equals what it wrote into a table
SELECT count(*) FROM b FULL JOIN b_copy c ON b.id = c.id AND b.name = c.name
  WHERE b.id IS NULL OR c.id IS NULL;

-- a scan that is run again: same parameters, other ones, after its end, before it
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SET enable_memoize = off;
SELECT count(*), sum(b.id) FROM l JOIN b ON b.id = l.id;
SELECT count(*), sum(c.id) FROM (VALUES (1), (2), (3)) v(i) CROSS JOIN (SELECT id FROM b OFFSET 0) c;
SELECT i, s.* FROM (VALUES (10), (20), (20), (501)) v(i),
  LATERAL (SELECT max(id), count(*) FROM b WHERE id <= i) s ORDER BY i;
SELECT i, s.id FROM (VALUES (10), (20), (20)) v(i),
  LATERAL (SELECT id FROM b WHERE id >= i ORDER BY id LIMIT 2) s ORDER BY 1, 2;
SELECT id, (SELECT count(*) FROM b WHERE b.id < l.id AND b.id <> l.k) FROM l WHERE id % 33 = 1 ORDER BY id;
SELECT count(*) FROM l WHERE EXISTS (SELECT 1 FROM b WHERE b.id = l.id * 10);
SELECT count(*) FROM l WHERE id NOT IN (SELECT id FROM b WHERE id > 50);
SELECT count(*) FROM b x JOIN b y USING (id) JOIN b z USING (id) WHERE id <= 20;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
RESET enable_memoize;

-- CTEs, recursion, set operations, windows
WITH c AS MATERIALIZED (SELECT * FROM b) SELECT count(*) FROM c x JOIN c y USING (id);
WITH RECURSIVE r AS (
    SELECT id FROM b WHERE id = 1
    UNION ALL
    SELECT b.id FROM r JOIN b ON b.id = r.id * 2)
  SELECT count(*), max(id) FROM r;
SELECT count(*) FROM (SELECT id FROM b INTERSECT SELECT id FROM a WHERE id <= 40) x;
SELECT id, sum(id) OVER (ORDER BY id) FROM b WHERE id <= 3;

-- initplans and parameters of every kind
SELECT count(*) FROM b WHERE id <= (SELECT avg(id) FROM b);
PREPARE p (bigint) AS SELECT count(*) FROM b WHERE id < $1;
EXECUTE p (10);
EXECUTE p (20);
EXECUTE p (NULL);
EXECUTE p (10);
EXECUTE p (20);
EXECUTE p (30);
EXECUTE p (40);
EXECUTE p (50);
EXECUTE p (60);
EXECUTE p (70);
SET plan_cache_mode = force_generic_plan;
EXECUTE p (80);
EXECUTE p (NULL);
RESET plan_cache_mode;
SELECT count(*) FROM b WHERE now() > now() - interval '1 day' AND id < 5;

-- LIMIT and OFFSET: also NULL, zero, negative, at the bounds of bigint
SELECT count(*) FROM (SELECT id FROM a LIMIT 5) x;
SELECT count(*) FROM (SELECT id FROM a LIMIT 5 OFFSET 29998) x;
SELECT count(*) FROM (SELECT id FROM b LIMIT 0) x;
SELECT count(*) FROM (SELECT id FROM b LIMIT NULL OFFSET NULL) x;
SELECT count(*) FROM (SELECT id FROM b LIMIT 9223372036854775807 OFFSET 9223372036854775807) x;
SELECT id FROM b LIMIT 9223372036854775807 OFFSET 499;
SELECT id FROM b LIMIT -1;
SELECT id FROM b OFFSET -1;
PREPARE lim (bigint, bigint) AS SELECT count(*) FROM (SELECT id FROM b LIMIT $1 OFFSET $2) x;
EXECUTE lim (3, 0);
EXECUTE lim (NULL, 498);
EXECUTE lim (3, 499);
EXECUTE lim (0, 0);
EXECUTE lim (-3, 0);
SELECT count(*) FROM (SELECT id FROM b ORDER BY id / 100 FETCH FIRST 150 ROWS WITH TIES) x;

-- cursors: several at once, backwards, held, across savepoints
BEGIN;
DECLARE c1 CURSOR FOR SELECT id FROM a;
DECLARE c2 CURSOR FOR SELECT id FROM a;
FETCH 2 FROM c1;
FETCH 3 FROM c2;
MOVE 20000 IN c1;
FETCH 2 FROM c1;
FETCH 1 FROM c2;
MOVE ALL IN c1;
FETCH 1 FROM c1;
CLOSE c1;
FETCH 1 FROM c2;
DECLARE s SCROLL CURSOR FOR SELECT id FROM b;
FETCH 3 FROM s;
FETCH BACKWARD 2 FROM s;
FETCH LAST FROM s;
FETCH FIRST FROM s;
FETCH ABSOLUTE 100 FROM s;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM b;
FETCH 1 FROM h;
COMMIT;
FETCH 2 FROM h;
CLOSE h;

BEGIN;
DECLARE c CURSOR FOR SELECT id FROM a;
SAVEPOINT one;
FETCH 2 FROM c;
SAVEPOINT two;
DECLARE inner_one CURSOR FOR SELECT id FROM a;
FETCH 1 FROM inner_one;
SELECT 1 / 0;
ROLLBACK TO two;
FETCH 2 FROM c;
ROLLBACK TO one;
FETCH 2 FROM c;
COMMIT;
-- an abort with streams open, and the next statement
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM a;
FETCH 1 FROM c;
SELECT count(*), 1 / (count(*) - 30000) FROM a;
ROLLBACK;
SELECT count(*) FROM b;

-- PL/pgSQL: loops, EXIT out of them, handled errors within them
DO $$
DECLARE
    r record;
    n int := 0;
    handled int := 0;
BEGIN
    FOR r IN SELECT * FROM a LOOP
        n := n + 1;
        EXIT WHEN n = 12000;
    END LOOP;
    RAISE NOTICE 'left after %', n;
    FOR r IN SELECT id FROM b WHERE id <= 40 LOOP
        BEGIN
            PERFORM 1 / (b.id % r.id - 1) FROM b WHERE b.id > r.id LIMIT 3;
        EXCEPTION WHEN division_by_zero THEN
            handled := handled + 1;
        END;
    END LOOP;
    RAISE NOTICE 'handled %', handled;
END
$$;
CREATE FUNCTION of_b(bigint) RETURNS text LANGUAGE plpgsql STABLE AS
  $$ BEGIN RETURN (SELECT name FROM scan_exec.b WHERE id = $1); END $$;
SELECT count(DISTINCT of_b(id)), count(*) FROM l;

-- EvalPlanQual begins scans that it never runs; row locks are local
SELECT id FROM b WHERE id = 3 FOR UPDATE;
BEGIN;
SELECT l.id FROM l JOIN b USING (id) WHERE id = 3 FOR UPDATE;
SELECT b.id FROM b WHERE id = 4 FOR SHARE;
COMMIT;
SELECT l.id FROM l JOIN b USING (id) WHERE id = 3 FOR UPDATE OF l;

-- generated columns are PostgreSQL's to compute
CREATE FOREIGN TABLE g (id bigint OPTIONS (key 'true'), double bigint GENERATED ALWAYS AS (id * 2) STORED,
    label text GENERATED ALWAYS AS ('no. ' || id) STORED)
  SERVER scan_exec OPTIONS (object 'sequence', rows '4');
SELECT * FROM g;
SELECT double FROM g WHERE label > 'no. 2' ORDER BY double DESC;
SELECT count(*) FROM g WHERE double IS NULL;
SELECT g FROM g WHERE double = 4;

-- ANALYZE shows rows to everybody: only where all may see the same
ANALYZE b;
ALTER SERVER scan_exec OPTIONS (ADD cache_scope 'server');
ANALYZE b;
ANALYZE a;
SELECT relname, reltuples FROM pg_class WHERE relname IN ('a', 'b') AND relnamespace = 'scan_exec'::regnamespace ORDER BY 1;
SELECT attname, n_distinct FROM pg_stats WHERE schemaname = 'scan_exec' AND tablename = 'b' AND attname = 'id';
ALTER FOREIGN TABLE b OPTIONS (ADD cache_scope 'credential');
ANALYZE b;

SET client_min_messages = warning;
DROP SCHEMA scan_exec CASCADE;
DROP SERVER scan_exec CASCADE;
