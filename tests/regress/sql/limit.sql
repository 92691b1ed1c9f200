-- LIMIT and ORDER BY: sent only when the API's rows are the query's rows.
SELECT plan('SELECT id FROM people LIMIT 3');
SELECT plan('SELECT id FROM people ORDER BY id LIMIT 3 OFFSET 2');
SELECT plan('SELECT id FROM people WHERE age > 20 ORDER BY name DESC, id LIMIT 3');
SELECT plan('SELECT id FROM people ORDER BY age NULLS FIRST FETCH FIRST 2 ROWS ONLY');
SELECT id FROM people ORDER BY age NULLS FIRST, id FETCH FIRST 2 ROWS ONLY;
SELECT id FROM people ORDER BY name COLLATE "C" DESC NULLS LAST, id LIMIT 3;
-- Not with a condition that is checked here,
SELECT plan('SELECT id FROM people WHERE md5(name) <> '''' LIMIT 3');
SELECT plan('SELECT id FROM people WHERE random() >= 0 LIMIT 3');
-- an order that the API does not know, or that only begins so,
SELECT plan('SELECT id FROM people ORDER BY lower(name) LIMIT 3');
SELECT plan('SELECT id FROM people ORDER BY age, lower(name) LIMIT 3');
-- rows that are more, fewer or others than the API's,
SELECT plan('SELECT count(*) FROM people LIMIT 3');
SELECT plan('SELECT DISTINCT status FROM people LIMIT 3');
SELECT plan('SELECT status FROM people GROUP BY status LIMIT 3');
SELECT plan('SELECT id, row_number() OVER () FROM people LIMIT 3');
SELECT plan('SELECT id, generate_series(1, 2) FROM people LIMIT 3');
SELECT plan('SELECT id FROM people ORDER BY age FETCH FIRST 1 ROW WITH TIES');
SELECT plan('SELECT id FROM people LIMIT 3 FOR UPDATE');
SELECT plan('SELECT p.id FROM people p, people q LIMIT 3');
SELECT plan('SELECT id FROM people UNION ALL SELECT id FROM people LIMIT 3');
-- or a number that is another one each time.
SELECT plan('SELECT id FROM people LIMIT 1 + (random() * 0)::int');
-- Within a subquery, yes.
SELECT plan('SELECT count(*) FROM (SELECT id FROM people ORDER BY id LIMIT 3) s');
SELECT sum(id) FROM (SELECT id FROM people ORDER BY id LIMIT 3) s;
-- Numbers that are known late.
PREPARE page (int8, int8) AS SELECT id FROM people ORDER BY id LIMIT $1 OFFSET $2;
SET plan_cache_mode = force_generic_plan;
SELECT plan('EXECUTE page(2, 1)');
EXECUTE page(2, 1);
EXECUTE page(0, 1);
EXECUTE page(NULL, 5);
EXECUTE page(3, NULL);
EXECUTE page(-1, 0);
RESET plan_cache_mode;
DEALLOCATE page;
SELECT id FROM people ORDER BY id LIMIT (SELECT 2) OFFSET (SELECT 1);
SELECT id FROM people LIMIT 0;
-- Only so many rows come over: pages of 10.
CREATE FOREIGN TABLE many (id int8 OPTIONS (key 'true'), name text) SERVER syn
  OPTIONS (rows '100000', page_rows '10');
SELECT run('SELECT id FROM many LIMIT 25');
SELECT run('SELECT id FROM many ORDER BY id LIMIT 5 OFFSET 10');
-- Sorted input for what needs it.
SELECT plan('SELECT id, count(*) FROM many GROUP BY id ORDER BY id LIMIT 1');
SET enable_hashagg = off;
SELECT id, count(*) FROM many WHERE id < 100 GROUP BY id ORDER BY id LIMIT 1;
RESET enable_hashagg;
SELECT plan('SELECT DISTINCT ON (id) id, name FROM many ORDER BY id, name LIMIT 1');
-- The largest and the smallest are the first of an order.
SELECT plan('SELECT max(id) FROM many WHERE id < 500');
SELECT max(id), min(id) FROM many WHERE id < 500;
DROP FOREIGN TABLE many;
