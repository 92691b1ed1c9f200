--
-- INSERT, UPDATE, DELETE, COPY: what is sent, what comes back, what is refused.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA modify;
SET search_path = modify;
CREATE SERVER modify FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE USER MAPPING FOR PUBLIC SERVER modify;
CREATE FOREIGN TABLE contacts (
    id bigint OPTIONS (key 'true', computed 'sequence'),
    email text OPTIONS ("unique" 'true', "check" 'email', required 'true'),
    name text,
    stage text OPTIONS ("default" 'lead'),
    amount numeric,
    region text DEFAULT 'eu',
    created timestamptz OPTIONS (computed 'now'))
  SERVER modify OPTIONS (store 'modify_contacts');

-- omitted is not NULL, DEFAULT is omitted; a default here is a value
INSERT INTO contacts (email, name) VALUES ('a@x.org', 'A'), ('b@x.org', 'B')
  RETURNING id, email, name, stage, region, created IS NOT NULL AS created;
INSERT INTO contacts (email, stage) VALUES ('c@x.org', NULL) RETURNING id, stage;
INSERT INTO contacts (email, stage) VALUES ('d@x.org', DEFAULT) RETURNING id, stage;
INSERT INTO contacts (id, email, created) VALUES (DEFAULT, 'e@x.org', NULL), (NULL, 'f@x.org', DEFAULT)
  RETURNING id, tableoid::regclass;
INSERT INTO contacts (email, region) SELECT 'g' || i || '@x.org', NULL FROM generate_series(1, 2) i
  RETURNING email, region, stage;
PREPARE ins (text, text) AS INSERT INTO contacts (email, name) VALUES ($1, $2) RETURNING name;
EXECUTE ins ('h1@x.org', '1');
EXECUTE ins ('h2@x.org', '2');
EXECUTE ins ('h3@x.org', '3');
EXECUTE ins ('h4@x.org', '4');
EXECUTE ins ('h5@x.org', '5');
EXECUTE ins ('h6@x.org', NULL);
EXECUTE ins ('h7@x.org', '');
DELETE FROM contacts WHERE email LIKE 'h%' RETURNING email, name IS NULL AS isnull;

-- what the API refuses is this statement's error
INSERT INTO contacts (email) VALUES ('a@x.org');
INSERT INTO contacts (email) VALUES ('bad');
INSERT INTO contacts (name) VALUES ('none');
\set VERBOSITY sqlstate
INSERT INTO contacts (email) VALUES ('a@x.org');
INSERT INTO contacts (email) VALUES ('bad');
INSERT INTO contacts (name) VALUES ('none');
UPDATE contacts SET email = 'a@x.org' WHERE email = 'b@x.org';
\set VERBOSITY terse
-- what PostgreSQL can refuse never gets there
INSERT INTO contacts (id, email) VALUES (100, 'i@x.org');
INSERT INTO contacts (id, email) VALUES (NULL, 'i@x.org'), (7, 'j@x.org');
INSERT INTO contacts (email, created) SELECT 'i@x.org', now();
INSERT INTO contacts (id, email) SELECT NULL, 'i@x.org' RETURNING email;
UPDATE contacts SET id = 100 WHERE id = 1;
UPDATE contacts SET created = now();
SELECT email FROM contacts ORDER BY id;

-- ON CONFLICT
INSERT INTO contacts (email) VALUES ('a@x.org'), ('k@x.org') ON CONFLICT DO NOTHING RETURNING email;
INSERT INTO contacts (email) VALUES ('bad') ON CONFLICT DO NOTHING;
INSERT INTO contacts (email) VALUES ('a@x.org') ON CONFLICT (email) DO NOTHING;
INSERT INTO contacts (email) VALUES ('a@x.org') ON CONFLICT (email) DO UPDATE SET name = 'x';

-- UPDATE sends what changed; a row that is as it should be is not written
UPDATE contacts SET amount = 10.50, name = name || '!' WHERE id = 1
  RETURNING id, email, name, stage, amount, region, created IS NOT NULL AS created;
