-- What the other tests rest on: the extension, a server, and helpers.
-- Stores are tables that the synthetic connector keeps in memory; they are empty
-- when the sidecar starts.
CREATE EXTENSION hallway;

CREATE SERVER syn FOREIGN DATA WRAPPER hallway OPTIONS (connector 'synthetic');

-- The extension and the sidecar have one version.
SELECT hallway.sidecar_version('syn') = extversion AS same_version
  FROM pg_extension WHERE extname = 'hallway';

-- EXPLAIN without what differs between versions of PostgreSQL.
CREATE FUNCTION plan(query text, options text DEFAULT 'COSTS OFF') RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
  line text;
BEGIN
  FOR line IN EXECUTE format('EXPLAIN (%s) %s', options, query) LOOP
    -- 17 and later write who computes a parameter.
    line := regexp_replace(line, '\(InitPlan (\d+)\)\.col1', '$\1', 'g');
    line := regexp_replace(line, 'InitPlan (\d+)( \(returns \$\d+\))?', 'InitPlan \1');
    line := replace(line, '$1)', '$0)');
    -- 18 describes windows.
    CONTINUE WHEN line ~ '^ *Window: ';
    RETURN NEXT line;
  END LOOP;
END $$;

-- The nodes of a plan in JSON, with what is of interest here.
CREATE FUNCTION json_plan(query text) RETURNS TABLE (depth int, node text, properties jsonb)
LANGUAGE plpgsql AS $$
DECLARE
  answer json;
BEGIN
  EXECUTE 'EXPLAIN (COSTS OFF, FORMAT JSON) ' || query INTO answer;
  RETURN QUERY
    WITH RECURSIVE nodes AS (
      SELECT 0 AS depth, (answer->0->'Plan')::jsonb AS n
      UNION ALL
      SELECT nodes.depth + 1, child FROM nodes, jsonb_array_elements(n->'Plans') child
    )
    SELECT nodes.depth, n->>'Node Type',
           (SELECT jsonb_object_agg(key, value) FROM jsonb_each(n)
             WHERE key ~ 'Hallway|Pushed|Rechecked|Columns')
      FROM nodes;
END $$;

-- What EXPLAIN ANALYZE says of foreign scans.
CREATE FUNCTION run(query text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
  line text;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || query LOOP
    IF line ~ 'Hallway|Pushed|Rechecked|API|Rows Removed|loops' THEN
      RETURN NEXT regexp_replace(regexp_replace(trim(line), '^-> +', ''),
                                 'rows=(\d+)\.00', 'rows=\1');
    END IF;
  END LOOP;
END $$;

-- How a statement fails, without what differs from run to run.
CREATE FUNCTION failure(statement text) RETURNS TABLE (code text, message text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT;
END $$;

-- A table of people, with an equal local one.
CREATE FOREIGN TABLE people (
  id       int8 OPTIONS (key 'true'),
  name     text COLLATE "C",
  email    text,
  status   text,
  age      int4,
  balance  numeric(12,2),
  active   bool,
  born     date,
  seen     timestamptz
) SERVER syn OPTIONS (store 'people');

CREATE TABLE local_people AS SELECT * FROM people WITH NO DATA;

INSERT INTO local_people VALUES
  (1, 'Ada',      'ada@example.org',   'lead',     36,   100.00, true,  '1815-12-10', '2024-01-01 10:00+00'),
  (2, 'Grace',    'grace@example.org', 'customer', 85,   250.50, true,  '1906-12-09', '2024-01-02 10:00+00'),
  (3, 'ada',      'ADA@example.org',   'lead',     NULL,  -1.00, false, NULL,         NULL),
  (4, '',         NULL,                'gone',     0,      0.00, NULL,  '2000-02-29', '2024-02-29 23:59:59.999999+00'),
  (5, NULL,       'none@example.org',  NULL,       20,     NULL, true,  'infinity',   'infinity'),
  (6, 'Zoë 😀',   'zoe@example.org',   'customer', 41, 99999.99, false, '-infinity',  '-infinity'),
  (7, '100% _x\', 'a_b@example.org',   'lead',     41,     0.01, true,  '1984-01-01', '2024-01-01 12:00+02');
INSERT INTO people SELECT * FROM local_people;

SELECT count(*) FROM people;
(TABLE people EXCEPT TABLE local_people) UNION ALL (TABLE local_people EXCEPT TABLE people);
