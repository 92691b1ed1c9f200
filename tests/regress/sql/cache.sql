-- Reading from cache tables. The sidecar of these servers keeps rows; to see
-- from where rows come, the tests change the copies.
\getenv cached_sidecar HALLWAY_CACHED_ADDRESS
CREATE SERVER kept FOREIGN DATA WRAPPER hallway
  OPTIONS (connector 'synthetic', address :'cached_sidecar', max_age '1h');
CREATE FOREIGN TABLE kept (
  id int8 OPTIONS (key 'true'),
  gone int4,
  n int4,
  word text COLLATE "C",
  twice int8 GENERATED ALWAYS AS (n * 2) STORED,
  at timestamptz
) SERVER kept OPTIONS (object 'sequence', rows '100');
ALTER FOREIGN TABLE kept DROP COLUMN gone;

-- What EXPLAIN says of the cache, without what differs from run to run.
CREATE FUNCTION cache_plan(query text, options text DEFAULT 'COSTS OFF') RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
  line text;
BEGIN
  FOR line IN SELECT plan(query, options) LOOP
    line := regexp_replace(line, 'age \d+ s', 'age N s');
    line := regexp_replace(line, '\d+ s old', 'N s old');
    line := regexp_replace(line, 'rows=(\d+)\.00', 'rows=\1', 'g');
    -- Nobody waits long for the cache.
    line := replace(line, '; still being kept', '; filled');
    RETURN NEXT regexp_replace(line, '\y(kept|single|parts1|parts2|many|shaky|unkept)_\d+', '\1_N', 'g');
  END LOOP;
END $$;
CREATE FUNCTION cache_run(query text) RETURNS SETOF text
LANGUAGE sql AS $$
  SELECT line FROM cache_plan(query, 'ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF') line
   WHERE line !~ '^ *(Heap Blocks|Index Searches|Planning|Storage)'
$$;
-- Runs a query, whose rows nobody promises to keep, until there are n regions.
CREATE FUNCTION filled(tab regclass, query text, condition text DEFAULT '%', n int DEFAULT 1) RETURNS bool
LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..1000 LOOP
    IF n <= (SELECT count(*) FROM hallway.cache_regions r JOIN hallway.cache_tables t ON t.id = r.cache_id
              WHERE t.relid = tab AND r.condition LIKE filled.condition) THEN
      RETURN true;
    END IF;
    PERFORM pg_sleep(0.02);
    IF i % 10 = 0 THEN
      EXECUTE query;
    END IF;
  END LOOP;
  RETURN false;
END $$;
-- Refreshes a table, however busy the machine is.
CREATE FUNCTION refreshed(tab regclass) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..100 LOOP
    BEGIN
      RETURN hallway.refresh(tab);
    EXCEPTION WHEN lock_not_available OR connection_failure THEN
      PERFORM pg_sleep(0.1);
    END;
  END LOOP;
  RETURN hallway.refresh(tab);
