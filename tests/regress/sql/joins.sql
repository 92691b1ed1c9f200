-- Joins, LATERAL, subqueries: keys that other tables provide are looked up.
CREATE TABLE orders (id int PRIMARY KEY, person int8, total numeric);
INSERT INTO orders SELECT g, g % 9, g * 10 FROM generate_series(1, 20) g;
ANALYZE orders;
CREATE FOREIGN TABLE accounts (
  id int8 OPTIONS (key 'true'), name text, region int4 OPTIONS (distinct '5')
) SERVER syn OPTIONS (rows '100000', page_rows '100');

-- One lookup for each distinct key.
-- (Which side of an equality stands left differs between versions.)
SELECT replace(line, '(o.person = a.id)', '(a.id = o.person)') AS plan
  FROM plan('SELECT o.id, a.id FROM orders o JOIN accounts a ON a.id = o.person WHERE o.id < 5') line;
SELECT o.id, a.id FROM orders o JOIN accounts a ON a.id = o.person WHERE o.id < 5 ORDER BY 1;
SELECT replace(line, '(o.person = a.id)', '(a.id = o.person)') AS run
  FROM run('SELECT o.id, a.id FROM orders o JOIN accounts a ON a.id = o.person WHERE o.id < 5') line;
-- Outer joins.
SELECT o.id, p.name FROM orders o LEFT JOIN people p ON p.id = o.person AND p.age > 20 WHERE o.id < 10 ORDER BY 1;
SELECT p.id, count(o.id) FROM people p LEFT JOIN orders o ON o.person = p.id GROUP BY p.id ORDER BY 1;
SELECT p.id, o.id FROM people p FULL JOIN orders o ON o.person = p.id WHERE o.id > 15 OR o.id IS NULL ORDER BY 1, 2;
-- LATERAL.
SELECT o.id, x.id, x.name FROM orders o, LATERAL (SELECT id, name FROM people p WHERE p.id >= o.person ORDER BY p.id LIMIT 1) x
 WHERE o.id < 6 ORDER BY 1;
SELECT plan('SELECT o.id, x.id FROM orders o, LATERAL (SELECT id FROM people p WHERE p.id >= o.person ORDER BY p.id LIMIT 1) x');
SELECT o.id, x.s FROM orders o, LATERAL (SELECT p.name || o.id AS s FROM people p WHERE p.id = o.person OFFSET 0) x
 WHERE o.id < 4 ORDER BY 1;
-- A value of the other table in a list, and in an expression.
SELECT o.id, p.id FROM orders o JOIN people p ON p.id = ANY (ARRAY[o.person, o.person + 1]) WHERE o.id < 3 ORDER BY 1, 2;
SELECT plan('SELECT o.id, a.id FROM orders o JOIN accounts a ON a.id = ANY (ARRAY[o.person, o.person + 1])');
SELECT o.id, a.id FROM orders o JOIN accounts a ON a.id = o.person + 1 WHERE o.id < 3 ORDER BY 1;
-- Semi- and anti-joins, subqueries.
SELECT id FROM people WHERE id IN (SELECT person FROM orders WHERE total > 150) ORDER BY id;
SELECT id FROM people p WHERE NOT EXISTS (SELECT FROM orders o WHERE o.person = p.id AND total < 80) ORDER BY id;
SELECT id, (SELECT max(total) FROM orders o WHERE o.person = p.id) FROM people p ORDER BY id;
SELECT o.id, (SELECT name FROM people p WHERE p.id = o.person) FROM orders o WHERE o.id < 4 ORDER BY 1;
SELECT count(*) FROM orders o WHERE (SELECT age FROM people p WHERE p.id = o.person) > 40;
-- With itself.
SELECT p.id, q.id FROM people p JOIN people q ON q.age = p.age AND q.id > p.id ORDER BY 1;
SELECT p.id FROM people p JOIN people q USING (id) JOIN people r USING (id) WHERE r.age = 41 ORDER BY 1;
-- Merge and hash joins read it whole, and rescans read it again.
SET enable_nestloop = off;
SELECT count(*) FROM orders o JOIN people p ON p.id = o.person;
SET enable_hashjoin = off;
SELECT count(*) FROM orders o JOIN people p ON p.id = o.person;
RESET enable_nestloop;
SET enable_mergejoin = off;
SET enable_material = off;
SET enable_memoize = off;
SELECT count(*) FROM orders o JOIN people p ON p.age > o.total;
SELECT count(*) FROM orders o JOIN people p ON p.id = o.person;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
RESET enable_memoize;
-- CTEs, set operations, recursion.
WITH p AS MATERIALIZED (SELECT * FROM people) SELECT count(*) FROM p a JOIN p b USING (id);
SELECT id FROM people WHERE age > 40 UNION SELECT id FROM people WHERE active EXCEPT SELECT 1 ORDER BY id;
WITH RECURSIVE r(id) AS (
  SELECT 1::int8 UNION ALL SELECT p.id + 1 FROM r JOIN people p ON p.id = r.id
) SELECT max(id) FROM r;
-- Aggregates over everything, and over nothing.
SELECT count(*), count(name), sum(age), max(balance), min(seen) FROM people;
SELECT status, count(*) FROM people GROUP BY status HAVING count(*) > 1 ORDER BY status;
SELECT count(*) FROM people WHERE false;
-- Whole rows, system columns.
SELECT p FROM people p WHERE id = 1;
SELECT tableoid::regclass, id FROM people WHERE id = 1;

