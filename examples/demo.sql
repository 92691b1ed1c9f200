-- A CRM behind a REST API, as tables. "make demo" starts all that this needs,
-- runs it, and checks what it shows.

-- The extension, and where the CRM is. A manifest (examples/pocketbase.yaml)
-- tells the connector "rest" how this API pages, filters and reports errors.
CREATE EXTENSION hallway;
CREATE SERVER crm FOREIGN DATA WRAPPER hallway
  OPTIONS (connector 'rest', manifest 'pocketbase.yaml', base_url :'crm_url');

-- Who we are to the API. The password stays in the sidecar's secret store; SQL
-- and dumps hold only its name.
CREATE USER MAPPING FOR CURRENT_USER SERVER crm OPTIONS (secret 'crm');

-- The API's objects become tables, with types, keys and comments.
CREATE SCHEMA crm;
IMPORT FOREIGN SCHEMA "default" FROM SERVER crm INTO crm;
\det+ crm.*
\d crm.contacts

-- Or write a table by hand: a few columns, under names of your own.
CREATE FOREIGN TABLE lead (
  id       text OPTIONS (key 'true') NOT NULL,
  mail     text OPTIONS (field 'email') NOT NULL,
  surname  text OPTIONS (field 'last_name') NOT NULL,
  status   text NOT NULL,
  score    integer NOT NULL,
  company  text
) SERVER crm OPTIONS (object 'contacts');

-- Filter, order and limit travel to the API: it sends five rows, not 5,000.
SELECT mail, surname, score
  FROM lead
 WHERE status = 'customer' AND score >= 95
 ORDER BY mail COLLATE "C"
 LIMIT 5;

-- EXPLAIN shows the request that goes out, and what became of each condition.
EXPLAIN (COSTS OFF)
SELECT mail, surname, score
  FROM lead
 WHERE status = 'customer' AND score >= 95
 ORDER BY mail COLLATE "C"
 LIMIT 5;

-- What the API cannot answer rightly, PostgreSQL checks by itself.
EXPLAIN (COSTS OFF)
SELECT count(*) FROM lead WHERE status = 'customer' AND upper(surname) = 'MÜLLER';
SELECT count(*) FROM lead WHERE status = 'customer' AND upper(surname) = 'MÜLLER';

-- What was read is kept in a local table, for a minute or as long as the table's
-- max_age says; here all of it is read now. Then the API is not asked.
SELECT hallway.refresh('lead') AS rows;
EXPLAIN (COSTS OFF)
SELECT mail FROM lead WHERE status = 'customer' AND score > 90;
SELECT count(*) FROM lead WHERE status = 'customer' AND score > 90;

-- A local table joins the API's.
CREATE TABLE orders (
  number integer PRIMARY KEY,
  mail   text NOT NULL,
  total  numeric(10,2) NOT NULL
);
INSERT INTO orders VALUES
  (1, 'person3@company3.example', 120.00),
  (2, 'person4@company4.example', 80.50),
  (3, 'person3@company3.example', 19.95);
SELECT l.mail, l.status, count(*) AS orders, sum(o.total) AS total
  FROM orders o JOIN lead l ON l.mail = o.mail
 GROUP BY l.mail, l.status
 ORDER BY l.mail;

-- INSERT creates a contact in the CRM; RETURNING gives the id that it chose.
INSERT INTO crm.contacts (email, first_name, last_name, status, score)
VALUES ('grace@hallway.example', 'Grace', 'Hopper', 'lead', 42)
RETURNING id, email, status, subscribed;
SELECT id AS grace FROM crm.contacts WHERE email = 'grace@hallway.example' \gset

-- The API refuses a bad address: its words are the error, and the local row of
-- the same transaction is gone too.
BEGIN;
INSERT INTO orders VALUES (4, 'nobody', 10.00);
INSERT INTO crm.contacts (email, last_name, status) VALUES ('nobody', 'Nobody', 'lead');
COMMIT;
SELECT count(*) AS order_4 FROM orders WHERE number = 4;

-- UPDATE sends the changed fields of the one contact.
UPDATE crm.contacts SET status = 'customer', score = score + 8
 WHERE email = 'grace@hallway.example'
RETURNING email, status, score;

-- Addresses are unique in the API: its refusal is a unique_violation.
INSERT INTO crm.contacts (email, last_name, status)
VALUES ('grace@hallway.example', 'Twin', 'lead');
\echo SQLSTATE :LAST_ERROR_SQLSTATE

-- What would be sent, and is not.
SET hallway.dry_run = on;
UPDATE crm.contacts SET score = 99 WHERE email = 'grace@hallway.example';
RESET hallway.dry_run;

-- DELETE removes her again.
DELETE FROM crm.contacts WHERE id = :'grace';
SELECT count(*) AS left_over FROM crm.contacts WHERE email = 'grace@hallway.example';
SELECT count(*) AS contacts FROM crm.contacts;

-- A whole copy, refreshed in the background, and what it says of itself.
SELECT hallway.replicate('crm.companies', '5 min');
CALL hallway.wait_for_sync('crm.companies');
SELECT state, rows, error FROM hallway.sync_status;
EXPLAIN (COSTS OFF) SELECT count(*) FROM crm.companies;

-- The journal knew of each row before the API did, and what became of it.
SELECT "table", operation, state, sqlstate FROM hallway.my_writes();