UPDATE contacts SET amount = 10.50 WHERE id = 1 RETURNING amount;
UPDATE contacts SET stage = NULL WHERE id = 2 RETURNING name, stage;
UPDATE contacts c SET name = v.n FROM (VALUES (1, 'one'), (2, 'two'), (99, 'none')) v(i, n)
  WHERE c.id = v.i RETURNING c.id, c.name, v.n;
UPDATE contacts SET amount = (SELECT count(*) FROM contacts) WHERE id = 3 RETURNING amount > 0;
UPDATE contacts SET name = 'x' WHERE id = 99;
UPDATE contacts SET (name, stage) = ('multi', 'column') WHERE id = 3 RETURNING name, stage;

-- DELETE shows the row as it was
DELETE FROM contacts WHERE id = 2 RETURNING id, email, name, stage, contacts IS NOT NULL;
DELETE FROM contacts USING (VALUES (3)) v(i) WHERE id = i RETURNING contacts.email, i;
DELETE FROM contacts WHERE id = 2;
-- a row that is gone when its turn comes counts for nothing
WITH gone AS (DELETE FROM contacts WHERE email = 'd@x.org' RETURNING id)
  SELECT count(*) FROM gone;
DELETE FROM contacts WHERE email = 'd@x.org';

-- the rows are read before the first one is written, whatever the API's pages:
-- none is missed, none is had twice; and a row that a join finds twice is
-- updated once
CREATE FOREIGN TABLE paged (id bigint OPTIONS (key 'true', computed 'sequence'), v text, n int)
  SERVER modify OPTIONS (store 'modify_paged', page_rows '5');
INSERT INTO paged (v, n) SELECT 'v' || i, i FROM generate_series(1, 40) i;
INSERT INTO paged (v, n) SELECT v || ' again', n FROM paged;
UPDATE paged SET n = n + 1000;
SELECT count(*), count(DISTINCT v), min(n), max(n) FROM paged;
WITH w AS (UPDATE paged SET v = s.v FROM (VALUES (1, 'twice'), (1, 'twice'), (2, 'once')) s (i, v)
    WHERE paged.id = s.i RETURNING paged.id, paged.v)
  SELECT * FROM w ORDER BY id;
DELETE FROM paged WHERE id % 2 = 0;
SELECT count(*) FROM paged;
DELETE FROM paged;
SELECT count(*) FROM paged;

-- COPY
COPY contacts (email, name, stage) FROM STDIN;
l@x.org	L	new
m@x.org	\N	\N
\.
-- (the WARNING that n@x.org stays would race with the ERROR in psql)
SET client_min_messages = error;
COPY contacts (email) FROM STDIN (FORMAT csv);
n@x.org
bad
o@x.org
\.
RESET client_min_messages;
COPY (SELECT email, name, stage, region FROM contacts WHERE email > 'l' ORDER BY email) TO STDOUT;
TRUNCATE contacts;

-- data-modifying CTEs, a table that feeds itself
WITH moved AS (DELETE FROM contacts WHERE email = 'l@x.org' RETURNING email, name)
  INSERT INTO contacts (email, name) SELECT 'x' || email, name FROM moved RETURNING email, name;
INSERT INTO contacts (email) SELECT 'y' || email FROM contacts WHERE email LIKE 'x%' RETURNING email;

-- triggers: BEFORE changes what is sent, AFTER sees what the API made of it
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.region := coalesce(NEW.region, '') || '+' || lower(TG_OP); RETURN NEW; END $$;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % old % new %', TG_WHEN, TG_OP,
        CASE WHEN TG_OP <> 'INSERT' THEN (OLD.email, OLD.region) END,
        CASE WHEN TG_OP <> 'DELETE' THEN (NEW.email, NEW.region, NEW.stage, NEW.id IS NOT NULL) END;
    RETURN NULL;
