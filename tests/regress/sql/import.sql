-- IMPORT FOREIGN SCHEMA: tables, their comments, and views for tools that
-- overlook foreign tables.
CREATE SCHEMA imported;
\set VERBOSITY terse
IMPORT FOREIGN SCHEMA nonsense FROM SERVER syn INTO imported;
\set VERBOSITY default
SELECT * FROM failure('IMPORT FOREIGN SCHEMA nonsense FROM SERVER syn INTO imported');
SELECT * FROM failure('IMPORT FOREIGN SCHEMA synthetic FROM SERVER syn INTO imported OPTIONS (nonsense ''1'')');
SELECT * FROM failure('IMPORT FOREIGN SCHEMA synthetic FROM SERVER syn INTO imported OPTIONS (create_views ''perhaps'')');
SELECT * FROM failure('IMPORT FOREIGN SCHEMA synthetic FROM SERVER syn INTO imported OPTIONS (create_views ''true'', view_suffix '''')');

IMPORT FOREIGN SCHEMA synthetic LIMIT TO (sequence) FROM SERVER syn INTO imported;
SELECT c.relname, c.relkind, obj_description(c.oid, 'pg_class') AS comment
  FROM pg_class c WHERE relnamespace = 'imported'::regnamespace ORDER BY 1;
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attfdwoptions,
       col_description(a.attrelid, a.attnum) AS comment
  FROM pg_attribute a WHERE attrelid = 'imported.sequence'::regclass AND attnum > 0 ORDER BY attnum;
SELECT ftoptions FROM pg_foreign_table WHERE ftrelid = 'imported.sequence'::regclass;
SELECT count(*), max(id) FROM imported.sequence;

-- Once more is an error, and leaves nothing behind.
IMPORT FOREIGN SCHEMA synthetic LIMIT TO (sequence) FROM SERVER syn INTO imported;

-- A table of another name than its object's: what is looked for in vain is no news.
ALTER FOREIGN TABLE imported.sequence RENAME TO numbers;
SELECT change, "column" FROM hallway.refresh_schema('imported.numbers', 'synthetic');
DROP FOREIGN TABLE imported.numbers;

-- What is not wanted does not come, and what is not there is said.
IMPORT FOREIGN SCHEMA synthetic LIMIT TO (people, no_such_table) FROM SERVER syn INTO imported;
SELECT relname FROM pg_class WHERE relnamespace = 'imported'::regnamespace ORDER BY 1;
SELECT id, name FROM imported.people WHERE id < 3 ORDER BY id;
DROP FOREIGN TABLE imported.people;
IMPORT FOREIGN SCHEMA synthetic EXCEPT (sequence) FROM SERVER syn INTO imported;
SELECT count(*) FROM pg_class WHERE relnamespace = 'imported'::regnamespace AND relname = 'sequence';
DROP SCHEMA imported CASCADE;

-- Views: simple ones, through which one can write.
CREATE SCHEMA "Imported too";
\set VERBOSITY terse
IMPORT FOREIGN SCHEMA synthetic LIMIT TO (people) FROM SERVER syn INTO "Imported too"
  OPTIONS (create_views 'true');
IMPORT FOREIGN SCHEMA synthetic LIMIT TO (sequence) FROM SERVER syn INTO "Imported too"
  OPTIONS (create_views 'true', view_suffix ' "seen"');
SELECT c.relname, c.relkind, c.reloptions, obj_description(c.oid, 'pg_class') AS comment
  FROM pg_class c WHERE relnamespace = '"Imported too"'::regnamespace ORDER BY 1;
SELECT id, name FROM "Imported too".people_view WHERE id = 1;
SELECT count(*) FROM "Imported too"."sequence ""seen""";
SELECT is_insertable_into, is_updatable FROM information_schema.views WHERE table_name = 'people_view';
-- A view's name that is taken stops the import as a whole.
DROP VIEW "Imported too".people_view;
DROP FOREIGN TABLE "Imported too".people;
CREATE TABLE "Imported too".people_view ();
IMPORT FOREIGN SCHEMA synthetic LIMIT TO (people) FROM SERVER syn INTO "Imported too"
  OPTIONS (create_views 'true');
SELECT relname FROM pg_class WHERE relnamespace = '"Imported too"'::regnamespace ORDER BY 1;
-- After that, other statements are left alone.
CREATE FOREIGN TABLE "Imported too".people (id int8 OPTIONS (key 'true')) SERVER syn OPTIONS (store 'people');
SELECT obj_description('"Imported too".people'::regclass, 'pg_class') AS comment;
DROP FOREIGN TABLE "Imported too".people;
-- In a transaction that is undone.
BEGIN;
IMPORT FOREIGN SCHEMA synthetic LIMIT TO (people) FROM SERVER syn INTO "Imported too";
SELECT count(*) FROM "Imported too".people;
ROLLBACK;
SELECT to_regclass('"Imported too".people');
-- In a function, and in one that catches its failure.
DO $$
BEGIN
  BEGIN
    IMPORT FOREIGN SCHEMA synthetic LIMIT TO (sequence) FROM SERVER syn INTO "Imported too" OPTIONS (create_views 'true');
  EXCEPTION WHEN duplicate_table THEN
    RAISE NOTICE 'there already';
  END;
  IMPORT FOREIGN SCHEMA synthetic LIMIT TO (people) FROM SERVER syn INTO "Imported too";
END $$;
SELECT relname FROM pg_class WHERE relnamespace = '"Imported too"'::regnamespace ORDER BY 1;
-- Only who may use the server.
CREATE ROLE regress_hallway_importer;
SET ROLE regress_hallway_importer;
IMPORT FOREIGN SCHEMA synthetic FROM SERVER syn INTO "Imported too";
RESET ROLE;
DROP ROLE regress_hallway_importer;
SET client_min_messages = warning;
DROP SCHEMA "Imported too" CASCADE;
