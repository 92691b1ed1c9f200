-- A base of Airtable's as tables. Set the base's name, and put the token, with the
-- scopes data.records:read, data.records:write and schema.bases:read, into the
-- sidecar's secret store under the name airtable:
--
--   psql -v base='CRM' -f airtable.sql
\set ON_ERROR_STOP on

CREATE EXTENSION IF NOT EXISTS hallway;
CREATE SERVER airtable FOREIGN DATA WRAPPER hallway
  OPTIONS (connector 'airtable', base :'base');
CREATE USER MAPPING FOR CURRENT_USER SERVER airtable OPTIONS (secret 'airtable');

-- Every table of the base, with the columns that it has today.
CREATE SCHEMA crm;
IMPORT FOREIGN SCHEMA "default" FROM SERVER airtable INTO crm;
\det crm.*

-- Conditions become a formula. What the formula language leaves open PostgreSQL checks.
EXPLAIN (COSTS OFF)
SELECT name, email, amount FROM crm.contacts
 WHERE status = 'Customer' AND amount >= 1000
 ORDER BY amount DESC;

-- Links are arrays of ids: a join follows them.
SELECT c.name, k.name AS company
  FROM crm.contacts c
  LEFT JOIN crm.companies k ON k.id = ANY (c.company)
 WHERE c.vip;

-- Lists of choices are arrays, attachments and people are jsonb.
SELECT name, tags, files -> 0 ->> 'filename' AS first_file, owner ->> 'email' AS owner
  FROM crm.contacts
 WHERE 'red' = ANY (tags);

-- Ten records a request, or one where RETURNING wants to know what Airtable has
-- made of it.
INSERT INTO crm.contacts (name, email, status, tags)
SELECT 'Person ' || i, i || '@example.com', 'Lead', '{green}' FROM generate_series(1, 25) i;
INSERT INTO crm.contacts (name, email) VALUES ('Alan', 'alan@example.com') RETURNING id, label, number;

UPDATE crm.contacts SET status = 'Customer', amount = 0 WHERE email = '7@example.com';

-- An upsert by the e-mail address.
ALTER FOREIGN TABLE crm.contacts OPTIONS (ADD upsert_key 'email');
INSERT INTO crm.contacts (email, name, stars) VALUES ('7@example.com', 'Person Seven', 5), ('26@example.com', 'Person 26', 4)
RETURNING name, hallway.was_created();

DELETE FROM crm.contacts WHERE email LIKE '%@example.com';

-- A view of the table is a table of its own, and need not have all columns.
CREATE FOREIGN TABLE crm.customers (
  id     text OPTIONS (field 'RECORD_ID()', key 'true') NOT NULL,
  name   text OPTIONS (field 'Name'),
  amount numeric OPTIONS (field 'Amount')
) SERVER airtable OPTIONS (object 'Contacts', view 'Customers');
SELECT sum(amount) FROM crm.customers;

-- For reports: the table kept here whole, and brought up to date every ten minutes.
SELECT hallway.replicate('crm.companies', every => '10 minutes');
