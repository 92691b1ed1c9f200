-- Who sees what: permissions, views, row security, plans that outlive roles.
CREATE ROLE regress_hallway_reader;
CREATE ROLE regress_hallway_other;
CREATE USER MAPPING FOR regress_hallway_reader SERVER syn OPTIONS (token 'reader');
GRANT SELECT (id, name) ON people TO regress_hallway_reader;

-- Without permission nothing is asked, not even for a plan.
SET ROLE regress_hallway_other;
SELECT * FROM people;
EXPLAIN SELECT id FROM people;
RESET ROLE;
SET ROLE regress_hallway_reader;
SELECT id, name FROM people WHERE id = 1;
SELECT id FROM people WHERE age = 41;
SELECT * FROM people;
SELECT count(*) FROM people;
EXPLAIN (COSTS OFF) SELECT age FROM people;
INSERT INTO people (id) VALUES (99);
UPDATE people SET name = 'x' WHERE id = 1;
DELETE FROM people WHERE id = 1;
RESET ROLE;

-- A view reads as its owner, or, if it is made so, as its caller.
CREATE VIEW owners AS SELECT id, name, age FROM people;
CREATE VIEW callers WITH (security_invoker = true) AS SELECT id, name, age FROM people;
GRANT SELECT ON owners, callers TO regress_hallway_reader;
SET ROLE regress_hallway_reader;
SELECT id, age FROM owners WHERE id = 1;
SELECT id, age FROM callers WHERE id = 1;
SELECT id FROM callers WHERE id = 1;
RESET ROLE;

-- Whoever may not use a view does not have its owner's credential used, and so
-- sees no error of the connector's.
CREATE FOREIGN TABLE broken (id int8) SERVER syn OPTIONS (no_such_option 'x');
CREATE VIEW merged AS SELECT id FROM broken;
CREATE VIEW barred WITH (security_barrier = true) AS SELECT id FROM broken;
SET ROLE regress_hallway_reader;
SELECT * FROM merged;
SELECT * FROM barred;
EXPLAIN INSERT INTO merged VALUES (1);
EXPLAIN DELETE FROM barred;
RESET ROLE;
DROP FOREIGN TABLE broken CASCADE;

-- A prepared plan made as one role runs as another.
PREPARE one AS SELECT id, name FROM people WHERE id = 1;
SET plan_cache_mode = force_generic_plan;
EXECUTE one;
SET ROLE regress_hallway_other;
EXECUTE one;
SET ROLE regress_hallway_reader;
EXECUTE one;
RESET ROLE;
RESET plan_cache_mode;
DEALLOCATE one;

-- What comes after a security barrier may only see what passed it.
CREATE FUNCTION peek(text) RETURNS bool COST 0.0000001 LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE 'saw %', $1;
  RETURN true;
END $$;
CREATE VIEW leads WITH (security_barrier = true) AS SELECT id, name FROM people WHERE status = 'lead';
SELECT id FROM leads WHERE peek(name) AND name LIKE 'A%' ORDER BY id;
SELECT plan('SELECT id FROM leads WHERE name LIKE ''A%'' AND id = 1', 'VERBOSE, COSTS OFF');
UPDATE leads SET name = name WHERE name LIKE 'A%';

-- Row security of a partitioned table whose partition is foreign.
CREATE TABLE notes (id int8, owner text, note text) PARTITION BY LIST (owner);
CREATE FOREIGN TABLE notes_a PARTITION OF notes FOR VALUES IN ('regress_hallway_reader', 'x')
  SERVER syn OPTIONS (store 'notes_a');
ALTER FOREIGN TABLE notes_a ALTER id OPTIONS (ADD key 'true');
INSERT INTO notes VALUES (1, 'regress_hallway_reader', 'mine'), (2, 'x', 'theirs');
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = current_user);
GRANT SELECT ON notes TO regress_hallway_reader, regress_hallway_other;
SET ROLE regress_hallway_reader;
SELECT * FROM notes WHERE note LIKE '%e%' AND peek(note);
SELECT plan('SELECT * FROM notes WHERE note LIKE ''%e%''', 'VERBOSE, COSTS OFF');
SET ROLE regress_hallway_other;
SELECT * FROM notes;
RESET ROLE;

DROP TABLE notes;
DROP VIEW owners, callers, leads;
DROP FUNCTION peek;
REVOKE ALL ON people FROM regress_hallway_reader;
DROP USER MAPPING FOR regress_hallway_reader SERVER syn;
DROP ROLE regress_hallway_reader, regress_hallway_other;