END $$;
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.created := '2020-01-01'; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON contacts FOR EACH ROW EXECUTE FUNCTION tell();
INSERT INTO contacts (email) VALUES ('t@x.org');
UPDATE contacts SET name = 'T' WHERE email = 't@x.org' RETURNING name, region;
DELETE FROM contacts WHERE email = 't@x.org';
CREATE TRIGGER skip BEFORE DELETE ON contacts FOR EACH ROW EXECUTE FUNCTION skip();
DELETE FROM contacts;
SELECT count(*) > 0 AS still_there FROM contacts;
DROP TRIGGER skip ON contacts;
CREATE TRIGGER meddle BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION meddle();
UPDATE contacts SET name = 'T' WHERE email = 'a@x.org';
DROP TRIGGER meddle ON contacts;
DROP TRIGGER stamp ON contacts;
DROP TRIGGER tell ON contacts;

-- WITH CHECK OPTION is checked before the API has the row
CREATE VIEW eu AS SELECT * FROM contacts WHERE region = 'eu' WITH CHECK OPTION;
INSERT INTO eu (email, region) VALUES ('u@x.org', 'us');
INSERT INTO eu (email, region) VALUES ('v@x.org', 'eu') RETURNING email, region;
UPDATE eu SET region = 'us' WHERE email = 'v@x.org';
UPDATE eu SET name = 'V' WHERE email = 'v@x.org' RETURNING name;
SELECT email, region FROM contacts WHERE email IN ('u@x.org', 'v@x.org');

-- generated columns are not sent
CREATE FOREIGN TABLE generated (id bigint OPTIONS (key 'true', computed 'sequence'), a int,
    twice int GENERATED ALWAYS AS (a * 2) STORED)
  SERVER modify OPTIONS (store 'modify_generated');
INSERT INTO generated (a) VALUES (1), (2) RETURNING *;
UPDATE generated SET a = 10 WHERE twice = 2 RETURNING *;
INSERT INTO generated (a, twice) VALUES (1, 3);
DELETE FROM generated WHERE twice = 4 RETURNING *;
SELECT * FROM generated;

-- identity columns: numbered here, and sent as any other value
\set VERBOSITY default
CREATE FOREIGN TABLE always (id bigint OPTIONS (key 'true') GENERATED ALWAYS AS IDENTITY, v text)
  SERVER modify OPTIONS (store 'modify_always');
INSERT INTO always (v) VALUES ('a') RETURNING *;
INSERT INTO always VALUES (DEFAULT, 'b'), (DEFAULT, 'c') RETURNING *;
INSERT INTO always (v) SELECT 'd' || i FROM generate_series(1, 2) i RETURNING *;
INSERT INTO always VALUES (100, 'x');
INSERT INTO always SELECT 100, 'x';
INSERT INTO always OVERRIDING SYSTEM VALUE VALUES (100, 'system'), (101, 'system') RETURNING *;
INSERT INTO always OVERRIDING USER VALUE VALUES (200, 'user'), (201, 'user') RETURNING *;
INSERT INTO always OVERRIDING USER VALUE SELECT 202, 'user' RETURNING *;
COPY always (v) FROM STDIN;
copied
\.
COPY always FROM STDIN;
300	copied with a number
\.
UPDATE always SET v = 'A' WHERE id = 1 RETURNING *;
UPDATE always SET id = 400 WHERE id = 1;
UPDATE always SET id = DEFAULT WHERE id = 1 RETURNING *;
SELECT * FROM always ORDER BY id;
CREATE FOREIGN TABLE by_default (id bigint OPTIONS (key 'true') GENERATED BY DEFAULT AS IDENTITY (START 10 INCREMENT 10), v text)
  SERVER modify OPTIONS (store 'modify_by_default');
