-- What EXPLAIN says, in each format.
EXPLAIN (COSTS OFF) SELECT id FROM people WHERE id > 3 AND md5(name) <> '' ORDER BY id;
EXPLAIN (COSTS OFF, VERBOSE) SELECT id FROM people WHERE id > 3 AND md5(name) <> '' ORDER BY id DESC NULLS LAST;
SELECT * FROM json_plan('SELECT id FROM people WHERE id > 3 AND age < 90 ORDER BY id LIMIT 2');
SELECT * FROM json_plan('SELECT id FROM people WHERE name ~ ''x''');

-- A condition that the API is sent, and PostgreSQL checks all the same.
CREATE FOREIGN TABLE unsure (id int8 OPTIONS (key 'true'), name text)
  SERVER syn OPTIONS (rows '50', page_rows '20', pushdown 'superset');
EXPLAIN (COSTS OFF) SELECT id FROM unsure WHERE id < 5;
EXPLAIN (COSTS OFF, VERBOSE) SELECT id FROM unsure WHERE id < 5;
SELECT run('SELECT id FROM unsure WHERE id < 5');
SELECT run('SELECT id FROM unsure');
DROP FOREIGN TABLE unsure;

-- ANALYZE counts; the keys of JSON are for programs.
CREATE FUNCTION analyzed(query text) RETURNS TABLE (key text, value text) LANGUAGE plpgsql AS $$
DECLARE
  answer json;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, SUMMARY OFF, FORMAT JSON) ' || query INTO answer;
  RETURN QUERY SELECT e.key, CASE WHEN e.key IN ('API Time', 'API Bytes') THEN 'varies' ELSE e.value END
    FROM json_each_text(answer->0->'Plan') e
   WHERE e.key ~ 'API|Hallway|Pushed|Rechecked|Rate Limit';
END $$;
SELECT * FROM analyzed('SELECT id FROM people WHERE age > 20');

-- Parameters: the request is shown when their values are known.
PREPARE by_age (int) AS SELECT id FROM people WHERE age = $1;
EXPLAIN (COSTS OFF) EXECUTE by_age(41);
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE by_age(41);
EXPLAIN (COSTS OFF) EXECUTE by_age(NULL);
RESET plan_cache_mode;
DEALLOCATE by_age;
SELECT plan('SELECT id FROM people WHERE age = (SELECT max(age) FROM local_people)');
SELECT plan('SELECT o.id FROM local_people o, LATERAL (SELECT id FROM people p WHERE p.name = o.name OFFSET 0) x', 'VERBOSE, COSTS OFF');

-- Writes.
EXPLAIN (COSTS OFF) INSERT INTO people (id, name) VALUES (100, 'x') RETURNING id, age;
EXPLAIN (COSTS OFF) UPDATE people SET name = 'x', age = age + 1 WHERE id = 1;
EXPLAIN (COSTS OFF) DELETE FROM people WHERE age = 41;
SELECT * FROM json_plan('DELETE FROM people WHERE id = 7 RETURNING name');

-- A quoted name and a value with quotes read as SQL.
CREATE FOREIGN TABLE quoted ("Id" int8 OPTIONS (key 'true', field 'id'), "a ""b""" text OPTIONS (field 'name'))
  SERVER syn OPTIONS (store 'people');
EXPLAIN (COSTS OFF) SELECT * FROM quoted WHERE "a ""b""" = 'it''s' ORDER BY "a ""b""", "Id";
DROP FOREIGN TABLE quoted;

-- Secrets never show.
CREATE USER MAPPING FOR CURRENT_USER SERVER syn OPTIONS (token 'do-not-show-me');
SELECT count(*) FROM plan('SELECT * FROM people', 'VERBOSE') line WHERE line ~ 'do-not-show-me';
DROP USER MAPPING FOR CURRENT_USER SERVER syn;
DROP FUNCTION analyzed;
