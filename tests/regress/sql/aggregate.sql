-- Groups that the API makes in place of rows. Tables of one store: one makes
-- groups, at most five of one scan, the other none.
CREATE FOREIGN TABLE grouped (
  id       int8 OPTIONS (key 'true'),
  name     text COLLATE "C",
  email    text,
  status   text,
  age      int4,
  balance  numeric(12,2),
  active   bool,
  born     date,
  seen     timestamptz,
  older    int4 GENERATED ALWAYS AS (age + 1) STORED
) SERVER syn OPTIONS (store 'people', groups '5');

-- One is like the other: a line for each query whose answers differ.
CREATE FUNCTION same(query text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  here text;
  there text;
BEGIN
  EXECUTE format('SELECT string_agg(r::text, '' '' ORDER BY r::text) FROM (%s) r', replace(query, '{}', 'local_people')) INTO there;
  EXECUTE format('SELECT string_agg(r::text, '' '' ORDER BY r::text) FROM (%s) r', replace(query, '{}', 'grouped')) INTO here;
  RETURN CASE WHEN here IS DISTINCT FROM there THEN format('%s: %s instead of %s', query, here, there) ELSE coalesce(here, 'NULL') END;
END $$;
CREATE FUNCTION pushed(query text) RETURNS SETOF text
LANGUAGE sql AS $$
  SELECT trim(line) FROM plan(replace(query, '{}', 'grouped')) line WHERE line ~ 'Pushed Aggregate'
$$;

SELECT plan('SELECT count(*) FROM grouped');
SELECT plan('SELECT active, avg(age)::numeric(8,3), count(*) + 1 FROM grouped WHERE id < 7 GROUP BY active HAVING max(born) IS NOT NULL ORDER BY 1 LIMIT 2', 'COSTS OFF, VERBOSE');
SELECT run('SELECT count(*), sum(age) FROM grouped WHERE age > 30');

-- Types and values are PostgreSQL's.
SELECT count(*) AS n, count(age) AS ages, sum(age), avg(age), min(balance), max(seen) FROM grouped \gdesc
SELECT active, count(*), count(age), sum(age), avg(age), min(age), max(balance), min(born), max(seen) FROM grouped GROUP BY active ORDER BY active;
SELECT query, same(query), EXISTS (SELECT FROM pushed(query)) AS pushed FROM (VALUES
  ('SELECT count(*) FROM {}'),
  ('SELECT count(1), count(email) FROM {}'),
  ('SELECT count(*), sum(age), avg(age), min(age), max(seen) FROM {} WHERE id > 100'),
  ('SELECT active, count(*) FROM {} WHERE age > 100 GROUP BY active'),
  ('SELECT status, count(*), sum(id), avg(id) FROM {} GROUP BY status'),
  ('SELECT count(*) * 2, status || ''!'' FROM {} GROUP BY status'),
  ('SELECT active, status, count(*) FROM {} WHERE id < 5 GROUP BY active, status'),
  ('SELECT status FROM {} GROUP BY status HAVING count(*) > 1'),
  ('SELECT count(*) FROM {} HAVING count(*) > 100'),
  ('SELECT count(*) FROM {} GROUP BY status'),
  ('SELECT DISTINCT count(*) FROM {} GROUP BY status'),
  ('SELECT status, count(*), sum(count(*)) OVER () FROM {} GROUP BY status'),
  ('SELECT 1 WHERE (SELECT count(*) FROM {}) = 7'),
  ('SELECT x, (SELECT count(*) FROM {} WHERE status = x) FROM (VALUES (''lead''), (''customer''), (''x'')) v(x)'),
  ('SELECT x, n FROM (VALUES (''lead''), (''customer''), (''x'')) v(x) LEFT JOIN LATERAL (SELECT count(*) AS n FROM {} WHERE status = x) s ON true'),
  ('SELECT * FROM (SELECT status, count(*) AS n FROM {} GROUP BY status) s WHERE n > 1'),
  ('SELECT count(*) FROM {} UNION ALL SELECT count(age) FROM {}'),
  ('SELECT * FROM (SELECT active, count(*) FROM {} GROUP BY active) a JOIN (SELECT active, sum(age) FROM {} GROUP BY active) b USING (active)'),
  -- None of these can be left to the API.
  ('SELECT count(DISTINCT status) FROM {}'),
  ('SELECT count(*) FILTER (WHERE active) FROM {}'),
  ('SELECT string_agg(status, '','' ORDER BY id) FROM {}'),
  ('SELECT max(status) FROM {}'),
  ('SELECT sum(balance) FROM {}'),
  ('SELECT sum(age + 1) FROM {}'),
  ('SELECT age + 1, count(*) FROM {} GROUP BY age + 1'),
  ('SELECT count(*) FROM {} WHERE age % 2 = 1'),
  ('SELECT active, count(*) FROM {} GROUP BY ROLLUP (active)'),
  ('SELECT a.active, count(*) FROM {} a JOIN {} b USING (id) GROUP BY a.active')
) v(query);
SELECT pushed('SELECT older, count(*) FROM {} GROUP BY older');
SELECT pushed('SELECT status COLLATE "C", count(*) FROM {} GROUP BY status COLLATE "C"');
SELECT older, count(*) FROM grouped WHERE id < 3 GROUP BY older ORDER BY 1;

-- Too many groups: the rows are read, and the plan below makes the groups.
SELECT plan('SELECT age, count(*) FROM grouped GROUP BY age');
SELECT run('SELECT age, count(*) FROM grouped GROUP BY age');
SELECT same('SELECT age, count(*) FROM {} GROUP BY age');
SELECT same('SELECT x, (SELECT count(*) FROM (SELECT name FROM {} WHERE id <= x GROUP BY name HAVING count(*) > 0) s) FROM generate_series(3, 7) x');

-- Values that only the execution knows; a rescan asks anew, or replays.
PREPARE counted(text) AS SELECT count(*), min(age) FROM grouped WHERE status = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE counted('lead');
EXECUTE counted('gone');
EXECUTE counted(NULL);
EXPLAIN (COSTS OFF) EXECUTE counted('lead');
RESET plan_cache_mode;
DEALLOCATE counted;
SELECT run('SELECT x, (SELECT count(*) FROM grouped WHERE id <= x) FROM generate_series(1, 3) x');

-- A view that must not let functions see rows, and one of somebody else.
CREATE VIEW barred WITH (security_barrier) AS SELECT * FROM grouped WHERE active;
SELECT plan('SELECT count(*) FROM barred WHERE status = ''lead''');
SELECT count(*) FROM barred WHERE status = 'lead';
CREATE ROLE counter;
GRANT SELECT ON barred TO counter;
SET ROLE counter;
SELECT count(*) FROM barred;
SELECT failure('SELECT count(*) FROM grouped');
RESET ROLE;

-- In a cursor, under a LIMIT, in a statement that writes.
BEGIN;
DECLARE c CURSOR FOR SELECT status, count(*) FROM grouped GROUP BY status HAVING count(*) > 1 ORDER BY 1;
FETCH 1 FROM c;
FETCH ALL FROM c;
COMMIT;
CREATE TEMP TABLE counts AS SELECT active, count(*) FROM grouped GROUP BY active;
SELECT * FROM counts ORDER BY 1;

-- Where a cache has the rows they are grouped here; else the API is asked, and
-- nothing is kept.
\getenv cached_sidecar HALLWAY_CACHED_ADDRESS
CREATE SERVER kept_groups FOREIGN DATA WRAPPER hallway
  OPTIONS (connector 'synthetic', address :'cached_sidecar', max_age '1h');
CREATE FOREIGN TABLE kept_groups (id int8 OPTIONS (key 'true'), n int4 OPTIONS (distinct '3'))
  SERVER kept_groups OPTIONS (object 'sequence', rows '100', groups '10');
CREATE FUNCTION kept(query text) RETURNS SETOF text
LANGUAGE sql AS $$
  SELECT regexp_replace(line, 'age \d+ s', 'age N s') FROM run(query) line WHERE line ~ 'API|Hallway (Fallback|Request|Cache:)|loops' AND line !~ 'kept_groups_\d'
$$;
SELECT kept('SELECT count(*) FROM kept_groups');
SELECT kept('SELECT count(*) FROM kept_groups');
SET hallway.read_from = 'cache';
SELECT code, message FROM failure('SELECT count(*) FROM kept_groups');
RESET hallway.read_from;
PREPARE several(int8) AS SELECT count(*), min(n) FROM kept_groups WHERE id <= $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE several(50);
SELECT kept('EXECUTE several(50)');
SELECT filled('kept_groups', 'SELECT * FROM kept_groups WHERE id <= 50');
SELECT kept('EXECUTE several(50)');
SELECT kept('EXECUTE several(51)');
EXECUTE several(50);
EXECUTE several(51);
SELECT filled('kept_groups', 'SELECT * FROM kept_groups', '%', 2);
SELECT kept('EXECUTE several(51)');
RESET plan_cache_mode;
SELECT line FROM plan('SELECT count(*) FROM kept_groups') line WHERE line ~ 'Pushed';
SELECT count(*), sum(n) FROM kept_groups WHERE id > 50;


-- What the session wrote counts, although the API's lists do not show it yet.
CREATE FOREIGN TABLE written (id int8 OPTIONS (key 'true'), n int4)
  SERVER kept_groups OPTIONS (store 'groups.written', groups '10', lag '1h', estimated_rows '100000');
SET hallway.max_age = 0;
SELECT count(*) FROM written;
INSERT INTO written VALUES (1, 10), (2, 20);
SELECT count(*), sum(n) FROM written;
SELECT line FROM kept('SELECT count(*) FROM written') line WHERE line ~ 'Fallback|loops';
RESET hallway.max_age;
DELETE FROM written WHERE id = 1;
SELECT count(*), sum(n) FROM written;

DROP VIEW barred;
DROP ROLE counter;
DEALLOCATE several;
DROP FOREIGN TABLE grouped, kept_groups, written;
DROP SERVER kept_groups;
