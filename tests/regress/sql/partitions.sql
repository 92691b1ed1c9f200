-- Foreign tables as partitions, as children, and below UNION ALL.
CREATE TABLE events (id int8, region text, amount int4) PARTITION BY LIST (region);
CREATE TABLE events_local PARTITION OF events FOR VALUES IN ('local');
CREATE FOREIGN TABLE events_eu PARTITION OF events
  FOR VALUES IN ('eu') SERVER syn OPTIONS (store 'events_eu');
ALTER FOREIGN TABLE events_eu ALTER id OPTIONS (ADD key 'true');
-- Its columns stand in another order.
CREATE FOREIGN TABLE events_us (amount int4, dropped int4, region text, id int8 OPTIONS (key 'true'))
  SERVER syn OPTIONS (store 'events_us');
ALTER FOREIGN TABLE events_us DROP COLUMN dropped;
ALTER TABLE events ATTACH PARTITION events_us FOR VALUES IN ('us');

INSERT INTO events SELECT g, (ARRAY['local', 'eu', 'us'])[g % 3 + 1], g * 10 FROM generate_series(1, 12) g;
SELECT tableoid::regclass, count(*), sum(amount) FROM events GROUP BY 1 ORDER BY 1;
SELECT * FROM events WHERE id IN (1, 2, 3) ORDER BY id;
SELECT plan('SELECT * FROM events WHERE amount > 50');
SELECT plan('SELECT * FROM events WHERE region = ''us'' AND amount > 50');
SELECT * FROM events ORDER BY id DESC LIMIT 3;
SELECT plan('SELECT * FROM events ORDER BY id LIMIT 3');
-- Pruned when the values are known.
PREPARE by_region (text) AS SELECT count(*) FROM events WHERE region = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE by_region('us');
EXECUTE by_region('local');
EXECUTE by_region('nowhere');
RESET plan_cache_mode;
DEALLOCATE by_region;
-- Joined, also partition by partition.
CREATE TABLE keys AS SELECT g::int8 AS id FROM generate_series(1, 5) g;
ANALYZE keys;
SELECT k.id, e.region FROM keys k JOIN events e ON e.id = k.id ORDER BY 1;
SET enable_partitionwise_join = on;
SELECT count(*) FROM events a JOIN events b USING (id, region);
SELECT count(*) FROM events a JOIN events b ON a.id = b.id AND a.region = b.region AND a.region IN ('us', 'eu');
SELECT count(*) FROM events a LEFT JOIN events b ON a.id = b.id AND a.region = b.region WHERE a.amount < 100;
-- Each pair has its own lookups.
CREATE TABLE wanted (id int8, region text) PARTITION BY LIST (region);
CREATE TABLE wanted_eu PARTITION OF wanted FOR VALUES IN ('eu');
CREATE TABLE wanted_us PARTITION OF wanted FOR VALUES IN ('us');
CREATE TABLE wanted_local PARTITION OF wanted FOR VALUES IN ('local');
INSERT INTO wanted SELECT id, region FROM events WHERE id < 6;
ANALYZE wanted;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SELECT plan('SELECT w.id, e.amount FROM wanted w LEFT JOIN events e ON e.id = w.id AND e.region = w.region');
SELECT w.id, e.amount FROM wanted w LEFT JOIN events e ON e.id = w.id AND e.region = w.region ORDER BY 1;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
DROP TABLE wanted;
RESET enable_partitionwise_join;
-- Written through the parent.
UPDATE events SET amount = amount + 1 WHERE id <= 3;
DELETE FROM events WHERE id = 4;
SELECT id, region, amount FROM events WHERE id <= 4 ORDER BY id;

-- A child of a plain table.
CREATE TABLE base (id int8, note text);
INSERT INTO base VALUES (1, 'plain');
CREATE FOREIGN TABLE child (id int8 OPTIONS (key 'true'), note text) INHERITS (base) SERVER syn OPTIONS (store 'child');
INSERT INTO child VALUES (2, 'foreign');
SELECT tableoid::regclass, * FROM base ORDER BY id;
SELECT * FROM ONLY base;
SELECT * FROM base WHERE id = 2;
UPDATE base SET note = note || '!';
SELECT * FROM base ORDER BY id;

-- UNION ALL of several scans of one server, which run at the same time.
SELECT count(*) FROM (SELECT id FROM people UNION ALL SELECT id FROM events_eu UNION ALL SELECT id FROM events_us UNION ALL SELECT id FROM keys) s;
SELECT id FROM (SELECT id, 'p' AS w FROM people WHERE age = 41 UNION ALL SELECT id, 'e' FROM events_eu) s WHERE id > 6 ORDER BY id;

DROP TABLE events, keys, base CASCADE;