END $$;
-- Marks the copies of a table.
CREATE FUNCTION mark(tab regclass, mark text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  copy regclass;
BEGIN
  FOR copy IN SELECT cache_relid::regclass FROM hallway.cache_tables WHERE relid = tab LOOP
    EXECUTE format('UPDATE %s SET word = %L || id', copy, mark);
    EXECUTE format('ANALYZE %s', copy);
  END LOOP;
END $$;

CREATE FOREIGN TABLE warm (id int8 OPTIONS (key 'true')) SERVER kept OPTIONS (object 'sequence', rows '1');
SELECT refreshed('warm');

-- A miss fills, the next query hits.
SELECT cache_run('SELECT * FROM kept WHERE id <= 3');
SELECT filled('kept', 'SELECT * FROM kept WHERE id <= 3');
SELECT cache_run('SELECT * FROM kept WHERE id <= 3');
SELECT mark('kept', 'copy ');
SELECT id, word, n, twice = n * 2 AS computed FROM kept WHERE id <= 3 ORDER BY id;
-- A region holds more than was asked for, and other questions are answered by it.
SELECT cache_run('SELECT word FROM kept WHERE 3 >= id AND n > 550000');
SELECT word FROM kept WHERE id <= 3 AND n > 550000 ORDER BY id;
SELECT cache_plan('SELECT word FROM kept WHERE id <= 2');
SELECT cache_plan('SELECT count(*) FROM kept');
SELECT count(*) FROM kept;
SELECT filled('kept', 'SELECT * FROM kept', 'true');
SELECT mark('kept', 'all ');
SELECT cache_plan('SELECT word FROM kept WHERE id <= 2');
SELECT cache_plan('SELECT id FROM kept WHERE word = ''all 7'' AND twice > 0 AND n IS NOT NULL AND at IS NULL');
SELECT id FROM kept WHERE word = 'all 7' AND twice > 0 AND n IS NOT NULL AND at IS NOT NULL;
SELECT cache_plan('SELECT id, word FROM kept WHERE n > 1000 ORDER BY id DESC LIMIT 2');
SELECT id, word FROM kept WHERE n > 1000 ORDER BY id DESC LIMIT 2;
SELECT id, word FROM kept WHERE n > 1000 ORDER BY word COLLATE "C" OFFSET 1 LIMIT 2;
SELECT tableoid::regclass, kept.word, (kept).id, kept IS NULL AS is_null FROM kept WHERE id = 5;
SELECT id FROM kept WHERE kept::text LIKE '(42,%' AND id < 50;
-- What the API would have been asked comes first, so that no row that it would not
-- have given is in the way.
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SELECT cache_plan('SELECT id FROM kept WHERE id IN (1, 2, 3, 4, 6, 7) AND 10 / (id - 5) > -20');
SELECT count(*) FROM kept WHERE id IN (1, 2, 3, 4, 6, 7) AND 10 / (id - 5) > -20;
RESET enable_indexscan;
RESET enable_bitmapscan;
-- What may change from row to row is checked outside.
SELECT cache_plan('SELECT id FROM kept WHERE id < 3 AND random() < 2');
SELECT count(*) FROM kept WHERE id < 3 AND random() < 2 AND word LIKE 'all%';
SELECT id FROM kept WHERE id < 5 AND word = (SELECT 'all ' || 2);
SELECT id FROM kept k WHERE id < 5 AND EXISTS (SELECT FROM generate_series(3, 4) g WHERE g = k.id) ORDER BY 1;
SELECT depth, node, regexp_replace((properties - 'Hallway Cache Age' #- '{Hallway Cache Plan,Plan,Disabled}')::text, 'kept_\d', 'kept_N', 'g') AS properties FROM json_plan('SELECT id FROM kept WHERE id = 1');

-- Ages.
SET hallway.max_age = 0;
SELECT cache_plan('SELECT id FROM kept WHERE id = 1');
SELECT word LIKE 'all%' AS from_cache FROM kept WHERE id = 1;
SELECT cache_run('SELECT word FROM kept WHERE id = 2');
SELECT filled('kept', 'SELECT * FROM kept WHERE id = 1', '%=%1%');
RESET hallway.max_age;
SELECT refreshed('kept'), mark('kept', 'all ');
UPDATE hallway.cache_regions SET fetched_at = fetched_at - interval '30 min';
SELECT cache_plan('SELECT id FROM kept WHERE id = 90');
SET hallway.max_age = '10min';
SELECT cache_plan('SELECT id FROM kept WHERE id = 90');
SET hallway.read_from = 'cache';
SELECT word FROM kept WHERE id = 90;
RESET hallway.max_age;
UPDATE hallway.cache_regions SET fetched_at = fetched_at - interval '30 days';
SELECT count(*) FROM kept;
-- With it the API is not called, whatever is asked.
\set VERBOSITY default
CREATE FOREIGN TABLE unkept (id int8 OPTIONS (key 'true')) SERVER kept OPTIONS (object 'sequence', cache 'off');
CREATE FOREIGN TABLE new_kept (id int8 OPTIONS (key 'true')) SERVER kept OPTIONS (object 'sequence');
SELECT * FROM unkept LIMIT 1;
SELECT * FROM new_kept LIMIT 1;
SELECT * FROM kept WHERE id = 1 FOR UPDATE;
\set VERBOSITY terse
RESET hallway.read_from;
SELECT cache_plan('SELECT * FROM unkept');
SELECT cache_plan('SELECT * FROM kept WHERE id = 1 FOR SHARE');

-- Tended by hand.
SELECT refreshed('kept');
SELECT mark('kept', 'new ');
SELECT word FROM kept WHERE id = 90;
SELECT hallway.invalidate('kept');
SELECT cache_plan('SELECT * FROM kept');
SELECT refreshed('kept'), mark('kept', 'new ');
SELECT hallway.forget('kept', '90');
SELECT cache_plan('SELECT * FROM kept WHERE id = 90');
SELECT refreshed('kept'), mark('kept', 'new ');
SELECT hallway.forget('kept', NULL);
SELECT * FROM failure($$SELECT hallway.refresh('pg_class')$$);
SELECT * FROM failure($$SELECT hallway.refresh(1::oid)$$);
SELECT * FROM failure($$SELECT hallway.refresh('unkept')$$);
SELECT * FROM failure($$SELECT hallway.forget('kept', '1', '2')$$);
SELECT * FROM failure($$CALL hallway.wait_for_sync('kept')$$);
CALL hallway.wait_for_sync('kept', '-1s');
CALL hallway.wait_for_sync(NULL);
-- Not before the API's list must show what was written through another table.
CREATE FOREIGN TABLE written (id int8 OPTIONS (key 'true'), n int4) SERVER kept OPTIONS (store 'lagging', lag '400ms');
CREATE FOREIGN TABLE lagging (id int8 OPTIONS (key 'true'), n int4, word text) SERVER kept OPTIONS (store 'lagging', lag '400ms');
INSERT INTO written VALUES (1, 10), (2, 20);
SELECT refreshed('written');
UPDATE written SET n = n + 1 WHERE id = 1;
SELECT * FROM written ORDER BY id;
SELECT refreshed('lagging');
SELECT id, n FROM lagging ORDER BY id;
CREATE FOREIGN TABLE written_slowly (id int8 OPTIONS (key 'true'), n int4) SERVER kept OPTIONS (store 'slow', lag '1h');
CREATE FOREIGN TABLE slow (id int8 OPTIONS (key 'true'), n int4, word text) SERVER kept OPTIONS (store 'slow', lag '1h');
INSERT INTO written_slowly VALUES (1, 10), (2, 20);
SELECT code, message, regexp_replace(hint, '\d+', 'N') AS hint FROM failure($$SELECT hallway.refresh('slow')$$);
SELECT refreshed('written_slowly');
SELECT * FROM written_slowly ORDER BY id;

-- Kept plans, generic ones, and what makes them out of date.
PREPARE by_id (int8) AS SELECT word FROM kept WHERE id = $1;
EXECUTE by_id(1); EXECUTE by_id(2); EXECUTE by_id(3); EXECUTE by_id(4);
EXECUTE by_id(5); EXECUTE by_id(6); EXECUTE by_id(7); EXECUTE by_id(NULL);
SELECT mark('kept', 'newer ');
EXECUTE by_id(7);
SELECT cache_plan('EXECUTE by_id(7)');
CREATE FUNCTION words(int8) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  all_words text := '';
  w text;
BEGIN
  FOR i IN 1..$1 LOOP
    SELECT word INTO w FROM kept WHERE id = i;
    all_words := all_words || w || ' ';
    BEGIN
      PERFORM 1 / (count(*) - 3) FROM kept WHERE id <= i;
    EXCEPTION WHEN division_by_zero THEN
      all_words := all_words || '! ';
    END;
  END LOOP;
  RETURN all_words;
END $$;
SELECT words(5);

-- Joins: one inner executor, many lookups.
CREATE TABLE few AS SELECT g::int8 AS id, 'newer ' || g + 1 AS next FROM generate_series(10, 13) g;
ANALYZE few;
SELECT cache_plan('SELECT f.id, word FROM few f LEFT JOIN kept k ON k.id = f.id');
SELECT f.id, word FROM few f LEFT JOIN kept k ON k.id = f.id ORDER BY 1;
SELECT f.id, l.word FROM few f, LATERAL (SELECT word FROM kept k WHERE k.id = f.id AND k.n <> f.id OFFSET 0) l ORDER BY 1;
SELECT cache_run('SELECT f.id, l.word FROM few f, LATERAL (SELECT word FROM kept k WHERE k.id = f.id OFFSET 0) l');
SELECT a.id, b.id FROM kept a JOIN kept b ON b.id = a.id + 1 WHERE a.id < 4 ORDER BY 1;
SELECT cache_plan('SELECT f.id, l.id FROM few f, LATERAL (SELECT id FROM kept ORDER BY id LIMIT f.id - 9) l');
SELECT f.id, l.id FROM few f, LATERAL (SELECT id FROM kept ORDER BY id LIMIT f.id - 9) l;
-- Regions of a lookup's own: another one for each value.
CREATE FOREIGN TABLE single (id int8 OPTIONS (key 'true'), word text) SERVER kept OPTIONS (object 'sequence', rows '100');
SELECT f.id FROM few f, LATERAL (SELECT word FROM single s WHERE s.id = f.id OFFSET 0) l ORDER BY 1;
SELECT filled('single', 'SELECT f.id FROM few f, LATERAL (SELECT word FROM single s WHERE s.id = f.id OFFSET 0) l', n => 4);
SELECT mark('single', 'single ');
SELECT f.id, l.word FROM few f, LATERAL (SELECT word FROM single s WHERE s.id = f.id OFFSET 0) l ORDER BY 1;
SELECT cache_run('SELECT f.id, l.word FROM few f, LATERAL (SELECT word FROM single s WHERE s.id = f.id OFFSET 0) l');
-- How many rows are there depends on how fast the middle one's fill was.
SELECT line FROM cache_run('SELECT l.word FROM (VALUES (10), (20), (11)) f (id), LATERAL (SELECT word FROM single s WHERE s.id = f.id OFFSET 0) l') line
 WHERE line !~ 'Rows Removed';
SELECT cache_plan('SELECT l.word FROM few f, LATERAL (SELECT word FROM single s WHERE s.id = f.id OFFSET 0) l');
SELECT filled('single', 'SELECT word FROM single WHERE id = 20', '%20%');
SELECT cache_plan('SELECT word FROM single WHERE id = 20 AND word > (SELECT ''a'')');
-- A plan that is in use while hundreds of others take the place of all that are kept.
CREATE FUNCTION odd(int8) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN $1 % 2 = 1; END';
CREATE FUNCTION others() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..current_setting('regress.others')::int LOOP
    IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'other' || i) THEN
      EXECUTE format('PREPARE other%s AS SELECT count(*) FROM kept WHERE id > %s', i, i);
    END IF;
    EXECUTE format('EXECUTE other%s', i);
    EXECUTE format('EXECUTE other%s', i);
  END LOOP;
  RETURN 0;
END $$;
CREATE FOREIGN TABLE ranges (id int8 OPTIONS (key 'true')) SERVER kept OPTIONS (object 'sequence', rows '100');
CREATE FUNCTION odd_ones() RETURNS SETOF int8 LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT l.id + others() FROM few f, LATERAL (SELECT r.id FROM ranges r WHERE r.id >= f.id AND r.id < f.id + 3 AND odd(r.id) OFFSET 0) l;
END $$;
SET regress.others = 0;
SELECT array_agg(o) FROM odd_ones() o;
SELECT filled('ranges', 'SELECT odd_ones()', n => 4);
SELECT array_agg(o) FROM odd_ones() o;
SELECT array_agg(o) FROM odd_ones() o;
SET regress.others = 520;
SELECT array_agg(o) FROM odd_ones() o;
DO $$ BEGIN FOR i IN 1..520 LOOP EXECUTE 'DEALLOCATE other' || i; END LOOP; END $$;
-- Indexes of the copy count, and its statistics.
CREATE FOREIGN TABLE many (id int8 OPTIONS (key 'true'), word text, n int4) SERVER kept OPTIONS (object 'sequence', rows '5000');
SELECT refreshed('many');
SELECT mark('many', 'many ');
SELECT cache_plan('SELECT word FROM many WHERE id = 77');
-- Its rows are the API's, which have no system columns but one.
SELECT ctid, tableoid::regclass, word FROM many WHERE id = 77;
SELECT xmin FROM many WHERE id = 77;
SELECT cache_plan('SELECT f.id, m.word FROM few f JOIN many m ON m.id = f.id');
SELECT f.id, m.word FROM few f JOIN many m ON m.id = f.id ORDER BY 1;
SELECT cache_plan('SELECT f.id, m.word FROM few f JOIN many m ON m.n = f.id');
DO $$ BEGIN
  EXECUTE (SELECT format('CREATE INDEX ON %s (n)', cache_relid::regclass) FROM hallway.cache_tables WHERE relid = 'many'::regclass);
END $$;
SELECT cache_plan('SELECT f.id, m.word FROM few f JOIN many m ON m.n = f.id');
SELECT count(*) FROM few f JOIN many m ON m.n = f.id;
SELECT cache_run('SELECT word FROM many WHERE n = 5 AND id > 0');
SELECT (regexp_match(line, 'rows=(\d+)'))[1] FROM plan('SELECT * FROM many WHERE id <= 2500', 'COSTS') line LIMIT 1;
SELECT (regexp_match(line, 'width=(\d+)'))[1] FROM plan('SELECT word FROM many', 'COSTS') line LIMIT 1;

-- Cursors, and what is rolled back around them.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, word FROM kept WHERE id BETWEEN 20 AND 24 ORDER BY id;
FETCH 2 FROM c;
SAVEPOINT s;
FETCH 1 FROM c;
SELECT 1 / (count(*) - 100) FROM kept;
ROLLBACK TO s;
FETCH BACKWARD 1 FROM c;
FETCH 2 FROM c;
SAVEPOINT t;
DECLARE d CURSOR FOR SELECT id > 50 AS past FROM kept WHERE id > 50; -- in whatever order
FETCH 1 FROM d;
ROLLBACK TO t;
FETCH 1 FROM c;
COMMIT;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT id, word FROM kept WHERE id BETWEEN 30 AND 32 ORDER BY id;
FETCH 1 FROM h;
COMMIT;
FETCH ALL FROM h;
CLOSE h;
BEGIN;
DECLARE broken CURSOR WITH HOLD FOR SELECT id, 1 / (id - 32) FROM kept WHERE id BETWEEN 30 AND 33 ORDER BY id;
FETCH 1 FROM broken;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT word FROM kept WHERE id = 1;
SELECT cache_plan('SELECT * FROM kept WHERE id = 1');
COMMIT;
-- A row of a local table that was changed meanwhile is checked again.
BEGIN;
UPDATE few SET next = 'x' WHERE id = 10;
SELECT k.word FROM few f JOIN kept k ON k.id = f.id WHERE f.next = 'x' FOR UPDATE OF f;
COMMIT;

-- A plan may run as another role, whose credential, and so cache, is another.
CREATE ROLE regress_hallway_reader;
CREATE USER MAPPING FOR regress_hallway_reader SERVER kept OPTIONS (token 'other');
GRANT SELECT ON kept, unkept TO regress_hallway_reader;
SET ROLE regress_hallway_reader;
EXECUTE by_id(7);
RESET ROLE;
GRANT SELECT ON hallway.cache_tables, hallway.cache_regions TO regress_hallway_reader;
SET ROLE regress_hallway_reader;
SELECT filled('kept', 'SELECT word FROM kept WHERE id = 7', '%7%');
SELECT cache_plan('EXECUTE by_id(7)');
SELECT refreshed('kept');
SELECT hallway.refresh('new_kept');
SELECT hallway.forget('kept', '1');
SELECT hallway.resume();
SELECT hallway.relation_definition('kept', 0);
SELECT hallway.cache_attach('kept', 'kept'::regclass);
SELECT count(*) FROM hallway_cache.kept_1;
RESET ROLE;
SELECT count(*) AS accounts FROM hallway.cache_tables WHERE relid = 'kept'::regclass;
CREATE VIEW kept_view AS SELECT id, word FROM kept;
GRANT SELECT ON kept_view TO regress_hallway_reader;
SET ROLE regress_hallway_reader;
SELECT word FROM kept_view WHERE id = 8;
RESET ROLE;
SELECT length(hallway.relation_definition('kept', 'regress_hallway_reader'::regrole)) > 50 AS definition;
-- Earlier conditions come first: a function that tells what it is shown.
CREATE FUNCTION tell(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
  RAISE NOTICE 'told %', $1;
  RETURN true;
END $$;
CREATE VIEW guarded WITH (security_barrier) AS SELECT * FROM kept WHERE id IN (5, 6) AND n > 0;
SELECT cache_plan('SELECT id FROM guarded WHERE tell(word)');
SELECT id FROM guarded WHERE tell(word) ORDER BY id;
CREATE FUNCTION tell_stable(text) RETURNS bool LANGUAGE plpgsql STABLE COST 0.0001 AS $$
BEGIN
  RAISE NOTICE 'told %', $1;
  RETURN true;
END $$;
SELECT cache_plan('SELECT id FROM guarded WHERE tell_stable(word)');
SELECT id FROM guarded WHERE tell_stable(word) ORDER BY id;

-- Partitions, and scans that run side by side.
CREATE TABLE parts (id int8, word text) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE parts1 PARTITION OF parts FOR VALUES FROM (1) TO (1001) SERVER kept OPTIONS (object 'sequence', rows '20');
ALTER FOREIGN TABLE parts1 ALTER id OPTIONS (ADD key 'true');
CREATE FOREIGN TABLE parts2 PARTITION OF parts FOR VALUES FROM (1001) TO (2001) SERVER kept OPTIONS (object 'sequence', rows '0');
ALTER FOREIGN TABLE parts2 ALTER id OPTIONS (ADD key 'true');
SELECT count(*) FROM parts;
SELECT filled('parts1', 'SELECT FROM parts1'), filled('parts2', 'SELECT FROM parts2');
SELECT mark('parts1', 'part ');
SELECT cache_plan('SELECT * FROM parts');
SELECT min(word), max(word), count(*) FROM parts;
SELECT id, word FROM parts ORDER BY id LIMIT 2;
SELECT word FROM parts1 WHERE id = 3 UNION ALL SELECT word FROM single WHERE id = 10 UNION ALL SELECT word FROM kept WHERE id = 3 ORDER BY 1;

-- A table that changes has another copy; one that goes takes it along.
ALTER FOREIGN TABLE single ADD COLUMN at timestamptz;
SELECT cache_plan('SELECT * FROM single WHERE id = 10');
SELECT id, word LIKE 'single%' AS from_cache FROM single WHERE id = 10;
ALTER FOREIGN TABLE single OPTIONS (SET rows '5');
SELECT cache_plan('SELECT * FROM single WHERE id = 10');
ALTER FOREIGN TABLE single OPTIONS (SET rows '100');
BEGIN;
ALTER FOREIGN TABLE kept ADD COLUMN more text;
SELECT cache_plan('SELECT id, more FROM kept WHERE id = 1');
SELECT id, more FROM kept WHERE id = 1;
ROLLBACK;
SELECT cache_plan('SELECT id FROM kept WHERE id = 1');
BEGIN;
DROP FOREIGN TABLE many;
ROLLBACK;
SELECT cache_run('SELECT id FROM many WHERE id = 1');
BEGIN;
DECLARE c CURSOR FOR SELECT word FROM kept ORDER BY id;
FETCH 1 FROM c;
ALTER FOREIGN TABLE kept ADD COLUMN more text;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT word FROM kept ORDER BY id;
FETCH 1 FROM c;
ALTER SERVER kept OPTIONS (ADD cache_scope 'server');
FETCH 1 FROM c;
ROLLBACK;
SELECT cache_relid AS copy FROM hallway.cache_tables WHERE relid = 'single'::regclass \gset
DROP FOREIGN TABLE single;
SELECT count(*) FROM pg_class WHERE oid = :copy;

-- Old rows rather than none, if the table says so.
CREATE FOREIGN TABLE shaky (id int8 OPTIONS (key 'true'), word text) SERVER kept
  OPTIONS (object 'sequence', rows '5', error_at_page '1', error 'unavailable', stale_while_error '1h');
SELECT * FROM shaky;
DO $$ BEGIN
  WHILE NOT EXISTS (SELECT FROM hallway.cache_tables WHERE relid = 'shaky'::regclass) LOOP
    BEGIN
      PERFORM FROM shaky;
    EXCEPTION WHEN connection_failure THEN
      PERFORM pg_sleep(0.01);
    END;
  END LOOP;
END $$;
SELECT id AS cache_id, cache_relid::regclass AS copy FROM hallway.cache_tables WHERE relid = 'shaky'::regclass \gset
INSERT INTO :copy VALUES (1, 'old'), (2, 'older');
INSERT INTO hallway.cache_regions VALUES
  (:cache_id, hashtextextended('', 0), '', '{1,2}', now() - interval '30 min', 2, 100, 'true', now());
SELECT cache_plan('SELECT * FROM shaky');
ALTER FOREIGN TABLE shaky OPTIONS (ADD max_age '1min');
SELECT cache_plan('SELECT * FROM shaky');
SELECT word FROM shaky WHERE id = 2;
SELECT cache_run('SELECT word FROM shaky WHERE id = 2');
SET client_min_messages = error;
SELECT * FROM shaky ORDER BY id;
SELECT f.id, s.word FROM (VALUES (1), (2)) f (id), LATERAL (SELECT word FROM shaky s WHERE s.id = f.id OFFSET 0) s;
RESET client_min_messages;
UPDATE hallway.cache_regions SET fetched_at = fetched_at - interval '31 min' WHERE cache_id = :cache_id;
SELECT * FROM shaky;
ALTER FOREIGN TABLE shaky OPTIONS (SET stale_while_error '2h');
UPDATE hallway.cache_regions SET columns = '{1}' WHERE cache_id = :cache_id;
SELECT * FROM shaky;

DROP OWNED BY regress_hallway_reader;
DROP ROLE regress_hallway_reader;
DROP FUNCTION words(int8);
DROP SERVER kept CASCADE;
SELECT count(*) FROM pg_class WHERE relnamespace = 'hallway_cache'::regnamespace AND relkind = 'r';