INSERT INTO by_default (v) VALUES ('a'), ('b') RETURNING *;
INSERT INTO by_default VALUES (1, 'given'), (DEFAULT, 'c') RETURNING *;
\set VERBOSITY terse
INSERT INTO by_default VALUES (NULL, 'null');
\set VERBOSITY default
INSERT INTO by_default OVERRIDING SYSTEM VALUE VALUES (2, 'system') RETURNING *;
INSERT INTO by_default OVERRIDING USER VALUE VALUES (3, 'user') RETURNING *;
INSERT INTO by_default (v, id) VALUES ('d', 10) ON CONFLICT DO NOTHING RETURNING *;
PREPARE numbered (text) AS INSERT INTO by_default (v) VALUES ($1) RETURNING *;
EXECUTE numbered ('e');
EXECUTE numbered ('f');
DEALLOCATE numbered;
COPY by_default (v) FROM STDIN;
copied
\.
SELECT * FROM by_default ORDER BY id;
-- one whose table numbers it, too, has two who number: it is one or the other
CREATE FOREIGN TABLE doubled (id bigint OPTIONS (key 'true', computed 'sequence') GENERATED ALWAYS AS IDENTITY, v text)
  SERVER modify OPTIONS (store 'modify_doubled');
INSERT INTO doubled (v) VALUES ('a');
COPY doubled (v) FROM STDIN;
b
\.
SELECT * FROM doubled;
ALTER FOREIGN TABLE doubled ALTER id DROP IDENTITY, ALTER id SET DEFAULT 7;
INSERT INTO doubled (v) VALUES ('a');
ALTER FOREIGN TABLE doubled ALTER id DROP DEFAULT, ALTER id DROP NOT NULL;
INSERT INTO doubled (v) VALUES ('c') RETURNING *;
-- and one of a partitioned table numbers its partitions' rows
CREATE TABLE numbered (id bigint, region text, v text) PARTITION BY LIST (region);
CREATE SEQUENCE numbers START 7;
ALTER TABLE numbered ALTER id SET DEFAULT nextval('numbers');
CREATE FOREIGN TABLE numbered_us PARTITION OF numbered FOR VALUES IN ('us') SERVER modify OPTIONS (store 'modify_numbered_us');
INSERT INTO numbered (region, v) VALUES ('us', 'a'), ('us', 'b') RETURNING *;
COPY numbered (region, v) FROM STDIN;
us	copied
\.
SELECT * FROM numbered ORDER BY id;
\set VERBOSITY terse

-- partitions: routed rows, moved rows, bounds, row security
CREATE TABLE p (id bigint, email text, region text) PARTITION BY LIST (region);
CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu');
CREATE FOREIGN TABLE p_us PARTITION OF p FOR VALUES IN ('us') SERVER modify OPTIONS (store 'modify_p_us', page_rows '2');
ALTER FOREIGN TABLE p_us ALTER id OPTIONS (ADD key 'true');
INSERT INTO p VALUES (1, 'p1', 'eu'), (2, 'p2', 'us'), (3, 'p3', 'us') RETURNING tableoid::regclass, *;
WITH w AS (UPDATE p SET email = email || '!' RETURNING tableoid::regclass, *)
  SELECT * FROM w ORDER BY id;
WITH w AS (UPDATE p_eu SET region = 'us' RETURNING tableoid::regclass, *)
  SELECT * FROM w ORDER BY id;
WITH w AS (UPDATE p SET region = 'us' WHERE region = 'eu' RETURNING tableoid::regclass, *)
  SELECT * FROM w ORDER BY id;
INSERT INTO p VALUES (4, 'p4', 'eu');
UPDATE p SET region = 'us' WHERE id = 4;
WITH w AS (UPDATE p SET region = 'us' WHERE region = 'eu' RETURNING tableoid::regclass, *)
  SELECT * FROM w ORDER BY id;
UPDATE p_us SET region = 'eu' WHERE id = 2;
INSERT INTO p_us VALUES (5, 'p5', 'eu');
COPY p FROM STDIN;
6	p6	us
7	p7	eu
\.
SELECT tableoid::regclass, * FROM p ORDER BY id;
INSERT INTO p SELECT id + 20, email, region FROM p;
SELECT region, count(*) FROM p GROUP BY 1 ORDER BY 1;
DELETE FROM p WHERE id > 20;
WITH w AS (DELETE FROM p WHERE id > 5 RETURNING tableoid::regclass, *)
  SELECT * FROM w ORDER BY id;