DROP FOREIGN TABLE accounts;
DROP TABLE orders;

-- Rows that the statement itself writes are not found by it: no lookups then, for
-- they would come after the first writes.
CREATE FOREIGN TABLE copied (id int8 OPTIONS (key 'true', computed 'sequence'), n int4, note text)
  SERVER syn OPTIONS (store 'copied');
INSERT INTO copied (n, note) VALUES (1, 'a'), (2, 'b');
CREATE TABLE ids AS SELECT g AS id FROM (VALUES (1::int8), (2), (3), (1), (4)) v(g);
ANALYZE ids;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT replace(line, '(ids.id = c.id)', '(c.id = ids.id)') AS plan
  FROM plan('INSERT INTO copied (n, note) SELECT c.n, c.note FROM ids JOIN copied c ON c.id = ids.id') line;
INSERT INTO copied (n, note) SELECT c.n, c.note FROM ids JOIN copied c ON c.id = ids.id;
SELECT n, note, count(*) FROM copied GROUP BY n, note ORDER BY n;
-- The target of an UPDATE is.
SELECT replace(line, '(ids.id = c.id)', '(c.id = ids.id)') AS plan
  FROM plan('UPDATE copied c SET note = ids.id FROM ids WHERE c.id = ids.id AND ids.id > 3') line;
-- Unless SET gives rows the key of others, which would be found again.
CREATE FOREIGN TABLE moved (id int8 OPTIONS (key 'true'), note text) SERVER syn OPTIONS (store 'moved', page_rows '5');
INSERT INTO moved VALUES (1, 'a'), (5, 'e');
INSERT INTO moved SELECT g, 'filler' FROM generate_series(1001, 1500) g;
CREATE TABLE steps AS VALUES (1::int8), (2), (3);
ANALYZE steps;
UPDATE moved m SET id = m.id + 1 FROM steps WHERE m.id = steps.column1;
SELECT * FROM moved WHERE id < 10 ORDER BY id;
-- A partitioned table may have a partition on the same server.
CREATE TABLE parts (id int8, note text) PARTITION BY LIST (note);
CREATE FOREIGN TABLE parts_rest PARTITION OF parts DEFAULT SERVER syn OPTIONS (store 'moved');
UPDATE moved SET id = 1 WHERE note = 'a';
INSERT INTO parts SELECT m.id + 1, m.note FROM steps JOIN moved m ON m.id = steps.column1;
SELECT * FROM moved WHERE id < 10 ORDER BY id;
DROP TABLE parts, steps;
DROP FOREIGN TABLE moved;
RESET enable_hashjoin;
RESET enable_mergejoin;
DROP FOREIGN TABLE copied;
DROP TABLE ids;
