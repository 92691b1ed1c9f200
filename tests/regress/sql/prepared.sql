-- Plans that are kept: by PREPARE, by functions, and by what they depend on.
CREATE FOREIGN TABLE numbers (id int8 OPTIONS (key 'true'), n int4 OPTIONS (field 'n'))
  SERVER syn OPTIONS (rows '1000');
-- Ten times, past the five after which a generic plan may be taken.
PREPARE some_ids (int8, int8) AS SELECT count(*), min(id), max(id) FROM numbers WHERE id BETWEEN $1 AND $2;
DO $$
DECLARE
  r record;
BEGIN
  FOR i IN 1..10 LOOP
    EXECUTE format('EXECUTE some_ids(%s, %s)', i, i * 10) INTO r;
    IF r IS DISTINCT FROM ROW((i * 9 + 1)::int8, i::int8, (i * 10)::int8) THEN
      RAISE WARNING '%: %', i, r;
    END IF;
  END LOOP;
END $$;
EXECUTE some_ids(NULL, 5);
DEALLOCATE some_ids;
-- In a function, with its variables, and one scan open within another.
CREATE FUNCTION walk(below int8) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
  a record;
  b record;
  total int8 := 0;
BEGIN
  FOR a IN SELECT id FROM numbers WHERE id < below ORDER BY id LOOP
    FOR b IN SELECT id FROM numbers WHERE id > a.id AND id < below ORDER BY id LOOP
      total := total + a.id * b.id;
      EXIT WHEN b.id > a.id + 3;
    END LOOP;
  END LOOP;
  RETURN total;
END $$;
SELECT walk(12);
SELECT walk(12), walk(5), walk(0);
-- A list as a parameter, empty and with NULL.
PREPARE in_list (int8[]) AS SELECT array_agg(id ORDER BY id) FROM numbers WHERE id = ANY ($1);
SET plan_cache_mode = force_generic_plan;
EXECUTE in_list('{3,1,2,NULL}');
EXECUTE in_list('{}');
EXECUTE in_list(NULL);
RESET plan_cache_mode;
DEALLOCATE in_list;
-- What a plan rests on may change.
PREPARE all_rows AS SELECT count(*) FROM numbers;
EXECUTE all_rows;
ALTER FOREIGN TABLE numbers OPTIONS (SET rows '77');
EXECUTE all_rows;
ALTER SERVER syn OPTIONS (ADD seed '5');
EXECUTE all_rows;
ALTER SERVER syn OPTIONS (DROP seed);
ALTER FOREIGN TABLE numbers RENAME COLUMN n TO m;
EXECUTE all_rows;
DEALLOCATE all_rows;
PREPARE low AS SELECT count(*) FROM numbers WHERE id <= 10;
EXECUTE low;
ALTER FOREIGN TABLE numbers OPTIONS (ADD pushdown 'none');
EXECUTE low;
SELECT plan('EXECUTE low');
ALTER FOREIGN TABLE numbers OPTIONS (SET pushdown 'exact');
EXECUTE low;
SELECT plan('EXECUTE low');
DEALLOCATE low;
-- A value for which the promise cannot be kept is checked here: answers of Plan
-- are shared by queries that differ in their constants.
SELECT id FROM people WHERE name LIKE 'A%' ORDER BY id;
SELECT id FROM people WHERE name LIKE '100\%%' ORDER BY id;
SELECT id FROM people WHERE name LIKE '%a' ORDER BY id;
SELECT id FROM people WHERE age IN (41) ORDER BY id;
SELECT id FROM people WHERE age IN (41, 85, 36) ORDER BY id;
SELECT id FROM people WHERE seen < '2024-01-02' ORDER BY id;
SELECT id FROM people WHERE seen < 'infinity' ORDER BY id;

DROP FUNCTION walk;
DROP FOREIGN TABLE numbers;