-- a statement trigger that wants the rows is refused before they are written
CREATE FUNCTION count_new() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE NOTICE '% rows', (SELECT count(*) FROM new_rows); RETURN NULL; END $$;
CREATE TRIGGER i AFTER INSERT ON p REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_new();
CREATE TRIGGER u AFTER UPDATE ON p REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_new();
INSERT INTO p VALUES (8, 'p8', 'us');
INSERT INTO p VALUES (9, 'p9', 'eu');
UPDATE p SET region = 'us' WHERE region = 'eu';
UPDATE p SET email = 'x' WHERE region = 'us';
DROP TRIGGER i ON p;
DROP TRIGGER u ON p;
DELETE FROM p WHERE id = 9;
CREATE ROLE modify_user;
GRANT USAGE ON SCHEMA modify TO modify_user;
GRANT ALL ON p TO modify_user;
ALTER TABLE p ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON p WITH CHECK (id < 100);
CREATE POLICY seen ON p FOR SELECT USING (true);
SET ROLE modify_user;
INSERT INTO p VALUES (100, 'big', 'us');
INSERT INTO p VALUES (99, 'small', 'us');
RESET ROLE;
SELECT id FROM p WHERE id > 10 ORDER BY id;

-- rows that are read before the first is written, and do not fit into memory
CREATE FOREIGN TABLE wide (id bigint OPTIONS (key 'true'), n integer, filler text)
  SERVER modify OPTIONS (store 'modify_wide');
INSERT INTO wide SELECT i, 0, repeat('x', 1000) FROM generate_series(1, 400) i;
SET work_mem = '64kB';
UPDATE wide SET n = n + 1 WHERE id % 7 = 1;
UPDATE wide SET n = n + 1, filler = left(filler, 10) WHERE id % 3 = 1 AND length(filler) > 10;
DELETE FROM wide WHERE n = 0 AND length(filler) = 1000;
RESET work_mem;
SELECT n, count(*), min(length(filler)), max(length(filler)) FROM wide GROUP BY n ORDER BY n;

-- what cannot be written says so
CREATE FOREIGN TABLE made_up (id bigint OPTIONS (key 'true'), name text)
  SERVER modify OPTIONS (object 'sequence', rows '3');
INSERT INTO made_up VALUES (1, 'x');
UPDATE made_up SET name = 'x';
DELETE FROM made_up;
CREATE FOREIGN TABLE keyless (email text, name text) SERVER modify OPTIONS (store 'modify_keyless');
INSERT INTO keyless VALUES ('a', 'b');
\set VERBOSITY default
UPDATE keyless SET name = 'x';
DELETE FROM keyless;
\set VERBOSITY terse
-- the catalogs answer although one table is wrong
CREATE FOREIGN TABLE wrong (id bigint) SERVER modify OPTIONS (object 'sequence', rows 'many');
INSERT INTO wrong VALUES (1);
ALTER FOREIGN TABLE contacts OPTIONS (ADD updatable 'false');
INSERT INTO contacts (email) VALUES ('z@x.org');
DELETE FROM contacts;
SELECT table_name, is_insertable_into FROM information_schema.tables WHERE table_schema = 'modify' ORDER BY 1;
ALTER FOREIGN TABLE contacts OPTIONS (DROP updatable);
BEGIN READ ONLY;
INSERT INTO contacts (email) VALUES ('z@x.org');
ROLLBACK;
MERGE INTO contacts USING (VALUES (1)) v(i) ON id = i WHEN MATCHED THEN DELETE;

SET client_min_messages = warning;
DROP SCHEMA modify CASCADE;
DROP SERVER modify CASCADE;
DROP ROLE modify_user;
