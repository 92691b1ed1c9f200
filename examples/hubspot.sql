-- HubSpot's CRM as tables, in a database with the extension hallway.
-- docs/connectors/hubspot.md shows what this prints.

CREATE SERVER hubspot FOREIGN DATA WRAPPER hallway OPTIONS (connector 'hubspot');

-- The token of a private app stays in the sidecar's secret store; SQL and dumps hold
-- only its name.
CREATE USER MAPPING FOR CURRENT_USER SERVER hubspot OPTIONS (secret 'hubspot');

-- HubSpot's metadata says which objects and properties there are, those of your own
-- among them. All, or some:
CREATE SCHEMA crm;
IMPORT FOREIGN SCHEMA "default" LIMIT TO (contacts, companies, contacts_companies)
  FROM SERVER hubspot INTO crm;
SELECT attname AS property, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) AS comment
  FROM pg_attribute
 WHERE attrelid = 'crm.contacts'::regclass AND attname IN ('id', 'email', 'hs_lead_status', 'annualrevenue', 'lastmodifieddate')
 ORDER BY attnum;

-- A record is made by INSERT; what HubSpot makes of it comes back.
INSERT INTO crm.companies (name, domain) VALUES ('Analytical Engines', 'engines.example')
RETURNING id, name;
INSERT INTO crm.contacts (email, firstname, lastname, hs_lead_status, annualrevenue)
VALUES ('ada@engines.example', 'Ada', 'Lovelace', 'NEW', 1815),
       ('charles@engines.example', 'Charles', 'Babbage', 'OPEN', 1791),
       ('mary@weave.example', 'Mary', 'Jacquard', 'NEW', NULL)
RETURNING id, email;

-- Conditions become a search. HubSpot ignores case, so PostgreSQL looks again.
SELECT email, annualrevenue FROM crm.contacts
 WHERE hs_lead_status = 'NEW' AND annualrevenue > 1000;
EXPLAIN (COSTS OFF)
SELECT email, annualrevenue FROM crm.contacts
 WHERE hs_lead_status = 'NEW' AND annualrevenue > 1000;

-- Records by their ids, a hundred at a time; all of them by the list.
EXPLAIN (COSTS OFF) SELECT email FROM crm.contacts WHERE id IN (102, 103);
EXPLAIN (COSTS OFF) SELECT email FROM crm.contacts WHERE lastname LIKE '%bb%';

-- Only what changes is sent.
UPDATE crm.contacts SET hs_lead_status = 'IN_PROGRESS' WHERE email = 'ada@engines.example';
SELECT firstname, hs_lead_status FROM crm.contacts WHERE id = 102;

-- Associations are rows.
INSERT INTO crm.contacts_companies (contact_id, company_id)
SELECT c.id, o.id FROM crm.contacts c JOIN crm.companies o ON o.domain = split_part(c.email, '@', 2)
RETURNING contact_id, company_id, type;
INSERT INTO crm.contacts_companies (contact_id, company_id, type) VALUES (102, 101, 1)
RETURNING type, category, label;
SELECT c.firstname, o.name, a.type, a.label
  FROM crm.contacts_companies a JOIN crm.contacts c ON c.id = a.contact_id JOIN crm.companies o ON o.id = a.company_id
 WHERE a.contact_id = 102 ORDER BY a.type;
DELETE FROM crm.contacts_companies WHERE contact_id = 103;

-- A table with upsert_key: a row whose email is there already changes that record.
CREATE FOREIGN TABLE crm.leads (id bigint OPTIONS (key 'true'), email text, firstname text, hs_lead_status text)
  SERVER hubspot OPTIONS (object 'contacts', upsert_key 'email');
INSERT INTO crm.leads (email, firstname, hs_lead_status)
VALUES ('mary@weave.example', 'Marie', 'OPEN'), ('joseph@weave.example', 'Joseph', 'NEW')
RETURNING id, email, hallway.was_created() AS new;

-- DELETE archives; HubSpot keeps it for 90 days, as a table with archived shows.
DELETE FROM crm.contacts WHERE email = 'charles@engines.example';
CREATE FOREIGN TABLE crm.archived_contacts (id bigint OPTIONS (key 'true'), email text)
  SERVER hubspot OPTIONS (object 'contacts', archived 'true');
SELECT * FROM crm.archived_contacts;

-- What HubSpot refuses is an error, in its words, with the column and the SQLSTATE
-- that PostgreSQL would give it.
INSERT INTO crm.contacts (email) VALUES ('andrea__invalid');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
INSERT INTO crm.contacts (email) VALUES ('ada@engines.example');
\echo SQLSTATE :LAST_ERROR_SQLSTATE
UPDATE crm.contacts SET hs_lead_status = 'MAYBE' WHERE id = 102;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
UPDATE crm.contacts SET createdate = now() WHERE id = 102;
\echo SQLSTATE :LAST_ERROR_SQLSTATE
INSERT INTO crm.contacts_companies (contact_id, company_id) VALUES (102, 999999999);
\echo SQLSTATE :LAST_ERROR_SQLSTATE
