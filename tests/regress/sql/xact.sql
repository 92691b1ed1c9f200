--
-- Rows in an API stay when the local transaction goes: who is told, and when.
--
\set VERBOSITY default
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hallway;
RESET client_min_messages;
CREATE SCHEMA xact;
SET search_path = xact;
CREATE SERVER xact FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');
CREATE USER MAPPING FOR PUBLIC SERVER xact;
CREATE FOREIGN TABLE c (id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true'))
  SERVER xact OPTIONS (store 'xact_c');
CREATE FOREIGN TABLE d (id bigint OPTIONS (key 'true', computed 'sequence'), name text)
  SERVER xact OPTIONS (store 'xact_d');
CREATE FOREIGN TABLE lost (id bigint OPTIONS (key 'true', computed 'sequence'), email text OPTIONS ("unique" 'true'))
  SERVER xact OPTIONS (store 'xact_c', write_error 'unknown_outcome');
CREATE TABLE local (v text);

-- a transaction that only reads stays without an xid; one that writes gets it
BEGIN;
SELECT count(*) FROM c;
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
INSERT INTO c (email) VALUES ('first');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
COMMIT;

-- rolled back: by the user, by an error, by an error of the API
BEGIN;
INSERT INTO local VALUES ('gone');
INSERT INTO c (email) VALUES ('stays'), ('stays too');
INSERT INTO d (name) VALUES ('x');
UPDATE d SET name = 'y';
DELETE FROM d;
ROLLBACK;
-- (psql shows a WARNING that follows an ERROR now before and now after it)
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN others THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT attempt($$INSERT INTO c (email) SELECT 'half ' || i || CASE WHEN i = 3 THEN (1 / (i - 3))::text ELSE '' END
  FROM generate_series(1, 4) i$$);
SELECT attempt($$INSERT INTO c (email) VALUES ('again'), ('again')$$);
SET client_min_messages = error;
\set VERBOSITY terse
INSERT INTO c (email) VALUES ('once more'), ('again');
\set VERBOSITY default
RESET client_min_messages;
SELECT * FROM local;
SELECT email FROM c ORDER BY id;
-- nothing was written: nothing to say
BEGIN;
\set VERBOSITY terse
INSERT INTO c (email) VALUES ('first');
\set VERBOSITY default
ROLLBACK;

-- savepoints: each is told of its own, and only once
BEGIN;
INSERT INTO c (email) VALUES ('outer');
SAVEPOINT a;
INSERT INTO c (email) VALUES ('in a');
SAVEPOINT b;
INSERT INTO c (email) VALUES ('in b');
RELEASE b;
SAVEPOINT e;
INSERT INTO c (email) VALUES ('in e');
ROLLBACK TO e;
ROLLBACK TO a;
INSERT INTO c (email) VALUES ('in a again');
COMMIT;
BEGIN;
SAVEPOINT a;
INSERT INTO c (email) VALUES ('released');
RELEASE a;
ROLLBACK;
BEGIN;
SAVEPOINT a;
INSERT INTO c (email) VALUES ('open');
SAVEPOINT b;
INSERT INTO c (email) VALUES ('open too');
ROLLBACK;
DO $$
BEGIN
    FOR i IN 1 .. 3 LOOP
        BEGIN
            INSERT INTO xact.c (email) VALUES ('looped ' || i);
            IF i = 2 THEN
                RAISE EXCEPTION 'no';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            RAISE NOTICE 'handled';
        END;
    END LOOP;
END $$;

-- a write whose answer never came may stand
SELECT attempt($$INSERT INTO lost (email) VALUES ('who knows')$$);
SELECT attempt($$INSERT INTO c (email) VALUES ('known'); INSERT INTO lost (email) VALUES ('who knows more')$$);
SELECT email FROM c WHERE email LIKE '%know%' ORDER BY id;

-- two-phase commit cannot wait for the API
BEGIN;
INSERT INTO c (email) VALUES ('prepared');
SET LOCAL client_min_messages = error;
PREPARE TRANSACTION 'x';
-- not even for those that only read it would be of use, but nothing speaks against it
BEGIN;
SELECT count(*) > 0 AS some FROM c;
INSERT INTO local VALUES ('after');
COMMIT;
SELECT * FROM local;

-- deferred: the constraint fails in COMMIT, when the row is long there
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO child VALUES (1);
INSERT INTO c (email) VALUES ('deferred');
SET LOCAL client_min_messages = error;
COMMIT;
SELECT count(*) FROM c WHERE email = 'deferred';

SET client_min_messages = warning;
DROP SCHEMA xact CASCADE;
DROP SERVER xact CASCADE;
